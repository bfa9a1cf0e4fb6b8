//! What strikes, whom, and what ends it.

use super::Chaos;
use super::servers::Servers;
use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME};
use baton_tests::interposed::Disk;
use baton_tests::process::binary;
use std::process::Command;
use std::time::Duration;

/// Roles are those at the moment it strikes; whoever another fault has struck already is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillMaster,
    KillSlave,
    KillControllerLeader,
    KillController,
    KillNameserver,
    KillMasterAndControllerLeader,
    KillEveryBroker,
    KillEveryController,
    PauseMaster,
    PauseSlave,
    PauseControllerLeader,
    RestartMaster,
    RestartSlave,
    RestartControllerLeader,
    IsolateMaster,
    IsolateSlave,
    IsolateControllerLeader,
    IsolateMasterAndControllerLeader,
    CutMasterFromControllerLeader,
    CutMasterFromSlave,
    SilenceSlaveTowardsMaster,
    SilenceMasterTowardsControllers,
    SilenceAllTowardsMaster,
    ImpairMaster,
    ImpairSlave,
    ImpairControllerLeader,
    WipeSlave,
    StepMasterClock,
    StepSlaveClock,
    StepControllerLeaderClock,
    FillMasterDisk,
    FillSlaveDisk,
    FillControllerLeaderDisk,
    BreakMasterDisk,
    BreakSlaveDisk,
    BreakControllerLeaderDisk,
    SlowMasterDisk,
    SlowSlaveDisk,
    SlowControllerLeaderDisk,
    Switchover,
    ElectMaster,
    TransferLeadership,
}

use Fault::*;

pub const FAULTS: [Fault; 42] = [
    KillMaster,
    KillSlave,
    KillControllerLeader,
    KillController,
    KillNameserver,
    KillMasterAndControllerLeader,
    KillEveryBroker,
    KillEveryController,
    PauseMaster,
    PauseSlave,
    PauseControllerLeader,
    RestartMaster,
    RestartSlave,
    RestartControllerLeader,
    IsolateMaster,
    IsolateSlave,
    IsolateControllerLeader,
    IsolateMasterAndControllerLeader,
    CutMasterFromControllerLeader,
    CutMasterFromSlave,
    SilenceSlaveTowardsMaster,
    SilenceMasterTowardsControllers,
    SilenceAllTowardsMaster,
    ImpairMaster,
    ImpairSlave,
    ImpairControllerLeader,
    WipeSlave,
    StepMasterClock,
    StepSlaveClock,
    StepControllerLeaderClock,
    FillMasterDisk,
    FillSlaveDisk,
    FillControllerLeaderDisk,
    BreakMasterDisk,
    BreakSlaveDisk,
    BreakControllerLeaderDisk,
    SlowMasterDisk,
    SlowSlaveDisk,
    SlowControllerLeaderDisk,
    Switchover,
    ElectMaster,
    TransferLeadership,
];

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

