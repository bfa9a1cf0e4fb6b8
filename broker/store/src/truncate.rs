//! Cutting the log: at the handshake's common point (S9), at the last whole record before a new epoch, and starting an
//! empty one.
//!
//! A truncation is announced in a small file first. From then on it is finished whatever happens, by this process or by
//! the next one when it opens the store, so that a crash between two steps never brings the tail back.

use crate::append::{Gate, QueueOffsets};
use crate::checkpoint::Verified;
use crate::durable::{Access, At};
use crate::scan::{Step, Verify};
use crate::{Shared, StoreError, TruncatedTail};
use proto::{Epoch, Offset};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tracing::{info, warn};

const INTENT: &str = "truncate-intent";
const TAILS: &str = "truncated";

/// The steps of a truncation, for tests that stop after one of them as a crash would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Never,
    AfterCopy,
    AfterIntent,
    AfterLog,
    AfterQueues,
    AfterCheckpoint,
}

impl Shared {
    pub fn truncate(&self, to: Offset, epoch: Epoch, stop: Stop) -> Result<Option<TruncatedTail>, StoreError> {
        let crash = |step: Stop| {
            if step == stop { Err(StoreError::Unusable(format!("stopped {step:?}"))) } else { Ok(()) }
        };
        // In the order in which these locks are always taken.
        let _checkpoint = self.checkpoint_lock.lock();
        let mut d = self.dispatch.lock();
        let mut writer = self.writer.lock();
        self.refuse_if_open(&writer.gate, "truncated")?;
        let max = self.log.max();
        if to >= max {
            return Ok(None);
        }
        let kept = self.keep_tail(epoch, to.max(self.log.min()), max)?;
        crash(Stop::AfterCopy)?;
        let intent = self.config.root.join(INTENT);
        self.disk.replace(&intent, to.to_string().as_bytes()).at(&intent, "write")?;
        let done = (|| {
            crash(Stop::AfterIntent)?;
            writer.next = QueueOffsets::default();
            writer.stale = true;
            self.cut_log(to)?;
            crash(Stop::AfterLog)?;
            for queue in self.queues.all() {
                queue.cut(to)?;
            }
            crash(Stop::AfterQueues)?;
            if d.position > to {
                // The end of the last record that is still indexed is a record boundary below `to`, and `to` itself
                // need not be one.
                let built = self.queues.all().iter().map(|queue| queue.max_physical()).max().unwrap_or(-1);
                let floor = if self.log.files().is_empty() { to } else { self.log.min() };
                d.rewind(built.max(floor).min(to));
                self.dispatched.store(d.position, Ordering::Release);
            }
            let queues = self.queues.all();
            let entries = queues.iter().map(|queue| queue.max()).sum();
            self.vouch(Verified { dispatched: d.position, entries }, &queues, d.last_store_timestamp)?;
            crash(Stop::AfterCheckpoint)?;
            self.intent_done()
        })();
        if let Err(error) = &done {
            self.fail(format!("truncation to {to} not finished: {error}; it will be when the broker starts again"));
        }
        done?;
        info!(to, from = max, bytes = max - to, kept = %kept.path.display(), "commit log truncated");
        Ok(Some(kept))
    }

    fn refuse_if_open(&self, gate: &Gate, what: &str) -> Result<(), StoreError> {
        match gate {
            Gate::Open(epoch) => {
                Err(StoreError::Unusable(format!("the log cannot be {what} while it takes appends of epoch {epoch}")))
            }
            Gate::Closed(_) => Ok(()),
        }
    }

    /// Under the append lock. Readers lose the tail first, then it is zeroed.
    fn cut_log(&self, to: Offset) -> Result<(), StoreError> {
        let _flush = self.log.flush_lock.lock();
        let cut_to = self.note_start_of_empty(to)?;
        self.confirm.fetch_min(to, Ordering::AcqRel);
        self.log.publish_max(to);
        self.log.cut(cut_to)?;
        let flushed = self.log.flushed().min(to);
        self.log.flushed_watch.send_replace(flushed);
        self.flush_wanted.fetch_min(to, Ordering::AcqRel);
        Ok(())
    }

    /// Where the files are to be cut for the log to end at `to`. When that leaves none, no file tells where it ends:
    /// that is noted, in place of an earlier start.
    fn note_start_of_empty(&self, to: Offset) -> Result<Offset, StoreError> {
        if !self.log.files().is_empty() && to > self.log.min() {
            return Ok(to);
        }
        self.save_log_start(to)?;
        Ok(0)
    }

