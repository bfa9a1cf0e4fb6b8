//! Long polling: pulls that wait until their queue grows.
//!
//! A waiting pull parks a one-shot under its queue; the driver wakes all whose offset the queue has passed. A pull that
//! is answered, times out or loses its connection takes its own entry out again.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Grown, Store};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

type Queue = (Arc<str>, i32);

#[derive(Default)]
pub struct Hold {
    table: Arc<Mutex<Table>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<Queue, Vec<Waiting>>,
    next_id: u64,
}

struct Waiting {
    id: u64,
    offset: i64,
    wake: oneshot::Sender<()>,
}

/// A parked pull. Dropping it leaves the queue.
pub struct Parked {
    table: Arc<Mutex<Table>>,
    queue: Queue,
    id: u64,
    woken: oneshot::Receiver<()>,
}

impl Hold {
    /// Park first, then look once more, then wait: growth between the two is not missed.
    pub fn park(&self, topic: &Arc<str>, queue_id: i32, offset: i64) -> Parked {
        let (wake, woken) = oneshot::channel();
        let queue = (topic.clone(), queue_id);
        let mut table = self.table.lock();
        table.next_id += 1;
        let id = table.next_id;
        table.waiting.entry(queue.clone()).or_default().push(Waiting { id, offset, wake });
        Parked { table: self.table.clone(), queue, id, woken }
    }

    pub fn grown(&self, grown: &Grown) {
        let mut table = self.table.lock();
        let queue = (grown.topic.clone(), grown.queue_id);
        let Some(waiting) = table.waiting.get_mut(&queue) else { return };
        let mut still = Vec::new();
        for pull in waiting.drain(..) {
            if pull.offset < grown.max_offset {
                // The pull may just have timed out.
                let _ = pull.wake.send(());
            } else {
                still.push(pull);
            }
        }
        if still.is_empty() {
            table.waiting.remove(&queue);
        } else {
            *waiting = still;
        }
    }

    /// Everybody looks again: the role changed.
    pub fn wake_all(&self) {
        for pull in self.table.lock().waiting.drain().flat_map(|(_, it)| it) {
            let _ = pull.wake.send(());
        }
    }

    /// The broker is ending: whoever waits is answered, and nobody waits any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake_all();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn count(&self) -> usize {
        self.table.lock().waiting.values().map(Vec::len).sum()
    }
}

impl Parked {
    pub async fn woken(&mut self) {
        // A dropped sender cannot happen while we are parked, and would mean the same.
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if let Some(waiting) = table.waiting.get_mut(&self.queue) {
            waiting.retain(|it| it.id != self.id);
            if waiting.is_empty() {
                table.waiting.remove(&self.queue);
            }
        }
    }
}

/// Wakes pulls as the store dispatches, until cancelled.
pub async fn drive(broker: Arc<crate::broker::Broker>, store: Arc<Store>, stop: CancellationToken) {
    loop {
        let grown = tokio::select! {
            grown = store.dispatched() => grown,
            () = stop.cancelled() => return,
        };
        for queue in &grown {
            broker.hold.grown(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(queue_id: i32, max_offset: i64) -> Grown {
        Grown { topic: "T".into(), queue_id, max_offset }
    }

    #[tokio::test]
    async fn only_pulls_that_the_queue_has_passed_are_woken() {
        let hold = Hold::default();
        let topic: Arc<str> = "T".into();
        let mut passed = hold.park(&topic, 0, 4);
        let mut waiting = hold.park(&topic, 0, 5);
        let mut elsewhere = hold.park(&topic, 1, 0);
        hold.grown(&grown(0, 5));
        passed.woken().await;
        assert!(waiting.woken.try_recv().is_err());
        assert!(elsewhere.woken.try_recv().is_err());
        assert_eq!(hold.count(), 2);
        drop((waiting, elsewhere));
        assert_eq!(hold.count(), 0);
    }
}
