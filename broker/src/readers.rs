//! Which replica of the set a consumer reads a queue from next (`suggestWhichBrokerId`).
//!
//! Never one that lags: its readers would wait for what others have long read. With `slaveReadSpread` each queue of a
//! group has one replica, the master among them, so that the death of one interrupts only its own readers; when a
//! replica falls behind, only its queues move, and they come back to it.

use crate::broker::Broker;
use crate::verdict::{Link, Pace, SLACK};
use ha::Role;
use proto::body::SubscriptionGroupConfig;
use proto::{BrokerId, MASTER_ID};
use std::collections::BTreeSet;

/// The set as one replica sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By the controllers' id; nobody knows it as such: clients call it 0.
    pub master: BrokerId,
    /// Replicas that keep up, the master among them. Empty: this replica itself does not.
    pub keep_up: BTreeSet<BrokerId>,
}

/// Whose next read it is.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    pub group: &'a SubscriptionGroupConfig,
    pub topic: &'a str,
    pub queue_id: i32,
    /// What it reads is likely not in the master's memory any more.
    pub cold: bool,
}

impl View {
    /// What this replica knows now. A slave knows only whether it keeps up itself, and takes the set's word for others.
    pub fn of(broker: &Broker) -> View {
        let role = broker.role.borrow().clone();
        let status = broker.replication.status();
        match role.role {
            Role::Master => {
                let end = status.master_max_offset;
                let keeps_up = |it: &&ha::SlaveStatus| it.in_sync && end - it.ack_offset <= SLACK;
                let slaves = status.slaves.iter().filter(keeps_up).map(|it| it.id);
                View { master: role.broker_id, keep_up: slaves.chain([role.broker_id]).collect() }
            }
            Role::Slave { master } => {
                let link = if status.copying_from.is_some() { Link::Up } else { Link::Down };
                let pace = Pace::of(role.broker_id, &role.sync_state_set, link, broker.store.dispatch_behind());
                let keep_up = if pace == Pace::KeepsUp { role.sync_state_set } else { BTreeSet::new() };
                View { master: master.id, keep_up }
            }
            Role::Unassigned => View::default(),
        }
    }

    /// Of this replica itself, unless it is the master.
    pub fn pace(&self) -> Pace {
        if self.keep_up.is_empty() { Pace::Lags } else { Pace::KeepsUp }
    }

    /// The id to read from, as clients know it.
    pub fn suggest(&self, reader: &Reader<'_>, spread: bool) -> BrokerId {
        let wanted = match reader.cold {
            true => reader.group.which_broker_when_consume_slowly,
            false => reader.group.broker_id,
        };
        let named = wanted != MASTER_ID && wanted != self.master && self.keep_up.contains(&wanted);
        let chosen = match reader.cold {
            _ if named => Some(wanted),
            // Any slave spares the master's disk.
            true if wanted != MASTER_ID => self.of_queue(reader, |it| it != self.master),
            false if wanted == MASTER_ID && spread => self.of_queue(reader, |_| true),
            _ => None,
        };
        chosen.filter(|it| *it != self.master).unwrap_or(MASTER_ID)
    }

    /// Rendezvous hashing: each replica draws a number for the queue, the highest has it.
    fn of_queue(&self, reader: &Reader<'_>, may: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        let draw = |id: &BrokerId| {
            fnv(&[
                reader.group.group_name.as_bytes(),
                reader.topic.as_bytes(),
                &reader.queue_id.to_be_bytes(),
                &id.to_be_bytes(),
            ])
        };
        self.keep_up.iter().copied().filter(|it| may(*it)).max_by_key(|it| (draw(it), *it))
    }
}

/// FNV-1a, its end mixed once more: every replica, of whatever version, must draw the same.
fn fnv(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|it| it.iter().copied().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn view(keep_up: &[BrokerId]) -> View {
        View { master: 1, keep_up: keep_up.iter().copied().collect() }
    }

    fn group(broker_id: i64, slowly: i64) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            group_name: "G".into(),
            broker_id,
            which_broker_when_consume_slowly: slowly,
            ..Default::default()
        }
    }

    fn suggest(view: &View, group: &SubscriptionGroupConfig, queue_id: i32, cold: bool, spread: bool) -> BrokerId {
        view.suggest(&Reader { group, topic: "T", queue_id, cold }, spread)
    }

    #[test]
    fn a_reader_stays_with_the_master_unless_something_else_is_wanted() {
        let all = view(&[1, 2, 3]);
        assert_eq!(suggest(&all, &group(0, 1), 0, false, false), 0);
        assert_eq!(suggest(&all, &group(3, 1), 0, false, false), 3, "the group's own replica");
        assert_eq!(suggest(&all, &group(1, 1), 0, false, false), 0, "which is the master here");
        assert_eq!(suggest(&view(&[1, 2]), &group(3, 1), 0, false, false), 0, "which lags");
        assert_eq!(suggest(&all, &group(3, 1), 0, false, true), 3, "and is not spread");
    }

    #[test]
    fn a_reader_of_cold_messages_goes_to_a_slave_that_keeps_up() {
        let all = view(&[1, 2, 3]);
        assert_eq!(suggest(&all, &group(0, 2), 0, true, false), 2);
        assert!([2, 3].contains(&suggest(&all, &group(0, 1), 0, true, false)), "1 is the master: any other");
        assert_eq!(suggest(&view(&[1, 3]), &group(0, 2), 0, true, false), 3, "2 lags");
        assert_eq!(suggest(&view(&[1]), &group(0, 2), 0, true, false), 0, "nobody else");
        assert_eq!(suggest(&all, &group(0, 0), 0, true, true), 0, "the group wants the master even then");
        assert_eq!(suggest(&view(&[]), &group(0, 2), 0, true, true), 0, "this replica lags itself");
    }

    #[test]
    fn spread_readers_are_even_and_move_only_when_they_must() {
        let of = |view: &View| -> Vec<BrokerId> {
            (0..300).map(|queue| suggest(view, &group(0, 1), queue, false, true)).collect()
        };
        let before = of(&view(&[1, 2, 3]));
        let mut shares = BTreeMap::<BrokerId, usize>::new();
        before.iter().for_each(|it| *shares.entry(*it).or_default() += 1);
        assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [0, 2, 3]);
        assert!(shares.values().all(|it| (70..130).contains(it)), "{shares:?}");
        // 3 falls behind: nobody else's readers notice.
        let after = of(&view(&[1, 2]));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == 3, "{before} became {after}");
        }
        // 2 is master now and called 0: the queues are where they were.
        let successor = of(&View { master: 2, ..view(&[2, 3]) });
        assert!(before.iter().zip(&successor).all(|(before, after)| *before != 3 || *after == 3));
    }
}
