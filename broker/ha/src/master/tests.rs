//! Golden scripts of one mastership, and the laws of acknowledgement on random ones.

use super::*;
use proptest::prelude::*;
use std::error::Error;
use std::path::Path;

test_each_file::test_each_path! { in "./broker/ha/src/master/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Stage::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[derive(goldenscript::Command)]
enum Step {
    /// Replica 1 becomes master of epoch 5 at this log end; `copies` 0 is the strict profile.
    Lead {
        set: Vec<i64>,
        #[arg(key)]
        end: i64,
        #[arg(key, optional)]
        confirm: i64,
        #[arg(key, optional)]
        copies: usize,
        #[arg(key, optional)]
        min: usize,
    },
    Append(i64),
    Up {
        link: u64,
        slave: i64,
        /// java, learner or baton.
        #[arg(key, optional)]
        kind: Option<String>,
    },
    Down(u64),
    Ack {
        link: u64,
        offset: i64,
    },
    Committed {
        set: Vec<i64>,
        #[arg(key)]
        version: i32,
    },
    Accepted {
        set: Vec<i64>,
        #[arg(key)]
        version: i32,
    },
    Refused,
    Unknown,
    Lease(u64),
    /// A planned change that may be committed until then.
    DistrustLease(u64),
    Metadata {
        slave: i64,
        #[arg(key)]
        synced: bool,
    },
    /// Time passes, in ticks of 20 ms.
    Wait(u64),
}

/// Whoever watches the set by its version misses nothing.
fn step(master: &mut Master, now: Millis, input: Input) -> Vec<Output> {
    let seen = |it: &Master| (it.others().collect::<Vec<_>>(), it.in_sync_count());
    let (version, before) = (master.members_version(), seen(master));
    let mut out = Vec::new();
    master.step(now, input, &mut out);
    if master.members_version() == version {
        assert_eq!(seen(master), before, "the set has changed, its version has not");
    }
    out
}

#[derive(Default)]
struct Stage {
    now: Millis,
    end: Offset,
    master: Option<Master>,
}

impl Stage {
    fn input(&mut self, input: Input) -> Result<Vec<Output>, Box<dyn Error>> {
        Ok(step(self.master.as_mut().ok_or("nobody leads")?, self.now, input))
    }
}

impl goldenscript::Runner for Stage {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let out = match step {
            Step::Lead { set, end, confirm, copies, min } => {
                let acknowledgement = match copies {
                    0 => Acknowledgement::AllInSyncStateSet,
                    it => Acknowledgement::InSyncReplicas(*it),
                };
                self.end = *end;
                self.master = Some(leader(acknowledgement, *min, set, *end, *confirm));
                self.input(Input::Tick)?
            }
            Step::Append(end) => {
                self.end = *end;
                self.input(Input::Appended(*end))?
            }
            Step::Up { link, slave, kind } => {
                let kind = match kind.as_deref() {
                    None | Some("java") => SlaveKind::Java,
                    Some("learner") => SlaveKind::Learner,
                    Some("baton") => SlaveKind::Baton,
                    Some(other) => return Err(format!("no such kind of slave: {other}").into()),
                };
                self.input(Input::LinkUp { link: *link, slave: *slave, kind })?
            }
            Step::Down(link) => self.input(Input::LinkDown { link: *link })?,
            Step::Ack { link, offset } => {
                self.input(Input::Ack { link: *link, offset: *offset, max_offset: self.end })?
            }
            Step::Committed { set, version } => {
                self.input(Input::Committed { set: set.iter().copied().collect(), epoch: *version })?
            }
            Step::Accepted { set, version } => {
                self.input(Input::Proposed(Outcome::Accepted { set: set.iter().copied().collect(), epoch: *version }))?
            }
            Step::Refused => self.input(Input::Proposed(Outcome::Refused))?,
            Step::Unknown => self.input(Input::Proposed(Outcome::Unknown))?,
            Step::DistrustLease(until) => self.input(Input::DistrustLease { until: *until })?,
            Step::Lease(until) => self.input(Input::Lease { until: *until })?,
            Step::Metadata { slave, synced } => self.input(Input::MetadataSynced { slave: *slave, synced: *synced })?,
            Step::Wait(ms) => {
                let until = self.now + ms;
                let (mut text, mut last) = (String::new(), None);
                while self.now < until {
                    self.now = (self.now + 20).min(until);
                    // What repeats is printed once.
                    for it in self.input(Input::Tick)? {
                        if last.as_ref() != Some(&it) {
                            text += &format!("{} ms: {it:?}\n", self.now);
                            last = Some(it);
                        }
                    }
                }
                return Ok(text);
            }
        };
        Ok(out.iter().map(|it| format!("{it:?}\n")).collect())
    }
}

fn leader(acknowledgement: Acknowledgement, min: usize, set: &[i64], end: Offset, confirm: Offset) -> Master {
    let config = MasterConfig {
        me: 1,
        epoch: 5,
        epoch_start: end,
        acknowledgement,
        min_in_sync_replicas: min,
        max_time_not_catchup_ms: 1000,
    };
    Master::new(0, config, set.iter().copied().collect(), 10, end, confirm)
}

