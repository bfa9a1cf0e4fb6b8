//! Topics, groups and consumer offsets of a simulated broker (S13): `metadata_sync.rs`, `members.rs` and
//! `rpc/slave_sync.rs` with another network.

use super::{Broker, lead};
use crate::ctx::Ctx;
use crate::mutants::Mutant;
use crate::net::{ConnId, Port};
use crate::packet::{Packet, Sync};
use broker::meta::custody::{newer_than, take_offsets};
use broker::meta::{Change, Custody, Holders, OffsetTable, topics};
use broker::verdict::Queues;
use broker::{SyncBody, SyncVersion};
use ha::notes::Notes;
use ha::{Master, Role, RoleState};
use node::clock::wall_ms;
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::BTreeSet;

/// As in `metadata_sync.rs`, `members.rs` and `duties.rs`.
const WAIT_MS: Millis = 5_000;
const GRACE_MS: Millis = 3_000;
const RETRY_FIRST_MS: Millis = 20;
const RETRY_MOST_MS: Millis = 1_000;
const DEADLINE_MS: Millis = 3_000;
const OFFSETS_MS: Millis = 50;
const SAVE_OFFSETS_MS: Millis = 5_000;
/// The one queue of a set, and the group that reads it.
pub const TOPIC: &str = "t";
pub const GROUP: &str = "g";

pub struct Metadata {
    custody: Custody,
    pub offsets: OffsetTable,
    /// What slaves can have.
    version: SyncVersion,
    holders: Holders,
    /// Which slaves have all of it, in which epoch: for the master's core.
    pub(super) notes: Notes,
    /// Polls that nothing new has answered yet.
    held: Vec<Held>,
    /// Changes that wait for the members.
    unsettled: Vec<Unsettled>,
    following: Option<Following>,
    /// The role acted upon.
    term: Option<(Role, Epoch)>,
    set: BTreeSet<BrokerId>,
    /// The log's end at the promotion; until queues reach it no offset is corrected.
    promoted_at: Option<Offset>,
    /// A reader has committed an offset beyond the queue's end since: it has read of another master.
    told_beyond: bool,
    publish_at: Millis,
    save_at: Millis,
}

struct Held {
    conn: ConnId,
    has: SyncVersion,
    until: Millis,
}

struct Unsettled {
    topic: u32,
    version: SyncVersion,
    until: Millis,
}

struct Following {
    master: Master,
    conn: Option<ConnId>,
    connected: bool,
    has: SyncVersion,
    /// An answer is awaited, or the connection.
    asks: bool,
    /// When to give up what is under way, or to try again.
    at: Millis,
    pause: Millis,
}

impl Metadata {
    pub fn load(disk: &crate::disk::StoreDisk) -> Metadata {
        let mut offsets = OffsetTable::default();
        offsets.merge(disk.offsets.clone());
        Metadata {
            custody: Custody::new(disk.settings.clone()),
            offsets,
            version: SyncVersion::default(),
            holders: Holders::default(),
            notes: Notes::default(),
            held: Vec::new(),
            unsettled: Vec::new(),
            following: None,
            term: None,
            set: BTreeSet::new(),
            promoted_at: None,
            told_beyond: false,
            publish_at: 0,
            save_at: 0,
        }
    }

    fn publish(&mut self) {
        let (master_epoch, settings) = (self.custody.epoch(), self.custody.version());
        self.version = SyncVersion { master_epoch, settings, offsets: self.offsets.sequence() };
    }

    pub fn committed(&self) -> Option<Offset> {
        self.offsets.get(GROUP, TOPIC, 0)
    }

    /// Complete: no offset is beyond the queue's end any more.
    pub fn queues(&self) -> Queues {
        if self.promoted_at.is_none() { Queues::Complete } else { Queues::Growing }
    }

    /// As it was published last.
    pub fn set(&self) -> &BTreeSet<BrokerId> {
        &self.set
    }

    /// All that it knows of offsets it had before it was elected, or has been told within its queue.
    pub fn has_true_offsets(&self) -> bool {
        self.promoted_at.is_none() && !self.told_beyond
    }
}

pub fn topic_name(topic: u32) -> String {
    format!("topic-{topic}")
}

impl Broker {
    // ---- roles

    /// As the tasks that follow the published role do.
    pub(super) fn take_role(&mut self, ctx: &mut Ctx, state: RoleState) {
        let node = self.node;
        let Some(it) = &mut self.process else { return };
        let meta = &mut it.metadata;
        let term = (state.role, state.master_epoch);
        meta.set = state.sync_state_set;
        if meta.term.as_ref() != Some(&term) {
            meta.term = Some(term.clone());
            if let Some(conn) = meta.following.take().and_then(|it| it.conn) {
                ctx.close(conn, node);
            }
            meta.promoted_at = None;
            match term {
                (Role::Master, epoch) => self.adopt_tables(ctx, epoch),
                (Role::Slave { master }, epoch) => self.follow_tables(ctx, epoch, master),
                (Role::Unassigned, _) => self.refuse_polls(ctx),
            }
        }
        self.settle_changes(ctx);
    }

