//! The network comes apart: whole hosts, single pairs, single directions. Packets vanish and nobody is told.
//!
//! The test reaches everybody all the time, so its producers also talk to a master that nobody else hears: whatever
//! that one acknowledges must be there in the end.

use baton_tests::cluster::{BROKER_SET, Cluster, ClusterSpec};
use baton_tests::netns::Network;
use baton_tests::wire::Connection;
use baton_tests::{Load, PATIENCE, SECOND, loudly, one_at_a_time, queries, wait_for, wait_until};
use std::sync::Arc;

/// A cluster on a network with two topics: `orders` for producers that ask where the master is, `faithful` for those
/// that do not.
struct Apart {
    cluster: Cluster,
    network: Arc<Network>,
}

impl Apart {
    fn start(spec: ClusterSpec) -> Option<Apart> {
        let spec = spec.on_a_network()?;
        let network = spec.network.clone()?;
        let cluster = Cluster::start(spec);
        cluster.create_topic("orders", 2);
        cluster.create_topic("faithful", 2);
        Some(Apart { cluster, network })
    }

    fn load(&self) -> Load {
        let load = Load::start(self.cluster.nameserver(), "orders", 2);
        load.wait_progress(20);
        load
    }

    /// Producers that stay with the broker that is master now.
    fn faithful_load(&self) -> Load {
        let master = self.cluster.wait_master();
        let load = Load::faithful(&self.cluster.brokers[master].address, "faithful", 2);
        load.wait_progress(20);
        load
    }

    fn broker(&self, index: usize) -> &str {
        &self.cluster.brokers[index].name
    }

    fn controller(&self, index: usize) -> &str {
        &self.cluster.controllers[index].name
    }

    /// Of those that see each other: the isolated ones may name somebody else for a while.
    #[track_caller]
    fn wait_leader_other_than(&self, old: usize) -> usize {
        wait_until("another controller leads", PATIENCE, || self.cluster.leader().is_some_and(|it| it != old));
        self.cluster.wait_leader()
    }

    /// Everybody hears everybody again: one set, one history, every acknowledged message.
    #[track_caller]
    fn heal_and_check(&self, loads: impl IntoIterator<Item = Load>) {
        self.network.heal();
        self.cluster.wait_whole();
        for load in loads {
            load.stop().check(self.cluster.nameserver());
        }
        self.cluster.assert_one_history();
    }
}

/// Its replicas and the other controllers hear it: witnesses (S5).
#[test]
fn a_master_that_only_the_controller_leader_does_not_hear_stays_master() {
    let _turn = one_at_a_time();
    let spec = ClusterSpec::default().controller_key("witnessWaitMills=600000");
    let Some(apart) = Apart::start(spec) else { return };
    let before = apart.cluster.wait_whole();
    let load = apart.load();
    let (leader, master) = (apart.cluster.wait_leader(), apart.cluster.wait_master());
    let waits = |text: &str| text.contains("The leader does not hear the master, but controller");
    let explained = || queries::explain(&apart.cluster.controllers[leader].address, BROKER_SET);
    apart.network.part(&[apart.controller(leader)], &[apart.broker(master)]);
    wait_until("the leader has asked the others", PATIENCE, || waits(&explained()));
    load.wait_progress(100);
    let during = apart.cluster.replicas().expect("the leader answers");
    assert_eq!((during.master_id, during.master_epoch), (before.master_id, before.master_epoch), "{}", explained());
    apart.network.heal();
    wait_until("the leader hears the master again", PATIENCE, || !waits(&explained()));
    apart.heal_and_check([load]);
    let after = apart.cluster.wait_whole();
    assert_eq!((after.master_id, after.master_epoch), (before.master_id, before.master_epoch));
}

/// Not for ever: a master that its leader does not hear cannot change its set.
#[test]
fn a_master_that_the_controller_leader_does_not_hear_for_long_is_replaced() {
    let _turn = one_at_a_time();
    let spec = ClusterSpec::default().controller_key("witnessWaitMills=1000");
    let Some(apart) = Apart::start(spec) else { return };
    let before = apart.cluster.wait_whole();
    let (load, faithful) = (apart.load(), apart.faithful_load());
    let (leader, master) = (apart.cluster.wait_leader(), apart.cluster.wait_master());
    apart.network.part(&[apart.controller(leader)], &[apart.broker(master)]);
    let after = apart.cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_id, before.master_id);
    load.wait_progress(20);
    apart.heal_and_check([load, faithful]);
}

