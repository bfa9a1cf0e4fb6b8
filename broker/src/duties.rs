//! What a broker does by itself: follows its role, forgets silent clients, publishes and saves consumer offsets,
//! deletes old files.

use crate::broker::Broker;
use crate::disk;
use ha::{Role, RoleState};
use node::clock::{monotonic_ms, wall_ms};
use proto::Epoch;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often slaves can get new consumer offsets: half of what S13 allows them to lag.
const OFFSETS_PERIOD: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);
/// Silent clients are looked for this often, in seconds.
const EXPIRY_PERIOD: u64 = 10;
/// While a new master's queues catch up with its log.
const CATCH_UP_PERIOD: Duration = Duration::from_millis(5);
/// Above this, expired files are deleted at any hour (`diskMaxUsedSpaceRatio`).
const DISK_NEARLY_FULL: f64 = 0.75;

/// Ends when cancelled; otherwise false after the pause.
async fn stopped(stop: &CancellationToken, pause: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

pub async fn follow_role(broker: Arc<Broker>, stop: CancellationToken) {
    let mut role = broker.role.clone();
    let mut acted_on = None;
    loop {
        let state = role.borrow_and_update().clone();
        let term = (state.role.clone(), state.master_epoch, state.broker_id);
        if acted_on.as_ref() != Some(&term) {
            acted_on = Some(term);
            take_role(&broker, &state, &stop).await;
        }
        tokio::select! {
            changed = role.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn take_role(broker: &Arc<Broker>, state: &RoleState, stop: &CancellationToken) {
    let epoch = state.master_epoch;
    tracing::info!(role = ?state.role, epoch, broker_id = state.broker_id, "serving in this role");
    if state.role == Role::Master {
        broker.promoted(broker.store.max_offset());
        // Fails only when the broker is stopping.
        let _ = broker.metadata.become_master(epoch).await;
        tokio::spawn(catch_up(broker.clone(), epoch, stop.clone()));
    }
    broker.register_soon();
    // Held pulls look again: a slave may have to refuse them.
    broker.hold.wake_all();
}

/// Offsets are compared with queue ends only when those are known: a new master dispatches its log's tail once its
/// slaves have it.
async fn catch_up(broker: Arc<Broker>, epoch: Epoch, stop: CancellationToken) {
    while !broker.has_caught_up() {
        let same = {
            let role = broker.role.borrow();
            role.role == Role::Master && role.master_epoch == epoch
        };
        if !same || stopped(&stop, CATCH_UP_PERIOD).await {
            return;
        }
    }
    broker.clamp_offsets();
    broker.hold.wake_all();
}

pub async fn every_second(broker: Arc<Broker>, stop: CancellationToken) {
    let mut second = 0;
    while !stopped(&stop, SECOND).await {
        second += 1;
        broker.statistics.sample(monotonic_ms());
        if second % EXPIRY_PERIOD == 0 {
            broker.expire_clients();
        }
    }
}

pub async fn publish_offsets(broker: Arc<Broker>, stop: CancellationToken) {
    while !stopped(&stop, OFFSETS_PERIOD).await {
        if broker.is_master() {
            broker.metadata.publish_offsets();
        }
    }
}

pub async fn save_offsets(broker: Arc<Broker>, stop: CancellationToken) {
    let period = Duration::from_millis(broker.config.flush_consumer_offset_interval.max(1));
    while !stopped(&stop, period).await {
        broker.metadata.save_offsets().await;
    }
}

pub async fn save_delays(broker: Arc<Broker>, stop: CancellationToken) {
    let period = Duration::from_millis(broker.config.flush_delay_offset_interval.max(1));
    while !stopped(&stop, period).await {
        broker.metadata.save_delays().await;
    }
}

/// Deletes expired files at the hours of `deleteWhen`, and at any hour when the disk is nearly full.
pub async fn clean_up(broker: Arc<Broker>, stop: CancellationToken) {
    let period = Duration::from_millis(broker.config.clean_resource_interval);
    let hours = broker.config.delete_hours();
    let folder = broker.config.store().commit_log;
    while !stopped(&stop, period).await {
        let due = hours.contains(&jiff::Zoned::now().hour());
        if !due && disk::space(&folder).used_ratio() < DISK_NEARLY_FULL {
            continue;
        }
        let store = broker.store.clone();
        match tokio::task::spawn_blocking(move || store.clean_expired(wall_ms())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(files)) => tracing::info!(files, "deleted expired commit log files"),
            Ok(Err(error)) => tracing::warn!(%error, "expired files are not deleted"),
            Err(error) => tracing::warn!(%error, "expired files are not deleted"),
        }
    }
}
