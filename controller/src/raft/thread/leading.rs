//! Who leads, for how long that is certain, and what may be answered because of it.

use super::super::disk::Disk;
use super::super::metrics::Follower;
use super::super::{Applied, Leadership, RaftError, Read};
use super::{Driver, Event};
use ::raft::StateRole;
use node::clock::monotonic_ms;
use proto::Millis;
use std::sync::atomic::Ordering;
use tracing::info;

impl<D: Disk> Driver<D> {
    pub(super) fn look_at_followers(&self) {
        let raft = &self.node.raft;
        let last = self.node.store().last();
        let leads = raft.state == StateRole::Leader;
        let others = raft.prs().iter().filter(|(id, _)| leads && **id != raft.id);
        let mut followers = self.metrics.followers.lock();
        let follower = |(id, it): (&u64, &::raft::Progress)| {
            let silent = followers.iter().find(|it| it.id == *id).map_or(0, |it| it.silent_looks);
            let silent_looks = if it.recent_active { 0 } else { silent.saturating_add(1) };
            Follower { id: *id, lag_entries: last.saturating_sub(it.matched), silent_looks }
        };
        *followers = others.map(follower).collect();
    }

    pub(super) fn start_reads(&mut self) {
        let now = monotonic_ms();
        if self.reads.has_waiting() && now >= self.reads.lease_until && self.reads.needs_round() {
            self.begin_round(now);
        }
    }

    pub(super) fn begin_round(&mut self, now: Millis) {
        // raft-rs would ignore it before the first commit of this term.
        if self.node.raft.state == StateRole::Leader && self.node.raft.commit_to_current_term() {
            let context = self.reads.begin(now);
            self.node.read_index(context);
        }
    }

    pub(super) fn after_round(&mut self) -> anyhow::Result<()> {
        self.publish_leadership()?;
        self.lease.store(self.reads.lease_until, Ordering::Release);
        self.metrics.at(self.node.store().last(), self.node.raft.raft_log.committed, self.applied);
        let lease_holds = monotonic_ms() < self.reads.lease_until;
        let ready = match lease_holds && self.publish.borrow().leading {
            true => self.reads.take_all(),
            false => self.reads.ready(self.applied),
        };
        ready.into_iter().for_each(|read| read(Ok(self.what_is_applied())));
        self.compact()
    }

    fn what_is_applied(&self) -> Applied<'_> {
        Applied { replicas: &self.replicas, members: &self.members, directories: &self.directories }
    }

    /// Leading counts from when everything committed before this term is applied: before that, answers could be stale.
    pub(super) fn publish_leadership(&mut self) -> anyhow::Result<()> {
        let before = *self.publish.borrow();
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        let leading = is_leader && raft.commit_to_current_term() && self.applied == raft.raft_log.committed
            || is_leader && before.leading && before.term == raft.term;
        let leader = Some(raft.leader_id).filter(|it| *it != 0 && (leading || !is_leader));
        let now = Leadership { leader, leading, term: raft.term };
        if now == before {
            return Ok(());
        }
        info!(leader = now.leader, leading, term = now.term, "raft leadership");
        if before.leading && (!leading || before.term != now.term) {
            // Before the askers hear that nothing came of it: no lease may be granted for that any more (S5).
            self.tell(Event::Following)?;
            self.lose_leadership();
        }
        self.publish.send_replace(now);
        if leading && (!before.leading || before.term != now.term) {
            self.begin_round(monotonic_ms());
            self.tell(Event::Leading)?;
        }
        Ok(())
    }

    /// What was proposed may still commit, under another leader: askers are sent to it.
    pub(super) fn lose_leadership(&mut self) {
        self.lease.store(0, Ordering::Release);
        for (_, done) in std::mem::take(&mut self.pending.waiting) {
            // The asker may have given up meanwhile.
            let _ = done.send(Err(RaftError::NotLeader));
        }
        if let Some((_, asker)) = self.changing.take() {
            let _ = asker.send(Err(RaftError::NotLeader));
        }
        self.abandon_reads();
    }

    pub(super) fn abandon_reads(&mut self) {
        self.reads.abandon().into_iter().for_each(|read: Read| read(Err(RaftError::NotLeader)));
    }
}
