//! The log since the last compaction, in memory: raft-rs reads it, [`super::thread`] writes it through to disk.
//!
//! Compaction bounds it to a few megabytes, so that nothing is ever read back from disk but at start.

use super::disk::Stored;
use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use ::raft::storage::{GetEntriesContext, RaftState, Storage};
use ::raft::{Error, StorageError};
use anyhow::{bail, ensure};
use std::collections::{BTreeMap, VecDeque};

pub(super) struct Log {
    pub(super) hard_state: HardState,
    pub(super) conf_state: ConfState,
    /// As found on disk; the thread takes it.
    pub(super) directories: BTreeMap<u64, u64>,
    /// The newest snapshot; never older than `truncated`.
    pub(super) snapshot: Snapshot,
    /// Index and term of the entry before the first one.
    truncated: (u64, u64),
    entries: VecDeque<Entry>,
    /// Payload bytes of `entries`.
    bytes: usize,
    /// Of these, what the last compaction left: it must not count towards the next.
    kept_bytes: usize,
}

impl Log {
    /// Refuses what no correct controller can have written.
    pub(super) fn load(stored: Stored) -> anyhow::Result<Log> {
        let mut log = Log {
            hard_state: stored.hard_state,
            conf_state: stored.conf_state,
            directories: stored.directories,
            snapshot: stored.snapshot,
            truncated: stored.truncated,
            entries: VecDeque::new(),
            bytes: 0,
            kept_bytes: 0,
        };
        for entry in stored.entries {
            let (want, have) = (log.last() + 1, entry.index);
            ensure!(want == have, "raft log: entry {have} where {want} belongs");
            log.push(entry);
        }
        // A snapshot holds only what was committed; the commit index is written lazily and may be behind it.
        log.hard_state.commit = log.hard_state.commit.max(log.snapshot_index());
        let (commit, last, snapshot) = (log.hard_state.commit, log.last(), log.snapshot.get_metadata().index);
        if commit > last {
            bail!("raft log: ends at {last}, but {commit} was committed");
        }
        ensure!(
            snapshot >= log.truncated.0,
            "raft log: starts after {}, the snapshot ends at {snapshot}",
            log.truncated.0
        );
        Ok(log)
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.data.len();
        self.entries.push_back(entry);
    }

    pub(super) fn first(&self) -> u64 {
        self.truncated.0 + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.truncated.0 + self.entries.len() as u64
    }

    pub(super) fn snapshot_index(&self) -> u64 {
        self.snapshot.get_metadata().index
    }

    /// Replaces everything from the first new entry on.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            (self.first()..=self.last() + 1).contains(&first.index),
            "append at {} to a log of {}..={}",
            first.index,
            self.first(),
            self.last()
        );
        while self.last() >= first.index {
            self.bytes -= self.entries.pop_back().map_or(0, |it| it.data.len());
        }
        entries.iter().cloned().for_each(|it| self.push(it));
    }

    /// The log before `index` is covered by the snapshot and no longer needed.
    pub(super) fn truncate(&mut self, to: (u64, u64)) {
        while self.first() <= to.0 {
            self.bytes -= self.entries.pop_front().map_or(0, |it| it.data.len());
            self.truncated.0 += 1;
        }
        self.truncated = to;
    }

    /// A leader's snapshot replaces the log.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        let meta = snapshot.get_metadata();
        self.conf_state = meta.get_conf_state().clone();
        self.truncated = (meta.index, meta.term);
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.hard_state.term = self.hard_state.term.max(meta.term);
        self.entries.clear();
        (self.bytes, self.kept_bytes) = (0, 0);
        self.snapshot = snapshot;
    }

    /// A snapshot was taken, and the log cut behind it as far as it may be.
    pub(super) fn compacted(&mut self, snapshot: Snapshot, to: Option<(u64, u64)>) {
        self.snapshot = snapshot;
        if let Some(to) = to {
            self.truncate(to);
        }
        self.kept_bytes = self.bytes;
    }

    /// Payload bytes since the last compaction.
    pub(super) fn grown_bytes(&self) -> usize {
        self.bytes.saturating_sub(self.kept_bytes)
    }

    pub(super) fn entries_from(&self, first: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |it| it.index >= first)
    }

    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.truncated.0 {
            return Some(self.truncated.1);
        }
        let at = index.checked_sub(self.first())?;
        self.entries.get(at as usize).map(|it| it.term)
    }
}

impl Storage for Log {
    fn initial_state(&self) -> ::raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> ::raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "entries up to {high} asked of a log that ends at {}", self.last());
        let range = (low - self.first()) as usize..(high - self.first()) as usize;
        let mut some = self.entries.range(range).cloned().collect::<Vec<_>>();
        ::raft::util::limit_size(&mut some, max.into());
        Ok(some)
    }

    fn term(&self, index: u64) -> ::raft::Result<u64> {
        let why = if index < self.truncated.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_of(index).ok_or(Error::Store(why))
    }

    fn first_index(&self) -> ::raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> ::raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, at_least: u64, _to: u64) -> ::raft::Result<Snapshot> {
        match self.snapshot_index() {
            0 => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
            index if index < at_least => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
            _ => Ok(self.snapshot.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen after a kill -9: the snapshot was synced, the commit index of the same moment was not.
    #[test]
    fn a_snapshot_newer_than_the_commit_index_on_disk_is_what_was_committed() {
        let entries = (1..=5).map(|index| Entry { index, term: 1, ..Default::default() }).collect();
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = 4;
        snapshot.mut_metadata().term = 1;
        let hard_state = HardState { term: 1, commit: 2, ..Default::default() };
        let log = Log::load(Stored { hard_state, snapshot, entries, ..Default::default() }).unwrap();
        assert_eq!((log.hard_state.commit, log.first(), log.last()), (4, 1, 5));
    }
}
