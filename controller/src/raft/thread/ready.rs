//! What a round of raft-rs brings: messages to send, entries to write, commands to apply, in that order.

use super::super::disk::{Batch, Disk, Durability};
use super::snapshots::{State, decode};
use super::{Driver, ELECTION_TICKS, Event, Report};
use crate::replicas::Command;
use ::raft::SnapshotStatus;
use ::raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};
use anyhow::Context;
use proto::Millis;
use std::sync::Arc;
use std::time::Instant;
use tracing::info;

impl<D: Disk> Driver<D> {
    pub(super) fn on_ready(&mut self) -> anyhow::Result<()> {
        let mut ready = self.node.ready();
        self.send(ready.take_messages());
        let snapshot = ready.snapshot().clone();
        if snapshot.get_metadata().index > 0 {
            self.install(snapshot)?;
        }
        if let Some(hard_state) = ready.hs() {
            self.node.mut_store().hard_state = hard_state.clone();
        }
        if !ready.entries().is_empty() || ready.hs().is_some() {
            let durability = if ready.must_sync() { Durability::Synced } else { Durability::Lazy };
            let hard_state = Some(&self.node.store().hard_state);
            let began = Instant::now();
            self.disk.write(&Batch { hard_state, entries: ready.entries(), durability, ..Default::default() })?;
            if durability == Durability::Synced {
                self.metrics.synced(began.elapsed());
            }
            self.node.mut_store().append(ready.entries());
        }
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index, self.lease_length());
        }
        self.send(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        let mut light = self.node.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().hard_state.commit = commit;
        }
        self.send(light.take_messages());
        self.apply(committed)?;
        self.apply(light.take_committed_entries())?;
        self.node.advance_apply();
        self.report();
        Ok(())
    }

    /// Followers that answered ignore other candidates for one election timeout; a tick may have been about to pass
    /// when they answered, and a third of the rest covers drift between their clock and ours. They do not ignore the
    /// one that was told to take over.
    pub(super) fn lease_length(&self) -> Millis {
        if self.has_handed_over() {
            return 0;
        }
        self.tick * (ELECTION_TICKS as Millis - 1) * 2 / 3
    }

    pub(super) fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let (to, is_snapshot) = (message.to, message.get_msg_type() == MessageType::MsgSnapshot);
            let sent = (self.outbox)(message);
            if is_snapshot || !sent {
                self.reports.push(Report { to, is_snapshot, sent });
            }
        }
    }

    /// After the Ready is done with: raft-rs must not be stepped in between.
    pub(super) fn report(&mut self) {
        for it in std::mem::take(&mut self.reports) {
            match it {
                // The stream keeps order, so what follows a queued snapshot arrives after it; a lost one is noticed by
                // the next rejection.
                Report { is_snapshot: true, sent: true, to } => self.node.report_snapshot(to, SnapshotStatus::Finish),
                Report { is_snapshot: true, to, .. } => self.node.report_snapshot(to, SnapshotStatus::Failure),
                Report { to, .. } => self.node.report_unreachable(to),
            }
        }
    }

    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> anyhow::Result<()> {
        for entry in entries {
            match entry.get_entry_type() {
                _ if entry.data.is_empty() => {}
                EntryType::EntryNormal => self.apply_one(&entry)?,
                _ => self.apply_change(&entry)?,
            }
            self.applied = entry.index;
        }
        Ok(())
    }

    pub(super) fn apply_one(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let command: Command = serde_json::from_slice(&entry.data).with_context(|| {
            format!("raft entry {}: not a command of this version; run the version that wrote it", entry.index)
        })?;
        let broker_set = command.broker_set().to_owned();
        let existed = self.replicas.get(&broker_set).is_some();
        let outcome = self.replicas.apply(entry.index, command);
        match self.replicas.get(&broker_set) {
            Some(set) if set.revision == entry.index => self.tell(Event::View(Arc::new(set.clone())))?,
            None if existed => self.tell(Event::Removed { broker_set })?,
            _ => {}
        }
        if let Some(done) = self.pending.take(&entry.context) {
            // The asker may have given up meanwhile.
            let _ = done.send(Ok(outcome));
        }
        Ok(())
    }

    /// A leader's snapshot is written before it is applied, in one step with the log it replaces.
    pub(super) fn install(&mut self, snapshot: Snapshot) -> anyhow::Result<()> {
        let State { replicas, mut members } = decode(&snapshot, &self.options.founders)?;
        members.readdress(&self.options.founders, self.options.id, &self.options.address);
        let meta = snapshot.get_metadata();
        let truncated = (meta.index, meta.term);
        info!(index = meta.index, sets = replicas.iter().count(), "snapshot installed");
        let gone =
            self.replicas.iter().map(|it| it.name.clone()).filter(|it| replicas.get(it).is_none()).collect::<Vec<_>>();
        self.node.mut_store().install(snapshot.clone());
        let hard_state = Some(&self.node.store().hard_state);
        let (snapshot, truncate) = (Some(&snapshot), Some(truncated));
        self.disk.write(&Batch { hard_state, snapshot, truncate, discard_entries: true, ..Default::default() })?;
        (self.replicas, self.members, self.applied) = (replicas, members, truncated.0);
        self.publish_members();
        for broker_set in gone {
            self.tell(Event::Removed { broker_set })?;
        }
        self.announce_all()
    }

    pub(super) fn announce_all(&self) -> anyhow::Result<()> {
        self.replicas.iter().try_for_each(|set| self.tell(Event::View(Arc::new(set.clone()))))
    }

    pub(super) fn tell(&self, event: Event) -> anyhow::Result<()> {
        self.events.blocking_send(event).context("nobody listens to the raft thread any more")
    }
}
