//! What a store does before it serves: find the log's end, cut what is no record, bring the consume queues in line
//! (S12).
//!
//! With our own checkpoint everything below its `dispatched` is known to be whole, so verification begins there,
//! whatever ended the last process. Otherwise the queues are walked. Where they are not what our checkpoint says, or
//! there is no checkpoint at all, verification begins where the log does. Where the checkpoint is another's (Java
//! wrote last), reaches beyond the log or was lowered by a cut, verification begins at the newest file that Java's
//! timestamps, or the queues, vouch for.

use crate::checkpoint::{Checkpoint, Verified};
use crate::dispatch::{Dispatcher, OnGap, Round};
use crate::durable::At;
use crate::host_boot;
use crate::log_end::Suspect;
use crate::mapped_file::MappedFile;
use crate::scan::{Step, Verify, record_size};
use crate::{FlushDiskType, Recovery, Shared, StoreError};
use proto::Offset;
use proto::message::MIN_SIZE;
use std::sync::atomic::Ordering;
use tracing::warn;

impl Shared {
    /// Before any thread runs. Sets every position.
    pub fn recover(&self, unclean: bool, host_restarted: bool) -> Result<Recovery, StoreError> {
        self.finish_truncation()?;
        let recovery = self.recover_positions(unclean, host_restarted)?;
        self.lower_checkpoint(recovery.max_offset, self.confirm_offset())?;
        self.intent_done()?;
        Ok(recovery)
    }

    /// A checkpoint that reaches beyond what was found would, after the next crash, vouch for and confirm what is
    /// written there until then.
    pub fn lower_checkpoint(&self, end: Offset, confirm: Offset) -> Result<(), StoreError> {
        let mut lowered = self.checkpoint.saved();
        lowered.lower(end, confirm);
        if lowered == self.checkpoint.saved() { Ok(()) } else { self.checkpoint.save(|it| it.lower(end, confirm)) }
    }

    fn recover_positions(&self, unclean: bool, host_restarted: bool) -> Result<Recovery, StoreError> {
        let saved = self.checkpoint.saved();
        let log_start = self.load_log_start()?;
        self.log.set_log_start(log_start);
        let Some(last) = self.log.files().last().cloned() else {
            let lost_flushed = self.look_for_losses(&saved, log_start, host_restarted)?;
            let entries = self.keep_places(log_start)?;
            // What it vouched for is gone: a new log must grow past that position unvouched. Of the new log it says,
            // from the first record on, what is known to be on disk.
            self.checkpoint.save(|checkpoint| {
                checkpoint.verified = Some(Verified { dispatched: log_start, entries });
                checkpoint.master_flushed_offset = log_start;
                checkpoint.confirm_offset = log_start;
            })?;
            self.set_positions(log_start, log_start, log_start);
            return Ok(Recovery { unclean, lost_flushed, max_offset: log_start, ..Default::default() });
        };
        let min = self.log.min();
        let flushed = saved.flushed();
        let suspect = if unclean && saved.verified.is_some() { Suspect::Behind(flushed) } else { Suspect::Nobody };
        let begin = match saved.verified.filter(|verified| (min..=last.end()).contains(&verified.dispatched)) {
            Some(verified) if self.queues_match(verified)? => verified.dispatched,
            verified => {
                for queue in self.queues.all() {
                    queue.recover_by_walking(last.end())?;
                }
                if verified.is_some() {
                    // A checkpoint that the queues do not agree with: some were lost, and only the whole log tells what
                    // was in them. What is built from it may add up to the same and not be on disk.
                    self.checkpoint.save(|it| it.verified = Some(Verified::no_queues(min)))?;
                    min
                } else {
                    self.first_to_verify(&saved, unclean)
                }
            }
        };
        let end = self.find_end(begin, flushed, suspect);
        let lost_flushed = self.look_for_losses(&saved, end.at, host_restarted)?;
        let cut = self.cut_after(&end)?;
        // A process may have died of a flush that failed, with pages that no flush writes any more.
        if unclean && let Err(error) = self.log.dirty(begin.max(flushed).min(end.at), end.at) {
            warn!(%error, "what the process before had not flushed is taken for written if the kernel says so");
        }
        for queue in self.queues.all() {
            queue.cut(end.at)?;
        }
        let built = match saved.verified {
            Some(verified) if verified.dispatched == begin => begin,
            _ => self.queues.all().iter().map(|queue| queue.max_physical()).max().unwrap_or(-1),
        };
        let confirm = if self.config.replicated { saved.confirm_offset.clamp(min, end.at.max(min)) } else { end.at };
        self.set_positions(end.at, begin.min(end.at), confirm);
        // Consumers may have seen what was built already; hiding it again would move them back.
        self.rebuild_queues(begin.min(end.at), confirm.max(built).min(end.at), &saved)?;
        for queue in self.queues.all() {
            queue.correct_min(min);
        }
        self.intent_done()?;
        Ok(Recovery { unclean, cut, lost_flushed, max_offset: end.at, ..Default::default() })
    }

    /// Of a log without files. What it once held below its end has no place any more that a new message could take: a
    /// consumer would not see that one, or another one again. Answers how many entries the queues count.
    fn keep_places(&self, log_start: Offset) -> Result<i64, StoreError> {
        let mut entries = 0;
        for queue in self.queues.all() {
            if log_start > 0 {
                queue.recover_by_walking(log_start)?;
                queue.correct_min(log_start);
            } else {
                queue.clear()?;
            }
            entries += queue.max();
        }
        Ok(entries)
    }

