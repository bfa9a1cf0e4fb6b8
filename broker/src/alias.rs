//! Failover aliases at the broker: what a slave is announced with, and where a send goes that names one of this set's
//! replicas instead of the set.
//!
//! All sends of one alias go to one queue, so that a selector that hashes over the route's queues keeps its order;
//! different aliases use different queues. Any replica of the set resolves any alias of it, whatever roles have become:
//! a producer keeps an alias for up to its next look at the route.

use crate::broker::Broker;
use crate::config::Config;
use crate::meta::topics::TopicTable;
use crate::rpc::refuse;
use ::ha::{Role, RoleState};
use proto::body::TopicConfig;
use proto::code::response;
use proto::header::SendMessageRequest;
use proto::topic::{self, perm};
use proto::{BrokerId, Command, alias};
use std::collections::BTreeMap;

/// Makes a send that came through an alias of this set one to the set itself: broker name and queue are rewritten. Any
/// other send is left alone. Call it where a client's send enters, once, before it is appended or passed on.
///
/// The refusal is for a name of another set, under which this address must once have been registered; its code is one
/// with which clients try another broker.
pub(crate) fn resolve(broker: &Broker, header: &mut SendMessageRequest) -> Result<(), Command> {
    let own = &broker.config.broker_name;
    match target(own, header.broker_name.as_deref()) {
        Target::Set => {}
        Target::Alias(id) => {
            let queues = broker.metadata.settings().topics.config(&header.topic).map_or(0, |it| it.write_queue_nums);
            header.queue_id = queue(id, queues);
            header.broker_name = Some(own.clone());
            broker.metrics.sent_through_alias();
        }
        Target::Foreign(name) => {
            let remark = format!("`{name}` is an alias of another broker set; this is a replica of `{own}`");
            return Err(refuse(response::SERVICE_NOT_AVAILABLE, remark));
        }
    }
    Ok(())
}

/// What a send's broker name means to a replica of a set.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    /// The set itself, or whatever older clients send.
    Set,
    Alias(BrokerId),
    Foreign(&'a str),
}

fn target<'a>(own: &str, name: Option<&'a str>) -> Target<'a> {
    // A set's own name may look like an alias.
    let Some(name) = name.filter(|it| *it != own) else { return Target::Set };
    match alias::parse(name) {
        Some((set, id)) if set == own => Target::Alias(id),
        Some(_) => Target::Foreign(name),
        None => Target::Set,
    }
}

/// A topic without queues is refused later, by its name.
fn queue(id: BrokerId, queues: i32) -> i32 {
    let at = (id - 1).checked_rem_euclid(queues.max(0).into()).unwrap_or(0);
    i32::try_from(at).unwrap_or(0) // below `queues`
}

/// The name under which the nameservers should know this replica besides its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No role for the moment: what is announced stays.
    AsItIs,
    Nothing,
    Name(String),
}

pub(crate) fn wanted(broker_set: &str, state: &RoleState) -> Wanted {
    match state.role {
        Role::Unassigned => Wanted::AsItIs,
        Role::Master => Wanted::Nothing,
        Role::Slave { .. } => Wanted::Name(alias::name(broker_set, state.broker_id)),
    }
}

