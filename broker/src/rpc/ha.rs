//! Replication as seen from outside: GET_BROKER_EPOCH_CACHE (1007), GET_BROKER_HA_STATUS (907), EXCHANGE_BROKER_HA_INFO
//! (906), NOTIFY_BROKER_ROLE_CHANGED (1008), and a planned change's drain (31002, 31003).

use super::{Answer, body, header, json, not_master, refuse, success};
use crate::broker::Broker;
use node::remoting::Reply;
use proto::Command;
use proto::body::{
    EpochEntryCache, EpochEntryInfo, HaClientRuntimeInfo, HaConnectionRuntimeInfo, HaRuntimeInfo, SyncStateSet,
};
use proto::code::response;
use proto::header::{
    ExchangeHaInfo, HoldWritesRequest, HoldWritesResponse, NotifyBrokerRoleChangedRequest, ReleaseWritesRequest,
};
use std::sync::Arc;

pub(super) fn epochs(broker: &Broker) -> Answer {
    if !broker.config.enable_controller_mode {
        return Err(refuse(response::SYSTEM_ERROR, "this request only for controllerMode"));
    }
    let span = |it: ::ha::EpochSpan| EpochEntryInfo { end_offset: it.end, epoch: it.epoch, start_offset: it.start };
    Ok(json(&EpochEntryCache {
        broker_id: broker.public_id(),
        broker_name: broker.config.broker_name.clone(),
        cluster_name: broker.config.broker_cluster_name.clone(),
        epoch_list: broker.replication.epochs().into_iter().map(span).collect(),
        max_offset: broker.store.max_offset(),
    }))
}

pub(super) fn status(broker: &Broker) -> Answer {
    let status = broker.replication.status();
    let slave = |it: &::ha::SlaveStatus| HaConnectionRuntimeInfo {
        addr: it.address.clone(),
        diff: status.master_max_offset - it.ack_offset,
        in_sync: it.in_sync,
        slave_ack_offset: it.ack_offset,
        transfer_from_where: it.transfer_offset,
        transferred_byte_in_second: 0,
    };
    let master = broker.is_master();
    let ha_client_runtime_info = match &status.copying_from {
        Some(address) if !master => HaClientRuntimeInfo {
            activated: Some(true),
            master_addr: Some(address.clone()),
            max_offset: broker.store.max_offset(),
            ..Default::default()
        },
        _ => HaClientRuntimeInfo::default(),
    };
    Ok(json(&HaRuntimeInfo {
        ha_client_runtime_info,
        ha_connection_info: status.slaves.iter().map(slave).collect(),
        in_sync_slave_nums: status.in_sync_slaves as i32,
        master,
        master_commit_log_max_offset: status.master_max_offset,
    }))
}

/// A slave asks the master where its replication listens. Telling us a master's address changes nothing: ours comes
/// from the controller, with its epoch (S2).
pub(super) fn exchange(broker: &Broker, command: &Command) -> Answer {
    let request: ExchangeHaInfo = header(command)?;
    if request.master_ha_address.is_some() || !broker.is_master() {
        return Ok(success());
    }
    Ok(success().with_header(&ExchangeHaInfo {
        master_ha_address: Some(broker.ha_address.clone()),
        master_flush_offset: Some(broker.store.flushed_offset()),
        master_address: Some(broker.address.to_string()),
    }))
}

pub(super) fn role_changed(broker: &Broker, command: &Command) -> Answer {
    let request: NotifyBrokerRoleChangedRequest = header(command)?;
    let other = request.broker_name.as_ref().filter(|it| **it != broker.config.broker_name);
    if let Some(other) = other {
        let remark = format!("this is a replica of {}, not of {other}", broker.config.broker_name);
        return Err(refuse(response::SYSTEM_ERROR, remark));
    }
    let set: SyncStateSet = if command.body.is_empty() { SyncStateSet::default() } else { body(command)? };
    broker.replication.on_role_notification(request, set);
    Ok(success())
}

/// S10: the controllers are about to make another replica master.
pub(super) fn hold_writes(broker: &Arc<Broker>, command: &Command) -> Reply {
    let request: HoldWritesRequest = match header(command) {
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    if request.broker_name != broker.config.broker_name || !broker.is_master() {
        return Reply::Now(not_master(broker));
    }
    let replication = broker.replication.clone();
    Reply::Later(Box::pin(async move {
        match replication.hold_writes(request).await {
            Ok(end_offset) => success().with_header(&HoldWritesResponse { end_offset }),
            Err(why) => refuse(response::SYSTEM_ERROR, why),
        }
    }))
}

pub(super) fn release_writes(broker: &Arc<Broker>, command: &Command) -> Reply {
    let request: ReleaseWritesRequest = match header(command) {
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    if request.broker_name != broker.config.broker_name {
        return Reply::Now(not_master(broker));
    }
    let replication = broker.replication.clone();
    Reply::Later(Box::pin(async move {
        replication.release_writes(request.master_epoch).await;
        success()
    }))
}
