//! Health, role, metrics, status and the page that shows it, over HTTP on the controller's one port.

use crate::lag::Lag;
use crate::liveness::Pulse;
use crate::metrics::{is_below_min, metrics};
use crate::raft::Leadership;
use crate::raft::metrics::Follower;
use crate::replicas::BrokerSet;
use crate::replicas::story::Waiting;
use crate::rpc::Service;
use crate::watch::{Committed, MemberChange, Table};
use axum::http::{HeaderName, header};
use axum::routing::get;
use node::clock::wall_ms;
use proto::{BrokerId, Millis};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Of each set's history; more would make the page of a thousand sets megabytes long.
const CHANGES_SHOWN: usize = 3;
/// Everything it needs is in it; it asks `/status.json` once a second.
const PAGE: &str = include_str!("status/page.html");

/// Adds `/`, `/status.json`, `/metrics`, `/health/*` and `/role/*`.
pub(crate) fn routes(router: axum::Router, service: Arc<Service>) -> axum::Router {
    let (ready, leader, follower) = (service.raft.leadership(), service.raft.leadership(), service.raft.leadership());
    let counted = service.clone();
    router
        .merge(node::health::router(move || is_ready(*ready.borrow())))
        .merge(node::health::role("/role/leader", move || leads(*leader.borrow())))
        .merge(node::health::role("/role/follower", move || follows(*follower.borrow())))
        .route("/metrics", get(move || async move { metrics(&counted).await }))
        .route("/status.json", get(move || async move { status(&service).await }))
        .route("/", get(|| async { ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE) }))
}

/// Ready means that brokers can be served, here or by the leader that this controller names.
fn is_ready(it: Leadership) -> Result<String, String> {
    match it.leader {
        Some(_) => Ok("ok".into()),
        None => Err("no controller leader is known".into()),
    }
}

fn leads(it: Leadership) -> Result<String, String> {
    if it.leading { Ok("leader".into()) } else { Err("not the leader".into()) }
}

fn follows(it: Leadership) -> Result<String, String> {
    match (it.leading, it.leader) {
        (true, _) => Err("the leader".into()),
        (false, Some(_)) => Ok("follower".into()),
        (false, None) => Err("no leader is known".into()),
    }
}

