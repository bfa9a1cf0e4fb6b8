//! Commands that send and read messages.

use super::consume_message::{self, DEFAULT_COUNT, Span, cut_to_count};
use super::{any_address, send_message};
use crate::mqadmin::java_text::parse_instant;
use crate::mqadmin::{Context, options::Given, print};
use anyhow::{Context as _, bail};
use client::{
    ConsumerOptions, Message, MessageQueue, Producer, ProducerOptions, PullConsumer, PullOutcome, SendStatus,
};
use jiff::tz::TimeZone;
use std::time::Duration;

/// Group of a reader that nobody named.
const TOOLS_GROUP: &str = "TOOLS_CONSUMER";
/// Messages asked for at once; brokers give no more by default.
const BATCH: i64 = 32;

pub(crate) async fn send(context: Context, given: Given) -> anyhow::Result<()> {
    if given.is_true("m") {
        bail!("-m true sends a message trace, which is not implemented; leave -m out");
    }
    if given.has("i") && !given.has("b") {
        bail!("Broker name must be set if the queue is chosen!");
    }
    let queue_id: Option<i32> = given.parse("i", "the number of a queue")?;
    let mut message = Message::new(given.required("t"), given.required("p").to_owned());
    if let Some(tags) = given.get("c") {
        message = message.with_tags(tags);
    }
    if let Some(keys) = given.get("k") {
        message = message.with_keys(keys);
    }
    let options = ProducerOptions {
        namesrv: context.admin.namesrv().to_vec(),
        group: node::clock::wall_ms().to_string(),
        credentials: context.credentials,
        tls: context.tls,
        ..ProducerOptions::default()
    };
    let producer = Producer::start(options);
    let result = match (given.get("b"), queue_id) {
        (None, _) => producer.send(&message).await?,
        (Some(set), Some(queue_id)) => {
            let queue = MessageQueue { broker_name: set.to_owned(), queue_id, topic: message.topic.clone() };
            producer.send_to(&message, &queue).await?
        }
        (Some(set), None) => {
            let queues = producer.queues(&message.topic).await?;
            let queue = queues.into_iter().find(|it| it.broker_name == set);
            let queue = queue.with_context(|| format!("topic {} has no queue on broker set {set}", message.topic))?;
            producer.send_to(&message, &queue).await?
        }
    };
    let (status, why) = match result.status {
        SendStatus::SendOk => ("SEND_OK", None),
        SendStatus::FlushDiskTimeout => ("FLUSH_DISK_TIMEOUT", Some("not on disk yet")),
        SendStatus::FlushSlaveTimeout => ("FLUSH_SLAVE_TIMEOUT", Some("not on every in-sync replica yet")),
        SendStatus::SlaveNotAvailable => ("SLAVE_NOT_AVAILABLE", Some("not on any other replica")),
    };
    print(&send_message::table(&result.queue.broker_name, &result.queue.queue_id.to_string(), status, &result.msg_id))?;
    match why {
        None => Ok(()),
        Some(why) => bail!("the message is stored at {}, but {why}", result.address),
    }
}

/// What the options of consumeMessage say.
struct Wanted {
    count: i64,
    queue: Option<MessageQueue>,
    /// Of `queue` only.
    offset: Option<i64>,
    begin: Option<i64>,
    end: Option<i64>,
}

impl Wanted {
    fn of(given: &Given, now: i64) -> anyhow::Result<Wanted> {
        let instant = |short: &'static str, name: &str| -> anyhow::Result<Option<i64>> {
            let Some(text) = given.get(short) else { return Ok(None) };
            let millis = parse_instant(text, &TimeZone::system());
            let millis = millis
                .with_context(|| format!("-{short} is `{text}`: want milliseconds or yyyy-MM-dd#HH:mm:ss:SSS"))?;
            if millis > now {
                bail!("Please set the {name} before now!");
            }
            Ok(Some(millis))
        };
        let count = given.parse("c", "a number of messages")?.unwrap_or(DEFAULT_COUNT);
        if count <= 0 {
            bail!("Please input a positive messageNumber!");
        }
        if given.has("i") && !given.has("b") {
            bail!("Please set the brokerName before queueId!");
        }
        if given.has("o") && !given.has("i") {
            bail!("Please set queueId before offset!");
        }
        let (begin, end) = (instant("s", "beginTimestamp")?, instant("e", "endTimestamp")?);
        if let (Some(begin), Some(end)) = (begin, end)
            && begin > end
        {
            bail!("Please make sure that the beginTimestamp is less than or equal to the endTimestamp");
        }
        let queue_id: Option<i32> = given.parse("i", "the number of a queue")?;
        let queue = queue_id.map(|queue_id| MessageQueue {
            broker_name: given.required("b").to_owned(),
            queue_id,
            topic: given.required("t").to_owned(),
        });
        Ok(Wanted { count, queue, offset: given.parse("o", "an offset")?, begin, end })
    }
}

