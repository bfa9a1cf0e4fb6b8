//! Telling the nameservers who we are and which topics we have.
//!
//! One task per nameserver, so that one that cannot be reached delays no other. Registers when something changed, when
//! the connection is lost (a nameserver that restarts has forgotten everything), soon again after a failure, else once
//! per period. Nothing is registered before this replica has a role: a broker nobody can use yet is in no route. With
//! `enableFailoverAlias` a slave is announced a second time (`alias`).

mod alias;

use crate::broker::Broker;
use ha::Role;
use node::remoting::{CallError, Client, ClientConnection};
use proto::body::{RegisterBrokerBody, TopicConfigSerializeWrapper};
use proto::code::{request, response};
use proto::header::{RegisterBrokerRequest, UnregisterBrokerRequest};
use proto::{Command, MASTER_ID};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After a failed registration: a refused connection costs nothing, and clients wait for a
/// restarted nameserver's routes.
const RETRY: Duration = Duration::from_millis(250);
/// A broker that is told to end does not wait longer for a nameserver.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs until cancelled, then unregisters everywhere at once.
pub async fn run(broker: Arc<Broker>, client: Client, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let apart = client.apart();
    for nameserver in broker.config.nameservers() {
        if broker.config.enable_failover_alias {
            tasks.spawn(alias::keep_announced(broker.clone(), apart.clone(), nameserver.clone(), stop.clone()));
        }
        tasks.spawn(keep_registered(broker.clone(), client.clone(), nameserver, stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

async fn keep_registered(broker: Arc<Broker>, client: Client, nameserver: String, stop: CancellationToken) {
    let mut changed = broker.registration.subscribe();
    let period = Duration::from_millis(broker.config.register_name_server_period);
    let mut registered = false;
    let mut failing = false;
    let mut connection = None;
    loop {
        changed.mark_unchanged();
        let mut pause = period;
        if let Some(command) = registration(&broker) {
            match register(&broker, &client, &nameserver, command).await {
                Ok(carrier) => (registered, failing, connection) = (true, false, Some(carrier)),
                Err(why) => {
                    if !failing {
                        tracing::warn!(nameserver, why, "not registered; trying again four times a second");
                    }
                    (failing, connection, pause) = (true, None, RETRY);
                }
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = lost(connection.as_deref()) => tracing::info!(nameserver, "connection lost, registering again"),
            () = stop.cancelled() => break,
        }
    }
    if registered {
        unregister(&broker, &client, &nameserver).await;
    }
}

/// Without a registration there is nothing to lose.
async fn lost(connection: Option<&ClientConnection>) {
    match connection {
        Some(connection) => connection.closed().await,
        None => std::future::pending().await,
    }
}

/// Answers the connection whose end means that the nameserver may not know us any more.
async fn register(
    broker: &Broker,
    client: &Client,
    nameserver: &str,
    command: Command,
) -> Result<Arc<ClientConnection>, String> {
    let timeout = Duration::from_millis(broker.config.register_broker_timeout_mills);
    let why = |error: CallError| error.to_string();
    // Taken before the call: should that need a new one, the end of this one makes us register once more,
    // not once less.
    let connection = client.connection(nameserver).await.map_err(why)?;
    let answer = client.call(nameserver, command, timeout).await.map_err(why)?;
    match answer.code {
        response::SUCCESS => Ok(connection),
        code => Err(format!("code {code}: {}", answer.remark.unwrap_or_default())),
    }
}

/// `None` while this replica has no role.
fn registration(broker: &Broker) -> Option<Command> {
    let id = {
        let role = broker.role.borrow();
        match role.role {
            Role::Unassigned => return None,
            Role::Master => MASTER_ID,
            Role::Slave { .. } => role.broker_id,
        }
    };
    let config = &broker.config;
    let header = RegisterBrokerRequest {
        cluster_name: config.broker_cluster_name.clone(),
        broker_name: config.broker_name.clone(),
        broker_addr: broker.address.to_string(),
        broker_id: id,
        ha_server_addr: Some(broker.ha_address.clone()),
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: Some(false),
        body_crc32: Some(0),
        zone_name: None,
    };
    let settings = broker.metadata.settings();
    let mut topics = settings.topics.configs();
    for topic in topics.values_mut() {
        // A broker that may not be written to says so in its routes.
        topic.perm &= config.broker_permission | !6;
    }
    let body = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version: settings.topics.version,
            topic_config_table: topics,
            ..Default::default()
        },
    };
    Some(Command::request(request::REGISTER_BROKER).with_header(&header).with_body(proto::json::to_vec(&body)))
}

async fn unregister(broker: &Broker, client: &Client, nameserver: &str) {
    let header = UnregisterBrokerRequest {
        cluster_name: broker.config.broker_cluster_name.clone(),
        broker_name: broker.config.broker_name.clone(),
        broker_addr: broker.address.to_string(),
        broker_id: broker.public_id(),
    };
    let command = Command::request(request::UNREGISTER_BROKER).with_header(&header);
    if let Err(error) = client.call(nameserver, command, UNREGISTER_TIMEOUT).await {
        tracing::info!(nameserver, %error, "not unregistered; the nameserver finds out by itself");
    }
}
