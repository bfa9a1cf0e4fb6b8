//! Golden scripts: commands, their outcomes and the state after each.

use super::story::{self, Life, LifeState};
use super::*;
use proto::BrokerId;
use std::{collections::BTreeSet, error::Error, path::Path};

test_each_file::test_each_path! { in "./controller/src/replicas/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Machine::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The state machine and a log index. Broker set is always `a`; candidates are written
/// `id@epoch.max_offset[p<priority>]`, a leading `maybe` means presumed alive only, a leading `far`
/// another zone than the old master's.
#[derive(Default)]
struct Machine {
    replicas: Replicas,
    index: u64,
}

#[derive(goldenscript::Command)]
enum Step {
    Apply {
        id: BrokerId,
        check_code: String,
    },
    Register {
        id: BrokerId,
        address: String,
        #[arg(key)]
        boot: Option<String>,
        #[arg(key)]
        unclean: Option<bool>,
        #[arg(key)]
        taken: Option<String>,
    },
    Elect {
        #[arg(optional)]
        alive: Vec<String>,
        #[arg(key)]
        by: Option<BrokerId>,
        #[arg(key)]
        designate: Option<bool>,
        #[arg(key)]
        min: Option<i32>,
        #[arg(key)]
        unclean: Option<bool>,
        #[arg(key)]
        expect: Option<String>,
        #[arg(key)]
        at: Option<i64>,
    },
    Drain {
        id: BrokerId,
    },
    Undrain {
        id: BrokerId,
    },
    Pause {
        until: i64,
    },
    /// A switchover was refused before it came to a command.
    Note {
        why: String,
    },
    /// Who a switchover would make master; changes nothing.
    Successor {
        #[arg(optional)]
        alive: Vec<String>,
        #[arg(key)]
        to: Option<BrokerId>,
    },
    Alter {
        set: Vec<BrokerId>,
        #[arg(key)]
        by: BrokerId,
        #[arg(key)]
        epoch: i32,
        #[arg(key)]
        set_epoch: i32,
        #[arg(key)]
        alive: String,
        #[arg(key)]
        min: Option<i32>,
    },
    Fence {
        #[arg(key)]
        by: BrokerId,
        #[arg(key)]
        epoch: i32,
        #[arg(key)]
        set_epoch: i32,
    },
    RemoveDead {
        ids: Vec<BrokerId>,
        #[arg(key)]
        epoch: i32,
        #[arg(key)]
        set_epoch: i32,
    },
    Clean {
        #[arg(optional)]
        ids: Vec<BrokerId>,
        #[arg(key)]
        living: Option<bool>,
        #[arg(key)]
        alive: Option<String>,
    },
    Next,
    History,
    /// The new master's heartbeat shows its epoch.
    Promoted {
        epoch: i32,
    },
    /// Every event in words.
    Story,
    /// Now, or `at` seconds after the beginning; `lives` as in `1:alive,2:gone,3:4000` (silent for so long).
    Explain {
        #[arg(key)]
        at: Option<i64>,
        #[arg(key)]
        lives: Option<String>,
        #[arg(key)]
        witness: Option<String>,
        #[arg(key)]
        patience: Option<u64>,
        #[arg(key)]
        paused: Option<i64>,
    },
    SnapshotRoundTrip,
}

fn candidate(text: &str, min_in_sync: Option<i32>) -> Result<Candidate, Box<dyn Error>> {
    let (zone, text) = text.strip_prefix("far").map_or((Zone::Same, text), |it| (Zone::Other, it));
    let (electable, text) = text.strip_prefix("maybe").map_or((true, text), |it| (false, it));
    let (text, priority) = text.split_once('p').map_or((text, "2147483647"), |it| it);
    let (id, log) = text.split_once('@').ok_or("want id@epoch.max_offset")?;
    let (epoch, max_offset) = log.split_once('.').ok_or("want id@epoch.max_offset")?;
    Ok(Candidate {
        id: id.parse()?,
        epoch: epoch.parse()?,
        max_offset: max_offset.parse()?,
        priority: priority.parse()?,
        min_in_sync,
        electable,
        zone,
    })
}

fn ids(text: &str) -> Result<BTreeSet<BrokerId>, std::num::ParseIntError> {
    text.split(',').filter(|it| !it.is_empty()).map(str::parse).collect()
}

impl Machine {
    fn command(&self, step: &Step) -> Result<Command, Box<dyn Error>> {
        let broker_set = "a".to_owned();
        Ok(match step {
            Step::Apply { id, check_code } => Command::ApplyBrokerId(ApplyBrokerId {
                cluster: "c".into(),
                broker_set,
                id: *id,
                check_code: check_code.clone(),
                at_ms: self.at(),
            }),
            Step::Register { id, address, boot, unclean, taken } => Command::Register(Register {
                broker_set,
                id: *id,
                address: address.clone(),
                ha_address: boot.as_ref().map(|_| format!("{address}-ha")),
                boot_id: boot.clone(),
                unclean: unclean.unwrap_or(false),
                taken_by: taken.clone(),
                at_ms: self.at(),
            }),
            Step::Elect { alive, by, designate, min, unclean, expect, at } => Command::Elect(Elect {
                broker_set,
                requester: *by,
                mode: if designate.unwrap_or(false) { ElectMode::Designated } else { ElectMode::Best },
                alive: alive.iter().map(|it| candidate(it, *min)).collect::<Result<_, _>>()?,
                unclean: if unclean.unwrap_or(false) { UncleanElection::Allowed } else { UncleanElection::Forbidden },
                expect: match expect.as_deref().and_then(|it| it.split_once('@')) {
                    Some((master, epoch)) => Some((master.parse().ok(), epoch.parse()?)),
                    None => None,
                },
                cause: match by {
                    Some(id) if designate.unwrap_or(false) => Cause::Designated { id: *id },
                    Some(id) => Cause::Requested { by: *id },
                    None => Cause::ConnectionClosedAndRefused,
                },
                detected_ms: self.at() - 5,
                at_ms: at.unwrap_or_else(|| self.at()),
            }),
            Step::Alter { set, by, epoch, set_epoch, alive, min } => Command::AlterSyncStateSet(AlterSyncStateSet {
                broker_set,
                master: *by,
                master_epoch: *epoch,
                sync_state_set: set.iter().copied().collect(),
                sync_state_set_epoch: *set_epoch,
                alive: ids(alive)?,
                min_in_sync: *min,
                at_ms: self.at(),
            }),
            Step::Fence { by, epoch, set_epoch } => Command::Fence(Fence {
                broker_set,
                master: *by,
                master_epoch: *epoch,
                sync_state_set_epoch: *set_epoch,
                at_ms: self.at(),
            }),
            Step::RemoveDead { ids, epoch, set_epoch } => Command::RemoveDead(RemoveDead {
                broker_set,
                ids: ids.iter().copied().collect(),
                master_epoch: *epoch,
                sync_state_set_epoch: *set_epoch,
                at_ms: self.at(),
            }),
            Step::Clean { ids: some, living, alive } => Command::Clean(Clean {
                broker_set,
                ids: (!some.is_empty()).then(|| some.iter().copied().collect()),
                living: if living.unwrap_or(false) { CleanLiving::Allow } else { CleanLiving::Refuse },
                alive: ids(alive.as_deref().unwrap_or_default())?,
                at_ms: self.at(),
            }),
            Step::Drain { id } => Command::Drain(Drain { broker_set, id: *id, wanted: Drained::Yes, at_ms: self.at() }),
            Step::Undrain { id } => {
                Command::Drain(Drain { broker_set, id: *id, wanted: Drained::No, at_ms: self.at() })
            }
            Step::Note { why } => {
                Command::Note(Note { broker_set, asked: memory::Asked::Switchover, why: why.clone(), at_ms: self.at() })
            }
            Step::Pause { until } => Command::Pause(Pause { broker_set, until_ms: *until, at_ms: self.at() }),
            Step::Promoted { epoch } => Command::Promoted(Promoted {
                broker_set,
                epoch: *epoch,
                committed_ms: self.at() - 991,
                promoted_ms: self.at() - 975,
            }),
            Step::Story | Step::Explain { .. } => return Err("not a command".into()),
            Step::Successor { .. } | Step::Next | Step::History | Step::SnapshotRoundTrip => {
                return Err("not a command".into());
            }
        })
    }

    /// One second between commands, from noon on.
    fn at(&self) -> i64 {
        1_795_262_400_000 + self.index as i64 * 1_000
    }

    fn explain(&self, at: Option<i64>, lives: &str, waiting: &story::Waiting) -> String {
        let life = |text: &str| {
            let (id, state) = text.split_once(':')?;
            let state = match state {
                "alive" => LifeState::Alive,
                "presumed" => LifeState::Presumed,
                "gone" => LifeState::Gone,
                "stalled" => LifeState::DiskStalled { probe_age_ms: 9_000 },
                ms => LifeState::Silent { for_ms: ms.parse().ok() },
            };
            Some(Life { id: id.parse().ok()?, state })
        };
        let lives = lives.split(',').filter_map(life).collect::<Vec<_>>();
        let at = at.map(|it| 1_795_262_400_000 + it * 1_000);
        let none = Memory::default();
        let set = self.replicas.get("a").map(|it| (it, self.replicas.memory("a").unwrap_or(&none)));
        set.map(|(set, memory)| story::explain(set, memory, at, &lives, waiting)).unwrap_or_default()
    }

    fn state(&self) -> String {
        let Some(set) = self.replicas.get("a") else { return "no set".into() };
        let master = set.master.map_or("none".into(), |it| it.to_string());
        let (members, eligible) = (&set.sync_state_set, &set.eligible);
        format!(
            "master {master}@{} set {members:?}@{} eligible {eligible:?}",
            set.master_epoch, set.sync_state_set_epoch
        )
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(why) => format!("refused: {why}"),
        Outcome::Elected(it, members) => {
            format!("elected {:?} at {:?} among {members:?}", it.master, it.master_address)
        }
        Outcome::MasterStillAlive(_) => "master still alive".into(),
        Outcome::Registered(it) => format!("registered; master {:?}", it.master),
        Outcome::Altered(it) => format!("altered to {:?}@{}", it.sync_state_set, it.sync_state_set_epoch),
        other => format!("{other:?}"),
    }
}

impl goldenscript::Runner for Machine {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        match step {
            Step::Next => Ok(format!("next id {}", self.replicas.next_broker_id("a"))),
            Step::History => {
                let lines = self.replicas.get("a").into_iter().flat_map(|it| &it.history);
                let line = |it: &RoleChange| {
                    let unclean = if it.unclean { " UNCLEAN" } else { "" };
                    format!("{:?} -> {:?} epoch {}: {:?}{unclean}", it.from, it.to, it.epoch, it.cause)
                };
                Ok(lines.map(line).collect::<Vec<_>>().join("\n"))
            }
            Step::Successor { alive, to } => {
                let alive = alive.iter().map(|it| candidate(it, None)).collect::<Result<Vec<_>, _>>()?;
                let set = self.replicas.get("a").ok_or("no set")?;
                Ok(set.successor(&alive, *to).map_or_else(|why| format!("no: {why}"), |it| format!("{it:?}")))
            }
            Step::Story => {
                let events = self.replicas.memory("a").into_iter().flat_map(|it| &it.events);
                Ok(events.map(|it| format!("{} {}\n", story::time(it.at_ms), story::line(it))).collect())
            }
            Step::Explain { at, lives, witness, patience, paused } => {
                let waiting = story::Waiting {
                    patience_ms: *patience,
                    witness: witness.clone(),
                    paused_until_ms: *paused,
                    preferred: None,
                };
                Ok(self.explain(*at, lives.as_deref().unwrap_or_default(), &waiting))
            }
            Step::SnapshotRoundTrip => {
                let back: Replicas = serde_json::from_slice(&serde_json::to_vec(&self.replicas)?)?;
                assert_eq!(back, self.replicas);
                Ok("same".into())
            }
            _ => {
                self.index += 1;
                let command = self.command(step)?;
                // As it comes out of the Raft log, so that every command's encoding is tried too.
                let command = serde_json::from_slice(&serde_json::to_vec(&command)?)?;
                let outcome = self.replicas.apply(self.index, command);
                Ok(format!("{}\n{}", told(&outcome), self.state()))
            }
        }
    }
}
