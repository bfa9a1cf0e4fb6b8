//! S9: what a replica says at a handshake is true: its history knows no epoch beyond its log's end, and each epoch's
//! bytes are those that its master wrote.

use super::Truth;
use crate::packet::Cell;
use proto::ha::EpochEntry;

impl Truth {
    pub fn says(&mut self, broker: usize, history: &[EpochEntry], log: &[Cell]) {
        if self.java.is_untrue() {
            return;
        }
        let broker = broker + 1;
        for (at, it) in history.iter().enumerate() {
            let (from, epoch) = (it.start.max(0) as usize, it.epoch);
            if from > log.len() {
                let why = format!("B{broker} says that epoch {epoch} begins at {from}, its log ends at {}", log.len());
                return self.fail("S9", why);
            }
            let until = history.get(at + 1).map_or(log.len(), |it| (it.start.max(0) as usize).min(log.len()));
            // An epoch's bytes are in one piece: its first one and its last one tell.
            let bytes = log.get(from..until).unwrap_or_default();
            let other =
                bytes.first().into_iter().chain(bytes.last()).find(|it| !self.java.goes_by(i32::from(it.epoch), epoch));
            if let Some(other) = other.map(|it| it.epoch) {
                let why = format!("B{broker} says that {from} to {until} is of epoch {epoch}, epoch {other} wrote it");
                return self.fail("S9", why);
            }
        }
    }
}
