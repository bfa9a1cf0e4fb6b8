//! NOTIFY_BROKER_ROLE_CHANGED (1008): tells a replica who is master now.
//!
//! One-way, as RocketMQ's; a broker that cannot be reached at once is tried again a few times, and whoever still lags
//! is found by its heartbeats (S14).

use crate::replicas::{BrokerSet, SetSummary};
use node::remoting::{Client, ClientOptions};
use proto::body::SyncStateSet;
use proto::code::request;
use proto::header::NotifyBrokerRoleChangedRequest;
use proto::{BrokerId, Command};
use std::time::Duration;
use tracing::{debug, info};

/// Waits before each further attempt.
const RETRIES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

#[derive(Clone)]
pub(crate) struct Notifier {
    pub(crate) client: Client,
}

impl Notifier {
    pub(crate) fn new(options: ClientOptions) -> Notifier {
        Notifier { client: Client::new(ClientOptions { connect_timeout: Duration::from_secs(1), ..options }) }
    }

    pub(crate) fn notify(&self, set: &BrokerSet, id: BrokerId) {
        let Some(address) = set.replicas.get(&id).map(|it| it.address.clone()) else { return };
        let (command, client) = (command(set), self.client.clone());
        let (broker_set, epoch) = (set.name.clone(), set.master_epoch);
        tokio::spawn(async move {
            for wait in [Duration::ZERO].into_iter().chain(RETRIES) {
                tokio::time::sleep(wait).await;
                match client.notify(&address, command.clone()).await {
                    Ok(()) => return debug!(broker_set, epoch, address, "notified"),
                    Err(why) => debug!(broker_set, epoch, %why, "not notified yet"),
                }
            }
            info!(broker_set, epoch, address, "could not be notified; its heartbeats will show whether it knows");
        });
    }
}

fn command(set: &BrokerSet) -> Command {
    let it = SetSummary::from(set);
    let header = NotifyBrokerRoleChangedRequest {
        master_address: it.master_address,
        master_epoch: Some(it.master_epoch),
        sync_state_set_epoch: Some(it.sync_state_set_epoch),
        master_broker_id: it.master,
        master_ha_address: it.master_ha_address,
        broker_name: Some(it.broker_set),
    };
    let body = SyncStateSet { sync_state_set: it.sync_state_set, sync_state_set_epoch: it.sync_state_set_epoch };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Command::request(request::NOTIFY_BROKER_ROLE_CHANGED).with_header(&header).with_body(body).one_way()
}