#[derive(Clone, Debug)]
enum Act {
    Append(i64),
    Up(i64),
    Down(i64),
    /// The slave acknowledges so many more bytes of what there is.
    Ack(i64, i64),
    Accept,
    Refuse,
    Lose,
    /// A lost proposal turns out to have been committed, or not; the set is read.
    Read(bool),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let slave = || 2..5i64;
    prop_oneof![
        4 => (1..50i64).prop_map(Act::Append),
        2 => slave().prop_map(Act::Up),
        1 => slave().prop_map(Act::Down),
        8 => (slave(), 0..80i64).prop_map(|(slave, more)| Act::Ack(slave, more)),
        3 => Just(Act::Accept),
        1 => Just(Act::Refuse),
        1 => Just(Act::Lose),
        2 => any::<bool>().prop_map(Act::Read),
        3 => (1..300u64).prop_map(Act::Wait),
        1 => (DOUBT_MS..2 * DOUBT_MS).prop_map(Act::Wait),
    ]
}

/// The controller's truth beside the master under test.
struct World {
    master: Master,
    now: Millis,
    end: Offset,
    link: LinkId,
    links: BTreeMap<BrokerId, (LinkId, Offset)>,
    committed: BTreeSet<BrokerId>,
    version: i32,
    /// Against the present version, not answered yet / answered never.
    proposed: Option<BTreeSet<BrokerId>>,
    lost: Vec<BTreeSet<BrokerId>>,
    confirmed: Offset,
}

impl World {
    fn commit(&mut self, set: BTreeSet<BrokerId>) {
        self.committed = set;
        self.version += 1;
        self.lost.clear();
    }

    fn input(&mut self, input: Input) -> Result<(), TestCaseError> {
        for it in step(&mut self.master, self.now, input) {
            match it {
                Output::Confirm(offset) => self.on_confirm(offset)?,
                Output::Propose { set, epoch } => {
                    prop_assert!(set.contains(&1) && self.proposed.is_none());
                    // A stale version is refused by the controller's compare-and-set; it can be in doubt only if it is current.
                    self.proposed = Some(set).filter(|_| epoch == self.version);
                    if self.proposed.is_none() {
                        self.proposed = Some(BTreeSet::new());
                    }
                }
                Output::CloseLink { .. } | Output::Reread | Output::SetChanged => {}
            }
        }
        Ok(())
    }

    /// Grows; and everyone the controller has, or may still put, into the set has the bytes on the present connection.
    fn on_confirm(&mut self, offset: Offset) -> Result<(), TestCaseError> {
        prop_assert!(offset > self.confirmed && offset <= self.end);
        self.confirmed = offset;
        for id in self.committed.iter().chain(self.proposed.iter().flatten()).chain(self.lost.iter().flatten()) {
            let has = if *id == 1 { self.end } else { self.links.get(id).map_or(0, |it| it.1) };
            prop_assert!(has >= offset, "{offset} confirmed, replica {id} has {has}");
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Append(size) => {
                self.end += size;
                self.input(Input::Appended(self.end))
            }
            Act::Up(slave) => {
                self.link += 1;
                self.links.insert(slave, (self.link, 0));
                self.input(Input::LinkUp { link: self.link, slave, kind: SlaveKind::Java })
            }
            Act::Down(slave) => match self.links.remove(&slave) {
                Some((link, _)) => self.input(Input::LinkDown { link }),
                None => Ok(()),
            },
            Act::Ack(slave, more) => {
                let Some((link, ack)) = self.links.get_mut(&slave) else { return Ok(()) };
                *ack = (*ack + more).min(self.end);
                let (link, offset) = (*link, *ack);
                self.input(Input::Ack { link, offset, max_offset: self.end })
            }
            Act::Accept => match self.proposed.take().filter(|it| !it.is_empty()) {
                Some(set) => {
                    self.commit(set.clone());
                    self.input(Input::Proposed(Outcome::Accepted { set, epoch: self.version }))
                }
                None => Ok(()),
            },
            // A fence of the present version is never refused.
            Act::Refuse if self.proposed.as_ref() == Some(&self.committed) => Ok(()),
            Act::Refuse => match self.proposed.take() {
                Some(_) => self.input(Input::Proposed(Outcome::Refused)),
                None => Ok(()),
            },
            Act::Lose => match self.proposed.take() {
                Some(set) => {
                    self.lost.extend(Some(set).filter(|it| !it.is_empty()));
                    self.input(Input::Proposed(Outcome::Unknown))
                }
                None => Ok(()),
            },
            Act::Read(committed) => {
                if let Some(set) = self.lost.pop().filter(|_| committed) {
                    self.commit(set);
                    // What is under way is against an older version now: the controller will refuse it.
                    self.proposed = self.proposed.take().map(|_| BTreeSet::new());
                }
                self.input(Input::Committed { set: self.committed.clone(), epoch: self.version })
            }
            Act::Wait(ms) => {
                self.now += ms;
                self.input(Input::Tick)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_confirmed_before_everyone_who_may_be_a_member_has_it(acts in prop::collection::vec(act(), 1..120)) {
        let set: BTreeSet<BrokerId> = [1, 2].into();
        let mut world = World {
            master: leader(Acknowledgement::AllInSyncStateSet, 1, &[1, 2], 0, 0),
            now: 0, end: 0, link: 0, links: BTreeMap::new(), committed: set, version: 10, proposed: None, lost: Vec::new(), confirmed: 0,
        };
        for it in acts {
            world.act(it)?;
        }
    }
}
