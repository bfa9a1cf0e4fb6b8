//! HTTP on the broker's port: health, role checks, `/metrics` and `/status.json`.

use crate::broker::Broker;
use crate::metrics::metrics;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use ha::Role;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    cluster: String,
    broker_name: String,
    broker_id: i64,
    address: String,
    ha_address: String,
    version: &'static str,
    /// `master`, `slave` or `unassigned`.
    role: &'static str,
    master: Option<String>,
    master_epoch: i32,
    /// Wall clock of when this master opened its writes.
    promoted_ms: Option<i64>,
    sync_state_set: Vec<i64>,
    sync_state_set_epoch: i32,
    durability: String,
    min_offset: i64,
    max_offset: i64,
    flushed_offset: i64,
    confirm_offset: i64,
    dispatch_behind: i64,
    disk_probe_age_ms: u64,
    topics: usize,
    groups: usize,
    producers: usize,
    consumers: usize,
    held_pulls: usize,
    put_messages: u64,
    put_tps: f64,
    got_messages: u64,
}

pub fn router(broker: Arc<Broker>) -> Router {
    let (ready, master, slave, counted) = (broker.clone(), broker.clone(), broker.clone(), broker.clone());
    let status = move || {
        let text = proto::json::to_vec(&status(&broker));
        std::future::ready(([(CONTENT_TYPE, "application/json")], text))
    };
    let metrics = move || std::future::ready(metrics(&counted));
    node::health::router(move || readiness(&ready))
        .merge(node::health::role("/role/master", move || has_role(&master, "master")))
        .merge(node::health::role("/role/slave", move || has_role(&slave, "slave")))
        .merge(Router::new().route("/status.json", get(status)).route("/metrics", get(metrics)))
}

/// For load balancers: a broker that is stopping has no role any more.
fn has_role(broker: &Broker, wanted: &str) -> Result<String, String> {
    let is = readiness(broker)?;
    if is == wanted { Ok(is) } else { Err(is) }
}

fn readiness(broker: &Broker) -> Result<String, String> {
    if broker.stopping.load(Ordering::Acquire) {
        return Err("stopping".into());
    }
    match broker.role.borrow().role {
        Role::Unassigned => Err("no role yet: waiting for the controllers".into()),
        Role::Master => Ok("master".into()),
        Role::Slave { .. } => Ok("slave".into()),
    }
}

fn status(broker: &Broker) -> Status {
    let role = broker.role.borrow().clone();
    let store = &broker.store;
    let (name, master) = match &role.role {
        Role::Unassigned => ("unassigned", None),
        Role::Master => ("master", Some(broker.address.to_string())),
        Role::Slave { master } => ("slave", Some(master.address.clone())),
    };
    let settings = broker.metadata.settings();
    let (producers, consumers) = broker.clients.lock().count();
    Status {
        cluster: broker.config.broker_cluster_name.clone(),
        broker_name: broker.config.broker_name.clone(),
        broker_id: role.broker_id,
        address: broker.address.to_string(),
        ha_address: broker.ha_address.clone(),
        version: proto::VERSION_NAME,
        role: name,
        master,
        master_epoch: role.master_epoch,
        promoted_ms: broker.promoted_ms(),
        sync_state_set: role.sync_state_set.iter().copied().collect(),
        sync_state_set_epoch: role.sync_state_set_epoch,
        durability: broker.config.durability_in_words(),
        min_offset: store.min_offset(),
        max_offset: store.max_offset(),
        flushed_offset: store.flushed_offset(),
        confirm_offset: store.confirm_offset(),
        dispatch_behind: store.dispatch_behind(),
        disk_probe_age_ms: store.disk_probe_age_ms(),
        topics: settings.topics.count(),
        groups: settings.groups.count(),
        producers,
        consumers,
        held_pulls: broker.hold.count(),
        put_messages: broker.statistics.put_messages.load(Ordering::Relaxed),
        put_tps: broker.statistics.rates(node::clock::monotonic_ms()).put[0],
        got_messages: broker.statistics.got_messages.load(Ordering::Relaxed),
    }
}
