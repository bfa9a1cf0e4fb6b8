//! Topics, groups and consumer offsets of this broker: who may change them, in which order, and when a
//! change is durable.
//!
//! One thread ("metadata") owns the settings: it applies changes in order, writes `topics.json` and
//! `subscriptionGroup.json`, and publishes
//! a snapshot that everybody reads without a lock. Consumer offsets change too often for that: they are a table behind
//! a short lock,
//! written every few seconds. How both reach the slaves is [`crate::members`]' and [`crate::metadata_sync`]'s business.

mod writer;

use crate::config::Config;
use crate::files::FileError;
use crate::meta::custody;
use crate::meta::settings::Touched;
use crate::meta::topics::SystemTopics;
use crate::meta::{Change, OffsetTable, Settings};
use crate::sync_wire::{SyncBody, SyncVersion};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use proto::Epoch;
use proto::body::TopicConfig;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// Changes waiting for the writer. Each costs a file write, so more than this means the disk hangs; askers then wait.
const QUEUE: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("not the master; ask the master to change topics and groups")]
    NotMaster,
    #[error("{0}")]
    NotWritten(String),
    #[error("the broker is shutting down")]
    Stopped,
}

/// What a change did, and which version has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub touched: Touched,
    pub version: SyncVersion,
}

pub struct Metadata {
    settings: Arc<ArcSwap<Settings>>,
    offsets: Arc<Mutex<OffsetTable>>,
    /// What a slave of this master can have. Changes with each change of the settings, and some 20 times a second
    /// with the offsets.
    versions: watch::Sender<SyncVersion>,
    /// Settings version that every member of the set is known to have (S13).
    settled: AtomicU64,
    commands: mpsc::Sender<Command>,
}

enum Command {
    Change { changes: Vec<Change>, done: oneshot::Sender<Result<Applied, MetadataError>> },
    BecomeMaster { epoch: Epoch, done: oneshot::Sender<SyncVersion> },
    Follow { epoch: Epoch },
    Replace { version: SyncVersion, body: Box<SyncBody>, done: oneshot::Sender<Result<Replaced, MetadataError>> },
    SaveOffsets { done: oneshot::Sender<()> },
    SaveDelays { done: oneshot::Sender<()> },
}

/// What a master's answer did to a slave's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    pub removed_topics: Vec<String>,
}

impl Metadata {
    /// Loads the files below `root`/config, adds the system topics and groups, starts the writer thread.
    pub fn open(config: &Config, root: &Path) -> Result<Metadata, FileError> {
        let system = system_topics(config);
        let (writer, settings, offsets) = writer::Writer::load(&root.join("config"), system)?;
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let offsets = Arc::new(Mutex::new(offsets));
        let versions = watch::Sender::new(SyncVersion::default());
        let (commands, queue) = mpsc::channel(QUEUE);
        let metadata = Metadata {
            settings: settings.clone(),
            offsets: offsets.clone(),
            versions: versions.clone(),
            settled: AtomicU64::new(0),
            commands,
        };
        std::thread::Builder::new()
            .name("metadata".into())
            .spawn(move || writer.run(queue, &settings, &offsets, &versions))
            .map_err(|error| FileError::Io {
                path: "metadata".into(),
                what: "start the writer thread",
                why: error.to_string(),
            })?;
        Ok(metadata)
    }

    pub fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Held for moments only.
    pub fn offsets(&self) -> MutexGuard<'_, OffsetTable> {
        self.offsets.lock()
    }

    pub fn versions(&self) -> watch::Receiver<SyncVersion> {
        self.versions.subscribe()
    }

    /// Whether every member of the set is known to have settings up to this version.
    pub fn is_settled(&self, settings: u64) -> bool {
        settings <= self.settled.load(Ordering::Acquire)
    }

    pub fn set_settled(&self, settings: u64) {
        self.settled.fetch_max(settings, Ordering::AcqRel);
    }

    /// Applies and persists here; the caller waits for the slaves.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Applied, MetadataError> {
        let (done, applied) = oneshot::channel();
        self.ask(Command::Change { changes, done }).await?;
        applied.await.map_err(|_| MetadataError::Stopped)?
    }

    /// What was applied so far is served as it is, under a DataVersion that is newer than any older master's. No send
    /// waits for the slaves to have what came from another master or a file: mostly they have it from where this
    /// replica has it, and they get it now. Sends do wait for a topic that this process itself made in an earlier
    /// mastership if nobody has confirmed it since, and so does whoever asks for a change that is there already: it may
    /// have reached this replica alone (S13).
    pub async fn become_master(&self, epoch: Epoch) -> Result<SyncVersion, MetadataError> {
        let (done, version) = oneshot::channel();
        self.ask(Command::BecomeMaster { epoch, done }).await?;
        version.await.map_err(|_| MetadataError::Stopped)
    }

    pub async fn follow(&self, epoch: Epoch) -> Result<(), MetadataError> {
        self.ask(Command::Follow { epoch }).await
    }

    /// Applies and persists a master's answer, unless this replica follows another one meanwhile.
    pub async fn replace(&self, version: SyncVersion, body: SyncBody) -> Result<Replaced, MetadataError> {
        let (done, replaced) = oneshot::channel();
        self.ask(Command::Replace { version, body: Box::new(body), done }).await?;
        replaced.await.map_err(|_| MetadataError::Stopped)?
    }

    /// On disk when it returns, if the disk lets us.
    pub async fn save_offsets(&self) {
        let (done, saved) = oneshot::channel();
        if self.ask(Command::SaveOffsets { done }).await.is_ok() {
            let _ = saved.await;
        }
    }

    /// The same for how far the delay levels are delivered.
    pub async fn save_delays(&self) {
        let (done, saved) = oneshot::channel();
        if self.ask(Command::SaveDelays { done }).await.is_ok() {
            let _ = saved.await;
        }
    }

    /// Lets the slaves have what was committed since the last call.
    pub fn publish_offsets(&self) {
        let sequence = self.offsets.lock().sequence();
        self.versions.send_if_modified(|it| std::mem::replace(&mut it.offsets, sequence) != sequence);
    }

    /// What a slave with `has` lacks; `None`: nothing.
    pub fn newer_than(&self, has: SyncVersion) -> Option<(SyncVersion, SyncBody)> {
        // Order matters: the version first, then tables that are at least as new.
        let version = *self.versions.borrow();
        custody::newer_than(has, version, &self.settings.load(), &self.offsets.lock())
    }

    async fn ask(&self, command: Command) -> Result<(), MetadataError> {
        self.commands.send(command).await.map_err(|_| MetadataError::Stopped)
    }
}

fn system_topics(config: &Config) -> Vec<TopicConfig> {
    SystemTopics {
        cluster: &config.broker_cluster_name,
        broker_name: &config.broker_name,
        auto_create_queues: config.auto_create_topic_enable.then_some(config.default_topic_queue_nums),
        cluster_topic: config.cluster_topic_enable,
        broker_topic: config.broker_topic_enable,
        trace_topic: config.trace_topic_enable.then_some(config.msg_trace_topic_name.as_str()),
    }
    .configs()
}

#[cfg(test)]
mod tests;