async fn status(service: &Service) -> ([(HeaderName, &'static str); 1], String) {
    let leadership = *service.raft.leadership().borrow();
    let members = service.raft.members();
    let name = |id| members.get(id).map(|it| it.name.clone());
    let mut status = json!({
        "group": service.config.load().group(),
        "selfId": service.peers.name(service.peers.self_id),
        "isLeader": leadership.leading,
        "leaderId": leadership.leader.and_then(name),
        "leaderAddress": leadership.leader.and_then(|it| members.get(it)).map(|it| &it.address),
        "term": leadership.term,
        "peers": members.members.values().map(|it| (&it.name, &it.address)).collect::<BTreeMap<_, _>>(),
    });
    let followers = service.raft.metrics.followers.lock().clone();
    let follower = |it: &Follower| {
        (name(it.id).unwrap_or_default(), json!({ "lagEntries": it.lag_entries, "heard": it.is_heard() }))
    };
    status["followers"] = followers.iter().map(follower).collect();
    status["leaseLeftMs"] = service.raft.lease_left_ms().into();
    status["committedIndex"] = service.raft.metrics.committed_index.load(Ordering::Relaxed).into();
    status["version"] = proto::VERSION_NAME.into();
    status["nowMs"] = wall_ms().into();
    if let Some(seen) = service.watch.look(Seen::of).await {
        status["brokerSets"] = seen.sets.iter().map(|it| it.json(seen.now)).collect();
        status["events"] = json!(seen.recent);
        status["memberChanges"] = json!(seen.member_changes);
    }
    ([(header::CONTENT_TYPE, "application/json")], format!("{status}\n"))
}

/// As this controller sees it: a follower may be a moment behind. Copied out of the table, whose owner has elections to
/// see to; it becomes text elsewhere.
struct Seen {
    now: Millis,
    sets: Vec<SeenSet>,
    recent: VecDeque<Committed>,
    member_changes: VecDeque<MemberChange>,
}

struct SeenSet {
    set: Arc<BrokerSet>,
    waiting: Waiting,
    replicas: BTreeMap<BrokerId, SeenReplica>,
}

struct SeenReplica {
    alive: bool,
    lag: Option<Lag>,
    pulse: Option<Pulse>,
}

impl Seen {
    fn of(now: Millis, table: &Table) -> Seen {
        let seen_set = |(set, pulses): (&Arc<BrokerSet>, &BTreeMap<BrokerId, Pulse>)| {
            let replica = |id: &BrokerId| {
                let pulse = pulses.get(id);
                let alive = table.liveness.is_alive(now, &set.name, *id);
                (*id, SeenReplica { alive, lag: table.lag(now, &set.name, *id, pulse), pulse: pulse.cloned() })
            };
            let waiting = table.liveness.waiting(now, &set.name);
            SeenSet { set: set.clone(), waiting, replicas: set.replicas.keys().map(replica).collect() }
        };
        let (recent, member_changes) = (table.recent.clone(), table.member_changes.clone());
        Seen { now, sets: table.liveness.sets().map(seen_set).collect(), recent, member_changes }
    }
}

impl SeenSet {
    fn json(&self, now: Millis) -> Value {
        broker_set(now, &self.set, &self.waiting, &self.replicas)
    }
}

fn broker_set(now: Millis, set: &BrokerSet, waiting: &Waiting, seen: &BTreeMap<BrokerId, SeenReplica>) -> Value {
    let replica = |(id, it): (&BrokerId, &crate::replicas::Replica)| {
        let seen = seen.get(id);
        let pulse = seen.and_then(|it| it.pulse.as_ref());
        let lag = seen.and_then(|it| it.lag);
        json!({
            "brokerId": id,
            "address": it.address,
            "haAddress": it.ha_address,
            "alive": seen.is_some_and(|it| it.alive),
            "connected": pulse.is_some_and(|it| it.connection.is_some()),
            "heardMsAgo": pulse.and_then(|it| it.heard).map(|it| now.saturating_sub(it)),
            "epoch": pulse.map(|it| it.epoch),
            "maxOffset": pulse.map(|it| it.max_offset),
            "lagBytes": lag.map(|it| it.bytes),
            "lagMs": lag.map(|it| it.ms),
            "confirmOffset": pulse.map(|it| it.confirm_offset),
            "diskStalledMs": pulse.and_then(|it| it.stalled),
        })
    };
    json!({
        "clusterName": set.cluster,
        "brokerName": set.name,
        "masterBrokerId": set.master,
        "masterAddress": set.master.and_then(|it| set.replicas.get(&it)).map(|it| &it.address),
        "masterEpoch": set.master_epoch,
        "syncStateSet": set.sync_state_set,
        "syncStateSetEpoch": set.sync_state_set_epoch,
        "eligible": set.eligible,
        "minInSyncReplicas": set.min_in_sync,
        "drained": set.drained,
        "electionsPausedUntilMs": Some(set.paused_until_ms).filter(|it| set.is_paused(wall_ms()) && *it > 0),
        "electionsWaitMs": waiting.patience_ms,
        "masterHeardBy": waiting.witness,
        "preferredBrokerId": waiting.preferred.map(|it| it.0),
        "preferredTakesOverMs": waiting.preferred.map(|it| it.1),
        "belowMinInSync": is_below_min(set),
        "replicas": set.replicas.iter().map(replica).collect::<Vec<_>>(),
        "history": set.history.iter().rev().take(CHANGES_SHOWN).rev().collect::<Vec<_>>(),
    })
}
