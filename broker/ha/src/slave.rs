//! The slave's side of one HA connection: handshake, the cut, the copy, the acknowledgements (S2, S9, S11).
//!
//! ```text
//! Idle ─ connected ─▶ Handshake ─ entries ─▶ cut ─▶ Transfer ─ bytes ─▶ acknowledge …
//!                         └─ master is not yet, or no longer, of the promised epoch ─▶ Disconnect
//! ```
//! Promises: never acknowledges a byte it does not have (on disk, with SYNC_FLUSH); takes no byte of a master older
//! than the promise; cuts only at the handshake, to where both histories prove the same bytes; an epoch's entry is
//! saved before the first byte of that epoch.

use crate::epochs::{CommonPoint, EpochHistory};
use proto::ha::{EpochEntry, MasterHandshake, MasterPacket, SlaveHandshake, SlaveKind, TransferHeader};
use proto::{BrokerId, Epoch, Millis, Offset};

/// How often a Java master that claims an older epoch than promised is asked again before its list is taken to lack the
/// empty last entry.
pub const JAVA_BEHIND_TRIES: u32 = 20;

/// What the controller said about the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It registered with our extra fields: its history is complete.
    Baton,
    /// Drops an epoch that starts where the one before did (`EpochFileCache#appendEntry`).
    Java,
}

#[derive(Clone, Debug)]
pub struct SlaveConfig {
    pub me: BrokerId,
    /// The master epoch this replica acts upon; bytes of an older master are refused.
    pub promised: Epoch,
    pub peer: Peer,
    pub sync_from_last_file: bool,
    pub async_learner: bool,
    pub heartbeat_ms: Millis,
    pub housekeeping_ms: Millis,
}

#[derive(Clone, Debug)]
pub enum Input {
    Connected(LogFacts),
    Packet(MasterPacket),
    /// This many bytes of the announced body have been appended.
    Appended(usize),
    /// What may be reported: the log's end, or with SYNC_FLUSH the flushed end.
    Reportable(Offset),
    Tick,
}

/// The local log when the connection opens.
#[derive(Clone, Debug, Default)]
pub struct LogFacts {
    pub history: EpochHistory,
    /// −1: no file.
    pub min: Offset,
    pub max: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    SendHandshake(SlaveHandshake),
    SendAck(Offset),
    /// S9. Durable before anything after it is done.
    Truncate {
        to: Offset,
        epoch: Epoch,
    },
    /// The log is empty and begins here.
    StartAt(Offset),
    SaveHistory(EpochHistory),
    Confirm(Offset),
    /// The master speaks of an epoch that is newer than the promise: ask the controller.
    AskController,
    Disconnect(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Handshake,
    Transfer,
}

#[derive(Debug)]
pub struct Slave {
    config: SlaveConfig,
    state: State,
    facts: LogFacts,
    master: EpochHistory,
    /// Bytes of the present packet that are still to come.
    body_left: usize,
    reportable: Offset,
    /// Never above the log's end. `None` until the first report, which is the request for where to start.
    reported: Option<Offset>,
    sent_at: Millis,
    received_at: Millis,
    behind_tries: u32,
}

impl Slave {
    pub fn new(config: SlaveConfig) -> Slave {
        Slave {
            config,
            state: State::Idle,
            facts: LogFacts::default(),
            master: EpochHistory::default(),
            body_left: 0,
            reportable: 0,
            reported: None,
            sent_at: 0,
            received_at: 0,
            behind_tries: 0,
        }
    }

    /// After a [`Output::Disconnect`] everything is ignored until the next [`Input::Connected`].
    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        match (self.state, input) {
            (_, Input::Connected(facts)) => self.on_connected(now, facts, out),
            (State::Handshake, Input::Packet(MasterPacket::Handshake(it))) => self.on_handshake(now, it, out),
            (State::Transfer, Input::Packet(MasterPacket::Transfer(it))) => self.on_transfer(now, it, out),
            (State::Idle, _) => {}
            (state, Input::Packet(it)) => self.disconnect(format!("{it:?} in state {state:?}"), out),
            (_, Input::Appended(size)) => self.on_appended(now, size, out),
            (_, Input::Reportable(offset)) => self.on_reportable(now, offset, out),
            (_, Input::Tick) => self.on_tick(now, out),
        }
    }