/// master | rest. Nothing that the isolated master acknowledges, to producers that still reach it, is lost (S3).
#[test]
fn an_isolated_master_acknowledges_nothing_that_is_lost() {
    let _turn = one_at_a_time();
    // An isolated master soon gives its slaves' connections up. They count all the same.
    let spec = ClusterSpec::default().broker_key("haHousekeepingInterval=1000");
    let Some(apart) = Apart::start(spec) else { return };
    let before = apart.cluster.wait_whole();
    let (load, faithful) = (apart.load(), apart.faithful_load());
    let master = apart.cluster.wait_master();
    apart.network.isolate(&[apart.broker(master)]);
    let after = apart.cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_id, before.master_id);
    assert!(after.in_sync.len() >= 2, "the successor began with {:?} in its set (S7)", after.in_sync);
    let acknowledged = faithful.history.acknowledged_total();
    load.wait_progress(200);
    assert_eq!(faithful.history.acknowledged_total(), acknowledged, "acknowledged by the isolated master");
    apart.heal_and_check([load, faithful]);
}

/// master + one controller | rest. That one still hears the master, but nobody hears its word.
#[test]
fn a_master_isolated_with_one_controller_acknowledges_nothing_that_is_lost() {
    isolated_together(|leader| (leader + 1) % 3);
}

/// The same when that controller led.
#[test]
fn a_master_isolated_with_the_controller_leader_acknowledges_nothing_that_is_lost() {
    isolated_together(|leader| leader);
}

fn isolated_together(with: fn(usize) -> usize) {
    let _turn = one_at_a_time();
    let Some(apart) = Apart::start(ClusterSpec::default()) else { return };
    let before = apart.cluster.wait_whole();
    let (load, faithful) = (apart.load(), apart.faithful_load());
    let (controller, master) = (with(apart.cluster.wait_leader()), apart.cluster.wait_master());
    apart.network.isolate(&[apart.controller(controller), apart.broker(master)]);
    apart.wait_leader_other_than(controller);
    wait_until("the majority elects a master of its own", PATIENCE, || {
        apart.cluster.replicas().is_some_and(|it| it.master_epoch > before.master_epoch)
    });
    let acknowledged = faithful.history.acknowledged_total();
    load.wait_progress(200);
    assert_eq!(faithful.history.acknowledged_total(), acknowledged, "acknowledged by the isolated master");
    apart.heal_and_check([load, faithful]);
}

/// controller leader | rest: a deposed leader answers nothing from memory, and no set notices.
#[test]
fn an_isolated_controller_leader_answers_nothing_and_changes_no_master() {
    let _turn = one_at_a_time();
    let Some(mut apart) = Apart::start(ClusterSpec::default()) else { return };
    let before = apart.cluster.wait_whole();
    let load = apart.load();
    let leader = apart.cluster.wait_leader();
    apart.network.isolate(&[apart.controller(leader)]);
    apart.wait_leader_other_than(leader);
    let old = apart.cluster.controllers[leader].address.clone();
    assert_eq!(queries::replicas(&old, BROKER_SET), None, "answered by a leader without a majority");
    load.wait_progress(20);
    // The brokers have found the new leader: the set changes through it.
    let slave = (apart.cluster.wait_master() + 1) % 3;
    apart.cluster.brokers[slave].kill();
    let without = apart.cluster.wait_whole();
    assert_eq!((without.master_id, without.master_epoch), (before.master_id, before.master_epoch));
    load.wait_progress(20);
    apart.cluster.brokers[slave].start();
    apart.cluster.wait_whole();
    apart.heal_and_check([load]);
    let after = apart.cluster.wait_whole();
    assert_eq!((after.master_id, after.master_epoch), (before.master_id, before.master_epoch));
}

