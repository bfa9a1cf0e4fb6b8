//! What readers and operators are promised: nothing that was read is ever another message (S3), nobody skips one, and
//! what was acknowledged about topics and offsets is on the successor (S13).

use super::Truth;
use crate::packet::Cell;
use proto::{Epoch, Offset};
use std::collections::{BTreeMap, BTreeSet};

/// What a set's consumer and its operator have seen.
#[derive(Default)]
pub struct Readers {
    /// Everything below was read by somebody.
    pub read_to: usize,
    /// Acknowledged to an operator, first in which epoch.
    topics: BTreeMap<u32, Epoch>,
}

impl Readers {
    /// Not everybody who may be master from now on has them.
    pub fn forget_topics(&mut self) {
        self.topics.clear();
    }
}

impl Truth {
    // ---- S13, topics

    /// One of RocketMQ's that leads since has not been waited for.
    pub fn topic_acknowledged(&mut self, topic: u32, epoch: Epoch) {
        if !self.java.promises(epoch) {
            return;
        }
        let first = self.readers.topics.entry(topic).or_insert(epoch);
        *first = epoch.min(*first);
    }

    /// A new master begins with these topics. It may have been stopped and have a successor already: what that one has
    /// acknowledged it does not know.
    pub fn serves(&mut self, broker: usize, epoch: Epoch, has: impl Fn(u32) -> bool) {
        let mut before = self.readers.topics.iter().filter(|it| *it.1 < epoch).map(|it| *it.0);
        if let Some(gone) = before.find(|it| !has(*it)) {
            let why = format!("B{} leads epoch {epoch} without topic-{gone}, which was acknowledged", broker + 1);
            self.fail("S13", why);
        }
    }

    // ---- S13, offsets

    /// A master that knows where its queue ends says that its group has read up to here.
    pub fn offset_told(&mut self, broker: usize, offset: Offset, end: Offset) {
        if offset > end {
            let why = format!("B{} says that its group is at {offset}, its queue ends at {end}", broker + 1);
            self.fail("S13", why);
        }
    }

    // ---- S3

    /// Below the strict profile a reader may have seen what is lost, and so may one of a master of RocketMQ's.
    pub fn readers_are_promised(&self) -> bool {
        self.strict && !self.java.has_led()
    }

    /// S3: what is read is what was confirmed there, for ever; and nothing is left out.
    pub fn consumed(&mut self, at: Offset, cells: &[Cell]) {
        let at = at as usize;
        if !self.readers_are_promised() {
            return;
        }
        if at > self.readers.read_to {
            return self
                .fail("S13", format!("a consumer goes on at {at}, nobody has read above {}", self.readers.read_to));
        }
        let known = self.confirmed.get(at..at + cells.len());
        if known != Some(cells) {
            let message = cells.first().map_or(0, |it| it.message);
            return self
                .fail("S3", format!("a consumer reads message {message} at {at}, which is not what is confirmed"));
        }
        self.readers.read_to = self.readers.read_to.max(at + cells.len());
    }

    /// S3: a queue is never shorter than what was read of it.
    pub fn consumer_moved(&mut self, from: Offset, to: Offset) {
        if self.readers_are_promised() {
            self.fail("S3", format!("a consumer at {from} is told that the queue ends at {to}"));
        }
    }

    /// In the end every acknowledged message has been given to the set's consumer, in the queue's order.
    pub fn judge_delivery(&mut self) {
        if !self.readers_are_promised() {
            return;
        }
        let given: BTreeSet<u32> = self.confirmed[..self.readers.read_to].iter().map(|it| it.message).collect();
        if let Some(missed) = self.acknowledged.iter().find(|it| !given.contains(it)) {
            let (read, end) = (self.readers.read_to, self.confirmed.len());
            let why = format!("message {missed} was acknowledged and no consumer has got it: read is {read} of {end}");
            self.fail("delivery", why);
        }
    }
}