impl Fault {
    /// As people read it.
    pub fn name(self) -> String {
        let mut words = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !words.is_empty() {
                words.push(' ');
            }
            words.extend(letter.to_lowercase());
        }
        words
    }

    pub fn strike(self, chaos: &mut Chaos) -> Vec<Undo> {
        let (master, slave) = (chaos.master(), chaos.slave());
        let (leader, follower) = (chaos.leader(), chaos.follower());
        let (brokers, controllers) = (chaos.names("broker-"), chaos.names("controller-"));
        match self {
            KillMaster => chaos.kill(&[master]),
            KillSlave => chaos.kill(&[slave]),
            KillControllerLeader => chaos.kill(&[leader]),
            KillController => chaos.kill(&[follower]),
            KillNameserver => chaos.kill(&["namesrv-0".to_owned()]),
            KillMasterAndControllerLeader => chaos.kill(&[leader, master]),
            KillEveryBroker => chaos.kill(&brokers),
            KillEveryController => chaos.kill(&controllers),
            PauseMaster => chaos.pause(&master),
            PauseSlave => chaos.pause(&slave),
            PauseControllerLeader => chaos.pause(&leader),
            RestartMaster => chaos.stop(&master),
            RestartSlave => chaos.stop(&slave),
            RestartControllerLeader => chaos.stop(&leader),
            IsolateMaster => chaos.isolate(&[&master]),
            IsolateSlave => chaos.isolate(&[&slave]),
            IsolateControllerLeader => chaos.isolate(&[&leader]),
            IsolateMasterAndControllerLeader => chaos.isolate(&[&master, &leader]),
            CutMasterFromControllerLeader => chaos.part(&master, &leader),
            CutMasterFromSlave => chaos.part(&master, &slave),
            SilenceSlaveTowardsMaster => chaos.silence(&slave, &[master]),
            SilenceMasterTowardsControllers => chaos.silence(&master, &controllers),
            SilenceAllTowardsMaster => {
                let all: Vec<_> = chaos.names("").into_iter().filter(|it| *it != master).collect();
                all.iter().for_each(|it| drop(chaos.silence(it, std::slice::from_ref(&master))));
                Vec::new()
            }
            ImpairMaster => chaos.impair(&master),
            ImpairSlave => chaos.impair(&slave),
            ImpairControllerLeader => chaos.impair(&leader),
            WipeSlave => chaos.wipe(&slave),
            StepMasterClock => chaos.step_clock(&master),
            StepSlaveClock => chaos.step_clock(&slave),
            StepControllerLeaderClock => chaos.step_clock(&leader),
            FillMasterDisk => chaos.spoil(&master, Disk::Full),
            FillSlaveDisk => chaos.spoil(&slave, Disk::Full),
            FillControllerLeaderDisk => chaos.spoil(&leader, Disk::Full),
            BreakMasterDisk => chaos.spoil(&master, Disk::Fails),
            BreakSlaveDisk => chaos.spoil(&slave, Disk::Fails),
            BreakControllerLeaderDisk => chaos.spoil(&leader, Disk::Fails),
            SlowMasterDisk => chaos.slow_down(&master),
            SlowSlaveDisk => chaos.slow_down(&slave),
            SlowControllerLeaderDisk => chaos.slow_down(&leader),
            Switchover => chaos.order(&format!("switchover -b {BROKER_SET}")),
            ElectMaster => {
                let id = chaos.id_of(&slave).unwrap_or(1);
                chaos.order(&format!("electMaster -b {id} -bn {BROKER_SET} -c {CLUSTER_NAME}"))
            }
            TransferLeadership => {
                let id = follower.trim_start_matches("controller-");
                chaos.order(&format!("transferLeadership -i {id}"))
            }
        }
    }
}

impl Chaos {
    /// While there is none, any broker will do.
    fn master(&mut self) -> String {
        let any = self.below(self.cluster.brokers.len());
        let master = self.cluster.master().unwrap_or(any);
        self.cluster.brokers[master].name.clone()
    }

    fn slave(&mut self) -> String {
        let master = self.master();
        let slaves: Vec<_> = self.names("broker-").into_iter().filter(|it| *it != master).collect();
        slaves[self.below(slaves.len())].clone()
    }

    fn leader(&mut self) -> String {
        let any = self.below(self.cluster.controllers.len());
        let leader = self.cluster.leader().unwrap_or(any);
        self.cluster.controllers[leader].name.clone()
    }

    fn follower(&mut self) -> String {
        let leader = self.leader();
        let followers: Vec<_> = self.names("controller-").into_iter().filter(|it| *it != leader).collect();
        followers[self.below(followers.len())].clone()
    }

    fn names(&mut self, prefix: &str) -> Vec<String> {
        self.cluster.nodes_mut().map(|it| it.name.clone()).filter(|it| it.starts_with(prefix)).collect()
    }

    /// False if another fault has struck it already.
    fn takes(&mut self, name: &str) -> bool {
        self.struck.insert(name.to_owned())
    }

    fn kill(&mut self, names: &[String]) -> Vec<Undo> {
        let struck: Vec<_> = names.iter().filter(|it| self.takes(it)).cloned().collect();
        struck.iter().for_each(|it| self.node(it).kill());
        struck.into_iter().map(Undo::Start).collect()
    }

