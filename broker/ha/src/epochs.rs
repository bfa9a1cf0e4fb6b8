//! Which master wrote which part of the commit log, and where two replicas' logs part (S9).
//!
//! Pure: `epoch_file.rs` loads and saves it; the HA handshake carries it.
//!
//! ```text
//! epoch      3            4              7
//! offset     0 ────────── 5000 ───────── 9200 ────▶ (still open)
//! ```
//! Unlike Java's, a history keeps *empty* epochs, `(N, S)` followed by `(N+1, S)`: a master that was elected twice
//! without writing, or that took over from one of which nothing arrived here. Without the second entry the bytes of N+1
//! would pass as bytes of N, and an old master that has other bytes of N would keep them (KIP-279's double failover).

use proto::ha::EpochEntry;
use proto::{Epoch, Offset};

/// Entries rising strictly in epoch and weakly in start offset. The last one is open-ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory(Vec<EpochEntry>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {} at {} does not follow epoch {} at {}: the history only \
    grows", .new.epoch, .new.start, .last.epoch, .last.start)]
pub struct NotAfterLast {
    pub last: EpochEntry,
    pub new: EpochEntry,
}

/// Where two histories part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonPoint {
    /// Both logs hold the same bytes below this offset, by what the histories prove.
    pub at: Offset,
    /// The newest entry both have: its position in either history.
    pub mine: usize,
    pub theirs: usize,
}

impl EpochHistory {
    pub fn from_entries(entries: impl IntoIterator<Item = EpochEntry>) -> Result<EpochHistory, NotAfterLast> {
        let mut history = EpochHistory::default();
        entries.into_iter().try_for_each(|it| history.push(it))?;
        Ok(history)
    }

    pub fn push(&mut self, new: EpochEntry) -> Result<(), NotAfterLast> {
        match self.0.last() {
            Some(&last) if new.epoch <= last.epoch || new.start < last.start => Err(NotAfterLast { last, new }),
            _ => {
                self.0.push(new);
                Ok(())
            }
        }
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.0
    }

    pub fn last(&self) -> Option<EpochEntry> {
        self.0.last().copied()
    }

    /// Of the *log*, for elections: the newest epoch this replica has a place for. −1 when there is none, as Java
    /// reports it.
    pub fn last_epoch(&self) -> Epoch {
        self.0.last().map_or(-1, |it| it.epoch)
    }

    /// Forgets entries that start beyond the log's end: their bytes are gone (a power failure took the tail and left
    /// the epoch file). Keeping them would make this replica prove, and acknowledge, bytes it does not have. True if
    /// anything was forgotten.
    pub fn trim_to(&mut self, end: Offset) -> bool {
        let before = self.0.len();
        self.0.retain(|it| it.start <= end);
        self.0.len() != before
    }

    /// A master's history when its epoch begins at the log's end (S2).
    pub fn begin(&self, epoch: Epoch, start: Offset) -> Result<EpochHistory, NotAfterLast> {
        let mut history = self.clone();
        history.trim_to(start);
        if history.last_epoch() < epoch {
            history.push(EpochEntry { epoch, start })?;
        }
        Ok(history)
    }

    /// The last offset up to which `self` and `other` provably hold the same bytes, or `None` when they share no epoch.
    /// `end` and `other_end` are where each log ends.
    pub fn common_point(&self, end: Offset, other: &EpochHistory, other_end: Offset) -> Option<CommonPoint> {
        self.0.iter().enumerate().rev().find_map(|(mine, entry)| {
            let theirs = other.0.iter().position(|it| it == entry)?;
            Some(CommonPoint { at: self.end_of(mine, end).min(other.end_of(theirs, other_end)), mine, theirs })
        })
    }

    /// This history after its log was cut to `point` and before any byte of `master` arrived: everything up to the
    /// common entry is ours, every later entry that starts within what we have is the master's, empty ones included.
    pub fn adopt(&self, point: Option<CommonPoint>, master: &EpochHistory, end: Offset) -> EpochHistory {
        let (mine, theirs) = point.map_or((0, 0), |it| (it.mine + 1, it.theirs + 1));
        let mut adopted = EpochHistory(self.0[..mine].to_vec());
        adopted.0.extend(master.0[theirs..].iter().filter(|it| it.start <= end));
        adopted
    }

    /// The entry that covers the byte at `offset`, and where its bytes end (`None`: at the log's end). Bytes from
    /// before the first entry (written before this broker knew epochs) count as epoch 0.
    pub fn covering(&self, offset: Offset) -> (EpochEntry, Option<Offset>) {
        let next = self.0.partition_point(|it| it.start <= offset);
        let entry = next.checked_sub(1).map_or(EpochEntry { epoch: 0, start: 0 }, |at| self.0[at]);
        (entry, self.0.get(next).map(|it| it.start))
    }

    fn end_of(&self, i: usize, log_end: Offset) -> Offset {
        self.0.get(i + 1).map_or(log_end, |next| next.start)
    }
}

#[cfg(test)]
mod tests;
