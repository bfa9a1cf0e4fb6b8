//! CONSUMER_SEND_MSG_BACK (36): a message that a consumer could not consume comes to its group again after a while, or
//! goes to the group's dead letters when it has come too often.
//!
//! The consumer moves on when it is answered, so the copy is confirmed like any producer's message before that (S3).

use super::{group_missing, header, not_master, refuse, success};
use crate::broker::Broker;
use crate::delay;
use crate::meta::{Change, topics};
use crate::put::NotPut;
use ha::Ack;
use node::remoting::Reply;
use proto::Command;
use proto::body::{SubscriptionGroupConfig, TopicConfig};
use proto::code::response;
use proto::header::ConsumerSendMsgBackRequest;
use proto::message::{Message, Record, offset_message_id};
use proto::properties;
use proto::topic::{dlq_topic, perm, retry_topic};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::DelayLevels;

/// From this version on a client may set its own limit of attempts.
const V3_4_9: i32 = 121;
/// Level of the first attempt after the original; each later one waits a level longer.
const FIRST_LEVEL: i32 = 3;
/// How long it waits for a planned change (S10).
const LONGEST_HELD: Duration = Duration::from_secs(1);
/// `topicSysFlag` of a retry topic in unit mode.
const UNIT_SUBSCRIPTION: i32 = 1 << 1;

