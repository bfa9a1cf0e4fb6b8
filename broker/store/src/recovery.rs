//! What a store does before it serves: find the log's end, cut what is no record, bring the consume queues in line
//! (S12).
//!
//! With our own checkpoint everything below its `dispatched` is known to be whole, so verification begins there,
//! whatever ended the last process. Without it (Java wrote last, or queues were lost) the queues are walked and
//! verification begins at the newest file that Java's timestamps, or its queues, vouch for.

use crate::checkpoint::{Checkpoint, Verified};
use crate::dispatch::{Dispatcher, OnGap, Round};
use crate::durable::At;
use crate::host_boot;
use crate::mapped_file::{MappedFile, file_name};
use crate::scan::{Step, Verify, record_size};
use crate::{FlushDiskType, Recovery, Shared, StoreError};
use proto::Offset;
use proto::message::MIN_SIZE;
use std::sync::atomic::Ordering;
use tracing::warn;

/// Where the log ends, and why it does not go on if that is not plain emptiness.
struct LogEnd {
    at: Offset,
    why: Option<String>,
}

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
        let saved = self.checkpoint.saved();
        let verified = saved.verified.filter(|verified| verified.dispatched <= end);
        let flushed = saved.master_flushed_offset.min(end);
        if saved.confirm_offset <= confirm && saved.verified == verified && saved.master_flushed_offset == flushed {
            return Ok(());
        }
        self.checkpoint.save(|checkpoint| {
            checkpoint.confirm_offset = checkpoint.confirm_offset.min(confirm);
            checkpoint.master_flushed_offset = flushed;
            checkpoint.verified = verified;
        })
    }

    fn recover_positions(&self, unclean: bool, host_restarted: bool) -> Result<Recovery, StoreError> {
        let saved = self.checkpoint.saved();
        let log_start = self.load_log_start()?;
        let Some(last) = self.log.files().last().cloned() else {
            let lost_flushed = self.look_for_losses(&saved, log_start, host_restarted)?;
            self.queues.all().iter().try_for_each(|queue| queue.clear())?;
            // What it vouched for is gone: a new log must grow past that position unvouched.
            self.checkpoint.save(|checkpoint| {
                checkpoint.verified = None;
                checkpoint.confirm_offset = log_start;
            })?;
            self.set_positions(log_start, log_start, log_start);
            return Ok(Recovery { unclean, lost_flushed, max_offset: log_start, ..Default::default() });
        };
        self.log.set_log_start(log_start);
        let min = self.log.min();
        let begin = match saved.verified.filter(|verified| (min..=last.end()).contains(&verified.dispatched)) {
            Some(verified) if self.queues_match(verified)? => verified.dispatched,
            verified => {
                for queue in self.queues.all() {
                    queue.recover_by_walking(last.end())?;
                }
                // A checkpoint that the queues do not agree with: some were lost, and only the whole log tells what was
                // in them.
                if verified.is_some() { min } else { self.first_to_verify(&saved, unclean) }
            }
        };
        let end = self.find_end(begin);
        let lost_flushed = self.look_for_losses(&saved, end.at, host_restarted)?;
        // Before the cut: half a record that was flushed must not look like a loss to the start after a crash.
        self.lower_checkpoint(end.at, end.at)?;
        let cut = self.cut_after(&end)?;
        // A process may have died of a flush that failed, with pages that no flush writes any more.
        let flushed = if saved.verified.is_some() { saved.master_flushed_offset } else { 0 };
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
        // Java's brokers put another one's position there.
        let flushed = if saved.verified.is_some() { saved.master_flushed_offset } else { 0 };
        let size = self.log.find(end).and_then(|file| record_size(file.bytes(file.position(end)..file.size())));
        let size = size.unwrap_or(0).max(MIN_SIZE);
        flushed.max(confirmed) >= end + size as Offset
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

    /// Start of the newest file that Java's rules vouch for: after a crash by the checkpoint's time, otherwise by what
    /// the queues hold.
    fn first_to_verify(&self, saved: &Checkpoint, unclean: bool) -> Offset {
        let min = self.log.min();
        let built = self.queues.all().iter().map(|queue| queue.max_physical()).max().unwrap_or(-1);
        let vouched = |file: &MappedFile| match file.step(file.start, file.size(), Verify::Checksum) {
            Step::Record(first) if unclean => {
                first.store_timestamp > 0 && first.store_timestamp <= saved.min_timestamp()
            }
            Step::Record(first) => first.physical_offset <= built,
            _ => false,
        };
        self.log.files().iter().rev().find(|file| vouched(file)).map_or(min, |file| file.start.max(min))
    }

    /// Verifies record after record from `begin`, a record boundary.
    fn find_end(&self, begin: Offset) -> LogEnd {
        let mut at = begin;
        loop {
            let Some(file) = self.log.find(at) else { return LogEnd { at, why: None } };
            let why = match file.step(at, file.size(), Verify::Checksum) {
                Step::Record(record) => {
                    at += record.size as i64;
                    continue;
                }
                Step::NextFile(next) => {
                    at = next;
                    continue;
                }
                Step::Unwritten => None,
                Step::Partial => Some("record longer than its file".to_owned()),
                Step::Invalid(why) => Some(why),
            };
            return LogEnd { at, why };
        }
    }

    /// Makes the log end at `end`: what stands behind can never become records again. Says what that was.
    fn cut_after(&self, end: &LogEnd) -> Result<Vec<String>, StoreError> {
        let files = self.log.files().clone();
        let mut data_end = None;
        for file in files.iter().filter(|file| file.end() > end.at) {
            let from = file.position(end.at.max(file.start));
            if file.has_data_after(from).at(&file.path, "look for data after the log's end")? {
                data_end = Some(file.end());
            }
        }
        let mut said = Vec::new();
        if let Some(data_end) = data_end {
            let name = self.log.find(end.at).map_or_else(|| file_name(end.at), |file| file_name(file.start));
            let why = end.why.as_deref().unwrap_or("not written, yet there is data behind");
            let mut note = format!("commit log {name} at {}: {why}; recovery cut the log here", end.at);
            if let Some(next) = self.intact_behind(end.at) {
                if end.at == self.log.min() {
                    return Err(StoreError::Unusable(format!(
                        "{}: commit log {name} is damaged at its very start ({why}) and intact at {next}; restore it \
                         from another replica, \
                         or move the store away to copy everything from the master",
                        self.log.dir.display()
                    )));
                }
                let kept = self.keep_tail(0, end.at, data_end)?;
                note += &format!("; intact records stood behind (at {next}), kept in {}", kept.path.display());
            }
            warn!(offset = end.at, "{note}");
            said.push(note);
        }
        if data_end.is_some() || files.iter().any(|file| file.start >= end.at) {
            self.log.cut(end.at)?;
        }
        Ok(said)
    }

    /// A whole record behind a damaged one: in its place by the damaged record's size, or at the start of a later file.
    fn intact_behind(&self, at: Offset) -> Option<Offset> {
        let is_record = |at: Offset| {
            let Some(file) = self.log.find(at) else { return false };
            matches!(file.step(at, file.size(), Verify::Checksum), Step::Record(_))
        };
        let file = self.log.find(at)?;
        let size = file.bytes(file.position(at)..file.size()).first_chunk().map_or(0, |size| i32::from_be_bytes(*size));
        let neighbour = (size > 0).then(|| at + i64::from(size)).filter(|next| *next < file.end());
        let later = self.log.files().iter().map(|file| file.start).filter(|start| *start > at).collect::<Vec<_>>();
        neighbour.into_iter().chain(later).find(|next| is_record(*next))
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

    /// Where the log begins, when that is inside a file ([`Shared::start_at`]); else 0.
    fn load_log_start(&self) -> Result<Offset, StoreError> {
        let path = self.config.root.join(LOG_START);
        let start = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            text => text.at(&path, "read")?,
        };
        let start: Offset = start.trim().parse().map_err(|_| {
            StoreError::Unusable(format!(
                "{}: `{}` is no offset; delete it if the log begins at a file's start",
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

/// Text file with the offset at which the log begins inside its first file.
const LOG_START: &str = "log-start";
