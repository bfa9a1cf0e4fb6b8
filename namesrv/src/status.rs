//! `/health/live`, `/health/ready`, `/metrics` and `/status.json` on the nameserver's port.

use crate::metrics::metrics;
use crate::registry::Registry;
use crate::route::Aliases;
use crate::rpc::Nameserver;
use axum::Router;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use proto::Millis;
use proto::body::ClusterInfo;
use serde::Serialize;

/// What `/status.json` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    version: &'static str,
    pub(crate) uptime_ms: Millis,
    pub(crate) live_replicas: usize,
    /// Failover aliases; in no other figure here.
    pub(crate) aliases: usize,
    pub(crate) topics: usize,
    pub(crate) cluster: ClusterInfo,
}

impl Status {
    pub(crate) fn of(nameserver: &Nameserver, now: Millis) -> Status {
        Status {
            version: proto::VERSION_NAME,
            uptime_ms: now.saturating_sub(nameserver.started),
            live_replicas: nameserver.table.live_replicas(),
            aliases: nameserver.table.aliases(),
            topics: nameserver.table.topics().len(),
            cluster: nameserver.table.cluster_info(Aliases::Hidden),
        }
    }
}

pub(crate) fn router(registry: Registry) -> Router {
    let (ready, counted) = (registry.clone(), registry.clone());
    Router::new()
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(move || is_ready(ready)))
        .route("/metrics", get(move || metrics(counted)))
        .route("/status.json", get(move || status(registry)))
}

/// Ready means that the owner of the tables answers; an empty table is no reason to send brokers away.
async fn is_ready(registry: Registry) -> impl IntoResponse {
    match registry.status().await {
        Some(_) => (StatusCode::OK, "ready\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

async fn status(registry: Registry) -> impl IntoResponse {
    let Some(status) = registry.status().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain")], b"stopping\n".to_vec());
    };
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], proto::json::to_vec(&status))
}