pub(super) fn send_back(broker: &Arc<Broker>, command: &Command) -> Reply {
    let request: ConsumerSendMsgBackRequest = match header(command) {
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    let may_limit = command.version >= V3_4_9;
    let broker = broker.clone();
    Reply::Later(Box::pin(async move { answer(&broker, &request, may_limit).await.unwrap_or_else(|refused| refused) }))
}

async fn answer(broker: &Broker, request: &ConsumerSendMsgBackRequest, may_limit: bool) -> Result<Command, Command> {
    if !broker.is_master() || broker.stopping.load(Ordering::Acquire) {
        return Err(not_master(broker));
    }
    let group = broker.metadata.settings().groups.get(&request.group).cloned();
    let group = group.ok_or_else(|| group_missing(&request.group))?;
    if !perm::is_writeable(broker.config.broker_permission) {
        let remark = format!("the broker[{}] sending message is forbidden", broker.address);
        return Err(refuse(response::NO_PERMISSION, remark));
    }
    if group.retry_queue_nums <= 0 {
        return Ok(success());
    }
    let unit = request.unit_mode.unwrap_or(false);
    let sys_flag = if unit { UNIT_SUBSCRIPTION } else { 0 };
    let retry = derived(retry_topic(&group.group_name), group.retry_queue_nums, sys_flag);
    ensure(broker, retry.clone()).await?;
    let message = {
        let record = broker.store.record_at(request.offset);
        let record = record.as_deref().and_then(|it| Record::decode(it).ok());
        let missing = || refuse(response::SYSTEM_ERROR, format!("look message by offset failed, {}", request.offset));
        let record = record.ok_or_else(missing)?;
        again(broker.address, &record, &group, request, may_limit)
    };
    let dead = message.delay.is_none();
    let topic = if dead { derived(dlq_topic(&group.group_name), 1, 0) } else { retry };
    if dead {
        ensure(broker, topic.clone()).await?;
        broker.metrics.dead_letter(request.origin_topic.as_deref().unwrap_or_default(), &group.group_name);
    }
    let queue_id = rand::random_range(0..topic.write_queue_nums.max(1));
    put(broker, message.to(topic.topic_name, queue_id, &broker.delay_levels)).await
}

fn derived(name: String, queues: i32, topic_sys_flag: i32) -> TopicConfig {
    TopicConfig { topic_sys_flag, ..topics::derived(name, queues) }
}

/// The topic is there, and on every slave (S13), when it returns.
async fn ensure(broker: &Broker, topic: TopicConfig) -> Result<(), Command> {
    let name = topic.topic_name.clone();
    let known = {
        let settings = broker.metadata.settings();
        settings.topics.get(&name).map(|it| (it.config.perm, broker.metadata.is_settled(it.created)))
    };
    if known.is_some_and(|(perm, _)| !perm::is_writeable(perm)) {
        let remark = format!("the topic[{name}] sending message is forbidden");
        return Err(refuse(response::NO_PERMISSION, remark));
    }
    if known.is_some_and(|(_, settled)| settled) {
        return Ok(());
    }
    broker.change(vec![Change::CreateTopic(topic)]).await.map(drop).map_err(Command::from)
}

/// What becomes of a failed message.
#[derive(Debug)]
struct Again {
    message: Message,
    /// `None`: it has come too often.
    delay: Option<i32>,
}

/// Pure: the rules of broker-rpc §4.5.
fn again(
    store_host: SocketAddr,
    record: &Record<'_>,
    group: &SubscriptionGroupConfig,
    request: &ConsumerSendMsgBackRequest,
    may_limit: bool,
) -> Again {
    let limit = request.max_reconsume_times.filter(|_| may_limit).unwrap_or(group.retry_max_times);
    let delay = match request.delay_level {
        level if level < 0 || record.reconsume_times >= limit => None,
        0 => Some(record.reconsume_times.saturating_add(FIRST_LEVEL)),
        level => Some(level),
    };
    let mut properties = record.properties.to_owned();
    if properties::get(&properties, properties::RETRY_TOPIC).is_none() {
        properties::push(&mut properties, properties::RETRY_TOPIC, record.topic);
    }
    if properties::get(&properties, properties::ORIGIN_MESSAGE_ID).is_none_or(|it| it.trim().is_empty()) {
        let id = offset_message_id(&record.store_host, record.physical_offset);
        properties = properties::set(&properties, properties::ORIGIN_MESSAGE_ID, &id);
    }
    let message = Message {
        topic: record.topic.into(),
        queue_id: record.queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_host,
        reconsume_times: record.reconsume_times.saturating_add(1),
        prepared_transaction_offset: 0,
        body: bytes::Bytes::copy_from_slice(record.body),
        properties: properties::set(&properties, properties::DELAY, &delay.unwrap_or(0).to_string()),
    };
    Again { message, delay }
}

impl Again {
    fn to(self, topic: String, queue_id: i32, levels: &DelayLevels) -> Message {
        delay::scheduled(Message { topic: topic.into(), queue_id, ..self.message }, levels)
    }
}

async fn put(broker: &Broker, message: Message) -> Result<Command, Command> {
    if let Some(released) = broker.replication.held(LONGEST_HELD) {
        released.await;
        if !broker.is_master() {
            return Err(not_master(broker));
        }
    }
    let put = broker.put(message).map_err(|error| match error {
        NotPut::NotNow(why) => refuse(response::SYSTEM_ERROR, format!("SERVICE_NOT_AVAILABLE: {why}")),
        NotPut::Illegal(why) => refuse(response::SYSTEM_ERROR, format!("MESSAGE_ILLEGAL: {why}")),
    })?;
    match broker.confirmed(put).await {
        Ack::Acknowledged => Ok(success()),
        // The consumer then sends a copy itself: it may come twice, but it comes.
        Ack::Timeout => Err(refuse(response::SYSTEM_ERROR, "FLUSH_SLAVE_TIMEOUT")),
        Ack::Deposed => Err(refuse(
            response::SYSTEM_ERROR,
            "SERVICE_NOT_AVAILABLE: this replica stopped being the master before the copy was confirmed",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "10.0.0.2:10911".parse().expect("an address")
    }

    /// (delay level, attempts, properties) of a message with these properties that was consumed `times` times again.
    fn check(times: i32, level: i32, limit: Option<i32>, properties: &str) -> (Option<i32>, i32, String) {
        let original = Message {
            topic: "T".into(),
            queue_id: 3,
            flag: 7,
            sys_flag: 0,
            born_timestamp: 11,
            born_host: "10.0.0.1:4000".parse().expect("an address"),
            store_host: address(),
            reconsume_times: times,
            prepared_transaction_offset: 0,
            body: "body".into(),
            properties: properties.to_owned(),
        };
        let mut bytes = Vec::new();
        original.encode_into(&mut bytes, 0, 4096, 5).expect("fits");
        let record = Record::decode(&bytes).expect("a record");
        let group = SubscriptionGroupConfig { group_name: "G".into(), ..Default::default() };
        let request =
            ConsumerSendMsgBackRequest { delay_level: level, max_reconsume_times: limit, ..Default::default() };
        let again = again(address(), &record, &group, &request, true);
        let properties = again.message.properties.replace('\u{1}', "=").replace('\u{2}', "|");
        (again.delay, again.message.reconsume_times, properties)
    }

    #[test]
    fn a_failed_message_comes_again_a_level_later_each_time() {
        let (delay, times, properties) = check(0, 0, None, "TAGS\u{1}A\u{2}");
        assert_eq!((delay, times), (Some(3), 1));
        expect_test::expect!["TAGS=A|RETRY_TOPIC=T|ORIGIN_MESSAGE_ID=0A00000200002A9F0000000000001000|DELAY=3|"]
            .assert_eq(&properties);
        let second = "RETRY_TOPIC\u{1}T0\u{2}ORIGIN_MESSAGE_ID\u{1}X\u{2}DELAY\u{1}3\u{2}";
        let (delay, times, properties) = check(1, 0, None, second);
        assert_eq!((delay, times), (Some(4), 2));
        expect_test::expect!["RETRY_TOPIC=T0|ORIGIN_MESSAGE_ID=X|DELAY=4|"].assert_eq(&properties);
        assert_eq!(check(1, 7, None, "").0, Some(7), "the consumer's wish");
    }

    #[test]
    fn a_message_that_came_too_often_is_a_dead_letter() {
        assert_eq!(check(15, 0, None, "").0, Some(18));
        assert_eq!(check(16, 0, None, "").0, None, "the group's limit");
        assert_eq!(check(2, 0, Some(2), "").0, None, "the consumer's limit");
        assert_eq!(check(16, 0, Some(20), "").0, Some(19), "which may be higher");
        let (delay, times, properties) = check(0, -1, None, "");
        assert_eq!((delay, times), (None, 1));
        assert!(properties.ends_with("DELAY=0|"), "{properties}");
    }
}
