//! Consumer offsets: how far each group has consumed each queue; and how far each delay level is delivered.
//!
//! Every change gets the next number of a sequence, so that a slave can ask for what is newer than what it has.
//! Removals cannot be told that way: they set `removed_at`, and who is older than that gets the whole table.

use super::delays::DelayTable;
use proto::body::{ConsumerOffsetTable, DataVersion, DelayOffsetTable};
use std::collections::{BTreeMap, BTreeSet};

/// Commits per step of the table's DataVersion (`consumerOffsetUpdateVersionStep`).
const VERSION_STEP: u64 = 500;
const SEPARATOR: char = '@';

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetTable {
    pub version: DataVersion,
    /// `topic@group` → queue → offset. No inner map is empty.
    table: BTreeMap<String, BTreeMap<i32, Committed>>,
    delays: DelayTable,
    /// Grows with every change.
    sequence: u64,
    /// Sequence of the last removal.
    removed_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Committed {
    offset: i64,
    changed: u64,
}

fn key(topic: &str, group: &str) -> String {
    format!("{topic}{SEPARATOR}{group}")
}

impl OffsetTable {
    pub fn from_file(file: ConsumerOffsetTable) -> OffsetTable {
        let mut this = OffsetTable { version: file.data_version, ..Default::default() };
        this.merge(file.offset_table);
        this
    }

    pub fn to_file(&self) -> ConsumerOffsetTable {
        ConsumerOffsetTable { data_version: self.version, offset_table: self.newer_than(None) }
    }

    pub fn with_delays(self, file: DelayOffsetTable) -> OffsetTable {
        OffsetTable { delays: DelayTable::from_file(file), ..self }
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.table.get(&key(topic, group))?.get(&queue_id).map(|it| it.offset)
    }

    /// Stores an offset, backwards too: a consumer may have been reset. Says whether anything changed.
    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        self.put(key(topic, group), queue_id, offset)
    }

    fn put(&mut self, key: String, queue_id: i32, offset: i64) -> bool {
        let queues = self.table.entry(key).or_default();
        if queues.get(&queue_id).is_some_and(|it| it.offset == offset) {
            return false;
        }
        self.sequence += 1;
        queues.insert(queue_id, Committed { offset, changed: self.sequence });
        true
    }

    /// Whether enough was committed since `at_sequence` for a new DataVersion.
    pub fn due_for_version(&self, at_sequence: u64) -> bool {
        self.sequence >= at_sequence + VERSION_STEP
    }

    /// What changed after `sequence`; everything without one or when something was removed since.
    pub fn newer_than(&self, sequence: Option<u64>) -> BTreeMap<String, BTreeMap<i32, i64>> {
        let after = sequence.filter(|it| *it >= self.removed_at).unwrap_or(0);
        let newer = |queues: &BTreeMap<i32, Committed>| -> BTreeMap<i32, i64> {
            queues.iter().filter(|(_, it)| after == 0 || it.changed > after).map(|(id, it)| (*id, it.offset)).collect()
        };
        self.table.iter().map(|(key, queues)| (key.clone(), newer(queues))).filter(|(_, it)| !it.is_empty()).collect()
    }

    /// Whether [`OffsetTable::newer_than`] answers with the whole table.
    pub fn is_whole(&self, sequence: Option<u64>) -> bool {
        sequence.is_none_or(|it| it < self.removed_at || it == 0)
    }

    pub fn merge(&mut self, offsets: BTreeMap<String, BTreeMap<i32, i64>>) {
        for (key, queues) in offsets {
            for (queue_id, offset) in queues {
                self.put(key.clone(), queue_id, offset);
            }
        }
    }

    pub fn replace(&mut self, offsets: BTreeMap<String, BTreeMap<i32, i64>>) {
        self.table.clear();
        self.sequence += 1;
        self.removed_at = self.sequence;
        self.merge(offsets);
    }

    pub fn remove_topic(&mut self, topic: &str) {
        self.remove(|of_topic, _| of_topic == topic);
    }

    pub fn remove_group(&mut self, group: &str) {
        self.remove(|_, of_group| of_group == group);
    }

    fn remove(&mut self, gone: impl Fn(&str, &str) -> bool) {
        let before = self.table.len();
        self.table.retain(|key, _| !key.split_once(SEPARATOR).is_some_and(|(topic, group)| gone(topic, group)));
        if self.table.len() != before {
            self.sequence += 1;
            self.removed_at = self.sequence;
        }
    }

    /// S13: no offset stays beyond its queue's end, which truncation may have moved back. `end` answers `None` for a
    /// queue without
    /// messages. Returns what was changed, as (topic@group, queue, from, to).
    pub fn clamp(&mut self, end: impl Fn(&str, i32) -> Option<i64>) -> Vec<(String, i32, i64, i64)> {
        let mut clamped = Vec::new();
        for (key, queues) in &self.table {
            let topic = key.split_once(SEPARATOR).map_or(key.as_str(), |(topic, _)| topic);
            for (queue_id, committed) in queues {
                let limit = end(topic, *queue_id).unwrap_or(0);
                if committed.offset > limit {
                    clamped.push((key.clone(), *queue_id, committed.offset, limit));
                }
            }
        }
        for (key, queue_id, _, to) in &clamped {
            self.put(key.clone(), *queue_id, *to);
        }
        clamped
    }

    // ---- delay levels

    pub fn delays(&self) -> &DelayTable {
        &self.delays
    }

    pub fn delays_version(&mut self) -> &mut DataVersion {
        &mut self.delays.version
    }

    /// Everything of a level below `offset` is delivered and confirmed. Never goes back: whoever says less is late.
    pub fn delivered(&mut self, level: i32, offset: i64) {
        if offset > self.delays.get(level) {
            self.put_delay(level, offset);
        }
    }

    /// A level's queue ends earlier than was delivered: what comes there next must not be skipped.
    pub fn clamp_delay(&mut self, level: i32, end: i64) {
        if end < self.delays.get(level) {
            self.put_delay(level, end);
        }
    }

    fn put_delay(&mut self, level: i32, offset: i64) {
        self.sequence += 1;
        self.delays.put(level, offset, self.sequence);
    }

    /// The delay levels' table if it changed after `sequence`, as [`OffsetTable::newer_than`].
    pub fn delays_newer_than(&self, sequence: Option<u64>) -> Option<DelayOffsetTable> {
        self.delays.newer_than(sequence)
    }

    pub fn replace_delays(&mut self, file: DelayOffsetTable) {
        if self.delays.to_file() != file {
            self.sequence += 1;
            self.delays.replace(file, self.sequence);
        }
    }

    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        self.pairs().filter(|(it, _)| *it == topic).map(|(_, group)| group.to_owned()).collect()
    }

    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        self.pairs().filter(|(_, it)| *it == group).map(|(topic, _)| topic.to_owned()).collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.keys().filter_map(|it| it.split_once(SEPARATOR))
    }
}

#[cfg(test)]
mod tests;
