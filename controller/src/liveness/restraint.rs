//! Two reasons to hold an automatic election back: another controller still hears the master, or the master has changed
//! too often lately. Neither concerns what an operator asks for, and neither lasts for ever (S14).

use super::{Liveness, Output, Settings, Watched};
use crate::replicas::story::Waiting;
use crate::replicas::{Cause, RoleChange};
use proto::{BrokerId, Millis};

/// First and longest wait of a set whose master changes too often; each further change doubles it.
const PATIENCE_FIRST: Millis = 10_000;
const PATIENCE_LONGEST: Millis = 300_000;
/// An answer of the other controllers is as old as this at most when an election rests on it. The same if none comes.
const ANSWER_GOOD_FOR: Millis = 500;

/// What is known from the other controllers about a master that this one does not hear.
#[derive(Clone, Debug, Default)]
pub(super) struct Witnesses {
    /// When its silence was first noticed.
    since: Option<Millis>,
    state: Inquiry,
}

#[derive(Clone, Debug, Default)]
enum Inquiry {
    #[default]
    None,
    Asked(Millis),
    /// This one heard it; ask again when its own timeout would be over.
    Heard {
        by: String,
        until: Millis,
    },
    Nobody(Millis),
}

/// How long a set's automatic elections have to wait, and until when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    length: Millis,
    pub(super) until: Millis,
}

impl Liveness {
    /// What holds elections of this set back, for people.
    pub fn waiting(&self, now: Millis, broker_set: &str) -> Waiting {
        let Some(set) = self.sets.get(broker_set) else { return Waiting::default() };
        let witness = match &set.witnesses.state {
            Inquiry::Heard { by, until } if now < *until => Some(by.clone()),
            _ => None,
        };
        let paused = set.view.paused_until_ms;
        Waiting {
            patience_ms: set.patience.until.checked_sub(now).filter(|it| *it > 0),
            witness,
            preferred: set.wished(now, &self.settings),
            paused_until_ms: Some(paused).filter(|it| it.saturating_sub(self.settings.wall_ahead) > now as i64),
        }
    }

    /// Why a broker that asks for an election has to wait, if the set has no live master and something holds elections
    /// back.
    pub fn restrained(&self, now: Millis, broker_set: &str) -> Option<String> {
        let view = self.view(broker_set)?;
        if view.master.is_some_and(|id| self.is_alive(now, broker_set, id)) {
            return None;
        }
        let Waiting { patience_ms, witness, .. } = self.waiting(now, broker_set);
        let patience = patience_ms.map(|ms| {
            format!("the master of {broker_set} changed too often: elections that nobody chose wait for {ms} ms more")
        });
        let witness = witness.map(|by| format!("controller {by} still hears the master of {broker_set}"));
        witness.or(patience)
    }

    /// How long ago this controller had a healthy heartbeat of a replica, for another that does not hear it.
    pub fn silent_for(&self, now: Millis, broker_set: &str, id: BrokerId) -> Option<Millis> {
        let pulse = self.pulse(broker_set, id).filter(|it| !it.is_proven_dead())?;
        pulse.healthy.map(|it| now.saturating_sub(it))
    }

    /// After a change of master.
    pub(super) fn restrain(&mut self, now: Millis, broker_set: &str, out: &mut Vec<Output>) {
        let Some(set) = self.sets.get_mut(broker_set) else { return };
        let flapping = set.count_changes(now, &self.settings);
        let wait = set.patience.length;
        let alarm = flapping.filter(|_| self.leading.is_some());
        out.extend(alarm.map(|changes| Output::Flapping { broker_set: broker_set.to_owned(), changes, wait }));
    }

    pub(super) fn on_witnessed(
        &mut self,
        now: Millis,
        broker_set: &str,
        id: BrokerId,
        heard: Option<(Millis, String)>,
        out: &mut Vec<Output>,
    ) {
        if let Some(set) = self.sets.get_mut(broker_set).filter(|it| it.view.master == Some(id)) {
            set.on_witnessed(now, id, heard);
        }
        self.examine(now, broker_set, out);
    }
}

