//! Whose topics and groups these are, and what may change them (S2, S13).
//!
//! Pure: what a step would make of the tables comes out as a [`Next`]; it counts once it is on disk and accepted.

use super::settings::Touched;
use super::{Change, GroupTable, OffsetTable, Settings, Stamp, topics::TopicTable};
use crate::sync_wire::{SyncBody, SyncVersion};
use proto::Epoch;

/// Topics and groups of this replica.
#[derive(Clone, Debug, Default)]
pub struct Custody {
    settings: Settings,
    allegiance: Allegiance,
    /// Number of the last change, over all masterships of this process.
    version: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Allegiance {
    #[default]
    Nobody,
    Own(Epoch),
    /// Tables of an older master are not taken any more (S2).
    Master(Epoch),
}

/// Tables that do not count yet.
#[derive(Clone, Debug)]
pub struct Next {
    pub settings: Settings,
    pub touched: Touched,
    version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these tables are not of this replica's present master")]
pub struct NotOurs;

impl Custody {
    pub fn new(settings: Settings) -> Custody {
        Custody { settings, ..Default::default() }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Of the mastership that these tables are of; 0: none.
    pub fn epoch(&self) -> Epoch {
        match self.allegiance {
            Allegiance::Own(epoch) | Allegiance::Master(epoch) => epoch,
            Allegiance::Nobody => 0,
        }
    }

    /// The epoch in which this replica may change them.
    pub fn own_epoch(&self) -> Option<Epoch> {
        match self.allegiance {
            Allegiance::Own(epoch) => Some(epoch),
            _ => None,
        }
    }

    pub fn stamp(&self, epoch: Epoch, now_ms: i64) -> Stamp {
        Stamp { epoch, settings: self.version, now_ms }
    }

    /// Whoever tells us this may be late: an allegiance to an older epoch is not gone back to (S2).
    pub fn follow(&mut self, epoch: Epoch) {
        match self.allegiance {
            Allegiance::Own(own) if epoch <= own => {}
            Allegiance::Master(known) if epoch < known => {}
            _ => self.allegiance = Allegiance::Master(epoch),
        }
    }

    /// A new master's tables count as newer than any of an older one's. They count at once: a failover does not wait
    /// for a file that says nothing new but its version.
    pub fn become_master(&mut self, epoch: Epoch, settings: Settings, now_ms: i64) -> Touched {
        self.allegiance = Allegiance::Own(epoch);
        self.version += 1;
        self.settings = settings;
        self.settings.apply(Change::Adopt, self.stamp(epoch, now_ms))
    }

    /// Several changes under one number; nothing, if they change nothing.
    pub fn change(&self, changes: &[Change], now_ms: i64) -> Result<Option<Next>, NotOurs> {
        let epoch = self.own_epoch().ok_or(NotOurs)?;
        let at = Stamp { settings: self.version + 1, ..self.stamp(epoch, now_ms) };
        let (mut settings, mut touched) = (self.settings.clone(), Touched::default());
        for change in changes {
            let by_this = settings.apply(change.clone(), at);
            touched.topics |= by_this.topics;
            touched.groups |= by_this.groups;
        }
        Ok(touched.any().then_some(Next { settings, touched, version: at.settings }))
    }

    /// A master's answer, unless this replica follows another one meanwhile.
    pub fn replace(&self, version: SyncVersion, body: &SyncBody) -> Result<Next, NotOurs> {
        if self.allegiance != Allegiance::Master(version.master_epoch) {
            return Err(NotOurs);
        }
        let mut settings = self.settings.clone();
        let touched = Touched { topics: body.topics.is_some(), groups: body.groups.is_some() };
        if let Some(file) = body.topics.clone() {
            settings.topics = TopicTable::from_file(file);
        }
        if let Some(file) = body.groups.clone() {
            settings.groups = GroupTable::from_file(file);
        }
        Ok(Next { settings, touched, version: self.version })
    }

    /// It is on disk.
    pub fn accept(&mut self, next: Next) {
        self.settings = next.settings;
        self.version = next.version;
    }
}

/// What a slave with `has` lacks of tables that are at least `version`; `None`: nothing.
pub fn newer_than(
    has: SyncVersion,
    mut version: SyncVersion,
    settings: &Settings,
    offsets: &OffsetTable,
) -> Option<(SyncVersion, SyncBody)> {
    let same_epoch = has.master_epoch == version.master_epoch;
    if same_epoch && has.settings >= version.settings && has.offsets >= version.offsets {
        return None;
    }
    let mut body = SyncBody::default();
    if !same_epoch || has.settings < version.settings {
        body.topics = Some(settings.topics.to_file());
        body.groups = Some(settings.groups.to_file());
    }
    let since = same_epoch.then_some(has.offsets);
    version.offsets = offsets.sequence();
    body.whole_offsets = offsets.is_whole(since);
    body.offsets = offsets.newer_than(since);
    body.delays = offsets.delays_newer_than(since);
    Some((version, body))
}

/// The consumers' part of a master's answer.
pub fn take_offsets(table: &mut OffsetTable, body: SyncBody) {
    match body.whole_offsets {
        true => table.replace(body.offsets),
        false => table.merge(body.offsets),
    }
    if let Some(delays) = body.delays {
        table.replace_delays(delays);
    }
}