    /// Start of the newest file that Java's rules vouch for: after a crash by the checkpoint's time, otherwise by what
    /// the queues hold.
    fn first_to_verify(&self, saved: &Checkpoint, unclean: bool) -> Offset {
        let min = self.log.min();
        // Lost, and perhaps not it alone: only the whole log tells what belongs into the queues.
        if *saved == Checkpoint::default() {
            return min;
        }
        let built = self.queues.all().iter().map(|queue| queue.max_physical()).max().unwrap_or(-1);
        let vouched = |file: &MappedFile| match file.step(file.start, file.size(), Verify::Whole) {
            Step::Record(first) if unclean => {
                first.store_timestamp > 0 && first.store_timestamp <= saved.min_timestamp()
            }
            Step::Record(first) => first.physical_offset <= built,
            _ => false,
        };
        self.log.files().iter().rev().find(|file| vouched(file)).map_or(min, |file| file.start.max(min))
    }

    /// Noted on disk before anything is cut: the next start would find nothing missing.
    fn look_for_losses(&self, saved: &Checkpoint, end: Offset, host_restarted: bool) -> Result<bool, StoreError> {
        // With asynchronous flush a host takes with it what it confirmed, and nothing is wrong with its disk.
        let keeps_confirmed =
            self.config.replicated && (self.config.flush == FlushDiskType::SyncFlush || !host_restarted);
        let confirmed = if keeps_confirmed { saved.confirm_offset } else { 0 };
        let lost = self.has_lost(saved, confirmed, end);
        if lost {
            warn!(end, "the log ends before something that was on disk or confirmed; another replica has it");
            host_boot::note_lost_flushed(&self.config.root, &self.disk)?;
        }
        Ok(lost)
    }

    /// S7: whether a whole record is missing that was on disk, or that was confirmed. A slave's copy of a record may
    /// have been incomplete, and flushed and confirmed as far as it went: that is none.
    fn has_lost(&self, saved: &Checkpoint, confirmed: Offset, end: Offset) -> bool {
        let size = self.log.find(end).and_then(|file| record_size(file.bytes(file.position(end)..file.size())));
        let size = size.unwrap_or(0).max(MIN_SIZE);
        saved.flushed().max(confirmed) >= end + size as Offset
    }

    fn set_positions(&self, max: Offset, flushed: Offset, confirm: Offset) {
        self.log.flushed_watch.send_replace(flushed);
        self.confirm.store(confirm, Ordering::Release);
        self.dispatched.store(flushed, Ordering::Release);
        self.dispatch.lock().rewind(flushed);
        self.log.publish_max(max);
    }

    /// Cuts each queue to what the checkpoint vouches for; false when that is not what it counted.
    fn queues_match(&self, verified: Verified) -> Result<bool, StoreError> {
        let mut entries = 0;
        for queue in self.queues.all() {
            queue.recover_below(verified.dispatched)?;
            entries += queue.max();
        }
        if entries != verified.entries {
            warn!(
                entries,
                expected = verified.entries,
                "consume queues are not what the checkpoint says; rebuilding from the commit log"
            );
        }
        Ok(entries == verified.entries)
    }

    /// Dispatches again from `begin` to `limit`; from the log's start when a queue lacks what came before.
    fn rebuild_queues(&self, begin: Offset, limit: Offset, saved: &Checkpoint) -> Result<(), StoreError> {
        let mut d = self.dispatch.lock();
        *d = Dispatcher::at(begin);
        d.last_store_timestamp = saved.logics_timestamp;
        let mut on_gap = OnGap::Report;
        loop {
            match self.dispatch_round(&mut d, limit, on_gap)? {
                Round::Progress => {}
                Round::Idle => return Ok(()),
                Round::Gap => {
                    warn!(
                        offset = d.position,
                        "a consume queue lacks entries; rebuilding from the start of the commit log"
                    );
                    on_gap = OnGap::Fill;
                    d.rewind(self.log.min());
                }
                Round::Stuck(why) if d.position < begin => {
                    warn!(offset = d.position, %why, "no record where one should begin; consume queues are rebuilt \
                        from behind it");
                    d.rewind(begin);
                }
                Round::Stuck(_) => return Ok(()),
            }
        }
    }

    /// Where the log begins, or where an empty one ends, when no file's name tells ([`LOG_START`]); else 0.
    pub fn load_log_start(&self) -> Result<Offset, StoreError> {
        let path = self.config.root.join(LOG_START);
        let start = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            text => text.at(&path, "read")?,
        };
        let start: Offset = start.trim().parse().map_err(|_| {
            StoreError::Unusable(format!(
                "{}: `{}` is no offset; delete it if the log has files and begins where the first of them does",
                path.display(),
                start.trim()
            ))
        })?;
        Ok(if self.log.files().first().is_none_or(|first| first.start <= start && start < first.end()) {
            start
        } else {
            0
        })
    }

    pub fn save_log_start(&self, offset: Offset) -> Result<(), StoreError> {
        let path = self.config.root.join(LOG_START);
        self.disk.replace(&path, offset.to_string().as_bytes()).at(&path, "write")?;
        self.log.set_log_start(offset);
        Ok(())
    }
}

/// Text file with the offset at which the log begins, when it was started or emptied there: inside its first file, or
/// without any. Means nothing once the first file does not hold that offset.
const LOG_START: &str = "log-start";
