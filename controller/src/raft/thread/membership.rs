//! Membership at run time: one change at a time, each a Raft entry whose context is a [`Change`].
//!
//! A new controller is a learner first; the leader promotes it once it has the log. Which data directory each
//! controller was first heard with is written down, so that one with an empty disk is never taken for its old self.

use super::super::disk::{Batch, Disk};
use super::super::members::{Ask, Change, Member, MemberRefusal, Role};
use super::super::{Hello, RaftError};
use super::Driver;
use ::raft::StateRole;
use ::raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType};
use anyhow::{Context, bail};
use protobuf::Message as _;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use tracing::info;

/// A learner that lacks no more than this many entries is made a voter.
const CAUGHT_UP: u64 = 100;

pub(in crate::raft) type Asker = oneshot::Sender<Result<Result<(), MemberRefusal>, RaftError>>;

impl<D: Disk> Driver<D> {
    pub(super) fn on_ask(&mut self, ask: &Ask, asker: Asker) {
        if self.node.raft.state != StateRole::Leader {
            // The asker may have given up meanwhile, here and below.
            let _ = asker.send(Err(RaftError::NotLeader));
            return;
        }
        match self.try_ask(ask) {
            Ok(Some(change)) => match self.propose_change(&change) {
                Ok(()) => self.changing = Some((change, asker)),
                Err(why) => drop(asker.send(why)),
            },
            Ok(None) => drop(asker.send(Ok(Ok(())))),
            Err(why) => drop(asker.send(Ok(Err(why)))),
        }
    }

    fn try_ask(&mut self, ask: &Ask) -> Result<Option<Change>, MemberRefusal> {
        if self.node.raft.has_pending_conf() || self.changing.is_some() {
            return Err(MemberRefusal::Busy);
        }
        match ask {
            Ask::Add { name, address } => self.members.check_add(name, address).map(Some),
            Ask::Remove { name } => {
                let raft = &self.node.raft;
                let heard = |id| id == raft.id || raft.prs().get(id).is_some_and(|it| it.recent_active);
                self.members.check_remove(name, raft.id, heard).map(Some)
            }
            Ask::Transfer { name } => {
                let id = self.members.check_transfer(name)?;
                self.node.transfer_leader(id);
                if self.node.raft.lead_transferee.is_some() {
                    self.handed_over = Some(self.node.raft.term);
                    self.reads.lease_until = 0;
                    self.lease.store(0, Ordering::Release);
                }
                Ok(None)
            }
        }
    }

    /// This leader's lease is over: the successor's election waits for none (S5).
    pub(super) fn has_handed_over(&self) -> bool {
        self.handed_over == Some(self.node.raft.term)
    }

    /// A transfer that came to nothing in time may still do so: the message may be under way. In a new term it counts
    /// for nothing, and whoever leads that has a lease.
    pub(super) fn end_failed_transfer(&mut self) {
        let has_handed_over = self.has_handed_over();
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && has_handed_over && raft.lead_transferee.is_none() {
            raft.become_follower(raft.term, ::raft::INVALID_ID);
        }
    }

    fn propose_change(&mut self, change: &Change) -> Result<(), Result<Result<(), MemberRefusal>, RaftError>> {
        let (id, kind) = match change {
            Change::AddLearner { id, .. } => (*id, ConfChangeType::AddLearnerNode),
            Change::Promote { id } => (*id, ConfChangeType::AddNode),
            Change::Remove { id } => (*id, ConfChangeType::RemoveNode),
        };
        let mut single = ConfChangeSingle { node_id: id, ..Default::default() };
        single.set_change_type(kind);
        let mut entry = ConfChangeV2::default();
        entry.mut_changes().push(single);
        entry.context = serde_json::to_vec(change).unwrap_or_default().into();
        self.node.propose_conf_change(Vec::new(), entry).map_err(|_| Err(RaftError::NotLeader))
    }

    /// The leader makes a voter of a learner that has caught up and is heard.
    pub(super) fn promote_learners(&mut self) {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader || raft.has_pending_conf() || !raft.commit_to_current_term() {
            return;
        }
        let caught_up = |id: u64| {
            let near = |it: &::raft::Progress| it.recent_active && it.matched + CAUGHT_UP >= raft.raft_log.committed;
            raft.prs().get(id).is_some_and(near)
        };
        let learner = self.members.members.iter().find(|(id, it)| it.role == Role::Learner && caught_up(**id));
        if let Some(id) = learner.map(|it| *it.0) {
            // Refused: tried again with the next tick.
            let _ = self.propose_change(&Change::Promote { id });
        }
    }

    pub(super) fn apply_change(&mut self, entry: &Entry) -> anyhow::Result<()> {
        if entry.get_entry_type() != EntryType::EntryConfChangeV2 {
            bail!("raft entry {}: a membership change of another version; run the version that wrote it", entry.index);
        }
        let what = || format!("raft entry {}: not a membership change of this version", entry.index);
        let conf_change = ConfChangeV2::parse_from_bytes(&entry.data).with_context(what)?;
        let change: Change = serde_json::from_slice(&conf_change.context).with_context(what)?;
        let conf_state = self.node.apply_conf_change(&conf_change)?;
        self.node.mut_store().conf_state = conf_state;
        info!(?change, index = entry.index, "controllers changed");
        self.members.apply(change.clone());
        self.publish_members();
        // Soon on disk with a snapshot; until then each restart finds the change in the log again.
        self.snapshots.due = true;
        if let Some((_, asker)) = self.changing.take_if(|it| it.0 == change) {
            let _ = asker.send(Ok(Ok(())));
        }
        Ok(())
    }

    /// This controller was removed and knows it.
    pub(super) fn is_removed(&self) -> bool {
        self.was_member && !self.members.members.contains_key(&self.options.id)
    }

    pub(super) fn publish_members(&mut self) {
        self.was_member |= self.members.members.contains_key(&self.options.id);
        let mut known = self.members.clone();
        for (id, it) in self.introduced.iter().filter(|it| *it.0 > self.members.last_id) {
            known.members.insert(*id, it.clone());
        }
        self.publish_to.send_replace(known);
    }

    /// Another controller opens its stream. One that is newer than what this controller has applied yet is believed: it
    /// may be the leader that will tell.
    pub(super) fn on_hello(&mut self, it: &Hello) -> anyhow::Result<Result<(), String>> {
        if let Err(why) = self.members.check_not_gone(it.from, &it.name) {
            return Ok(Err(why.to_string()));
        }
        let Some(member) = self.members.get(it.from) else {
            let member = Member { name: it.name.clone(), address: it.address.clone(), role: Role::Learner };
            self.introduced.insert(it.from, member);
            self.publish_members();
            return self.remember(it).map(Ok);
        };
        match self.directories.get(&it.from) {
            Some(known) if *known != it.directory => Ok(Err(member.disk_is_lost().to_string())),
            Some(_) => Ok(Ok(())),
            None => self.remember(it).map(Ok),
        }
    }

    fn remember(&mut self, it: &Hello) -> anyhow::Result<()> {
        self.directories.insert(it.from, it.directory);
        self.disk.write(&Batch { directory: Some((it.from, it.directory)), ..Default::default() })
    }
}
