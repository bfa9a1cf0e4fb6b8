//! Consumer groups and their settings.

use super::settings::Stamp;
use proto::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTable {
    pub version: DataVersion,
    groups: BTreeMap<String, Arc<SubscriptionGroupConfig>>,
    /// group → topic → bits; kept for Java's sake, which writes it into the same file.
    forbidden: BTreeMap<String, BTreeMap<String, i32>>,
}

impl GroupTable {
    pub fn from_file(file: SubscriptionGroupWrapper) -> GroupTable {
        let entry = |(name, mut config): (String, SubscriptionGroupConfig)| {
            config.group_name.clone_from(&name);
            (name, Arc::new(config))
        };
        let groups = file.subscription_group_table.into_iter().map(entry).collect();
        GroupTable { version: file.data_version, groups, forbidden: file.forbidden_table }
    }

    pub fn to_file(&self) -> SubscriptionGroupWrapper {
        SubscriptionGroupWrapper {
            data_version: self.version,
            forbidden_table: self.forbidden.clone(),
            subscription_group_table: self.groups.iter().map(|(name, it)| (name.clone(), (**it).clone())).collect(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<SubscriptionGroupConfig>> {
        self.groups.get(name)
    }

    pub fn count(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn put(&mut self, config: SubscriptionGroupConfig, at: Stamp) -> bool {
        if self.groups.get(&config.group_name).is_some_and(|it| **it == config) {
            return false;
        }
        self.groups.insert(config.group_name.clone(), Arc::new(config));
        self.version = at.after(&self.version);
        true
    }

    pub(super) fn remove(&mut self, name: &str, at: Stamp) -> bool {
        let there = self.groups.remove(name).is_some();
        if there {
            self.forbidden.remove(name);
            self.version = at.after(&self.version);
        }
        there
    }
}

/// What the first use of an unknown group creates.
pub fn auto_created(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.to_owned(), ..Default::default() }
}
