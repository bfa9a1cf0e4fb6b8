//! The route table: which broker serves which topic at which address. Pure; soft state that brokers refresh.
//!
//! ```text
//! topics    topic → broker set → queues and permission        what producers and consumers may use
//! sets      broker set → {cluster, id → address}               id 0 is the master
//! live      (cluster, address) → {set, last update, version, connection}
//! ```
//! Promises: an address stands under one id of its set at most; an address whose connection closed or whose time ran
//! out stands nowhere; of two masters of one set the one with the greater or equal state version (its epoch, S1) keeps
//! id 0; a failover alias ([`proto::alias`]) is in the routes of topics that its set has, and in no list and no count
//! but where aliases are asked for. Does not decide who is master.

mod lookup;

use proto::body::{DataVersion, QueueData, TopicConfig, TopicQueueMappingInfo};
use proto::{BrokerId, MASTER_ID, Millis};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use lookup::{Aliases, UnitTopics, Zone};

/// A connection by its process-wide number.
pub(crate) type ConnectionId = u64;

const PERM_WRITE: i32 = 2;
/// What ADD_WRITE_PERM sets, whatever the topic had before (as Java).
const PERM_READ_WRITE: i32 = 6;

/// Everything one REGISTER_BROKER says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registration {
    pub(crate) member: Member,
    pub(crate) broker_id: BrokerId,
    pub(crate) ha_address: String,
    pub(crate) zone: Option<String>,
    pub(crate) timeout: Millis,
    /// Absent from brokers that know nothing of acting masters; their slaves never bring topics.
    pub(crate) enable_acting_master: Option<bool>,
    pub(crate) version: DataVersion,
    pub(crate) topics: BTreeMap<String, TopicConfig>,
    /// Static topic mappings: stored and returned untouched.
    pub(crate) mappings: BTreeMap<String, TopicQueueMappingInfo>,
    pub(crate) filter_servers: Vec<String>,
    /// The broker set of which this is a failover alias.
    pub(crate) alias_of: Option<String>,
    pub(crate) connection: ConnectionId,
}

/// One replica as it names itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) cluster: String,
    pub(crate) address: String,
    pub(crate) broker_set: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// In the table. A slave is told where its master is, if there is one.
    Accepted { master: Option<MasterAddress> },
    /// A newer master holds the id. Java answers success with an empty header, and so do we.
    Fenced { holder: String },
    /// A lone topic of a replica nobody knows: a full registration must come first.
    Incomplete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MasterAddress {
    pub(crate) address: String,
    pub(crate) ha_address: String,
}

/// What the operator chose; see `Config`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) delete_topic_with_registration: bool,
    pub(crate) support_acting_master: bool,
}

#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    /// No entry is empty.
    topics: BTreeMap<String, BTreeMap<String, QueueData>>,
    /// No set is without an address.
    sets: BTreeMap<String, BrokerSet>,
    live: BTreeMap<Key, Live>,
    /// Reverse of `live[..].connection`, so that a closing client connection costs one look-up.
    connections: BTreeMap<ConnectionId, BTreeSet<Key>>,
    filter_servers: BTreeMap<Key, Vec<String>>,
    mappings: BTreeMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
}

/// (cluster, address)
type Key = (String, String);

#[derive(Debug, Default)]
struct BrokerSet {
    cluster: String,
    addresses: BTreeMap<BrokerId, String>,
    zone: Option<String>,
    enable_acting_master: bool,
    alias_of: Option<String>,
}

#[derive(Debug)]
struct Live {
    broker_set: String,
    last_update: Millis,
    timeout: Millis,
    version: DataVersion,
    connection: ConnectionId,
    ha_address: String,
}

impl Member {
    fn key(&self) -> Key {
        (self.cluster.clone(), self.address.clone())
    }
}

