//! A set's memory in words: one line per event, and the paragraph that answers "why is it so?".
//!
//! Times are UTC, so that what three controllers and a graph say can be laid side by side.

use super::considered::{Considered, Verdict};
use super::elect::Standing;
use super::memory::{Asked, Event, Memory, Trigger, What};
use super::set::{BrokerSet, Cause};
use jiff::Timestamp;
use proto::BrokerId;
use std::collections::BTreeSet;

/// What the leader knows at this moment of a replica's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub id: BrokerId,
    pub state: LifeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeState {
    Alive,
    /// Heard, but may not be made master: no connection to the leader, or not heard since it leads.
    Presumed,
    DiskStalled {
        probe_age_ms: u64,
    },
    /// Its connection closed and its address refused another.
    Gone,
    Silent {
        for_ms: Option<u64>,
    },
}

/// What the leader itself is waiting for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// It holds elections back because the master changed too often.
    pub patience_ms: Option<u64>,
    /// Another controller has heard the master within its timeout.
    pub witness: Option<String>,
    /// An operator's pause that is not over yet (S10).
    pub paused_until_ms: Option<i64>,
    /// Who is preferred to the master, and in how many milliseconds it takes over.
    pub preferred: Option<(BrokerId, u64)>,
}

/// `2026-11-21 12:03:07.120`.
pub fn time(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => millis.to_string(),
    }
}

/// One event, without its time.
pub fn line(event: &Event) -> String {
    match &event.what {
        What::Role { from, to, epoch, sync_state_set, cause, standing, considered, .. } => {
            let change = match (from, to) {
                (_, Some(to)) => {
                    format!("master {} -> {to}, epoch {epoch}, SyncStateSet {}", or_none(*from), ids(sync_state_set))
                }
                (_, None) => format!("master {} -> none, epoch {epoch}", or_none(*from)),
            };
            let unclean =
                if *standing == Some(Standing::Unclean) { " UNCLEAN: acknowledged messages may be lost." } else { "" };
            let losers = losers(considered, *from);
            let phases = phases(event).map(|it| format!(" {it}.")).unwrap_or_default();
            format!("{change}: {}.{unclean}{losers}{phases}", cause_text(cause, *from))
        }
        What::SyncStateSet { before, after, epoch, trigger } => {
            format!("SyncStateSet {} -> {}, epoch {epoch}: {}", ids(before), ids(after), trigger_text(*trigger))
        }
        What::Drain { id } => format!("replica {id} drained: an operator keeps mastership away from it"),
        What::Undrain { id } => format!("replica {id} not drained any more"),
        What::Pause { until_ms } => format!("an operator paused automatic elections until {}", time(*until_ms)),
        What::Resume {} => "an operator ended the pause of automatic elections".to_owned(),
        What::Refused { asked, by, why, times, last_ms, .. } => {
            let by = by.map(|it| format!(" of replica {it}")).unwrap_or_default();
            let often = if *times > 1 { format!(" ({times} times, last {})", time(*last_ms)) } else { String::new() };
            format!("{}{by} refused: {why}{often}", asked_text(*asked))
        }
    }
}

/// The state of a set at a moment, and how it came about; `at_ms` none: now.
pub fn explain(set: &BrokerSet, memory: &Memory, at_ms: Option<i64>, now: &[Life], waiting: &Waiting) -> String {
    let until = at_ms.unwrap_or(i64::MAX);
    let role = memory.events.iter().rev().find(|it| it.at_ms <= until && matches!(it.what, What::Role { .. }));
    let mut parts = Vec::new();
    match role {
        Some(event) => parts.push(decision(set, event, at_ms)),
        None if set.master_epoch == 0 => parts
            .push(format!("{} has never had a master: no registered replica has asked for an election yet.", set.name)),
        None if memory.events.iter().any(|it| matches!(it.what, What::Role { cause: Cause::First, .. })) => {
            parts.push(format!("{} had no master yet.", set.name));
        }
        None => parts.push(format!("What happened to {} before that is no longer remembered.", set.name)),
    }
    let refused = memory.events.iter().rev().take_while(|it| role.is_none_or(|role| it.index > role.index));
    let refused = refused.filter(|it| it.at_ms <= until && matches!(it.what, What::Refused { .. }));
    parts.extend(refused.take(1).map(|it| format!("Since then, at {}: {}.", time(it.at_ms), line(it))));
    match at_ms {
        Some(at) => {
            parts.extend(orders(memory, at));
            parts.extend(next(memory, at));
        }
        None => parts.push(present(set, now, waiting)),
    }
    parts.join("\n") + "\n"
}

