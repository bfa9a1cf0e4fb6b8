//! Health and status over HTTP, on the controller's one port.

use crate::liveness::Pulse;
use crate::replicas::BrokerSet;
use crate::rpc::Service;
use crate::watch::Table;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use proto::{BrokerId, Millis};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Adds `/health/live`, `/health/ready` and `/status.json`.
pub(crate) fn routes(router: axum::Router, service: Arc<Service>) -> axum::Router {
    let ready = service.clone();
    router
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(move || async move { is_ready(&ready) }))
        .route("/status.json", get(move || async move { status(&service).await }))
}

/// Ready means that brokers can be served: a leader is known.
fn is_ready(service: &Service) -> (StatusCode, &'static str) {
    match service.raft.leadership().borrow().leader {
        Some(_) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no controller leader is known\n"),
    }
}

async fn status(service: &Service) -> ([(HeaderName, &'static str); 1], String) {
    let leadership = *service.raft.leadership().borrow();
    let name = |id| service.peers.name(id).map(str::to_owned);
    let mut status = json!({
        "group": service.config.load().controller_d_leger_group,
        "selfId": name(service.peers.self_id),
        "isLeader": leadership.leading,
        "leaderId": leadership.leader.and_then(name),
        "leaderAddress": leadership.leader.and_then(|it| service.peers.addresses.get(&it)),
        "term": leadership.term,
        "peers": service.peers.names.iter().zip(service.peers.addresses.values()).collect::<BTreeMap<_, _>>(),
    });
    if let Some((sets, events)) = service.watch.look(table).await {
        status["brokerSets"] = sets;
        status["events"] = events;
    }
    ([(header::CONTENT_TYPE, "application/json")], format!("{status}\n"))
}

/// As this controller sees it: a follower may be a moment behind.
fn table(now: Millis, table: &Table) -> (Value, Value) {
    let sets = table.liveness.sets().map(|(set, pulses)| broker_set(now, table, set, pulses)).collect();
    (Value::Array(sets), json!(table.recent))
}

fn broker_set(now: Millis, table: &Table, set: &BrokerSet, pulses: &BTreeMap<BrokerId, Pulse>) -> Value {
    let replica = |(id, it): (&BrokerId, &crate::replicas::Replica)| {
        let pulse = pulses.get(id);
        json!({
            "brokerId": id,
            "address": it.address,
            "haAddress": it.ha_address,
            "alive": table.liveness.is_alive(now, &set.name, *id),
            "connected": pulse.is_some_and(|it| it.connection.is_some()),
            "heardMsAgo": pulse.and_then(|it| it.heard).map(|it| now.saturating_sub(it)),
            "epoch": pulse.map(|it| it.epoch),
            "maxOffset": pulse.map(|it| it.max_offset),
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
        "replicas": set.replicas.iter().map(replica).collect::<Vec<_>>(),
        "history": set.history,
    })
}
