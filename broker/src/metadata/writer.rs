//! The thread that owns topics and groups: applies, writes the files, publishes.

use super::{Applied, Command, MetadataError, Replaced};
use crate::files::{FileError, JsonFile};
use crate::meta::settings::Touched;
use crate::meta::topics::{TopicFile, TopicTable};
use crate::meta::{Change, Custody, GroupTable, OffsetTable, Settings, custody, groups};
use crate::sync_wire::{SyncBody, SyncVersion};
use arc_swap::ArcSwap;
use node::clock::wall_ms;
use parking_lot::Mutex;
use proto::Epoch;
use proto::body::{ConsumerOffsetTable, DelayOffsetTable, SubscriptionGroupWrapper, TopicConfig};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

pub(super) struct Writer {
    topics_file: JsonFile,
    groups_file: JsonFile,
    offsets_file: JsonFile,
    delays_file: JsonFile,
    system: Vec<TopicConfig>,
    custody: Custody,
    /// Sequence of the offsets that the file has, and at which their DataVersion was last bumped.
    saved_offsets: u64,
    versioned_offsets: u64,
    /// The same of the delay levels' table, in its changes.
    saved_delays: u64,
    versioned_delays: u64,
}

impl Writer {
    pub(super) fn load(folder: &Path, system: Vec<TopicConfig>) -> Result<(Writer, Settings, OffsetTable), FileError> {
        let topics_file = JsonFile::new(folder, "topics.json");
        let groups_file = JsonFile::new(folder, "subscriptionGroup.json");
        let offsets_file = JsonFile::new(folder, "consumerOffset.json");
        let delays_file = JsonFile::new(folder, "delayOffset.json");
        let topics = TopicTable::from_file(topics_file.load::<TopicFile>()?.unwrap_or_default());
        let groups = GroupTable::from_file(groups_file.load::<SubscriptionGroupWrapper>()?.unwrap_or_default());
        let offsets = OffsetTable::from_file(offsets_file.load::<ConsumerOffsetTable>()?.unwrap_or_default())
            .with_delays(delays_file.load::<DelayOffsetTable>()?.unwrap_or_default());
        let mut writer = Writer {
            topics_file,
            groups_file,
            offsets_file,
            delays_file,
            system,
            custody: Custody::new(Settings { topics, groups }),
            saved_offsets: offsets.sequence(),
            versioned_offsets: offsets.sequence(),
            saved_delays: offsets.delays().changes(),
            versioned_delays: offsets.delays().changes(),
        };
        let (settings, touched) = writer.with_system_settings(0);
        writer.save(&settings, touched)?;
        writer.custody = Custody::new(settings.clone());
        Ok((writer, settings, offsets))
    }

    pub(super) fn run(
        mut self,
        mut queue: mpsc::Receiver<Command>,
        published: &ArcSwap<Settings>,
        offsets: &Mutex<OffsetTable>,
        versions: &watch::Sender<SyncVersion>,
    ) {
        // Ends when the last handle is gone.
        while let Some(command) = queue.blocking_recv() {
            match command {
                Command::Change { changes, done } => {
                    let _ = done.send(self.change(changes, published, offsets, versions));
                }
                Command::BecomeMaster { epoch, done } => {
                    let _ = done.send(self.become_master(epoch, published, offsets, versions));
                }
                Command::Follow { epoch } => self.custody.follow(epoch),
                Command::Replace { version, body, done } => {
                    let _ = done.send(self.replace(version, *body, published, offsets));
                }
                Command::SaveOffsets { done } => {
                    self.save_offsets(offsets);
                    let _ = done.send(());
                }
                Command::SaveDelays { done } => {
                    self.save_delays(offsets);
                    let _ = done.send(());
                }
            }
        }
    }

    /// Persisted before it is published: nobody sees what a crash could take back.
    fn change(
        &mut self,
        changes: Vec<Change>,
        published: &ArcSwap<Settings>,
        offsets: &Mutex<OffsetTable>,
        versions: &watch::Sender<SyncVersion>,
    ) -> Result<Applied, MetadataError> {
        let next = self.custody.change(&changes, wall_ms()).map_err(|_| MetadataError::NotMaster)?;
        let touched = next.as_ref().map(|it| it.touched).unwrap_or_default();
        if let Some(next) = next {
            self.save(&next.settings, touched).map_err(|error| MetadataError::NotWritten(error.to_string()))?;
            self.custody.accept(next);
            forget_offsets(&changes, &mut offsets.lock());
            self.publish(published, versions, offsets);
        }
        Ok(Applied { touched, version: *versions.borrow() })
    }

