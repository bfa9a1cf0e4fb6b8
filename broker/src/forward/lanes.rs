//! Which request goes where, and when: what a replica does with clients' writes that it cannot append itself (S10).
//!
//! ```text
//!             ┌────────── certainly not appended ──────────┐
//!             ▼                                            │
//! arrived ─▶ Waiting ─ a master is known ─▶ Out ─ answer ──┼──▶ answered
//!             ▲                              │ lost, or a newer epoch
//!             │                              ▼
//!             └──── not in the log ─────── Unknown ─ own log is the new master's ─▶ Tracing ─ in the log ─▶ answered
//! ```
//! A lane is a connection of a client. Promises: requests of a lane are sent in the order of their tickets, one held up
//! holds those behind it; a request that may have been appended is never sent again before a newer master's log has
//! said that it was not (every append of a forwarded request happens at the epoch that it names, so the log at the end
//! of that epoch is the whole truth); memory is bounded by count and bytes, and waiting by time.

use proto::{Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};

/// A client's connection.
pub type Lane = u64;
/// A request; tickets rise in the order of arrival.
pub type Ticket = u64;

/// First and longest pause before a master that refused is tried again: it may not know of its election yet, or we not
/// of a newer one.
const RETRY_MS: Millis = 5;
const LONGEST_RETRY_MS: Millis = 100;

#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// How long a request waits for a master, or for what became of it.
    pub hold_ms: Millis,
    pub hold_count: usize,
    pub hold_bytes: usize,
    /// How long a master may take for an answer.
    pub answer_ms: Millis,
}

/// Where writes go as this replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This replica is the master.
    Here { epoch: Epoch },
    /// It is, but a planned change drains: nothing is appended for the moment.
    Pausing { epoch: Epoch },
    /// Another one is, and it can be reached.
    There { epoch: Epoch },
    /// None is known, or it cannot be reached.
    Nobody { epoch: Epoch },
    /// This process ends, and there is no other master.
    Leaving { epoch: Epoch },
}

