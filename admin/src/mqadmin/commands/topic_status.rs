//! `topicStatus`: the offsets of each queue of a topic.

use crate::mqadmin::java_text::{clip, double, instant};
use jiff::tz::TimeZone;
use proto::body::{MessageQueue, TopicStatsTable};

/// Queues sorted by topic, set and number.
pub fn table(stats: &TopicStatsTable, zone: &TimeZone) -> String {
    let mut out = format!(
        "{:<32}  {:<4}  {:<20}  {:<20}    {}\n",
        "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"
    );
    let mut queues: Vec<_> = stats.offset_table.iter().collect();
    let key = |queue: &MessageQueue| (queue.topic.clone(), queue.broker_name.clone(), queue.queue_id);
    queues.sort_by_key(|(queue, _)| key(queue));
    for (queue, offset) in queues {
        out += &format!(
            "{:<32}  {:<4}  {:<20}  {:<20}    {}\n",
            clip(&queue.broker_name, 32),
            queue.queue_id,
            offset.min_offset,
            offset.max_offset,
            instant(offset.last_update_timestamp, zone)
        );
    }
    out + &format!("\nTopic Put TPS: {}\n", double(stats.topic_put_tps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proto::body::TopicOffset;

    #[test]
    fn queues_are_sorted_and_empty_ones_have_no_date() {
        let queue = |queue_id| MessageQueue { broker_name: "broker-a".into(), queue_id, topic: "T".into() };
        let offset =
            |max_offset, last_update_timestamp| TopicOffset { last_update_timestamp, max_offset, min_offset: 0 };
        let stats = TopicStatsTable {
            offset_table: vec![(queue(1), offset(0, 0)), (queue(0), offset(12, 1_700_000_000_007))],
            topic_put_tps: 1.5,
        };
        expect![[r"
            #Broker Name                      #QID  #Min Offset           #Max Offset             #Last Updated
            broker-a                          0     0                     12                      2023-11-14 22:13:20,007
            broker-a                          1     0                     0                       

            Topic Put TPS: 1.5
        "]]
        .assert_eq(&table(&stats, &TimeZone::UTC));
    }
}
