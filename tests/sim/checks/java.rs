//! What is judged in a set with RocketMQ's brokers. While one of ours leads: everything, as in any other set; each
//! member has what is acknowledged (S3), whosever it is, and is counted only where ours would be.
//!
//! A run ends when one of RocketMQ's leads: it has no lease and no promise on its disk, shrinks its set by itself, and
//! shows readers and acknowledges to clients what others lack (S2 to S5, S7, S13); RocketMQ promises none of that to be
//! otherwise. Whom our controllers have elected is judged then, and last (S1, S7). One exception: a slave of RocketMQ's
//! that is a member and cuts its log below what was confirmed, as its comparison of epochs may have it, and that is
//! elected before it has all of it again, has lost it itself.

use super::{Claim, Truth};
use crate::broker::Broker;
use proto::{Epoch, Offset};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct JavaTerms {
    /// By broker: below this it cut its log last.
    cuts: BTreeMap<usize, usize>,
    /// One of them leads, which ends the run.
    pub leads: bool,
}

impl Truth {
    pub fn java_cuts(&mut self, broker: usize, to: Offset) {
        self.java.cuts.insert(broker, to.max(0) as usize);
    }

    /// S1: of two replicas only one leads an epoch. That one does so twice, after a restart, is RocketMQ's own (S2).
    pub fn java_leads(&mut self, broker: usize, epoch: Epoch) {
        let before = self.led.insert(epoch, (broker, self.lives[broker]));
        if let Some(before) = before.filter(|it| it.0 != broker) {
            self.fail("S1", format!("B{} and B{} lead epoch {epoch}", before.0 + 1, broker + 1));
        }
        self.claims.push(Claim::JavaLeads { broker, epoch });
    }

    /// S7: our controllers elect nobody who lacks what ours have confirmed or acknowledged.
    pub(super) fn judge_java(&mut self, broker: &Broker, epoch: Epoch) {
        self.java.leads = true;
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
        if let Some(gone) = self.acknowledged.iter().find(|it| !has.contains(it)) {
            self.fail("loss", format!("B{number}, Java, leads epoch {epoch} without message {gone}, acknowledged"));
        }
    }
}
