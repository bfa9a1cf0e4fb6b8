//! How a run is: a profile drawn from the seed, so that some are calm in one respect and wild in another. Which acts it
//! draws is in `draw.rs`.

use crate::ctx::NodeId;
use crate::java::Make;
use crate::packet::SetId;
use crate::rng::Rng;
use crate::schedule::Act;
use std::ops::Range;

/// Of a thousand seeds.
const LONG: u64 = 200;
/// Of a thousand strict ones.
const MIXED: u64 = 140;

#[derive(Clone, Debug)]
pub struct Profile {
    /// Machines: the founders, and maybe one that waits to be added.
    pub controllers: usize,
    pub founders: usize,
    pub sets: usize,
    /// Of each set.
    pub replicas: usize,
    /// Of each set.
    pub clients: usize,
    // network
    pub latency_us: u64,
    pub jitter_us: u64,
    /// Per mille of packets that take up to `slow_us` longer.
    pub slow_packets: u64,
    pub slow_us: u64,
    /// Per mille.
    pub loss: u64,
    pub duplicates: u64,
    // configuration
    pub heartbeat_ms: u64,
    pub timeout_ms: u64,
    /// Which brokers are RocketMQ's: some of one set, or none.
    pub java: Range<usize>,
    /// The brokers' drivers look at their timers so often.
    pub tick_us: u64,
    pub poll_ms: u64,
    pub election_ms: u64,
    pub min_in_sync: usize,
    /// `inSyncReplicas`; 0 is the strict profile.
    pub copies: usize,
    pub sync_flush: bool,
    pub fsync_us: u64,
    pub slave_timeout_ms: u64,
    pub ha_heartbeat_ms: u64,
    pub ha_silence_ms: u64,
    pub not_catchup_ms: u64,
    pub task_us: u64,
    pub snapshot_entries: u64,
    pub proof_of_death: bool,
    pub witness_ms: u64,
    pub client_pause_us: u64,
    // faults
    pub drift_ppm: i64,
    pub faults_until: u64,
    pub gap_us: u64,
    pub theme: Theme,
    pub weights: Vec<(Kind, u64)>,
    pub last_blow: LastBlow,
}

/// What the ambushes of a run are about: some constellations are too rare to wait for in runs where everything happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Everything,
    /// One after the other, so that epochs end before a byte is written or confirmed in them.
    Failovers,
    /// Of sets: their answers are lost, or they come late, while the next one is made.
    Proposals,
    /// Of relaxed masters, that end while somebody is stopped or cut off.
    Leases,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KillBroker,
    /// It dies between two outputs of a core.
    CrashBroker,
    PowerBroker,
    PauseBroker,
    KillController,
    PauseController,
    PowerController,
    /// One direction of one link.
    Cut,
    /// A node from some others, in one direction or both.
    Isolate,
    /// A master, with the controllers' leader or without, from the other servers, while clients reach everybody.
    Partition,
    Reset,
    Switchover,
    KillLeaderAndMaster,
    /// At a moment that matters.
    Ambush,
    /// A majority of the controllers dies, or no broker reaches any.
    LoseControllers,
    /// One loses power, all others are killed, and it is back before them.
    Catastrophe,
    WipeBroker,
    WipeController,
    /// Controllers are added and removed.
    Members,
    /// What operators type.
    Order,
    /// A wall clock jumps.
    Jump,
    /// Three parties, some of which do not hear some others.
    Triangle,
}

const KINDS: [(Kind, u64); 22] = [
    (Kind::KillBroker, 10),
    (Kind::CrashBroker, 8),
    (Kind::PowerBroker, 6),
    (Kind::PauseBroker, 6),
    (Kind::KillController, 5),
    (Kind::PauseController, 4),
    (Kind::PowerController, 2),
    (Kind::Cut, 10),
    (Kind::Isolate, 8),
    (Kind::Partition, 6),
    (Kind::Reset, 6),
    (Kind::Switchover, 4),
    (Kind::KillLeaderAndMaster, 3),
    (Kind::Ambush, 12),
    (Kind::LoseControllers, 3),
    (Kind::Catastrophe, 2),
    (Kind::WipeBroker, 2),
    (Kind::WipeController, 1),
    (Kind::Members, 2),
    (Kind::Order, 4),
    (Kind::Jump, 3),
    (Kind::Triangle, 5),
];

