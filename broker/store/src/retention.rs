//! Deleting what has expired: whole commit log files, and the queue files that point only into them.

use crate::{Shared, StoreError};
use std::time::UNIX_EPOCH;
use tracing::info;

/// Most files per call, as the original's `deleteFileBatchMax`: deleting 1 GiB files in a row stalls a disk.
const BATCH: usize = 10;

impl Shared {
    /// Deletes from the front, files untouched for `fileReservedTime`. Never the last file, nor one that is not
    /// dispatched and on disk.
    pub fn clean_expired(&self, now_ms: i64) -> Result<usize, StoreError> {
        let reserved_ms = i64::try_from(self.config.file_reserved_hours).unwrap_or(i64::MAX).saturating_mul(3_600_000);
        let mut removed = 0;
        while removed < BATCH {
            let _writer = self.writer.lock();
            let files = self.log.files().clone();
            let [first, _, ..] = files.as_slice() else { break };
            let safe = self.dispatched_offset().min(self.log.flushed());
            let modified = std::fs::metadata(&first.path).and_then(|meta| meta.modified()).ok();
            let modified =
                modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_millis() as i64);
            if first.end() > safe || modified.is_none_or(|at| at.saturating_add(reserved_ms) > now_ms) {
                break;
            }
            info!(file = %first.path.display(), "deleting expired commit log file");
            self.log.remove_first()?;
            removed += 1;
        }
        if removed > 0 {
            let min = self.log.min();
            for queue in self.queues.all() {
                removed += queue.remove_expired(min)?;
            }
        }
        Ok(removed)
    }
}
