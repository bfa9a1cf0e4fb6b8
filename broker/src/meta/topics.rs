//! Topics: names, queues, permissions, attributes, and the rules by which one is created or changed.

use super::settings::Stamp;
use proto::body::{DataVersion, TopicConfig};
use proto::topic::{self, perm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicTable {
    pub version: DataVersion,
    topics: BTreeMap<Arc<str>, Topic>,
}

/// A topic and the settings version that created it; while that is not known to have reached the slaves, no message of
/// the topic is accepted, because a successor might not know the topic (S13). It outlives the mastership that made it.
/// 0: it came from a file, or from another master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub config: Arc<TopicConfig>,
    pub created: u64,
}

/// `topics.json`, and how the table travels to a Baton slave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicFile {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

impl TopicTable {
    pub fn from_file(file: TopicFile) -> TopicTable {
        let entry = |(name, mut config): (String, TopicConfig)| {
            config.topic_name.clone_from(&name);
            (Arc::from(name), Topic { config: Arc::new(config), created: 0 })
        };
        TopicTable { version: file.data_version, topics: file.topic_config_table.into_iter().map(entry).collect() }
    }

    pub fn to_file(&self) -> TopicFile {
        TopicFile { data_version: self.version, topic_config_table: self.configs() }
    }

    pub fn configs(&self) -> BTreeMap<String, TopicConfig> {
        self.topics.iter().map(|(name, topic)| (name.to_string(), (*topic.config).clone())).collect()
    }

    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// With the shared name, for messages.
    pub fn entry(&self, name: &str) -> Option<(&Arc<str>, &Topic)> {
        self.topics.get_key_value(name)
    }

    pub fn config(&self, name: &str) -> Option<&TopicConfig> {
        self.topics.get(name).map(|it| &*it.config)
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    pub fn count(&self) -> usize {
        self.topics.len()
    }

    /// False when it is there already, exactly so.
    pub(super) fn put(&mut self, config: TopicConfig, at: Stamp) -> bool {
        if self.config(&config.topic_name) == Some(&config) {
            return false;
        }
        let created = self.get(&config.topic_name).map_or(at.settings, |it| it.created);
        let name = Arc::from(config.topic_name.as_str());
        self.topics.insert(name, Topic { config: Arc::new(config), created });
        self.version = at.after(&self.version);
        true
    }

    pub(super) fn remove(&mut self, name: &str, at: Stamp) -> bool {
        let there = self.topics.remove(name).is_some();
        if there {
            self.version = at.after(&self.version);
        }
        there
    }

    /// §4.3: what a send to an unknown topic creates, if `template` lets it. `unit` is the send's unit mode.
    pub fn auto_created(&self, name: &str, template: &str, wanted_queues: i32, unit: bool) -> Option<TopicConfig> {
        let template = self.config(template).filter(|it| perm::is_inherited(it.perm))?;
        let queues = wanted_queues.min(template.write_queue_nums);
        if queues <= 0 {
            return None;
        }
        Some(TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: template.perm & !perm::INHERIT,
            topic_filter_type: template.topic_filter_type.clone(),
            topic_sys_flag: i32::from(unit),
            ..Default::default()
        })
    }
}

/// A retry or dead-letter topic.
pub fn derived(name: String, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name,
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: perm::READ | perm::WRITE,
        ..Default::default()
    }
}

/// Which topics a broker always has (broker-rpc §17).
#[derive(Clone, Debug)]
pub struct SystemTopics<'a> {
    pub cluster: &'a str,
    pub broker_name: &'a str,
    pub auto_create_queues: Option<i32>,
    pub cluster_topic: bool,
    pub broker_topic: bool,
    pub trace_topic: Option<&'a str>,
}

impl SystemTopics<'_> {
    pub fn configs(&self) -> Vec<TopicConfig> {
        const RW: i32 = perm::READ | perm::WRITE;
        let one = |name: &str, queues, perm| TopicConfig { perm, ..derived(name.to_owned(), queues) };
        let mut all = vec![
            one(topic::SELF_TEST_TOPIC, 1, RW),
            one(topic::BENCHMARK_TOPIC, 1024, RW),
            one(topic::OFFSET_MOVED_EVENT, 1, RW),
            one(topic::SCHEDULE_TOPIC, 18, RW),
            one(&topic::reply_topic(self.cluster), 1, RW),
            one(&topic::revive_topic(self.cluster), 8, RW),
            one(&topic::sync_broker_member_topic(self.broker_name), 1, perm::INHERIT),
            one(topic::TRANS_HALF_TOPIC, 1, RW),
            one(topic::TRANS_OP_HALF_TOPIC, 1, RW),
            one(topic::TIMER_TOPIC, 1, RW),
        ];
        all.extend(self.auto_create_queues.map(|it| one(topic::AUTO_CREATE_TOPIC_KEY_TOPIC, it, RW | perm::INHERIT)));
        let cluster_perm = if self.cluster_topic { RW | perm::INHERIT } else { perm::INHERIT };
        all.push(one(self.cluster, 16, cluster_perm));
        all.push(one(self.broker_name, 1, if self.broker_topic { RW | perm::INHERIT } else { perm::INHERIT }));
        all.extend(self.trace_topic.map(|it| one(it, 1, RW)));
        all
    }
}

/// `+k=v,+k2=v2,-k3` applied to what is there. Keys and values are kept as they came; which ones mean something is
/// their reader's business.
pub fn apply_attributes(current: &BTreeMap<String, String>, changes: &str) -> Result<BTreeMap<String, String>, String> {
    let mut next = current.clone();
    for change in changes.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        if let Some(pair) = change.strip_prefix('+') {
            let (key, value) = pair.split_once('=').ok_or(format!("attribute `{change}`: want +key=value"))?;
            next.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = change.strip_prefix('-') {
            if next.remove(key).is_none() {
                return Err(format!("attribute `{change}`: the topic has no attribute `{key}`"));
            }
        } else {
            return Err(format!("attribute `{change}`: want +key=value or -key"));
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests;
