//! Requests in, answers out, with Java's codes, remarks and bodies.

use super::*;
use expect_test::{Expect, expect};
use proto::body::{DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper};
use proto::header::RegisterBrokerRequest;

const BROKER: ConnectionId = 1;
const CLIENT: ConnectionId = 2;

/// Code, remark, fields and body of the answer, one a line.
fn check(nameserver: &mut Nameserver, request: Command, expect: Expect) {
    expect.assert_eq(&ask(nameserver, &request));
}

fn ask(nameserver: &mut Nameserver, request: &Command) -> String {
    let it = nameserver.answer(10_000, CLIENT, request).command;
    let mut text = format!("{}", it.code);
    for part in it.remark.iter().cloned().chain((!it.ext.is_empty()).then(|| format!("{:?}", it.ext))) {
        text += &format!("\n{part}");
    }
    if !it.body.is_empty() {
        text += &format!("\n{}", String::from_utf8_lossy(&it.body));
    }
    text
}

fn registration(id: i64, address: &str, state_version: i64) -> Command {
    let header = RegisterBrokerRequest {
        cluster_name: "c".into(),
        broker_name: "broker-a".into(),
        broker_addr: address.into(),
        broker_id: id,
        ha_server_addr: Some(format!("{address}-ha")),
        ..RegisterBrokerRequest::default()
    };
    let topic = |name: &str| {
        (
            name.to_owned(),
            TopicConfig { topic_name: name.into(), read_queue_nums: 8, write_queue_nums: 8, ..TopicConfig::default() },
        )
    };
    let wrapper = TopicConfigSerializeWrapper {
        data_version: DataVersion { state_version, ..DataVersion::default() },
        topic_config_table: [topic("T"), topic("U")].into(),
        ..TopicConfigSerializeWrapper::default()
    };
    let body = RegisterBrokerBody { topic_config_serialize_wrapper: wrapper, ..RegisterBrokerBody::default() };
    Command::request(request::REGISTER_BROKER).with_header(&header).with_body(proto::json::to_vec(&body))
}

fn with_master() -> Nameserver {
    let mut nameserver = Nameserver::default();
    let answer = nameserver.answer(0, BROKER, &registration(0, "10.0.0.1:10911", 1));
    assert_eq!(answer.command.code, 0);
    nameserver
}

fn request(code: i32, fields: &[(&str, &str)]) -> Command {
    fields.iter().fold(Command::request(code), |it, (key, value)| it.with_ext(key, value))
}

