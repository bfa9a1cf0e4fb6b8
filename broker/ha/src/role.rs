//! Which role this replica has, at which epoch, and what has to happen, in which order, when that changes (S1, S2).
//!
//! ```text
//! no id ─ Identified ─▶ Register ─▶ Unassigned ─ view names another ─▶ Slave ◀─▶ Master ◀─ a newer epoch names us
//!                                       │ no master, or us at the promised epoch (this process has restarted)
//!                                       └──▶ Elect, until a newer epoch comes
//! ```
//! Level-triggered (S14): every answer, push and heartbeat hint is a view of the set; the newest counts, a lost one
//! costs a poll at most. The order of a change is the order of the outputs: writes close and the old link is gone
//! before anything is served at the new epoch, and the epoch is on disk before that, too.

use crate::{Master, RoleState};
use proto::{BrokerId, Epoch, Millis};
use std::collections::BTreeSet;

/// First and longest pause before a failed registration, election or poll is repeated; doubled in between. Short,
/// because a set without a master waits for it.
const RETRY_MS: Millis = 50;
const LONGEST_RETRY_MS: Millis = 250;

/// The newest (epoch, master) acted upon. Survives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    pub epoch: Epoch,
    /// `None`: an epoch without a master, or one known from the epoch file only.
    pub master: Option<BrokerId>,
}

impl Promise {
    /// What a restarted process is bound by: the newest of the kept promise and the log's last epoch, since a new
    /// master's entry *is* its promise.
    pub fn found(kept: Option<Promise>, last_epoch: Epoch) -> Promise {
        let kept = kept.unwrap_or_default();
        if last_epoch > kept.epoch { Promise { epoch: last_epoch, master: None } } else { kept }
    }
}

/// What a controller says about the broker set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub epoch: Epoch,
    pub master: Option<Master>,
    pub sync_state_set: BTreeSet<BrokerId>,
    pub sync_state_set_epoch: i32,
}

/// A question to the controller; one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// 1003.
    Register,
    /// 1002, after a heartbeat.
    Elect,
    /// 1004.
    Poll,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    View(View),
    /// The controller does not know this replica.
    Unregistered,
    /// No answer, or one that names no state (nobody could be elected).
    Failed,
}