fn decision(set: &BrokerSet, event: &Event, at_ms: Option<i64>) -> String {
    let What::Role { from, to, epoch, cause, standing, sync_state_set, considered, .. } = &event.what else {
        return String::new();
    };
    let since = time(event.at_ms);
    let verb = if at_ms.is_some() { "had" } else { "has" };
    let mut text = match to {
        Some(id) => {
            let address = set.replicas.get(id).map(|it| format!(" ({})", it.address)).unwrap_or_default();
            format!("{} {verb} broker {id}{address} as master at epoch {epoch} since {since} UTC", set.name)
        }
        None => format!("{} {verb} no master since {since} UTC", set.name),
    };
    text += &format!(", because {}.", cause_text(cause, *from));
    if let Some(id) = to {
        text += &format!(" {}", right(*id, *standing));
        text += &format!(" The SyncStateSet became {}.", ids(sync_state_set));
    }
    text += &losers(considered, *from);
    phases(event).iter().for_each(|it| text += &format!(" {it}."));
    text
}

/// Why the winner could be it.
fn right(id: BrokerId, standing: Option<Standing>) -> String {
    match standing {
        Some(Standing::First) => format!("Broker {id} was the first to ask."),
        Some(Standing::Eligible) => {
            format!("Broker {id} had left the SyncStateSet, but nothing was acknowledged since: it lacks nothing.")
        }
        Some(Standing::Unclean) => format!(
            "Broker {id} was NOT in the SyncStateSet: the election was unclean (enableElectUncleanMaster), \
             acknowledged messages may be lost."
        ),
        Some(Standing::InSync) | None => {
            format!("Broker {id} was in the SyncStateSet, so it had every acknowledged message.")
        }
    }
}

fn losers(considered: &[Considered], from: Option<BrokerId>) -> String {
    let lost = considered.iter().filter(|it| it.verdict != Verdict::Won);
    lost.map(|it| format!(" Broker {}{}: {}.", it.id, log(it), verdict_text(it, from))).collect()
}

fn log(it: &Considered) -> String {
    match it.epoch.zip(it.max_offset) {
        Some((epoch, end)) => format!(" (log epoch {epoch}, end {end})"),
        None => String::new(),
    }
}

fn verdict_text(it: &Considered, from: Option<BrokerId>) -> &'static str {
    match it.verdict {
        Verdict::Won => "elected",
        Verdict::NotAlive if from == Some(it.id) => "the old master",
        Verdict::NotAlive => "not alive",
        Verdict::NotElectable => "not connected to the leader, or its disk takes no writes",
        Verdict::NotDesignated => "another one was asked for",
        Verdict::NotInSync => "not in the SyncStateSet, it may lack acknowledged messages",
        Verdict::LowerPriority => "the other's brokerElectionPriority is smaller",
        Verdict::Drained => "drained by an operator",
        Verdict::OlderEpoch => "its log ends in an older epoch",
        Verdict::ShorterLog => "its log is shorter",
        Verdict::SameZone => "as good, but in the old master's zone",
        Verdict::LargerId => "as good, but its id is larger",
    }
}

fn cause_text(cause: &Cause, from: Option<BrokerId>) -> String {
    let master = from.map_or("the master".to_owned(), |it| format!("broker {it}"));
    match cause {
        Cause::First => "the set had none before".to_owned(),
        Cause::Requested { by } => format!("broker {by} asked while no master was alive"),
        Cause::Designated { id } => format!("an operator chose broker {id} (electMaster)"),
        Cause::ConnectionClosedAndRefused => {
            format!("the process of {master} was gone (its connection closed and its address refused another)")
        }
        Cause::HeartbeatExpired { silent_ms } => format!("{master} was not heard for {silent_ms} ms"),
        Cause::DiskStalled { probe_age_ms } => {
            format!("the disk of {master} had taken no write for {probe_age_ms} ms")
        }
        Cause::Restarted => format!("{master} restarted, which ends its term"),
        Cause::NoMaster => "there was none, and a replica that may be one was alive".to_owned(),
        Cause::Cleaned => format!("an operator erased {master} (cleanBrokerMetadata)"),
        Cause::Switchover { drained_to } => {
            format!("it was moved as planned, after the successor had the whole log (up to {drained_to})")
        }
        Cause::Preferred { drained_to } => {
            format!("it returned to the preferred replica, after that one had the whole log (up to {drained_to})")
        }
    }
}

fn trigger_text(trigger: Trigger) -> String {
    match trigger {
        Trigger::Master { id } => format!("master {id} asked"),
        Trigger::ProofOfDeath => "the process of who left is gone".to_owned(),
        Trigger::UncleanRestart { id } => format!("broker {id} restarted and may have lost bytes it had acknowledged"),
        Trigger::Cleaned => "an operator erased a replica".to_owned(),
        Trigger::Election => "an election".to_owned(),
        Trigger::Other => "another change".to_owned(),
    }
}

fn asked_text(asked: Asked) -> &'static str {
    match asked {
        Asked::BrokerId => "broker id",
        Asked::Registration => "registration",
        Asked::Election => "election",
        Asked::SyncStateSet => "SyncStateSet",
        Asked::Cleaning => "cleaning",
        Asked::Draining => "draining",
        Asked::Switchover => "switchover",
        Asked::Other => "request",
    }
}

