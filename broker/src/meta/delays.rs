//! How far each delay level is delivered: the next offset of its queue in the delay topic.
//!
//! Part of [`super::OffsetTable`], whose sequence numbers its changes: it travels to the slaves with the consumer
//! offsets, and is small enough to go as a whole.

use proto::body::{DataVersion, DelayOffsetTable};
use std::collections::BTreeMap;

/// Changes per step of the table's DataVersion (`delayOffsetUpdateVersionStep`).
const VERSION_STEP: u64 = 200;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayTable {
    pub version: DataVersion,
    /// Level, counted from 1 → queue offset.
    table: BTreeMap<i32, i64>,
    /// Sequence of the last change.
    changed: u64,
    /// Changes since this table was made.
    changes: u64,
}

impl DelayTable {
    pub fn from_file(file: DelayOffsetTable) -> DelayTable {
        DelayTable { version: file.data_version, table: file.offset_table, ..Default::default() }
    }

    pub fn to_file(&self) -> DelayOffsetTable {
        DelayOffsetTable { data_version: self.version, offset_table: self.table.clone() }
    }

    /// 0 for a level of which nothing was delivered yet.
    pub fn get(&self, level: i32) -> i64 {
        self.table.get(&level).copied().unwrap_or(0)
    }

    /// Number of the last change, for whoever writes the file.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether enough has changed since `at_changes` for a new DataVersion.
    pub fn due_for_version(&self, at_changes: u64) -> bool {
        self.changes >= at_changes + VERSION_STEP
    }

    pub(super) fn newer_than(&self, sequence: Option<u64>) -> Option<DelayOffsetTable> {
        sequence.is_none_or(|it| it < self.changed || it == 0).then(|| self.to_file())
    }

    pub(super) fn put(&mut self, level: i32, offset: i64, sequence: u64) {
        self.table.insert(level, offset);
        self.note(sequence);
    }

    pub(super) fn replace(&mut self, file: DelayOffsetTable, sequence: u64) {
        (self.version, self.table) = (file.data_version, file.offset_table);
        self.note(sequence);
    }

    fn note(&mut self, sequence: u64) {
        self.changed = sequence;
        self.changes += 1;
    }
}
