//! Defaults, profiles, and what is refused.

use super::*;

fn controller_mode() -> Config {
    Config {
        broker_name: "broker-a".into(),
        enable_controller_mode: true,
        controller_addr: "127.0.0.1:9878; 127.0.0.1:9879".into(),
        ..Default::default()
    }
}

#[test]
fn controller_mode_is_strict_unless_the_file_says_otherwise() {
    assert_eq!(controller_mode().acknowledgement(), Acknowledgement::AllInSyncStateSet);
    let relaxed = Config { in_sync_replicas: Some(2), ..controller_mode() };
    assert_eq!(relaxed.acknowledgement(), Acknowledgement::InSyncReplicas(2));
    let java = Config { all_ack_in_sync_state_set: Some(false), ..controller_mode() };
    assert_eq!(java.acknowledgement(), Acknowledgement::InSyncReplicas(1));
    assert_eq!(Config::default().acknowledgement(), Acknowledgement::InSyncReplicas(1));
    assert!(controller_mode().durability_in_words().starts_with("strict"));
    assert!(relaxed.durability_in_words().starts_with("relaxed"));
}

#[test]
fn keys_are_rocketmqs() {
    let keys: Vec<String> = serde_json::to_value(Config::default())
        .ok()
        .and_then(|it| it.as_object().map(|it| it.keys().cloned().collect()))
        .expect("a struct");
    for key in [
        "brokerClusterName",
        "brokerIP1",
        "brokerIP2",
        "bindAddress",
        "haListenPort",
        "namesrvAddr",
        "storePathRootDir",
        "storePathCommitLog",
        "storePathEpochFile",
        "storePathBrokerIdentity",
        "mappedFileSizeCommitLog",
        "flushDiskType",
        "enableControllerMode",
        "controllerAddr",
        "allAckInSyncStateSet",
        "inSyncReplicas",
        "minInSyncReplicas",
        "slaveTimeout",
        "haMaxTimeSlaveNotCatchup",
        "brokerHeartbeatInterval",
        "controllerHeartBeatTimeoutMills",
        "syncBrokerMetadataPeriod",
        "registerNameServerPeriod",
        "autoCreateTopicEnable",
        "maxMessageSize",
        "brokerPermission",
        "slaveReadEnable",
        "messageDelayLevel",
        "flushDelayOffsetInterval",
        "longPollingEnable",
        "fileReservedTime",
    ] {
        assert!(keys.iter().any(|it| it == key), "{key}");
    }
}

#[test]
fn each_mistake_names_the_key_and_the_cure() {
    let base = controller_mode;
    let mistakes = [
        (Config { controller_addr: " ; ".into(), ..base() }, "controllerAddr"),
        (Config { controller_addr: "somewhere".into(), ..base() }, "controllerAddr=somewhere"),
        (Config { namesrv_addr: Some("a:b".into()), ..base() }, "namesrvAddr=a:b"),
        (Config { broker_name: "a#b".into(), ..base() }, "brokerName=a#b"),
        (Config { broker_cluster_name: String::new(), ..base() }, "brokerClusterName"),
        (Config { broker_ip1: Some("0.0.0.0".into()), ..base() }, "brokerIP1=0.0.0.0"),
        (Config { broker_ip2: Some("host".into()), ..base() }, "brokerIP2=host"),
        (Config { bind_address: "here".into(), ..base() }, "bindAddress=here"),
        (Config { in_sync_replicas: Some(1), min_in_sync_replicas: 2, ..base() }, "minInSyncReplicas=2"),
        (Config { min_in_sync_replicas: 0, ..base() }, "minInSyncReplicas=0"),
        (Config { ha_listen_port: 10911, ..base() }, "haListenPort"),
        (Config { broker_permission: 9, ..base() }, "brokerPermission=9"),
        (Config { delete_when: "25".into(), ..base() }, "deleteWhen=25"),
        (Config { message_delay_level: "1s, 2s".into(), ..base() }, "messageDelayLevel=1s, 2s"),
        (Config { slave_read_spread: true, ..base() }, "slaveReadEnable=true"),
        (Config { flush_delay_offset_interval: 0, ..base() }, "flushDelayOffsetInterval=0"),
        (Config { forward_hold_count: 0, ..base() }, "forwardHoldCount=0"),
        (Config { forward_hold_bytes: 1 << 20, ..base() }, "forwardHoldBytes=1048576"),
        (Config { broker_heartbeat_interval: 2000, ..base() }, "controllerHeartBeatTimeoutMills=2000"),
        (Config { mapped_file_size_commit_log: 1, ..base() }, "mappedFileSizeCommitLog=1"),
        (Config { enable_controller_mode: false, broker_role: BrokerRole::Slave, ..base() }, "brokerRole=SLAVE"),
        (Config { enable_controller_mode: false, enable_failover_alias: true, ..base() }, "enableFailoverAlias=true"),
    ];
    for (config, names) in mistakes {
        let problem = config.validate().expect_err(names);
        assert!(problem.to_string().contains(names), "{problem}: want {names}");
    }
    assert_eq!(base().validate(), Ok(()));
}

#[test]
fn a_single_bind_address_is_what_others_are_told() {
    let config = Config { bind_address: "127.0.0.1".into(), ..controller_mode() };
    let ha = config.ha(10911, false).expect("valid");
    assert_eq!((ha.broker_address.as_str(), ha.ha_address.as_str()), ("127.0.0.1:10911", "127.0.0.1:10912"));
    assert_eq!(ha.controllers, ["127.0.0.1:9878", "127.0.0.1:9879"]);
}

#[test]
fn the_second_port_is_two_below_unless_something_else_has_it() {
    assert_eq!(controller_mode().vip_port(), Some(10909));
    for config in [
        Config { enable_vip_listener: false, ..controller_mode() },
        Config { ha_listen_port: 10909, ..controller_mode() },
        Config { listen_port: 0, ..controller_mode() },
        Config { listen_port: 2, ..controller_mode() },
    ] {
        assert_eq!(config.vip_port(), None, "{config:?}");
    }
}

#[test]
fn credentials_are_json_and_never_shown() {
    let of = |text: &str| Config { inner_client_authentication_credentials: text.into(), ..Config::default() };
    let good = of(r#"{"accessKey":"broker","secretKey":"12345678"}"#);
    assert_eq!(good.credentials(), Ok(Some(("broker".into(), "12345678".into()))));
    assert!(!format!("{:?}", good.lines()).contains("12345678"));
    assert_eq!(of("").credentials(), Ok(None));
    let wanted = |mut it: Config, key: &str| {
        it.access.controller_acl_enable = true;
        it.access.controller_access_key = key.to_owned();
        it.access.controller_secret_key = key.to_owned();
        it.wanted_credentials()
    };
    assert_eq!(good.wanted_credentials(), Ok(None), "signing does not mean asking for it");
    assert_eq!(wanted(good.clone(), ""), good.credentials());
    assert_eq!(wanted(good.clone(), "other"), Ok(Some(("other".into(), "other".into()))));
    assert!(matches!(wanted(of(""), ""), Err(ConfigProblem::NoCredentials("controllerAccessKey"))));
    for bad in ["broker:12345678", r#"{"accessKey":"broker"}"#, r#"{"accessKey":"","secretKey":"12345678"}"#] {
        let why = of(bad).validate().unwrap_err().to_string();
        assert!(why.starts_with("`innerClientAuthenticationCredentials`: want") && !why.contains("12345678"), "{why}");
    }
}
