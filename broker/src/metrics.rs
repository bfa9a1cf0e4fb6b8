//! `/metrics` of a broker. RocketMQ's names where it has one; what it never measured begins with `baton_`.

use crate::broker::Broker;
use crate::disk;
use crate::forward::Measures;
use ha::Role;
use node::metrics::{Counters, Gauges, Labels, Latencies, Registry, as_micros, micros, page};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use proto::code::{request, response};
use proto::topic::SCHEDULE_TOPIC;
use std::time::Duration;

/// Counted as things happen.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    constant: [(&'static str, String); 3],
    messages_in: Counters,
    throughput_in: Counters,
    messages_out: Counters,
    throughput_out: Counters,
    alias_sends: Counter,
    delivered: Counters,
    dead_letters: Counters,
    rpc_latency: Latencies,
    put_latency: Histogram,
    get_latency: Histogram,
    pub forward: Measures,
}

/// 1 ms to 10 s, as RocketMQ's.
fn millis() -> Histogram {
    Histogram::new([1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1_000.0, 2_000.0, 3_000.0, 5_000.0, 10_000.0])
}

impl Metrics {
    /// RocketMQ's common labels are on every sample.
    pub fn new(cluster: &str, broker_set: &str) -> Metrics {
        let constant =
            [("cluster", cluster.to_owned()), ("node_type", "broker".to_owned()), ("node_id", broker_set.to_owned())];
        let mut registry = Registry::with_labels(constant.iter().map(|(k, v)| ((*k).into(), v.clone().into())));
        let forward = Measures::new(&mut registry);
        let mut it = Metrics {
            registry,
            forward,
            constant,
            messages_in: Counters::default(),
            throughput_in: Counters::default(),
            messages_out: Counters::default(),
            throughput_out: Counters::default(),
            alias_sends: Counter::default(),
            delivered: Counters::default(),
            dead_letters: Counters::default(),
            rpc_latency: Latencies::new_with_constructor(millis),
            put_latency: micros(),
            get_latency: micros(),
        };
        let registry = &mut it.registry;
        registry.register("rocketmq_messages_in", "Messages appended", it.messages_in.clone());
        registry.register("rocketmq_throughput_in", "Bytes appended", it.throughput_in.clone());
        registry.register("rocketmq_messages_out", "Messages handed to consumers", it.messages_out.clone());
        registry.register("rocketmq_throughput_out", "Bytes handed to consumers", it.throughput_out.clone());
        let help = "Sends that came through a failover alias";
        registry.register("baton_alias_sends", help, it.alias_sends.clone());
        let help = "Delayed messages that were delivered to their topics";
        registry.register("baton_delayed_messages_delivered", help, it.delivered.clone());
        let help = "Messages that a group failed to consume too often";
        registry.register("rocketmq_send_to_dlq_messages", help, it.dead_letters.clone());
        let help = "Time to answer a request; pulls, which may be held, are left out";
        registry.register("rocketmq_rpc_latency_milliseconds", help, it.rpc_latency.clone());
        let help = "From a send's arrival to its answer, the wait for disks and replicas included";
        registry.register("baton_put_latency_microseconds", help, it.put_latency.clone());
        let help = "Time to read messages for one pull";
        registry.register("baton_get_latency_microseconds", help, it.get_latency.clone());
        it
    }

    pub fn put(&self, topic: &str, messages: usize, bytes: usize) {
        let labels = labels(topic);
        self.messages_in.get_or_create(&labels).inc_by(messages as u64);
        self.throughput_in.get_or_create(&labels).inc_by(bytes as u64);
    }

    pub fn sent_through_alias(&self) {
        self.alias_sends.inc();
    }

    pub fn delivered(&self, messages: usize) {
        self.delivered.get_or_create(&Labels::new()).inc_by(messages as u64);
    }

    pub fn dead_letter(&self, topic: &str, group: &str) {
        let labels = labels(topic).into_iter().chain([("consumer_group", group.to_owned())]).collect();
        self.dead_letters.get_or_create(&labels).inc();
    }

    pub fn got(&self, topic: &str, group: &str, messages: usize, bytes: usize, took: Duration) {
        self.get_latency.observe(as_micros(took));
        if messages > 0 {
            let labels: Labels = labels(topic).into_iter().chain([("consumer_group", group.to_owned())]).collect();
            self.messages_out.get_or_create(&labels).inc_by(messages as u64);
            self.throughput_out.get_or_create(&labels).inc_by(bytes as u64);
        }
    }

    pub fn answered(&self, code: i32, answer: i32, took: Duration) {
        let name = match code {
            request::SEND_MESSAGE => "send_message",
            request::SEND_MESSAGE_V2 => "send_message_v2",
            request::SEND_BATCH_MESSAGE => "send_batch_message",
            request::QUERY_CONSUMER_OFFSET => "query_consumer_offset",
            request::UPDATE_CONSUMER_OFFSET => "update_consumer_offset",
            request::UPDATE_AND_CREATE_TOPIC => "update_and_create_topic",
            request::HEART_BEAT => "heart_beat",
            request::LOCK_BATCH_MQ => "lock_batch_mq",
            request::CONSUMER_SEND_MSG_BACK => "consumer_send_msg_back",
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => return,
            // Bounded, whatever peers send.
            _ => "other",
        };
        if matches!(code, request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE) {
            self.put_latency.observe(as_micros(took));
        }
        let answer = if answer == response::SUCCESS { "success".to_owned() } else { answer.to_string() };
        let labels = [("protocol_type", "remoting".to_owned()), ("request_code", name.to_owned())];
        let labels = labels.into_iter().chain([("response_code", answer)]).collect();
        self.rpc_latency.get_or_create(&labels).observe(took.as_secs_f64() * 1000.0);
    }
}

