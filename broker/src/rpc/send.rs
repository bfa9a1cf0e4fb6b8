//! SEND_MESSAGE (10, 310) and SEND_BATCH_MESSAGE (320).
//!
//! The append happens while the request is handled, so that the order of a connection's requests is the log's order;
//! the wait for flush and replicas follows. A send that has to wait before that, for its topic or for another master,
//! goes through [`forward`], where those behind it wait too.

mod message;

use super::{header, marked, not_master, refuse, topic_missing};
use crate::broker::Broker;
use crate::config::FlushDiskType;
use crate::forward::{self, Nature, Origin, Turn};
use crate::meta::{Change, groups, topics};
use ::ha::{Ack, Admission, Refusal};
use message::Encoded;
use node::clock::monotonic_ms;
use node::remoting::{Connection, Reply};
use proto::code::{request, response};
use proto::header::{SendMessageRequest, SendMessageResponse};
use proto::message::offset_message_id;
use proto::topic::{self, perm};
use proto::{Command, Offset};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{Appended, PutError};

/// A send after the checks that do not depend on the topic table.
struct Send {
    /// To be passed on as it came, should this replica not be the master any more.
    origin: Origin,
    header: SendMessageRequest,
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

pub(super) fn send(broker: &Arc<Broker>, connection: &Arc<Connection>, command: Command, turn: Option<Turn>) -> Reply {
    let origin = match Origin::new(broker, connection, command, turn) {
        Ok(origin) => origin,
        Err(refused) => return Reply::Now(marked(broker, refused)),
    };
    if !broker.is_master() || broker.stopping.load(Ordering::Acquire) {
        return forward::elsewhere(broker, origin, marked(broker, not_master(broker)));
    }
    let send = match Send::read(broker, origin) {
        Ok(send) => send,
        Err(refused) => return Reply::Now(marked(broker, refused)),
    };
    match send.needs(broker) {
        Err(refused) => Reply::Now(marked(broker, refused)),
        Ok(Need::Nothing) => send.append(broker),
        Ok(need) if send.origin.has_turn() => {
            let broker = broker.clone();
            Reply::Later(Box::pin(async move { send.append_after(&broker, need).await }))
        }
        // The connection's next send must not overtake it.
        Ok(_) => forward::enter(broker, send.origin, Nature::Send),
    }
}

impl Send {
    /// Checks 1–4 of broker-rpc §4.2, and 7 as far as it decides where the message goes.
    fn read(broker: &Broker, origin: Origin) -> Result<Send, Command> {
        let command = &origin.command;
        let mut send: SendMessageRequest = match command.code {
            request::SEND_MESSAGE => SendMessageRequest::read_v1(&command.ext)
                .map_err(|error| refuse(response::SYSTEM_ERROR, error.to_string()))?,
            _ => header(command)?,
        };
        crate::alias::resolve(broker, &mut send)?;
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
        Send { origin, header: send, topic, dead_letter: false }.routed(broker)
    }

    fn body(&self) -> &bytes::Bytes {
        &self.origin.command.body
    }

    /// A message that its group failed to consume too often goes to the group's dead-letter topic.
    fn routed(mut self, broker: &Broker) -> Result<Send, Command> {
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
        let own_limit = self.header.max_reconsume_times.filter(|_| self.origin.command.version >= V3_4_9);
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
        match broker.change(changes).await {
            Ok(_) => {}
            // Nothing is appended yet.
            Err(error) if error.is_deposition() => {
                let reply = forward::elsewhere(broker, self.origin, marked(broker, error.into()));
                return answered(broker, reply).await;
            }
            Err(error) => return marked(broker, error.into()),
        }
        let reply = self.append(broker);
        answered(broker, reply).await
    }

    fn append(mut self, broker: &Arc<Broker>) -> Reply {
        let (appended, encoded, admission) = match self.try_append(broker) {
            Ok(appended) => appended,
            Err(NotAppended::NotMaster(refused)) => {
                return forward::elsewhere(broker, self.origin, marked(broker, refused));
            }
            Err(NotAppended::Refused(refused)) => {
                broker.statistics.put_failed.fetch_add(1, Ordering::Relaxed);
                return Reply::Now(marked(broker, refused));
            }
        };
        let unsettled = self.origin.appended();
        broker.statistics.put(encoded.messages.len(), encoded.bytes());
        broker.metrics.put(&self.topic, encoded.messages.len(), encoded.bytes());
        let answer = stored(broker, &encoded, &appended);
        if !encoded.waits {
            return Reply::Now(answer);
        }
        drop(encoded);
        let acknowledged = broker.replication.acknowledged(admission, appended.end);
        let broker = broker.clone();
        Reply::Later(Box::pin(async move {
            match outcome(flushed(&broker, appended.end), acknowledged).await {
                Some((flushed, copied)) => verdict(&broker, answer, flushed, copied),
                None => {
                    let place = (appended.epoch, appended.end);
                    forward::deposed(&broker, self.origin, unsettled, answer, place).await
                }
            }
        }))
    }

