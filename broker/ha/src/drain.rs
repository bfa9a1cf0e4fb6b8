//! The master's side of a planned change (S10): when the target has everything, and when the master goes on instead.
//!
//! ```text
//! hold ──target has the end, all of it confirmed──▶ drained ──newer epoch──▶ (the mastership is over)
//!   └──────────drain limit──────────▶ over              └──hold limit──▶ over
//! ```
//! Promises: drained means that nothing was appended since the end that is told, that every acknowledged message lies
//! below it, and that the target has it all.

use crate::master::DOUBT_MS;
use proto::header::HoldWritesRequest;
use proto::{BrokerId, Millis, Offset};

/// Longest that a controller may make this master wait for anything: a mistaken request must not stop writes for long.
const LONGEST_MS: i64 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Waits,
    /// Put out once.
    Drained(Offset),
    /// The change did not happen; appends go on.
    Over(String),
}

#[derive(Clone, Debug)]
pub struct Drain {
    pub target: BrokerId,
    /// Where the log ends; nothing is appended meanwhile.
    end: Offset,
    drain_until: Millis,
    hold: Millis,
    /// Since when the target has everything.
    drained: Option<Millis>,
}

impl Drain {
    pub fn new(now: Millis, request: &HoldWritesRequest, end: Offset) -> Drain {
        let bounded = |ms: i64| ms.clamp(0, LONGEST_MS) as Millis;
        Drain {
            target: request.target_broker_id,
            end,
            drain_until: now + bounded(request.drain_mills),
            hold: bounded(request.hold_mills),
            drained: None,
        }
    }

    /// An election that this drain allows may be under way until then, or later in a controller that was paused; that
    /// one grants no lease before it knows the outcome. Until then this master acknowledges, in the relaxed profile
    /// too, only what its whole set has: the target is one of them.
    pub fn trust_lease_from(&self) -> Millis {
        self.drain_until + self.hold + DOUBT_MS
    }

    /// `acked`: what the target has acknowledged, if it is connected.
    pub fn step(&mut self, now: Millis, acked: Option<Offset>, confirmed: Offset) -> Progress {
        match self.drained {
            None if acked.is_some_and(|it| it >= self.end) && confirmed >= self.end => {
                self.drained = Some(now);
                Progress::Drained(self.end)
            }
            None if now >= self.drain_until => Progress::Over(format!(
                "replica {} did not get the whole log in time: the log ends at {}, it has {}, confirmed is {confirmed}",
                self.target,
                self.end,
                acked.map_or("no connection".to_owned(), |it| it.to_string()),
            )),
            Some(since) if now >= since + self.hold => Progress::Over("no other master was elected in time".to_owned()),
            None | Some(_) => Progress::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain() -> Drain {
        let request = HoldWritesRequest {
            broker_name: "a".into(),
            master_epoch: 3,
            target_broker_id: 2,
            drain_mills: 1_000,
            hold_mills: 500,
        };
        Drain::new(100, &request, 9_000)
    }

    #[test]
    fn drained_needs_both_the_targets_copy_and_the_confirmation_of_all() {
        let mut it = drain();
        assert_eq!(it.step(101, None, 9_000), Progress::Waits);
        assert_eq!(it.step(102, Some(8_999), 9_000), Progress::Waits);
        assert_eq!(it.step(103, Some(9_000), 8_999), Progress::Waits);
        assert_eq!(it.step(104, Some(9_000), 9_000), Progress::Drained(9_000));
        assert_eq!(it.step(105, Some(9_000), 9_000), Progress::Waits, "told once");
    }

    #[test]
    fn a_target_that_is_too_slow_changes_nothing() {
        let mut it = drain();
        assert_eq!(it.step(1_099, Some(8_000), 8_000), Progress::Waits);
        let Progress::Over(why) = it.step(1_100, Some(8_000), 8_000) else { panic!("still waits") };
        assert!(why.contains("ends at 9000, it has 8000"), "{why}");
    }

    #[test]
    fn a_controller_that_dies_after_the_drain_lets_the_master_go_on_by_its_own_clock() {
        let mut it = drain();
        assert_eq!(it.step(600, Some(9_000), 9_000), Progress::Drained(9_000));
        assert_eq!(it.step(1_099, None, 9_000), Progress::Waits);
        assert!(matches!(it.step(1_100, None, 9_000), Progress::Over(_)));
        assert!(
            it.trust_lease_from() >= 1_100 + DOUBT_MS,
            "its lease proves nothing while the election may be under way"
        );
    }

    #[test]
    fn no_request_stops_writes_for_longer_than_the_limit() {
        let request = HoldWritesRequest { drain_mills: i64::MAX, hold_mills: -1, ..HoldWritesRequest::default() };
        let mut it = Drain::new(0, &request, 1);
        assert!(matches!(it.step(10_000, None, 0), Progress::Over(_)));
    }
}
