//! Producers and consumers that speak to this broker, by their heartbeats.
//!
//! A client is a connection with an id. It leaves when its connection closes, when it says so, or when it has
//! been silent too long. [`ClientTable`] also knows each group's subscriptions, which pulls without one of their
//! own rely on.

use proto::Millis;
use proto::body::{ClientConnectionInfo, ConsumerConnection, ConsumerData, ProducerConnection, SubscriptionData};
use std::collections::{BTreeMap, BTreeSet};

/// Broadcasting consumers do not share queues, so they need not know of each other.
const BROADCASTING: &str = "BROADCASTING";

/// Identifies a connection within the process.
pub type ConnectionId = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub address: String,
    pub language: &'static str,
    pub version: i32,
    pub seen: Millis,
}

#[derive(Clone, Debug, Default)]
pub struct ClientTable {
    producers: BTreeMap<String, BTreeMap<ConnectionId, Client>>,
    consumers: BTreeMap<String, Consumers>,
}

#[derive(Clone, Debug, Default)]
pub struct Consumers {
    members: BTreeMap<ConnectionId, Client>,
    pub consume_type: String,
    pub message_model: String,
    pub consume_from_where: String,
    pub subscriptions: BTreeMap<String, SubscriptionData>,
    /// Of the last full V2 heartbeat; 0 before one.
    pub fingerprint: i32,
}

impl Consumers {
    pub fn is_broadcasting(&self) -> bool {
        self.message_model == BROADCASTING
    }
}

/// A group whose members have to look again at who consumes which queue (request 40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    pub group: String,
    pub connections: Vec<ConnectionId>,
}

impl ClientTable {
    pub fn register_producer(&mut self, group: &str, connection: ConnectionId, client: Client) {
        self.producers.entry(group.to_owned()).or_default().insert(connection, client);
    }

    /// `with_subscriptions` is false for the short form of a V2 heartbeat, which leaves them as they are.
    pub fn register_consumer(
        &mut self,
        data: &ConsumerData,
        connection: ConnectionId,
        client: Client,
        with_subscriptions: bool,
    ) -> Option<Rebalance> {
        let group = self.consumers.entry(data.group_name.clone()).or_default();
        group.consume_type.clone_from(&data.consume_type);
        group.message_model.clone_from(&data.message_model);
        group.consume_from_where.clone_from(&data.consume_from_where);
        let newcomer = match group.members.insert(connection, client.clone()) {
            Some(known) => known.id != client.id,
            None => true,
        };
        let resubscribed = with_subscriptions && group.subscribe(&data.subscription_data_set);
        if newcomer || resubscribed { self.rebalance(&data.group_name) } else { None }
    }

    /// Notes a V2 fingerprint; true when it differs from the group's last one.
    pub fn note_fingerprint(&mut self, group: &str, fingerprint: i32) -> bool {
        let Some(group) = self.consumers.get_mut(group) else { return true };
        std::mem::replace(&mut group.fingerprint, fingerprint) != fingerprint
    }

    pub fn unregister(
        &mut self,
        connection: ConnectionId,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Option<Rebalance> {
        if let Some(group) = producer_group.and_then(|it| self.producers.get_mut(it)) {
            group.remove(&connection);
        }
        self.producers.retain(|_, it| !it.is_empty());
        let group = consumer_group?;
        self.consumers.get_mut(group)?.members.remove(&connection)?;
        self.rebalance(group)
    }

    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<Rebalance> {
        self.forget(|id, _| *id == connection)
    }

    /// Forgets who has not been heard of since `before`.
    pub fn expire(&mut self, before: Millis) -> Vec<Rebalance> {
        self.forget(|_, client| client.seen < before)
    }

    fn forget(&mut self, gone: impl Fn(&ConnectionId, &Client) -> bool) -> Vec<Rebalance> {
        for members in self.producers.values_mut() {
            members.retain(|id, client| !gone(id, client));
        }
        self.producers.retain(|_, it| !it.is_empty());
        let mut changed = Vec::new();
        for (name, group) in &mut self.consumers {
            let before = group.members.len();
            group.members.retain(|id, client| !gone(id, client));
            if group.members.len() != before {
                changed.push(name.clone());
            }
        }
        changed.iter().filter_map(|it| self.rebalance(it)).collect()
    }

    /// Drops the group if nobody is left.
    fn rebalance(&mut self, name: &str) -> Option<Rebalance> {
        let group = self.consumers.get(name)?;
        if group.members.is_empty() {
            self.consumers.remove(name);
            return None;
        }
        if group.is_broadcasting() {
            return None;
        }
        Some(Rebalance { group: name.to_owned(), connections: group.members.keys().copied().collect() })
    }

    pub fn consumers(&self, group: &str) -> Option<&Consumers> {
        self.consumers.get(group)
    }

    /// Client ids of a group, for GET_CONSUMER_LIST_BY_GROUP.
    pub fn consumer_ids(&self, group: &str) -> BTreeSet<String> {
        let members = self.consumers.get(group).map(|it| &it.members);
        members.into_iter().flat_map(BTreeMap::values).map(|it| it.id.clone()).collect()
    }

    pub fn groups_subscribed_to(&self, topic: &str) -> BTreeSet<String> {
        let subscribed = |it: &Consumers| it.subscriptions.contains_key(topic);
        self.consumers.iter().filter(|(_, it)| subscribed(it)).map(|(name, _)| name.clone()).collect()
    }

    pub fn consumer_connection(&self, group: &str) -> Option<ConsumerConnection> {
        let group = self.consumers.get(group)?;
        Some(ConsumerConnection {
            connection_set: connections(&group.members),
            consume_from_where: Some(group.consume_from_where.clone()),
            consume_type: Some(group.consume_type.clone()),
            message_model: Some(group.message_model.clone()),
            subscription_table: group.subscriptions.clone(),
        })
    }

    pub fn producer_connection(&self, group: &str) -> Option<ProducerConnection> {
        self.producers.get(group).map(|it| ProducerConnection { connection_set: connections(it) })
    }

    /// (producers, consumers) connected.
    pub fn count(&self) -> (usize, usize) {
        let producers = self.producers.values().map(BTreeMap::len).sum();
        (producers, self.consumers.values().map(|it| it.members.len()).sum())
    }
}

fn connections(members: &BTreeMap<ConnectionId, Client>) -> Vec<ClientConnectionInfo> {
    let info = |it: &Client| ClientConnectionInfo {
        client_addr: it.address.clone(),
        client_id: it.id.clone(),
        language: it.language.to_owned(),
        version: it.version,
    };
    members.values().map(info).collect()
}

impl Consumers {
    /// The newer version of each subscription wins; topics that are no longer named are dropped. True when the set
    /// of topics changed.
    fn subscribe(&mut self, subscriptions: &[SubscriptionData]) -> bool {
        let named: BTreeSet<&str> = subscriptions.iter().map(|it| it.topic.as_str()).collect();
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| named.contains(topic.as_str()));
        let mut changed = self.subscriptions.len() != before;
        for subscription in subscriptions {
            match self.subscriptions.get(&subscription.topic) {
                Some(known) if known.sub_version >= subscription.sub_version => continue,
                known => changed |= known.is_none(),
            }
            self.subscriptions.insert(subscription.topic.clone(), subscription.clone());
        }
        changed
    }
}

#[cfg(test)]
mod tests;
