//! Queue locks of ordered consumption: which client of a group may consume a queue.

use proto::Millis;
use std::collections::BTreeMap;

/// A lock that was not refreshed for this long can be taken by another client (`REBALANCE_LOCK_MAX_LIVE_TIME`).
const EXPIRY: Millis = 60_000;

/// (topic, queue id): all locks are about this broker's queues.
pub type Queue = (String, i32);

#[derive(Clone, Debug, Default)]
pub struct QueueLocks {
    /// group → queue → holder.
    table: BTreeMap<String, BTreeMap<Queue, Holder>>,
}

#[derive(Clone, Debug)]
struct Holder {
    client_id: String,
    refreshed: Millis,
}

impl QueueLocks {
    /// Takes or refreshes each lock that is free, expired or already the client's; returns whether it now holds it.
    pub fn lock(&mut self, now: Millis, group: &str, client_id: &str, queue: Queue) -> bool {
        let queues = self.table.entry(group.to_owned()).or_default();
        match queues.get(&queue) {
            Some(holder) if holder.client_id != client_id && now < holder.refreshed + EXPIRY => false,
            _ => {
                queues.insert(queue, Holder { client_id: client_id.to_owned(), refreshed: now });
                true
            }
        }
    }

    /// Somebody else's lock stays.
    pub fn unlock(&mut self, group: &str, client_id: &str, queue: &Queue) {
        let Some(queues) = self.table.get_mut(group) else { return };
        if queues.get(queue).is_some_and(|it| it.client_id == client_id) {
            queues.remove(queue);
        }
        if queues.is_empty() {
            self.table.remove(group);
        }
    }

    /// Whether the group consumes any queue in order right now.
    pub fn is_group_locked(&self, now: Millis, group: &str) -> bool {
        let live = |it: &Holder| now < it.refreshed + EXPIRY;
        self.table.get(group).is_some_and(|it| it.values().any(live))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        ("T".into(), 0)
    }

    #[test]
    fn a_lock_is_exclusive_until_it_expires() {
        let mut locks = QueueLocks::default();
        assert!(locks.lock(0, "G", "a", queue()));
        assert!(!locks.lock(EXPIRY - 1, "G", "b", queue()));
        assert!(locks.is_group_locked(EXPIRY - 1, "G"));
        assert!(!locks.is_group_locked(EXPIRY, "G"));
        assert!(locks.lock(EXPIRY, "G", "b", queue()));
        assert!(!locks.lock(EXPIRY, "G", "a", queue()), "b has it now");
    }

    #[test]
    fn a_refresh_prolongs_a_lock_and_groups_do_not_meet() {
        let mut locks = QueueLocks::default();
        assert!(locks.lock(0, "G", "a", queue()));
        assert!(locks.lock(EXPIRY - 1, "G", "a", queue()));
        assert!(!locks.lock(EXPIRY, "G", "b", queue()));
        assert!(locks.lock(0, "H", "b", queue()));
    }

    #[test]
    fn only_the_holder_unlocks() {
        let mut locks = QueueLocks::default();
        assert!(locks.lock(0, "G", "a", queue()));
        locks.unlock("G", "b", &queue());
        assert!(!locks.lock(1, "G", "b", queue()));
        locks.unlock("G", "a", &queue());
        assert!(locks.lock(2, "G", "b", queue()));
    }
}
