//! Whose servers are broken: ours, which are to keep what they promise, or RocketMQ's own, whose losses are counted.

use super::Chaos;
use super::faults::{FAULTS, Fault};
use baton_tests::cluster::{Cluster, ClusterSpec, Node};
use baton_tests::java::{self, JAVA_KEYS, JAVA_PATIENCE, Java};
use baton_tests::{PATIENCE, loudly};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    Ours,
    /// As control: every setting at its default, save that an acknowledged message is on all of the SyncStateSet.
    Java,
}

impl Servers {
    /// Every process on a host of its own, its clock and disk ready to be bent. `None`, said loudly, where that cannot
    /// be had.
    pub fn start(self) -> Option<Cluster> {
        let ours = [
            // An isolated master soon gives its slaves' connections up. They count all the same.
            "haHousekeepingInterval=1000",
            "enableFailoverAlias=true",
            "autoCreateSubscriptionGroup=true",
        ];
        let java = (self == Servers::Java).then(Java::find);
        let keys = if java.is_some() { &JAVA_KEYS[..] } else { &ours[..] };
        let spec = keys.iter().fold(ClusterSpec::default(), |spec, key| spec.broker_key(key)).on_a_network()?;
        let mut cluster = Cluster::prepare(&spec);
        cluster.nodes_mut().for_each(Node::interpose);
        match java {
            Some(java) => {
                java?.takes_over_all(&mut cluster);
                java::start_all(&mut cluster);
            }
            None => {
                cluster.launch_all();
                cluster.wait_whole();
            }
        }
        Some(cluster)
    }

    /// What it makes sense to break it with.
    pub fn faults(self) -> Vec<&'static Fault> {
        FAULTS.iter().filter(|it| self == Servers::Ours || !it.only_ours).collect()
    }

    /// How long a person waits for one that was restarted, before the next one.
    pub fn back_within(self) -> Duration {
        match self {
            Servers::Ours => Duration::from_secs(10),
            Servers::Java => Duration::from_secs(40),
        }
    }
}

impl Chaos {
    /// Whole again, and all producers get on. Ours must be by themselves; others are helped when their time is up.
    pub fn becomes_whole(&mut self) {
        if self.servers == Servers::Ours {
            self.cluster.wait_whole();
            return self.loads.iter().for_each(|it| it.wait_progress(5));
        }
        for node in self.cluster.nodes_mut() {
            if node.has_ended_by_itself() {
                node.kill();
                node.launch();
            }
        }
        for attempt in 0.. {
            let whole = self.cluster.whole_within(JAVA_PATIENCE);
            if whole.is_ok() && self.loads.iter().all(|it| it.history.progresses_within(5, PATIENCE)) {
                return;
            }
            assert!(attempt < 3, "started anew three times, and nothing is served: {whole:?}");
            self.helped += 1;
            loudly("chaos: not whole by itself; every broker is started anew");
            self.cluster.brokers.iter_mut().for_each(|it| it.kill());
            self.cluster.brokers.iter_mut().for_each(|it| it.launch());
        }
    }
}
