//! `/metrics` of a nameserver. RocketMQ's nameserver has none, so every name is ours.

use crate::registry::Registry;
use crate::status::Status;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use node::metrics::{Counters, Gauges, Labels, Latencies, as_micros, micros, page};
use proto::code::request;
use std::time::Duration;

/// Counted as requests are answered.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: node::metrics::Registry,
    requests: Counters,
    latency: Latencies,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = node::metrics::Registry::default();
        let (requests, latency) = (Counters::default(), Latencies::new_with_constructor(micros));
        registry.register("baton_namesrv_requests", "Requests answered", requests.clone());
        registry.register("baton_namesrv_request_latency_microseconds", "Time to answer a request", latency.clone());
        Metrics { registry, requests, latency }
    }
}

impl Metrics {
    pub(crate) fn answered(&self, code: i32, answer: i32, took: Duration) {
        let kind = ("request_code", request_code(code).to_owned());
        let labels: Labels = vec![kind.clone(), ("response_code", answer.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.latency.get_or_create(&vec![kind]).observe(as_micros(took));
    }
}

fn request_code(code: i32) -> &'static str {
    match code {
        request::REGISTER_BROKER => "register_broker",
        request::UNREGISTER_BROKER => "unregister_broker",
        request::BROKER_HEARTBEAT => "broker_heartbeat",
        request::GET_ROUTEINFO_BY_TOPIC => "get_routeinfo_by_topic",
        request::GET_BROKER_CLUSTER_INFO => "get_broker_cluster_info",
        request::GET_BROKER_MEMBER_GROUP => "get_broker_member_group",
        request::QUERY_DATA_VERSION => "query_data_version",
        // Bounded, whatever peers send.
        _ => "other",
    }
}

/// Answers `GET /metrics`.
pub(crate) async fn metrics(registry: Registry) -> Response {
    let Some(status) = registry.status().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    };
    let mut gauges = Gauges::new(&[]);
    tell(&mut gauges, &status);
    gauges.process();
    page(&[&registry.metrics().registry], &gauges).into_response()
}

fn tell(gauges: &mut Gauges, it: &Status) {
    let sets = &it.cluster.broker_addr_table;
    let headless = sets.values().filter(|set| !set.broker_addrs.contains_key(&proto::MASTER_ID)).count();
    gauges.one("baton_namesrv_live_replicas", "Replicas registered", it.live_replicas as f64);
    gauges.one("baton_namesrv_aliases", "Failover aliases registered", it.aliases as f64);
    gauges.one("baton_namesrv_topics", "Topics routed", it.topics as f64);
    gauges.one("baton_namesrv_broker_sets", "Broker sets registered", sets.len() as f64);
    gauges.one("baton_namesrv_broker_sets_without_master", "Broker sets without a master's route", headless as f64);
    gauges.one("baton_namesrv_uptime_seconds", "Since the process began to serve", it.uptime_ms as f64 / 1000.0);
}
