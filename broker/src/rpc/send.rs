//! SEND_MESSAGE (10, 310) and SEND_BATCH_MESSAGE (320).
//!
//! The append happens while the request is handled, so that the order of a connection's requests is the log's order;
//! the wait for
//! flush and replicas follows. Only a send that has to create its topic appends later.

mod message;

use super::{header, not_master, refuse, topic_missing};
use crate::broker::Broker;
use crate::config::FlushDiskType;
use crate::meta::{Change, groups, topics};
use ::ha::{Ack, Refusal};
use message::Encoded;
use node::clock::monotonic_ms;
use node::remoting::{Connection, Reply};
use proto::code::{request, response};
use proto::header::{MSG_REGION, SendMessageRequest, SendMessageResponse, TRACE_ON};
use proto::message::offset_message_id;
use proto::topic::{self, perm};
use proto::{Command, Offset};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{Appended, PutError};

/// How long a send waits for a planned change; then the client is told to look for another master.
const LONGEST_HELD: Duration = Duration::from_secs(1);

/// A send after the checks that do not depend on the topic table.
struct Send {
    header: SendMessageRequest,
    body: bytes::Bytes,
    born_host: SocketAddr,
    /// The topic it goes to: the header's, or a dead-letter topic.
    topic: String,
    dead_letter: bool,
}

/// What has to exist before the message can be appended.
enum Need {
    Nothing,
    Create(Vec<Change>),
    /// The topic is there, but maybe not on every slave yet (S13).
    Settle,
}

pub(super) fn send(broker: &Arc<Broker>, connection: &Arc<Connection>, command: Command) -> Reply {
    let send = match Send::read(broker, connection, command) {
        Ok(send) => send,
        Err(refused) => return Reply::Now(marked(broker, refused)),
    };
    match send.needs(broker) {
        Err(refused) => Reply::Now(marked(broker, refused)),
        Ok(Need::Nothing) => send.append(broker),
        Ok(need) => {
            let broker = broker.clone();
            Reply::Later(Box::pin(async move { send.append_after(&broker, need).await }))
        }
    }
}

/// Clients read these two fields of every answer, and fail without them.
fn marked(broker: &Broker, answer: Command) -> Command {
    answer.with_ext(MSG_REGION, &broker.config.region_id).with_ext(TRACE_ON, broker.config.trace_on)
}

impl Send {
    /// Checks 1–4 of broker-rpc §4.2, and 7 as far as it decides where the message goes.
    fn read(broker: &Broker, connection: &Connection, command: Command) -> Result<Send, Command> {
        let send: SendMessageRequest = match command.code {
            request::SEND_MESSAGE => SendMessageRequest::read_v1(&command.ext)
                .map_err(|error| refuse(response::SYSTEM_ERROR, error.to_string()))?,
            _ => header(&command)?,
        };
        if !broker.is_master() || broker.stopping.load(Ordering::Acquire) {
            return Err(not_master(broker));
        }
        let is_order = |it: &Broker| it.metadata.settings().topics.config(&send.topic).is_some_and(|it| it.order);
        if !perm::is_writeable(broker.config.broker_permission) && is_order(broker) {
            let address = broker.address;
            return Err(refuse(response::NO_PERMISSION, format!("the broker[{address}] sending message is forbidden")));
        }
        topic::validate_topic(&send.topic).map_err(|error| refuse(response::INVALID_PARAMETER, error.to_string()))?;
        if !topic::is_send_allowed(&send.topic) {
            let remark = format!("Sending message to topic[{}] is forbidden.", send.topic);
            return Err(refuse(response::NO_PERMISSION, remark));
        }
        let topic = send.topic.clone();
        let send = Send { header: send, body: command.body, born_host: connection.peer, topic, dead_letter: false };
        send.routed(broker, command.version)
    }

