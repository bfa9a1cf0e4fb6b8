//! `consumeMessage`: prints messages of a topic's queues, oldest first, without touching any consumer's progress.

use crate::mqadmin::java_text;
use client::{MessageQueue, MessageView};

/// Messages shown when `-c` does not say.
pub const DEFAULT_COUNT: i64 = 128;

/// Offsets to read, both ends included; RocketMQ counts them so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

/// What to read of one queue when `left` messages may still be shown; the text is printed first.
pub fn cut_to_count(span: Span, queue_id: i32, left: &mut i64) -> (Span, String) {
    let count = span.to - span.from;
    if count > *left {
        let notice = format!("The older {left} message of the {queue_id} queue will be provided\n");
        let to = span.from + *left - 1;
        *left = 0;
        return (Span { to, ..span }, notice);
    }
    *left -= count + 1;
    (span, String::new())
}

/// `MessageQueue#toString`.
pub fn queue(it: &MessageQueue) -> String {
    format!("MessageQueue [topic={}, brokerName={}, queueId={}]", it.topic, it.broker_name, it.queue_id)
}

/// `status` in RocketMQ's spelling: NO_NEW_MSG or OFFSET_ILLEGAL.
pub fn finished(it: &MessageQueue, status: &str, offset: i64) -> String {
    format!("{} print msg finished. status={status}, offset={offset}\n", queue(it))
}

pub fn not_matched(it: &MessageQueue, offset: i64) -> String {
    format!("{} no matched msg. status=NO_MATCHED_MSG, offset={offset}\n", queue(it))
}

/// A message as the Java tool prints it: `MessageExt#toString` and the body as text. `min` and `max` are the queue's
/// bounds, which a Java client adds to the properties.
pub fn message(it: &MessageView, min: i64, max: i64) -> String {
    let offset_id = it.offset_msg_id();
    let id = it.property(proto::properties::UNIQ_KEY).unwrap_or(&offset_id);
    let (min, max) = (min.to_string(), max.to_string());
    let properties =
        java_text::map(it.properties().chain([("MIN_OFFSET", min.as_str()), ("MAX_OFFSET", max.as_str())]));
    let bytes: Vec<String> = it.body.iter().map(|byte| (*byte as i8).to_string()).collect();
    format!(
        "MSGID: {id} MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, \
         bornTimestamp={}, bornHost=/{}, \
         storeTimestamp={}, storeHost=/{}, msgId={offset_id}, commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, \
         preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, properties={properties}, body=[{}], \
         transactionId='null'}}] BODY: {}\n",
        it.broker_name,
        it.queue_id,
        it.store_size,
        it.queue_offset,
        it.sys_flag,
        it.born_timestamp,
        it.born_host,
        it.store_timestamp,
        it.store_host,
        it.physical_offset,
        it.body_crc,
        it.reconsume_times,
        it.prepared_transaction_offset,
        it.topic,
        it.flag,
        bytes.join(", "),
        String::from_utf8_lossy(&it.body),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proto::message::Message;

    fn stored() -> MessageView {
        let message = Message {
            topic: "T".into(),
            queue_id: 1,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: "127.0.0.1:5000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: "hi\u{e9}".into(),
            properties: "TAGS\u{1}TagA\u{2}UNIQ_KEY\u{1}7F0000010001AAAA\u{2}".into(),
        };
        let mut bytes = Vec::new();
        message.encode_into(&mut bytes, 3, 600, 1_700_000_000_001).unwrap();
        MessageView::decode_all(&bytes, "broker-a").unwrap().remove(0)
    }

    #[test]
    fn a_message_looks_like_a_jvms() {
        expect![[r#"
            MSGID: 7F0000010001AAAA MessageExt [brokerName=broker-a, queueId=1, storeSize=132, queueOffset=3, sysFlag=0, bornTimestamp=1700000000000, bornHost=/127.0.0.1:5000, storeTimestamp=1700000000001, storeHost=/127.0.0.1:10911, msgId=7F00000100002A9F0000000000000258, commitLogOffset=600, bodyCRC=1460498334, reconsumeTimes=0, preparedTransactionOffset=0, toString()=Message{topic='T', flag=0, properties={UNIQ_KEY=7F0000010001AAAA, MIN_OFFSET=0, TAGS=TagA, MAX_OFFSET=4}, body=[104, 105, -61, -87], transactionId='null'}] BODY: hié
        "#]]
        .assert_eq(&message(&stored(), 0, 4));
    }

    #[test]
    fn the_count_is_spread_over_queues() {
        let mut left = 10;
        assert_eq!(cut_to_count(Span { from: 0, to: 4 }, 0, &mut left), (Span { from: 0, to: 4 }, String::new()));
        assert_eq!(left, 5);
        let (span, notice) = cut_to_count(Span { from: 100, to: 200 }, 1, &mut left);
        assert_eq!((span, left), (Span { from: 100, to: 104 }, 0));
        expect!["The older 5 message of the 1 queue will be provided\n"].assert_eq(&notice);
    }
}