pub(crate) async fn consume(context: Context, given: Given) -> anyhow::Result<()> {
    let wanted = Wanted::of(&given, node::clock::wall_ms())?;
    let options = ConsumerOptions {
        namesrv: context.admin.namesrv().to_vec(),
        group: given.get("g").unwrap_or(TOOLS_GROUP).to_owned(),
        credentials: context.credentials.clone(),
        tls: context.tls.clone(),
        ..ConsumerOptions::default()
    };
    let reader = Reader { consumer: PullConsumer::start(options), context };
    match &wanted.queue {
        Some(queue) => reader.one(queue, &wanted).await,
        None => reader.all(given.required("t"), given.get("b"), &wanted).await,
    }
}

struct Reader {
    context: Context,
    consumer: PullConsumer,
}

/// A queue's bounds, and the part of it that the options name.
struct Place {
    min: i64,
    span: Span,
}

impl Reader {
    async fn all(&self, topic: &str, set: Option<&str>, wanted: &Wanted) -> anyhow::Result<()> {
        let mut queues = self.consumer.queues(topic).await?;
        queues.retain(|it| set.is_none_or(|set| it.broker_name == set));
        queues.sort();
        if queues.is_empty() {
            bail!(
                "topic {topic} has no readable queue{}",
                set.map(|it| format!(" on broker set {it}")).unwrap_or_default()
            );
        }
        let mut left = wanted.count;
        for queue in &queues {
            if left <= 0 {
                break;
            }
            let place = self.place(queue, wanted).await?;
            let (span, notice) = cut_to_count(place.span, queue.queue_id, &mut left);
            print(&notice)?;
            self.read(queue, span, place.min).await?;
        }
        Ok(())
    }

    async fn one(&self, queue: &MessageQueue, wanted: &Wanted) -> anyhow::Result<()> {
        let place = self.place(queue, wanted).await?;
        let offset = wanted.offset.unwrap_or(0);
        let mut span = Span { from: place.span.from.max(offset), to: place.span.to };
        if offset > span.to {
            bail!("{} no matched msg, offset={offset}", consume_message::queue(queue));
        }
        if span.to - span.from > wanted.count {
            print(&format!("The oldler {} message will be provided\n", wanted.count))?;
            span.to = span.from + wanted.count - 1;
        }
        self.read(queue, span, place.min).await
    }

    async fn place(&self, queue: &MessageQueue, wanted: &Wanted) -> anyhow::Result<Place> {
        let admin = &self.context.admin;
        let route = admin.topic_route(&queue.topic).await?;
        let set = route.broker_datas.iter().find(|it| it.broker_name == queue.broker_name);
        let address = set
            .and_then(any_address)
            .with_context(|| format!("topic {} is not on broker set {}", queue.topic, queue.broker_name))?;
        let min = admin.min_offset(address, &queue.topic, queue.queue_id).await?;
        let mut span = Span { from: min, to: admin.max_offset(address, &queue.topic, queue.queue_id).await? };
        if let Some(begin) = wanted.begin {
            span.from = admin.search_offset(address, &queue.topic, queue.queue_id, begin).await?;
        }
        if let Some(end) = wanted.end {
            span.to = admin.search_offset(address, &queue.topic, queue.queue_id, end).await?;
        }
        Ok(Place { min, span })
    }

    async fn read(&self, queue: &MessageQueue, span: Span, min: i64) -> anyhow::Result<()> {
        let mut offset = span.from;
        while offset <= span.to {
            let max = (span.to - offset + 1).min(BATCH) as i32;
            let outcome = self.consumer.pull(queue, offset, max, Duration::ZERO).await?;
            offset = outcome.next();
            match outcome {
                PullOutcome::Found { messages, max_offset, .. } => {
                    let texts: String =
                        messages.iter().map(|it| consume_message::message(it, min, max_offset)).collect();
                    print(&format!("Consume ok\n{texts}"))?;
                }
                PullOutcome::NoMatch { .. } => print(&consume_message::not_matched(queue, offset))?,
                PullOutcome::NoNewMessage { .. } => {
                    return print(&consume_message::finished(queue, "NO_NEW_MSG", offset));
                }
                PullOutcome::OffsetMoved { .. } => {
                    return print(&consume_message::finished(queue, "OFFSET_ILLEGAL", offset));
                }
            }
        }
        Ok(())
    }
}