impl Standing {
    pub fn epoch(self) -> Epoch {
        match self {
            Standing::Here { epoch }
            | Standing::Pausing { epoch }
            | Standing::There { epoch }
            | Standing::Nobody { epoch }
            | Standing::Leaving { epoch } => epoch,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Done twice it is another thing than done once.
    Append {
        /// The log can be searched for it.
        traceable: bool,
    },
    Repeatable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub ticket: Ticket,
    pub lane: Lane,
    pub kind: Kind,
    pub bytes: usize,
    /// Passed on to us by another replica, to be executed at this epoch: never passed on again.
    pub marked: Option<Epoch>,
    /// Appended here at this epoch, and not acknowledged before the mastership was over.
    pub deposed: Option<Epoch>,
    /// Some that are to be before it may still arrive.
    pub early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To be handed to whoever asked.
    Answered,
    /// Certainly not appended.
    Refused,
    /// It may have been appended.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traced {
    Found,
    /// Neither in the log nor can it ever get there.
    Absent,
    /// In part, or the log does not tell.
    Unclear,
    /// The role changed meanwhile.
    Again,
}

#[derive(Clone, Copy, Debug)]
pub enum Input {
    Arrived(Arrival),
    /// Whatever is to be before those that have arrived in this lane has arrived.
    Complete(Lane),
    Standing(Standing),
    /// The append of a request that is executed here is done; its answer follows.
    Began {
        ticket: Ticket,
        attempt: u32,
    },
    Ended {
        ticket: Ticket,
        attempt: u32,
        outcome: Outcome,
    },
    /// The own log is, up to where `epoch` begins, that of the master of `epoch`.
    Settled(Epoch),
    Traced {
        ticket: Ticket,
        at: Epoch,
        traced: Traced,
    },
    /// Nobody waits for the answer any more.
    Gone(Ticket),
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More requests wait than may.
    Full,
    /// No master in time.
    Late,
    /// Somebody else passed it on to us, and we are not the master at the epoch it names.
    NotMaster,
    /// No way to tell in time what became of it.
    Unknown,
    Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the master of this epoch.
    Send {
        ticket: Ticket,
        attempt: u32,
        epoch: Epoch,
    },
    /// Executed by this replica, at this epoch.
    Run {
        ticket: Ticket,
        attempt: u32,
        epoch: Epoch,
    },
    /// Search the log of the master of `at` for it.
    Trace {
        ticket: Ticket,
        at: Epoch,
    },
    /// With what came last.
    Answer(Ticket),
    Refuse(Ticket, Refused),
    Forget(Ticket),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Being executed here; those behind it wait for its append.
    Entering {
        epoch: Epoch,
    },
    Out {
        epoch: Epoch,
        until: Millis,
    },
    Unknown {
        epoch: Epoch,
    },
    Tracing {
        epoch: Epoch,
    },
}

#[derive(Debug)]
struct Request {
    lane: Lane,
    kind: Kind,
    bytes: usize,
    marked: Option<Epoch>,
    state: State,
    attempt: u32,
    /// The end of its patience while it waits.
    until: Millis,
}

#[derive(Debug)]
pub struct Lanes {
    config: LaneConfig,
    standing: Standing,
    settled: Epoch,
    requests: BTreeMap<Ticket, Request>,
    /// Of each lane the requests that hold up those behind them: all but those that are out at the present epoch.
    lanes: BTreeMap<Lane, BTreeSet<Ticket>>,
    incomplete: BTreeSet<Lane>,
    bytes: usize,
    /// Lanes in which something may go on.
    dirty: BTreeSet<Lane>,
    /// Some request may be ready to be traced.
    trace_due: bool,
    retry_at: Millis,
    retry_ms: Millis,
}

impl Lanes {
    pub fn new(config: LaneConfig) -> Lanes {
        Lanes {
            config,
            standing: Standing::Nobody { epoch: 0 },
            settled: -1,
            requests: BTreeMap::new(),
            lanes: BTreeMap::new(),
            incomplete: BTreeSet::new(),
            bytes: 0,
            dirty: BTreeSet::new(),
            trace_due: false,
            retry_at: 0,
            retry_ms: RETRY_MS,
        }
    }

    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Arrived(it) => self.on_arrived(now, it, out),
            Input::Complete(lane) => {
                self.incomplete.remove(&lane);
                self.dirty.insert(lane);
            }
            Input::Standing(it) => self.on_standing(it),
            Input::Began { ticket, attempt } => self.on_began(now, ticket, attempt),
            Input::Ended { ticket, attempt, outcome } => self.on_ended(now, ticket, attempt, outcome, out),
            Input::Settled(epoch) => {
                self.settled = epoch;
                self.trace_due = true;
            }
            Input::Traced { ticket, at, traced } => self.on_traced(ticket, at, traced, out),
            Input::Gone(ticket) => self.end(ticket, Output::Forget(ticket), out),
            Input::Tick => self.on_tick(now, out),
        }
        self.trace(out);
        self.dispatch(now, out);
    }

    /// Whether [`Input::Settled`] of the present epoch would be news.
    pub fn wants_settled(&self) -> bool {
        self.settled != self.standing.epoch()
    }

    fn on_arrived(&mut self, now: Millis, it: Arrival, out: &mut Vec<Output>) {
        let full = self.requests.len() >= self.config.hold_count || self.bytes + it.bytes > self.config.hold_bytes;
        if full {
            let why = if it.deposed.is_some() { Refused::Unknown } else { Refused::Full };
            return out.push(Output::Refuse(it.ticket, why));
        }
        self.bytes += it.bytes;
        if it.early {
            self.incomplete.insert(it.lane);
        }
        let request = Request {
            lane: it.lane,
            kind: it.kind,
            bytes: it.bytes,
            marked: it.marked,
            state: State::Waiting,
            attempt: 0,
            until: now + self.config.hold_ms,
        };
        self.requests.insert(it.ticket, request);
        self.put(it.ticket, it.deposed.map_or(State::Waiting, |epoch| State::Unknown { epoch }));
    }

