//! What a delayed message looks like while it waits in the delay topic, and when it is delivered. Pure.

use proto::message::{Message, Record, sys_flag};
use proto::properties;
use proto::topic::{MAX_RETRY_TOPIC, SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use store::DelayLevels;

/// A waiting message that can never be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    #[error("it does not say which topic it is for")]
    NoTopic,
    #[error("`{0}` is no queue of a topic")]
    BadQueue(String),
    #[error("topic `{0}` takes no delayed messages")]
    BadTopic(String),
}

/// The level that a message's properties ask for; `None`: it is not delayed.
pub fn level(properties: &str, levels: &DelayLevels) -> Option<i32> {
    let wanted = properties::get(properties, properties::DELAY)?.parse().ok()?;
    levels.clip(wanted)
}

/// The message as it is stored: one with a delay level waits in the delay topic and keeps where it wanted to go. Not
/// the records of a transaction that is open or rolled back.
pub fn scheduled(message: Message, levels: &DelayLevels) -> Message {
    let Some(level) = level(&message.properties, levels).filter(|_| sys_flag::is_indexed(message.sys_flag)) else {
        return message;
    };
    let own = [
        (properties::DELAY, level.to_string()),
        (properties::REAL_TOPIC, message.topic.to_string()),
        (properties::REAL_QUEUE_ID, message.queue_id.to_string()),
    ];
    let properties = own.iter().fold(message.properties, |all, (name, value)| match properties::get(&all, name) {
        Some(same) if same == value => all,
        _ => properties::set(&all, name, value),
    });
    Message { topic: SCHEDULE_TOPIC.into(), queue_id: level - 1, properties, ..message }
}

/// The message as it is delivered, its properties as they are, which is what the original's consumers see.
pub fn delivered(record: &Record<'_>) -> Result<Message, Undeliverable> {
    let property = |name| properties::get(record.properties, name);
    let topic = property(properties::REAL_TOPIC).ok_or(Undeliverable::NoTopic)?;
    if topic == TRANS_HALF_TOPIC || topic == SCHEDULE_TOPIC || topic.len() > MAX_RETRY_TOPIC {
        return Err(Undeliverable::BadTopic(topic.to_owned()));
    }
    let queue = property(properties::REAL_QUEUE_ID).unwrap_or_default();
    let queue_id = queue.parse().ok().filter(|it| *it >= 0);
    Ok(Message {
        topic: topic.into(),
        queue_id: queue_id.ok_or_else(|| Undeliverable::BadQueue(queue.to_owned()))?,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: 0,
        body: bytes::Bytes::copy_from_slice(record.body),
        properties: record.properties.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(properties: &str) -> Message {
        Message {
            topic: "T".into(),
            queue_id: 3,
            flag: 7,
            sys_flag: 0,
            born_timestamp: 11,
            born_host: "10.0.0.1:4000".parse().expect("an address"),
            store_host: "10.0.0.2:10911".parse().expect("an address"),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: "body".into(),
            properties: properties.to_owned(),
        }
    }

    fn bytes(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode_into(&mut bytes, 0, 0, 5).expect("fits");
        bytes
    }

    #[test]
    fn a_delayed_message_waits_and_comes_back_where_it_was_for() {
        let levels = DelayLevels::default();
        let waiting = scheduled(message("DELAY\u{1}99\u{2}TAGS\u{1}A\u{2}"), &levels);
        assert_eq!((&*waiting.topic, waiting.queue_id), (SCHEDULE_TOPIC, 17));
        expect_test::expect!["TAGS=A|DELAY=18|REAL_TOPIC=T|REAL_QID=3|"].assert_eq(&readable(&waiting.properties));
        let encoded = bytes(&waiting);
        let back = delivered(&Record::decode(&encoded).expect("a record")).expect("deliverable");
        assert_eq!((&*back.topic, back.queue_id, back.reconsume_times, back.flag), ("T", 3, 2, 7));
        assert_eq!((&back.body[..], back.born_timestamp), (&b"body"[..], 11));
        // Delayed once more, as a failed message is: what it said before is replaced.
        let again = scheduled(Message { topic: "%RETRY%G".into(), queue_id: 0, ..back }, &levels);
        expect_test::expect!["TAGS=A|DELAY=18|REAL_TOPIC=%RETRY%G|REAL_QID=0|"].assert_eq(&readable(&again.properties));
    }

    #[test]
    fn a_message_without_a_level_is_left_alone() {
        let levels = DelayLevels::default();
        for properties in ["", "DELAY\u{1}0\u{2}", "DELAY\u{1}-1\u{2}", "DELAY\u{1}soon\u{2}"] {
            let same = scheduled(message(properties), &levels);
            assert_eq!((&*same.topic, same.properties.as_str()), ("T", properties));
        }
        let half = Message { sys_flag: sys_flag::TRANSACTION_PREPARED, ..message("DELAY\u{1}1\u{2}") };
        assert_eq!(&*scheduled(half, &levels).topic, "T");
    }

    #[test]
    fn what_cannot_be_delivered_says_why() {
        let of = |properties: &str| {
            let encoded = bytes(&message(properties));
            delivered(&Record::decode(&encoded).expect("a record")).map(|it| it.queue_id)
        };
        let to = |topic: &str, queue: &str| format!("REAL_TOPIC\u{1}{topic}\u{2}REAL_QID\u{1}{queue}\u{2}");
        assert_eq!(of(""), Err(Undeliverable::NoTopic));
        assert_eq!(of(&to("T", "-1")), Err(Undeliverable::BadQueue("-1".into())));
        assert_eq!(of("REAL_TOPIC\u{1}T\u{2}"), Err(Undeliverable::BadQueue(String::new())));
        assert_eq!(of(&to(SCHEDULE_TOPIC, "0")), Err(Undeliverable::BadTopic(SCHEDULE_TOPIC.into())));
        assert_eq!(of(&to("T", "4")), Ok(4));
    }

    fn readable(properties: &str) -> String {
        properties.replace('\u{1}', "=").replace('\u{2}', "|")
    }
}
