//! Golden scripts: inputs at virtual times, and every output.

use super::*;
use crate::replicas::{Replica, RoleChange, Zone};
use std::{collections::VecDeque, error::Error, path::Path};

test_each_file::test_each_path! { in "./controller/src/liveness/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Table::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// One broker set `a` whose replicas `1..=3` are at `h1..h3`; every heartbeat has a timeout of 2000 ms. Each step
/// prints its outputs.
struct Table {
    liveness: Liveness,
    now: Millis,
    /// The last probe of each replica: what `probed` answers.
    attempts: BTreeMap<BrokerId, u64>,
}

impl Default for Table {
    fn default() -> Self {
        let settings = Settings {
            unclean: UncleanElection::Forbidden,
            proof_of_death: true,
            disk_stall: 1_000,
            default_timeout: 2_000,
            review_interval: 60_000,
            wall_ahead: 0,
            witness_wait: 0,
            flap_changes: 0,
            flap_window: 60_000,
            preferred_delay: None,
        };
        Table { liveness: Liveness::new(settings), now: 10_000, attempts: BTreeMap::new() }
    }
}

#[derive(goldenscript::Command)]
enum Step {
    /// The committed state.
    View {
        set: Vec<BrokerId>,
        #[arg(key)]
        master: Option<BrokerId>,
        #[arg(key)]
        epoch: Epoch,
        #[arg(key)]
        boots: Option<String>,
        #[arg(key)]
        paused_until: Option<i64>,
        /// Automatic changes so far, one a second, the last now.
        #[arg(key)]
        flips: Option<i64>,
        /// Where the replicas' replication listens: `<this><id>`.
        #[arg(key)]
        ha: Option<String>,
        #[arg(key)]
        drained: Option<BrokerId>,
    },
    Beat {
        id: BrokerId,
        #[arg(key)]
        on: u64,
        #[arg(key)]
        epoch: Option<Epoch>,
        #[arg(key)]
        end: Option<i64>,
        #[arg(key)]
        boot: Option<String>,
        #[arg(key)]
        disk: Option<Millis>,
        #[arg(key)]
        zone: Option<String>,
        #[arg(key)]
        priority: Option<i32>,
        #[arg(key)]
        set: Option<String>,
        #[arg(key)]
        lease: Option<String>,
    },
    Closed {
        connection: u64,
    },
    Probed {
        id: BrokerId,
        result: String,
    },
    /// The HA address accepted a connection.
    Reached {
        id: BrokerId,
        ha_address: String,
    },
    Leading,
    Following,
    Settled,
    /// Mastership returns to whom it is preferred for so long.
    Prefer {
        delay: Millis,
    },
    /// Another set, whose master is on the host of this one's replica `on`.
    Elsewhere {
        name: String,
        #[arg(key)]
        on: BrokerId,
    },
    Removed,
    /// A planned change begins.
    Switching,
    /// What `return` asked for is over.
    Returned {
        #[arg(key)]
        set: Option<String>,
    },
    /// Lets time pass, with ticks when they are due.
    Pass {
        ms: Millis,
    },
    NoProof,
    /// Other controllers are asked, for so long at most.
    Witnesses {
        wait: Millis,
    },
    /// How long ago another controller heard it.
    Witnessed {
        id: BrokerId,
        #[arg(key)]
        ago: Option<Millis>,
    },
    /// So many automatic changes are allowed within a minute.
    Flaps {
        most: usize,
    },
}

fn view(
    set: &[BrokerId],
    master: Option<BrokerId>,
    master_epoch: Epoch,
    boots: Option<&str>,
    ha: Option<&str>,
) -> BrokerSet {
    let of = |prefix: Option<&str>, id: BrokerId| prefix.map(|it| format!("{it}{id}"));
    let replica = |id: BrokerId| Replica {
        address: format!("h{id}"),
        boot_id: of(boots, id),
        ha_address: of(ha, id),
        ..Default::default()
    };
    BrokerSet {
        name: "a".into(),
        replicas: (1..=3).map(|id| (id, replica(id))).collect(),
        master,
        master_epoch,
        sync_state_set: set.iter().copied().collect(),
        sync_state_set_epoch: master_epoch * 10 + set.len() as i32,
        min_in_sync: 1,
        ..Default::default()
    }
}

fn flipped(now: Millis, flips: i64) -> VecDeque<RoleChange> {
    let change = |ago: i64| RoleChange {
        detected_ms: 0,
        proposed_ms: now as i64 - ago * 1_000,
        from: None,
        to: Some(1),
        epoch: 1,
        sync_state_set: BTreeSet::new(),
        cause: Cause::NoMaster,
        unclean: false,
    };
    (0..flips).rev().map(change).collect()
}

fn told(output: &Output) -> String {
    match output {
        Output::Answer { lease, registered, master_epoch, .. } => {
            let again = if *registered { "" } else { ", register again" };
            format!("answer: lease {lease:?}, epoch {master_epoch:?}{again}")
        }
        Output::Probe { id, address, ha_address: None, .. } => format!("probe {id} at {address}"),
        Output::Probe { id, address, ha_address: Some(ha), .. } => format!("probe {id} at {address} and {ha}"),
        Output::Reach { id, ha_address, .. } => format!("reach {id} at {ha_address}"),
        Output::Elect { expect, cause, alive, .. } => {
            let zone = |zone| if zone == Zone::Other { " (other zone)" } else { "" };
            let electable = |it: bool| if it { "" } else { "?" };
            let alive = alive.iter().map(|it| format!("{}{}{}", electable(it.electable), it.id, zone(it.zone)));
            format!("elect instead of {expect:?}: {cause:?}; alive {:?}", alive.collect::<Vec<_>>())
        }
        Output::RemoveDead { ids, .. } => format!("remove dead {ids:?}"),
        Output::Notify { id, .. } => format!("notify {id}"),
        Output::AskWitnesses { id, .. } => format!("ask witnesses about {id}"),
        Output::Return { broker_set, from, to } => format!("{broker_set} returns from {from} to {to}"),
        Output::Flapping { changes, wait, .. } => format!("flapping: {changes} changes, wait {wait}"),
    }
}

impl Table {
    fn step(&mut self, input: Input) -> String {
        let mut out = Vec::new();
        self.liveness.step(self.now, input, &mut out);
        for it in &out {
            if let Output::Probe { id, attempt, .. } = it {
                self.attempts.insert(*id, *attempt);
            }
        }
        out.iter().map(|it| format!("{} {}\n", self.now, told(it))).collect()
    }

    fn pass(&mut self, ms: Millis) -> String {
        let (end, mut all) = (self.now + ms, String::new());
        while let Some(due) = self.liveness.next_due().filter(|it| *it <= end) {
            self.now = self.now.max(due);
            all += &self.step(Input::Tick);
        }
        self.now = end;
        all
    }
}

impl goldenscript::Runner for Table {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let broker_set = "a".to_owned();
        let input = match step {
            Step::Pass { ms } => return Ok(self.pass(*ms)),
            Step::Witnesses { wait } => {
                self.liveness.settings.witness_wait = *wait;
                return Ok(String::new());
            }
            Step::Flaps { most } => {
                self.liveness.settings.flap_changes = *most;
                return Ok(String::new());
            }
            Step::Prefer { delay } => {
                self.liveness.settings.preferred_delay = Some(*delay);
                return Ok(String::new());
            }
            Step::Elsewhere { name, on } => {
                let other = view(&[1, 2], Some(*on), 1, Some("b"), None);
                Input::View(Arc::new(BrokerSet { name: name.clone(), ..other }))
            }
            Step::Removed => Input::Removed { broker_set },
            Step::Switching => Input::Switching { broker_set },
            Step::Returned { set } => Input::Returned { broker_set: set.clone().unwrap_or(broker_set) },
            Step::NoProof => {
                self.liveness.settings.proof_of_death = false;
                return Ok(String::new());
            }
            Step::View { set, master, epoch, boots, paused_until, flips, ha, drained } => {
                let paused_until_ms = paused_until.unwrap_or(0);
                Input::View(Arc::new(BrokerSet {
                    paused_until_ms,
                    drained: drained.iter().copied().collect(),
                    history: flipped(self.now, flips.unwrap_or(0)),
                    ..view(set, *master, *epoch, boots.as_deref(), ha.as_deref())
                }))
            }
            Step::Beat { id, on, epoch, end, boot, disk, zone, priority, set, lease } => Input::Heartbeat(Heartbeat {
                broker_set: set.clone().unwrap_or(broker_set),
                id: *id,
                connection: *on,
                address: format!("h{id}"),
                timeout: 2_000,
                epoch: epoch.unwrap_or(1),
                max_offset: end.unwrap_or(100),
                confirm_offset: 0,
                priority: priority.unwrap_or(i32::MAX),
                boot_id: boot.clone(),
                min_in_sync: None,
                disk_probe_age: *disk,
                zone: zone.clone(),
                raft_lease: if lease.as_deref() == Some("lost") { RaftLease::NotHeld } else { RaftLease::Held },
            }),
            Step::Closed { connection } => Input::Closed { connection: *connection },
            Step::Probed { id, result } => {
                let result = match result.as_str() {
                    "alive" => Probed::Alive,
                    "refused" => Probed::Refused,
                    "unknown" => Probed::Unknown,
                    other => return Err(format!("no such result: {other}").into()),
                };
                let attempt = self.attempts.get(id).copied().unwrap_or_default();
                Input::Probed { broker_set, id: *id, attempt, result }
            }
            Step::Reached { id, ha_address } => Input::Reached { broker_set, id: *id, ha_address: ha_address.clone() },
            Step::Leading => Input::Leading,
            Step::Following => Input::Following,
            Step::Witnessed { id, ago } => {
                Input::Witnessed { broker_set, id: *id, heard: ago.map(|it| (it, "n1".to_owned())) }
            }
            Step::Settled => Input::Settled { broker_set },
        };
        Ok(self.step(input))
    }
}
