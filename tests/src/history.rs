//! What producers were told, and the judgement of what consumers then got.
//!
//! Each producer owns one queue and sends its sequence 1, 2, 3 … there, the next number only when the one before is
//! acknowledged; a number whose outcome is unknown is sent again. So in each queue the *first* occurrences must be 1,
//! 2, 3 … without a gap, and every acknowledged number must be among them. Repetitions are allowed and counted.

use crate::cluster::BROKER_SET;
use crate::queries;
use crate::wire::Connection;
use crate::{PATIENCE, wait_for};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One producer's part.
#[derive(Clone, Debug, Default)]
struct Track {
    /// Largest number ever handed to the network.
    sent: u64,
    /// Largest number acknowledged; all below it are, too.
    acknowledged: u64,
    last_acknowledgement: Option<Instant>,
    longest_gap: Duration,
}

/// Shared by the producers of one topic.
pub struct History {
    pub topic: String,
    tracks: Vec<Mutex<Track>>,
    /// How long a producer rests after each acknowledgement.
    rest_us: AtomicU64,
}

/// What came out of the queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub acknowledged: u64,
    pub delivered: u64,
    pub duplicated: u64,
}

impl History {
    pub fn new(topic: &str, producers: usize) -> History {
        let tracks = (0..producers).map(|_| Mutex::default()).collect();
        History { topic: topic.to_owned(), tracks, rest_us: AtomicU64::new(0) }
    }

    pub fn producers(&self) -> usize {
        self.tracks.len()
    }

    pub fn sending(&self, producer: usize, sequence: u64) {
        self.track(producer).sent = sequence;
    }

    pub fn acknowledged(&self, producer: usize, sequence: u64) {
        let now = Instant::now();
        let mut track = self.track(producer);
        assert_eq!(track.acknowledged + 1, sequence, "producer {producer} must wait for each acknowledgement");
        track.acknowledged = sequence;
        if let Some(last) = track.last_acknowledgement.replace(now) {
            track.longest_gap = track.longest_gap.max(now - last);
        }
        drop(track);
        std::thread::sleep(Duration::from_micros(self.rest_us.load(Relaxed)));
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

    /// Messages acknowledged so far, of all producers.
    pub fn acknowledged_total(&self) -> u64 {
        (0..self.producers()).map(|it| self.track(it).acknowledged).sum()
    }

    /// Every producer's count, to see that each of them goes on.
    pub fn acknowledged_each(&self) -> Vec<u64> {
        (0..self.producers()).map(|it| self.track(it).acknowledged).collect()
    }

    pub fn longest_gap(&self) -> Duration {
        (0..self.producers()).map(|it| self.track(it).longest_gap).max().unwrap_or_default()
    }

    fn track(&self, producer: usize) -> std::sync::MutexGuard<'_, Track> {
        self.tracks[producer].lock().expect("a producer has failed")
    }

    /// Reads every queue from its beginning and judges. Call when the producers have stopped.
    #[track_caller]
    pub fn check(&self, nameserver: &str) -> Account {
        let mut account = Account::default();
        for producer in 0..self.producers() {
            let track = self.track(producer).clone();
            let numbers = wait_for("every acknowledged message is readable", PATIENCE, || {
                let numbers = self.read_queue(nameserver, producer)?;
                (numbers.iter().max().copied().unwrap_or(0) >= track.acknowledged).then_some(numbers)
            });
            let judged =
                judge(producer, &numbers, track.sent, track.acknowledged).unwrap_or_else(|wrong| panic!("{wrong}"));
            account.acknowledged += judged.acknowledged;
            account.delivered += judged.delivered;
            account.duplicated += judged.duplicated;
        }
        account
    }

    /// All numbers in a producer's queue, in queue order. `None` while the master cannot be read; panics on anything
    /// that no producer sent.
    #[track_caller]
    pub fn read_queue(&self, nameserver: &str, producer: usize) -> Option<Vec<u64>> {
        let master = queries::master_address(nameserver, &self.topic, BROKER_SET)?;
        let mut connection = Connection::open(&master, Duration::from_secs(1)).ok()?;
        let queue_id = producer as i32;
        let (mut numbers, mut offset) = (Vec::new(), 0);
        loop {
            let (records, next) = queries::pull(&mut connection, &self.topic, queue_id, offset).ok()?;
            if records.is_empty() {
                return Some(numbers);
            }
            for record in records {
                assert_eq!(record.queue_id, queue_id, "{}: a record of another queue", self.topic);
                assert_eq!(record.queue_offset, offset, "queue {queue_id}: queue offsets must be consecutive");
                assert_eq!(record.topic, self.topic, "queue {queue_id}: a record of another topic");
                let (by, sequence) =
                    parse(&record.body).unwrap_or_else(|why| panic!("queue {queue_id} at {offset}: {why}"));
                assert_eq!(by, producer, "queue {queue_id} at {offset}: another producer's message");
                numbers.push(sequence);
                offset += 1;
            }
            assert_eq!(next, offset, "queue {queue_id}: the next offset must follow the last message");
        }
    }
}

