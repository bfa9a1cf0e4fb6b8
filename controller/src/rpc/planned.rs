//! Planned changes (S10): switchover (31004), drain (31005), pause (31006).
//!
//! ```text
//! leader ──hold writes──▶ master: appends wait, the target gets the whole log ──▶ its end
//!        ──Elect(Designated, expect this master at this epoch)──▶ Raft ──▶ notifications as after any election
//! ```
//! Whatever fails before the election leaves the master as it was. If this leader dies in between, the master goes on
//! by its own clock, and acknowledges nothing meanwhile that the target does not have.

use super::{Failure, Service, code_of, unexpected};
use crate::replicas::{
    BrokerSet, Cause, Command as Change, Drain, Drained, Elect, ElectMode, NoSuccessor, Outcome, Pause, SetSummary,
    Successor, UncleanElection,
};
use node::clock::wall_ms;
use proto::code::{request, response};
use proto::header::{
    DrainRequest, HoldWritesRequest, HoldWritesResponse, PauseRequest, ReleaseWritesRequest, SwitchoverRequest,
    SwitchoverResponse,
};
use proto::{BrokerId, Command, Offset};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a target may take to get what it lacks. Clients' sends wait meanwhile.
const DRAIN_MS: i64 = 1_000;
/// How long the master waits for the election afterwards: a commit takes milliseconds.
const HOLD_MS: i64 = 1_000;
/// An answer that is this much later than the drain's limit is lost.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);
/// A pause that is forgotten ends by itself.
const LONGEST_PAUSE_MS: i64 = 30 * 86_400_000;

/// What a switchover came to.
struct Switched {
    plan: Successor,
    summary: SetSummary,
    end: Offset,
    drained_in: Duration,
    elected_in: Duration,
}

impl From<NoSuccessor> for Failure {
    fn from(why: NoSuccessor) -> Failure {
        let code = match why {
            NoSuccessor::Unknown { .. } | NoSuccessor::NoMaster(_) => response::CONTROLLER_MASTER_NOT_AVAILABLE,
            _ => response::CONTROLLER_ELECT_MASTER_FAILED,
        };
        Failure::Text(code, why.to_string())
    }
}

fn failed(text: String) -> Failure {
    Failure::Text(response::CONTROLLER_ELECT_MASTER_FAILED, text)
}

impl Service {
    pub(super) async fn switchover(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: SwitchoverRequest = it.header()?;
        let wanted = it.broker_id.filter(|id| *id >= 0);
        let set = self.set(&it.broker_name).await?;
        if let (Some(asked), Some(master)) = (it.master_broker_id, set.master)
            && asked != master
        {
            return Err(NoSuccessor::NotTheMaster { broker_set: set.name, asked, master }.into());
        }
        if it.dry_run.unwrap_or(false) {
            let plan = self.plan(&set, wanted).await?;
            return Ok(Command::response(response::SUCCESS).with_header(&planned(&set, &plan)));
        }
        let done = self.switch(&set, wanted).await?;
        let header = SwitchoverResponse {
            master_epoch: done.summary.master_epoch,
            end_offset: Some(done.end),
            drain_mills: Some(done.drained_in.as_millis() as i64),
            elect_mills: Some(done.elected_in.as_millis() as i64),
            ..planned(&set, &done.plan)
        };
        Ok(Command::response(response::SUCCESS).with_header(&header))
    }

    async fn set(&self, broker_set: &str) -> Result<BrokerSet, Failure> {
        let name = broker_set.to_owned();
        let found = self.raft.read(move |it| it.get(&name).cloned()).await?;
        found.ok_or_else(|| {
            let text = format!("no broker set {broker_set} is registered in this controller group");
            Failure::Text(response::CONTROLLER_BROKER_METADATA_NOT_EXIST, text)
        })
    }

    async fn plan(&self, set: &BrokerSet, wanted: Option<BrokerId>) -> Result<Successor, Failure> {
        let name = set.name.clone();
        let alive = self.watch.look(move |now, it| it.liveness.candidates(now, &name)).await.unwrap_or_default();
        Ok(set.successor(&alive, wanted)?)
    }

