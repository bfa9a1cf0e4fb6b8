//! What producers were told, and the judgement of what consumers then got.
//!
//! Each producer owns one queue and sends its sequence 1, 2, 3 … there, the next number only when the one before is
//! acknowledged; a number whose outcome is unknown is sent again. So in each queue the *first* occurrences must be 1,
//! 2, 3 … without a gap, and every acknowledged number must be among them. Repetitions are allowed as often as a
//! number was sent, and counted.

mod contents;

use crate::{PATIENCE, holds_within};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use contents::Contents;

/// A producer that rests a few milliseconds between two sends stands still when it rests so long.
const NOTICED: Duration = Duration::from_secs(1);

/// One producer's part.
#[derive(Clone, Debug, Default)]
struct Track {
    /// Largest number ever handed to the network.
    sent: u64,
    /// Largest number acknowledged; all below it are, too.
    acknowledged: u64,
    /// How many more times than once a number was handed to the network.
    repeated: BTreeMap<u64, u64>,
    last_acknowledgement: Option<Instant>,
    longest_gap: Duration,
    /// Sum of all gaps that a person would notice.
    stood_still: Duration,
}

impl Track {
    fn gap(&mut self, from: Option<Instant>, to: Instant) {
        let gap = from.map_or(Duration::ZERO, |it| to - it);
        self.longest_gap = self.longest_gap.max(gap);
        self.stood_still += if gap >= NOTICED { gap } else { Duration::ZERO };
    }
}

/// Shared by the producers of one topic.
pub struct History {
    pub topic: String,
    tracks: Vec<Mutex<Track>>,
    /// How long a producer rests after each acknowledgement.
    rest_us: AtomicU64,
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub acknowledged: u64,
    /// Different ones that can be read.
    pub delivered: u64,
    /// Acknowledged and not there.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicated: u64,
    /// Came for the first time after a later one.
    pub out_of_order: u64,
}

impl History {
    pub fn new(topic: &str, producers: usize) -> History {
        let tracks = (0..producers).map(|_| Mutex::default()).collect();
        History { topic: topic.to_owned(), tracks, rest_us: AtomicU64::new(0) }
    }

    pub fn producers(&self) -> usize {
        self.tracks.len()
    }

    /// Before each attempt.
    pub fn sending(&self, producer: usize, sequence: u64) {
        let mut track = self.track(producer);
        if track.sent == sequence {
            *track.repeated.entry(sequence).or_default() += 1;
        }
        track.sent = sequence;
    }

    /// After a send that repeats by itself: it made so many attempts after the first.
    pub fn repeated(&self, producer: usize, sequence: u64, times: u32) {
        if times > 0 {
            *self.track(producer).repeated.entry(sequence).or_default() += u64::from(times);
        }
    }

    pub fn acknowledged(&self, producer: usize, sequence: u64) {
        let now = Instant::now();
        let mut track = self.track(producer);
        let last = track.acknowledged;
        if last + 1 != sequence {
            // Not with the lock in hand: what others have to judge must stay readable.
            drop(track);
            panic!("producer {producer} must wait for each acknowledgement: {sequence} after {last}");
        }
        track.acknowledged = sequence;
        let last = track.last_acknowledgement.replace(now);
        track.gap(last, now);
        drop(track);
        std::thread::sleep(Duration::from_micros(self.rest_us.load(Relaxed)));
    }

    /// The producers are told to stop: how long they have had no acknowledgement until now is a gap like any other.
    pub fn close(&self) {
        let now = Instant::now();
        for producer in 0..self.producers() {
            let mut track = self.track(producer);
            let last = track.last_acknowledgement.take();
            track.gap(last, now);
        }
    }

    /// From now on each producer rests so long after each acknowledgement: a long run is not to fill the disk.
    pub fn rest(&self, pause: Duration) {
        self.rest_us.store(pause.as_micros() as u64, Relaxed);
    }

    /// The longest gap since this was asked last; one that has not ended yet counts from now on.
    pub fn take_longest_gap(&self) -> Duration {
        let gaps = (0..self.producers()).map(|it| std::mem::take(&mut self.track(it).longest_gap));
        gaps.max().unwrap_or_default()
    }

    /// For how long a producer had no acknowledgement, in all gaps of a second and more: of that which had it worst.
    pub fn stood_still(&self) -> Duration {
        (0..self.producers()).map(|it| self.track(it).stood_still).max().unwrap_or_default()
    }

    /// Messages acknowledged so far, of all producers.
    pub fn acknowledged_total(&self) -> u64 {
        (0..self.producers()).map(|it| self.track(it).acknowledged).sum()
    }

    fn acknowledged_each(&self) -> Vec<u64> {
        (0..self.producers()).map(|it| self.track(it).acknowledged).collect()
    }

    /// Whether every producer has had `count` more messages acknowledged when that time is up.
    pub fn progresses_within(&self, count: u64, patience: Duration) -> bool {
        let before = self.acknowledged_each();
        holds_within(patience, || {
            self.acknowledged_each().iter().zip(&before).all(|(now, before)| *now >= before + count)
        })
    }

