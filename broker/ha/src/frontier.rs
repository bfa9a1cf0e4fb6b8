//! What may be acknowledged, and who waits for it.
//!
//! The replication task moves the frontier; any number of writers wait. All waiters below it are completed at once and
//! in offset order, so that a slow one holds nobody up (`GroupTransferService` scans them one by one).

use crate::Ack;
use parking_lot::Mutex;
use proto::Offset;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

#[derive(Default)]
pub struct Frontier(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The mastership that is on, 0 when none is.
    term: u64,
    confirmed: Offset,
    /// By end offset, then by arrival.
    waiting: BTreeMap<(Offset, u64), oneshot::Sender<Ack>>,
    arrivals: u64,
}

/// Either known at once or to be waited for.
pub enum Standing {
    Known(Ack),
    Waits(oneshot::Receiver<Ack>),
}

impl Frontier {
    pub fn open(&self, term: u64, confirmed: Offset) {
        let mut inner = self.0.lock();
        inner.term = term;
        inner.confirmed = confirmed;
    }

    pub fn advance(&self, confirmed: Offset) {
        let mut inner = self.0.lock();
        inner.confirmed = confirmed;
        while let Some(first) = inner.waiting.first_entry().filter(|it| it.key().0 <= confirmed) {
            let _gone = first.remove().send(Ack::Acknowledged);
        }
    }

    /// The mastership is over: whatever has not been acknowledged has an unknown outcome.
    pub fn depose(&self) {
        let mut inner = self.0.lock();
        inner.term = 0;
        for (_, waiter) in std::mem::take(&mut inner.waiting) {
            let _gone = waiter.send(Ack::Deposed);
        }
    }

    pub fn wait(&self, term: u64, end: Offset) -> Standing {
        let mut inner = self.0.lock();
        if inner.term != term {
            return Standing::Known(Ack::Deposed);
        }
        if end <= inner.confirmed {
            return Standing::Known(Ack::Acknowledged);
        }
        inner.arrivals += 1;
        let (sender, receiver) = oneshot::channel();
        let key = (end, inner.arrivals);
        inner.waiting.insert(key, sender);
        Standing::Waits(receiver)
    }

    /// Forgets waiters that have given up (timeout, closed connection); returns how many wait still.
    pub fn sweep(&self) -> usize {
        let mut inner = self.0.lock();
        inner.waiting.retain(|_, waiter| !waiter.is_closed());
        inner.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(it: Standing) -> oneshot::Receiver<Ack> {
        match it {
            Standing::Waits(receiver) => receiver,
            Standing::Known(ack) => panic!("known already: {ack:?}"),
        }
    }

    #[test]
    fn everything_below_the_frontier_is_completed_at_once_and_nothing_above() {
        let frontier = Frontier::default();
        frontier.open(1, 100);
        assert!(matches!(frontier.wait(1, 100), Standing::Known(Ack::Acknowledged)));
        let (mut high, mut low, mut twin) =
            (waits(frontier.wait(1, 300)), waits(frontier.wait(1, 200)), waits(frontier.wait(1, 200)));
        frontier.advance(299);
        assert_eq!((low.try_recv(), twin.try_recv()), (Ok(Ack::Acknowledged), Ok(Ack::Acknowledged)));
        assert!(high.try_recv().is_err());
        frontier.depose();
        assert_eq!(high.try_recv(), Ok(Ack::Deposed));
        assert!(
            matches!(frontier.wait(1, 50), Standing::Known(Ack::Deposed)),
            "even of what would have been acknowledged"
        );
    }

    #[test]
    fn who_gave_up_is_forgotten() {
        let frontier = Frontier::default();
        frontier.open(7, 0);
        let kept = waits(frontier.wait(7, 10));
        drop(waits(frontier.wait(7, 20)));
        assert_eq!(frontier.sweep(), 1);
        drop(kept);
    }
}
