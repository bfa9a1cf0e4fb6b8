//! A full disk while appending: sends fail with RocketMQ's code, reads go on, appending resumes when there is room.
//!
//! The store lies on a small tmpfs that only the broker's own mount namespace sees, so that nothing stays mounted
//! whatever happens.

use baton_tests::cluster::{broker_config, free_port};
use baton_tests::process::{Process, binary};
use baton_tests::wire::Connection;
use baton_tests::{PATIENCE, SECOND, one_at_a_time, queries, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;

const DISK: &str = "40m";
const BODY: usize = 64 * 1024;

/// `unshare` arguments that give a private mount namespace here, if any do.
fn private_mounts() -> Option<&'static [&'static str]> {
    let works = |arguments: &[&str]| {
        let probe =
            Command::new("unshare").args(arguments).args(["sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]).output();
        probe.is_ok_and(|it| it.status.success())
    };
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    ways.into_iter().find(|it| works(it))
}

#[test]
fn a_full_disk_fails_sends_keeps_reads_and_heals() {
    let _turn = one_at_a_time();
    let Some(unshare) = private_mounts() else {
        baton_tests::loudly(
            "SKIPPED: no mount namespace can be had here, so no small disk: the full-disk case did not run",
        );
        return;
    };
    let folder = tempfile::tempdir().expect("temporary folder");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let keys = ["brokerRole=ASYNC_MASTER", "mappedFileSizeCommitLog=4194304", "mappedFileSizeConsumeQueue=60000"];
    let keys: Vec<_> = keys.iter().map(|it| it.to_string()).collect();
    let config = broker_config(folder.path(), "broker", "broker-a", port, &[], &keys);
    let store = folder.path().join("broker/store");
    std::fs::create_dir_all(&store).expect("store folder");
    let file = folder.path().join("broker.conf");
    std::fs::write(&file, config).expect("configuration");
    let mut broker = start_on_small_disk(unshare, folder.path(), &store, &file);
    // The namespace's view of the store, from outside.
    let inside = PathBuf::from(format!("/proc/{}/root{}", broker.id(), store.display()));

    let topic = wait_for("the broker creates a topic", PATIENCE, || queries::create_topic(&address, "orders", 1).ok());
    assert_eq!(topic.code, queries::OK, "{:?}", topic.remark);
    let mut connection = Connection::open(&address, SECOND).expect("connects");
    let mut stored = 0;
    for _ in 0..16 {
        assert_eq!(send(&mut connection).0, queries::OK);
        stored += 1;
    }
    // Somebody else's data fills the disk.
    std::fs::write(inside.join("ballast"), vec![0; 18 * 1024 * 1024]).expect("ballast fits");
    let refused = wait_for("the disk is full", PATIENCE, || {
        let (code, remark) = send(&mut connection);
        if code == queries::OK {
            stored += 1;
            assert!(stored < 2000, "a disk of {DISK} cannot hold {stored} messages");
            return None;
        }
        Some((code, remark))
    });
    assert!([1, 14].contains(&refused.0), "RocketMQ's codes for this are 14 and 1: {refused:?}");
    assert!(refused.1.contains("disk") || refused.1.contains("space"), "the remark must say why: {refused:?}");
    assert!(broker.has_ended().is_none(), "the broker must live on:\n{}", broker.output());
    assert_readable(&address, stored);

    std::fs::remove_file(inside.join("ballast")).expect("room again");
    wait_for("appending resumes", PATIENCE, || (send(&mut connection).0 == queries::OK).then_some(()));
    stored += 1;
    assert_readable(&address, stored);
    assert_eq!(broker.terminate(PATIENCE).code(), Some(0));
}

fn start_on_small_disk(unshare: &[&str], folder: &Path, store: &Path, config: &Path) -> Process {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" && exec \"$3\" -c \"$4\"";
    command.args(unshare).args(["sh", "-c", script, "sh", DISK]).arg(store).arg(binary("mqbroker")).arg(config);
    command.current_dir(folder).env_remove("NAMESRV_ADDR").env_remove("ROCKETMQ_HOME").env("HOME", folder);
    let mut broker = Process::start("broker", command, &folder.join("output.log"));
    broker.wait_for_output("The broker[", PATIENCE);
    broker
}

/// Code and remark.
fn send(connection: &mut Connection) -> (i32, String) {
    let request = queries::send_request("orders", 0, vec![b'm'; BODY]);
    let answer = connection.call(request, 10 * SECOND).expect("the broker answers");
    (answer.code, answer.remark.unwrap_or_default())
}

/// Reads until `count` messages have come, waiting for the last ones to be dispatched; then there must be no more.
fn assert_readable(address: &str, count: i64) {
    let mut connection = Connection::open(address, SECOND).expect("connects");
    let mut offset = 0;
    wait_for("all stored messages are readable", PATIENCE, || {
        let (records, next) = queries::pull(&mut connection, "orders", 0, offset).expect("reads go on");
        assert_eq!(next - offset, records.len() as i64, "queue offsets without gaps");
        offset = next;
        (offset >= count).then_some(())
    });
    let (more, _) = queries::pull(&mut connection, "orders", 0, offset).expect("reads go on");
    assert_eq!((offset, more.len()), (count, 0), "every acknowledged message and no other");
}