    /// The same for those who rely on it.
    #[track_caller]
    pub fn wait_progress(&self, count: u64, patience: Duration) {
        assert!(self.progresses_within(count, patience), "not every producer got {count} acknowledged in {patience:?}");
    }

    pub fn longest_gap(&self) -> Duration {
        (0..self.producers()).map(|it| self.track(it).longest_gap).max().unwrap_or_default()
    }

    fn track(&self, producer: usize) -> MutexGuard<'_, Track> {
        // A producer that fails says so itself, and what it was told before is judged like everybody else's.
        self.tracks[producer].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads every queue from its beginning; panics with all that is wrong. Call when the producers have stopped.
    #[track_caller]
    pub fn check(&self, nameserver: &str) -> Account {
        let (account, wrong) = self.judge(nameserver);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        account
    }

    /// The same for those who want to know everything: the counts, and every complaint. A queue that nobody serves is a
    /// complaint and counts for nothing: what is in it is not known to be lost.
    pub fn judge(&self, nameserver: &str) -> (Account, Vec<String>) {
        let (mut all, mut complaints) = (Account::default(), Vec::new());
        for producer in 0..self.producers() {
            let track = self.track(producer).clone();
            let wrong = match self.read_all(nameserver, producer, track.acknowledged) {
                Some(contents) => {
                    let (of_queue, wrong) = judge(&contents.numbers, &track);
                    all.add(of_queue);
                    contents.complaint().into_iter().chain(wrong).collect()
                }
                None => vec!["the queue cannot be read".to_owned()],
            };
            complaints.extend(wrong.iter().map(|it| format!("{}: producer {producer}: {it}", self.topic)));
        }
        (all, complaints)
    }

    /// What can be read when everything acknowledged should be: at once, or when patience has ended.
    fn read_all(&self, nameserver: &str, producer: usize, acknowledged: u64) -> Option<Contents> {
        let mut last = None;
        holds_within(PATIENCE, || {
            let contents = self.read(nameserver, producer);
            let is_whole = contents.as_ref().is_some_and(|it| {
                it.wrong.is_empty() && it.numbers.iter().max().copied().unwrap_or_default() >= acknowledged
            });
            last = contents.or(last.take());
            is_whole
        });
        last
    }

    /// A producer's queue. `None` while the master cannot be read.
    pub fn read(&self, nameserver: &str, producer: usize) -> Option<Contents> {
        Contents::read(nameserver, &self.topic, producer)
    }
}

impl Account {
    pub fn add(&mut self, other: Account) {
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
    }
}

/// Every rule on one queue's numbers.
fn judge(numbers: &[u64], track: &Track) -> (Account, Vec<String>) {
    let (mut copies, mut highest) = (BTreeMap::new(), 0);
    let (mut late, mut too_often) = (BTreeSet::new(), BTreeSet::new());
    for &number in numbers {
        let copies = copies.entry(number).or_insert(0_u64);
        *copies += 1;
        if *copies == 1 && number < highest {
            late.insert(number);
        }
        // One that was never sent has a complaint of its own.
        if number <= track.sent && *copies > 1 + track.repeated.get(&number).copied().unwrap_or_default() {
            too_often.insert(number);
        }
        highest = highest.max(number);
    }
    let lost: BTreeSet<_> = (1..=track.acknowledged).filter(|it| !copies.contains_key(it)).collect();
    let unsent: BTreeSet<_> = copies.keys().copied().filter(|it| *it > track.sent).collect();
    let account = Account {
        acknowledged: track.acknowledged,
        delivered: copies.len() as u64,
        lost: lost.len() as u64,
        duplicated: (numbers.len() - copies.len()) as u64,
        out_of_order: late.len() as u64,
    };
    let complaints = [
        ("acknowledged and lost", lost),
        ("delivered first after a later one, out of order", late),
        ("delivered more often than sent", too_often),
        ("delivered and never sent", unsent),
    ];
    (account, complaints.iter().filter_map(|(what, which)| complaint(what, which)).collect())
}

/// How many, and the first of them.
fn complaint(what: &str, which: &BTreeSet<u64>) -> Option<String> {
    let first: Vec<_> = which.iter().take(10).collect();
    (!which.is_empty())
        .then(|| format!("{} {what}: {first:?}{}", which.len(), if which.len() > 10 { " …" } else { "" }))
}

/// A message's body: who, which, and filling that follows from both, so that a torn or mixed body shows.
pub fn body(producer: usize, sequence: u64, size: usize) -> Vec<u8> {
    let mut body = format!("{producer}:{sequence}:").into_bytes();
    let seed = producer as u64 * 31 + sequence * 7;
    body.extend((body.len() as u64..size as u64).map(|at| (seed + at) as u8));
    body
}

pub(crate) fn parse(got: &[u8]) -> Result<(usize, u64), String> {
    let mut parts = got.splitn(3, |it| *it == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    let (Some(producer), Some(sequence)) = (number(), number()) else {
        return Err(format!("{} bytes that no producer wrote", got.len()));
    };
    if got != body(producer as usize, sequence, got.len()) {
        return Err(format!("message {sequence} of producer {producer} is damaged"));
    }
    Ok((producer as usize, sequence))
}

#[cfg(test)]
mod tests;
