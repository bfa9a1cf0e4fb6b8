//! What clients and operators ask of the route table, and the few things operators change in it.

use super::{BrokerSet, PERM_READ_WRITE, PERM_WRITE, RouteTable, Rules};
use proto::MASTER_ID;
use proto::body::{BrokerData, BrokerMemberGroup, ClusterInfo, QueueData, TopicRouteData};
use std::collections::{BTreeMap, BTreeSet};

/// topicSysFlag bits.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;
/// Topics of this family are used by the replicas of one set among themselves; no slave may pose as their master.
const SYNC_MEMBER_GROUP_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// A client that wants only broker sets of its own zone.
#[derive(Clone, Debug)]
pub(crate) struct Zone(pub(crate) String);

/// Whether failover aliases are told to whoever asks for broker sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aliases {
    Hidden,
    Shown,
}

/// Which topics by their unit flags (311, 312, 313).
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnitTopics {
    Unit,
    UnitSub,
    UnitSubButNotUnit,
}

impl RouteTable {
    /// GET_ROUTEINFO_BY_TOPIC. `None` when the topic or all its broker sets are unknown; aliases alone do not make a
    /// route: theirs is a topic that was deleted, or not registered by its set yet.
    pub(crate) fn route(&self, topic: &str, rules: Rules) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let sets: Vec<_> = queues.keys().filter_map(|name| self.sets.get_key_value(name)).collect();
        if sets.iter().all(|(_, set)| set.alias_of.is_some()) {
            return None;
        }
        let mut broker_datas: Vec<_> = sets.iter().map(|(name, set)| broker_data(name, set)).collect();
        if rules.support_acting_master && !topic.starts_with(SYNC_MEMBER_GROUP_PREFIX) {
            broker_datas.iter_mut().for_each(|it| show_acting_master(it, queues));
        }
        let addresses =
            sets.iter().flat_map(|(_, set)| set.addresses.values().map(|it| (set.cluster.clone(), it.clone())));
        let filter_servers = addresses.filter_map(|key| Some((key.1.clone(), self.filter_servers.get(&key)?.clone())));
        Some(TopicRouteData {
            broker_datas,
            filter_server_table: filter_servers.collect(),
            queue_datas: queues.values().cloned().collect(),
            topic_queue_mapping_by_broker: self.mappings.get(topic).filter(|it| !it.is_empty()).cloned(),
            ..Default::default()
        })
    }

    /// GET_BROKER_CLUSTER_INFO.
    pub(crate) fn cluster_info(&self, aliases: Aliases) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (name, set) in &self.sets {
            if set.alias_of.is_none() || aliases == Aliases::Shown {
                info.cluster_addr_table.entry(set.cluster.clone()).or_default().insert(name.clone());
                info.broker_addr_table.insert(name.clone(), broker_data(name, set));
            }
        }
        info
    }

    pub(crate) fn aliases(&self) -> usize {
        self.sets.values().filter(|it| it.alias_of.is_some()).count()
    }

    /// GET_BROKER_MEMBER_GROUP: the cluster is echoed, not checked; an unknown set has no members.
    pub(crate) fn members(&self, cluster: &str, broker_set: &str) -> BrokerMemberGroup {
        BrokerMemberGroup {
            broker_addrs: self.sets.get(broker_set).map(|it| it.addresses.clone()).unwrap_or_default(),
            broker_name: broker_set.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        let own = |sets: &BTreeMap<String, QueueData>| sets.keys().any(|it| !self.is_alias(it));
        self.topics.iter().filter(|(_, sets)| own(sets)).map(|(topic, _)| topic.clone()).collect()
    }

    pub(crate) fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let in_cluster =
            |set: &String| self.sets.get(set).is_some_and(|it| it.cluster == cluster && it.alias_of.is_none());
        self.topics.iter().filter(|(_, sets)| sets.keys().any(in_cluster)).map(|(topic, _)| topic.clone()).collect()
    }

    /// By the flag of the topic's first broker set (Java: of an arbitrary one).
    pub(crate) fn unit_topics(&self, which: UnitTopics) -> Vec<String> {
        let wanted = |flag: i32| match which {
            UnitTopics::Unit => flag & UNIT != 0,
            UnitTopics::UnitSub => flag & UNIT_SUB != 0,
            UnitTopics::UnitSubButNotUnit => flag & UNIT_SUB != 0 && flag & UNIT == 0,
        };
        let flag = |sets: &BTreeMap<String, QueueData>| {
            sets.values().find(|it| !self.is_alias(&it.broker_name)).map_or(0, |it| it.topic_sys_flag)
        };
        self.topics.iter().filter(|(_, sets)| wanted(flag(sets))).map(|(topic, _)| topic.clone()).collect()
    }

    /// GET_SYSTEM_TOPIC_LIST_FROM_NS: names of clusters and broker sets double as topics; and some broker's address.
    pub(crate) fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let sets = || self.sets.iter().filter(|(_, it)| it.alias_of.is_none());
        let clusters: BTreeSet<_> = sets().map(|(_, it)| it.cluster.clone()).collect();
        let address = sets().flat_map(|(_, it)| it.addresses.values()).next().cloned();
        (clusters.into_iter().chain(sets().map(|(name, _)| name.clone())).collect(), address)
    }

    /// WIPE_WRITE_PERM_OF_BROKER: how many topics of the set were touched. Lasts until the set's next changed
    /// registration. Its aliases are other ways to write to it.
    pub(crate) fn wipe_write_permission(&mut self, broker_set: &str) -> i32 {
        for alias in self.aliases_of(broker_set) {
            self.each_queue_of(&alias, |it| it.perm &= !PERM_WRITE);
        }
        self.each_queue_of(broker_set, |it| it.perm &= !PERM_WRITE)
    }

    /// ADD_WRITE_PERM_OF_BROKER. An alias has nothing to read, whatever its permission.
    pub(crate) fn add_write_permission(&mut self, broker_set: &str) -> i32 {
        for alias in self.aliases_of(broker_set) {
            self.each_queue_of(&alias, |it| it.perm |= PERM_WRITE);
        }
        self.each_queue_of(broker_set, |it| it.perm = PERM_READ_WRITE)
    }

    fn aliases_of(&self, broker_set: &str) -> Vec<String> {
        let is = |it: &BrokerSet| it.alias_of.as_deref() == Some(broker_set);
        self.sets.iter().filter(|(_, it)| is(it)).map(|(name, _)| name.clone()).collect()
    }

    /// DELETE_TOPIC_IN_NAMESRV, from one cluster, the aliases of its sets included, or from all.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let sets = &self.sets;
        let own = |set: &BrokerSet| set.alias_of.as_ref().and_then(|it| sets.get(it)).unwrap_or(set).cluster.clone();
        let goes = |set: &str| cluster.is_none_or(|it| sets.get(set).is_some_and(|set| own(set) == it));
        if let Some(queues) = self.topics.get_mut(topic) {
            queues.retain(|set, _| !goes(set));
            if queues.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// REGISTER_TOPIC_IN_NAMESRV: all of it, or nothing if it names a broker set that is not here.
    pub(crate) fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) {
        if queues.is_empty() || queues.iter().any(|it| !self.sets.contains_key(&it.broker_name)) {
            return;
        }
        self.topics
            .entry(topic.to_owned())
            .or_default()
            .extend(queues.into_iter().map(|it| (it.broker_name.clone(), it)));
    }

    fn each_queue_of(&mut self, broker_set: &str, change: impl Fn(&mut QueueData)) -> i32 {
        let touched = self.topics.values_mut().filter_map(|sets| sets.get_mut(broker_set));
        touched.map(change).count() as i32
    }
}

