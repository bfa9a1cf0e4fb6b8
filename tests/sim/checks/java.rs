//! What is judged in a set with RocketMQ's brokers.
//!
//! While one of ours leads: everything, as in any other set; each member has what is acknowledged (S3), whosever it is,
//! and is counted only where ours would be.
//!
//! Once one of RocketMQ's leads: that ours elected nobody else at that epoch (S1), whom they elected (S7), and all that
//! our replicas do by themselves: promises (S2), bytes only where the log ends, cuts, true histories (S9), a set that
//! heals (S14), logs that are the same in the end. Waived is what RocketMQ does not promise. It has no lease and no
//! promise on its disk, counts a member that has just connected for nothing, and acknowledges what others lack when it
//! steps down. So what it acknowledges and shows may be lost, and with it anything that ours had said before. The next
//! master of ours promises anew, and from its first confirmation on all is judged as before (S3, S7, loss, S13 of
//! topics), with two exceptions for the rest of the run:
//!
//! - What consumers have read (S3, S13, delivery): they go on from where RocketMQ's master has led them to.
//! - Whose bytes are where, once somebody has kept other bytes than its master has because a history of RocketMQ's is
//!   untrue: it drops an epoch that begins where the one before does, and begins its epoch anew after a restart. Then
//!   one epoch's bytes bear the name of another, and no comparison shows it (KIP-279). Ours know what such an epoch is
//!   when its own master tells them (`JAVA_BEHIND_TRIES`); what later masters make of it they cannot.
//!
//! A mastership of RocketMQ's that comes late, when another epoch is elected, waives nothing of that one.
//!
//! One exception of S7: a slave of RocketMQ's that is a member and cuts its log below what was confirmed, as its
//! comparison of epochs may have it, and that is elected before it has all of it again, has lost it itself.

use super::{Claim, Truth};
use crate::broker::Broker;
use crate::java::Make;
use crate::packet::Cell;
use ha::epochs::EpochHistory;
use proto::ha::EpochEntry;
use proto::{Epoch, Offset};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct JavaTerms {
    /// By broker: below this it cut its log last.
    cuts: BTreeMap<usize, usize>,
    /// The newest epoch that one of them has led.
    led: Option<Epoch>,
    /// No master of ours has led since.
    reigns: bool,
    /// Of the messages acknowledged by ours, so many may be lost.
    pub(super) excused: usize,
    /// Epochs of a master that was one before: its slaves' bytes go by the older name until they connect anew.
    goes_by: BTreeMap<Epoch, Epoch>,
    /// A log of theirs has bytes under another epoch's name, and who compares with it believes that.
    untrue: bool,
    /// And somebody has kept other bytes than its master has.
    diverged: bool,
}

impl JavaTerms {
    pub fn has_led(&self) -> bool {
        self.led.is_some()
    }

    /// Whether what histories say may be wrong.
    pub fn is_untrue(&self) -> bool {
        self.led.is_some() && self.untrue
    }

    /// Whether logs may differ and nobody knows.
    pub fn has_diverged(&self) -> bool {
        self.diverged
    }

    /// Whether what is done at this epoch is promised: RocketMQ's have led none that is newer.
    pub(super) fn promises(&self, epoch: Epoch) -> bool {
        self.led.is_none_or(|led| epoch > led)
    }

    /// Do bytes of this epoch rightly go by that one's name?
    pub(super) fn goes_by(&self, mut epoch: Epoch, name: Epoch) -> bool {
        while epoch != name {
            let Some(older) = self.goes_by.get(&epoch) else { return false };
            epoch = *older;
        }
        true
    }

    fn says(&mut self, history: &EpochHistory, log: &[Cell]) {
        let named = |at: usize| history.covering(at as Offset).0.epoch;
        self.untrue |= (0..log.len()).any(|at| !self.goes_by(i32::from(log[at].epoch), named(at)));
    }
}

/// What one of our slaves takes the history of its master of that epoch for: an epoch that is missing began where the
/// last one that is not did.
fn told(by: &EpochHistory, epoch: Option<Epoch>) -> EpochHistory {
    let (mut told, missing) = (by.clone(), epoch.filter(|it| by.last_epoch() < *it));
    if let Some((last, epoch)) = by.last().zip(missing) {
        let entry = EpochEntry { epoch, start: last.start };
        told.push(entry).unwrap_or_else(|e| panic!("it begins where the last one does: {e}"));
    }
    told
}

