//! How far each replica's log is behind its master's, from what their heartbeats say. Pure.
//!
//! Heartbeats of one set arrive at different moments, so a replica is compared with what its master had when the
//! replica spoke; otherwise each would seem to lag by up to one heartbeat's worth of traffic.

use proto::{BrokerId, Millis, Offset};
use std::collections::{BTreeMap, VecDeque};

/// Log ends of a master to remember. When there are more, the one least missed goes: what happened a while ago needs no
/// fine clock.
const SAMPLES: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub bytes: u64,
    /// For how long the first byte that the replica lacks has been in the master's log.
    pub ms: Millis,
}

/// Every set's masters and how their logs grew.
#[derive(Debug, Default)]
pub struct Lags {
    sets: BTreeMap<String, Growth>,
}

#[derive(Debug)]
struct Growth {
    master: BrokerId,
    /// Log ends with the time at which they were first heard, oldest first; both grow.
    samples: VecDeque<(Millis, Offset)>,
}

impl Growth {
    /// Forgets the sample whose neighbours are nearest to each other for their age, so that the distance between
    /// samples grows with their age. The first and the last stay.
    fn thin(&mut self, now: Millis) {
        let at = |i: usize| self.samples[i].0;
        // In parts per million of its age.
        let gap = |i: &usize| (at(i + 1) - at(i - 1)) * 1_000_000 / now.saturating_sub(at(*i)).max(1);
        if let Some(least) = (1..self.samples.len() - 1).min_by_key(gap) {
            self.samples.remove(least);
        }
    }
}

impl Lags {
    pub fn on_master(&mut self, now: Millis, broker_set: &str, master: BrokerId, end: Offset) {
        let Some(growth) = self.sets.get_mut(broker_set).filter(|it| it.master == master) else {
            let growth = Growth { master, samples: VecDeque::from([(now, end)]) };
            self.sets.insert(broker_set.to_owned(), growth);
            return;
        };
        match growth.samples.back() {
            Some((_, last)) if *last == end => return,
            // Cut at a handshake or begun anew: what was heard before says nothing.
            Some((_, last)) if *last > end => growth.samples.clear(),
            _ => {}
        }
        growth.samples.push_back((now, end));
        if growth.samples.len() > SAMPLES {
            growth.thin(now);
        }
    }

    pub fn forget(&mut self, broker_set: &str) {
        self.sets.remove(broker_set);
    }

    /// Of a replica whose log ended at `end` at the moment `at`; none while its master has not been heard.
    pub fn of(&self, broker_set: &str, id: BrokerId, at: Millis, end: Offset) -> Option<Lag> {
        let growth = self.sets.get(broker_set)?;
        if growth.master == id {
            return Some(Lag::default());
        }
        let then = growth.samples.iter().rev().find(|it| it.0 <= at).or(growth.samples.front())?;
        let missing = growth.samples.iter().find(|it| it.1 > end && it.0 <= at);
        Some(Lag {
            bytes: u64::try_from(then.1 - end.max(0)).unwrap_or(0),
            ms: missing.map_or(0, |it| at.saturating_sub(it.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing() -> Lags {
        let mut lags = Lags::default();
        for second in 0..10 {
            lags.on_master(second * 1000, "a", 1, second as Offset * 100);
        }
        lags
    }

    #[test]
    fn a_replica_is_compared_with_its_master_at_the_moment_it_spoke() {
        let lags = growing();
        assert_eq!(lags.of("a", 2, 4_500, 400), Some(Lag::default()));
        assert_eq!(lags.of("a", 2, 4_500, 450), Some(Lag::default()), "ahead of the last heartbeat");
        assert_eq!(lags.of("a", 2, 4_500, 150), Some(Lag { bytes: 250, ms: 2_500 }));
        assert_eq!(lags.of("a", 1, 9_000, 0), Some(Lag::default()), "the master lags behind nobody");
        assert_eq!(lags.of("b", 1, 9_000, 0), None);
    }

    #[test]
    fn a_dead_replica_lags_ever_more() {
        let mut lags = growing();
        assert_eq!(lags.of("a", 2, 9_000, 300), Some(Lag { bytes: 600, ms: 5_000 }));
        lags.on_master(60_000, "a", 1, 5_000);
        assert_eq!(lags.of("a", 2, 61_000, 300), Some(Lag { bytes: 4_700, ms: 57_000 }));
    }

    #[test]
    fn an_idle_master_makes_nobody_late() {
        let mut lags = growing();
        (10..100).for_each(|second| lags.on_master(second * 1000, "a", 1, 900));
        assert_eq!(lags.of("a", 2, 99_500, 900), Some(Lag::default()));
        assert_eq!(lags.of("a", 2, 99_500, 800), Some(Lag { bytes: 100, ms: 90_500 }));
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_long_ago() {
        let mut lags = Lags::default();
        for second in 0..10_000 {
            lags.on_master(second * 1000, "a", 1, second as Offset);
        }
        assert!(lags.sets["a"].samples.len() <= SAMPLES);
        for seconds in [1, 10, 100, 1_000, 9_000] {
            let lag = lags.of("a", 2, 9_999_000, 9_998 - seconds as Offset).unwrap();
            assert_eq!(lag.bytes, seconds + 1);
            let truth = seconds * 1000;
            assert!((truth * 6 / 10..=truth).contains(&lag.ms), "{seconds} s: {lag:?}");
        }
    }

    #[test]
    fn a_successor_is_measured_from_its_own_first_heartbeat() {
        let mut lags = growing();
        lags.on_master(10_000, "a", 2, 850);
        assert_eq!(lags.of("a", 1, 10_100, 900), Some(Lag::default()));
        assert_eq!(lags.of("a", 3, 10_100, 800), Some(Lag { bytes: 50, ms: 100 }));
        lags.forget("a");
        assert_eq!(lags.of("a", 3, 10_100, 800), None);
    }
}
