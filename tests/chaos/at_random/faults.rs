//! What strikes, whom, and what ends it.

use super::Chaos;
use super::servers::Servers;
use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME, Node};
use baton_tests::interposed::Disk;
use baton_tests::{holds_within, loudly, queries};
use rand_xoshiro::rand_core::RngCore;
use std::collections::BTreeSet;
use std::slice::from_ref;
use std::time::Duration;

/// One kind of fault.
pub struct Fault {
    pub name: &'static str,
    /// Does it; what it leaves to be undone goes to [`Chaos::undo`].
    pub strike: fn(&mut Chaos, &Roles),
    /// An order that only our controllers take.
    pub only_ours: bool,
}

/// Names of processes by what they are at the moment a fault strikes.
pub struct Roles {
    master: String,
    slave: String,
    leader: String,
    follower: String,
    brokers: Vec<String>,
    controllers: Vec<String>,
}

/// All there are.
pub static FAULTS: &[Fault] = &[
    any("kill master", |chaos, at| chaos.kill(from_ref(&at.master))),
    any("kill slave", |chaos, at| chaos.kill(from_ref(&at.slave))),
    any("kill controller leader", |chaos, at| chaos.kill(from_ref(&at.leader))),
    any("kill controller", |chaos, at| chaos.kill(from_ref(&at.follower))),
    any("kill nameserver", |chaos, _| chaos.kill(&["namesrv-0".to_owned()])),
    any("kill master and controller leader", |chaos, at| chaos.kill(&[at.leader.clone(), at.master.clone()])),
    any("kill every broker", |chaos, at| chaos.kill(&at.brokers)),
    any("kill every controller", |chaos, at| chaos.kill(&at.controllers)),
    any("pause master", |chaos, at| chaos.pause(&at.master)),
    any("pause slave", |chaos, at| chaos.pause(&at.slave)),
    any("pause controller leader", |chaos, at| chaos.pause(&at.leader)),
    any("restart master", |chaos, at| chaos.stop(&at.master)),
    any("restart slave", |chaos, at| chaos.stop(&at.slave)),
    any("restart controller leader", |chaos, at| chaos.stop(&at.leader)),
    any("restart brokers in turn", |chaos, at| chaos.restart_in_turn(&at.brokers)),
    any("restart controllers in turn", |chaos, at| chaos.restart_in_turn(&at.controllers)),
    any("isolate master", |chaos, at| chaos.network.isolate(&[&at.master])),
    any("isolate slave", |chaos, at| chaos.network.isolate(&[&at.slave])),
    any("isolate controller leader", |chaos, at| chaos.network.isolate(&[&at.leader])),
    any("isolate master and controller leader", |chaos, at| chaos.network.isolate(&[&at.master, &at.leader])),
    any("isolate master and following controller", |chaos, at| chaos.network.isolate(&[&at.master, &at.follower])),
    any("cut master from controller leader", |chaos, at| chaos.network.part(&[&at.master], &[&at.leader])),
    any("cut master from slave", |chaos, at| chaos.network.part(&[&at.master], &[&at.slave])),
    any("silence slave towards master", |chaos, at| chaos.network.silence(&at.slave, &[&at.master])),
    any("silence master towards controllers", |chaos, at| {
        let controllers: Vec<_> = at.controllers.iter().map(String::as_str).collect();
        chaos.network.silence(&at.master, &controllers);
    }),
    any("silence all towards master", |chaos, at| {
        let network = &chaos.network;
        network.names().filter(|it| *it != at.master).for_each(|it| network.silence(it, &[&at.master]));
    }),
    any("impair master", |chaos, at| chaos.impair(&at.master)),
    any("impair slave", |chaos, at| chaos.impair(&at.slave)),
    any("impair controller leader", |chaos, at| chaos.impair(&at.leader)),
    any("wipe slave", |chaos, at| chaos.wipe(&at.slave)),
    any("step master clock", |chaos, at| chaos.step_clock(&at.master)),
    any("step slave clock", |chaos, at| chaos.step_clock(&at.slave)),
    any("step controller leader clock", |chaos, at| chaos.step_clock(&at.leader)),
    any("fill master disk", |chaos, at| chaos.spoil(&at.master, Disk::Full)),
    any("fill slave disk", |chaos, at| chaos.spoil(&at.slave, Disk::Full)),
    any("fill controller leader disk", |chaos, at| chaos.spoil(&at.leader, Disk::Full)),
    any("break master disk", |chaos, at| chaos.spoil(&at.master, Disk::Fails)),
    any("break slave disk", |chaos, at| chaos.spoil(&at.slave, Disk::Fails)),
    any("break controller leader disk", |chaos, at| chaos.spoil(&at.leader, Disk::Fails)),
    any("slow master disk", |chaos, at| chaos.slow_down(&at.master)),
    any("slow slave disk", |chaos, at| chaos.slow_down(&at.slave)),
    any("slow controller leader disk", |chaos, at| chaos.slow_down(&at.leader)),
    of_ours("switchover", |chaos, _| chaos.order(&format!("switchover -b {BROKER_SET}"))),
    any("elect master", |chaos, at| {
        let id = chaos.id_of(&at.slave).unwrap_or(1);
        chaos.order(&format!("electMaster -b {id} -bn {BROKER_SET} -c {CLUSTER_NAME}"));
    }),
    of_ours("transfer leadership", |chaos, at| {
        let id = at.follower.trim_start_matches("controller-");
        chaos.order(&format!("transferLeadership -i {id}"));
    }),
];

