//! Finds out what became of a send that the master of an earlier epoch may have appended: its place is below where the
//! next epoch begins in the new master's log, or nowhere and never will be.
//!
//! Pure: positions and records in, verdicts out.

use ha::EpochSpan;
use proto::code::{request, response};
use proto::forward::Fate;
use proto::header::{SendMessageRequest, SendMessageResponse};
use proto::message::{Record, offset_message_id};
use proto::{Command, Epoch, Offset, batch, properties, topic};
use std::collections::BTreeMap;

/// By what a message is known again, whoever appended it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub unique_key: String,
    pub born_timestamp: i64,
}

/// The messages of one send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub first: Key,
    /// The same as `first` unless it is a batch.
    pub last: Key,
    pub count: usize,
    pub topic: String,
}

/// The header of a send, under either set of names.
pub fn send_header(command: &Command) -> Option<SendMessageRequest> {
    match command.code {
        request::SEND_MESSAGE => SendMessageRequest::read_v1(&command.ext).ok(),
        _ => command.header().ok(),
    }
}

/// `None`: its messages carry no keys.
pub fn identity(command: &Command) -> Option<Identity> {
    let header = send_header(command)?;
    let key = |text: &str| {
        let unique_key = properties::get(text, properties::UNIQ_KEY)?.to_owned();
        Some(Key { unique_key, born_timestamp: header.born_timestamp })
    };
    let (first, last, count) = match header.batch {
        Some(true) => {
            let inner = batch::decode(&command.body).ok()?;
            (key(&inner.first()?.properties)?, key(&inner.last()?.properties)?, inner.len())
        }
        _ => {
            let only = key(header.properties.as_deref()?)?;
            (only.clone(), only, 1)
        }
    };
    Some(Identity { first, last, count, topic: header.topic })
}

/// Where the log of the mastership of `epoch` ends, by the history of the newest master.
pub fn end_of(spans: &[EpochSpan], epoch: Epoch) -> Option<Offset> {
    spans.iter().find(|it| it.epoch > epoch).map(|it| it.start)
}

/// Where the bytes of the masterships from `epoch` on begin.
pub fn begin_of(spans: &[EpochSpan], epoch: Epoch) -> Option<Offset> {
    spans.iter().find(|it| it.epoch >= epoch).map(|it| it.start)
}

/// What an answer with [`Fate::Unknown`] becomes once the bytes it speaks of have survived.
pub fn acknowledged(mut answer: Command) -> Command {
    Fate::erase(&mut answer);
    Command { code: response::SUCCESS, remark: None, ..answer }
}

/// Sends that are looked for in one walk over the log.
#[derive(Debug, Default)]
pub struct Search {
    wanted: BTreeMap<Key, Vec<Wanted>>,
    /// Keys of batches of which the first message is found and the last is not.
    open: Vec<Key>,
}

#[derive(Debug)]
struct Wanted {
    id: u64,
    from: Offset,
    to: Offset,
    what: Identity,
    found: Vec<Place>,
    complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    offset: Offset,
    end: Offset,
    queue_id: i32,
    queue_offset: i64,
    message_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With where its last record ends, and the answer of a master that acknowledges it.
    Found {
        end: Offset,
        answer: Command,
    },
    Absent,
    /// A part of a batch.
    Part,
}

impl Search {
    /// `id` wants to know about the bytes from `from` to `to`.
    pub fn want(&mut self, id: u64, from: Offset, to: Offset, what: Identity) {
        let wanted = Wanted { id, from, to, found: Vec::new(), complete: false, what };
        self.wanted.entry(wanted.what.first.clone()).or_default().push(wanted);
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The bytes that have to be walked over.
    pub fn range(&self) -> Option<(Offset, Offset)> {
        let all = || self.wanted.values().flatten();
        Some((all().map(|it| it.from).min()?, all().map(|it| it.to).max()?))
    }

    /// Records in the order of the log. Each is taken for one send only, so that two alike need two.
    pub fn see(&mut self, record: &Record<'_>) {
        let Some(unique_key) = properties::get(record.properties, properties::UNIQ_KEY) else { return };
        let key = Key { unique_key: unique_key.to_owned(), born_timestamp: record.born_timestamp };
        let place = || Place {
            offset: record.physical_offset,
            end: record.physical_offset + record.size as Offset,
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            message_id: offset_message_id(&record.store_host, record.physical_offset),
        };
        let within = |it: &Wanted| (it.from..it.to).contains(&record.physical_offset) && is_of(record, &it.what.topic);
        // The further messages of a batch follow its first one without a gap.
        let follows = |it: &&mut Wanted| {
            !it.complete && it.found.last().is_some_and(|last| last.end == record.physical_offset) && within(it)
        };
        for at in 0..self.open.len() {
            let batches = self.wanted.get_mut(&self.open[at]).into_iter().flatten();
            if let Some(batch) = batches.filter(|it| it.found.len() < it.what.count).find(follows) {
                batch.found.push(place());
                batch.complete = batch.found.len() == batch.what.count && batch.what.last == key;
                if batch.found.len() == batch.what.count {
                    self.open.swap_remove(at);
                }
                return;
            }
        }
        let Some(first) = self.wanted.get_mut(&key).into_iter().flatten().find(|it| it.found.is_empty() && within(it))
        else {
            return;
        };
        first.found.push(place());
        first.complete = first.what.count == 1;
        if !first.complete {
            self.open.push(key);
        }
    }

    pub fn verdicts(self) -> Vec<(u64, Verdict)> {
        self.wanted.into_values().flatten().map(|it| (it.id, it.verdict())).collect()
    }
}

impl Wanted {
    fn verdict(self) -> Verdict {
        let (Some(first), Some(last)) = (self.found.first(), self.found.last()) else { return Verdict::Absent };
        if !self.complete {
            return Verdict::Part;
        }
        let ids: Vec<_> = self.found.iter().map(|it| it.message_id.as_str()).collect();
        let header = SendMessageResponse {
            msg_id: ids.join(","),
            queue_id: first.queue_id,
            queue_offset: first.queue_offset,
            transaction_id: Some(self.what.first.unique_key),
            ..SendMessageResponse::default()
        };
        let answer = Command::response(response::SUCCESS).with_header(&header);
        Verdict::Found { end: last.end, answer }
    }
}

/// A message may wait under another topic before it comes to its own (delayed ones), or have been consumed in
/// vain too often.
fn is_of(record: &Record<'_>, wanted: &str) -> bool {
    let dead = |it: &str| topic::group_of(it).is_some_and(|group| record.topic == topic::dlq_topic(group));
    record.topic == wanted || properties::get(record.properties, properties::REAL_TOPIC) == Some(wanted) || dead(wanted)
}

#[cfg(test)]
mod tests;
