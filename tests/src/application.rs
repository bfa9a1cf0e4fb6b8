//! A Java application under test: told when a period begins and ends, and asked at the end what it was told.

use crate::java::Java;
use crate::process::Process;
use crate::{holds_within, queries};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A JVM that compiles its program first, on a machine that runs a cluster beside it.
const JAVA_PATIENCE: Duration = Duration::from_secs(120);

/// Message numbers by the application's threads.
pub type Numbers = BTreeSet<(usize, u64)>;

/// What a mode went through since the mark before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Acknowledged, or received.
    pub done: u64,
    pub failed: u64,
    /// Received although one before it in its queue had not come. Only where a consumer is promised order.
    pub skipped: u64,
    pub longest_gap: Duration,
    /// What the first failed send was told.
    pub first_failure: String,
}

pub struct Application {
    process: Process,
    modes: Vec<String>,
    folder: tempfile::TempDir,
    marks: usize,
    /// Done by each mode since the start.
    totals: BTreeMap<String, u64>,
}

impl Application {
    /// Producers of these modes, each to the topic of its name; `rate` messages a second and thread, 0 for no limit.
    pub fn produces(java: &Java, nameservers: &str, rate: u32, modes: &[&str]) -> Application {
        Application::start(java, "Producers.java", nameservers, &rate.to_string(), modes)
    }

    /// Consumers of these modes, all of `topic`.
    pub fn consumes(java: &Java, nameservers: &str, topic: &str, modes: &[&str]) -> Application {
        Application::start(java, "Consumers.java", nameservers, topic, modes)
    }

    fn start(java: &Java, program: &str, nameservers: &str, third: &str, modes: &[&str]) -> Application {
        let folder = tempfile::Builder::new().prefix("baton-account-").tempdir().expect("temporary folder");
        let account = folder.path().to_str().expect("a path of ours is text").to_owned();
        let arguments = [&[nameservers, &account, third], modes].concat();
        let process = java.start_told(program, &arguments);
        let modes = modes.iter().map(|it| (*it).to_owned()).collect();
        Application { process, modes, folder, marks: 0, totals: BTreeMap::new() }
    }

    /// What each mode went through since the last mark.
    #[track_caller]
    pub fn mark(&mut self) -> BTreeMap<String, Period> {
        self.marks += 1;
        self.process.tell("MARK");
        let last = format!("PERIOD {} {} ", self.marks, self.modes.last().expect("an application has a mode"));
        self.process.wait_for_output(&last, JAVA_PATIENCE);
        let output = self.process.output();
        let of = |mode: &String| {
            let start = format!("PERIOD {} {mode} ", self.marks);
            let line = output.lines().find_map(|it| it.strip_prefix(&start)).expect("each mode prints its period");
            (mode.clone(), Period::parse(line))
        };
        let periods: BTreeMap<_, _> = self.modes.iter().map(of).collect();
        for (mode, period) in &periods {
            *self.totals.entry(mode.clone()).or_default() += period.done;
        }
        periods
    }

    /// Waits until every mode has done `count` since the start.
    #[track_caller]
    pub fn wait_total(&mut self, count: u64) {
        assert!(self.reaches(count), "{:?} of {count} each", self.totals);
    }

    /// Whether every mode has done `count` since the start when patience ends.
    pub fn reaches(&mut self, count: u64) -> bool {
        let done = |totals: &BTreeMap<_, u64>| totals.values().all(|it| *it >= count);
        holds_within(JAVA_PATIENCE, || {
            if !done(&self.totals) {
                // Each mark is a line that is read again for the next one: not too many.
                std::thread::sleep(Duration::from_millis(200));
                self.mark();
            }
            done(&self.totals)
        })
    }

    /// Waits until every mode gets on without a failure, and answers what it went through until then.
    #[track_caller]
    pub fn wait_undisturbed(&mut self) -> BTreeMap<String, Period> {
        let disturbed = |whole| panic!("still disturbed after {JAVA_PATIENCE:?}: {whole:?}");
        self.undisturbed().unwrap_or_else(disturbed)
    }

    /// What each mode went through until all got on without a failure, or, as an error, until patience ended.
    pub fn undisturbed(&mut self) -> Result<BTreeMap<String, Period>, BTreeMap<String, Period>> {
        let mut whole: BTreeMap<String, Period> = BTreeMap::new();
        let undisturbed = holds_within(JAVA_PATIENCE, || {
            // The period that has to be without a failure.
            std::thread::sleep(Duration::from_millis(500));
            let period = self.mark();
            let undisturbed = period.values().all(|it| it.done > 0 && it.failed == 0);
            for (mode, period) in period {
                whole.entry(mode).or_default().add(period);
            }
            undisturbed
        });
        if undisturbed { Ok(whole) } else { Err(whole) }
    }

