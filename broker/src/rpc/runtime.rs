//! GET_BROKER_RUNTIME_INFO (28), which `clusterList` and `brokerStatus` show, and GET_BROKER_CONFIG (26).

use super::{Answer, json, success};
use crate::broker::Broker;
use crate::disk;
use crate::statistics::Rates;
use node::clock::{monotonic_ms, wall_ms};
use proto::body::{DataVersion, KvTable};
use proto::header::GetBrokerConfigResponse;
use proto::topic::SCHEDULE_TOPIC;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn info(broker: &Broker) -> Answer {
    let mut table = BTreeMap::new();
    put_store(broker, &mut table);
    put_broker(broker, &mut table);
    put_idle(&mut table);
    Ok(json(&KvTable { table }))
}

fn put(table: &mut BTreeMap<String, String>, key: &str, value: impl ToString) {
    table.insert(key.to_owned(), value.to_string());
}

fn put_store(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let statistics = &broker.statistics;
    let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
    let now = monotonic_ms();
    let rates: Rates = statistics.rates(now);
    let total = std::array::from_fn(|i| rates.found[i] + rates.missed[i]);
    let (messages, bytes) = (read(&statistics.put_messages), read(&statistics.put_bytes));
    put(table, "bootTimestamp", statistics.boot_timestamp);
    put(table, "runtime", runtime(now.saturating_sub(statistics.started_ms)));
    put(table, "putMessageTimesTotal", messages.max(1));
    put(table, "putMessageFailedTimes", read(&statistics.put_failed));
    put(table, "putMessageSizeTotal", bytes);
    put(table, "putMessageAverageSize", bytes as f64 / messages.max(1) as f64);
    put(table, "putTps", three(rates.put));
    put(table, "getFoundTps", three(rates.found));
    put(table, "getMissTps", three(rates.missed));
    put(table, "getTotalTps", three(total));
    put(table, "getTransferredTps", three(rates.got));
    let space = disk::space(&broker.config.store().commit_log);
    put(table, "commitLogDiskRatio", space.used_ratio());
    put(table, "consumeQueueDiskRatio", disk::space(&broker.config.root()).used_ratio());
    put(
        table,
        "commitLogDirCapacity",
        format!("Total : {}, Free : {}.", disk::human(space.total), disk::human(space.free)),
    );
    put(table, "commitLogMinOffset", broker.store.min_offset());
    put(table, "commitLogMaxOffset", broker.store.max_offset());
    let unflushed = broker.store.max_offset() - broker.store.flushed_offset();
    put(table, "remainHowManyDataToFlush", disk::human(unflushed.max(0) as u64));
    put(table, "dispatchBehindBytes", broker.store.dispatch_behind());
    put(table, "earliestMessageTimeStamp", earliest(broker));
    put_delays(broker, table);
}

/// Of each delay level that is used: up to where it is delivered, and its queue's end.
fn put_delays(broker: &Broker, table: &mut BTreeMap<String, String>) {
    for level in 1..=broker.delay_levels.max() {
        let Some((_, end)) = broker.store.queue_bounds(SCHEDULE_TOPIC, level - 1) else { continue };
        let delivered = broker.metadata.offsets().delays().get(level);
        put(table, &format!("scheduleMessageOffset_{level}"), format!("{delivered},{end}"));
    }
}

/// Store time of the log's first record; -1 without one.
fn earliest(broker: &Broker) -> i64 {
    let first = broker.store.record_at(broker.store.min_offset());
    first.and_then(|it| proto::message::store_timestamp(&it)).unwrap_or(-1)
}

fn put_broker(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let statistics = &broker.statistics;
    put(table, "brokerActive", broker.is_master());
    put(table, "brokerVersionDesc", proto::VERSION_NAME);
    put(table, "brokerVersion", proto::VERSION);
    put(table, "startAcceptSendRequestTimeStamp", 0);
    for (kind, counter) in [("Put", &statistics.put_messages), ("Get", &statistics.got_messages)] {
        // Nothing is kept over a restart: what came since the start came today.
        put(table, &format!("msg{kind}TotalYesterdayMorning"), 0);
        put(table, &format!("msg{kind}TotalTodayMorning"), 0);
        put(table, &format!("msg{kind}TotalTodayNow"), counter.load(Ordering::Relaxed));
    }
    put(table, "durability", broker.config.durability_in_words());
}

/// Figures of queues and services that this broker does not have; tools expect numbers there.
fn put_idle(table: &mut BTreeMap<String, String>) {
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        put(table, &format!("{pool}ThreadPoolQueueSize"), 0);
        put(table, &format!("{pool}ThreadPoolQueueCapacity"), 0);
        put(table, &format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), 0);
    }
    for key in ["pageCacheLockTimeMills", "timerReadBehind", "timerOffsetBehind", "timerCongestNum"] {
        put(table, key, 0);
    }
    for key in ["timerEnqueueTps", "timerDequeueTps"] {
        put(table, key, "0.0");
    }
}

fn three(rates: [f64; 3]) -> String {
    format!("{} {} {}", rates[0], rates[1], rates[2])
}

/// `[ 1 days, 2 hours, 3 minutes, 4 seconds ]`
fn runtime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    format!("[ {days} days, {} hours, {} minutes, {} seconds ]", hours % 24, minutes % 60, seconds % 60)
}

pub(super) fn config(broker: &Broker) -> Answer {
    let text: String = broker.config.lines().iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let version =
        DataVersion { counter: 0, state_version: 0, timestamp: broker.statistics.boot_timestamp.min(wall_ms()) };
    let version = String::from_utf8_lossy(&proto::json::to_vec(&version)).into_owned();
    Ok(success().with_header(&GetBrokerConfigResponse { version }).with_body(text))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_running_time_is_told_as_java_tells_it() {
        assert_eq!(super::runtime(93_784_000), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
    }
}
