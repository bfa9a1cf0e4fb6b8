//! A master that dies with bytes that no slave has: they are cut when it returns, at the right byte, and kept aside
//! (S9).

use baton_tests::wire::Connection;
use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, SECOND, logs, one_at_a_time, queries, wait_for, wait_until};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than what the sockets' buffers to two stopped slaves can hold, so that the end of the tail reached nobody.
const TAIL: i64 = 48 * 1024 * 1024;
const BODY: usize = 256 * 1024;

#[test]
fn an_old_masters_diverged_tail_is_cut_at_the_right_byte_and_kept() {
    let _turn = one_at_a_time();
    // The master must not propose to drop the stopped slaves: alone in the set it would acknowledge the tail, rightly.
    let spec = ClusterSpec::default()
        .broker_key("haMaxTimeSlaveNotCatchup=120000")
        .broker_key("haHousekeepingInterval=120000");
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", 3);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(50);
    let history = load.stop();
    cluster.wait_equal_logs();
    let before = cluster.wait_whole();

    let old = cluster.wait_master();
    let slaves = [(old + 1) % 3, (old + 2) % 3];
    slaves.iter().for_each(|it| cluster.brokers[*it].pause());
    let end = append_unacknowledged_tail(&cluster.brokers[old].address);
    cluster.brokers[old].kill();
    slaves.iter().for_each(|it| cluster.brokers[*it].resume());
    let after = cluster.wait_master_after(before.master_epoch);

    // Where the new master's epoch begins is where its log ended: the last byte it shares with the old one.
    let new = cluster.broker_at(&after.master_address).expect("one of ours");
    let cut = wait_for("the new master's epochs", PATIENCE, || {
        let entries = queries::epochs(&cluster.brokers[new].address)?.entries;
        entries.iter().find(|it| it.0 == after.master_epoch).map(|it| it.1)
    });
    assert!(cut < end, "no divergence: the slaves got all of the tail ({cut} of {end})");
    let lost = logs::read(&cluster.brokers[old].commit_log(), cut, end);
    let shared = logs::read(&cluster.brokers[old].commit_log(), 0, cut);

    cluster.create_topic("orders-after", 1);
    let load = Load::start(cluster.nameserver(), "orders-after", 1);
    load.wait_progress(20);
    cluster.brokers[old].start();
    cluster.wait_whole();
    load.wait_progress(20);
    load.stop().check(cluster.nameserver());
    history.check(cluster.nameserver());

    cluster.assert_one_log();
    let now = logs::read(&cluster.brokers[old].commit_log(), 0, cut);
    assert!(now == shared, "bytes before the cut at {cut} were changed");
    let kept = kept_tail(&cluster.brokers[old].store());
    let name = kept.file_name().expect("a file").to_string_lossy().into_owned();
    assert!(name.ends_with(&format!("-{cut}-{end}")), "{name}: want <epoch>-{cut}-{end}");
    assert!(std::fs::read(&kept).expect("the kept tail") == lost, "{name} must hold the bytes that were cut");
}

/// Sends until the master's log has grown by [`TAIL`]; nothing may be acknowledged. Returns the log's end.
fn append_unacknowledged_tail(master: &str) -> i64 {
    let start = queries::epochs(master).expect("the master tells its log end").max_offset;
    let mut connection = Connection::open(master, SECOND).expect("the master accepts connections");
    for _ in 0..TAIL / BODY as i64 + 1 {
        connection.send(queries::send_request("orders", 2, vec![b'x'; BODY])).expect("the master reads");
    }
    wait_until("the tail is in the master's log", PATIENCE, || {
        queries::epochs(master).is_some_and(|it| it.max_offset - start > TAIL)
    });
    let end = wait_for("the master's log has come to rest", PATIENCE, || {
        let first = queries::epochs(master)?.max_offset;
        std::thread::sleep(Duration::from_millis(100));
        (queries::epochs(master)?.max_offset == first).then_some(first)
    });
    // A timed-out send may be answered by now, but never with SEND_OK.
    loop {
        match connection.receive(Duration::from_millis(100)) {
            Ok(answer) => assert_ne!(answer.code, queries::OK, "acknowledged without its slaves (S3)"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                return end;
            }
        }
    }
}

/// The one file that truncation kept, wherever under `truncated/` of the store.
fn kept_tail(store: &Path) -> PathBuf {
    let folder = store.join("truncated");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let kept: Vec<_> = entries.map(|it| it.expect("entry").path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].clone()
}