    /// Published first: a failover does not wait for a file that says nothing new but its version.
    fn become_master(
        &mut self,
        epoch: Epoch,
        published: &ArcSwap<Settings>,
        offsets: &Mutex<OffsetTable>,
        versions: &watch::Sender<SyncVersion>,
    ) -> SyncVersion {
        let (next, _) = self.with_system_settings(epoch);
        let touched = self.custody.become_master(epoch, next, wall_ms());
        self.publish(published, versions, offsets);
        let version = *versions.borrow();
        if let Err(error) = self.save(self.custody.settings(), touched) {
            tracing::error!(%error, epoch, "topics and groups are not written; the next change writes them again");
        }
        version
    }

    fn replace(
        &mut self,
        version: SyncVersion,
        body: SyncBody,
        published: &ArcSwap<Settings>,
        offsets: &Mutex<OffsetTable>,
    ) -> Result<Replaced, MetadataError> {
        let next = self.custody.replace(version, &body).map_err(|_| MetadataError::NotMaster)?;
        self.save(&next.settings, next.touched).map_err(|error| MetadataError::NotWritten(error.to_string()))?;
        let gone = |name: &&Arc<str>| next.settings.topics.get(name).is_none();
        let before = &self.custody.settings().topics;
        let removed_topics = before.names().filter(gone).map(|it| it.to_string()).collect();
        custody::take_offsets(&mut offsets.lock(), body);
        self.custody.accept(next);
        published.store(Arc::new(self.custody.settings().clone()));
        Ok(Replaced { removed_topics })
    }

    fn publish(
        &self,
        published: &ArcSwap<Settings>,
        versions: &watch::Sender<SyncVersion>,
        offsets: &Mutex<OffsetTable>,
    ) {
        published.store(Arc::new(self.custody.settings().clone()));
        let (master_epoch, settings) = (self.custody.epoch(), self.custody.version());
        versions.send_replace(SyncVersion { master_epoch, settings, offsets: offsets.lock().sequence() });
    }

    /// The settings with every topic and group that a broker always has.
    fn with_system_settings(&self, epoch: Epoch) -> (Settings, Touched) {
        let at = self.custody.stamp(epoch, wall_ms());
        let mut next = self.custody.settings().clone();
        let mut touched = Touched::default();
        for topic in &self.system {
            touched.topics |= next.apply(Change::CreateTopic(topic.clone()), at).topics;
        }
        for group in proto::topic::SYSTEM_GROUPS {
            touched.groups |= next.apply(Change::CreateGroup(groups::auto_created(group)), at).groups;
        }
        (next, touched)
    }

    fn save(&self, settings: &Settings, touched: Touched) -> Result<(), FileError> {
        if touched.topics {
            self.topics_file.save(&settings.topics.to_file())?;
        }
        if touched.groups {
            self.groups_file.save(&settings.groups.to_file())?;
        }
        Ok(())
    }

    fn save_offsets(&mut self, offsets: &Mutex<OffsetTable>) {
        let (file, sequence) = {
            let mut offsets = offsets.lock();
            if offsets.sequence() == self.saved_offsets {
                return;
            }
            if offsets.due_for_version(self.versioned_offsets) {
                self.versioned_offsets = offsets.sequence();
                offsets.version = self.custody.stamp(self.custody.epoch(), wall_ms()).after(&offsets.version);
            }
            (offsets.to_file(), offsets.sequence())
        };
        match self.offsets_file.save(&file) {
            Ok(()) => self.saved_offsets = sequence,
            Err(error) => tracing::error!(%error, "consumer offsets are not written; tried again in some seconds"),
        }
    }

    fn save_delays(&mut self, offsets: &Mutex<OffsetTable>) {
        let (file, changes) = {
            let mut offsets = offsets.lock();
            let changes = offsets.delays().changes();
            if changes == self.saved_delays {
                return;
            }
            // A slave keeps its master's version.
            let own = self.custody.own_epoch().is_some();
            if own && offsets.delays().due_for_version(self.versioned_delays) {
                self.versioned_delays = changes;
                *offsets.delays_version() =
                    self.custody.stamp(self.custody.epoch(), wall_ms()).after(&offsets.delays().version);
            }
            (offsets.delays().to_file(), changes)
        };
        match self.delays_file.save(&file) {
            Ok(()) => self.saved_delays = changes,
            Err(error) => tracing::error!(%error, "delivered delays are not written; tried again soon"),
        }
    }
}

fn forget_offsets(changes: &[Change], offsets: &mut OffsetTable) {
    for change in changes {
        // A group's offsets go only if its removal asked for that.
        if let Change::RemoveTopic(topic) = change {
            offsets.remove_topic(topic);
        }
    }
}
