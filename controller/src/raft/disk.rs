//! What Raft must find again after a restart, behind a trait of two methods: rocksdb for real, memory for tests.

use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use std::collections::BTreeMap;

/// Everything on disk. `entries` follow the snapshot or overlap it; they are contiguous.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub hard_state: HardState,
    pub conf_state: ConfState,
    pub snapshot: Snapshot,
    pub entries: Vec<Entry>,
    /// Index and term of the last entry that was compacted away.
    pub truncated: (u64, u64),
    /// Which data directory each other controller was first heard with, by Raft id.
    pub directories: BTreeMap<u64, u64>,
}

/// One atomic write.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    pub hard_state: Option<&'a HardState>,
    /// Replace everything from the first one's index on.
    pub entries: &'a [Entry],
    /// A new snapshot, with its conf state.
    pub snapshot: Option<&'a Snapshot>,
    /// Forget entries up to and including this (index, term).
    pub truncate: Option<(u64, u64)>,
    /// Forget all entries: an installed snapshot replaces them.
    pub discard_entries: bool,
    /// A controller, by Raft id, and the data directory it was first heard with.
    pub directory: Option<(u64, u64)>,
    pub durability: Durability,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On disk when `write` returns.
    #[default]
    Synced,
    /// May be lost with the power: only for what Raft can learn again (the commit index).
    Lazy,
}

pub trait Disk: Send + 'static {
    fn load(&mut self) -> anyhow::Result<Stored>;
    fn write(&mut self, batch: &Batch<'_>) -> anyhow::Result<()>;
}

/// Keeps what was written for as long as the value lives.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    stored: Stored,
}

impl MemoryDisk {
    /// An empty disk of a group with these members.
    pub fn new(voters: &[u64]) -> MemoryDisk {
        let conf_state = ConfState { voters: voters.to_vec(), ..Default::default() };
        MemoryDisk { stored: Stored { conf_state, ..Default::default() } }
    }
}

impl Disk for MemoryDisk {
    fn load(&mut self) -> anyhow::Result<Stored> {
        Ok(self.stored.clone())
    }

    fn write(&mut self, batch: &Batch<'_>) -> anyhow::Result<()> {
        let stored = &mut self.stored;
        if let Some(snapshot) = batch.snapshot {
            stored.conf_state = snapshot.get_metadata().get_conf_state().clone();
            stored.snapshot = snapshot.clone();
        }
        if batch.discard_entries {
            stored.entries.clear();
        }
        if let Some(first) = batch.entries.first() {
            stored.entries.retain(|it| it.index < first.index);
            stored.entries.extend_from_slice(batch.entries);
        }
        if let Some(truncated) = batch.truncate {
            stored.entries.retain(|it| it.index > truncated.0);
            stored.truncated = truncated;
        }
        stored.directories.extend(batch.directory);
        if let Some(hard_state) = batch.hard_state {
            stored.hard_state = hard_state.clone();
        }
        Ok(())
    }
}