    fn adopt_tables(&mut self, ctx: &mut Ctx, epoch: Epoch) {
        let end = self.disk.end();
        let Some(it) = &mut self.process else { return };
        let meta = &mut it.metadata;
        let settings = meta.custody.settings().clone();
        meta.custody.become_master(epoch, settings, wall_ms());
        self.disk.settings = meta.custody.settings().clone();
        meta.publish();
        meta.promoted_at = Some(end);
        let has = |topic| meta.custody.settings().topics.get(&topic_name(topic)).is_some();
        ctx.truth(self.set).serves(self.index, epoch, has);
    }

    fn follow_tables(&mut self, ctx: &mut Ctx, epoch: Epoch, master: Master) {
        let now = self.now(ctx);
        self.refuse_polls(ctx);
        let Some(it) = &mut self.process else { return };
        it.metadata.custody.follow(epoch);
        // No version of this master's: the first answer brings everything.
        let has = SyncVersion { master_epoch: -1, settings: 0, offsets: 0 };
        let (conn, connected, asks, pause) = (None, false, false, RETRY_FIRST_MS);
        it.metadata.following = Some(Following { master, conn, connected, has, asks, at: now, pause });
    }

    fn refuse_polls(&mut self, ctx: &mut Ctx) {
        let Some(it) = &mut self.process else { return };
        for it in std::mem::take(&mut it.metadata.held) {
            ctx.send(it.conn, self.node, Packet::Sync(Sync::Refused));
        }
    }

    // ---- the slave's side

    fn poll_metadata(&mut self, ctx: &mut Ctx) {
        let (now, node) = (self.now(ctx), self.node);
        let Some(it) = &mut self.process else { return };
        let me = it.me;
        let Some(following) = &mut it.metadata.following else { return };
        match following.conn {
            Some(conn) if following.connected => {
                ctx.send(conn, node, Packet::Sync(Sync::Ask { slave: me, has: following.has }));
            }
            Some(_) => {}
            None => {
                let Some(to) = ctx.at(&following.master.address) else { return };
                following.conn = Some(ctx.connect(node, to, Port::Main));
            }
        }
        (following.asks, following.at) = (true, now + WAIT_MS + GRACE_MS);
    }

    /// True if the connection is the one to the master's tables.
    pub(super) fn metadata_link_opened(&mut self, ctx: &mut Ctx, conn: ConnId) -> bool {
        let following = self.process.as_mut().and_then(|it| it.metadata.following.as_mut());
        let Some(it) = following.filter(|it| it.conn == Some(conn)) else { return false };
        it.connected = true;
        self.poll_metadata(ctx);
        true
    }