impl Zone {
    /// Keeps broker sets of this zone and those without a master, with their queues. The result may be empty.
    pub(crate) fn filter(&self, route: &mut TopicRouteData) {
        let stays = |it: &BrokerData| {
            !it.broker_addrs.contains_key(&MASTER_ID)
                || it.zone_name.as_deref().is_some_and(|zone| zone.eq_ignore_ascii_case(&self.0))
        };
        let gone: BTreeSet<_> =
            route.broker_datas.iter().filter(|it| !stays(it)).map(|it| it.broker_name.clone()).collect();
        route.broker_datas.retain(|it| !gone.contains(&it.broker_name));
        route.queue_datas.retain(|it| !gone.contains(&it.broker_name));
    }
}

fn broker_data(name: &str, set: &BrokerSet) -> BrokerData {
    BrokerData {
        broker_addrs: set.addresses.clone(),
        broker_name: name.to_owned(),
        cluster: set.cluster.clone(),
        enable_acting_master: set.enable_acting_master,
        zone_name: set.zone.clone(),
    }
}

/// A set that lost its master shows its smallest id as master, for reading: its queues are not writable any more.
fn show_acting_master(data: &mut BrokerData, queues: &BTreeMap<String, QueueData>) {
    let readable_only = queues.get(&data.broker_name).is_some_and(|it| it.perm & PERM_WRITE == 0);
    if !data.enable_acting_master || data.broker_addrs.contains_key(&MASTER_ID) || !readable_only {
        return;
    }
    if let Some((_, address)) = data.broker_addrs.pop_first() {
        data.broker_addrs.insert(MASTER_ID, address);
    }
}