#[test]
fn a_slave_is_told_its_master_and_a_master_is_not() {
    let mut ns = with_master();
    check(&mut ns, registration(0, "10.0.0.1:10911", 1), expect!["0"]);
    check(
        &mut ns,
        registration(2, "10.0.0.2:10911", 1),
        expect![[r#"
            0
            {"haServerAddr": "10.0.0.1:10911-ha", "masterAddr": "10.0.0.1:10911"}"#]],
    );
}

#[test]
fn an_older_master_is_answered_success_and_ignored() {
    let mut ns = with_master();
    check(&mut ns, registration(0, "10.0.0.2:10911", 0), expect!["0"]);
    assert_eq!(ns.table.members("c", "broker-a").broker_addrs[&0], "10.0.0.1:10911");
}

#[test]
fn bad_registrations_are_refused_with_code_1() {
    let mut ns = Nameserver::default();
    check(
        &mut ns,
        request(103, &[("brokerName", "a")]),
        expect![[r#"
        1
        RegisterBrokerRequest: field `clusterName` is missing"#]],
    );
    check(
        &mut ns,
        registration(0, "a:1", 0).with_ext("bodyCrc32", 7),
        expect![[r#"
        1
        crc32 not match"#]],
    );
    check(
        &mut ns,
        registration(0, "a:1", 0).with_ext("brokerId", "first"),
        expect![[r#"
        1
        RegisterBrokerRequest: field `brokerId` is `first`: want an integer of 64 bits"#]],
    );
    assert!(
        ask(&mut ns, &registration(0, "a:1", 0).with_body("{\"filterServerList\":"))
            .starts_with("1\nbody of the registration: ")
    );
    assert_eq!(ns.table.live_replicas(), 0);
}

#[test]
fn order_topics_travel_back_to_the_broker() {
    let mut ns = with_master();
    ns.kv.put("ORDER_TOPIC_CONFIG", "T", Some("broker-a:8".into()));
    check(
        &mut ns,
        registration(0, "10.0.0.1:10911", 1),
        expect![[r#"
        0
        {"table":{"T":"broker-a:8"}}"#]],
    );
    ns.config.return_order_topic_config_to_broker = false;
    check(&mut ns, registration(0, "10.0.0.1:10911", 1), expect!["0"]);
}

#[test]
fn an_alias_is_shown_to_those_who_ask_for_it() {
    let mut ns = with_master();
    let names = [("clusterName", "c@alias"), ("brokerName", "broker-a@2"), ("batonAliasOf", "broker-a")];
    let alias = names.iter().fold(registration(0, "10.0.0.2:10911", 1), |it, (key, value)| it.with_ext(key, value));
    check(&mut ns, alias, expect!["0"]);
    let plain = r#"0
{"brokerAddrTable":{"broker-a":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c","enableActingMaster":false}},"clusterAddrTable":{"c":["broker-a"]}}"#;
    assert_eq!(ask(&mut ns, &request(106, &[])), plain);
    assert_eq!(ask(&mut ns, &request(106, &[("batonAliases", "false")])), plain);
    let all = ask(&mut ns, &request(106, &[("batonAliases", "true")]));
    assert!(all.contains(r#""c@alias":["broker-a@2"]"#), "{all}");
}

#[test]
fn a_route_has_two_forms_chosen_by_the_askers_version() {
    let mut ns = with_master();
    let ask_route = |version, fields: &[(&str, &str)]| Command { version, ..request(105, fields) };
    let standard = expect![[r#"
        0
        {"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#]];
    standard.assert_eq(&self::ask(&mut ns, &ask_route(401, &[("topic", "T")])));
    standard.assert_eq(&self::ask(&mut ns, &ask_route(0, &[("topic", "T"), ("acceptStandardJsonOnly", "true")])));
    check(
        &mut ns,
        ask_route(400, &[("topic", "T")]),
        expect![[r#"
        0
        {"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#]],
    );
    check(
        &mut ns,
        ask_route(513, &[("topic", "T"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "z")]),
        expect![[r#"
        0
        {"brokerDatas":[],"filterServerTable":{},"queueDatas":[]}"#]],
    );
}

#[test]
fn a_topic_without_a_route_is_code_17() {
    let mut ns = with_master();
    check(
        &mut ns,
        request(105, &[("topic", "X")]),
        expect![[r#"
        17
        No topic route info in name server for the topic: X
        See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."#]],
    );
    check(
        &mut ns,
        request(105, &[]),
        expect![[r#"
        17
        No topic route info in name server for the topic: null
        See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."#]],
    );
}

#[test]
fn routes_wait_for_brokers_where_configured() {
    let mut ns = with_master();
    ns.config = Config { need_wait_for_service: true, wait_seconds_for_service: 11, ..Config::default() };
    check(
        &mut ns,
        request(105, &[("topic", "T")]),
        expect![[r#"
        1
        name server not ready"#]],
    );
    ns.config.wait_seconds_for_service = 10;
    assert!(ask(&mut ns, &request(105, &[("topic", "T")])).starts_with("0\n"));
}

#[test]
fn an_ordered_topic_says_so() {
    let mut ns = with_master();
    ns.kv.put("ORDER_TOPIC_CONFIG", "T", Some("broker-a:4".into()));
    assert!(!ask(&mut ns, &request(105, &[("topic", "T")])).contains("orderTopicConf"));
    ns.config.order_message_enable = true;
    assert!(ask(&mut ns, &request(105, &[("topic", "T")])).contains(r#""orderTopicConf":"broker-a:4""#));
}

#[test]
fn brokers_leave_and_are_asked_about() {
    let mut ns = with_master();
    let named = [("clusterName", "c"), ("brokerName", "broker-a"), ("brokerAddr", "10.0.0.1:10911"), ("brokerId", "0")];
    check(
        &mut ns,
        request(106, &[]),
        expect![[r#"
        0
        {"brokerAddrTable":{"broker-a":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c","enableActingMaster":false}},"clusterAddrTable":{"c":["broker-a"]}}"#]],
    );
    check(
        &mut ns,
        request(901, &named),
        expect![[r#"
        0
        not set any response code
        {"brokerMemberGroup":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"c"}}"#]],
    );
    check(&mut ns, request(904, &named), expect!["0"]);
    check(
        &mut ns,
        request(322, &named).with_body(r#"{"counter":0,"stateVersion":1,"timestamp":0}"#),
        expect![[r#"
        0
        {"changed": "false"}
        {"counter":0,"stateVersion":1,"timestamp":0}"#]],
    );
    check(
        &mut ns,
        request(322, &named).with_body(r#"{"counter":1,"stateVersion":1,"timestamp":0}"#),
        expect![[r#"
        0
        {"changed": "true"}
        {"counter":0,"stateVersion":1,"timestamp":0}"#]],
    );
    check(&mut ns, request(104, &named), expect!["0"]);
    check(
        &mut ns,
        request(322, &named),
        expect![[r#"
        0
        {"changed": "true"}"#]],
    );
    check(
        &mut ns,
        request(106, &[]),
        expect![[r#"
        0
        {"brokerAddrTable":{},"clusterAddrTable":{}}"#]],
    );
}

#[test]
fn operators_change_permissions_and_topics() {
    let mut ns = with_master();
    check(
        &mut ns,
        request(205, &[("brokerName", "broker-a")]),
        expect![[r#"
        0
        {"wipeTopicCount": "2"}"#]],
    );
    check(
        &mut ns,
        request(327, &[("brokerName", "broker-a")]),
        expect![[r#"
        0
        {"addTopicCount": "2"}"#]],
    );
    check(
        &mut ns,
        request(206, &[]),
        expect![[r#"
        0
        {"topicList":["T","U"]}"#]],
    );
    check(&mut ns, request(216, &[("topic", "U")]), expect!["0"]);
    let body = r#"{"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":2,"writeQueueNums":2}]}"#;
    check(&mut ns, request(217, &[("topic", "V")]).with_body(body), expect!["0"]);
    check(
        &mut ns,
        request(224, &[("cluster", "c")]),
        expect![[r#"
        0
        {"topicList":["T","V"]}"#]],
    );
    check(
        &mut ns,
        request(304, &[]),
        expect![[r#"
        0
        {"brokerAddr":"10.0.0.1:10911","topicList":["c","broker-a"]}"#]],
    );
    check(
        &mut ns,
        request(311, &[]),
        expect![[r#"
        0
        {"topicList":[]}"#]],
    );
}

#[test]
fn topic_lists_can_be_switched_off() {
    let mut ns = with_master();
    ns.config = Config { enable_topic_list: false, enable_all_topic_list: false, ..Config::default() };
    for it in [request(206, &[]), request(224, &[("cluster", "c")]), request(312, &[])] {
        assert_eq!(ask(&mut ns, &it), "1\ndisable", "{}", it.code);
    }
}

#[test]
fn key_value_settings() {
    let mut ns = Nameserver::default();
    let put = ns.answer(0, CLIENT, &request(100, &[("namespace", "N"), ("key", "k"), ("value", "v")]));
    assert_eq!(put.command.code, 0);
    expect![[r#"{"configTable":{"N":{"k":"v"}}}"#]].assert_eq(&String::from_utf8(put.save.unwrap().text).unwrap());
    check(
        &mut ns,
        request(100, &[("namespace", "N")]),
        expect![[r#"
        1
        namespace or key is null"#]],
    );
    check(
        &mut ns,
        request(101, &[("namespace", "N"), ("key", "k")]),
        expect![[r#"
        0
        {"value": "v"}"#]],
    );
    check(
        &mut ns,
        request(219, &[("namespace", "N")]),
        expect![[r#"
        0
        {"table":{"k":"v"}}"#]],
    );
    check(&mut ns, request(102, &[("namespace", "N"), ("key", "k")]), expect!["0"]);
    check(
        &mut ns,
        request(101, &[("namespace", "N"), ("key", "k")]),
        expect![[r#"
        22
        No config item, Namespace: N Key: k"#]],
    );
    check(
        &mut ns,
        request(219, &[("namespace", "N")]),
        expect![[r#"
        0
        {"table":{}}"#]],
    );
    check(
        &mut ns,
        request(219, &[("namespace", "M")]),
        expect![[r#"
        22
        No config item, Namespace: M"#]],
    );
}

#[test]
fn settings_change_at_run_time() {
    let mut ns = Nameserver::default();
    let answer = ns.answer(0, CLIENT, &Command::request(318).with_body("enableTopicList=false\n"));
    let saved = String::from_utf8(answer.save.unwrap().text).unwrap();
    assert!(saved.contains("enableTopicList=false\n"), "{saved}");
    assert!(saved.lines().is_sorted(), "{saved}");
    assert!(ask(&mut ns, &request(319, &[])).contains("\nenableTopicList=false\n"));
    check(
        &mut ns,
        Command::request(318).with_body("kvConfigPath=/x"),
        expect![[r#"
        16
        Can not update config in black list."#]],
    );
    check(
        &mut ns,
        Command::request(318).with_body("enableTopicList=perhaps"),
        expect![[r#"
        1
        `enableTopicList=perhaps`: want true or false"#]],
    );
}

#[test]
fn an_unknown_code_is_code_3() {
    check(
        &mut Nameserver::default(),
        request(999, &[]),
        expect![[r#"
        3
         request type 999 not supported"#]],
    );
}