    pub fn body_left(&self) -> usize {
        self.body_left
    }

    /// Where the next byte goes.
    pub fn next_offset(&self) -> Offset {
        self.facts.max
    }

    pub fn in_transfer(&self) -> bool {
        self.state == State::Transfer
    }

    fn on_connected(&mut self, now: Millis, facts: LogFacts, out: &mut Vec<Output>) {
        self.facts = facts;
        self.state = State::Handshake;
        self.master = EpochHistory::default();
        self.body_left = 0;
        self.reportable = 0;
        self.reported = None;
        self.sent_at = now;
        self.received_at = now;
        out.push(Output::SendHandshake(SlaveHandshake {
            sync_from_last_file: self.config.sync_from_last_file,
            kind: if self.config.async_learner { SlaveKind::Learner } else { SlaveKind::Baton },
            slave: self.config.me,
        }));
    }

    fn on_handshake(&mut self, now: Millis, it: MasterHandshake, out: &mut Vec<Output>) {
        self.received_at = now;
        let master = match EpochHistory::from_entries(it.entries) {
            Ok(history) => history,
            Err(e) => return self.disconnect(format!("the master's history is none: {e}"), out),
        };
        let Some(master) = self.of_promised_epoch(master, out) else { return };
        self.master = master;
        self.cut(it.max_offset, out);
        self.state = State::Transfer;
        self.report(now, out);
    }

    /// S2: only the master of the promised epoch is copied from.
    fn of_promised_epoch(&mut self, mut master: EpochHistory, out: &mut Vec<Output>) -> Option<EpochHistory> {
        let (epoch, promised) = (master.last_epoch(), self.config.promised);
        if epoch > promised {
            out.push(Output::AskController);
            self.disconnect(format!("the master is at epoch {epoch}, promised is {promised}"), out);
            return None;
        }
        if epoch == promised {
            return Some(master);
        }
        self.behind_tries += 1;
        if self.config.peer == Peer::Baton || self.behind_tries < JAVA_BEHIND_TRIES {
            self.disconnect(format!("the master is at epoch {epoch} still, promised is {promised}"), out);
            return None;
        }
        // A Java master lost its own entry because it starts where the one before does: what it calls the last epoch is
        // the promised one.
        let start = master.last().map_or(0, |it| it.start);
        master.push(EpochEntry { epoch: promised, start }).ok()?;
        Some(master)
    }

    /// S9. With nothing in common the whole copy goes (it is kept aside): a log of unknown origin proves nothing.
    fn cut(&mut self, master_end: Offset, out: &mut Vec<Output>) {
        let facts = &self.facts;
        let point = self.common_point(master_end);
        let to = match point {
            _ if facts.is_empty() => facts.max,
            Some(it) => it.at.max(facts.min),
            None => facts.min,
        };
        if to < facts.max {
            out.push(Output::Truncate { to, epoch: facts.history.last_epoch() });
        }
        let adopted = facts.history.adopt(point, &self.master, to);
        self.facts.max = to;
        self.save(adopted, out);
    }

    fn common_point(&self, master_end: Offset) -> Option<CommonPoint> {
        let facts = &self.facts;
        if facts.is_empty() { None } else { facts.history.common_point(facts.max, &self.master, master_end) }
    }