#[derive(Clone, Debug)]
pub enum Fault {
    Act(Box<Act>),
    /// Somebody has reached the point where an act waited.
    Sprung(NodeId, Box<Act>),
    Heal(NodeId, NodeId),
    Resume(NodeId),
    Start(NodeId),
    /// An operator looks whether what was ordered is done.
    Operator,
    /// Everything is well from now on.
    Calm,
    /// Look whether an undisturbed set does its work.
    Watch,
    /// Look whether all is as it should be in the end.
    Look,
}

/// What becomes of the last master, when all else is well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBlow {
    Killed,
    Hung,
}

impl Profile {
    pub fn draw(rng: &mut Rng) -> Profile {
        let replicas = rng.pick(&[2, 3, 3, 3, 3, 4]);
        let theme = match rng.below(1_000) {
            0..600 => Theme::Everything,
            600..750 => Theme::Failovers,
            750..850 => Theme::Proposals,
            _ => Theme::Leases,
        };
        let relaxed = theme == Theme::Leases || rng.chance(150);
        let sync_flush = rng.chance(400);
        let min_in_sync = if replicas > 2 { rng.pick(&[1, 2, 2]) } else { rng.pick(&[1, 1, 2]) };
        // One loss in two acknowledged copies is what asynchronous flush survives: see `may_lose_power`.
        let weights = KINDS.iter().map(|(kind, weight)| {
            let darkens = matches!(kind, Kind::PowerBroker | Kind::Catastrophe);
            let asynchronous = darkens && !sync_flush && (min_in_sync < 2 || relaxed);
            let weight = match (theme, kind) {
                (Theme::Everything, _) => weight * rng.between(1, 3),
                (_, Kind::Ambush) => return (*kind, 60),
                (Theme::Leases, Kind::Partition | Kind::PauseController) => weight * 3,
                (Theme::Proposals, Kind::KillBroker | Kind::PauseBroker) => weight * 3,
                _ => *weight,
            };
            (*kind, if asynchronous || rng.chance(250) { 0 } else { weight })
        });
        let weights = weights.collect();
        let timeout_ms = rng.pick(&[1_000, 2_000, 2_000]);
        let life = Profile {
            controllers: if rng.chance(200) { 4 } else { 3 },
            founders: 3,
            sets: rng.pick(&[1, 2, 2]),
            replicas,
            clients: 3,
            latency_us: rng.between(30, 400),
            jitter_us: rng.pick(&[50, 300, 3_000]),
            slow_packets: rng.pick(&[0, 2, 20]),
            slow_us: rng.pick(&[20_000, 300_000, 2_000_000]),
            loss: rng.pick(&[0, 0, 5, 50]),
            duplicates: rng.pick(&[0, 10]),
            heartbeat_ms: rng.pick(&[300, 500]),
            timeout_ms,
            java: 0..0,
            tick_us: 20_000,
            poll_ms: 5_000,
            election_ms: 300,
            min_in_sync,
            copies: if relaxed { rng.pick(&[1, 1, 2]) } else { 0 },
            sync_flush,
            fsync_us: rng.pick(&[500, 4_000, 20_000, 100_000]),
            slave_timeout_ms: 3_000,
            ha_heartbeat_ms: rng.pick(&[1_000, 5_000]),
            ha_silence_ms: rng.pick(&[4_000, 20_000]),
            not_catchup_ms: rng.pick(&[500, 1_000]),
            task_us: rng.pick(&[50, 2_000]),
            snapshot_entries: rng.pick(&[20, 200]),
            proof_of_death: !rng.chance(200),
            witness_ms: rng.pick(&[0, 2_000]),
            client_pause_us: rng.pick(&[3_000, 15_000, 60_000]),
            drift_ppm: rng.pick(&[0, 200, 20_000]),
            faults_until: rng.between(15, 30) * 1_000_000,
            gap_us: rng.pick(&[300_000, 800_000, 2_000_000]),
            theme,
            weights,
            last_blow: rng.pick(&[LastBlow::Killed, LastBlow::Hung]),
        };
        // The last draws: whether it is long or mixed does not change what else a seed has drawn.
        let life = if rng.chance(LONG) { life.long(rng) } else { life };
        if life.copies == 0 && rng.chance(MIXED) { life.mixed(rng) } else { life }
    }

