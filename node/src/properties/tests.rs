//! What files are read as, and what is said about those that are wrong.

use super::*;
use expect_test::{Expect, expect};
use serde::Deserialize;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    listen_port: i32,
    broker_name: String,
    flush_disk_type: FlushDiskType,
    enable_controller_mode: bool,
    disk_ratio: f64,
    broker_id: Option<i64>,
    store_path: Option<String>,
    new_name: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Inner {
    map_file_size: u64,
    warm: bool,
    role: Role,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum FlushDiskType {
    #[default]
    AsyncFlush,
    SyncFlush,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Role {
    #[default]
    AsyncMaster,
    SyncMaster,
    Slave,
}

impl Default for Sample {
    fn default() -> Self {
        Sample {
            listen_port: 10911,
            broker_name: "broker-a".into(),
            flush_disk_type: FlushDiskType::AsyncFlush,
            enable_controller_mode: false,
            disk_ratio: 0.75,
            broker_id: None,
            store_path: None,
            new_name: 1,
            inner: Inner::default(),
        }
    }
}

impl Default for Inner {
    fn default() -> Self {
        Inner { map_file_size: 1 << 30, warm: false, role: Role::AsyncMaster }
    }
}

fn check(text: &str, want: Expect) {
    let got = match parse::<Sample>("broker.conf", text) {
        Ok(loaded) => {
            let unknown =
                loaded.unknown.iter().map(|it| format!("unknown {}:{} near {:?}\n", it.line, it.key, it.nearest));
            print(&loaded.config) + &unknown.collect::<String>()
        }
        Err(e) => e.to_string(),
    };
    want.assert_eq(&got);
}

#[test]
fn each_kind_of_field_is_read_from_text() {
    check(
        "\u{FEFF}# comment\r\n! comment\r\n\r\n listenPort = 1 \r\nbrokerName=a=b\nflushDiskType=SYNC_FLUSH\nenableControllerMode=TRUE\n\
         diskRatio=0.5\nbrokerId=7\nstorePath=/x y\nnewName=9\nmapFileSize=5\nwarm=true\nrole=SLAVE\nlistenPort=2",
        expect![[r#"
            listenPort=2
            brokerName=a=b
            flushDiskType=SYNC_FLUSH
            enableControllerMode=true
            diskRatio=0.5
            brokerId=7
            storePath=/x y
            newName=9
            mapFileSize=5
            warm=true
            role=SLAVE
        "#]],
    );
}

#[test]
fn what_is_printed_is_read_back() {
    let printed = print(&Sample::default());
    assert_eq!(parse::<Sample>("printed", &printed).unwrap().config, Sample::default());
    assert!(printed.contains("brokerId=\n"));
}

#[test]
fn a_bad_value_names_file_line_key_value_and_what_is_allowed() {
    check("listenPort=1\nlistenPort=x", expect!["broker.conf:2: `listenPort=x`: want an integer"]);
    check(
        "listenPort=9999999999",
        expect!["broker.conf:1: `listenPort=9999999999`: want an integer from -2147483648 to 2147483647"],
    );
    check("enableControllerMode=yes", expect!["broker.conf:1: `enableControllerMode=yes`: want true or false"]);
    check("flushDiskType=SYNC", expect!["broker.conf:1: `flushDiskType=SYNC`: want ASYNC_FLUSH or SYNC_FLUSH"]);
    check("diskRatio=", expect!["broker.conf:1: `diskRatio=`: want a number"]);
    check("brokerId=one", expect!["broker.conf:1: `brokerId=one`: want an integer"]);
    check("newName=300", expect!["broker.conf:1: `newName=300`: want an integer from 0 to 255"]);
    check("just words", expect!["broker.conf:1: `just words`: want key=value"]);
    check("=5", expect!["broker.conf:1: `=5`: want key=value"]);
}

#[test]
fn a_bad_value_of_a_flattened_struct_is_found_too() {
    check("listenPort=1\nwarm=maybe", expect!["broker.conf:2: `warm=maybe`: want true or false"]);
    check("listenPort=1\nmapFileSize=1G", expect!["broker.conf:2: `mapFileSize=1G`: want an integer"]);
    check("listenPort=1\nmapFileSize=-1", expect!["broker.conf:2: `mapFileSize=-1`: want u64"]);
    check(
        "role=LEADER\nlistenPort=1",
        expect!["broker.conf:1: `role=LEADER`: want ASYNC_MASTER, SYNC_MASTER or SLAVE"],
    );
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    let loaded = parse::<Sample>("broker.conf", "listenprot=1\nmapFileSise=2\nqqq=3").unwrap();
    let near =
        |line, key: &str, nearest: Option<&str>| UnknownKey { line, key: key.into(), nearest: nearest.map(Into::into) };
    assert_eq!(
        loaded.unknown,
        [near(1, "listenprot", Some("listenPort")), near(2, "mapFileSise", Some("mapFileSize")), near(3, "qqq", None)]
    );
    assert_eq!(loaded.config, Sample::default());
}

#[test]
fn a_missing_or_binary_file_is_an_error_that_names_it() {
    let missing = load::<Sample>(Some(Path::new("/nowhere/broker.conf"))).unwrap_err().to_string();
    expect!["/nowhere/broker.conf: cannot read: No such file or directory (os error 2)"].assert_eq(&missing);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0xFF, 0xFE, 0]).unwrap();
    let binary = load::<Sample>(Some(file.path())).unwrap_err().to_string();
    assert!(binary.ends_with("cannot read: not a text file (UTF-8)"), "{binary}");
    assert_eq!(load::<Sample>(None).unwrap().config, Sample::default());
}

/// RocketMQ's samples for a controller in a nameserver carry their license so.
#[test]
fn an_xml_comment_is_passed_over() {
    let text = "<!--\n  Licensed to you; a=b\n-->\n#Namesrv config\nlistenPort = 9876\n<!-- one line -->\nenableControllerMode=true\n";
    let loaded = parse::<Sample>("namesrv.conf", text).unwrap();
    assert_eq!((loaded.config.listen_port, loaded.config.enable_controller_mode), (9876, true));
    assert_eq!(loaded.unknown, []);
}
