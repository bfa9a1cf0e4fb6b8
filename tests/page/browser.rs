//! The controllers' status page, as a browser shows it.

use baton_tests::{Cluster, ClusterSpec, PATIENCE, loudly, one_at_a_time, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};

const CHROMIUM: &str = "/usr/bin/chromium";

/// The document of this address after its scripts have run for a while. The scripts are in it too: what is looked for
/// must be more than a text that they contain.
fn dump(address: &str) -> String {
    let profile = tempfile::tempdir().expect("temporary folder");
    let mut chromium = Command::new(CHROMIUM);
    // As root there is no sandbox; the rest keeps it from talking to anybody but us.
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.args(["--virtual-time-budget=3000", "--dump-dom"]).arg(format!("http://{address}/"));
    let run = chromium.stderr(Stdio::null()).output().expect("chromium runs");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// The page once it contains all of these.
#[track_caller]
fn page_with(address: &str, wanted: &[String]) -> String {
    let mut last = String::new();
    wait_for(&format!("the page at {address} shows {wanted:?}"), PATIENCE, || {
        last = dump(address);
        wanted.iter().all(|it| last.contains(it.as_str())).then(|| last.clone())
    })
}

#[test]
fn the_page_shows_master_epoch_and_set_and_follows_a_kill() {
    if !Path::new(CHROMIUM).exists() {
        return loudly("SKIPPED: the status page was not looked at: no /usr/bin/chromium (apt-get install chromium)");
    }
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    let leader = cluster.controllers[cluster.wait_leader()].address.clone();
    let before = cluster.wait_whole();
    let shown = |master: i64, epoch: i32| format!(r#"data-set="broker-a" data-master="{master}" data-epoch="{epoch}""#);
    let page = page_with(&leader, &[shown(before.master_id, before.master_epoch), r#"data-sss="1,2,3""#.to_owned()]);
    assert!(page.contains(r#"<div class="dim">the set's first master"#), "the timeline names the cause");
    assert!(page.contains(r#"data-state="leader""#) && !page.contains(">go to the leader"), "{leader} leads");

    let follower = cluster.controllers.iter().find(|it| it.address != leader).expect("a follower");
    page_with(&follower.address, &[format!(r#"href="http://{leader}/">go to the leader"#)]);

    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    let moved = format!("master {} → {}, epoch {}", before.master_id, after.master_id, after.master_epoch);
    let dead = format!(r#"data-replica="{}" data-state="down""#, before.master_id);
    let page = page_with(&leader, &[shown(after.master_id, after.master_epoch), moved, dead]);
    assert!(page.contains("address refuses: the process is gone</div>"), "the timeline says why");
}