/// `Seen 12:03:07.100, proposed +3 ms, committed +9 ms, acting +22 ms`.
fn phases(event: &Event) -> Option<String> {
    let What::Role { detected_ms, committed_ms, promoted_ms, to: Some(_), .. } = &event.what else { return None };
    let after = |name: &str, at: i64| format!("{name} +{} ms", (at - detected_ms).max(0));
    let phases = [("committed", committed_ms), ("acting", promoted_ms)];
    let phases = phases.into_iter().filter_map(|(name, at)| Some(after(name, (*at)?)));
    let all = [format!("Seen {}", time(*detected_ms)), after("proposed", event.at_ms)].into_iter().chain(phases);
    Some(all.collect::<Vec<_>>().join(", "))
}

/// What an operator had ordered by then that still held.
fn orders(memory: &Memory, at: i64) -> Option<String> {
    let (mut drained, mut paused) = (BTreeSet::new(), None);
    for event in memory.events.iter().take_while(|it| it.at_ms <= at) {
        match event.what {
            What::Drain { id } => drop(drained.insert(id)),
            What::Undrain { id } => drop(drained.remove(&id)),
            What::Pause { until_ms } => paused = Some(until_ms),
            What::Resume {} => paused = None,
            _ => {}
        }
    }
    let paused = paused
        .filter(|until| at < *until)
        .map(|until| format!("Automatic elections were paused by an operator until {} UTC.", time(until)));
    let drained = Some(drained).filter(|it| !it.is_empty()).map(|it| format!("Drained by an operator: {}.", ids(&it)));
    Some(paused.into_iter().chain(drained).collect::<Vec<_>>().join(" ")).filter(|it| !it.is_empty())
}

fn next(memory: &Memory, at: i64) -> Option<String> {
    let event = memory.events.iter().find(|it| it.at_ms > at && matches!(it.what, What::Role { .. }));
    Some(match event {
        Some(event) => format!("The next change came at {} UTC: {}", time(event.at_ms), line(event)),
        None => "The master has not changed since.".to_owned(),
    })
}

/// Who lives, and if there is no master what has to happen.
fn present(set: &BrokerSet, now: &[Life], waiting: &Waiting) -> String {
    let mut text = String::from("Now:");
    for it in now {
        let member = match (set.sync_state_set.contains(&it.id), set.eligible.contains(&it.id)) {
            (true, _) => "in the SyncStateSet",
            (false, true) => "eligible",
            (false, false) => "not in the SyncStateSet",
        };
        let drained = if set.drained.contains(&it.id) { ", drained by an operator" } else { "" };
        text += &format!(" broker {} is {}, {member}{drained};", it.id, life(it.state));
    }
    text.pop();
    text.push('.');
    if let Some(controller) = &waiting.witness {
        text += &format!(" The leader does not hear the master, but controller {controller} does: no election yet.");
    }
    if let Some(until) = waiting.paused_until_ms {
        text += &format!(
            " An operator has paused automatic elections until {} UTC; `mqadmin resume` ends that.",
            time(until)
        );
    }
    if let Some(ms) = waiting.patience_ms {
        text += &format!(
            " The master changed too often: automatic elections wait for {ms} ms more. `mqadmin electMaster` still \
             works."
        );
    }
    if let Some((id, ms)) = waiting.preferred {
        text += &format!(" Broker {id} is preferred as master and takes over in {ms} ms if it stays in sync.");
    }
    if set.master.is_none() && set.master_epoch > 0 {
        text += &cure(set, now);
    }
    text
}

fn life(state: LifeState) -> String {
    match state {
        LifeState::Alive => "alive".to_owned(),
        LifeState::Presumed => "presumed alive but not connected to the leader".to_owned(),
        LifeState::DiskStalled { probe_age_ms } => {
            format!("alive but its disk has taken no write for {probe_age_ms} ms")
        }
        LifeState::Gone => "gone (its address refuses connections)".to_owned(),
        LifeState::Silent { for_ms: Some(ms) } => format!("silent for {ms} ms"),
        LifeState::Silent { for_ms: None } => "silent since this leader took over".to_owned(),
    }
}

fn cure(set: &BrokerSet, now: &[Life]) -> String {
    let may = set.sync_state_set.union(&set.eligible).copied().collect::<BTreeSet<_>>();
    if may.is_empty() {
        return " No replica may be elected: register one and let it ask.".to_owned();
    }
    if now.iter().any(|it| may.contains(&it.id) && it.state == LifeState::Alive) {
        return " A replica that may be master is alive: an election is due.".to_owned();
    }
    format!(
        " There is no master because only {} may be one (the others may lack acknowledged messages) and none of them \
         is alive. Start one of them: it is elected at once. If they are lost for good, enableElectUncleanMaster=true \
         in the controllers' files elects another and may lose acknowledged messages.",
        ids(&may)
    )
}

fn or_none(id: Option<BrokerId>) -> String {
    id.map_or("none".to_owned(), |it| it.to_string())
}

fn ids(set: &BTreeSet<BrokerId>) -> String {
    format!("{{{}}}", set.iter().map(BrokerId::to_string).collect::<Vec<_>>().join(", "))
}
