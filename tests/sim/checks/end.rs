//! What is true when a run is over.

use super::Truth;
use crate::broker::Broker;
use std::collections::BTreeMap;

impl Truth {
    /// In the end: every acknowledged message is on the master, each client's in order, and logs agree.
    pub fn judge_the_end(&mut self, brokers: &[Broker], master: usize, client_of: impl Fn(u32) -> usize) {
        if self.java.has_diverged() {
            return;
        }
        let log = &brokers[master].disk.log;
        if self.strict {
            let mut places: BTreeMap<u32, usize> = BTreeMap::new();
            for (at, cell) in log.iter().enumerate() {
                places.entry(cell.message).or_insert(at);
            }
            if let Some(gone) = self.acknowledged[self.java.excused..].iter().find(|it| !places.contains_key(it)) {
                return self.fail("loss", format!("message {gone} was acknowledged and is gone"));
            }
            let mut last: BTreeMap<usize, (usize, u32)> = BTreeMap::new();
            for message in self.heard.clone() {
                let Some(at) = places.get(&message).copied() else { continue };
                let before = last.insert(client_of(message), (at, message));
                if let Some((before_at, before)) = before.filter(|it| it.0 > at) {
                    return self
                        .fail("order", format!("message {before} at {before_at} comes after {message} at {at}"));
                }
            }
        }
        let confirm = brokers[master].disk.confirm as usize;
        let members = self.newest.as_ref().map(|it| it.set.clone()).unwrap_or_default();
        let is_member = |it: &&Broker| it.identity().is_some_and(|id| members.contains(&id));
        for it in self.of(brokers).iter().filter(is_member) {
            let until = confirm.min(it.disk.log.len());
            if it.disk.log.len() < confirm || it.disk.log[..until] != log[..until] {
                return self
                    .fail("S9", format!("B{}'s log differs from B{}'s below {confirm}", it.index + 1, master + 1));
            }
        }
    }
}
