//! `/metrics` of a controller. RocketMQ's names where it has one; what it never measured begins with `baton_`.
//!
//! `role` has the value that RocketMQ documents (leader 3, follower 2, candidate 1), not the one its code reports.

use crate::raft::metrics::RaftMetrics;
use crate::replicas::{BrokerSet, Cause, Outcome, Refusal, RoleChange};
use crate::rpc::Service;
use crate::watch::Table;
use node::metrics::{Counters, Gauges, Labels, Latencies, Registry, as_micros, micros, page, seconds};
use proto::code::request;
use proto::{BrokerId, Millis};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Counted as things happen.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Counters,
    request_latency: Latencies,
    elections: Counters,
    unclean: Counters,
    failover: Latencies,
}

impl Metrics {
    /// `constant` labels are on every sample, as in RocketMQ.
    pub(crate) fn new(constant: &[(&'static str, String)], raft: &RaftMetrics) -> Metrics {
        let labels = constant.iter().map(|(k, v)| ((*k).into(), v.clone().into()));
        let mut it = Metrics {
            registry: Registry::with_labels(labels),
            requests: Counters::default(),
            request_latency: Latencies::new_with_constructor(micros),
            elections: Counters::default(),
            unclean: Counters::default(),
            failover: Latencies::new_with_constructor(seconds),
        };
        let Metrics { registry, requests, request_latency, elections, unclean, failover } = &mut it;
        registry.register("request", "Requests answered", requests.clone());
        registry.register("request_latency_microseconds", "Time to answer a request", request_latency.clone());
        registry.register("election", "Elections decided while this controller led", elections.clone());
        registry.register("baton_unclean_elections", "Masters from outside the SyncStateSet", unclean.clone());
        let help = "Changes of a master by phase: silent, detected_to_proposed, proposed_to_committed, \
                    committed_to_heard (the new master's first heartbeat at its epoch)";
        registry.register("baton_failover_duration_seconds", help, failover.clone());
        raft.register(registry);
        it
    }

    pub(crate) fn answered(&self, code: i32, status: &str, took: Duration) {
        let kind = ("request_type", request_type(code));
        let labels: Labels = vec![kind.clone(), ("request_handle_status", status.to_owned())];
        self.requests.get_or_create(&labels).inc();
        self.request_latency.get_or_create(&vec![kind]).observe(as_micros(took));
    }

    /// Counts what became of an election; other outcomes are none.
    pub(crate) fn elected(&self, broker_set: &str, outcome: &Outcome) {
        let (result, cluster) = match outcome {
            Outcome::Elected(it, _) => ("new_master_elected", it.cluster.as_str()),
            Outcome::MasterStillAlive(it) => ("keep_current_master", it.cluster.as_str()),
            Outcome::Refused(Refusal::NobodyElectable | Refusal::ElectFailed) => ("no_master_elected", ""),
            _ => return,
        };
        let set = [("cluster", cluster.to_owned()), ("broker_set", broker_set.to_owned())];
        let labels = set.into_iter().chain([("election_result", result.to_owned())]).collect();
        self.elections.get_or_create(&labels).inc();
    }

    /// A change of a master that was committed while this controller led.
    pub(crate) fn changed(&self, broker_set: &str, change: &RoleChange, committed_ms: i64) {
        if change.unclean {
            self.unclean.get_or_create(&vec![("broker_set", broker_set.to_owned())]).inc();
        }
        if change.from.is_none() || change.to.is_none() {
            return;
        }
        if let Cause::HeartbeatExpired { silent_ms } = change.cause {
            self.phase("silent", silent_ms as i64);
        }
        self.phase("detected_to_proposed", change.proposed_ms - change.detected_ms);
        self.phase("proposed_to_committed", committed_ms - change.proposed_ms);
    }

    pub(crate) fn phase(&self, phase: &str, ms: i64) {
        let took = Duration::from_millis(ms.max(0) as u64).as_secs_f64();
        self.failover.get_or_create(&vec![("phase", phase.to_owned())]).observe(took);
    }
}

/// Names of RocketMQ's `ControllerRequestCode` labels; its other codes go by number.
fn request_type(code: i32) -> String {
    let name = match code {
        request::CONTROLLER_ALTER_SYNC_STATE_SET => "CONTROLLER_ALTER_SYNC_STATE_SET",
        request::CONTROLLER_ELECT_MASTER => "CONTROLLER_ELECT_MASTER",
        request::CONTROLLER_REGISTER_BROKER => "CONTROLLER_REGISTER_BROKER",
        request::CONTROLLER_GET_REPLICA_INFO => "CONTROLLER_GET_REPLICA_INFO",
        request::CONTROLLER_GET_METADATA_INFO => "CONTROLLER_GET_METADATA_INFO",
        request::CONTROLLER_GET_SYNC_STATE_DATA => "CONTROLLER_GET_SYNC_STATE_DATA",
        request::BROKER_HEARTBEAT => "CONTROLLER_BROKER_HEARTBEAT",
        request::UPDATE_CONTROLLER_CONFIG => "CONTROLLER_UPDATE_CONTROLLER_CONFIG",
        request::GET_CONTROLLER_CONFIG => "CONTROLLER_GET_CONTROLLER_CONFIG",
        request::CLEAN_BROKER_DATA => "CONTROLLER_CLEAN_BROKER_DATA",
        request::CONTROLLER_GET_NEXT_BROKER_ID => "CONTROLLER_GET_NEXT_BROKER_ID",
        request::CONTROLLER_APPLY_BROKER_ID => "CONTROLLER_APPLY_BROKER_ID",
        // Bounded, whatever peers send.
        31_000..=31_099 => return format!("BATON_{code}"),
        _ => "OTHER",
    };
    name.to_owned()
}

/// RocketMQ's common labels.
pub(crate) fn common_labels(address: String, group: String, peer_id: String) -> [(&'static str, String); 3] {
    [("address", address), ("group", group), ("peer_id", peer_id)]
}

/// Answers `GET /metrics`.
pub(crate) async fn metrics(service: &Service) -> impl axum::response::IntoResponse + use<> {
    let mut gauges = Gauges::new(&service.labels());
    raft(&mut gauges, service);
    let path = service.config.load().store_path();
    let disk = tokio::task::spawn_blocking(move || size(&path)).await.unwrap_or(0);
    gauges.one("dledger_disk_usage_bytes", "Size of controllerStorePath", disk as f64);
    if let Some(sets) = service.watch.look(Sets::of).await {
        sets.tell(&mut gauges);
    }
    gauges.process();
    page(&[&service.metrics.registry], &gauges)
}

fn raft(gauges: &mut Gauges, service: &Service) {
    let leadership = *service.raft.leadership().borrow();
    let own = service.peers.self_id;
    let role = match leadership.leader {
        Some(leader) if leader == own => 3.0,
        Some(_) => 2.0,
        None => 1.0,
    };
    gauges.one("role", "Leader 3, follower 2, candidate 1", role);
    gauges.one("baton_raft_term", "Raft term", leadership.term as f64);
    let lease = service.raft.lease_left_ms() as f64 / 1000.0;
    gauges.one("baton_raft_lease_remaining_seconds", "For how long nobody else can lead; 0 on a follower", lease);
    let raft = &service.raft.metrics;
    let read = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed) as f64;
    let (last, committed, applied) = (read(&raft.last_index), read(&raft.committed_index), read(&raft.applied_index));
    gauges.one("baton_raft_committed_index", "Last committed entry", committed);
    gauges.one(
        "baton_raft_commit_lag_entries",
        "Entries in the log that are not committed",
        (last - committed).max(0.0),
    );
    let help = "Committed entries that are not applied";
    gauges.one("baton_raft_apply_lag_entries", help, (committed - applied).max(0.0));
    let followers = raft.followers.lock().clone();
    let members = service.raft.members();
    let peer = |id: u64| vec![("follower", members.get(id).map_or("?", |it| &it.name).to_owned())];
    let lags = followers.iter().map(|it| (peer(it.id), it.lag_entries as f64));
    gauges.many("baton_raft_follower_lag_entries", "Entries that a follower lacks; known to the leader", lags);
    let heard = followers.iter().map(|it| (peer(it.id), f64::from(u8::from(it.is_heard()))));
    gauges.many("baton_raft_follower_heard", "1 while the leader hears this follower", heard);
}

/// Numbers about the broker sets, taken out of the table in one go.
#[derive(Default)]
struct Sets {
    sets: usize,
    no_master: usize,
    below_min: usize,
    waiting: usize,
    per_set: Vec<PerSet>,
}

struct PerSet {
    labels: Labels,
    alive: usize,
    members: usize,
    epoch: i32,
    /// None while there is no master, or none that was heard.
    lease: Option<Millis>,
    replicas: Vec<(BrokerId, Option<crate::lag::Lag>)>,
}

impl Sets {
    fn of(now: Millis, table: &Table) -> Sets {
        let mut it = Sets::default();
        for (set, pulses) in table.liveness.sets() {
            it.sets += 1;
            it.no_master += usize::from(set.master.is_none());
            it.below_min += usize::from(is_below_min(set));
            it.waiting += usize::from(table.liveness.waiting(now, &set.name).patience_ms.is_some());
            let replicas = set.replicas.keys().map(|id| (*id, table.lag(now, &set.name, *id, pulses.get(id))));
            it.per_set.push(PerSet {
                labels: vec![("cluster", set.cluster.clone()), ("broker_set", set.name.clone())],
                alive: set.replicas.keys().filter(|id| table.liveness.is_alive(now, &set.name, **id)).count(),
                members: set.sync_state_set.len(),
                epoch: set.master_epoch,
                lease: set.master.and_then(|id| pulses.get(&id)).and_then(|it| it.lease_left(now)),
                replicas: replicas.collect(),
            });
        }
        it
    }

    fn tell(&self, gauges: &mut Gauges) {
        gauges.one("baton_broker_sets", "Broker sets known", self.sets as f64);
        gauges.one("baton_broker_sets_without_master", "Broker sets that nobody can write to", self.no_master as f64);
        let help = "Broker sets whose SyncStateSet is smaller than minInSyncReplicas";
        gauges.one("baton_broker_sets_below_min_in_sync", help, self.below_min as f64);
        let help = "Broker sets whose master changed too often: elections that nobody chose wait";
        gauges.one("baton_broker_sets_flapping", help, self.waiting as f64);
        let each = |value: fn(&PerSet) -> f64| self.per_set.iter().map(move |it| (it.labels.clone(), value(it)));
        gauges.many("active_broker_num", "Replicas alive, as this controller hears them", each(|it| it.alive as f64));
        gauges.many("baton_sync_state_set_size", "Members of the SyncStateSet", each(|it| it.members as f64));
        gauges.many("baton_master_epoch", "Epoch of the master", each(|it| f64::from(it.epoch)));
        let help = "For how long the master may acknowledge in the relaxed profile, as of its last heartbeat to this \
                    controller";
        let lease = |it: &PerSet| Some((it.labels.clone(), it.lease? as f64 / 1000.0));
        gauges.many("baton_master_lease_remaining_seconds", help, self.per_set.iter().filter_map(lease));
        let lags = |value: fn(crate::lag::Lag) -> f64| {
            self.per_set.iter().flat_map(move |set| {
                set.replicas.iter().filter_map(move |(id, lag)| {
                    let labels = set.labels.iter().cloned().chain([("broker_id", id.to_string())]).collect();
                    Some((labels, value((*lag)?)))
                })
            })
        };
        let help = "Bytes of the master's log that this replica lacks";
        gauges.many("baton_replica_lag_bytes", help, lags(|it| it.bytes as f64));
        let help = "Age of the first byte of the master's log that this replica lacks";
        gauges.many("baton_replica_lag_seconds", help, lags(|it| it.ms as f64 / 1000.0));
    }
}

pub(crate) fn is_below_min(set: &BrokerSet) -> bool {
    (set.sync_state_set.len() as i64) < i64::from(set.min_in_sync)
}

/// Of all files below a folder; what vanishes meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |it: std::fs::DirEntry| match it.metadata() {
        Ok(found) if found.is_dir() => size(&it.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicas::SetSummary;
    use expect_test::expect;

    fn change(cause: Cause, from: Option<BrokerId>) -> RoleChange {
        let (detected_ms, proposed_ms) = (1_000, 1_002);
        let (to, epoch, sync_state_set) = (Some(2), 2, [2, 3].into());
        RoleChange { detected_ms, proposed_ms, from, to, epoch, sync_state_set, cause, unclean: false }
    }

    /// Samples of the counters and the sums and counts of the histograms.
    fn samples(metrics: &Metrics) -> String {
        let (_, text) = page(&[&metrics.registry], &Gauges::new(&[]));
        let kept = |it: &&str| !it.starts_with('#') && !it.contains("_bucket");
        text.lines().filter(kept).map(|it| format!("{it}\n")).collect()
    }

    fn metrics() -> Metrics {
        Metrics::new(&[], &RaftMetrics::default())
    }

    #[test]
    fn a_failover_is_counted_by_phase_and_a_first_master_is_none() {
        let metrics = metrics();
        metrics.changed("broker-a", &change(Cause::First, None), 1_010);
        metrics.changed("broker-a", &change(Cause::HeartbeatExpired { silent_ms: 2_000 }, Some(1)), 1_010);
        let text = samples(&metrics);
        for (phase, sum) in [("silent", "2.0"), ("detected_to_proposed", "0.002"), ("proposed_to_committed", "0.008")] {
            let line = format!("baton_failover_duration_seconds_sum{{phase=\"{phase}\"}} {sum}");
            assert!(text.contains(&line), "{line} in {text}");
            assert!(
                text.contains(&format!("baton_failover_duration_seconds_count{{phase=\"{phase}\"}} 1\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn elections_are_counted_by_result() {
        let metrics = metrics();
        let set = SetSummary { cluster: "c".to_owned(), ..Default::default() };
        metrics.elected("a", &Outcome::Elected(set.clone(), Default::default()));
        metrics.elected("b", &Outcome::MasterStillAlive(set));
        metrics.elected("c", &Outcome::Refused(Refusal::NobodyElectable));
        metrics.elected("d", &Outcome::Unchanged);
        let mut lines: Vec<_> = samples(&metrics).lines().map(|it| format!("{it}\n")).collect();
        lines.retain(|it| it.starts_with("election"));
        lines.sort();
        expect![[r#"
            election_total{cluster="",broker_set="c",election_result="no_master_elected"} 1
            election_total{cluster="c",broker_set="a",election_result="new_master_elected"} 1
            election_total{cluster="c",broker_set="b",election_result="keep_current_master"} 1
        "#]]
        .assert_eq(&lines.concat());
    }

    #[test]
    fn no_peer_can_make_labels_without_end() {
        let kinds: std::collections::BTreeSet<_> = (0..100_000).map(request_type).collect();
        assert!(kinds.len() < 120, "{}", kinds.len());
    }
}
