//! Topics and groups together: what a change acknowledged to an operator must survive with (S13).
//!
//! Changes are applied in one order on the master; `settings` numbers them within a master epoch, so that a slave can
//! say what it has.

use super::groups::GroupTable;
use super::topics::TopicTable;
use proto::Epoch;
use proto::body::{DataVersion, SubscriptionGroupConfig, TopicConfig};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub topics: TopicTable,
    pub groups: GroupTable,
}

/// When a change happens: the master's epoch, its number within that, and the wall clock for Java's DataVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub epoch: Epoch,
    pub settings: u64,
    pub now_ms: i64,
}

impl Stamp {
    pub(crate) fn after(&self, version: &DataVersion) -> DataVersion {
        DataVersion { counter: version.counter + 1, state_version: self.epoch.into(), timestamp: self.now_ms }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces.
    PutTopic(TopicConfig),
    /// Several producers may find the same topic missing; the first creates it.
    CreateTopic(TopicConfig),
    RemoveTopic(String),
    PutGroup(SubscriptionGroupConfig),
    CreateGroup(SubscriptionGroupConfig),
    RemoveGroup(String),
    /// A new master's tables count as newer than any of an older one's, whatever their counters.
    Adopt,
}

/// Which tables changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub topics: bool,
    pub groups: bool,
}

impl Touched {
    pub fn any(self) -> bool {
        self.topics || self.groups
    }
}

impl Settings {
    pub fn apply(&mut self, change: Change, at: Stamp) -> Touched {
        match change {
            Change::PutTopic(config) => self.put_topic(config, at),
            Change::CreateTopic(config) if self.topics.get(&config.topic_name).is_some() => Touched::default(),
            Change::CreateTopic(config) => self.put_topic(config, at),
            Change::RemoveTopic(name) => Touched { topics: self.topics.remove(&name, at), groups: false },
            Change::PutGroup(config) => self.put_group(config, at),
            Change::CreateGroup(config) if self.groups.get(&config.group_name).is_some() => Touched::default(),
            Change::CreateGroup(config) => self.put_group(config, at),
            Change::RemoveGroup(name) => Touched { topics: false, groups: self.groups.remove(&name, at) },
            Change::Adopt => {
                self.topics.version = at.after(&self.topics.version);
                self.groups.version = at.after(&self.groups.version);
                Touched { topics: true, groups: true }
            }
        }
    }

    fn put_topic(&mut self, config: TopicConfig, at: Stamp) -> Touched {
        Touched { topics: self.topics.put(config, at), groups: false }
    }

    fn put_group(&mut self, config: SubscriptionGroupConfig, at: Stamp) -> Touched {
        Touched { topics: false, groups: self.groups.put(config, at) }
    }
}

#[cfg(test)]
mod tests;