fn labels(topic: &str) -> Labels {
    vec![("topic", topic.to_owned()), ("is_system", proto::topic::is_system_topic(topic).to_string())]
}

/// Answers `GET /metrics`.
pub fn metrics(broker: &Broker) -> impl axum::response::IntoResponse + use<> {
    let mut gauges = Gauges::new(&broker.metrics.constant);
    roles(&mut gauges, broker);
    storage(&mut gauges, broker);
    let settings = broker.metadata.settings();
    let (producers, consumers) = broker.clients.lock().count();
    gauges.one("rocketmq_broker_permission", "2 write, 4 read", f64::from(broker.config.broker_permission));
    gauges.one("rocketmq_topic_number", "Topics", settings.topics.count() as f64);
    gauges.one("rocketmq_consumer_group_number", "Consumer groups", settings.groups.count() as f64);
    gauges.one("rocketmq_producer_connections", "Producers connected", producers as f64);
    gauges.one("rocketmq_consumer_connections", "Consumers connected", consumers as f64);
    gauges.many(
        "baton_delayed_messages_waiting",
        "Messages of a delay level that are not delivered yet",
        waiting(broker),
    );
    gauges.one("baton_held_pulls", "Pulls that wait for a message", broker.hold.count() as f64);
    let help = "Requests on their way to the master, or waiting for one";
    gauges.one("baton_forward_waiting", help, broker.forward.count() as f64);
    gauges.process();
    page(&[&broker.metrics.registry], &gauges)
}

/// Of each level that is used.
fn waiting(broker: &Broker) -> Vec<(Labels, f64)> {
    let of = |level: i32| {
        let (_, end) = broker.store.queue_bounds(SCHEDULE_TOPIC, level - 1)?;
        let left = end - broker.metadata.offsets().delays().get(level);
        Some((vec![("level", level.to_string())], left.max(0) as f64))
    };
    (1..=broker.delay_levels.max()).filter_map(of).collect()
}

fn roles(gauges: &mut Gauges, broker: &Broker) {
    let role = broker.role.borrow().clone();
    let is = |it: bool| f64::from(u8::from(it));
    let each = [
        ("master", role.role == Role::Master),
        ("slave", matches!(role.role, Role::Slave { .. })),
        ("unassigned", role.role == Role::Unassigned),
    ];
    let each = each.map(|(name, has)| (vec![("role", name.to_owned())], is(has)));
    gauges.many("baton_role", "1 for the role that this replica has", each);
    gauges.one("baton_broker_id", "The id that the controllers gave", role.broker_id as f64);
    gauges.one("baton_master_epoch", "Epoch of the master", f64::from(role.master_epoch));
    gauges.one("baton_sync_state_set_size", "Members of the SyncStateSet", role.sync_state_set.len() as f64);
    let lease = broker.replication.lease_left_ms() as f64 / 1000.0;
    gauges.one("baton_lease_remaining_seconds", "Of the lease that the controllers gave this master", lease);
    let status = broker.replication.status();
    let end = status.master_max_offset;
    let slave = |id: i64| vec![("broker_id", id.to_string())];
    let lags = status.slaves.iter().map(|it| (slave(it.id), (end - it.ack_offset).max(0) as f64));
    gauges.many("baton_slave_lag_bytes", "Bytes that a connected slave has not confirmed", lags);
    let members = status.slaves.iter().map(|it| (slave(it.id), is(it.in_sync)));
    gauges.many("baton_slave_in_sync", "1 for a connected slave that is in the SyncStateSet", members);
}

fn storage(gauges: &mut Gauges, broker: &Broker) {
    let store = &broker.store;
    let (min, max) = (store.min_offset(), store.max_offset());
    let behind = |it: i64| (max - it).max(0) as f64;
    gauges.one("baton_log_end_bytes", "Physical offset at which the log ends", max as f64);
    gauges.one("baton_confirm_behind_bytes", "Bytes that consumers may not read yet", behind(store.confirm_offset()));
    gauges.one("rocketmq_storage_size_bytes", "Bytes of messages kept", (max - min) as f64);
    gauges.one("rocketmq_storage_flush_behind_bytes", "Bytes not flushed", behind(store.flushed_offset()));
    let dispatch = store.dispatch_behind() as f64;
    gauges.one("rocketmq_storage_dispatch_behind_bytes", "Bytes that are in no consume queue yet", dispatch);
    let age = store.disk_probe_age_ms() as f64 / 1000.0;
    gauges.one("baton_disk_probe_age_seconds", "Since the disk last took a write", age);
    let used = disk::space(&broker.config.store().commit_log).used_ratio();
    gauges.one("baton_disk_used_ratio", "Of the disk with the commit log", used);
}
