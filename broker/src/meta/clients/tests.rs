//! Who is told to rebalance, and when.

use super::*;

fn client(id: &str, seen: Millis) -> Client {
    Client { id: id.into(), address: "127.0.0.1:1".into(), language: "JAVA", version: 513, seen }
}

fn subscription(topic: &str, version: i64) -> SubscriptionData {
    SubscriptionData { topic: topic.into(), sub_string: "*".into(), sub_version: version, ..Default::default() }
}

fn group(topics: &[(&str, i64)]) -> ConsumerData {
    ConsumerData {
        group_name: "G".into(),
        message_model: "CLUSTERING".into(),
        subscription_data_set: topics.iter().map(|(topic, version)| subscription(topic, *version)).collect(),
        ..Default::default()
    }
}

#[test]
fn everybody_in_the_group_is_told_of_a_newcomer_and_nobody_of_a_repetition() {
    let mut table = ClientTable::default();
    let first = table.register_consumer(&group(&[("T", 1)]), 1, client("a", 0), true);
    assert_eq!(first, Some(Rebalance { group: "G".into(), connections: vec![1] }));
    let second = table.register_consumer(&group(&[("T", 1)]), 2, client("b", 0), true);
    assert_eq!(second, Some(Rebalance { group: "G".into(), connections: vec![1, 2] }));
    assert_eq!(table.register_consumer(&group(&[("T", 1)]), 2, client("b", 5), true), None);
    assert_eq!(table.consumer_ids("G"), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

#[test]
fn the_newer_subscription_counts_and_topics_not_named_are_dropped() {
    let mut table = ClientTable::default();
    table.register_consumer(&group(&[("T", 5), ("U", 5)]), 1, client("a", 0), true);
    table.register_consumer(&group(&[("T", 4), ("U", 5)]), 1, client("a", 0), true);
    let version = |table: &ClientTable, topic: &str| {
        table.consumers("G").and_then(|it| it.subscriptions.get(topic)).map(|it| it.sub_version)
    };
    assert_eq!(version(&table, "T"), Some(5));
    assert!(table.register_consumer(&group(&[("T", 6)]), 1, client("a", 0), true).is_some());
    assert_eq!((version(&table, "T"), version(&table, "U")), (Some(6), None));
    // The short form of a V2 heartbeat names no topic and changes none.
    assert_eq!(table.register_consumer(&group(&[]), 1, client("a", 0), false), None);
    assert_eq!(version(&table, "T"), Some(6));
}

#[test]
fn a_closed_connection_and_a_silent_client_leave_the_group() {
    let mut table = ClientTable::default();
    for (connection, id) in [(1, "a"), (2, "b"), (3, "c")] {
        table.register_consumer(&group(&[("T", 1)]), connection, client(id, connection * 100), true);
        table.register_producer("P", connection, client(id, connection * 100));
    }
    assert_eq!(table.connection_closed(1), [Rebalance { group: "G".into(), connections: vec![2, 3] }]);
    assert_eq!(table.expire(201), [Rebalance { group: "G".into(), connections: vec![3] }]);
    assert_eq!(table.count(), (1, 1));
    assert_eq!(table.unregister(3, Some("P"), Some("G")), None, "nobody is left to be told");
    assert!(table.consumers("G").is_none() && table.producer_connection("P").is_none());
}

#[test]
fn broadcasting_consumers_do_not_rebalance() {
    let mut table = ClientTable::default();
    let data = ConsumerData { message_model: "BROADCASTING".into(), ..group(&[("T", 1)]) };
    assert_eq!(table.register_consumer(&data, 1, client("a", 0), true), None);
}

#[test]
fn a_changed_fingerprint_is_noticed() {
    let mut table = ClientTable::default();
    assert!(table.note_fingerprint("G", 7), "unknown group");
    table.register_consumer(&group(&[("T", 1)]), 1, client("a", 0), true);
    assert!(table.note_fingerprint("G", 7));
    assert!(!table.note_fingerprint("G", 7));
}