impl RouteTable {
    /// REGISTER_BROKER. The order of the steps is visible on the wire and follows Java's.
    pub(crate) fn register(&mut self, now: Millis, it: Registration, rules: Rules) -> Registered {
        let Registration { ref member, broker_id, .. } = it;
        if let Some(holder) = self.newer_holder(&it) {
            self.leave_other_ids(member, broker_id);
            self.forget(&member.key());
            return Registered::Fenced { holder };
        }
        let known = self.sets.get(&member.broker_set).is_some_and(|set| set.addresses.contains_key(&broker_id));
        if !known && it.topics.len() == 1 {
            return Registered::Incomplete;
        }
        self.leave_other_ids(member, broker_id);
        let set = self.sets.entry(member.broker_set.clone()).or_default();
        if set.addresses.is_empty() {
            set.cluster.clone_from(&member.cluster);
        }
        set.enable_acting_master = it.enable_acting_master == Some(true);
        set.zone.clone_from(&it.zone);
        set.alias_of.clone_from(&it.alias_of);
        set.addresses.insert(broker_id, member.address.clone());

        let prime_slave = broker_id != MASTER_ID
            && it.enable_acting_master.is_some()
            && set.addresses.first_key_value().is_some_and(|(first, _)| *first == broker_id);
        if broker_id == MASTER_ID || prime_slave {
            self.update_topics(&it, known, prime_slave, rules);
        }
        let master = (broker_id != MASTER_ID).then(|| self.master_of(member)).flatten();
        self.remember(now, it);
        Registered::Accepted { master }
    }

    /// BROKER_HEARTBEAT: keeps a known replica from expiring; an unknown one is ignored.
    pub(crate) fn heartbeat(&mut self, now: Millis, cluster: &str, address: &str) {
        if let Some(live) = self.live.get_mut(&(cluster.to_owned(), address.to_owned())) {
            live.last_update = now;
        }
    }

    /// QUERY_DATA_VERSION: what is stored for this replica. Counts as a heartbeat.
    pub(crate) fn data_version(&mut self, now: Millis, cluster: &str, address: &str) -> Option<DataVersion> {
        let live = self.live.get_mut(&(cluster.to_owned(), address.to_owned()))?;
        live.last_update = now;
        Some(live.version)
    }

    /// UNREGISTER_BROKER.
    pub(crate) fn unregister(&mut self, member: &Member) {
        self.forget(&member.key());
        self.leave_set(&member.broker_set, &member.address);
    }

    /// The connection is gone and with it every replica that registered over it: a dead master must leave id 0 at once.
    pub(crate) fn closed(&mut self, connection: ConnectionId) -> Vec<Member> {
        let keys = self.connections.remove(&connection).unwrap_or_default();
        keys.into_iter().filter_map(|key| self.unregister_key(key)).collect()
    }