    /// Drain, then elect.
    async fn switch(&self, set: &BrokerSet, wanted: Option<BrokerId>) -> Result<Switched, Failure> {
        let plan = self.plan(set, wanted).await?;
        let begun = Instant::now();
        let end = self.hold_writes(set, &plan).await?;
        let drained_in = begun.elapsed();
        let elected = self.elect_designated(set, &plan, end).await;
        let elected_in = begun.elapsed() - drained_in;
        match elected {
            Ok(summary) => {
                let (broker_set, epoch) = (&set.name, summary.master_epoch);
                info!(
                    broker_set,
                    from = plan.from,
                    to = plan.to,
                    epoch,
                    end,
                    ?drained_in,
                    ?elected_in,
                    "switched over"
                );
                Ok(Switched { plan, summary, end, drained_in, elected_in })
            }
            Err(why) => {
                // An election whose outcome is unknown may still happen: then the master's own clock decides.
                if !matches!(why, Failure::Raft(_)) {
                    self.release_writes(set, plan.from).await;
                }
                Err(why)
            }
        }
    }

    /// Ends when the target has the master's whole log and the master appends no more, or with the reason why not.
    async fn hold_writes(&self, set: &BrokerSet, plan: &Successor) -> Result<Offset, Failure> {
        let header = HoldWritesRequest {
            broker_name: set.name.clone(),
            master_epoch: set.master_epoch,
            target_broker_id: plan.to,
            drain_mills: DRAIN_MS,
            hold_mills: HOLD_MS,
        };
        let address = set.replicas.get(&plan.from).map(|it| it.address.as_str()).unwrap_or_default();
        let limit = Duration::from_millis(DRAIN_MS as u64) + ANSWER_MARGIN;
        let request = Command::request(request::BATON_HOLD_WRITES).with_header(&header);
        let answer = self.client.call(address, request, limit).await;
        let answer = answer.map_err(|e| failed(format!("nothing was changed: the master did not answer: {e}")))?;
        if answer.code != response::SUCCESS {
            let why = answer.remark.unwrap_or_default();
            return Err(failed(format!("nothing was changed: the master at {address} did not drain: {why}")));
        }
        Ok(answer.header::<HoldWritesResponse>()?.end_offset)
    }

    async fn release_writes(&self, set: &BrokerSet, master: BrokerId) {
        let header = ReleaseWritesRequest { broker_name: set.name.clone(), master_epoch: set.master_epoch };
        let address = set.replicas.get(&master).map(|it| it.address.as_str()).unwrap_or_default();
        let request = Command::request(request::BATON_RELEASE_WRITES).with_header(&header);
        if let Err(e) = self.client.call(address, request, ANSWER_MARGIN).await {
            warn!(broker_set = set.name, %e, "the master was not told to go on; it does by itself within {HOLD_MS} ms");
        }
    }

    async fn elect_designated(
        &self,
        set: &BrokerSet,
        plan: &Successor,
        drained_to: Offset,
    ) -> Result<SetSummary, Failure> {
        let name = set.name.clone();
        let alive = self.watch.look(move |now, it| it.liveness.candidates(now, &name)).await.unwrap_or_default();
        let at_ms = wall_ms();
        let elect = Elect {
            broker_set: set.name.clone(),
            requester: Some(plan.to),
            mode: ElectMode::Designated,
            alive,
            // The target is a member of the set or is not elected.
            unclean: UncleanElection::Forbidden,
            expect: Some((Some(plan.from), set.master_epoch)),
            cause: Cause::Switchover { drained_to },
            detected_ms: at_ms,
            at_ms,
        };
        match self.propose(Change::Elect(elect)).await? {
            Outcome::Elected(summary, _) => Ok(summary),
            Outcome::Refused(why) => Err(Failure::Text(code_of(&why), format!("nothing was changed: {why}"))),
            Outcome::Unchanged | Outcome::MasterStillAlive(_) => {
                Err(failed(format!("the master of {} has changed meanwhile; look and try again", set.name)))
            }
            other => Err(unexpected(&other)),
        }
    }

    // ---- drain

    pub(super) async fn drain(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: DrainRequest = it.header()?;
        let targets = self.targets(&it).await?;
        let wanted = if it.drain { Drained::Yes } else { Drained::No };
        if it.drain {
            // All or nothing: a host is not taken out of half of its sets.
            for (set, id) in targets.iter().filter(|(set, id)| !set.drained.contains(id)) {
                set.check_drain(*id).map_err(|why| Failure::Text(code_of(&why), why.to_string()))?;
            }
        }
        let (mut text, mut failures) = (String::new(), 0);
        for (set, id) in targets {
            match self.drain_one(&set, id, wanted).await {
                Ok(line) => text += &line,
                Err(why) => {
                    failures += 1;
                    let why = why.answer().remark.unwrap_or_default();
                    text += &format!("replica {id} of {}: drained, but it is still the master: {why}\n", set.name);
                }
            }
        }
        match failures {
            0 => Ok(Command::response(response::SUCCESS).with_body(text)),
            _ => Err(failed(text.trim_end().to_owned())),
        }
    }