/// The topics of an alias: those that clients may write, each with one queue to write to and none to read.
pub(crate) fn topics(config: &Config, table: &TopicTable) -> BTreeMap<String, TopicConfig> {
    let own = [&config.broker_cluster_name, &config.broker_name, &config.msg_trace_topic_name];
    let reply = topic::reply_topic(&config.broker_cluster_name);
    let ordinary = |it: &TopicConfig| {
        let name = &it.topic_name;
        let special = topic::is_system_topic(name) || topic::group_of(name).is_some() || *name == reply;
        !special && !own.contains(&name)
    };
    let announced =
        |it: &TopicConfig, perm| TopicConfig { perm, read_queue_nums: 0, write_queue_nums: 1, ..it.clone() };
    let writeable = |it: &TopicConfig| perm::is_writeable(it.perm & config.broker_permission);
    let mut topics: BTreeMap<String, TopicConfig> = table
        .names()
        .filter_map(|name| table.config(name))
        .filter(|it| ordinary(it) && writeable(it))
        .map(|it| (it.topic_name.clone(), announced(it, perm::WRITE)))
        .collect();
    // Nameservers take the first registration of a broker with a single topic for that of a topic, and refuse it. Every
    // broker has this one, and no client may send to it.
    if topics.len() == 1 {
        topics.extend(table.config(topic::SELF_TEST_TOPIC).map(|it| (it.topic_name.clone(), announced(it, 0))));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::topics;
    use std::collections::BTreeSet;

    #[test]
    fn an_alias_of_any_id_leads_to_the_set() {
        assert_eq!(target("a", Some("a@2")), Target::Alias(2));
        assert_eq!(target("a", Some("a@77")), Target::Alias(77));
        assert_eq!(target("a", Some("b@2")), Target::Foreign("b@2"));
        for plain in [None, Some("a"), Some("b"), Some(""), Some("a@"), Some("__syslo__a")] {
            assert_eq!(target("a", plain), Target::Set, "{plain:?}");
        }
    }

    #[test]
    fn a_set_that_is_named_like_an_alias_is_still_a_set() {
        assert_eq!(target("a@2", Some("a@2")), Target::Set);
        assert_eq!(target("a@2", Some("a@2@3")), Target::Alias(3));
        assert_eq!(target("a@2", Some("a@3")), Target::Foreign("a@3"));
    }

    #[test]
    fn each_alias_has_one_queue_and_different_ones_have_different_queues() {
        assert_eq!([1, 2, 3, 8, 9].map(|id| queue(id, 8)), [0, 1, 2, 7, 0]);
        assert_eq!([1, 2, 3].map(|id| queue(id, 1)), [0, 0, 0]);
        assert_eq!([queue(2, 0), queue(2, -4), queue(i64::MAX, i32::MAX)], [0, 0, 0]);
    }

    #[test]
    fn a_slave_has_an_alias_and_a_master_has_none() {
        let state = |role| RoleState {
            broker_id: 2,
            role,
            master_epoch: 1,
            sync_state_set: BTreeSet::new(),
            sync_state_set_epoch: 1,
        };
        let master = ::ha::Master { id: 1, address: "10.0.0.1:10911".into(), ha_address: None };
        assert_eq!(wanted("a", &state(Role::Slave { master })), Wanted::Name("a@2".into()));
        assert_eq!(wanted("a", &state(Role::Master)), Wanted::Nothing);
        assert_eq!(wanted("a", &state(Role::Unassigned)), Wanted::AsItIs);
    }

    /// Name, queues to read and write, permission.
    fn announced(config: &Config, own: &[(&str, i32)]) -> Vec<String> {
        let topic = |(name, perm): &(&str, i32)| TopicConfig { perm: *perm, ..topics::derived((*name).into(), 8) };
        let system =
            ["SELF_TEST_TOPIC", "TBW102", "BenchmarkTest", "c_REPLY_TOPIC", "c", "a", "traces"].map(|it| (it, 7));
        let table = own.iter().chain(&system).map(topic).map(|it| (it.topic_name.clone(), it)).collect();
        let file = topics::TopicFile { topic_config_table: table, ..Default::default() };
        let all = super::topics(config, &TopicTable::from_file(file)).into_values();
        all.map(|it| format!("{} r{} w{} {}", it.topic_name, it.read_queue_nums, it.write_queue_nums, it.perm))
            .collect()
    }

    #[test]
    fn an_alias_has_the_topics_that_clients_may_write() {
        let config = Config {
            broker_cluster_name: "c".into(),
            broker_name: "a".into(),
            msg_trace_topic_name: "traces".into(),
            ..Config::default()
        };
        let own = [("orders", 6), ("bills", 2), ("old", 4), ("%RETRY%g", 6), ("%DLQ%g", 2)];
        assert_eq!(announced(&config, &own), ["bills r0 w1 2", "orders r0 w1 2"]);
        assert_eq!(announced(&config, &own[..1]), ["SELF_TEST_TOPIC r0 w1 0", "orders r0 w1 2"]);
        assert!(announced(&config, &own[2..]).is_empty());
        assert!(announced(&Config { broker_permission: 4, ..config }, &own).is_empty());
    }
}