    /// One or two of a set's brokers are RocketMQ's, the others ours.
    fn mixed(mut self, rng: &mut Rng) -> Profile {
        let end = self.brokers_of(SetId(rng.below(self.sets as u64) as usize)).end;
        let count = if self.replicas > 3 { rng.pick(&[1, 2]) } else { 1 };
        self.java = end - count..end;
        // Both ends of a link are as patient as by default: RocketMQ's connect every five seconds.
        self.ha_silence_ms = 20_000;
        self
    }

    pub fn make(&self, broker: usize) -> Make {
        if self.java.contains(&broker) { Make::Java } else { Make::Baton }
    }

    /// Is one of the set's replicas RocketMQ's?
    pub fn is_mixed(&self, set: SetId) -> bool {
        self.brokers_of(set).any(|it| self.make(it) == Make::Java)
    }

    /// Half an hour instead of half a minute, and as far apart as its faults are what clients send and what timers do:
    /// for what only time brings about, as clocks that drift apart do.
    fn long(self, rng: &mut Rng) -> Profile {
        Profile {
            election_ms: rng.pick(&[1_000, 2_000]),
            heartbeat_ms: 500,
            ha_heartbeat_ms: 5_000,
            ha_silence_ms: 20_000,
            tick_us: 100_000,
            client_pause_us: rng.pick(&[400_000, 1_000_000]),
            faults_until: rng.between(1_200, 2_400) * 1_000_000,
            gap_us: rng.pick(&[10_000_000, 30_000_000]),
            ..self
        }
    }

    /// Three brokers, strict, on a good network; nothing goes wrong by itself.
    pub fn quiet() -> Profile {
        Profile {
            controllers: 3,
            founders: 3,
            sets: 1,
            replicas: 3,
            clients: 3,
            latency_us: 100,
            jitter_us: 300,
            slow_packets: 0,
            slow_us: 20_000,
            loss: 0,
            duplicates: 0,
            heartbeat_ms: 500,
            timeout_ms: 2_000,
            java: 0..0,
            tick_us: 20_000,
            poll_ms: 5_000,
            election_ms: 300,
            min_in_sync: 1,
            copies: 0,
            sync_flush: false,
            fsync_us: 20_000,
            slave_timeout_ms: 3_000,
            ha_heartbeat_ms: 5_000,
            ha_silence_ms: 4_000,
            not_catchup_ms: 1_000,
            task_us: 2_000,
            snapshot_entries: 20,
            proof_of_death: true,
            witness_ms: 0,
            client_pause_us: 8_000,
            drift_ppm: 0,
            faults_until: 12_000_000,
            gap_us: 800_000,
            theme: Theme::Everything,
            weights: Vec::new(),
            last_blow: LastBlow::Killed,
        }
    }

    /// The last one is RocketMQ's, and others are as patient with it as by default.
    pub fn quiet_and_mixed() -> Profile {
        Profile { java: 2..3, ha_silence_ms: 20_000, ..Profile::quiet() }
    }

    pub fn nodes(&self) -> usize {
        self.controllers + self.brokers() + self.sets * self.clients + self.consumers()
    }

    /// Of all sets: the replicas of the first one, then those of the second.
    pub fn brokers(&self) -> usize {
        self.sets * self.replicas
    }

    /// One of each set.
    pub fn consumers(&self) -> usize {
        self.sets
    }

    pub fn set_of_broker(&self, index: usize) -> SetId {
        SetId(index / self.replicas)
    }

    pub fn brokers_of(&self, set: SetId) -> Range<usize> {
        set.0 * self.replicas..(set.0 + 1) * self.replicas
    }

    pub fn kind(&self, rng: &mut Rng) -> Option<Kind> {
        let mut at = rng.below(self.weights.iter().map(|it| it.1).sum());
        for (kind, weight) in &self.weights {
            if at < *weight {
                return Some(*kind);
            }
            at -= weight;
        }
        None
    }
}