/// The relaxed profile: one copy is enough, so only the lease keeps two masters from acknowledging at once (S4, S5).
#[test]
fn an_isolated_relaxed_master_stops_acknowledging_before_its_successor_begins() {
    let _turn = one_at_a_time();
    let spec = ClusterSpec::default().broker_key("allAckInSyncStateSet=false").broker_key("inSyncReplicas=1");
    let Some(apart) = Apart::start(spec) else { return };
    let before = apart.cluster.wait_whole();
    let (load, faithful) = (apart.load(), apart.faithful_load());
    let master = apart.cluster.wait_master();
    apart.network.isolate(&[apart.broker(master)]);
    apart.cluster.wait_master_after(before.master_epoch);
    load.wait_progress(5);
    let acknowledged = faithful.history.acknowledged_total();
    load.wait_progress(200);
    assert_eq!(faithful.history.acknowledged_total(), acknowledged, "acknowledged after its lease");
    // What it acknowledged alone is lost, as this profile allows; the set becomes one again nevertheless.
    drop((load, faithful));
    apart.heal_and_check([]);
}

/// One direction only: everybody hears the master, it hears nobody. It may ask for a smaller set and never learns the
/// answer, so the members that it asked to leave count (S3).
#[test]
fn a_master_that_is_heard_and_hears_nobody_acknowledges_nothing_that_is_lost() {
    let _turn = one_at_a_time();
    let Some(apart) = Apart::start(ClusterSpec::default()) else { return };
    let before = apart.cluster.wait_whole();
    let (load, faithful) = (apart.load(), apart.faithful_load());
    let master = apart.broker(apart.cluster.wait_master()).to_owned();
    let rest: Vec<_> = apart.network.names().filter(|it| *it != master).collect();
    rest.iter().for_each(|it| apart.network.silence(it, &[&master]));
    wait_until("the controllers see the change", PATIENCE, || {
        let now = apart.cluster.replicas();
        now.is_some_and(|it| it.sync_state_set_epoch > before.sync_state_set_epoch)
    });
    apart.heal_and_check([load, faithful]);
}

/// One direction only: a slave hears its master, which does not hear it. It leaves the set and comes back.
#[test]
fn a_slave_whose_acknowledgements_vanish_leaves_the_set_and_comes_back() {
    let _turn = one_at_a_time();
    let Some(apart) = Apart::start(ClusterSpec::default()) else { return };
    let before = apart.cluster.wait_whole();
    let load = apart.load();
    let master = apart.cluster.wait_master();
    let slave = (master + 1) % 3;
    apart.network.silence(apart.broker(slave), &[apart.broker(master)]);
    wait_until("the slave is out of the set", PATIENCE, || {
        apart.cluster.replicas().is_some_and(|it| it.in_sync.len() == 2)
    });
    load.wait_progress(50);
    let during = apart.cluster.replicas().expect("the controllers answer");
    assert_eq!((during.master_id, during.master_epoch), (before.master_id, before.master_epoch), "S14");
    apart.heal_and_check([load]);
}

/// Late and lost packets, on the master's own cable: slow, and that is all.
#[test]
fn a_master_behind_a_bad_cable_loses_nothing_acknowledged() {
    let _turn = one_at_a_time();
    let Some(apart) = Apart::start(ClusterSpec::default()) else { return };
    let (load, faithful) = (apart.load(), apart.faithful_load());
    let master = apart.cluster.wait_master();
    if !apart.network.impair(apart.broker(master)) {
        loudly("SKIPPED: this kernel has neither netem nor tbf, so no packets come late");
        return;
    }
    load.wait_progress(50);
    apart.heal_and_check([load, faithful]);
}

/// It is master in its own eyes, and its queues end where the others' have long gone on.
#[test]
fn an_isolated_master_moves_no_consumer_back() {
    let _turn = one_at_a_time();
    let Some(apart) = Apart::start(ClusterSpec::default()) else { return };
    let (load, old) = (apart.load(), apart.cluster.wait_master());
    let before = apart.cluster.wait_whole();
    let nameserver = apart.cluster.nameserver();
    let read = || wait_for("the queue is readable", PATIENCE, || load.history.read(nameserver, 0));
    let end_of_queue = || read().numbers.len();
    // The group is known from now on.
    end_of_queue();
    apart.network.isolate(&[apart.broker(old)]);
    apart.cluster.wait_master_after(before.master_epoch);
    load.wait_progress(20);
    // Where a consumer is that has read everything.
    let end = end_of_queue() as i64;
    let mut connection = Connection::open(&apart.cluster.brokers[old].address, SECOND).expect("the test reaches it");
    for _ in 0..20 {
        let (records, next) = queries::pull(&mut connection, "orders", 0, end).expect("it answers");
        assert_eq!((records.len(), next), (0, end), "its queue ends before {end}");
    }
    apart.heal_and_check([load]);
}