    /// A message that its group failed to consume too often goes to the group's dead-letter topic.
    fn routed(mut self, broker: &Broker, peer_version: i32) -> Result<Send, Command> {
        let Some(group) = self.header.topic.strip_prefix(topic::RETRY_PREFIX) else { return Ok(self) };
        if self.header.batch == Some(true) {
            return Err(refuse(response::MESSAGE_ILLEGAL, "batch request does not support retry group"));
        }
        let settings = broker.metadata.settings();
        let known = settings.groups.get(group);
        if known.is_none() && !broker.config.auto_create_subscription_group {
            return Err(super::group_missing(group));
        }
        /// From this version on a client may set its own limit.
        const V3_4_9: i32 = 121;
        let own_limit = self.header.max_reconsume_times.filter(|_| peer_version >= V3_4_9);
        let limit = own_limit.unwrap_or_else(|| known.map_or(16, |it| it.retry_max_times));
        let ordered = broker.locks.lock().is_group_locked(monotonic_ms(), group);
        if self.header.reconsume_times.unwrap_or(0) > limit || ordered {
            self.topic = topic::dlq_topic(group);
            self.dead_letter = true;
        }
        Ok(self)
    }

    fn needs(&self, broker: &Broker) -> Result<Need, Command> {
        let settings = broker.metadata.settings();
        if let Some(topic) = settings.topics.get(&self.topic) {
            return Ok(if broker.metadata.is_settled(topic.created) { Need::Nothing } else { Need::Settle });
        }
        let mut changes = Vec::new();
        let header = &self.header;
        match topic::group_of(&self.topic) {
            Some(group) => {
                if settings.groups.get(group).is_none() && broker.config.auto_create_subscription_group {
                    changes.push(Change::CreateGroup(groups::auto_created(group)));
                }
                changes.push(Change::CreateTopic(topics::derived(self.topic.clone(), 1)));
            }
            None => {
                let unit = header.unit_mode.unwrap_or(false);
                let created = settings
                    .topics
                    .auto_created(&self.topic, &header.default_topic, header.default_topic_queue_nums, unit)
                    .ok_or_else(|| topic_missing(&self.topic))?;
                changes.push(Change::CreateTopic(created));
            }
        }
        Ok(Need::Create(changes))
    }

    async fn append_after(self, broker: &Arc<Broker>, need: Need) -> Command {
        let changes = match need {
            Need::Create(changes) => changes,
            // An empty change waits for every settings version before it.
            Need::Settle | Need::Nothing => Vec::new(),
        };
        if let Err(error) = broker.change(changes).await {
            return marked(broker, error.into());
        }
        let reply = self.append(broker);
        answered(broker, reply).await
    }

    /// While a planned change of master is decided a send waits instead of failing (S10); it is appended here after
    /// all, or answered as by any replica that is not the master. Sends of one connection that wait together are
    /// appended in any order, as RocketMQ's always may be.
    fn append(self, broker: &Arc<Broker>) -> Reply {
        let Some(released) = broker.replication.held(LONGEST_HELD) else { return self.append_now(broker) };
        let broker = broker.clone();
        Reply::Later(Box::pin(async move {
            released.await;
            answered(&broker, self.append_now(&broker)).await
        }))
    }

    fn append_now(self, broker: &Arc<Broker>) -> Reply {
        match self.try_append(broker) {
            Ok(reply) => reply,
            Err(refused) => {
                broker.statistics.put_failed.fetch_add(1, Ordering::Relaxed);
                Reply::Now(marked(broker, refused))
            }
        }
    }