    fn put(&mut self, ticket: Ticket, state: State) {
        let Some(request) = self.requests.get_mut(&ticket) else { return };
        request.state = state;
        self.trace_due |= matches!(state, State::Unknown { .. });
        self.dirty.insert(request.lane);
        let lane = self.lanes.entry(request.lane).or_default();
        match state {
            State::Out { epoch, .. } if epoch == self.standing.epoch() => lane.remove(&ticket),
            _ => lane.insert(ticket),
        };
    }

    /// A newer epoch: the answer of the older one's master may never come, and need not be waited for.
    fn on_standing(&mut self, standing: Standing) {
        let newer = standing.epoch() > self.standing.epoch();
        if standing == self.standing {
            return;
        }
        self.standing = standing;
        (self.retry_at, self.retry_ms) = (0, RETRY_MS);
        self.dirty.extend(self.lanes.keys());
        self.trace_due = true;
        if !newer {
            return;
        }
        let out = self.requests.iter().filter(|it| matches!(it.1.state, State::Out { .. }));
        let next = |it: &Request| match (it.state, it.kind) {
            (state, _) if it.marked.is_some() => state,
            (State::Out { epoch, .. }, Kind::Append { .. }) => State::Unknown { epoch },
            _ => State::Waiting,
        };
        let out: Vec<_> = out.map(|(ticket, it)| (*ticket, next(it))).collect();
        for (ticket, state) in out {
            self.put(ticket, state);
        }
    }

    fn on_began(&mut self, now: Millis, ticket: Ticket, attempt: u32) {
        let Some(request) = self.requests.get_mut(&ticket).filter(|it| it.attempt == attempt) else { return };
        if let State::Entering { epoch } = request.state {
            self.put(ticket, State::Out { epoch, until: now + self.config.answer_ms });
        }
    }

    fn on_ended(&mut self, now: Millis, ticket: Ticket, attempt: u32, outcome: Outcome, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get(&ticket).filter(|it| it.attempt == attempt) else { return };
        let epoch = match request.state {
            // It is to be sent anew, and what its last attempt has to say counts no more.
            State::Waiting => return,
            State::Entering { epoch }
            | State::Out { epoch, .. }
            | State::Unknown { epoch }
            | State::Tracing { epoch } => epoch,
        };
        match (outcome, request.kind, request.state) {
            (Outcome::Answered, ..) => {
                self.retry_ms = RETRY_MS;
                self.end(ticket, Output::Answer(ticket), out);
            }
            (Outcome::Refused, ..) | (Outcome::Lost, Kind::Repeatable, _) => {
                self.put(ticket, State::Waiting);
                if epoch == self.standing.epoch() && now >= self.retry_at {
                    self.retry_at = now + self.retry_ms;
                    self.retry_ms = (self.retry_ms * 2).min(LONGEST_RETRY_MS);
                }
            }
            (Outcome::Lost, _, State::Tracing { .. }) => {}
            (Outcome::Lost, Kind::Append { traceable: true }, _) => self.put(ticket, State::Unknown { epoch }),
            (Outcome::Lost, Kind::Append { traceable: false }, _) => {
                self.end(ticket, Output::Refuse(ticket, Refused::Unknown), out);
            }
        }
    }

    fn on_traced(&mut self, ticket: Ticket, at: Epoch, traced: Traced, out: &mut Vec<Output>) {
        let Some(State::Tracing { epoch }) = self.requests.get(&ticket).map(|it| it.state) else { return };
        match traced {
            Traced::Found => self.end(ticket, Output::Answer(ticket), out),
            Traced::Absent if at == self.standing.epoch() => self.put(ticket, State::Waiting),
            Traced::Absent | Traced::Again => self.put(ticket, State::Unknown { epoch }),
            Traced::Unclear => self.end(ticket, Output::Refuse(ticket, Refused::Unknown), out),
        }
    }