    fn on_transfer(&mut self, now: Millis, it: TransferHeader, out: &mut Vec<Output>) {
        self.received_at = now;
        if it.epoch > self.config.promised {
            out.push(Output::AskController);
            return self.disconnect(format!("bytes of epoch {}, promised is {}", it.epoch, self.config.promised), out);
        }
        if it.body_size > 0 {
            if !self.accept_offset(it.offset, out) || !self.accept_epoch(&it, out) {
                return;
            }
            self.body_left = it.body_size;
        }
        out.push(Output::Confirm(it.confirm_offset.min(self.facts.max)));
    }

    fn accept_offset(&mut self, offset: Offset, out: &mut Vec<Output>) -> bool {
        if offset == self.facts.max {
            return true;
        }
        if !self.facts.is_empty() || offset < 0 {
            self.disconnect(format!("bytes at {offset}, the log ends at {}", self.facts.max), out);
            return false;
        }
        out.push(Output::StartAt(offset));
        self.facts = LogFacts { history: EpochHistory::default(), min: offset, max: offset };
        let adopted = EpochHistory::default().adopt(None, &self.master, offset);
        self.save(adopted, out);
        true
    }

    /// The handshake's list says which epoch a byte is of. The packet's label is only checked: Java labels the last
    /// bytes of an epoch with the next one.
    fn accept_epoch(&mut self, it: &TransferHeader, out: &mut Vec<Output>) -> bool {
        let (entry, end) = self.master.covering(it.offset);
        let known = it.epoch == entry.epoch || self.master.entries().iter().any(|known| known.epoch == it.epoch);
        let within = end.is_none_or(|end| it.offset + it.body_size as Offset <= end);
        if !known || !within {
            self.disconnect(format!("{it:?} does not fit the master's history"), out);
        }
        known && within
    }

    fn on_appended(&mut self, now: Millis, size: usize, out: &mut Vec<Output>) {
        assert!(size <= self.body_left, "appended {size} of {} announced bytes", self.body_left);
        self.body_left -= size;
        self.facts.max += size as Offset;
        self.received_at = now;
        let reached = |it: &&EpochEntry| it.epoch > self.facts.history.last_epoch() && it.start <= self.facts.max;
        let mut history = self.facts.history.clone();
        for it in self.master.entries().iter().filter(reached) {
            if let Err(e) = history.push(*it) {
                return self.disconnect(e.to_string(), out);
            }
        }
        self.save(history, out);
    }

    fn save(&mut self, history: EpochHistory, out: &mut Vec<Output>) {
        if history != self.facts.history {
            self.facts.history = history.clone();
            out.push(Output::SaveHistory(history));
        }
    }

    fn on_reportable(&mut self, now: Millis, offset: Offset, out: &mut Vec<Output>) {
        self.reportable = offset.min(self.facts.max);
        if self.state == State::Transfer {
            self.report(now, out);
        }
    }

    /// The first report is where the master starts to send, so it waits until the whole log may be reported; then only
    /// growth is.
    fn report(&mut self, now: Millis, out: &mut Vec<Output>) {
        let due = match self.reported {
            None => self.reportable == self.facts.max,
            Some(reported) => self.reportable > reported,
        };
        if due {
            self.reported = Some(self.reportable);
            self.sent_at = now;
            out.push(Output::SendAck(self.reportable));
        }
    }

    fn on_tick(&mut self, now: Millis, out: &mut Vec<Output>) {
        if now >= self.received_at + self.config.housekeeping_ms {
            return self.disconnect(format!("nothing from the master for {} ms", self.config.housekeeping_ms), out);
        }
        if let Some(reported) = self.reported.filter(|_| now >= self.sent_at + self.config.heartbeat_ms) {
            self.sent_at = now;
            out.push(Output::SendAck(reported));
        }
    }

    fn disconnect(&mut self, why: String, out: &mut Vec<Output>) {
        self.state = State::Idle;
        out.push(Output::Disconnect(why));
    }
}

impl LogFacts {
    fn is_empty(&self) -> bool {
        self.min < 0 || self.min >= self.max
    }
}

#[cfg(test)]
mod tests;