    fn pause(&mut self, name: &str) -> Vec<Undo> {
        if !self.takes(name) {
            return Vec::new();
        }
        self.node(name).pause();
        vec![Undo::Resume(name.to_owned())]
    }

    /// SIGTERM; it is started again when the fault ends.
    fn stop(&mut self, name: &str) -> Vec<Undo> {
        if !self.takes(name) {
            return Vec::new();
        }
        let status = self.node(name).stop();
        // A JVM says that it was a signal.
        assert!(status.success() || self.servers == Servers::Java, "{name} after SIGTERM: {status}");
        vec![Undo::Start(name.to_owned())]
    }

    fn isolate(&mut self, names: &[&str]) -> Vec<Undo> {
        self.network.isolate(names);
        Vec::new()
    }

    fn part(&mut self, one: &str, other: &str) -> Vec<Undo> {
        self.network.part(&[one], &[other]);
        Vec::new()
    }

    fn silence(&mut self, from: &str, to: &[String]) -> Vec<Undo> {
        let to: Vec<_> = to.iter().map(String::as_str).filter(|it| *it != from).collect();
        self.network.silence(from, &to);
        Vec::new()
    }

    /// Late and lost packets. Nothing where the kernel has neither way of it, which is said once at the start.
    fn impair(&mut self, name: &str) -> Vec<Undo> {
        self.network.impair(name);
        Vec::new()
    }

    /// Killed, and its disk is gone: it comes back with nothing, not even its id.
    fn wipe(&mut self, name: &str) -> Vec<Undo> {
        let struck = self.kill(&[name.to_owned()]);
        if !struck.is_empty() {
            std::fs::remove_dir_all(self.node(name).store()).expect("a killed broker's store");
        }
        struck
    }

    /// Forwards or back, until the fault ends and it steps again. Nothing is to come of it, so others may strike the
    /// same process.
    fn step_clock(&mut self, name: &str) -> Vec<Undo> {
        let by = CLOCK_STEPS_MS[self.below(CLOCK_STEPS_MS.len())];
        let by = if self.below(2) == 0 { by } else { -by };
        self.node(name).interposed().set_clock(by);
        vec![Undo::SetClock(name.to_owned())]
    }

    /// A full disk is a reason to stop for a controller only: it keeps nothing that could wait.
    fn spoil(&mut self, name: &str, disk: Disk) -> Vec<Undo> {
        if !self.takes(name) {
            return Vec::new();
        }
        self.announce(name);
        self.node(name).interposed().set_disk(disk);
        let goes_on = disk == Disk::Full && name.starts_with("broker-");
        vec![if goes_on { Undo::Mend(name.to_owned()) } else { Undo::MendAndRestart(name.to_owned()) }]
    }

    fn slow_down(&mut self, name: &str) -> Vec<Undo> {
        let takes = Duration::from_millis(SYNC_TAKES_MS[self.below(SYNC_TAKES_MS.len())]);
        if !self.takes(name) {
            return Vec::new();
        }
        self.node(name).interposed().set_disk(Disk::Slow(takes));
        vec![Undo::Mend(name.to_owned())]
    }

    /// What an operator orders. While something else is broken it may be refused.
    fn order(&mut self, arguments: &str) -> Vec<Undo> {
        let mut mqadmin = Command::new(binary("mqadmin"));
        mqadmin.args(arguments.split(' ')).args(["-a", &self.cluster.controller_list()]);
        let run = mqadmin.env_remove("ROCKETMQ_HOME").output().expect("mqadmin runs");
        assert!(matches!(run.status.code(), Some(0 | 1)), "mqadmin {arguments}: {}", run.status);
        Vec::new()
    }

    fn id_of(&self, broker: &str) -> Option<i64> {
        let address = &self.cluster.brokers.iter().find(|it| it.name == broker)?.address;
        let replicas = self.cluster.replicas()?;
        replicas.in_sync.iter().copied().find(|id| replicas.addresses.get(id) == Some(address))
    }
}
