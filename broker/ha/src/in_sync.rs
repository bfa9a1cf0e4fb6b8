//! The SyncStateSet as its master sees it: what the controller has committed, and what it may have committed since
//! (S3).
//!
//! The master never edits the set. It proposes (1001, a compare-and-set on the set's epoch), and from that moment until
//! the outcome is known the *maximal* set, committed ∪ everything proposed, counts. A lost answer keeps it in force:
//! the proposal may have been committed, or may still be, however late, by a controller that was paused. Only a newer
//! version ends that: against it the old proposal is refused.

use proto::BrokerId;
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InSync {
    /// Always contains the master.
    committed: BTreeSet<BrokerId>,
    /// Version of `committed`; only grows within a master epoch.
    epoch: i32,
    /// Members of proposals against `epoch` whose refusal is not certain. Empty when none was sent.
    unresolved: BTreeSet<BrokerId>,
    /// Members of `committed` that one of those proposals leaves out: they may be members no more.
    leaving: BTreeSet<BrokerId>,
    /// The proposal whose answer is awaited.
    in_flight: Option<BTreeSet<BrokerId>>,
    /// A proposal against `epoch` got no answer: it may still be committed at any time, so a refusal of a later one
    /// proves nothing about it.
    unknown: bool,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted {
        set: BTreeSet<BrokerId>,
        epoch: i32,
    },
    /// The controller said no, having applied nothing.
    Refused,
    /// Timeout, closed connection, or an answer that proves nothing.
    Unknown,
}

impl InSync {
    pub fn new(me: BrokerId, mut committed: BTreeSet<BrokerId>, epoch: i32) -> InSync {
        committed.insert(me);
        let (unresolved, leaving) = Default::default();
        InSync { committed, epoch, unresolved, leaving, in_flight: None, unknown: false }
    }

    pub fn committed(&self) -> &BTreeSet<BrokerId> {
        &self.committed
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Everyone who has to have a byte before it may be acknowledged (S3).
    pub fn maximal(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.committed.union(&self.unresolved).copied()
    }

    /// Who is a member whatever becomes of what was proposed (S4): the others may not be electable any more.
    pub fn certain(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.committed.difference(&self.leaving).copied()
    }

    pub fn awaits_answer(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Nothing in doubt: `committed` is the whole truth.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_none() && !self.unknown
    }

    /// From now on until the outcome is known, members of `set` count. One at a time.
    pub fn propose(&mut self, set: BTreeSet<BrokerId>) {
        assert!(self.in_flight.is_none(), "proposed {set:?} while {:?} is under way", self.in_flight);
        self.unresolved.extend(&set);
        self.leaving.extend(self.committed.difference(&set));
        self.in_flight = Some(set);
    }

    pub fn on_outcome(&mut self, outcome: Outcome) {
        self.in_flight = None;
        match outcome {
            Outcome::Accepted { set, epoch } => drop(self.adopt(set, epoch)),
            Outcome::Refused if !self.unknown => self.settle(),
            Outcome::Refused => {}
            // Against an older version it cannot be committed any more.
            Outcome::Unknown if self.unresolved.is_empty() => {}
            Outcome::Unknown => self.unknown = true,
        }
    }

    /// Takes a committed set of this master epoch, wherever it was read. A newer version settles every earlier doubt:
    /// proposals against an older version can no longer be committed. Answers whether anything changed.
    pub fn adopt(&mut self, set: BTreeSet<BrokerId>, epoch: i32) -> bool {
        if epoch <= self.epoch {
            return false;
        }
        self.committed = set;
        self.epoch = epoch;
        self.settle();
        true
    }

    /// What was proposed against this version can no longer be committed.
    pub fn settle(&mut self) {
        self.unknown = false;
        self.unresolved.clear();
        self.leaving.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[BrokerId]) -> BTreeSet<BrokerId> {
        ids.iter().copied().collect()
    }

    fn maximal(it: &InSync) -> Vec<BrokerId> {
        it.maximal().collect()
    }

    fn certain(it: &InSync) -> Vec<BrokerId> {
        it.certain().collect()
    }

    #[test]
    fn a_proposal_counts_from_the_moment_it_is_made_until_it_is_refused() {
        let mut it = InSync::new(1, set(&[1, 2]), 5);
        it.propose(set(&[1, 3]));
        assert_eq!((maximal(&it), certain(&it)), (vec![1, 2, 3], vec![1]));
        it.on_outcome(Outcome::Refused);
        assert_eq!((maximal(&it), certain(&it)), (vec![1, 2], vec![1, 2]));
        assert!(it.is_settled());
    }

    #[test]
    fn a_lost_answer_keeps_the_union_even_when_a_repetition_is_refused() {
        let mut it = InSync::new(1, set(&[1]), 5);
        it.propose(set(&[1, 2]));
        it.on_outcome(Outcome::Unknown);
        it.propose(set(&[1, 2]));
        it.on_outcome(Outcome::Refused); // "equal to the current set": the first one was committed
        assert_eq!(maximal(&it), [1, 2]);
        assert!(!it.is_settled());
        assert!(!it.adopt(set(&[1]), 5), "the version before the proposal says nothing about it");
        assert_eq!(maximal(&it), [1, 2]);
        assert!(it.adopt(set(&[1, 2]), 6));
        assert_eq!((maximal(&it), it.is_settled()), (vec![1, 2], true));
    }

    #[test]
    fn a_set_that_the_controller_shrank_meanwhile_settles_the_doubt() {
        let mut it = InSync::new(1, set(&[1, 2]), 5);
        it.propose(set(&[1, 2, 3]));
        it.adopt(set(&[1]), 6);
        assert_eq!(maximal(&it), [1], "the proposal was against version 5");
        it.on_outcome(Outcome::Unknown);
        assert_eq!((maximal(&it), it.is_settled()), (vec![1], true));
    }
}
