//! Topics and groups of a cluster, made as an operator makes them: by the master.

use super::{BROKER_SET, Cluster};
use crate::queries::{self, OK};
use crate::{PATIENCE, wait_for, wait_until};

impl Cluster {
    /// Creates a topic on the master and waits until the nameservers know it.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, queues: i32) {
        let master = &self.brokers[self.wait_master()].address;
        wait_until("the master creates a topic", PATIENCE, || {
            queries::create_topic(master, topic, queues).is_ok_and(|it| it.code == OK)
        });
        for nameserver in &self.nameserver_addresses {
            wait_for("a nameserver routes the topic", PATIENCE, || {
                queries::master_address(nameserver, topic, BROKER_SET).filter(|it| it == master)
            });
        }
    }

    /// The same, and every running replica has it: Java's slaves fetch it every 10 s, and lose it when promoted before
    /// that.
    #[track_caller]
    pub fn create_topic_everywhere(&self, topic: &str, queues: i32) {
        self.create_topic(topic, queues);
        wait_until("every replica has the topic", PATIENCE, || {
            self.brokers.iter().filter(|it| it.runs()).all(|it| queries::knows_topic(&it.address, topic))
        });
    }

    /// Creates a subscription group on the master. It answers when its set has it (S13); Java's answers at once.
    #[track_caller]
    pub fn create_group(&self, group: &str) {
        let answer = queries::create_group(&self.brokers[self.wait_master()].address, group);
        let answer = answer.expect("the master answers");
        assert_eq!(answer.code, OK, "{:?}", answer.remark);
    }
}