    /// Ends the application: the numbers that each mode had acknowledged, or has received.
    #[track_caller]
    pub fn stop(mut self) -> BTreeMap<String, Numbers> {
        self.process.tell("STOP");
        self.process.wait_for_output("STOPPED", JAVA_PATIENCE);
        let status = self.process.wait_for_end(JAVA_PATIENCE);
        assert!(status.success(), "{status}:\n{}", self.process.output());
        let of = |mode: &String| {
            let account = std::fs::read_to_string(self.folder.path().join(mode)).expect("an account per mode");
            (mode.clone(), account.lines().flat_map(run).collect())
        };
        self.modes.iter().map(of).collect()
    }
}

impl Period {
    /// `key=value` words; the last one is the rest of the line.
    fn parse(line: &str) -> Period {
        let (words, first_failure) = line.split_once("first_failure=").unwrap_or((line, ""));
        let value = |key: &str| {
            let of_key = |it: &str| it.strip_prefix(key).and_then(|it| it.strip_prefix('='))?.parse().ok();
            words.split_whitespace().find_map(of_key).unwrap_or(0)
        };
        Period {
            done: value("acked"),
            failed: value("failed"),
            skipped: value("skipped"),
            longest_gap: Duration::from_micros(value("gap_us")),
            first_failure: first_failure.to_owned(),
        }
    }

    pub fn add(&mut self, later: Period) {
        self.done += later.done;
        self.failed += later.failed;
        self.skipped += later.skipped;
        self.longest_gap = self.longest_gap.max(later.longest_gap);
        if self.first_failure.is_empty() {
            self.first_failure = later.first_failure;
        }
    }
}

/// `lane from to` of an account.
fn run(line: &str) -> impl Iterator<Item = (usize, u64)> {
    let mut words = line.split(' ').map(|it| it.parse::<u64>().expect("an account has numbers"));
    let mut next = || words.next().expect("lane, from, to");
    let (lane, from, to) = (next() as usize, next(), next());
    (from..=to).map(move |it| (lane, it))
}

/// What a topic's queues hold.
#[derive(Debug, Default)]
pub struct Stored {
    pub numbers: Numbers,
    pub repeated: u64,
    /// Numbers of a lane that came for the first time after a later one in the same queue.
    pub out_of_order: u64,
    /// By queue, in queue order.
    pub queues: Vec<Vec<(usize, u64)>>,
}

impl Stored {
    /// The rest are sends that failed in the producer's eyes: they may have been stored late.
    pub fn out_of_order_among(&self, acknowledged: &Numbers) -> usize {
        let mut count = 0;
        for queue in &self.queues {
            let (mut highest, mut seen) = (BTreeMap::new(), BTreeSet::new());
            for (lane, number) in queue.iter().filter(|it| acknowledged.contains(it) && seen.insert(**it)) {
                let highest = highest.entry(lane).or_insert(number);
                count += usize::from(number < *highest);
                *highest = number.max(*highest);
            }
        }
        count
    }
}

/// Reads all queues of `topic` at `master`.
#[track_caller]
pub fn stored(master: &str, topic: &str, queues: i32) -> Stored {
    let mut stored = Stored::default();
    for queue in 0..queues {
        let mut highest: BTreeMap<usize, u64> = BTreeMap::new();
        let mut in_order = Vec::new();
        for record in queries::read_queue(master, topic, queue).expect("the queue is readable") {
            let (lane, number) = parse(&record.body);
            in_order.push((lane, number));
            if !stored.numbers.insert((lane, number)) {
                stored.repeated += 1;
                continue;
            }
            let highest = highest.entry(lane).or_default();
            stored.out_of_order += u64::from(number < *highest);
            *highest = number.max(*highest);
        }
        stored.queues.push(in_order);
    }
    stored
}

fn parse(body: &[u8]) -> (usize, u64) {
    let text = String::from_utf8_lossy(body);
    let mut parts = text.splitn(3, ':').map(|it| it.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(lane), Some(number)) => (lane as usize, number),
        _ => panic!("a body that no producer wrote: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_read_from_its_line() {
        let period = Period::parse("acked=12 failed=3 skipped=1 gap_us=2500 first_failure=Timeout: wait=3000");
        assert_eq!((period.done, period.failed, period.skipped), (12, 3, 1));
        assert_eq!((period.longest_gap, &*period.first_failure), (Duration::from_micros(2_500), "Timeout: wait=3000"));
    }

    #[test]
    fn order_is_asked_of_acknowledged_messages_of_one_lane_and_queue_only() {
        let acknowledged: Numbers = [(0, 1), (0, 2), (0, 4), (1, 1)].into();
        let stored = |queues: &[&[(usize, u64)]]| Stored {
            queues: queues.iter().map(|it| it.to_vec()).collect(),
            ..Stored::default()
        };
        let fine = stored(&[&[(0, 1), (0, 4), (1, 1), (0, 3), (0, 1)], &[(0, 2)]]);
        assert_eq!(fine.out_of_order_among(&acknowledged), 0);
        assert_eq!(stored(&[&[(0, 2), (0, 1), (0, 4)]]).out_of_order_among(&acknowledged), 1);
    }
}
