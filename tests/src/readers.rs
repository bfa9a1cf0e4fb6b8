//! Consumers that read each queue from its beginning while the cluster is being broken, and remember what they were
//! shown: it must be what stands there in the end (S3, S12), message by message, and nobody may move them.

use crate::History;
use crate::cluster::BROKER_SET;
use crate::history::parse;
use crate::queries;
use crate::wire::Connection;
use crate::{PATIENCE, holds_within};
use client::{ConsumerOptions, MessageQueue, PullConsumer, PullOutcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);
const WAIT: Duration = Duration::from_secs(1);

/// What the reader of one queue was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By queue offset.
    pub numbers: Vec<u64>,
    /// What no consumer should be told.
    pub wrong: Vec<String>,
    /// Where it was last told to be elsewhere: it stays, and is told again and again.
    sent_away_from: Option<usize>,
}

type Read = fn(&str, &str, i32, &AtomicBool, &AtomicUsize) -> Seen;

/// One reader for each queue of a topic, whose producer `i` sends to queue `i`.
pub struct Readers {
    history: Arc<History>,
    count: Vec<Arc<AtomicUsize>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Readers {
    /// With frames and sockets alone, always of whom the nameserver calls master.
    pub fn plain(nameserver: &str, history: &Arc<History>) -> Readers {
        Readers::of(nameserver, history, read_plainly)
    }

    pub fn with_our_client(nameserver: &str, history: &Arc<History>) -> Readers {
        Readers::of(nameserver, history, read_with_our_client)
    }

    fn of(nameserver: &str, history: &Arc<History>, read: Read) -> Readers {
        let stop = Arc::new(AtomicBool::new(false));
        let count: Vec<_> = (0..history.producers()).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let reader = |(queue_id, count): (usize, &Arc<AtomicUsize>)| {
            let (stop, count) = (stop.clone(), count.clone());
            let (nameserver, topic) = (nameserver.to_owned(), history.topic.clone());
            std::thread::spawn(move || read(&nameserver, &topic, queue_id as i32, &stop, &count))
        };
        let threads = count.iter().enumerate().map(reader).collect();
        Readers { history: history.clone(), count, stop, threads }
    }

    /// Call when the producers have stopped: waits until everything is read, and says what was wrong.
    pub fn judge(self, nameserver: &str) -> Vec<String> {
        let mut stored: Vec<Option<Vec<u64>>> = vec![None; self.count.len()];
        holds_within(PATIENCE, || {
            for (queue, stored) in stored.iter_mut().enumerate().filter(|it| it.1.is_none()) {
                *stored = self.history.read(nameserver, queue).map(|it| it.numbers);
            }
            let is_read = |(stored, count): (&Option<Vec<u64>>, &Arc<AtomicUsize>)| {
                stored.as_ref().is_some_and(|it| count.load(Relaxed) >= it.len())
            };
            stored.iter().zip(&self.count).all(is_read)
        });
        self.stop.store(true, Relaxed);
        let mut wrong = Vec::new();
        for (queue, (thread, numbers)) in self.threads.into_iter().zip(stored).enumerate() {
            let seen = thread.join().expect("a reader does not fail");
            let of = format!("{} queue {queue}", self.history.topic);
            let Some(numbers) = numbers else {
                wrong.push(format!("{of}: cannot be read"));
                continue;
            };
            wrong.extend(seen.wrong.iter().map(|it| format!("{of}: {it}")));
            wrong.extend(difference(&seen.numbers, &numbers).map(|it| format!("{of}: {it}")));
        }
        wrong
    }
}

/// Where a consumer was shown something else than what is stored.
fn difference(seen: &[u64], stored: &[u64]) -> Option<String> {
    let at = (0..seen.len().max(stored.len())).find(|it| seen.get(*it) != stored.get(*it))?;
    Some(format!("a consumer was shown message {:?} at {at}, stored is {:?}", seen.get(at), stored.get(at)))
}

fn read_plainly(nameserver: &str, topic: &str, queue_id: i32, stop: &AtomicBool, count: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    while !stop.load(Relaxed) {
        if connection.is_none() {
            let master = queries::master_address(nameserver, topic, BROKER_SET);
            connection = master.and_then(|it| Connection::open(&it, WAIT).ok());
        }
        let answer = connection.as_mut().map(|it| queries::pull(it, topic, queue_id, seen.numbers.len() as i64));
        match answer {
            Some(Ok((records, next))) => {
                let idle = records.is_empty();
                seen.take(records.iter().map(|it| (it.queue_offset, &it.body[..])), next);
                count.store(seen.numbers.len(), Relaxed);
                if idle {
                    std::thread::sleep(PAUSE);
                }
            }
            Some(Err(_)) | None => {
                connection = None;
                std::thread::sleep(PAUSE);
            }
        }
    }
    seen
}

fn read_with_our_client(nameserver: &str, topic: &str, queue_id: i32, stop: &AtomicBool, count: &AtomicUsize) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let queue = MessageQueue { broker_name: BROKER_SET.into(), queue_id, topic: topic.to_owned() };
    let mut seen = Seen::default();
    runtime.block_on(async {
        let options = ConsumerOptions { namesrv: vec![nameserver.to_owned()], ..ConsumerOptions::default() };
        let consumer = PullConsumer::start(options);
        while !stop.load(Relaxed) {
            match consumer.pull(&queue, seen.numbers.len() as i64, 32, WAIT).await {
                Ok(PullOutcome::Found { messages, next, .. }) => {
                    seen.take(messages.iter().map(|it| (it.queue_offset, &it.body[..])), next);
                    count.store(seen.numbers.len(), Relaxed);
                }
                Ok(other) => seen.take(std::iter::empty(), other.next()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    seen
}

impl Seen {
    fn take<'a>(&mut self, messages: impl Iterator<Item = (i64, &'a [u8])>, next: i64) {
        for (offset, body) in messages {
            if offset != self.numbers.len() as i64 {
                return self.note(format!("a message at {offset} for a consumer at {}", self.numbers.len()));
            }
            match parse(body) {
                Ok((_, number)) => self.numbers.push(number),
                Err(why) => return self.note(format!("at {offset}: {why}")),
            }
        }
        let at = self.numbers.len();
        if next != at as i64 && self.sent_away_from != Some(at) {
            self.sent_away_from = Some(at);
            self.note(format!("a consumer at {at} was sent to {next}"));
        }
    }

    /// It asks again at once, and is told the same for as long as the reason lasts.
    fn note(&mut self, wrong: String) {
        if self.wrong.last() != Some(&wrong) {
            self.wrong.push(wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::body;

    #[test]
    fn a_consumer_notices_what_it_should_not_be_shown() {
        let mut seen = Seen::default();
        let bodies: Vec<_> = (1..4).map(|it| body(0, it, 50)).collect();
        seen.take([(0, &bodies[0][..]), (1, &bodies[1][..])].into_iter(), 2);
        assert_eq!((&seen.numbers, seen.wrong.len()), (&vec![1, 2], 0));
        seen.take(std::iter::empty(), 1);
        assert!(seen.wrong[0].contains("sent to 1"), "{seen:?}");
        seen.take([(3, &bodies[2][..])].into_iter(), 4);
        assert!(seen.wrong[1].contains("a message at 3"), "{seen:?}");
    }

    #[test]
    fn what_was_shown_and_is_not_there_is_found() {
        assert_eq!(difference(&[1, 2], &[1, 2]), None);
        assert!(difference(&[1, 2], &[1, 3]).is_some() && difference(&[1, 2], &[1]).is_some());
    }
}
