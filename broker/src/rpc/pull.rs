//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361), with long polling. Every replica serves what is confirmed (S3): a
//! client's route may be old, and with `slaveReadEnable` clients are sent to slaves.

use super::{group_missing, header, refuse, topic_missing};
use crate::broker::Broker;
use crate::memory;
use crate::meta::subscription::{TagFilter, is_tag};
use crate::meta::{Change, Settings, groups};
use crate::readers::{Reader, View};
use crate::verdict::{Hold, Queues, Replica, Standing, Tenure, Verdict, verdict};
use bytes::{Bytes, BytesMut};
use node::remoting::Reply;
use proto::body::SubscriptionGroupConfig;
use proto::code::response;
use proto::header::{PullMessageRequest, PullMessageResponse, UpdateConsumerOffsetRequest, pull_sys_flag};
use proto::topic::perm;
use proto::{Command, MASTER_ID};
use std::sync::Arc;
use std::time::Duration;
use store::{GetResult, GetStatus};
use tokio::time::Instant;

/// A held pull looks again this often even if nobody wakes it, as Java's sweep does.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a consumer that the broker does not know may take to introduce itself.
const INTRODUCTION: Duration = Duration::from_secs(1);
/// See [`Hold::Briefly`].
const BRIEF: Duration = Duration::from_secs(1);

/// Why a request is forbidden (`ForbiddenType`).
mod forbidden {
    pub(super) const BROKER: i32 = 1;
    pub(super) const GROUP: i32 = 2;
    pub(super) const TOPIC: i32 = 3;
    pub(super) const BROADCASTING: i32 = 4;
}

/// A pull that passed its checks.
struct Pull {
    header: PullMessageRequest,
    topic: Arc<str>,
    group: Arc<SubscriptionGroupConfig>,
    filter: TagFilter,
}

/// What the checks have found out about a request.
struct Checked {
    topic: Arc<str>,
    group: Arc<SubscriptionGroupConfig>,
    filter: TagFilter,
}

impl Checked {
    fn of(self, header: PullMessageRequest) -> Pull {
        let Checked { topic, group, filter } = self;
        Pull { header, topic, group, filter }
    }
}

/// What one look at the queue says.
enum Look {
    Answer(Command),
    /// Nothing there yet; look again from this offset.
    Nothing {
        next: i64,
        answer: Command,
        hold: Hold,
    },
}

pub(super) fn pull(broker: &Arc<Broker>, command: Command) -> Reply {
    let request: PullMessageRequest = match header(&command) {
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    let unknown_group = broker.metadata.settings().groups.get(&request.consumer_group).is_none();
    if unknown_group && broker.is_master() && broker.config.auto_create_subscription_group {
        return after_group(broker, request);
    }
    let may_wait = request.sys_flag & pull_sys_flag::SUSPEND != 0;
    match check(broker, &request) {
        Ok(checked) => checked.of(request).start(broker),
        Err(refused) if may_wait && is_stranger(&refused) => once_introduced(broker, request),
        Err(refused) => Reply::Now(refused),
    }
}

/// The broker does not know what the consumer has subscribed to, or not the newest.
fn is_stranger(refused: &Command) -> bool {
    matches!(refused.code, response::SUBSCRIPTION_NOT_EXIST | response::SUBSCRIPTION_NOT_LATEST)
}

/// A consumer sends its heartbeat when it connects again, and may pull before that has arrived: the broker has only
/// just started, or the subscription is new. Refused, it would stand still for seconds.
fn once_introduced(broker: &Arc<Broker>, request: PullMessageRequest) -> Reply {
    let broker = broker.clone();
    Reply::Later(Box::pin(async move {
        let deadline = Instant::now() + INTRODUCTION;
        loop {
            // Registered before it is looked at: a heartbeat in between is not missed.
            let mut heartbeat = std::pin::pin!(broker.introductions.notified());
            heartbeat.as_mut().enable();
            let in_time = match check(&broker, &request) {
                Ok(checked) => return answered(checked.of(request).start(&broker)).await,
                Err(refused) if !is_stranger(&refused) => return refused,
                Err(refused) => tokio::time::timeout_at(deadline, heartbeat).await.map_err(|_| refused),
            };
            if let Err(refused) = in_time {
                return refused;
            }
        }
    }))
}

/// The group's first pull creates it.
fn after_group(broker: &Arc<Broker>, request: PullMessageRequest) -> Reply {
    if let Err(error) = proto::topic::validate_group(&request.consumer_group) {
        return Reply::Now(refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, error.to_string()));
    }
    let broker = broker.clone();
    Reply::Later(Box::pin(async move {
        let create = Change::CreateGroup(groups::auto_created(&request.consumer_group));
        if let Err(error) = broker.change(vec![create]).await {
            return error.into();
        }
        match check(&broker, &request) {
            Ok(checked) => answered(checked.of(request).start(&broker)).await,
            Err(refused) => refused,
        }
    }))
}

async fn answered(reply: Reply) -> Command {
    match reply {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
        Reply::None => refuse(response::SYSTEM_ERROR, "the pull was not answered"),
    }
}