const fn any(name: &'static str, strike: fn(&mut Chaos, &Roles)) -> Fault {
    Fault { name, strike, only_ours: false }
}

const fn of_ours(name: &'static str, strike: fn(&mut Chaos, &Roles)) -> Fault {
    Fault { name, strike, only_ours: true }
}

/// What has to be done for a process when the fault ends. The network heals as a whole.
pub enum Undo {
    Start(String),
    Resume(String),
    SetClock(String),
    /// The process goes on with a disk that works again.
    Mend(String),
    /// What has seen its disk fail starts anew.
    MendAndRestart(String),
}

/// How far a clock is set off: what time services do, what people do, and a time zone taken for another.
const CLOCK_STEPS_MS: [i64; 6] = [1_000, 10_000, 60_000, 600_000, 3_600_000, 10_800_000];
/// Of one sync of a slow disk.
const SYNC_TAKES_MS: [u64; 4] = [200, 500, 1_000, 2_500];

impl Chaos {
    /// While there is no master, or no leader, any will do.
    pub fn roles(&mut self) -> Roles {
        let names = |of: &[Node]| of.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        let (brokers, controllers) = (names(&self.cluster.brokers), names(&self.cluster.controllers));
        let (master, leader) = (self.cluster.master(), self.cluster.leader());
        let (master, slave) = two_of(brokers.len(), master, self.random.next_u64());
        let (leader, follower) = two_of(controllers.len(), leader, self.random.next_u64());
        Roles {
            master: brokers[master].clone(),
            slave: brokers[slave].clone(),
            leader: controllers[leader].clone(),
            follower: controllers[follower].clone(),
            brokers,
            controllers,
        }
    }

    /// False if another fault has struck it already: this one leaves it alone.
    fn takes(&mut self, name: &str) -> bool {
        self.struck.insert(name.to_owned())
    }

    fn kill(&mut self, names: &[String]) {
        for name in names {
            if self.takes(name) {
                self.node(name).kill();
                self.undo.push(Undo::Start(name.clone()));
            }
        }
    }

    fn pause(&mut self, name: &str) {
        if self.takes(name) {
            self.node(name).pause();
            self.undo.push(Undo::Resume(name.to_owned()));
        }
    }

    /// SIGTERM; it is started again when the fault ends.
    fn stop(&mut self, name: &str) {
        if self.takes(name) {
            self.terminate(name);
            self.undo.push(Undo::Start(name.to_owned()));
        }
    }

    fn terminate(&mut self, name: &str) {
        let status = self.node(name).stop();
        // A JVM says that it was a signal.
        if !status.success() && self.servers == Servers::Ours {
            self.complain(&format!("{name} after SIGTERM: {status}"));
        }
    }

    /// As a person does it: SIGTERM, start, and the next one when this one is back in its place. One that does not come
    /// back, because something else is broken, keeps the rest from being restarted. Only a whole turn counts as one.
    fn restart_in_turn(&mut self, names: &[String]) {
        let mut back = Vec::new();
        for name in names {
            if self.takes(name) {
                self.terminate(name);
                self.node(name).launch();
                self.struck.remove(name);
                if !holds_within(self.servers.back_within(), || self.is_back(name)) {
                    break;
                }
                back.push(name);
            }
        }
        if back.len() < names.len() {
            loudly(&format!("{}: not the whole turn, only {back:?} were restarted and are back", self.moment()));
            self.uncount();
        }
    }