    async fn targets(&self, it: &DrainRequest) -> Result<Vec<(BrokerSet, BrokerId)>, Failure> {
        let illegal = |text: &str| Failure::Text(response::CONTROLLER_INVALID_REQUEST, text.to_owned());
        match (&it.host, &it.broker_name, it.broker_id) {
            (Some(host), None, None) => {
                let (host, named) = (host.clone(), host.clone());
                let found = self.raft.read(move |all| {
                    let on_host = |set: &BrokerSet| set.on_host(&host).map(|id| (set.clone(), id)).collect::<Vec<_>>();
                    all.iter().flat_map(on_host).collect::<Vec<_>>()
                });
                match found.await? {
                    none if none.is_empty() => Err(illegal(&format!("no replica is registered at {named}"))),
                    found => Ok(found),
                }
            }
            (None, Some(broker_set), Some(id)) => {
                let set = self.set(broker_set).await?;
                match set.replicas.contains_key(&id) {
                    true => Ok(vec![(set, id)]),
                    false => Err(NoSuccessor::Unknown { broker_set: set.name, id }.into()),
                }
            }
            _ => Err(illegal("drain: want a host, or a broker set and the id of one of its replicas")),
        }
    }

    /// The flag first, so that the replica is not elected again.
    async fn drain_one(&self, set: &BrokerSet, id: BrokerId, wanted: Drained) -> Result<String, Failure> {
        let (name, at_ms) = (&set.name, wall_ms());
        let outcome = self.propose(Change::Drain(Drain { broker_set: name.clone(), id, wanted, at_ms })).await?;
        let before = match outcome {
            Outcome::Changed => "",
            Outcome::Unchanged => " already",
            Outcome::Refused(why) => return Err(Failure::Text(code_of(&why), why.to_string())),
            other => return Err(unexpected(&other)),
        };
        if wanted == Drained::No {
            return Ok(format!("replica {id} of {name}: not drained{before}\n"));
        }
        let set = self.set(name).await?;
        if set.master != Some(id) {
            return Ok(format!("replica {id} of {name}: drained{before}\n"));
        }
        let done = self.switch(&set, None).await?;
        let (to, epoch) = (done.plan.to, done.summary.master_epoch);
        Ok(format!("replica {id} of {name}: drained{before}; {to} is master at epoch {epoch}\n"))
    }

    // ---- pause

    pub(super) async fn pause(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: PauseRequest = it.header()?;
        if !(0..=LONGEST_PAUSE_MS).contains(&it.for_mills) {
            let text = format!("pause: forMills is {}: want 0 to {LONGEST_PAUSE_MS} (30 days)", it.for_mills);
            return Err(Failure::Text(response::CONTROLLER_INVALID_REQUEST, text));
        }
        let names = match it.broker_name {
            Some(name) => vec![self.set(&name).await?.name],
            None => self.raft.read(|all| all.iter().map(|it| it.name.clone()).collect::<Vec<_>>()).await?,
        };
        let at_ms = wall_ms();
        let until_ms = if it.for_mills == 0 { 0 } else { at_ms + it.for_mills };
        let mut text = String::new();
        for broker_set in names {
            let change = Pause { broker_set: broker_set.clone(), until_ms, at_ms };
            text += &match self.propose(Change::Pause(change)).await? {
                Outcome::Changed if until_ms > 0 => {
                    format!("{broker_set}: no automatic election for {} s\n", it.for_mills / 1_000)
                }
                Outcome::Changed => format!("{broker_set}: elections go on\n"),
                Outcome::Unchanged => format!("{broker_set}: not paused\n"),
                Outcome::Refused(why) => format!("{broker_set}: {why}\n"),
                other => return Err(unexpected(&other)),
            };
        }
        Ok(Command::response(response::SUCCESS).with_body(text))
    }
}

/// What an operator wants to know before it is done.
fn planned(set: &BrokerSet, plan: &Successor) -> SwitchoverResponse {
    SwitchoverResponse {
        old_master_broker_id: plan.from,
        master_broker_id: plan.to,
        master_address: set.replicas.get(&plan.to).map(|it| it.address.clone()).unwrap_or_default(),
        master_epoch: set.master_epoch,
        lag: plan.lag,
        in_sync_others: plan.in_sync_others as i32,
        min_in_sync_replicas: set.min_in_sync,
        ..Default::default()
    }
}