fn forbid(why: i32, remark: String) -> Command {
    let header = PullMessageResponse { forbidden_type: Some(why), ..Default::default() };
    refuse(response::NO_PERMISSION, remark).with_header(&header)
}

/// The checks of broker-rpc §5, in its order.
fn check(broker: &Broker, request: &PullMessageRequest) -> Result<Checked, Command> {
    if !perm::is_readable(broker.config.broker_permission) {
        let remark = format!("the broker[{}] pulling message is forbidden", broker.address);
        return Err(forbid(forbidden::BROKER, remark));
    }
    let settings = broker.metadata.settings();
    let group = settings.groups.get(&request.consumer_group).ok_or_else(|| group_missing(&request.consumer_group))?;
    if !group.consume_enable {
        let remark = format!("subscription group no permission, {}", request.consumer_group);
        return Err(forbid(forbidden::GROUP, remark));
    }
    let (topic, queues) = readable_topic(&settings, request)?;
    if request.queue_id < 0 || request.queue_id >= queues {
        let remark =
            format!("queueId[{}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}]", request.queue_id);
        return Err(refuse(response::INVALID_PARAMETER, remark));
    }
    let filter = filter(broker, request, group)?;
    Ok(Checked { topic, group: group.clone(), filter })
}

fn readable_topic(settings: &Settings, request: &PullMessageRequest) -> Result<(Arc<str>, i32), Command> {
    let (name, topic) = settings.topics.entry(&request.topic).ok_or_else(|| topic_missing(&request.topic))?;
    if !perm::is_readable(topic.config.perm) {
        let remark = format!("the topic[{}] pulling message is forbidden", request.topic);
        return Err(forbid(forbidden::TOPIC, remark));
    }
    Ok((name.clone(), topic.config.read_queue_nums))
}