    fn on_tick(&mut self, now: Millis, out: &mut Vec<Output>) {
        let late = |(ticket, it): (&Ticket, &Request)| match (it.state, it.kind) {
            (State::Waiting, _) if now >= it.until => Some((*ticket, Refused::Late)),
            (State::Out { until, .. }, Kind::Repeatable) if now >= until => Some((*ticket, Refused::Late)),
            (State::Out { until, .. }, Kind::Append { .. }) if now >= until => Some((*ticket, Refused::Unknown)),
            (State::Unknown { .. } | State::Tracing { .. }, _) if now >= it.until => Some((*ticket, Refused::Unknown)),
            _ => None,
        };
        let all: Vec<_> = self.requests.iter().filter_map(late).collect();
        for (ticket, why) in all {
            self.end(ticket, Output::Refuse(ticket, why), out);
        }
        if now >= self.retry_at {
            self.dirty.extend(self.lanes.keys());
        }
    }

    fn end(&mut self, ticket: Ticket, with: Output, out: &mut Vec<Output>) {
        let Some(request) = self.requests.remove(&ticket) else { return };
        self.bytes -= request.bytes;
        if let Some(lane) = self.lanes.get_mut(&request.lane) {
            lane.remove(&ticket);
        }
        self.dirty.insert(request.lane);
        out.push(with);
    }

    /// Only the newest master's log is asked: an older one's may yet be cut.
    fn trace(&mut self, out: &mut Vec<Output>) {
        let at = self.settled;
        if at != self.standing.epoch() || !std::mem::take(&mut self.trace_due) {
            return;
        }
        for (ticket, request) in &mut self.requests {
            if let State::Unknown { epoch } = request.state
                && epoch < at
                && request.kind == (Kind::Append { traceable: true })
            {
                request.state = State::Tracing { epoch };
                out.push(Output::Trace { ticket: *ticket, at });
            }
        }
    }

    fn dispatch(&mut self, now: Millis, out: &mut Vec<Output>) {
        if now < self.retry_at {
            return;
        }
        for lane in std::mem::take(&mut self.dirty) {
            if self.incomplete.contains(&lane) {
                continue;
            }
            while let Some(first) = self.lanes.get(&lane).and_then(BTreeSet::first).copied() {
                if !self.advance(now, first, out) {
                    break;
                }
            }
            if self.lanes.get(&lane).is_some_and(BTreeSet::is_empty) {
                self.lanes.remove(&lane);
            }
        }
    }

    /// Takes the first of a lane a step further; whether the next one is now the first.
    fn advance(&mut self, now: Millis, ticket: Ticket, out: &mut Vec<Output>) -> bool {
        let standing = self.standing;
        let Some(request) = self.requests.get_mut(&ticket).filter(|it| it.state == State::Waiting) else {
            return false;
        };
        match (standing, request.marked) {
            // Whoever passed it on knows of an epoch that we have yet to hear of.
            (_, Some(marked)) if marked > standing.epoch() => return false,
            (Standing::Leaving { .. }, None) => {
                self.end(ticket, Output::Refuse(ticket, Refused::Leaving), out);
            }
            (_, Some(marked)) if marked < standing.epoch() => {
                self.end(ticket, Output::Refuse(ticket, Refused::NotMaster), out);
            }
            (Standing::There { .. } | Standing::Nobody { .. } | Standing::Leaving { .. }, Some(_)) => {
                self.end(ticket, Output::Refuse(ticket, Refused::NotMaster), out);
            }
            (Standing::Pausing { .. } | Standing::Nobody { .. }, _) => return false,
            (Standing::Here { epoch }, _) => {
                request.attempt += 1;
                out.push(Output::Run { ticket, attempt: request.attempt, epoch });
                self.put(ticket, State::Entering { epoch });
                return false;
            }
            (Standing::There { epoch }, None) => {
                request.attempt += 1;
                out.push(Output::Send { ticket, attempt: request.attempt, epoch });
                self.put(ticket, State::Out { epoch, until: now + self.config.answer_ms });
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
