//! A made-up broker set, as its master knows it, and what that asks the controllers for.

use super::asking::Asking;
use super::fleet::REPLICAS;
use anyhow::Context;
use proto::Command;
use proto::body::{BrokerReplicasInfo, SyncStateSet};
use proto::code::{request, response};
use proto::header::AlterSyncStateSetResponse;
use std::collections::BTreeSet;

pub(super) const CLUSTER: &str = "mqbench";

#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) master: i64,
    pub(super) epoch: i32,
    pub(super) sync_state_set_epoch: i32,
}

impl Set {
    pub(super) fn request(&self, code: i32) -> Command {
        Command::request(code).with_ext("clusterName", CLUSTER).with_ext("brokerName", &self.name)
    }

    /// The master's request that its SyncStateSet become this; true when the controllers have committed it, false when
    /// they do not hear one of the members, or know another state than its master does, which it knows by then.
    pub(super) async fn alter(&mut self, asking: &Asking, members: BTreeSet<i64>) -> anyhow::Result<bool> {
        let sync_state_set_epoch = self.sync_state_set_epoch;
        let body = serde_json::to_vec(&SyncStateSet { sync_state_set: members.clone(), sync_state_set_epoch })?;
        let request = self
            .request(request::CONTROLLER_ALTER_SYNC_STATE_SET)
            .with_ext("masterBrokerId", self.master)
            .with_ext("masterEpoch", self.epoch)
            .with_body(body);
        let answer = asking.leader(request).await?;
        if answer.code == response::SUCCESS {
            let it: AlterSyncStateSetResponse = answer.header()?;
            self.sync_state_set_epoch = it.new_sync_state_set_epoch;
            return Ok(true);
        }
        if answer.code == response::CONTROLLER_BROKER_NOT_ALIVE {
            return Ok(false);
        }
        // It was committed without our hearing of it, or something else was: then again, from there.
        Ok(self.look(asking).await? == members)
    }

    pub(super) async fn become_whole(&mut self, asking: &Asking) -> anyhow::Result<bool> {
        self.alter(asking, (1..=REPLICAS as i64).collect()).await
    }

    /// Learns what the controllers have committed; returns the members.
    pub(super) async fn look(&mut self, asking: &Asking) -> anyhow::Result<BTreeSet<i64>> {
        let body = serde_json::to_vec(&[&self.name])?;
        let request = Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(body);
        let answer = asking.leader(request).await?;
        let found: BrokerReplicasInfo = proto::json::from_slice(&answer.body)?;
        let found = found.replicas_info_table.get(&self.name).with_context(|| format!("{} is not known", self.name))?;
        self.master = found.master_broker_id.unwrap_or(self.master);
        (self.epoch, self.sync_state_set_epoch) = (found.master_epoch, found.sync_state_set_epoch);
        Ok(found.in_sync_replicas.iter().map(|it| it.broker_id).collect())
    }
}
