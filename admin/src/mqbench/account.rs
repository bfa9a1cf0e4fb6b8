//! The account of a run: what was acknowledged against what is in the queues afterwards.
//!
//! Pure. A message counts as lost when it was acknowledged and no queue delivers it. One that was sent without an
//! acknowledgement may be there or not; both are right. Order is judged per (queue, producer), by the first delivery of
//! each message.

use std::collections::BTreeMap;

use super::body::Mark;

/// Where a message was read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    pub broker_set: String,
    pub queue_id: i32,
}

/// What became of one sequence number. A run has millions: one byte each.
#[derive(Clone, Copy, Default)]
struct Fate(u8);

impl Fate {
    const ACKNOWLEDGED: u8 = 1;
    const DELIVERED: u8 = 2;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// Collects acknowledgements, then deliveries.
#[derive(Default)]
pub struct Account {
    run: u32,
    /// By producer, then sequence.
    fates: Vec<Vec<Fate>>,
    /// Highest sequence seen so far of a producer in a queue.
    newest: BTreeMap<(QueueName, u32), u64>,
    duplicated: u64,
    out_of_order: u64,
    never_sent: u64,
    foreign: u64,
}

/// Totals of an [`Account`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    pub acknowledged: u64,
    /// Different messages of this run found in the queues.
    pub delivered: u64,
    /// Acknowledged and in no queue.
    pub lost: u64,
    /// Deliveries of a message beyond its first.
    pub duplicated: u64,
    /// First deliveries behind a later one of the same producer and queue.
    pub out_of_order: u64,
    /// Messages with this run's mark that nobody sent.
    pub never_sent: u64,
    /// Delivered though the sender had no acknowledgement: allowed, and shown because it explains duplicates.
    pub unacknowledged_delivered: u64,
    /// Messages of other runs or writers.
    pub foreign: u64,
}

/// One producer's view of its own sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub next_sequence: u64,
    pub acknowledged: Vec<u64>,
}

impl Account {
    /// `sent[i]` belongs to producer `i`.
    pub fn new(run: u32, sent: &[Sent]) -> Account {
        let fates = sent.iter().map(|sent| {
            let mut fates = vec![Fate::default(); sent.next_sequence as usize];
            for sequence in &sent.acknowledged {
                fates[*sequence as usize].0 |= Fate::ACKNOWLEDGED;
            }
            fates
        });
        Account { run, fates: fates.collect(), ..Account::default() }
    }

    /// Call in queue order for each queue.
    pub fn delivered(&mut self, queue: &QueueName, body: &[u8]) {
        let Some(mark) = Mark::read(body).filter(|it| it.run == self.run) else {
            self.foreign += 1;
            return;
        };
        let fate = self.fates.get_mut(mark.producer as usize).and_then(|it| it.get_mut(mark.sequence as usize));
        match fate {
            None => self.never_sent += 1,
            Some(fate) if fate.has(Fate::DELIVERED) => self.duplicated += 1,
            Some(fate) => {
                fate.0 |= Fate::DELIVERED;
                self.check_order(queue, mark);
            }
        }
    }

    fn check_order(&mut self, queue: &QueueName, mark: Mark) {
        let newest = self.newest.entry((queue.clone(), mark.producer)).or_insert(mark.sequence);
        if mark.sequence < *newest {
            self.out_of_order += 1;
        }
        *newest = mark.sequence.max(*newest);
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            never_sent: self.never_sent,
            foreign: self.foreign,
            ..Totals::default()
        };
        for fate in self.fates.iter().flatten() {
            let (acknowledged, delivered) = (fate.has(Fate::ACKNOWLEDGED), fate.has(Fate::DELIVERED));
            totals.acknowledged += u64::from(acknowledged);
            totals.delivered += u64::from(delivered);
            totals.lost += u64::from(acknowledged && !delivered);
            totals.unacknowledged_delivered += u64::from(!acknowledged && delivered);
        }
        totals
    }

    /// The first `limit` lost messages, for the report.
    pub fn lost(&self, limit: usize) -> Vec<(u32, u64)> {
        let lost = |fate: &Fate| fate.has(Fate::ACKNOWLEDGED) && !fate.has(Fate::DELIVERED);
        let of_producer = |(producer, fates): (usize, &Vec<Fate>)| {
            let sequences = fates.iter().enumerate().filter(|(_, fate)| lost(fate)).take(limit);
            sequences.map(|(sequence, _)| (producer as u32, sequence as u64)).collect::<Vec<_>>()
        };
        self.fates.iter().enumerate().flat_map(of_producer).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> QueueName {
        QueueName { broker_set: "broker-a".into(), queue_id: id }
    }

    fn body(producer: u32, sequence: u64) -> Vec<u8> {
        Mark { run: 7, producer, sequence }.body(32)
    }

    fn sent(next_sequence: u64, acknowledged: &[u64]) -> Sent {
        Sent { next_sequence, acknowledged: acknowledged.to_vec() }
    }

    #[test]
    fn everything_there_once_and_in_order_is_clean() {
        let mut account = Account::new(7, &[sent(3, &[0, 1, 2]), sent(2, &[0, 1])]);
        for (queue_id, producer, sequence) in [(0, 0, 0), (0, 0, 1), (1, 1, 0), (0, 0, 2), (1, 1, 1)] {
            account.delivered(&queue(queue_id), &body(producer, sequence));
        }
        let totals = Totals { acknowledged: 5, delivered: 5, ..Totals::default() };
        assert_eq!(account.totals(), totals);
        assert!(account.lost(10).is_empty());
    }

    #[test]
    fn an_acknowledged_message_that_is_nowhere_is_lost() {
        let mut account = Account::new(7, &[sent(3, &[0, 2])]);
        account.delivered(&queue(0), &body(0, 0));
        assert_eq!(account.totals().lost, 1, "sequence 1 had no acknowledgement: only 2 is lost");
        assert_eq!(account.lost(10), vec![(0, 2)]);
    }

    #[test]
    fn an_unknown_outcome_may_be_there() {
        let mut account = Account::new(7, &[sent(2, &[0])]);
        account.delivered(&queue(0), &body(0, 0));
        account.delivered(&queue(0), &body(0, 1));
        let totals = account.totals();
        assert_eq!((totals.lost, totals.unacknowledged_delivered, totals.delivered), (0, 1, 2));
    }

    #[test]
    fn a_resend_is_a_duplicate_and_not_a_disorder() {
        let mut account = Account::new(7, &[sent(3, &[0, 1, 2])]);
        for sequence in [0, 1, 2, 1] {
            account.delivered(&queue(0), &body(0, sequence));
        }
        let totals = account.totals();
        assert_eq!((totals.duplicated, totals.out_of_order), (1, 0));
    }

    #[test]
    fn a_first_delivery_behind_a_later_one_is_out_of_order() {
        let mut account = Account::new(7, &[sent(3, &[0, 1, 2])]);
        for sequence in [0, 2, 1] {
            account.delivered(&queue(0), &body(0, sequence));
        }
        assert_eq!(account.totals().out_of_order, 1);
    }

    #[test]
    fn what_nobody_sent_and_what_others_sent_is_told_apart() {
        let mut account = Account::new(7, &[sent(1, &[])]);
        account.delivered(&queue(0), &body(0, 1));
        account.delivered(&queue(0), &body(5, 0));
        account.delivered(&queue(0), b"hello");
        account.delivered(&queue(0), &Mark { run: 6, producer: 0, sequence: 0 }.body(32));
        let totals = account.totals();
        assert_eq!((totals.never_sent, totals.foreign, totals.delivered), (2, 2, 0));
    }
}