    /// Removes whoever has been silent for longer than it promised; returns them with their connections, which the
    /// caller closes.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<(Member, ConnectionId)> {
        let silent = |live: &Live| live.last_update.saturating_add(live.timeout) < now;
        let expired: Vec<_> =
            self.live.iter().filter(|(_, it)| silent(it)).map(|(key, it)| (key.clone(), it.connection)).collect();
        expired.into_iter().filter_map(|(key, connection)| Some((self.unregister_key(key)?, connection))).collect()
    }

    /// Replicas that are registered and neither closed nor expired; aliases are no replicas.
    pub(crate) fn live_replicas(&self) -> usize {
        self.live.values().filter(|it| !self.is_alias(&it.broker_set)).count()
    }

    fn is_alias(&self, broker_set: &str) -> bool {
        self.sets.get(broker_set).is_some_and(|it| it.alias_of.is_some())
    }

    fn unregister_key(&mut self, key: Key) -> Option<Member> {
        let broker_set = self.live.get(&key)?.broker_set.clone();
        let member = Member { cluster: key.0, address: key.1, broker_set };
        self.unregister(&member);
        Some(member)
    }

    /// One address, one id: a slave that became master must not be listed under both.
    fn leave_other_ids(&mut self, member: &Member, broker_id: BrokerId) {
        if let Some(set) = self.sets.get_mut(&member.broker_set) {
            set.addresses.retain(|id, address| *id == broker_id || *address != member.address);
        }
    }

    /// The address that holds the wanted id with a greater state version, if any (S1: the master of the newer epoch
    /// keeps id 0).
    fn newer_holder(&self, it: &Registration) -> Option<String> {
        let holder = self.sets.get(&it.member.broker_set)?.addresses.get(&it.broker_id)?;
        let live = self.live.get(&(it.member.cluster.clone(), holder.clone()))?;
        (*holder != it.member.address && live.version.state_version > it.version.state_version).then(|| holder.clone())
    }

    fn master_of(&self, member: &Member) -> Option<MasterAddress> {
        let address = self.sets.get(&member.broker_set)?.addresses.get(&MASTER_ID)?;
        let live = self.live.get(&(member.cluster.clone(), address.clone()))?;
        Some(MasterAddress { address: address.clone(), ha_address: live.ha_address.clone() })
    }

    fn update_topics(&mut self, it: &Registration, known: bool, prime_slave: bool, rules: Rules) {
        let broker_set = &it.member.broker_set;
        if rules.delete_topic_with_registration && it.mappings.is_empty() {
            self.retain_queues(|topic, set| set != broker_set || it.topics.contains_key(topic));
        }
        let changed = !known || self.live.get(&it.member.key()).is_none_or(|live| live.version != it.version);
        for (topic, config) in &it.topics {
            let sets = self.topics.entry(topic.clone()).or_default();
            if changed || !sets.contains_key(broker_set) {
                let mut queues = queue_data(broker_set, config);
                if prime_slave && it.enable_acting_master == Some(true) {
                    queues.perm &= !PERM_WRITE;
                }
                sets.insert(broker_set.clone(), queues);
            }
        }
        if changed {
            for (topic, mapping) in &it.mappings {
                self.mappings.entry(topic.clone()).or_default().insert(mapping.bname.clone(), mapping.clone());
            }
        }
    }

    fn remember(&mut self, now: Millis, it: Registration) {
        let key = it.member.key();
        self.forget(&key);
        self.connections.entry(it.connection).or_default().insert(key.clone());
        if !it.filter_servers.is_empty() {
            self.filter_servers.insert(key.clone(), it.filter_servers);
        }
        let live = Live {
            broker_set: it.member.broker_set,
            last_update: now,
            timeout: it.timeout,
            version: it.version,
            connection: it.connection,
            ha_address: it.ha_address,
        };
        self.live.insert(key, live);
    }

    /// Drops what is kept per replica; its place in the set is another matter.
    fn forget(&mut self, key: &Key) {
        self.filter_servers.remove(key);
        let Some(live) = self.live.remove(key) else { return };
        if let Some(keys) = self.connections.get_mut(&live.connection) {
            keys.remove(key);
            if keys.is_empty() {
                self.connections.remove(&live.connection);
            }
        }
    }

    fn leave_set(&mut self, broker_set: &str, address: &str) {
        let Some(set) = self.sets.get_mut(broker_set) else { return };
        set.addresses.retain(|_, it| it != address);
        let acting_only = set.enable_acting_master && !set.addresses.contains_key(&MASTER_ID);
        if acting_only {
            self.topics.values_mut().filter_map(|sets| sets.get_mut(broker_set)).for_each(|it| it.perm &= !PERM_WRITE);
        }
        self.drop_set_if_empty(broker_set);
    }

    /// The last address takes the set and its topics' queues with it.
    fn drop_set_if_empty(&mut self, broker_set: &str) {
        if self.sets.get(broker_set).is_some_and(|set| set.addresses.is_empty()) {
            self.sets.remove(broker_set);
            self.retain_queues(|_, set| set != broker_set);
        }
    }

    fn retain_queues(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.topics.retain(|topic, sets| {
            sets.retain(|set, _| keep(topic, set));
            !sets.is_empty()
        });
    }
}

fn queue_data(broker_set: &str, config: &TopicConfig) -> QueueData {
    QueueData {
        broker_name: broker_set.to_owned(),
        read_queue_nums: config.read_queue_nums,
        write_queue_nums: config.write_queue_nums,
        perm: config.perm,
        topic_sys_flag: config.topic_sys_flag,
    }
}

#[cfg(test)]
mod tests;
