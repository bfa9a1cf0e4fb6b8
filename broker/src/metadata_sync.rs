//! S13 on a slave: takes topics, groups and consumer offsets from the master, for as long as there is one.
//!
//! A Baton master answers a long poll ([`crate::sync_wire`]); one that does not know the request is Java's and is
//! polled as Java's slaves do.

use crate::broker::Broker;
use crate::meta::topics::TopicFile;
use crate::sync_wire::{SyncBody, SyncRequest, SyncResponse, SyncVersion};
use ha::{Master, Role};
use node::remoting::Client;
use proto::body::{ConsumerOffsetTable, DelayOffsetTable, SubscriptionGroupWrapper, TopicConfigSerializeWrapper};
use proto::code::{request, response};
use proto::{BrokerId, Command, Epoch};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the master may hold the poll, and how much longer we wait for its answer.
const WAIT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(3);
const JAVA_PERIOD: Duration = Duration::from_secs(3);
const JAVA_TIMEOUT: Duration = Duration::from_secs(30);
/// Between attempts that fail: short, because a slave without its master's settings does not join the SyncStateSet.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(1);

/// Whom this replica follows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Following {
    own: BrokerId,
    master: Master,
    epoch: Epoch,
}

#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Call(#[from] node::remoting::CallError),
    #[error("code {code}: {remark}")]
    Refused { code: i32, remark: String },
    #[error("unreadable answer: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Apply(#[from] crate::metadata::MetadataError),
}

pub async fn run(broker: Arc<Broker>, client: Client, stop: CancellationToken) {
    let mut role = broker.role.clone();
    loop {
        let following = following(&mut role);
        let changed = async {
            // The set may change without the master changing: that is no reason to start over.
            while role.changed().await.is_ok() {
                if self::following(&mut role) != following {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = changed => {}
            () = follow(&broker, &client, following.as_ref()) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn following(role: &mut watch::Receiver<ha::RoleState>) -> Option<Following> {
    let role = role.borrow_and_update();
    match &role.role {
        Role::Slave { master } if !master.address.is_empty() => {
            Some(Following { own: role.broker_id, master: master.clone(), epoch: role.master_epoch })
        }
        _ => None,
    }
}

/// Never ends by itself.
async fn follow(broker: &Arc<Broker>, client: &Client, following: Option<&Following>) {
    let Some(following) = following else { return std::future::pending().await };
    if broker.metadata.follow(following.epoch).await.is_err() {
        return std::future::pending().await;
    }
    // No version of this master's: the first answer brings everything.
    let mut has = SyncVersion { master_epoch: -1, settings: 0, offsets: 0 };
    let mut pause = RETRY_FIRST;
    loop {
        let failed = match poll(broker, client, following, has).await {
            Ok(version) => {
                (has, pause) = (version, RETRY_FIRST);
                continue;
            }
            Err(SyncError::Refused { code: response::REQUEST_CODE_NOT_SUPPORTED, .. }) => {
                tracing::info!(
                    master = following.master.address,
                    "the master is no Baton broker; polling as Java slaves do"
                );
                return follow_java(broker, client, following).await;
            }
            Err(error) => error,
        };
        tracing::debug!(master = following.master.address, error = %failed, "metadata not synced, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

async fn poll(
    broker: &Arc<Broker>,
    client: &Client,
    following: &Following,
    has: SyncVersion,
) -> Result<SyncVersion, SyncError> {
    let request = SyncRequest { broker_id: following.own, has, wait: WAIT.as_millis() as u64 };
    let command = Command::request(request::BATON_METADATA_SYNC).with_header(&request);
    let answer = succeeded(client.call(&following.master.address, command, WAIT + GRACE).await?)?;
    let unreadable = |error: proto::header::HeaderError| SyncError::Unreadable(error.to_string());
    let version = answer.header::<SyncResponse>().map_err(unreadable)?.version;
    if version == has {
        return Ok(version);
    }
    if version.master_epoch != following.epoch {
        // S2: tables of another mastership are not ours to take; the controller tells us soon which one counts.
        let remark = format!("tables of epoch {}, want {}", version.master_epoch, following.epoch);
        return Err(SyncError::Refused { code: response::SERVICE_NOT_AVAILABLE, remark });
    }
    apply(broker, version, parse(&answer)?).await?;
    Ok(version)
}

/// Applied and persisted when it returns, so that the next request may acknowledge it.
async fn apply(broker: &Arc<Broker>, version: SyncVersion, body: SyncBody) -> Result<(), SyncError> {
    let topics_changed = body.topics.is_some();
    let replaced = broker.metadata.replace(version, body).await?;
    if topics_changed {
        broker.register_soon();
    }
    for topic in replaced.removed_topics {
        let store = broker.store.clone();
        let name = topic.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.delete_topic(&name)).await {
            tracing::warn!(topic, %error, "the queues of a deleted topic are still here");
        }
    }
    Ok(())
}

async fn follow_java(broker: &Arc<Broker>, client: &Client, following: &Following) {
    loop {
        if let Err(error) = poll_java(broker, client, following).await {
            tracing::info!(master = following.master.address, %error, "metadata not synced from a Java master");
        }
        tokio::time::sleep(JAVA_PERIOD).await;
    }
}

/// A Java master's epoch is not in its answers; the tables are taken under the one we follow.
async fn poll_java(broker: &Arc<Broker>, client: &Client, following: &Following) -> Result<(), SyncError> {
    let topics: TopicConfigSerializeWrapper = ask(client, following, request::GET_ALL_TOPIC_CONFIG).await?;
    let groups: SubscriptionGroupWrapper = ask(client, following, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).await?;
    let offsets: Option<ConsumerOffsetTable> = match ask(client, following, request::GET_ALL_CONSUMER_OFFSET).await {
        Ok(offsets) => Some(offsets),
        // Java answers an empty table so.
        Err(SyncError::Refused { code: response::SYSTEM_ERROR, .. }) => None,
        Err(error) => return Err(error),
    };
    let delays: Option<DelayOffsetTable> = match ask(client, following, request::GET_ALL_DELAY_OFFSET).await {
        Ok(delays) => Some(delays),
        // Java answers a table that was never written so.
        Err(SyncError::Refused { code: response::SYSTEM_ERROR, .. }) => None,
        Err(error) => return Err(error),
    };
    let settings = broker.metadata.settings();
    let same_topics = settings.topics.version == topics.data_version;
    let same_groups = settings.groups.version == groups.data_version;
    let topics = TopicFile { data_version: topics.data_version, topic_config_table: topics.topic_config_table };
    let body = SyncBody {
        topics: (!same_topics).then_some(topics),
        groups: (!same_groups).then_some(groups),
        whole_offsets: offsets.is_some(),
        offsets: offsets.map(|it| it.offset_table).unwrap_or_default(),
        delays,
    };
    let version = SyncVersion { master_epoch: following.epoch, settings: 0, offsets: 0 };
    apply(broker, version, body).await
}

async fn ask<T: DeserializeOwned>(client: &Client, following: &Following, code: i32) -> Result<T, SyncError> {
    let answer = client.call(&following.master.address, Command::request(code), JAVA_TIMEOUT).await?;
    parse(&succeeded(answer)?)
}

fn succeeded(answer: Command) -> Result<Command, SyncError> {
    match answer.code {
        response::SUCCESS => Ok(answer),
        code => Err(SyncError::Refused { code, remark: answer.remark.unwrap_or_default() }),
    }
}

fn parse<T: DeserializeOwned>(answer: &Command) -> Result<T, SyncError> {
    proto::json::from_slice(&answer.body).map_err(|error| SyncError::Unreadable(error.to_string()))
}
