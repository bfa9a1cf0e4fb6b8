//! A message, checked and encoded once, for as many attempts as it takes.

use super::{ProducerOptions, SendError};
use crate::message::Message;
use crate::{compression, unique_key};
use bytes::Bytes;
use node::clock::wall_ms;
use proto::Command;
use proto::batch::BatchMessage;
use proto::body::MessageQueue;
use proto::code::request;
use proto::header::SendMessageRequest;
use proto::message::sys_flag;
use proto::properties;
use proto::topic::AUTO_CREATE_TOPIC_KEY_TOPIC;

pub(super) struct Prepared {
    pub(super) topic: String,
    pub(super) msg_id: String,
    code: i32,
    /// Complete but for the queue.
    header: SendMessageRequest,
    body: Bytes,
}

impl Prepared {
    pub(super) fn single(message: &Message, options: &ProducerOptions) -> Result<Prepared, SendError> {
        check(message, options)?;
        let msg_id = unique_key::next();
        let (body, flags) = compressed(&message.body, options);
        let header = SendMessageRequest {
            sys_flag: flags,
            flag: message.flag,
            properties: Some(encode_properties(message, &msg_id)),
            batch: Some(false),
            ..header(&message.topic, options)
        };
        Ok(Prepared { topic: message.topic.clone(), msg_id, code: request::SEND_MESSAGE_V2, header, body })
    }

    pub(super) fn batch(messages: &[Message], options: &ProducerOptions) -> Result<Prepared, SendError> {
        let Some(first) = messages.first() else {
            return Err(SendError::Illegal { topic: String::new(), why: "the batch is empty".into() });
        };
        let illegal = |why: String| SendError::Illegal { topic: first.topic.clone(), why };
        let mut keys = Vec::with_capacity(messages.len());
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages {
            check(message, options)?;
            if message.topic != first.topic {
                return Err(illegal(format!("a batch has one topic, this one also has {}", message.topic)));
            }
            if message.properties.iter().any(|(name, _)| name == properties::DELAY) {
                return Err(illegal("a batch takes no delayed message; send it alone".into()));
            }
            let key = unique_key::next();
            let encoded = encode_properties(message, &key);
            batch.push(BatchMessage { flag: message.flag, body: message.body.clone(), properties: encoded });
            keys.push(key);
        }
        let body = proto::batch::encode(&batch).map_err(|e| illegal(e.to_string()))?;
        if body.len() > options.max_message_size {
            return Err(illegal(format!(
                "the batch has {} bytes, at most {} are allowed",
                body.len(),
                options.max_message_size
            )));
        }
        // The first key stands for the batch where one is wanted.
        let own = properties::build([(properties::UNIQ_KEY, keys[0].as_str()), (properties::WAIT, "true")]);
        let header = SendMessageRequest { properties: Some(own), batch: Some(true), ..header(&first.topic, options) };
        let msg_id = keys.join(",");
        Ok(Prepared {
            topic: first.topic.clone(),
            msg_id,
            code: request::SEND_BATCH_MESSAGE,
            header,
            body: body.into(),
        })
    }

    pub(super) fn command(&self, queue: &MessageQueue) -> Command {
        let header = SendMessageRequest {
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
            ..self.header.clone()
        };
        Command::request(self.code).with_header(&header).with_body(self.body.clone())
    }
}

fn header(topic: &str, options: &ProducerOptions) -> SendMessageRequest {
    SendMessageRequest {
        producer_group: options.group.clone(),
        topic: topic.to_owned(),
        default_topic: AUTO_CREATE_TOPIC_KEY_TOPIC.to_owned(),
        default_topic_queue_nums: crate::routes::DEFAULT_QUEUES,
        born_timestamp: wall_ms(),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        ..SendMessageRequest::default()
    }
}

/// What the broker would refuse is refused here, before it costs a round trip.
fn check(message: &Message, options: &ProducerOptions) -> Result<(), SendError> {
    let illegal = |why: String| Err(SendError::Illegal { topic: message.topic.clone(), why });
    if let Err(why) = proto::topic::validate_topic(&message.topic) {
        return illegal(why.to_string());
    }
    if message.body.is_empty() {
        return illegal("the body is empty; RocketMQ stores only messages with a body".into());
    }
    if message.body.len() > options.max_message_size {
        return illegal(format!(
            "the body has {} bytes, at most {} are allowed",
            message.body.len(),
            options.max_message_size
        ));
    }
    if let Some(name) = message.bad_property() {
        return illegal(format!("property `{name}`: name and value must not be empty nor contain the bytes 1 and 2"));
    }
    let size: usize = message.properties.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if size + 64 > properties::MAX_BYTES {
        return illegal(format!(
            "its properties have {size} bytes, at most {} are allowed",
            properties::MAX_BYTES - 64
        ));
    }
    Ok(())
}

fn encode_properties(message: &Message, unique_key: &str) -> String {
    let given = message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = |name: &str| !message.properties.iter().any(|(it, _)| it == name);
    let wait = own(properties::WAIT).then_some((properties::WAIT, "true"));
    properties::build(
        given.filter(|(name, _)| *name != properties::UNIQ_KEY).chain([(properties::UNIQ_KEY, unique_key)]).chain(wait),
    )
}

/// A body that compression does not shrink travels as it is.
fn compressed(body: &Bytes, options: &ProducerOptions) -> (Bytes, i32) {
    if options.compress_over == 0 || body.len() < options.compress_over {
        return (body.clone(), 0);
    }
    match compression::compress(body) {
        Ok(smaller) if smaller.len() < body.len() => {
            (smaller.into(), sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB)
        }
        _ => (body.clone(), 0),
    }
}