    pub(super) fn metadata_link_closed(&mut self, ctx: &Ctx, conn: ConnId) -> bool {
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return false };
        it.metadata.held.retain(|it| it.conn != conn);
        let Some(it) = it.metadata.following.as_mut().filter(|it| it.conn == Some(conn)) else { return false };
        (it.conn, it.connected) = (None, false);
        it.again(now);
        true
    }

    pub(super) fn on_sync(&mut self, ctx: &mut Ctx, conn: ConnId, it: Sync) {
        match it {
            Sync::Ask { slave, has } => self.on_poll(ctx, conn, slave, has),
            Sync::Answer { version, body } => self.on_tables(ctx, conn, version, *body),
            Sync::Refused => {
                let now = self.now(ctx);
                let following = self.process.as_mut().and_then(|it| it.metadata.following.as_mut());
                if let Some(it) = following.filter(|it| it.conn == Some(conn)) {
                    it.again(now);
                }
            }
        }
    }

    fn on_tables(&mut self, ctx: &mut Ctx, conn: ConnId, version: SyncVersion, body: SyncBody) {
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        let meta = &mut it.metadata;
        let Some(following) = meta.following.as_mut().filter(|it| it.conn == Some(conn)) else { return };
        if version != following.has {
            // S2: tables of another mastership are not ours to take.
            let Ok(next) = meta.custody.replace(version, &body) else { return following.again(now) };
            self.disk.settings = next.settings.clone();
            if ctx.burns() {
                return;
            }
            take_offsets(&mut meta.offsets, body);
            meta.custody.accept(next);
            following.has = version;
        }
        following.pause = RETRY_FIRST_MS;
        self.poll_metadata(ctx);
    }

    // ---- the master's side

    fn on_poll(&mut self, ctx: &mut Ctx, conn: ConnId, slave: BrokerId, has: SyncVersion) {
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        if it.leading.is_none() {
            return ctx.send(conn, self.node, Packet::Sync(Sync::Refused));
        }
        let (current, meta) = (it.metadata.version, &mut it.metadata);
        let synced = meta.holders.note(slave, has, current);
        meta.held.push(Held { conn, has, until: now + WAIT_MS });
        meta.notes.add(current.master_epoch, slave, synced);
        self.settle_changes(ctx);
        self.answer_polls(ctx);
    }

    fn answer_polls(&mut self, ctx: &mut Ctx) {
        let (now, node) = (self.now(ctx), self.node);
        let Some(it) = &mut self.process else { return };
        let Some(epoch) = it.leading.as_ref().map(|it| it.epoch) else { return };
        let meta = &mut it.metadata;
        let (custody, offsets, version) = (&meta.custody, &meta.offsets, meta.version);
        let ours = version.master_epoch == epoch;
        meta.held.retain(|it| {
            let news = newer_than(it.has, version, custody.settings(), offsets).filter(|_| ours);
            let answer = match news {
                Some((version, body)) => Sync::Answer { version, body: Box::new(body) },
                None if now >= it.until => {
                    let version = if ours { version } else { it.has };
                    Sync::Answer { version, body: Box::default() }
                }
                None => return true,
            };
            ctx.send(it.conn, node, Packet::Sync(answer));
            false
        });
    }

    pub(super) fn on_create(&mut self, ctx: &mut Ctx, topic: u32) {
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        let in_sync = it.leading.as_ref().map_or(0, |it| it.core.in_sync_count());
        if in_sync < lead::least(ctx) {
            return;
        }
        let meta = &mut it.metadata;
        let change = Change::CreateTopic(topics::derived(topic_name(topic), 1));
        match meta.custody.change(&[change], wall_ms()) {
            Err(_) => return,
            Ok(None) => {}
            Ok(Some(next)) => {
                self.disk.settings = next.settings.clone();
                meta.custody.accept(next);
                meta.publish();
            }
        }
        let version = meta.version;
        meta.unsettled.push(Unsettled { topic, version, until: now + DEADLINE_MS });
        for slave in meta.holders.changed(version) {
            meta.notes.add(version.master_epoch, slave, false);
        }
        self.answer_polls(ctx);
        self.settle_changes(ctx);
    }

    /// Acknowledges the changes that every member has.
    fn settle_changes(&mut self, ctx: &mut Ctx) {
        let now = self.now(ctx);
        let alone = ctx.is(Mutant::AcknowledgesTopicsAlone);
        let Some(it) = self.process.as_mut().filter(|it| !it.metadata.unsettled.is_empty()) else { return };
        let meta = &mut it.metadata;
        let leading = it.leading.as_ref().map(|it| (it.epoch, it.core.others().collect(), it.core.in_sync_count()));
        let (holders, least) = (&meta.holders, lead::least(ctx));
        let mut done = Vec::new();
        meta.unsettled.retain(|it| {
            let leading = leading.as_ref().filter(|leading| leading.0 == it.version.master_epoch);
            let Some((_, others, in_sync)) = leading else { return false };
            let settled = alone || holders.lacking(others, it.version).is_none() && *in_sync >= least;
            done.extend(settled.then_some((it.topic, it.version.master_epoch)));
            !settled && now < it.until
        });
        for (topic, epoch) in done {
            ctx.truth(self.set).topic_acknowledged(topic, epoch);
        }
    }

    // ---- offsets

    /// Where queues end: what is confirmed, whole messages.
    pub(super) fn queue_end(&self) -> Offset {
        self.disk.whole_end_below(self.disk.confirm) as Offset
    }

    pub(super) fn on_commit(&mut self, offset: Offset) {
        let end = self.queue_end();
        if let Some(it) = self.process.as_mut().filter(|it| it.leading.is_some()) {
            it.metadata.offsets.commit(GROUP, TOPIC, 0, offset);
            it.metadata.told_beyond |= offset > end;
        }
    }

    pub(super) fn tick_metadata(&mut self, ctx: &mut Ctx) {
        let (now, end) = (self.now(ctx), self.queue_end());
        let confirm = self.disk.confirm;
        let Some(it) = &mut self.process else { return };
        let (leads, meta) = (it.leading.is_some(), &mut it.metadata);
        if leads && now >= meta.publish_at {
            meta.publish_at = now + OFFSETS_MS;
            meta.version.offsets = meta.offsets.sequence();
        }
        if now >= meta.save_at {
            meta.save_at = now + SAVE_OFFSETS_MS;
            self.disk.offsets = meta.offsets.to_file().offset_table;
        }
        if leads && meta.promoted_at.is_some_and(|at| confirm >= at) {
            (meta.promoted_at, meta.told_beyond) = (None, false);
            if !ctx.is(Mutant::KeepsOffsetsBeyondTheEnd) {
                meta.offsets.clamp(|_, _| Some(end));
            }
        }
        if leads {
            self.answer_polls(ctx);
            self.settle_changes(ctx);
        } else if meta.following.as_ref().is_some_and(|it| now >= it.at) {
            self.give_up_poll(ctx);
            self.poll_metadata(ctx);
        }
    }

    /// What is under way for too long is begun anew.
    fn give_up_poll(&mut self, ctx: &mut Ctx) {
        let following = self.process.as_mut().and_then(|it| it.metadata.following.as_mut());
        let Some(it) = following.filter(|it| it.asks) else { return };
        (it.asks, it.connected) = (false, false);
        if let Some(conn) = it.conn.take() {
            ctx.close(conn, self.node);
        }
    }
}

impl Following {
    fn again(&mut self, now: Millis) {
        self.asks = false;
        self.at = now + self.pause;
        self.pause = (self.pause * 2).min(RETRY_MOST_MS);
    }
}