impl Truth {
    /// A slave of RocketMQ's is about to compare its history.
    pub fn java_compares(&mut self, history: &EpochHistory, log: &[Cell]) {
        if self.java.led.is_some() {
            self.java.says(history, log);
        }
    }

    /// A slave has compared histories with its master, and cut what it had to.
    pub fn compared(&mut self, slave: usize, master: usize, epoch: Option<Epoch>) {
        if self.java.led.is_some() {
            self.claims.push(Claim::Compared { slave, master, epoch });
        }
    }

    /// S9: what a slave keeps is what its master has.
    pub(super) fn judge_comparison(&mut self, slave: &Broker, master: &Broker, epoch: Option<Epoch>) {
        if master.make == Make::Java {
            let told = told(&master.disk.epochs, epoch);
            self.java.says(&told, &master.disk.log);
        }
        // Meanwhile it may be master no more, and have cut its own.
        let leads = master.leads().is_some_and(|it| epoch.is_none_or(|epoch| it == epoch));
        let same = !leads || master.disk.log.starts_with(&slave.disk.log);
        self.java.diverged |= !same && self.java.untrue;
        if !same && !self.java.untrue {
            let (it, master) = (slave.index + 1, master.index + 1);
            self.fail(
                "S9",
                format!("B{it} keeps what B{master}, its master, does not have, and all histories are true"),
            );
        }
    }

    pub fn java_cuts(&mut self, broker: usize, to: Offset) {
        self.java.cuts.insert(broker, to.max(0) as usize);
    }

    /// S1: of two replicas only one leads an epoch. That one does so twice, after a restart, is RocketMQ's own (S2).
    pub fn java_leads(&mut self, broker: usize, epoch: Epoch, after: Option<Epoch>) {
        let before = self.led.insert(epoch, (broker, self.lives[broker]));
        if let Some(before) = before.filter(|it| it.0 != broker) {
            self.fail("S1", format!("B{} and B{} lead epoch {epoch}", before.0 + 1, broker + 1));
        }
        self.java.goes_by.extend(after.map(|it| (epoch, it)));
        self.claims.push(Claim::JavaLeads { broker, epoch });
    }

    /// One of ours leads.
    pub(super) fn java_is_followed(&mut self, epoch: Epoch) {
        if self.java.promises(epoch) && std::mem::take(&mut self.java.reigns) {
            self.java.cuts.clear();
        }
    }

    pub(super) fn judge_java(&mut self, brokers: &[Broker], broker: usize, epoch: Epoch) {
        if self.newest.as_ref().is_none_or(|it| it.epoch <= epoch) {
            self.judge_java_elected(&brokers[broker], epoch);
            self.forget_what_is_not_promised();
        }
        self.java.led = self.java.led.max(Some(epoch));
        let disk = &brokers[broker].disk;
        self.java.says(&disk.epochs, &disk.log);
    }

    /// S7: our controllers elect nobody who lacks what ours have confirmed or acknowledged.
    fn judge_java_elected(&mut self, broker: &Broker, epoch: Epoch) {
        if self.java.diverged {
            return;
        }
        let (log, until) = (&broker.disk.log, self.confirmed.len());
        if self.java.cuts.get(&broker.index).is_some_and(|cut| *cut < until) && log.len() < until {
            return;
        }
        let number = broker.index + 1;
        if log.len() < until || log[..until] != self.confirmed[..] {
            let why = format!("B{number}, Java, leads epoch {epoch} without all that was confirmed up to {until}");
            return self.fail("S7", why);
        }
        let has: BTreeSet<u32> = log.iter().map(|it| it.message).collect();
        if let Some(gone) = self.acknowledged[self.java.excused..].iter().find(|it| !has.contains(it)) {
            self.fail("loss", format!("B{number}, Java, leads epoch {epoch} without message {gone}, acknowledged"));
        }
    }

    fn forget_what_is_not_promised(&mut self) {
        self.confirmed.clear();
        self.compared.fill(0);
        self.java.excused = self.acknowledged.len();
        self.readers.forget_topics();
        self.java.cuts.clear();
        self.java.reigns = true;
    }
}
