//! Planned changes (S10): switchover (31004), drain (31005), pause (31006).

use super::{Failure, Service, code_of, unexpected};
use crate::replicas::{BrokerSet, Command as Change, Drain, Drained, NoSuccessor, Outcome, Pause, Successor};
use crate::switchover::{Reason, SwitchError};
use node::clock::wall_ms;
use proto::code::response;
use proto::header::{DrainRequest, PauseRequest, SwitchoverRequest, SwitchoverResponse};
use proto::{BrokerId, Command};

/// A pause that is forgotten ends by itself.
const LONGEST_PAUSE_MS: i64 = 30 * 86_400_000;

impl From<NoSuccessor> for Failure {
    fn from(why: NoSuccessor) -> Failure {
        let code = match why {
            NoSuccessor::Unknown { .. } | NoSuccessor::NoMaster(_) => response::CONTROLLER_MASTER_NOT_AVAILABLE,
            _ => response::CONTROLLER_ELECT_MASTER_FAILED,
        };
        Failure::Text(code, why.to_string())
    }
}

impl From<SwitchError> for Failure {
    fn from(why: SwitchError) -> Failure {
        match why {
            SwitchError::NoSuccessor(why) => why.into(),
            SwitchError::Raft(why) => why.into(),
            SwitchError::Refused(ref refusal) => Failure::Text(code_of(refusal), why.to_string()),
            SwitchError::Failed(text) => failed(text),
        }
    }
}

/// RocketMQ reads everything but `true` as false. Where that would do something instead of showing it, ours asks again.
fn flag(it: &Command, field: &str) -> Result<(), Failure> {
    let is_flag = |it: &String| it.eq_ignore_ascii_case("true") || it.eq_ignore_ascii_case("false");
    match it.ext.get(field).filter(|it| !is_flag(it)) {
        None => Ok(()),
        Some(other) => {
            let text = format!("field `{field}` is `{other}`: want true or false");
            Err(Failure::Text(response::CONTROLLER_INVALID_REQUEST, text))
        }
    }
}

fn failed(text: String) -> Failure {
    Failure::Text(response::CONTROLLER_ELECT_MASTER_FAILED, text)
}

impl Service {
    pub(super) async fn switchover(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        flag(it, "dryRun")?;
        let it: SwitchoverRequest = it.header()?;
        let wanted = it.broker_id.filter(|id| *id >= 0);
        let set = self.set(&it.broker_name).await?;
        if let (Some(asked), Some(master)) = (it.master_broker_id, set.master)
            && asked != master
        {
            return Err(NoSuccessor::NotTheMaster { broker_set: set.name, asked, master }.into());
        }
        if it.dry_run.unwrap_or(false) {
            let plan = self.switchover.plan(&set, wanted).await?;
            return Ok(Command::response(response::SUCCESS).with_header(&planned(&set, &plan)));
        }
        let done = self.switchover.run(&set, wanted, Reason::Asked).await?;
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

    // ---- drain

    pub(super) async fn drain(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        flag(it, "drain")?;
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
        let done = self.switchover.run(&set, None, Reason::Asked).await?;
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