    /// Checks 5, 6, 8 and 9, admission (S3: too small a set takes no writes), then the append.
    fn try_append(self, broker: &Arc<Broker>) -> Result<Reply, Command> {
        let encoded = {
            let settings = broker.metadata.settings();
            let (name, topic) = settings.topics.entry(&self.topic).ok_or_else(|| topic_missing(&self.topic))?;
            self.encode(broker, name.clone(), &topic.config)?
        };
        let admission = broker.replication.admit().map_err(|refusal| refused(&refusal))?;
        let appended = broker.store.append(&encoded.messages).map_err(|error| not_put(&error))?;
        broker.statistics.put(encoded.messages.len(), encoded.bytes());
        broker.metrics.put(&self.topic, encoded.messages.len(), encoded.bytes());
        let answer = stored(broker, &encoded, &appended);
        if !encoded.waits {
            return Ok(Reply::Now(answer));
        }
        let acknowledged = broker.replication.acknowledged(admission, appended.end);
        let broker = broker.clone();
        Ok(Reply::Later(Box::pin(async move {
            let (flushed, ack) = tokio::join!(flushed(&broker, appended.end), acknowledged);
            verdict(&broker, answer, flushed, ack)
        })))
    }
}

async fn answered(broker: &Broker, reply: Reply) -> Command {
    match reply {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
        Reply::None => marked(broker, refuse(response::SYSTEM_ERROR, "the send was not answered")),
    }
}

fn refused(refusal: &Refusal) -> Command {
    match refusal {
        Refusal::NotMaster(_) => {
            refuse(response::SERVICE_NOT_AVAILABLE, format!("service not available now: {refusal}"))
        }
        Refusal::InSyncReplicasNotEnough { .. } => refuse(response::SYSTEM_ERROR, refusal.to_string()),
    }
}

fn not_put(error: &PutError) -> Command {
    match error {
        PutError::NotWritable(_) => {
            refuse(response::SERVICE_NOT_AVAILABLE, format!("service not available now: {error}"))
        }
        // The code with which clients try another broker; appending resumes by itself once there is room.
        PutError::DiskFull(_) => refuse(
            response::SERVICE_NOT_AVAILABLE,
            format!("service not available now. It may be caused by disk full: {error}"),
        ),
        PutError::Illegal(_) => refuse(
            response::MESSAGE_ILLEGAL,
            format!("{error}; the message is illegal, maybe its body or properties are too long (properties: 32 KB)"),
        ),
    }
}

fn stored(broker: &Broker, encoded: &Encoded, appended: &Appended) -> Command {
    let ids: Vec<String> = appended.offsets.iter().map(|it| offset_message_id(&broker.address, *it)).collect();
    let header = SendMessageResponse {
        msg_id: ids.join(","),
        queue_id: encoded.queue_id,
        queue_offset: appended.queue_offset,
        transaction_id: encoded.unique_key.clone(),
        batch_uniq_id: None,
        recall_handle: None,
    };
    marked(broker, Command::response(response::SUCCESS).with_header(&header))
}

enum Flushed {
    Yes,
    Timeout,
    Failed(String),
}

/// S11: on this disk, if the configuration asks for it.
async fn flushed(broker: &Broker, end: Offset) -> Flushed {
    if broker.config.flush_disk_type == FlushDiskType::AsyncFlush {
        return Flushed::Yes;
    }
    let limit = Duration::from_millis(broker.config.sync_flush_timeout);
    match tokio::time::timeout(limit, broker.store.wait_flushed(end)).await {
        Ok(Ok(())) => Flushed::Yes,
        Ok(Err(error)) => Flushed::Failed(error.to_string()),
        Err(_) => Flushed::Timeout,
    }
}

fn verdict(broker: &Broker, answer: Command, flushed: Flushed, ack: Ack) -> Command {
    match (ack, flushed) {
        (Ack::Deposed, _) => marked(
            broker,
            refuse(
                response::SERVICE_NOT_AVAILABLE,
                "service not available now: this replica stopped being the master before the message was confirmed",
            ),
        ),
        (_, Flushed::Failed(why)) => marked(broker, refuse(response::SYSTEM_ERROR, format!("flush failed: {why}"))),
        (Ack::Timeout, _) => Command { code: response::FLUSH_SLAVE_TIMEOUT, ..answer },
        (Ack::Acknowledged, Flushed::Timeout) => Command { code: response::FLUSH_DISK_TIMEOUT, ..answer },
        (Ack::Acknowledged, Flushed::Yes) => answer,
    }
}