    /// Started, and a member of its set that has what its master has, or of a group that has a leader.
    fn is_back(&self, name: &str) -> bool {
        let is_it = |node: &&Node| node.name == name && node.has_booted();
        if let Some(broker) = self.cluster.brokers.iter().find(is_it) {
            let Some(set) = self.cluster.replicas() else { return false };
            let is_member = set.in_sync.iter().any(|id| set.addresses.get(id) == Some(&broker.address));
            // One that was away for a moment has never left the set, and yet may have to copy what came meanwhile. The
            // master is asked first: under load its log is longer at every moment.
            let ends = [&set.master_address, &broker.address].map(|it| queries::epochs(it).map(|it| it.max_offset));
            return is_member && matches!(ends, [Some(of_master), Some(own)] if own >= of_master);
        }
        let controller = self.cluster.controllers.iter().find(is_it);
        controller.is_some_and(|it| queries::leader_according_to(&it.address).is_some())
    }

    /// Late and lost packets. Nothing where the kernel has neither way of it, which is said once at the start.
    fn impair(&mut self, name: &str) {
        self.network.impair(name);
    }

    /// Killed, and its disk is gone: it comes back with nothing, not even its id.
    fn wipe(&mut self, name: &str) {
        if !self.struck.contains(name) {
            self.kill(&[name.to_owned()]);
            std::fs::remove_dir_all(self.node(name).store()).expect("a killed broker's store");
        }
    }

    /// Forwards or back, until the fault ends and it steps again. Nothing is to come of it, so others may strike the
    /// same process.
    fn step_clock(&mut self, name: &str) {
        let by = CLOCK_STEPS_MS[self.below(CLOCK_STEPS_MS.len())];
        let by = if self.below(2) == 0 { by } else { -by };
        self.node(name).interposed().set_clock(by);
        self.undo.push(Undo::SetClock(name.to_owned()));
    }

    /// A full disk is a reason to stop for a controller only: it keeps nothing that could wait.
    fn spoil(&mut self, name: &str, disk: Disk) {
        if self.takes(name) {
            self.announce(name);
            self.node(name).interposed().set_disk(disk);
            let goes_on = disk == Disk::Full && name.starts_with("broker-");
            self.undo.push(if goes_on { Undo::Mend(name.to_owned()) } else { Undo::MendAndRestart(name.to_owned()) });
        }
    }

    fn slow_down(&mut self, name: &str) {
        let takes = Duration::from_millis(SYNC_TAKES_MS[self.below(SYNC_TAKES_MS.len())]);
        if self.takes(name) {
            self.node(name).interposed().set_disk(Disk::Slow(takes));
            self.undo.push(Undo::Mend(name.to_owned()));
        }
    }

    /// What an operator orders. While something else is broken it may be refused.
    fn order(&mut self, arguments: &str) {
        let status = self.cluster.mqadmin(&arguments.split(' ').collect::<Vec<_>>()).status;
        if !matches!(status.code(), Some(0 | 1)) {
            self.complain(&format!("mqadmin {arguments}: {status}"));
        }
    }

    fn id_of(&self, broker: &str) -> Option<i64> {
        let address = &self.cluster.brokers.iter().find(|it| it.name == broker)?.address;
        let replicas = self.cluster.replicas()?;
        replicas.in_sync.iter().copied().find(|id| replicas.addresses.get(id) == Some(address))
    }
}

/// The one that leads, if any does, and one of the others. One draw decides, whoever leads and whether anyone does: how
/// much is drawn must not depend on what the cluster happens to do, or the same seed would not strike with the same
/// faults again.
fn two_of(count: usize, leads: Option<usize>, drawn: u64) -> (usize, usize) {
    let one = leads.unwrap_or((drawn >> 32) as usize % count);
    (one, (one + 1 + (drawn % (count as u64 - 1)) as usize) % count)
}

#[test]
fn every_fault_has_a_name_of_its_own() {
    let names: BTreeSet<_> = FAULTS.iter().map(|it| it.name).collect();
    assert_eq!(names.len(), FAULTS.len());
}

#[test]
fn whoever_leads_the_other_is_another() {
    for leads in [None, Some(0), Some(2)] {
        let drawn: BTreeSet<_> = (0..12).map(|it| two_of(3, leads, it << 32 | it)).collect();
        assert!(drawn.iter().all(|(one, other)| one != other && leads.is_none_or(|it| it == *one)), "{drawn:?}");
        assert_eq!(drawn.len(), if leads.is_some() { 2 } else { 6 }, "each of them is drawn: {drawn:?}");
    }
}
