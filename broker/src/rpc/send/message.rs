//! From a send request to the messages that are appended.

use super::super::refuse;
use super::Send;
use crate::broker::Broker;
use crate::delay;
use crate::unique_key;
use bytes::Bytes;
use proto::Command;
use proto::body::TopicConfig;
use proto::code::response;
use proto::message::{Message, sys_flag};
use proto::properties;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) struct Encoded {
    pub messages: Vec<Message>,
    pub queue_id: i32,
    /// Of the first message.
    pub unique_key: Option<String>,
    /// Whether the producer waits for flush and replicas.
    pub waits: bool,
}

impl Encoded {
    pub(super) fn bytes(&self) -> usize {
        self.messages.iter().map(|it| it.body.len()).sum()
    }
}

impl Send {
    pub(super) fn encode(&self, broker: &Broker, topic: Arc<str>, config: &TopicConfig) -> Result<Encoded, Command> {
        let header = &self.header;
        let queue_id = self.queue(config)?;
        if self.body().len() > broker.config.max_message_size {
            let limit = broker.config.max_message_size;
            let remark = format!("the message is illegal: body of {} bytes, at most {limit}", self.body().len());
            return Err(refuse(response::MESSAGE_ILLEGAL, remark));
        }
        let properties = header.properties.as_deref().unwrap_or("");
        let batch = match header.batch {
            Some(true) => self.inner()?,
            _ => vec![(header.flag, self.body().clone(), properties.to_owned())],
        };
        let waits = properties::waits_for_store(properties);
        let mut unique_key = None;
        let mut messages = Vec::with_capacity(batch.len());
        for (flag, body, properties) in batch {
            let properties = self.properties(broker, properties)?;
            if unique_key.is_none() {
                unique_key = properties::get(&properties, properties::UNIQ_KEY).map(str::to_owned);
            }
            let message = self.message(broker.address, topic.clone(), queue_id, flag, config, body, properties);
            messages.push(delay::scheduled(message, &broker.delay_levels));
        }
        Ok(Encoded { messages, queue_id, unique_key, waits })
    }

    fn queue(&self, config: &TopicConfig) -> Result<i32, Command> {
        let queues = config.read_queue_nums.max(config.write_queue_nums);
        if self.dead_letter || self.header.queue_id < 0 {
            return Ok(rand::random_range(0..config.write_queue_nums.max(1)));
        }
        if self.header.queue_id >= queues {
            let remark = format!(
                "request queueId[{}] is illegal, topic[{}] has {queues} queues",
                self.header.queue_id, self.topic
            );
            return Err(refuse(response::INVALID_PARAMETER, remark));
        }
        Ok(self.header.queue_id)
    }

    fn inner(&self) -> Result<Vec<(i32, Bytes, String)>, Command> {
        if self.topic.len() > proto::topic::MAX_TOPIC {
            let remark = format!("message topic length over limit: {}", self.topic.len());
            return Err(refuse(response::MESSAGE_ILLEGAL, remark));
        }
        let illegal = |why: String| refuse(response::MESSAGE_ILLEGAL, format!("the batch is illegal: {why}"));
        let inner = proto::batch::decode(self.body()).map_err(|error| illegal(error.to_string()))?;
        if inner.is_empty() {
            return Err(illegal("it is empty".into()));
        }
        Ok(inner.into_iter().map(|it| (it.flag, it.body, it.properties)).collect())
    }

    /// What is stored of a producer's properties, with what the broker adds.
    fn properties(&self, broker: &Broker, given: String) -> Result<String, Command> {
        self.refuse_unserved(broker, &given)?;
        let mut stored = properties::stored(&given).into_owned();
        if self.dead_letter && properties::get(&stored, properties::DELAY).is_some() {
            stored = properties::set(&stored, properties::DELAY, "-1");
        }
        let trace_on = broker.config.trace_on.to_string();
        let own = [
            (properties::MSG_REGION, broker.config.region_id.as_str()),
            (properties::TRACE_ON, trace_on.as_str()),
            (properties::CLUSTER, broker.config.broker_cluster_name.as_str()),
        ];
        for (name, value) in own {
            if properties::get(&stored, name).is_some() {
                stored = properties::set(&stored, name, value);
            } else {
                properties::push(&mut stored, name, value);
            }
        }
        if properties::get(&stored, properties::UNIQ_KEY).is_none() {
            properties::push(&mut stored, properties::UNIQ_KEY, &unique_key::next(broker.address.ip()));
        }
        if stored.len() > properties::MAX_BYTES {
            let remark = format!("the message is illegal: properties of {} bytes, at most 32767", stored.len());
            return Err(refuse(response::MESSAGE_ILLEGAL, remark));
        }
        Ok(stored)
    }

    /// Delivering such a message at once, or as an ordinary one, would be worse than refusing it.
    fn refuse_unserved(&self, broker: &Broker, given: &str) -> Result<(), Command> {
        let transaction = properties::get(given, properties::TRANSACTION_PREPARED).is_some_and(|it| it == "true");
        if transaction || self.header.sys_flag & sys_flag::TRANSACTION_PREPARED != 0 {
            let remark = "the broker does not serve transaction messages";
            return Err(refuse(response::NO_PERMISSION, remark));
        }
        let delayed = delay::level(given, &broker.delay_levels).is_some();
        if delayed && self.header.batch == Some(true) {
            return Err(refuse(response::MESSAGE_ILLEGAL, "the messages of a batch cannot be delayed"));
        }
        let timer = [properties::TIMER_DELAY_SEC, properties::TIMER_DELAY_MS, properties::TIMER_DELIVER_MS]
            .iter()
            .any(|it| properties::get(given, it).is_some());
        // A delay level counts more than a timer.
        if timer && !delayed && !self.dead_letter {
            return Err(refuse(response::MESSAGE_ILLEGAL, "the broker does not serve timers, only delay levels"));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // each is one field of the record
    fn message(
        &self,
        store_host: SocketAddr,
        topic: Arc<str>,
        queue_id: i32,
        flag: i32,
        config: &TopicConfig,
        body: Bytes,
        properties: String,
    ) -> Message {
        let multi_tags = if config.topic_filter_type == "MULTI_TAG" { sys_flag::MULTI_TAGS } else { 0 };
        Message {
            topic,
            queue_id,
            flag,
            sys_flag: self.header.sys_flag | multi_tags,
            born_timestamp: self.header.born_timestamp,
            born_host: self.origin.born_host(),
            store_host,
            reconsume_times: self.header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body,
            properties,
        }
    }
}