    /// At open: finishes a truncation that the process before could not. The queues follow the log in recovery.
    pub fn finish_truncation(&self) -> Result<(), StoreError> {
        let path = self.config.root.join(INTENT);
        let to = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            text => text.at(&path, "read")?,
        };
        let to: Offset = to.trim().parse().map_err(|_| {
            StoreError::Unusable(format!(
                "{}: `{}` is no offset; a truncation was under way, and where it cut is \
                lost; move the store away to copy everything from the master",
                path.display(),
                to.trim()
            ))
        })?;
        warn!(to, "finishing the truncation that the process before did not");
        let start = self.load_log_start()?;
        self.log.set_log_start(start);
        if !self.log.files().is_empty() {
            let cut_to = self.note_start_of_empty(to)?;
            self.log.cut(cut_to)?;
        } else if to < start {
            self.save_log_start(to)?;
        }
        self.checkpoint.save(|it| it.lower(to, to))
    }

    /// The truncation that was announced has been carried out everywhere.
    pub fn intent_done(&self) -> Result<(), StoreError> {
        let path = self.config.root.join(INTENT);
        if path.exists() { self.disk.remove(&path).at(&path, "remove") } else { Ok(()) }
    }

    /// Copies `[from, to)` of the log to `truncated/<epoch>-<from>-<to>`, durably.
    pub fn keep_tail(&self, epoch: Epoch, from: Offset, to: Offset) -> Result<TruncatedTail, StoreError> {
        let dir = self.config.root.join(TAILS);
        std::fs::create_dir_all(&dir).at(&dir, "create")?;
        let path = dir.join(format!("{epoch}-{from}-{to}"));
        let mut temp = tempfile::NamedTempFile::new_in(&dir).at(&dir, "create")?;
        self.disk.before(Access::Write, &path).at(&path, "copy the cut tail")?;
        for file in self.log.files().iter().filter(|file| file.end() > from && file.start < to) {
            let range = file.position(from.max(file.start))..file.position(to.min(file.end()));
            temp.write_all(file.bytes(range)).at(&path, "copy the cut tail")?;
        }
        self.disk.put(temp, &path).and_then(|()| self.disk.sync_dir(&self.config.root)).at(&path, "keep")?;
        Ok(TruncatedTail { path, epoch, from, to })
    }

    pub fn truncated_tails(&self) -> Vec<TruncatedTail> {
        let Ok(entries) = std::fs::read_dir(self.config.root.join(TAILS)) else { return Vec::new() };
        let mut tails: Vec<TruncatedTail> = entries.filter_map(|entry| parse_tail(entry.ok()?.path())).collect();
        tails.sort_by_key(|tail| (tail.epoch, tail.from, tail.to));
        tails
    }

    pub fn seal_tail(&self) -> Result<Offset, StoreError> {
        let d = self.dispatch.lock();
        let mut writer = self.writer.lock();
        self.refuse_if_open(&writer.gate, "sealed")?;
        let (max, confirm) = (self.log.max(), self.confirm.load(Ordering::Acquire));
        let mut at = d.position.max(self.log.min()).min(max);
        let mut next = self.queues.next_offsets(max);
        while at < max {
            let Some(file) = self.log.find(at) else { break };
            match file.step(at, (max - at) as usize, Verify::Whole) {
                Step::Record(record) => {
                    next.follow(&record);
                    at += record.size as i64;
                }
                Step::NextFile(file_start) => at = file_start,
                Step::Partial => break,
                Step::Unwritten | Step::Invalid(_) if at >= confirm => break,
                Step::Unwritten => {
                    return Err(damaged(&self.log.dir, at, confirm, "zeroes where a record should begin"));
                }
                Step::Invalid(why) => return Err(damaged(&self.log.dir, at, confirm, &why)),
            }
        }
        if at < max {
            info!(at, cut = max - at, "cutting the log after its last whole record");
            // A confirm offset inside the cut record would, after a crash, confirm what the new master writes there;
            // and what was flushed of it would look like a loss. Once more after the cut: the checkpoint's thread may
            // have saved what it had read before.
            self.confirm.fetch_min(at, Ordering::AcqRel);
            self.lower_checkpoint(at, at)?;
            self.cut_log(at)?;
            self.lower_checkpoint(at, at)?;
        }
        writer.next = next;
        writer.stale = false;
        Ok(at)
    }

    pub fn open_writes(&self, epoch: Epoch) {
        if self.writer.lock().stale
            && let Err(error) = self.seal_tail()
        {
            self.fail(format!("writes stay closed: {error}"));
            return;
        }
        self.writer.lock().gate = Gate::Open(epoch);
    }

    pub fn start_at(&self, offset: Offset) -> Result<(), StoreError> {
        let _checkpoint = self.checkpoint_lock.lock();
        let mut d = self.dispatch.lock();
        let mut writer = self.writer.lock();
        self.refuse_if_open(&writer.gate, "started anew")?;
        let max = self.log.max();
        if offset < 0 || self.log.files().first().is_some_and(|first| first.start.max(self.log.min()) < max) {
            return Err(StoreError::Unusable(format!(
                "a log cannot start at {offset}: it holds bytes from {} to {max}",
                self.log.min()
            )));
        }
        let flush = self.log.flush_lock.lock();
        self.save_log_start(offset)?;
        self.log.cut(0)?;
        self.queues.all().iter().try_for_each(|queue| queue.clear())?;
        self.log.publish_max(offset);
        self.log.flushed_watch.send_replace(offset);
        self.confirm.store(offset, Ordering::Release);
        self.dispatched.store(offset, Ordering::Release);
        d.rewind(offset);
        writer.stale = true;
        drop(flush);
        self.vouch(Verified { dispatched: offset, entries: 0 }, &self.queues.all(), 0)
    }
}

fn damaged(dir: &std::path::Path, at: Offset, confirm: Offset, why: &str) -> StoreError {
    StoreError::Unusable(format!(
        "{}: commit log at {at}: {why}, below the confirm offset {confirm}: acknowledged messages are damaged here, \
         another replica has them",
        dir.display()
    ))
}

fn parse_tail(path: PathBuf) -> Option<TruncatedTail> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.split('-');
    let (epoch, from, to) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(TruncatedTail { path, epoch, from, to })
}
