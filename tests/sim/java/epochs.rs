//! Java's epoch cache (`EpochFileCache`), with its habits: an epoch that starts where the one before does is dropped,
//! and a cut takes every entry that starts at or above it.

use ha::epochs::EpochHistory;
use proto::ha::EpochEntry;
use proto::{Epoch, Offset};

fn entries(of: &EpochHistory) -> Vec<EpochEntry> {
    of.entries().to_vec()
}

fn history(of: Vec<EpochEntry>) -> EpochHistory {
    EpochHistory::from_entries(of).unwrap_or_else(|e| panic!("Java's entries rise: {e}"))
}

/// Refused, without a word, unless both the epoch and its start are greater than the last ones.
pub fn append(to: &EpochHistory, new: EpochEntry) -> EpochHistory {
    let mut all = entries(to);
    if all.last().is_none_or(|last| last.epoch < new.epoch && last.start < new.start) {
        all.push(new);
    }
    history(all)
}

/// Before a master begins its own.
pub fn without_epochs_from(of: &EpochHistory, epoch: Epoch) -> EpochHistory {
    history(entries(of).into_iter().filter(|it| it.epoch < epoch).collect())
}

pub fn without_starts_from(of: &EpochHistory, offset: Offset) -> EpochHistory {
    history(entries(of).into_iter().filter(|it| it.start < offset).collect())
}

/// The newest entry of ours that the other has with the same start decides; none: nobody can help but a person.
pub fn consistent_point(own: &EpochHistory, end: Offset, other: &[EpochEntry], other_end: Offset) -> Option<Offset> {
    let own = own.entries();
    let end_of = |all: &[EpochEntry], at: usize, end| all.get(at + 1).map_or(end, |next: &EpochEntry| next.start);
    own.iter().enumerate().rev().find_map(|(at, entry)| {
        let there = other.iter().position(|it| it == entry)?;
        Some(end_of(own, at, end).min(end_of(other, there, other_end)))
    })
}