    /// Checks 5, 6, 8 and 9, admission (S3: too small a set takes no writes), then the append.
    fn try_append(&self, broker: &Arc<Broker>) -> Result<(Appended, Encoded, Admission), NotAppended> {
        let encoded = {
            let settings = broker.metadata.settings();
            let (name, topic) = settings.topics.entry(&self.topic).ok_or_else(|| topic_missing(&self.topic))?;
            self.encode(broker, name.clone(), &topic.config)?
        };
        let admission = broker.replication.admit()?;
        let appended = match self.origin.mark {
            Some(mark) => broker.store.append_at(mark.epoch, &encoded.messages)?,
            None => broker.store.append(&encoded.messages)?,
        };
        Ok((appended, encoded, admission))
    }
}

/// Why nothing was appended.
enum NotAppended {
    /// Another replica may append it.
    NotMaster(Command),
    Refused(Command),
}

impl From<Command> for NotAppended {
    fn from(refused: Command) -> NotAppended {
        NotAppended::Refused(refused)
    }
}

impl From<Refusal> for NotAppended {
    fn from(refusal: Refusal) -> NotAppended {
        match refusal {
            Refusal::NotMaster(_) => NotAppended::NotMaster(refuse(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now: {refusal}"),
            )),
            Refusal::TooFewInSync(why) => NotAppended::Refused(refuse(response::SYSTEM_ERROR, why.to_string())),
        }
    }
}

impl From<PutError> for NotAppended {
    fn from(error: PutError) -> NotAppended {
        match error {
            PutError::Closed(_) => NotAppended::NotMaster(refuse(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now: {error}"),
            )),
            PutError::NotWritable(_) => NotAppended::Refused(refuse(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now: {error}"),
            )),
            // The code with which clients try another broker; appending resumes by itself once there is room.
            PutError::DiskFull(_) => NotAppended::Refused(refuse(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now. It may be caused by disk full: {error}"),
            )),
            PutError::Illegal(_) => NotAppended::Refused(refuse(
                response::MESSAGE_ILLEGAL,
                format!(
                    "{error}; the message is illegal, maybe its body or properties are too long (properties: 32 KB)"
                ),
            )),
        }
    }
}

async fn answered(broker: &Broker, reply: Reply) -> Command {
    match reply {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
        Reply::None => marked(broker, refuse(response::SYSTEM_ERROR, "the send was not answered")),
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

/// What slaves keep, as far as this broker had the time to learn of it.
enum Copied {
    Yes,
    Timeout,
}

/// `None`: the mastership is over. Then nothing is to be waited for: what this disk has may yet be cut.
async fn outcome(
    flushed: impl Future<Output = Flushed>,
    acknowledged: impl Future<Output = Ack>,
) -> Option<(Flushed, Copied)> {
    let (mut flushed, mut acknowledged) = (pin!(flushed), pin!(acknowledged));
    let (early, ack) = tokio::select! {
        ack = &mut acknowledged => (None, ack),
        early = &mut flushed => (Some(early), acknowledged.await),
    };
    let copied = match ack {
        Ack::Acknowledged => Copied::Yes,
        Ack::Timeout => Copied::Timeout,
        Ack::Deposed => return None,
    };
    Some((
        match early {
            Some(flushed) => flushed,
            None => flushed.await,
        },
        copied,
    ))
}

fn verdict(broker: &Broker, answer: Command, flushed: Flushed, copied: Copied) -> Command {
    match (copied, flushed) {
        (_, Flushed::Failed(why)) => marked(broker, refuse(response::SYSTEM_ERROR, format!("flush failed: {why}"))),
        (Copied::Timeout, _) => Command { code: response::FLUSH_SLAVE_TIMEOUT, ..answer },
        (Copied::Yes, Flushed::Timeout) => Command { code: response::FLUSH_DISK_TIMEOUT, ..answer },
        (Copied::Yes, Flushed::Yes) => answer,
    }
}
