//! What a store should hold: the log's bytes, the records in them, and what was promised about them.

use super::pages::SECTOR;
use crate::rng::Rng;
use bytes::Bytes;
use proto::Offset;
use proto::message::{BLANK_SIZE, Message, Record, encode_blank};
use std::collections::BTreeMap;

pub const FILE_SIZE: u64 = 8 * 1024;
pub const TOPICS: [&str; 2] = ["orders", "payments"];
pub const QUEUES: i32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub from: Offset,
    pub to: Offset,
    pub topic: &'static str,
    pub queue: i32,
    pub index: i64,
}

#[derive(Clone, Default)]
pub struct Model {
    /// Where the log began; what was deleted since is still here.
    pub base: Offset,
    pub log: Vec<u8>,
    /// Of whole records and of the one whose end is to come.
    pub records: Vec<Stored>,
    /// What the master has and this slave has not taken yet.
    pub incoming: Vec<u8>,
    /// Deleted below.
    pub min: Offset,
    /// The highest confirm offset that was set, as far as it was not cut.
    pub confirmed: Offset,
    /// What the store has said to be on disk, as far as it was not cut.
    pub flushed: Offset,
    /// Tails that were cut and reported: names and bytes.
    pub tails: BTreeMap<String, Vec<u8>>,
    /// Bits that flipped: where, and which.
    pub damage: Vec<(Offset, u8)>,
    /// Something was damaged once.
    pub tainted: bool,
}

impl Model {
    pub fn starting_at(base: Offset) -> Model {
        Model { base, min: base, confirmed: base, flushed: base, ..Model::default() }
    }

    pub fn end(&self) -> Offset {
        self.base + self.log.len() as Offset
    }

    pub fn bytes(&self, from: Offset, to: Offset) -> &[u8] {
        &self.log[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// The same as they are on disk, flipped bits and all.
    pub fn damaged_bytes(&self, from: Offset, to: Offset) -> Vec<u8> {
        let mut bytes = self.bytes(from, to).to_vec();
        for (at, bit) in self.damage.iter().filter(|it| (from..to).contains(&it.0)) {
            bytes[(at - from) as usize] ^= bit;
        }
        bytes
    }

    pub fn whole(&self) -> impl Iterator<Item = &Stored> {
        let end = self.end();
        self.records.iter().filter(move |it| it.to <= end)
    }

    /// Where the last whole record below `limit` ends.
    pub fn whole_end(&self, limit: Offset) -> Offset {
        self.whole().map(|it| it.to).filter(|it| *it <= limit).last().unwrap_or(self.base)
    }

    /// The log may end there: no record is in two pieces then.
    pub fn is_boundary(&self, at: Offset) -> bool {
        !self.records.iter().any(|it| it.from < at && at < it.to)
    }

    /// What stood behind `to` never was. In the middle of a record the rest of it may come again.
    pub fn cut(&mut self, to: Offset) {
        let to = to.clamp(self.base, self.end());
        let rest = self.records.iter().find(|it| it.from < to && to < it.to);
        let rest = rest.map_or_else(Vec::new, |it| {
            let have = it.to.min(self.end());
            let mut rest = self.bytes(to, have).to_vec();
            rest.extend_from_slice(&self.incoming[..(it.to - have) as usize]);
            rest
        });
        self.log.truncate((to - self.base) as usize);
        self.records.retain(|it| it.from < to);
        self.incoming = rest;
        self.flushed = self.flushed.min(to);
        self.confirmed = self.confirmed.min(to);
        self.damage.retain(|it| it.0 < to);
    }

    /// The log ends with a whole record now, and who was master is no more.
    pub fn seal(&mut self, to: Offset) {
        self.cut(to);
        self.records.retain(|it| it.to <= to);
        self.incoming.clear();
    }

    /// A store has begun with a log that ends here.
    pub fn recovered(&mut self, to: Offset) {
        self.cut(to);
        if to > self.end() {
            self.log.resize((to - self.base) as usize, 0);
            self.incoming.clear();
        }
    }

    pub fn next_index(&self, topic: &str, queue: i32) -> i64 {
        let of_it = self.records.iter().rev().find(|it| it.topic == topic && it.queue == queue);
        of_it.map_or(0, |it| it.index + 1)
    }

    /// What a store has appended behind this end.
    pub fn appended(&mut self, bytes: &[u8]) {
        let mut at = self.end();
        self.log.extend_from_slice(bytes);
        while at < self.end() {
            let room = FILE_SIZE as Offset - at % FILE_SIZE as Offset;
            match Record::decode(self.bytes(at, self.end())) {
                Ok(record) => {
                    let topic = TOPICS.into_iter().find(|it| *it == record.topic).expect("one of ours");
                    let (from, to) = (at, at + record.size as Offset);
                    let stored = Stored { from, to, topic, queue: record.queue_id, index: record.queue_offset };
                    at = to;
                    self.records.push(stored);
                }
                Err(_) => at += room,
            }
        }
    }

    /// What the master appends behind what is on its way already.
    pub fn arrive(&mut self, mut message: Message, topic: &'static str, store_timestamp: i64) {
        let mut from = self.end() + self.incoming.len() as Offset;
        let room = FILE_SIZE as usize - from as usize % FILE_SIZE as usize;
        if message.encoded_size() + BLANK_SIZE > room {
            let blank = encode_blank(room as i32);
            let mut rest = vec![0; room];
            let len = blank.len().min(room);
            if room >= BLANK_SIZE {
                rest[..len].copy_from_slice(&blank[..len]);
            }
            self.incoming.extend_from_slice(&rest);
            from += room as Offset;
        }
        take_a_nul(&mut message, from);
        let index = self.next_index(topic, message.queue_id);
        let size = message.encode_into(&mut self.incoming, index, from, store_timestamp).expect("it has room");
        let to = from + size as Offset;
        self.records.push(Stored { from, to, topic, queue: message.queue_id, index });
    }
}

/// A master that is Java's takes NULs in properties. Where a sector ends, one is not told from what a loss of power
/// leaves.
fn take_a_nul(message: &mut Message, from: Offset) {
    let begin = from + (message.encoded_size() - message.properties.len()) as Offset;
    let ends_sector = |at: usize| (begin as usize + at + 1).is_multiple_of(SECTOR);
    let Some(at) = message.properties.find('0').filter(|at| from % 4 == 0 && !ends_sector(*at)) else { return };
    message.properties.replace_range(at..=at, "\0");
}

/// Bodies and properties of all lengths, some longer than sectors.
pub fn message(rng: &mut Rng, number: u64) -> (Message, &'static str) {
    // One queue gets enough to be longer than a few sectors.
    let hot = rng.chance(700);
    let topic = if hot { TOPICS[0] } else { rng.pick(&TOPICS) };
    let queue_id = if hot { 0 } else { rng.below(QUEUES as u64) as i32 };
    let fill = |rng: &mut Rng, longest: u64| {
        let len = rng.below(longest) as usize;
        format!("{number:0>len$}")
    };
    let longest = rng.pick(&[20, 120, 700, 2_000]);
    let body = if rng.chance(50) { String::new() } else { fill(rng, longest) };
    let longest = rng.pick(&[10, 10, 100, 1_800]);
    let properties = format!("TAGS\u{1}T{}\u{2}KEYS\u{1}{}\u{2}", rng.below(3), fill(rng, longest));
    let message = Message {
        topic: topic.into(),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "10.0.0.1:4000".parse().expect("an address"),
        store_host: "10.0.0.2:10911".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from(body),
        properties,
    };
    (message, topic)
}
