//! A producer's queue as a consumer finds it, whatever has become of it.

use super::parse;
use crate::PATIENCE;
use crate::cluster::BROKER_SET;
use crate::queries::{self, TEST_GROUP};
use crate::record::Record;
use crate::wire::Connection;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many messages are asked for at once.
const BATCH: i64 = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// In queue order.
    pub numbers: Vec<u64>,
    /// What no consumer should find, by its place.
    pub wrong: BTreeMap<i64, String>,
}

impl Contents {
    /// From the queue's beginning to where it ends now. What is not there, or is no message, is stepped over and noted.
    /// `None` while the master cannot be read.
    pub(super) fn read(nameserver: &str, topic: &str, producer: usize) -> Option<Contents> {
        let queue_id = producer as i32;
        let master = queries::master_address(nameserver, topic, BROKER_SET)?;
        let end = queries::queue_end(&master, topic, queue_id)?;
        let mut connection = Connection::open(&master, Duration::from_secs(1)).ok()?;
        let (mut contents, mut offset, mut alone_until) = (Contents::default(), 0, 0);
        while offset < end {
            // What is broken spoils the answer that it comes in: around it messages are asked for one by one.
            let count = if offset < alone_until { 1 } else { BATCH };
            let request = queries::pull_request(TEST_GROUP, topic, queue_id, offset, Duration::ZERO);
            let answer = connection.call(request.with_ext("maxMsgNums", count), PATIENCE).ok()?;
            let (records, next) = match queries::pulled(&answer) {
                Ok((records, next)) => (records, next.max(offset + 1)),
                Err(_) if count > 1 => {
                    alone_until = offset + count;
                    continue;
                }
                Err(why) => {
                    contents.wrong.insert(offset, why);
                    offset += 1;
                    continue;
                }
            };
            // With gaps between them only they themselves say where they stand.
            let gapless = next - offset == records.len() as i64;
            contents.wrong.extend((offset..next.min(end)).map(|it| (it, "nothing to read".to_owned())));
            for (i, record) in records.iter().enumerate() {
                let place = if gapless { offset + i as i64 } else { record.queue_offset };
                contents.take(record, topic, producer, place);
            }
            offset = next;
        }
        Some(contents)
    }

    /// What stands at `offset`. A message of another queue is none of this one's.
    pub(super) fn take(&mut self, record: &Record, topic: &str, producer: usize, offset: i64) {
        let own_place = (record.topic.as_str(), record.queue_id, record.queue_offset);
        let why = match parse(&record.body) {
            Ok((by, number)) if by == producer && record.topic == topic => {
                self.numbers.push(number);
                (own_place != (topic, producer as i32, offset)).then(|| format!("message {number} of {own_place:?}"))
            }
            Ok((by, number)) => Some(format!("message {number} of producer {by} of {own_place:?}")),
            Err(why) => Some(why),
        };
        match why {
            Some(why) => self.wrong.insert(offset, why),
            None => self.wrong.remove(&offset),
        };
    }

    /// How many, and the first of them.
    pub(super) fn complaint(&self) -> Option<String> {
        let first: Vec<_> = self.wrong.iter().take(5).map(|(offset, why)| format!("at {offset}: {why}")).collect();
        (!first.is_empty())
            .then(|| format!("{} places are not as they should be: {}", self.wrong.len(), first.join("; ")))
    }
}
