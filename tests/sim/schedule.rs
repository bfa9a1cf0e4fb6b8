//! What happens to a simulated cluster, and when: a list of acts, each with all its parameters, which a seed draws and
//! a person may read, paste and edit (`schedule/text.rs`).
//!
//! ```text
//! seed 17; network 3; calm at 9000 ms; without loss
//! 3000 ms: kill a.master for 40 ms
//! 3100 ms: at the next proposal, after 0.3 ms: cut controllers > it for 400 ms
//! ```
//! The seed gives the profile, the network's seed all other chance; the acts are all that goes wrong by intent. The
//! same schedule is the same run.

mod text;

use crate::ctx::Point;
use crate::draw;
use crate::faults::Profile;
use crate::packet::SetId;
use crate::rng::Rng;
use std::collections::BTreeSet;
pub use text::{POINTS, TROUBLES};

/// Whom an act strikes. Names are resolved when it strikes, so that a schedule keeps its sense when acts before it are
/// taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// From 0, here and below; printed from 1.
    Controller(usize),
    Broker(usize),
    Client(usize),
    Consumer(usize),
    /// The controllers' leader.
    Leader,
    /// Of a broker set.
    Master(SetId),
    /// A slave that nobody would elect before the others of its set.
    Slave(SetId),
    /// Who reached the point of an ambush.
    It,
    Controllers,
    /// All brokers of a set.
    Set(SetId),
    Servers,
    All,
}

/// Those of `of` who are not of `but`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub of: Vec<Who>,
    pub but: Vec<Who>,
}

impl From<Who> for Group {
    fn from(who: Who) -> Group {
        Group { of: vec![who], but: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    There,
    Both,
}

/// Packets from the first group to the second do not arrive; nor, with `Both`, those that go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub from: Group,
    pub to: Group,
    pub direction: Direction,
}

/// All times are microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// kill -9; it is started again after `back`.
    Kill {
        who: Who,
        back: u64,
    },
    /// It dies after so many more outputs of its cores, between two of them.
    Crash {
        who: Who,
        outputs: u32,
        back: u64,
    },
    /// Its host loses power, and of what was not flushed all but this part.
    PowerOff {
        who: Who,
        back: u64,
        kept_percent: u64,
    },
    Pause {
        who: Who,
        lasts: u64,
    },
    /// Each link heals at a moment of its own within `healing` of the end.
    Cut {
        ways: Vec<Way>,
        lasts: u64,
        healing: u64,
    },
    /// All connections between them break; both live.
    Break {
        a: Who,
        b: Who,
    },
    /// Killed, and its disk is exchanged for an empty one before it is started again.
    Wipe {
        who: Who,
        back: u64,
    },
    /// The wall clock shows something else from now on.
    Jump {
        who: Who,
        by_ms: i64,
    },
    Order(Order),
    /// When somebody reaches the point, and so much later.
    Ambush {
        point: Point,
        wait: u64,
        act: Box<Act>,
    },
}

/// What an operator types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A planned change of master (S10).
    Switch { set: SetId },
    /// `electMaster` without an id.
    Elect { set: SetId },
    /// `electMaster` with the id of this replica.
    Designate { who: Who },
    /// `cleanBrokerMetadata` of the replicas whose disks are gone.
    Clean { set: SetId },
    /// `transferLeadership`.
    Transfer { to: Who },
    /// `addController`, with all that belongs to it.
    Add { who: Who },
    /// `removeController`.
    Remove { who: Who },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    pub at: u64,
    pub act: Act,
}

/// What a profile brings besides acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Loss,
    Duplicates,
    SlowPackets,
    Drift,
}

/// Where the profile comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Seed(u64),
    /// Three brokers, strict, on a good network.
    Quiet,
    /// And one of them is RocketMQ's.
    Mixed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub setting: Setting,
    /// Of all chance but the profile's and the acts'.
    pub network: u64,
    /// When all that is broken is mended, if not when the profile says so.
    pub calm_at: Option<u64>,
    pub without: BTreeSet<Trouble>,
    /// In the order of their times.
    pub acts: Vec<Timed>,
}

impl Schedule {
    /// The one that this seed draws.
    pub fn drawn(seed: u64) -> Schedule {
        let acts = draw::acts(&Profile::draw(&mut Rng::new(seed)), &mut Rng::new(seed ^ 0x5C4E_D01E));
        Schedule { setting: Setting::Seed(seed), network: seed, calm_at: None, without: BTreeSet::new(), acts }
    }

    pub fn profile(&self) -> Profile {
        let mut it = match self.setting {
            Setting::Seed(seed) => Profile::draw(&mut Rng::new(seed)),
            Setting::Quiet => Profile::quiet(),
            Setting::Mixed => Profile::quiet_and_mixed(),
        };
        it.faults_until = self.calm_at.unwrap_or(it.faults_until);
        for trouble in &self.without {
            match trouble {
                Trouble::Loss => it.loss = 0,
                Trouble::Duplicates => it.duplicates = 0,
                Trouble::SlowPackets => it.slow_packets = 0,
                Trouble::Drift => it.drift_ppm = 0,
            }
        }
        it
    }

    pub fn chance(&self) -> Rng {
        Rng::new(self.network ^ 0x0C4A_4CE0)
    }
}

#[cfg(test)]
mod tests;
