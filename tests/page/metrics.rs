//! `/metrics` of every process against docs/OBSERVABILITY.md, which lists each of them.

use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, http, one_at_a_time, wait_until};
use std::collections::BTreeSet;

/// Printed only once something has happened that does not happen here.
const RARE: [&str; 3] =
    ["baton_unclean_elections_total", "baton_delayed_messages_waiting", "rocketmq_send_to_dlq_messages_total"];

/// Metrics that a page declares, counters with the ending that their samples have.
fn printed(address: &str) -> BTreeSet<String> {
    let (status, page) = http::get(address, "/metrics").expect("an answer");
    assert_eq!(status, 200, "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    let declared = page.lines().filter_map(|it| it.strip_prefix("# TYPE ")).map(|it| match it.split_once(' ') {
        Some((name, "counter")) => format!("{name}_total"),
        Some((name, _)) => name.to_owned(),
        None => panic!("a TYPE line without a type: {it}"),
    });
    declared.collect()
}

/// Names in the first column of the tables under this heading.
fn documented(heading: &str) -> BTreeSet<String> {
    const DOC: &str = include_str!("../../docs/OBSERVABILITY.md");
    let section = DOC.split("\n## ").find(|it| it.starts_with(heading)).unwrap_or_else(|| panic!("no `{heading}`"));
    section.lines().filter_map(|it| it.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

fn sample(address: &str, start: &str) -> Option<f64> {
    let (_, page) = http::get(address, "/metrics")?;
    page.lines().find(|it| it.starts_with(start))?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn what_is_printed_is_documented_and_what_is_documented_is_printed() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    load.wait_progress(20);
    load.stop().check(cluster.nameserver());
    cluster.brokers[master].start();
    cluster.wait_whole();

    let leader = cluster.controllers[cluster.wait_leader()].address.clone();
    let new_master = after.master_address.as_str();
    let changes = "baton_failover_duration_seconds_count";
    wait_until("the failover is counted", PATIENCE, || sample(&leader, changes).is_some_and(|it| it >= 1.0));
    assert_eq!(sample(&leader, "role{"), Some(3.0), "the leader's role");
    assert_eq!(sample(&leader, "baton_broker_sets_without_master{"), Some(0.0));
    wait_until("three replicas live", PATIENCE, || sample(&leader, "active_broker_num{") == Some(3.0));
    assert!(sample(new_master, "rocketmq_messages_in_total{").is_some_and(|it| it > 0.0));
    assert!(sample(new_master, "baton_put_latency_microseconds_count{").is_some_and(|it| it > 0.0));
    assert!(sample(new_master, "rocketmq_messages_out_total{").is_some_and(|it| it > 0.0));

    for (heading, address) in
        [("Controller", leader.as_str()), ("Broker", new_master), ("Nameserver", cluster.nameserver())]
    {
        let (printed, mut documented) = (printed(address), documented(heading));
        documented.extend(self::documented("Every process"));
        let rare = |it: &&String| !RARE.contains(&it.as_str());
        let missing: Vec<_> = documented.difference(&printed).filter(rare).collect();
        let unknown: Vec<_> = printed.difference(&documented).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{heading}: not printed {missing:?}, undocumented {unknown:?}"
        );
    }
}