impl Watched {
    /// Whether to wait for what the other controllers know of a master that has gone silent (not of one that is dead by
    /// proof, S6). At most `witness_wait` in all: by then a master that its leader cannot hear is of no use.
    pub(super) fn awaits_witnesses(
        &mut self,
        now: Millis,
        cause: &Cause,
        settings: &Settings,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(id) = self.view.master.filter(|_| matches!(cause, Cause::HeartbeatExpired { .. })) else {
            return false;
        };
        let since = *self.witnesses.since.get_or_insert(now);
        if now >= since + settings.witness_wait {
            return false;
        }
        match &self.witnesses.state {
            Inquiry::Asked(at) if now < at + ANSWER_GOOD_FOR => return true,
            Inquiry::Heard { until, .. } if now < *until => return true,
            Inquiry::Asked(_) => return false,
            Inquiry::Nobody(at) if now < at + ANSWER_GOOD_FOR => return false,
            Inquiry::None | Inquiry::Heard { .. } | Inquiry::Nobody(_) => {}
        }
        self.witnesses.state = Inquiry::Asked(now);
        out.push(Output::AskWitnesses { broker_set: self.view.name.clone(), id });
        true
    }

    fn on_witnessed(&mut self, now: Millis, id: BrokerId, heard: Option<(Millis, String)>) {
        let timeout = self.pulses.get(&id).map_or(0, |it| it.timeout);
        if matches!(self.witnesses.state, Inquiry::Asked(_)) {
            self.witnesses.state = match heard.filter(|(ago, _)| *ago <= timeout) {
                Some((ago, by)) => Inquiry::Heard { by, until: now + (timeout - ago) + 1 },
                None => Inquiry::Nobody(now),
            };
        }
    }

    /// The moment at which the witnesses are to be asked again.
    pub(super) fn witnesses_due(&self, settings: &Settings) -> Option<Millis> {
        let end = self.witnesses.since? + settings.witness_wait;
        match &self.witnesses.state {
            Inquiry::Asked(at) => Some((at + ANSWER_GOOD_FOR).min(end)),
            Inquiry::Heard { until, .. } => Some((*until).min(end)),
            Inquiry::None | Inquiry::Nobody(_) => None,
        }
    }

    /// After the master has changed: whether that was once too often. Pure history, so that the next leader thinks the
    /// same; a change by an operator's wish does not count.
    pub(super) fn count_changes(&mut self, now: Millis, settings: &Settings) -> Option<usize> {
        let wall = |at_ms: i64| at_ms.saturating_sub(settings.wall_ahead).max(0) as Millis;
        let recent = self.view.history.iter().filter(|it| is_automatic(it));
        let recent = recent.filter(|it| wall(it.proposed_ms) + settings.flap_window > now);
        let (changes, last) = (recent.clone().count(), recent.map(|it| wall(it.proposed_ms)).max()?);
        let lately = self.patience.length > 0 && last <= self.patience.until + settings.flap_window;
        if settings.flap_changes == 0 || !(changes >= settings.flap_changes || lately) {
            self.patience = Patience::default();
            return None;
        }
        let length = (self.patience.length * 2).clamp(PATIENCE_FIRST, PATIENCE_LONGEST);
        self.patience = Patience { length, until: last + length };
        Some(changes).filter(|_| now < last + length)
    }
}

fn is_automatic(it: &RoleChange) -> bool {
    let automatic = matches!(
        it.cause,
        Cause::ConnectionClosedAndRefused
            | Cause::HeartbeatExpired { .. }
            | Cause::DiskStalled { .. }
            | Cause::NoMaster
            | Cause::Requested { .. }
    );
    it.to.is_some() && automatic
}
