//! Disks: what survives the process, and what survives the host.

use crate::packet::Cell;
use broker::meta::Settings;
use controller::raft::{Batch, Disk, MemoryDisk, Stored, disk::Durability};
use ha::epochs::EpochHistory;
use ha::role::Promise;
use proto::{BrokerId, Offset};
use raft::eraftpb::HardState;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A broker's store directory. Everything but the log's tail and the confirm offset is durable when it is written.
#[derive(Clone, Debug, Default)]
pub struct StoreDisk {
    pub log: Vec<Cell>,
    /// Above this the log may be another one than when the judge looked last.
    pub unjudged: usize,
    /// Below this the host's memory is not needed.
    pub flushed: usize,
    pub epochs: EpochHistory,
    pub promise: Option<Promise>,
    pub identity: Identity,
    /// As noted without forcing it to disk, and as forced.
    pub confirm: Offset,
    pub confirm_flushed: Offset,
    /// Topics and groups, written at every change; consumers' offsets, every few seconds.
    pub settings: Settings,
    pub offsets: BTreeMap<String, BTreeMap<i32, i64>>,
    /// The host has restarted and no registration has said so yet (S7).
    pub host_restarted: bool,
    /// A cut that was not made durable, planted: what comes back.
    pub revenant: Vec<Cell>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    #[default]
    Unknown,
    Applying(BrokerId, String),
    Known(BrokerId),
}

impl StoreDisk {
    pub fn end(&self) -> Offset {
        self.log.len() as Offset
    }

    /// Where the last whole message ends.
    pub fn whole_end(&self) -> usize {
        self.whole_end_below(self.end())
    }

    /// The same of the log up to here.
    pub fn whole_end_below(&self, offset: Offset) -> usize {
        let mut end = (offset.max(0) as usize).min(self.log.len());
        while end > 0 && self.log[end - 1].part + 1 != self.log[end - 1].parts {
            end -= 1;
        }
        end
    }

    pub fn truncate(&mut self, to: usize) {
        self.log.truncate(to);
        self.unjudged = self.unjudged.min(to);
        self.flushed = self.flushed.min(to);
        self.confirm = self.confirm.min(to as Offset);
        self.confirm_flushed = self.confirm_flushed.min(to as Offset);
    }

    /// The host's memory is gone: the log ends somewhere between what was flushed and what was written, in the middle
    /// of a message maybe.
    pub fn lose_memory(&mut self, kept: usize) {
        self.truncate(kept.max(self.flushed));
        self.confirm = self.confirm_flushed.min(self.end());
        self.host_restarted = true;
    }

    /// What a start makes of it (S12).
    pub fn recover(&mut self) {
        self.log.append(&mut self.revenant);
        let end = self.whole_end();
        self.truncate(end);
        self.flushed = end;
    }
}

#[derive(Default)]
struct Inner {
    disk: MemoryDisk,
    /// A commit index that was written without a sync.
    lazy: Option<HardState>,
    /// The last entry was not made durable, planted.
    forgetful: bool,
}

/// A controller's directory, which its processes share one after the other.
#[derive(Clone)]
pub struct RaftDisk(Arc<Mutex<Inner>>);

impl RaftDisk {
    pub fn new(voters: &[u64], forgetful: bool) -> RaftDisk {
        let disk = MemoryDisk::new(voters);
        RaftDisk(Arc::new(Mutex::new(Inner { disk, forgetful, ..Default::default() })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().expect("one thread"))
    }

    pub fn lose_memory(&self) {
        self.with(|it| it.lazy = None);
    }

    /// With which directory this one was first heard.
    pub fn directory_of(&self, raft_id: u64) -> Option<u64> {
        self.with(|it| it.disk.load().ok()?.directories.get(&raft_id).copied())
    }
}

impl Disk for RaftDisk {
    fn load(&mut self) -> anyhow::Result<Stored> {
        self.with(|it| {
            let hard_state = it.lazy.take();
            it.disk.write(&Batch { hard_state: hard_state.as_ref(), ..Default::default() })?;
            let mut stored = it.disk.load()?;
            if it.forgetful {
                let gone = stored.entries.pop();
                let last = gone.map_or(u64::MAX, |it| it.index - 1);
                stored.hard_state.commit = stored.hard_state.commit.min(last);
            }
            Ok(stored)
        })
    }

    fn write(&mut self, batch: &Batch<'_>) -> anyhow::Result<()> {
        self.with(|it| {
            if batch.durability == Durability::Lazy {
                it.lazy = batch.hard_state.cloned();
                return Ok(());
            }
            if batch.hard_state.is_some() {
                it.lazy = None;
            }
            it.disk.write(batch)
        })
    }
}