/// What became of one queue's messages, counted where [`judge`] would only say no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Came for the first time after a later one.
    pub out_of_order: u64,
}

impl History {
    /// For servers that promise less: whatever is there is read and counted. `None` while it cannot be read.
    pub fn tally(&self, nameserver: &str) -> Option<Tally> {
        let mut all = Tally::default();
        for producer in 0..self.producers() {
            let numbers = self.read_whatever(nameserver, producer)?;
            let of_queue = tally(&numbers, self.track(producer).acknowledged);
            all.acknowledged += of_queue.acknowledged;
            all.lost += of_queue.lost;
            all.duplicated += of_queue.duplicated;
            all.out_of_order += of_queue.out_of_order;
        }
        Some(all)
    }

    /// All numbers of a producer's queue that can be read, holes skipped. `None` while the master cannot be read.
    pub fn read_whatever(&self, nameserver: &str, producer: usize) -> Option<Vec<u64>> {
        let master = queries::master_address(nameserver, &self.topic, BROKER_SET)?;
        let end = queries::queue_end(&master, &self.topic, producer as i32)?;
        let mut connection = Connection::open(&master, Duration::from_secs(1)).ok()?;
        let (mut numbers, mut offset) = (Vec::new(), 0);
        while offset < end {
            let (records, next) = queries::pull(&mut connection, &self.topic, producer as i32, offset).ok()?;
            numbers.extend(records.iter().filter_map(|it| Some(parse(&it.body).ok()?.1)));
            offset = next.max(offset + 1);
        }
        Some(numbers)
    }
}

fn tally(numbers: &[u64], acknowledged: u64) -> Tally {
    let (mut seen, mut highest, mut out_of_order) = (BTreeSet::new(), 0, 0);
    for number in numbers {
        out_of_order += u64::from(seen.insert(*number) && *number < highest);
        highest = highest.max(*number);
    }
    let kept = seen.range(..=acknowledged).count() as u64;
    Tally { acknowledged, lost: acknowledged - kept, duplicated: (numbers.len() - seen.len()) as u64, out_of_order }
}

/// Every rule on one queue's numbers.
fn judge(producer: usize, numbers: &[u64], sent: u64, acknowledged: u64) -> Result<Account, String> {
    let mut highest = 0;
    for &number in numbers {
        if number > sent {
            return Err(format!("producer {producer}: {number} was delivered but never sent (up to {sent})"));
        }
        if number > highest + 1 {
            return Err(format!("producer {producer}: {number} delivered first after {highest}: lost or out of order"));
        }
        highest = highest.max(number);
    }
    if highest < acknowledged {
        return Err(format!("producer {producer}: acknowledged up to {acknowledged}, delivered up to {highest}: lost"));
    }
    Ok(Account { acknowledged, delivered: highest, duplicated: numbers.len() as u64 - highest })
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
mod tests {
    use super::*;

    #[test]
    fn a_whole_queue_passes_and_repetitions_are_counted() {
        let account = judge(0, &[1, 2, 2, 3, 2, 3, 4], 5, 4).unwrap();
        assert_eq!(account, Account { acknowledged: 4, delivered: 4, duplicated: 3 });
    }

    #[test]
    fn a_missing_acknowledged_message_is_a_loss() {
        assert!(judge(0, &[1, 2], 3, 3).unwrap_err().ends_with("lost"));
        assert!(judge(0, &[1, 3], 3, 3).unwrap_err().contains("lost or out of order"));
    }

    #[test]
    fn a_message_that_was_never_sent_is_found() {
        assert!(judge(0, &[1, 2, 3], 2, 2).unwrap_err().contains("never sent"));
    }

    #[test]
    fn a_late_first_occurrence_is_out_of_order() {
        assert!(judge(0, &[2, 1], 2, 2).unwrap_err().contains("out of order"));
    }

    #[test]
    fn losses_are_counted() {
        let want = Tally { acknowledged: 5, lost: 2, duplicated: 1, out_of_order: 1 };
        assert_eq!(tally(&[1, 4, 4, 2, 6], 5), want);
        assert_eq!(tally(&[1, 2, 3], 3), Tally { acknowledged: 3, ..Tally::default() });
    }

    #[test]
    fn a_damaged_body_is_found() {
        let mut bytes = body(3, 77, 100);
        assert_eq!(parse(&bytes), Ok((3, 77)));
        bytes[99] ^= 1;
        assert!(parse(&bytes).unwrap_err().contains("damaged"));
        assert!(parse(&body(3, 77, 100)[..50]).is_ok(), "filling does not depend on the size");
        assert!(parse(b"garbage").is_err());
    }
}