/// The subscription that came along, or the group's from its heartbeats.
fn filter(
    broker: &Broker,
    request: &PullMessageRequest,
    group: &SubscriptionGroupConfig,
) -> Result<TagFilter, Command> {
    if request.sys_flag & pull_sys_flag::SUBSCRIPTION != 0 {
        only_tags(request.expression_type.as_deref())?;
        return parse(request.subscription.as_deref().unwrap_or(""));
    }
    let clients = broker.clients.lock();
    let Some(consumers) = clients.consumers(&request.consumer_group) else {
        let remark = format!("the consumer's group info not exist, group: {}", request.consumer_group);
        return Err(refuse(response::SUBSCRIPTION_NOT_EXIST, remark));
    };
    if consumers.is_broadcasting() && !group.consume_broadcast_enable {
        let remark = format!("the consumer group[{}] can not consume by broadcast way", request.consumer_group);
        return Err(forbid(forbidden::BROADCASTING, remark));
    }
    let Some(subscription) = consumers.subscriptions.get(&request.topic) else {
        let remark =
            format!("the consumer's subscription not exist, group: {}, topic:{}", group.group_name, request.topic);
        return Err(refuse(response::SUBSCRIPTION_NOT_EXIST, remark));
    };
    if subscription.sub_version < request.sub_version {
        return Err(refuse(response::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest"));
    }
    only_tags(Some(&subscription.expression_type))?;
    parse(&subscription.sub_string)
}

fn only_tags(expression_type: Option<&str>) -> Result<(), Command> {
    if is_tag(expression_type) {
        return Ok(());
    }
    let kind = expression_type.unwrap_or_default();
    Err(refuse(response::SYSTEM_ERROR, format!("The broker does not support consumer to filter message by {kind}")))
}

fn parse(expression: &str) -> Result<TagFilter, Command> {
    let failed = || {
        refuse(response::SUBSCRIPTION_PARSE_FAILED, format!("parse the consumer's subscription failed: `{expression}`"))
    };
    TagFilter::parse(expression).ok_or_else(failed)
}

impl Pull {
    /// Progress is the master's to keep.
    fn commit(&self, broker: &Broker) {
        let PullMessageRequest { consumer_group, topic, queue_id, commit_offset, .. } = &self.header;
        if broker.is_master() {
            broker.metadata.offsets().commit(consumer_group, topic, *queue_id, *commit_offset);
            return;
        }
        let (consumer_group, topic) = (consumer_group.clone(), topic.clone());
        let (queue_id, commit_offset) = (*queue_id, *commit_offset);
        let progress = UpdateConsumerOffsetRequest { consumer_group, topic, queue_id, commit_offset };
        crate::forward::commit(broker, &progress);
    }

    fn start(self, broker: &Arc<Broker>) -> Reply {
        let header = &self.header;
        if header.sys_flag & pull_sys_flag::COMMIT_OFFSET != 0 {
            self.commit(broker);
        }
        match self.look(broker, header.queue_offset) {
            Look::Answer(answer) => Reply::Now(answer),
            Look::Nothing { answer, .. } if header.sys_flag & pull_sys_flag::SUSPEND == 0 => Reply::Now(answer),
            Look::Nothing { next, .. } => {
                let broker = broker.clone();
                Reply::Later(Box::pin(async move { self.wait(&broker, next).await }))
            }
        }
    }

    /// Until a wanted message is there or the time is up. Unwanted ones move the offset on and are not worth an answer.
    async fn wait(self, broker: &Broker, mut offset: i64) -> Command {
        let limit = match broker.config.long_polling_enable {
            true => self.header.suspend_timeout_millis.max(0) as u64,
            false => broker.config.short_polling_time_mills,
        };
        let began = Instant::now();
        let mut deadline = began + Duration::from_millis(limit);
        loop {
            let mut parked = broker.hold.park(&self.topic, self.header.queue_id, offset);
            let answer = match self.look(broker, offset) {
                Look::Answer(answer) if answer.code != response::PULL_RETRY_IMMEDIATELY => return answer,
                Look::Answer(filtered) => {
                    let next = filtered.header::<PullMessageResponse>().map_or(offset, |it| it.next_begin_offset);
                    if next > offset {
                        offset = next;
                        continue;
                    }
                    Command { code: response::PULL_NOT_FOUND, ..filtered }
                }
                Look::Nothing { next, answer, hold } => {
                    offset = next;
                    if hold == Hold::Briefly {
                        deadline = deadline.min(began + BRIEF);
                    }
                    answer
                }
            };
            if broker.hold.is_closed() {
                return answer;
            }
            let sweep = deadline.min(Instant::now() + SWEEP);
            tokio::select! {
                () = parked.woken() => {}
                () = tokio::time::sleep_until(sweep) => {}
            }
            if Instant::now() >= deadline {
                return answer;
            }
        }
    }

    fn look(&self, broker: &Broker, offset: i64) -> Look {
        let messages =
            (self.header.max_msg_nums.max(1) as usize).min(broker.config.max_transfer_count_on_message_in_memory);
        let bytes = broker.config.max_transfer_bytes_on_message_in_memory;
        let wanted = |code| self.filter.wants(code);
        let began = std::time::Instant::now();
        let found = broker.store.get(&self.topic, self.header.queue_id, offset, messages, bytes, &wanted);
        let messages = if found.status == GetStatus::Found { found.messages.len() } else { 0 };
        broker.statistics.pulled(messages);
        let bytes = found.messages.iter().map(|it| it.len()).sum();
        broker.metrics.got(&self.topic, &self.header.consumer_group, messages, bytes, began.elapsed());
        self.judge(broker, offset, &found)
    }

    fn judge(&self, broker: &Broker, offset: i64, found: &GetResult) -> Look {
        let master = broker.is_master();
        let view = if master && !broker.config.slave_read_enable { View::default() } else { View::of(broker) };
        let replica = match master {
            true => Replica::Master(queues(broker), tenure(broker)),
            false => Replica::Slave(view.pace()),
        };
        let standing = Standing::of(replica);
        let Verdict { code, next, hold } = verdict(standing, found.status, offset, found.next_begin_offset);
        let header = PullMessageResponse {
            suggest_which_broker_id: self.suggested(broker, &view, found),
            next_begin_offset: next,
            min_offset: found.min_offset,
            max_offset: found.max_offset,
            topic_sys_flag: Some(0),
            group_sys_flag: Some(self.group.group_sys_flag),
            ..Default::default()
        };
        let answer = Command { remark: Some(remark(found.status).to_owned()), ..Command::response(code) };
        let answer = answer.with_header(&header).with_body(concatenated(found));
        if hold == Hold::No { Look::Answer(answer) } else { Look::Nothing { next, answer, hold } }
    }

    fn suggested(&self, broker: &Broker, view: &View, found: &GetResult) -> i64 {
        // What this replica has deleted the master may still have.
        let deleted = matches!(found.status, GetStatus::OffsetTooSmall | GetStatus::MessageWasRemoving);
        if !broker.config.slave_read_enable || deleted {
            return MASTER_ID;
        }
        let last = found.messages.last().and_then(|it| memory::physical_offset(it));
        let cold = last.is_some_and(|it| memory::is_cold(broker.store.max_offset() - it));
        let reader = Reader { group: &self.group, topic: &self.topic, queue_id: self.header.queue_id, cold };
        view.suggest(&reader, broker.config.slave_read_spread)
    }
}

fn queues(broker: &Broker) -> Queues {
    if broker.has_caught_up() { Queues::Complete } else { Queues::Growing }
}

fn tenure(broker: &Broker) -> Tenure {
    if broker.replication.may_be_deposed() { Tenure::Doubtful } else { Tenure::Certain }
}

fn concatenated(found: &GetResult) -> Bytes {
    let mut body = BytesMut::with_capacity(found.messages.iter().map(|it| it.len()).sum());
    for message in &found.messages {
        body.extend_from_slice(message);
    }
    body.freeze()
}

fn remark(status: GetStatus) -> &'static str {
    match status {
        GetStatus::Found => "FOUND",
        GetStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        GetStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        GetStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        GetStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        GetStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        GetStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        GetStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
        GetStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
    }
}
