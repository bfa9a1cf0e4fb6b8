//! What routes mean, case by case.

use super::*;

fn set(name: &str, addresses: &[(i64, &str)]) -> BrokerData {
    BrokerData {
        broker_addrs: addresses.iter().map(|(id, it)| (*id, (*it).to_owned())).collect(),
        broker_name: name.into(),
        ..BrokerData::default()
    }
}

fn queue_data(name: &str, perm: i32, read: i32, write: i32) -> QueueData {
    QueueData { broker_name: name.into(), perm, read_queue_nums: read, write_queue_nums: write, ..QueueData::default() }
}

fn route(sets: &[BrokerData], queues: &[QueueData]) -> TopicRoute {
    TopicRoute::new(route_data(sets, queues), Aliases::Ignored)
}

fn route_data(sets: &[BrokerData], queues: &[QueueData]) -> TopicRouteData {
    TopicRouteData { broker_datas: sets.to_vec(), queue_datas: queues.to_vec(), ..TopicRouteData::default() }
}

#[test]
fn aliases_are_used_by_those_who_want_them_and_never_read() {
    let alias = BrokerData { cluster: "c@alias".into(), ..set("a@2", &[(0, "a2")]) };
    // Named like an alias, but in a cluster of its own name: somebody's broker set.
    let other = BrokerData { cluster: "c".into(), ..set("b@1", &[(0, "b1")]) };
    let sets = [set("a", &[(0, "a0"), (2, "a2")]), alias, other];
    let queues = [queue_data("a", 6, 2, 2), queue_data("a@2", 2, 0, 1), queue_data("b@1", 6, 1, 1)];
    let ignoring = route(&sets, &queues);
    assert_eq!(names(&ignoring.publish_queues("T")), "a/0 a/1 b@1/0");
    assert_eq!(ignoring.master("a@2"), None);
    let using = TopicRoute::new(route_data(&sets, &queues), Aliases::Used);
    assert_eq!(names(&using.publish_queues("T")), "a/0 a/1 a@2/0 b@1/0");
    assert_eq!(names(&using.subscribe_queues("T")), "a/0 a/1 b@1/0");
    assert_eq!(names(&using.inherited(4).publish_queues("T")), "a/0 a/1 a@2/0 b@1/0");
}

fn names(queues: &[MessageQueue]) -> String {
    queues.iter().map(|it| format!("{}/{}", it.broker_name, it.queue_id)).collect::<Vec<_>>().join(" ")
}

#[test]
fn only_writable_sets_with_a_master_take_messages() {
    let sets = [
        set("b", &[(0, "b0")]),
        set("a", &[(0, "a0"), (2, "a2")]),
        set("slaves", &[(1, "s1")]),
        set("sealed", &[(0, "x")]),
    ];
    let queues = [
        queue_data("b", 6, 1, 2),
        queue_data("a", 6, 1, 2),
        queue_data("slaves", 6, 1, 2),
        queue_data("sealed", 4, 1, 2),
    ];
    let route = route(&sets, &queues);
    assert_eq!(names(&route.publish_queues("T")), "a/0 a/1 b/0 b/1");
    assert_eq!(names(&route.subscribe_queues("T")), "a/0 b/0 sealed/0 slaves/0");
}

#[test]
fn an_ordered_topic_names_its_queues() {
    let mut data = route(&[set("a", &[(0, "a0")])], &[queue_data("a", 6, 8, 8)]).data;
    data.order_topic_conf = Some("a:2;b:1;nonsense;c:x".into());
    assert_eq!(names(&TopicRoute::new(data, Aliases::Ignored).publish_queues("T")), "a/0 a/1 b/0");
}

#[test]
fn equal_routes_are_equal_in_any_order() {
    let (a, b) = (set("a", &[(0, "1")]), set("b", &[(0, "2")]));
    let (qa, qb) = (queue_data("a", 6, 1, 1), queue_data("b", 6, 1, 1));
    let one = route(&[a.clone(), b.clone()], &[qa.clone(), qb.clone()]);
    assert_eq!(one, route(&[b.clone(), a], &[qb.clone(), qa.clone()]));
    assert_ne!(one, route(&[b, set("a", &[(0, "3")])], &[qb, qa]));
}

#[test]
fn picking_takes_turns_and_avoids_the_set_that_failed() {
    let queues =
        route(&[set("a", &[(0, "1")]), set("b", &[(0, "2")])], &[queue_data("a", 6, 2, 2), queue_data("b", 6, 1, 1)])
            .publish_queues("T");
    let picked = |turn, failed| names(std::slice::from_ref(pick(&queues, turn, failed).unwrap()));
    assert_eq!([0, 1, 2, 3].map(|it| picked(it, None)), ["a/0", "a/1", "b/0", "a/0"]);
    assert_eq!([0, 1, 2].map(|it| picked(it, Some("a"))), ["b/0", "b/0", "b/0"]);
    assert_eq!(picked(2, Some("b")), "a/0");
    assert_eq!(pick(&[], 7, None), None);
    assert_eq!(
        names(std::slice::from_ref(pick(&queues[..2], 1, Some("a")).unwrap())),
        "a/1",
        "the only set is used again"
    );
}

#[test]
fn a_successor_is_another_address_under_id_0() {
    let successor =
        |addresses: &[(i64, &str)]| format!("{:?}", route(&[set("a", addresses)], &[]).successor("a", "old"));
    assert_eq!(successor(&[(0, "new"), (1, "old")]), "At(\"new\")");
    assert_eq!(successor(&[(0, "old"), (2, "new")]), "Unchanged");
    assert_eq!(successor(&[(2, "new")]), "None");
}

#[test]
fn reading_goes_to_the_master_or_else_to_any_replica() {
    let route = route(&[set("a", &[(0, "m"), (1, "s")]), set("b", &[(3, "s3"), (2, "s2")])], &[]);
    assert_eq!([route.readable("a"), route.readable("b"), route.readable("c")], [Some("m"), Some("s2"), None]);
}

#[test]
fn a_topic_to_be_created_inherits_a_few_queues() {
    let template = route(&[set("a", &[(0, "1")])], &[queue_data("a", 7, 8, 8)]);
    assert_eq!(names(&template.inherited(4).publish_queues("T")), "a/0 a/1 a/2 a/3");
}
