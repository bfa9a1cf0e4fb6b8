//! Golden scripts of meetings, and random lineages against logs whose bytes are really compared.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

test_each_file::test_each_path! { in "./broker/ha/src/epochs/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Replicas::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// `log a 3@0 4@5000 end=9000` declares a replica's history; `meet a b` prints where they part, and what `a` keeps and adopts as b's slave.
#[derive(goldenscript::Command)]
enum Step {
    Log {
        replica: String,
        entries: Vec<String>,
        #[arg(key)]
        end: i64,
    },
    Meet {
        a: String,
        b: String,
    },
    /// What a load leaves of a history when the log ends here.
    Trim {
        replica: String,
        end: i64,
    },
}

#[derive(Default)]
struct Replicas(BTreeMap<String, (EpochHistory, i64)>);

impl goldenscript::Runner for Replicas {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        match step {
            Step::Log { replica, entries, end } => {
                let mut history = EpochHistory::default();
                for it in entries {
                    let (epoch, start) = it.split_once('@').ok_or("want epoch@start")?;
                    history.push(EpochEntry { epoch: epoch.parse()?, start: start.parse()? })?;
                }
                self.0.insert(replica.clone(), (history, *end));
                Ok(String::new())
            }
            Step::Meet { a, b } => {
                let ((a, a_end), (b, b_end)) = (&self.0[a], &self.0[b]);
                Ok(match a.common_point(*a_end, b, *b_end) {
                    Some(it) => {
                        let adopted = text(&a.adopt(Some(it), b, it.at));
                        format!("same up to {}; cut {} and {}; history {adopted}", it.at, a_end - it.at, b_end - it.at)
                    }
                    None => "nothing in common: full copy".into(),
                })
            }
            Step::Trim { replica, end } => {
                let history = &mut self.0.get_mut(replica).ok_or("no such log")?.0;
                let trimmed = history.trim_to(*end);
                Ok(format!("{}{}", text(history), if trimmed { "" } else { " (unchanged)" }))
            }
        }
    }
}

fn text(history: &EpochHistory) -> String {
    history.entries().iter().map(|it| format!("{}@{}", it.epoch, it.start)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_history_never_goes_back() {
    let mut history = EpochHistory(vec![EpochEntry { epoch: 4, start: 100 }]);
    let err = history.push(EpochEntry { epoch: 4, start: 200 }).unwrap_err();
    expect_test::expect!["epoch 4 at 200 does not follow epoch 4 at 100: the history only grows"]
        .assert_eq(&err.to_string());
    assert!(history.push(EpochEntry { epoch: 5, start: 99 }).is_err());
    assert!(history.push(EpochEntry { epoch: 5, start: 100 }).is_ok(), "an empty epoch is kept");
}

#[test]
fn each_byte_has_the_epoch_that_wrote_it() {
    let entry = |epoch, start| EpochEntry { epoch, start };
    let history = EpochHistory::from_entries([entry(2, 100), entry(3, 200), entry(4, 200)]).unwrap();
    assert_eq!(history.covering(0), (entry(0, 0), Some(100)), "written before there were epochs");
    assert_eq!(history.covering(199), (entry(2, 100), Some(200)));
    assert_eq!(history.covering(200), (entry(4, 200), None), "the empty epoch has no byte");
}

/// A replica whose every byte is known: which epoch's master wrote it, and its serial number.
#[derive(Clone, Debug, Default)]
struct Simulated {
    log: Vec<u32>,
    history: EpochHistory,
}

impl Simulated {
    fn end(&self) -> Offset {
        self.log.len() as Offset
    }

    fn common_bytes(&self, other: &Simulated) -> usize {
        self.log.iter().zip(&other.log).take_while(|(a, b)| a == b).count()
    }

    /// The handshake of S9, checked against the bytes, then at most `copy` bytes of the master's log.
    fn follow(&mut self, master: &Simulated, copy: usize) -> Result<(), TestCaseError> {
        let point = if self.log.is_empty() {
            None
        } else {
            self.history.common_point(self.end(), &master.history, master.end())
        };
        let at = point.map_or(0, |it| it.at);
        prop_assert_eq!(at as usize, self.common_bytes(master), "{:?} meets {:?}", self, master);
        self.log.truncate(at as usize);
        self.history = self.history.adopt(point, &master.history, at);
        for byte in master.log[self.log.len()..].iter().take(copy) {
            let (entry, _) = master.history.covering(self.end());
            self.log.push(*byte);
            self.enter(master);
            prop_assert!(self.history.entries().contains(&entry));
        }
        Ok(())
    }

    fn enter(&mut self, master: &Simulated) {
        for it in master.history.entries() {
            if it.epoch > self.history.last_epoch() && it.start <= self.end() {
                self.history.push(*it).unwrap();
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    /// This replica becomes master of the next epoch, whatever it has: even an unclean election must not confuse the histories.
    Elect(usize),
    Append(usize),
    /// This replica follows the master and copies so many bytes.
    Follow(usize, usize),
    /// Power fails: the log loses bytes, the epoch file does not.
    Lose(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..4usize).prop_map(Act::Elect),
        4 => (1..5usize).prop_map(Act::Append),
        6 => (0..4usize, 0..7usize).prop_map(|(it, copy)| Act::Follow(it, copy)),
        1 => (0..4usize, 1..4usize).prop_map(|(it, lost)| Act::Lose(it, lost)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Double failovers, masters that write nothing, unclean elections, lost tails: the histories find exactly the common bytes.
    #[test]
    fn the_common_point_is_where_the_bytes_part(acts in prop::collection::vec(act(), 1..60)) {
        let mut replicas = vec![Simulated::default(); 4];
        let (mut epoch, mut serial, mut master) = (0, 0, None);
        for it in acts {
            match it {
                Act::Elect(i) => {
                    epoch += 1;
                    let start = replicas[i].end();
                    replicas[i].history.push(EpochEntry { epoch, start }).unwrap();
                    master = Some(i);
                }
                Act::Append(count) => if let Some(m) = master {
                    for _ in 0..count {
                        serial += 1;
                        replicas[m].log.push(serial);
                    }
                }
                Act::Follow(i, copy) => if let Some(m) = master.filter(|m| *m != i) {
                    let source = replicas[m].clone();
                    replicas[i].follow(&source, copy)?;
                }
                // A master that lost bytes is no master any more (S2).
                Act::Lose(i, lost) => {
                    let kept = replicas[i].log.len().saturating_sub(lost);
                    replicas[i].log.truncate(kept);
                    let end = replicas[i].end();
                    replicas[i].history.trim_to(end);
                    master = master.filter(|m| *m != i);
                }
            }
        }
    }

    #[test]
    fn meeting_is_symmetric(a in history(), b in history()) {
        let at = |it: Option<CommonPoint>| it.map(|it| it.at);
        prop_assert_eq!(at(a.common_point(1 << 20, &b, 1 << 20)), at(b.common_point(1 << 20, &a, 1 << 20)));
    }
}

fn history() -> impl Strategy<Value = EpochHistory> {
    prop::collection::btree_map(0..6i32, 0..1000i64, 0..6).prop_map(|it| {
        let mut h = EpochHistory::default();
        for (epoch, start) in it {
            let _refused = h.push(EpochEntry { epoch, start });
        }
        h
    })
}