#[derive(Clone, Debug)]
pub enum Input {
    Identified(BrokerId),
    Answered(Ask, Answer),
    /// A push (1008).
    Notified(View),
    /// From the answer to a heartbeat.
    Hint {
        master_epoch: Epoch,
        sync_state_set_epoch: i32,
    },
    /// The controller leader knows another process of this replica: one that is gone, whose registration came late.
    Unregistered,
    /// The SyncStateSet that this master's proposal led to.
    SetChanged {
        sync_state_set: BTreeSet<BrokerId>,
        sync_state_set_epoch: i32,
    },
    /// Somebody has reason to believe that the view is old.
    PollNow,
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Ask(Ask),
    /// No append and no acknowledgement after this.
    CloseWrites,
    /// No append after this; what was appended may still be acknowledged, because the mastership goes on.
    PauseWrites,
    /// Every replication connection is closed, none of their bytes and acknowledgements is taken after this.
    DropLinks,
    /// Durable before the next output is carried out.
    PersistPromise(Promise),
    /// Cut the tail to whole records, enter (epoch, log end) into the epoch file: durable, and a promise as well.
    StartEpoch(Epoch),
    OpenWrites {
        epoch: Epoch,
        sync_state_set: BTreeSet<BrokerId>,
        sync_state_set_epoch: i32,
    },
    Follow {
        epoch: Epoch,
        master: Master,
    },
    /// For the master's core: what is committed.
    Committed {
        sync_state_set: BTreeSet<BrokerId>,
        sync_state_set_epoch: i32,
    },
    Publish(RoleState),
    /// Send no heartbeats for this long, so that a controller that takes us for the old process lets go of it.
    Mute(Millis),
    /// Something that cannot be by the rules: a person must look.
    Alarm(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Unassigned,
    Slave(Master),
    Leader,
}

#[derive(Clone, Debug)]
pub struct RoleConfig {
    pub poll_ms: Millis,
    pub heartbeat_timeout_ms: Millis,
}

#[derive(Debug)]
pub struct Role {
    config: RoleConfig,
    me: Option<BrokerId>,
    promise: Promise,
    stage: Stage,
    set: BTreeSet<BrokerId>,
    set_epoch: i32,
    registered: bool,
    /// Newest epoch that the controllers answered since this process registered. None: whatever a push says of this
    /// replica may be about the process before this one.
    answered: Option<Epoch>,
    /// The set has no master, or has this replica's previous process as its master.
    wants_election: bool,
    asking: Option<Ask>,
    ask_at: Millis,
    retry_ms: Millis,
    alarmed: Option<String>,
}

impl Role {
    pub fn new(config: RoleConfig, promise: Promise) -> Role {
        Role {
            config,
            me: None,
            promise,
            stage: Stage::Unassigned,
            set: BTreeSet::new(),
            set_epoch: -1,
            registered: false,
            answered: None,
            wants_election: false,
            asking: None,
            ask_at: 0,
            retry_ms: RETRY_MS,
            alarmed: None,
        }
    }

    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Identified(id) => self.me = Some(id),
            Input::Answered(ask, answer) => self.on_answer(now, ask, answer, out),
            Input::Notified(view) if self.may_mean_another_process(&view) => self.ask_at = now,
            Input::Notified(view) => {
                self.on_view(view, out);
                if self.wants_election {
                    self.ask_at = now;
                }
            }
            Input::Hint { master_epoch, sync_state_set_epoch } => {
                if (master_epoch, sync_state_set_epoch) > (self.promise.epoch, self.set_epoch) {
                    self.ask_at = now;
                }
            }
            // A heartbeat that was sent before the registration was asked for may be answered after it.
            Input::Unregistered if self.asking == Some(Ask::Register) => {}
            Input::Unregistered => {
                self.registered = false;
                self.answered = None;
                self.ask_at = now;
            }
            Input::SetChanged { sync_state_set, sync_state_set_epoch } => {
                self.on_set(sync_state_set, sync_state_set_epoch, out)
            }
            Input::PollNow => self.ask_at = now,
            Input::Tick => {}
        }
        self.ask(now, out);
    }

    pub fn promise(&self) -> Promise {
        self.promise
    }

    fn ask(&mut self, now: Millis, out: &mut Vec<Output>) {
        if self.me.is_none() || self.asking.is_some() || now < self.ask_at {
            return;
        }
        let ask = match (self.registered, self.wants_election) {
            (false, _) => Ask::Register,
            (true, true) => Ask::Elect,
            (true, false) => Ask::Poll,
        };
        self.asking = Some(ask);
        out.push(Output::Ask(ask));
    }

    /// S2: a replica may be elected while its process ends, and the push find the next one, which may lack what the
    /// election counted on (S7). Registering ends such a mastership, so that answers after it are about this process.
    fn may_mean_another_process(&self, view: &View) -> bool {
        self.answered.is_none() && view.master.as_ref().is_some_and(|it| Some(it.id) == self.me)
    }

    fn on_answer(&mut self, now: Millis, ask: Ask, answer: Answer, out: &mut Vec<Output>) {
        self.asking = None;
        match answer {
            Answer::View(view) => {
                self.registered = true;
                let names_another = view.master.as_ref().is_some_and(|it| Some(it.id) != self.me);
                if names_another || (ask != Ask::Register && view.master.is_some()) {
                    self.answered = self.answered.max(Some(view.epoch));
                }
                if ask == Ask::Register && !names_another && self.stage != Stage::Leader {
                    // S2: if it names us it means the process before this one, whose tail this one may not have.
                    self.wants_election = true;
                } else {
                    self.on_view(view, out);
                }
                self.after_answer(now, ask, out);
            }
            Answer::Unregistered => {
                self.registered = false;
                self.answered = None;
                self.retry(now);
            }
            Answer::Failed => self.retry(now),
        }
    }

    fn after_answer(&mut self, now: Millis, ask: Ask, out: &mut Vec<Output>) {
        match (ask, self.wants_election) {
            (_, false) => {
                self.retry_ms = RETRY_MS;
                self.ask_at = now + self.config.poll_ms;
            }
            (Ask::Elect, true) => {
                // Elected, and yet nothing newer than what the previous process had: a controller that knows no boot
                // ids takes us for it.
                out.push(Output::Mute(self.config.heartbeat_timeout_ms));
                self.retry(now);
            }
            (_, true) => self.ask_at = now,
        }
    }

    fn retry(&mut self, now: Millis) {
        self.ask_at = now + self.retry_ms;
        self.retry_ms = (self.retry_ms * 2).min(LONGEST_RETRY_MS);
    }

    fn on_view(&mut self, view: View, out: &mut Vec<Output>) {
        let Some(me) = self.me else { return };
        let master = view.master.as_ref().map(|it| it.id);
        if view.epoch < self.promise.epoch {
            return; // an old answer, or a controller that lost its memory: this replica has promised not to go back
        }
        let newer =
            view.epoch > self.promise.epoch || (self.promise.master.is_none() && master.is_some_and(|it| it != me));
        self.wants_election = master.is_none() || (master == Some(me) && !newer && self.stage != Stage::Leader);
        match view.master.clone() {
            Some(_) if !newer && self.promise.master.is_some() && self.promise.master != master => {
                self.alarm(&view, out)
            }
            Some(it) if it.id == me && newer => self.lead(view, out),
            Some(it) if it.id == me => self.on_set(view.sync_state_set, view.sync_state_set_epoch, out),
            Some(it) => self.follow(view, it, newer, out),
            None => self.without_master(view, newer, out),
        }
    }

    fn lead(&mut self, view: View, out: &mut Vec<Output>) {
        let again = self.stage == Stage::Leader;
        self.promise = Promise { epoch: view.epoch, master: self.me };
        self.stage = Stage::Leader;
        self.take_set(&view);
        // Connections are opened anew even if this replica was master before: the slaves have to learn the new epoch,
        // and what they acknowledged to the old one must not count (another master may have cut them in between).
        out.extend(again.then_some(Output::PauseWrites));
        out.push(Output::DropLinks);
        out.push(Output::StartEpoch(view.epoch));
        let (sync_state_set, sync_state_set_epoch) = (view.sync_state_set, view.sync_state_set_epoch);
        out.push(Output::OpenWrites { epoch: view.epoch, sync_state_set, sync_state_set_epoch });
        self.publish(out);
    }

    fn follow(&mut self, view: View, mut master: Master, newer: bool, out: &mut Vec<Output>) {
        if let Stage::Slave(known) = &self.stage
            && (known.id, &known.address) == (master.id, &master.address)
        {
            master.ha_address = master.ha_address.or_else(|| known.ha_address.clone());
        }
        let changed = self.stage != Stage::Slave(master.clone());
        if !newer && !changed {
            return self.on_set(view.sync_state_set, view.sync_state_set_epoch, out);
        }
        self.step_down(out);
        if newer {
            self.promise = Promise { epoch: view.epoch, master: Some(master.id) };
            out.push(Output::PersistPromise(self.promise));
        }
        out.push(Output::DropLinks);
        self.stage = Stage::Slave(master.clone());
        self.take_set(&view);
        out.push(Output::Follow { epoch: view.epoch, master });
        self.publish(out);
    }

    /// The set has no master. A slave keeps its link at an unchanged epoch, a master is none any more.
    fn without_master(&mut self, view: View, newer: bool, out: &mut Vec<Output>) {
        if !newer && self.stage != Stage::Leader {
            return self.on_set(view.sync_state_set, view.sync_state_set_epoch, out);
        }
        self.step_down(out);
        if newer {
            self.promise = Promise { epoch: view.epoch, master: None };
            out.push(Output::PersistPromise(self.promise));
        }
        out.push(Output::DropLinks);
        self.stage = Stage::Unassigned;
        self.take_set(&view);
        self.publish(out);
    }

    fn step_down(&mut self, out: &mut Vec<Output>) {
        if self.stage == Stage::Leader {
            out.push(Output::CloseWrites);
        }
    }

    fn on_set(&mut self, sync_state_set: BTreeSet<BrokerId>, sync_state_set_epoch: i32, out: &mut Vec<Output>) {
        if self.stage == Stage::Leader {
            out.push(Output::Committed { sync_state_set: sync_state_set.clone(), sync_state_set_epoch });
        }
        if sync_state_set_epoch > self.set_epoch {
            self.set = sync_state_set;
            self.set_epoch = sync_state_set_epoch;
            self.publish(out);
        }
    }

    fn take_set(&mut self, view: &View) {
        self.set = view.sync_state_set.clone();
        self.set_epoch = view.sync_state_set_epoch;
    }

    fn publish(&self, out: &mut Vec<Output>) {
        let role = match &self.stage {
            Stage::Unassigned => crate::Role::Unassigned,
            Stage::Slave(master) => crate::Role::Slave { master: master.clone() },
            Stage::Leader => crate::Role::Master,
        };
        out.push(Output::Publish(RoleState {
            broker_id: self.me.unwrap_or(0),
            role,
            master_epoch: self.promise.epoch,
            sync_state_set: self.set.clone(),
            sync_state_set_epoch: self.set_epoch,
        }));
    }

    /// S1 is broken, or a disk was copied from another replica.
    fn alarm(&mut self, view: &View, out: &mut Vec<Output>) {
        let text = format!(
            "epoch {} has master {:?} by the controller, this replica promised itself to {:?}",
            view.epoch,
            view.master.as_ref().map(|it| it.id),
            self.promise.master
        );
        if self.alarmed.as_ref() != Some(&text) {
            self.alarmed = Some(text.clone());
            out.push(Output::Alarm(text));
        }
    }
}

#[cfg(test)]
mod tests;
