//! One consume queue: 20-byte entries in files, written by the dispatch thread, read by anyone below `max`.
//!
//! Entries of one round are staged and written with one call per file; only then they become visible. Files are sparse
//! and never mapped, so a full disk is an error of a write. Cutting shrinks and regrows the file: what stood beyond the
//! cut reads as unwritten.

use crate::StoreError;
use crate::blank::has_data_after;
use crate::durable::{At, Disk};
use crate::mapped_file::{file_name, parse_file_name};
use parking_lot::{Mutex, RwLock};
use proto::Offset;
use proto::queue_entry::{QueueEntry, SIZE};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tracing::warn;

/// No queue gets this far; positions in bytes stay far from the end of their type. A damaged header may say anything.
pub(crate) const MOST_ENTRIES: i64 = 1 << 56;

pub(crate) struct ConsumeQueue {
    pub topic: Arc<str>,
    pub id: i32,
    dir: PathBuf,
    disk: Disk,
    /// Entries per file.
    per_file: i64,
    files: RwLock<Vec<Arc<QueueFile>>>,
    /// First entry whose record is still in the log.
    min: AtomicI64,
    /// Entries below are written and visible.
    max: AtomicI64,
    writer: Mutex<Writer>,
}

struct QueueFile {
    /// Index of its first entry.
    start: i64,
    path: PathBuf,
    file: File,
}

/// The dispatch thread's side.
#[derive(Default)]
struct Writer {
    /// Index the next staged entry gets.
    next: i64,
    staged: Vec<u8>,
    /// End of the last record that was staged or written; -1 when there is none. Records below are repeats.
    max_physical: Offset,
    /// Starts of files written since the last sync.
    dirty: Vec<i64>,
    dir_changed: bool,
}

/// What staging an entry found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Staged {
    Added,
    /// Built already.
    Repeat,
    /// Entries are missing before it: slots were left blank.
    Gap,
}

impl ConsumeQueue {
    /// Opens the queue's files, creating its directory if needed. Empty until `recover_*` is called.
    pub fn open(
        topic: Arc<str>,
        id: i32,
        dir: PathBuf,
        file_size: u64,
        disk: Disk,
    ) -> Result<ConsumeQueue, StoreError> {
        std::fs::create_dir_all(&dir).at(&dir, "create consume queue directory")?;
        let per_file = (file_size / SIZE as u64) as i64;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir).at(&dir, "list")? {
            let entry = entry.at(&dir, "list")?;
            let len = entry.metadata().at(&entry.path(), "stat")?.len();
            if let Some(start) = entry.file_name().to_str().and_then(parse_file_name) {
                found.push((start, entry.path(), len));
            }
        }
        found.sort();
        if let Some((_, path, 0)) = found.last() {
            disk.remove(path).at(path, "remove empty file")?;
            found.pop();
        }
        let mut files = Vec::new();
        for (start, path, len) in found {
            // A crash while a cut shrinks and regrows the last file leaves it short; what it lost was to be cut.
            if len > file_size || start % (per_file * SIZE as i64) != 0 {
                return Err(StoreError::Unusable(format!(
                    "{}: {len} bytes, mappedFileSizeConsumeQueue is {file_size}; set it to the size the store was \
                     made with, or delete the \
                     consumequeue directory to have it rebuilt from the commit log",
                    path.display()
                )));
            }
            let file = OpenOptions::new().read(true).write(true).open(&path).at(&path, "open")?;
            if len < file_size {
                disk.set_len(&file, &path, file_size).at(&path, "grow")?;
            }
            files.push(Arc::new(QueueFile { start: start / SIZE as i64, path, file }));
        }
        // Entries behind a missing file cannot be reached by index arithmetic. They are dropped rather than those
        // before: the log still has the younger records, so that the rebuild fills them again.
        if let Some(gap) = files.windows(2).position(|pair| pair[0].start + per_file != pair[1].start) {
            warn!(queue = %dir.display(), "a consume queue file is missing; rebuilding what stood in it and behind");
            for file in files.drain(gap + 1..) {
                disk.remove_file(&file.path).at(&file.path, "remove a consume queue file")?;
            }
        }
        let start = files.first().map_or(0, |file| file.start);
        Ok(ConsumeQueue {
            topic,
            id,
            dir,
            disk,
            per_file,
            files: RwLock::new(files),
            min: AtomicI64::new(start),
            max: AtomicI64::new(start),
            writer: Mutex::new(Writer { next: start, max_physical: -1, ..Writer::default() }),
        })
    }

    pub fn min(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    pub fn max(&self) -> i64 {
        self.max.load(Ordering::Acquire)
    }

    /// End of the last indexed record; -1 when there is none.
    pub fn max_physical(&self) -> Offset {
        self.writer.lock().max_physical
    }

    /// Index the next record of this queue should have.
    pub fn next(&self) -> i64 {
        self.writer.lock().next
    }

    /// Index a record at `at`, behind those below and before all others, should have.
    pub fn next_at(&self, at: Offset) -> i64 {
        if self.max_physical() <= at {
            return self.next();
        }
        let (start, _) = self.bounds_on_disk();
        self.partition(start, self.max(), |e| e.is_pre_blank() || e.offset < at)
    }

    pub fn entry(&self, index: i64) -> Option<QueueEntry> {
        self.read(index, 1).ok()?.into_iter().next()
    }

    /// Up to `count` visible entries from `index` on, within one file. Empty when the file is gone.
    pub fn entries(&self, index: i64, count: i64) -> io::Result<Vec<QueueEntry>> {
        self.read(index, count.min(self.max() - index))
    }

    /// First entry of the file after the one that holds `index`.
    pub fn roll(&self, index: i64) -> i64 {
        index + self.per_file - index % self.per_file
    }

    fn find(&self, index: i64) -> Option<Arc<QueueFile>> {
        let files = self.files.read();
        let first = files.first()?.start;
        (index >= first).then(|| files.get(((index - first) / self.per_file) as usize).cloned()).flatten()
    }

    fn read(&self, index: i64, count: i64) -> io::Result<Vec<QueueEntry>> {
        let Some(file) = self.find(index) else { return Ok(Vec::new()) };
        let count = count.clamp(0, file.start + self.per_file - index) as usize;
        let mut buf = vec![0; count * SIZE];
        file.file.read_exact_at(&mut buf, ((index - file.start) as usize * SIZE) as u64)?;
        Ok(buf.chunks_exact(SIZE).filter_map(QueueEntry::decode).collect())
    }

    /// First index in `[from, to)` whose entry does not pass, if entries that pass come first.
    fn partition(&self, mut from: i64, mut to: i64, passes: impl Fn(&QueueEntry) -> bool) -> i64 {
        while from < to {
            let middle = from + (to - from) / 2;
            match self.entry(middle) {
                Some(entry) if passes(&entry) => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }

    fn bounds_on_disk(&self) -> (i64, i64) {
        let files = self.files.read();
        let start = files.first().map_or(0, |file| file.start);
        (start, start + files.len() as i64 * self.per_file)
    }

    /// Takes over the entries below `dispatched`, which the checkpoint says are whole, and drops the others.
    pub fn recover_below(&self, dispatched: Offset) -> Result<(), StoreError> {
        let (start, end) = self.bounds_on_disk();
        let max = self.partition(start, end, |e| e.is_pre_blank() || (e.is_written() && e.offset < dispatched));
        self.set_end(max)
    }

    /// Takes over everything up to the first slot that was never written, or whose record would end beyond `log_end`.
    pub fn recover_by_walking(&self, log_end: Offset) -> Result<(), StoreError> {
        let (start, end) = self.bounds_on_disk();
        // The last file that begins with an entry: those before it are full.
        let mut index = end;
        while index > start {
            index -= self.per_file;
            if self.entry(index).is_some_and(|e| e.is_written() && (e.is_pre_blank() || e.end() <= log_end)) {
                break;
            }
        }
        let end = (index + self.per_file).min(end);
        let mut before = -1;
        'walk: while index < end {
            let part = self.read(index, 4096).at(&self.dir, "read")?;
            if part.is_empty() {
                break;
            }
            for entry in part {
                let blank = entry.is_pre_blank();
                if !entry.is_written() || (!blank && (entry.end() > log_end || entry.offset <= before)) {
                    break 'walk;
                }
                before = if blank { before } else { entry.offset };
                index += 1;
            }
        }
        self.set_end(index)
    }

    /// Drops the entries of records that end beyond `to`, durably.
    pub fn cut(&self, to: Offset) -> Result<(), StoreError> {
        let mut end = self.max();
        let (start, _) = self.bounds_on_disk();
        while end > start && self.entry(end - 1).is_none_or(|e| !e.is_pre_blank() && e.end() > to) {
            end = self.partition(start, end - 1, |e| e.is_pre_blank() || e.end() <= to);
        }
        if end < self.max() { self.set_end(end).and_then(|()| self.sync()) } else { Ok(()) }
    }

    /// Makes `end` the end: later files go, later slots become unwritten.
    fn set_end(&self, end: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.max.store(end, Ordering::Release);
        self.min.fetch_min(end, Ordering::AcqRel);
        let mut files = self.files.write();
        while files.last().is_some_and(|file| file.start >= end && files.len() > 1) {
            if let Some(file) = files.pop() {
                self.disk.remove_file(&file.path).at(&file.path, "remove a cut consume queue file")?;
                writer.dir_changed = true;
            }
        }
        if let Some(file) = files.last() {
            let size = self.per_file as u64 * SIZE as u64;
            let keep = ((end - file.start).clamp(0, self.per_file) as u64) * SIZE as u64;
            // Mostly nothing stands there, and with many queues a change of each would be what a restart waits for.
            if has_data_after(&file.file, keep, size).at(&file.path, "look for data behind the cut")? {
                self.disk.set_len(&file.file, &file.path, keep).at(&file.path, "cut")?;
                self.disk.set_len(&file.file, &file.path, size).at(&file.path, "grow")?;
            }
            // What stays may have been written by a process that had no time to sync it.
            let start = file.start;
            writer.mark_dirty(start);
        }
        drop(files);
        writer.staged.clear();
        writer.next = end;
        writer.max_physical = self.end_of_records(end);
        Ok(())
    }

    /// Stages the entry of a record with this queue offset.
    pub fn stage(&self, index: i64, entry: QueueEntry) -> Result<Staged, StoreError> {
        let mut writer = self.writer.lock();
        if entry.end() <= writer.max_physical || index < 0 {
            return Ok(Staged::Repeat);
        }
        let mut outcome = Staged::Added;
        if index == 0 && writer.next > 0 {
            // The topic was deleted and made again: a new generation of the queue replaces the old one. A record that a
            // loss of power has left without its queue offset looks the same; recovery cuts it where our checkpoint
            // tells what may not have been on disk (`log_end::Suspect`).
            drop(writer);
            self.clear()?;
            writer = self.writer.lock();
        } else if index < writer.next {
            warn!(topic = %self.topic, queue = self.id, index, expected = writer.next, offset = entry.offset, "record \
                with a queue offset that is taken; not indexed");
            return Ok(Staged::Repeat);
        } else if index > writer.next {
            self.write_staged(&mut writer)?;
            self.skip_to(&mut writer, index)?;
            outcome = Staged::Gap;
        }
        writer.staged.extend_from_slice(&entry.encode());
        writer.next += 1;
        writer.max_physical = entry.end();
        Ok(outcome)
    }

    /// Leaves blank slots up to `index`. What would be more than a file of them is not written: the queue begins in
    /// `index`'s file instead.
    fn skip_to(&self, writer: &mut Writer, index: i64) -> Result<(), StoreError> {
        let file_start = index - index % self.per_file;
        let empty = self.max() == self.min();
        if file_start > writer.next && (empty || index - writer.next > self.per_file) {
            for file in std::mem::take(&mut *self.files.write()) {
                self.disk.remove_file(&file.path).at(&file.path, "remove a consume queue file")?;
            }
            writer.next = file_start;
            self.max.store(file_start, Ordering::Release);
            self.min.store(index, Ordering::Release);
        } else if empty {
            self.min.store(index, Ordering::Release);
        }
        for _ in writer.next..index {
            writer.staged.extend_from_slice(&QueueEntry::PRE_BLANK.encode());
        }
        writer.next = index;
        Ok(())
    }

    /// Forgets what is staged and not written: it will be staged again.
    pub fn unstage(&self) {
        let mut writer = self.writer.lock();
        writer.next -= (writer.staged.len() / SIZE) as i64;
        writer.staged.clear();
        writer.max_physical = self.end_of_records(writer.next);
    }

    /// End of the last record that an entry below `end` points at. Blank slots say nothing about the log: a queue that
    /// ends in one must not take real records for repeats.
    fn end_of_records(&self, end: i64) -> Offset {
        let (start, _) = self.bounds_on_disk();
        (start..end).rev().find_map(|i| self.entry(i).filter(|e| !e.is_pre_blank())).map_or(-1, |e| e.end())
    }

    /// Writes what is staged and makes it visible; returns the new end if the queue has grown.
    pub fn publish(&self) -> Result<Option<i64>, StoreError> {
        let mut writer = self.writer.lock();
        let grown = !writer.staged.is_empty();
        self.write_staged(&mut writer)?;
        Ok(grown.then(|| self.max()))
    }

    fn write_staged(&self, writer: &mut Writer) -> Result<(), StoreError> {
        while !writer.staged.is_empty() {
            let first = writer.next - (writer.staged.len() / SIZE) as i64;
            let file_start = first - first % self.per_file;
            let file = match self.find(first) {
                Some(file) => file,
                None => self.add_file(writer, file_start)?,
            };
            let fits = ((file_start + self.per_file - first) as usize * SIZE).min(writer.staged.len());
            let at = ((first - file_start) as usize * SIZE) as u64;
            self.disk
                .write_at(&file.file, &file.path, &writer.staged[..fits], at)
                .at(&file.path, "write consume queue")?;
            writer.staged.drain(..fits);
            writer.mark_dirty(file_start);
            self.max.store(first + (fits / SIZE) as i64, Ordering::Release);
        }
        Ok(())
    }

    fn add_file(&self, writer: &mut Writer, start: i64) -> Result<Arc<QueueFile>, StoreError> {
        let path = self.dir.join(file_name(start * SIZE as i64));
        std::fs::create_dir_all(&self.dir).at(&self.dir, "create consume queue directory")?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).at(&path, "create")?;
        self.disk.set_len(&file, &path, self.per_file as u64 * SIZE as u64).at(&path, "grow")?;
        let file = Arc::new(QueueFile { start, path, file });
        self.files.write().push(file.clone());
        writer.dir_changed = true;
        Ok(file)
    }

    /// Removes every entry and file.
    pub fn clear(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        *writer = Writer { max_physical: -1, dir_changed: true, ..Writer::default() };
        self.max.store(0, Ordering::Release);
        self.min.store(0, Ordering::Release);
        for file in std::mem::take(&mut *self.files.write()) {
            self.disk.remove_file(&file.path).at(&file.path, "remove a consume queue file")?;
        }
        Ok(())
    }

    /// Moves `min` up to the first entry whose record is still in the log.
    pub fn correct_min(&self, log_min: Offset) {
        let (start, _) = self.bounds_on_disk();
        let max = self.max();
        let min = self.partition(start, max, |e| e.is_pre_blank() || e.offset < log_min);
        self.min.store(min, Ordering::Release);
    }

    /// Removes whole files of which nothing is in the log any more; the last one always stays.
    pub fn remove_expired(&self, log_min: Offset) -> Result<usize, StoreError> {
        let mut removed = 0;
        loop {
            let Some(last) = self.files.read().first().map(|file| file.start + self.per_file - 1) else { break };
            let expired =
                self.files.read().len() > 1 && self.entry(last).is_some_and(|e| e.is_pre_blank() || e.offset < log_min);
            if !expired {
                break;
            }
            let file = self.files.write().remove(0);
            self.disk.remove_file(&file.path).at(&file.path, "remove an expired consume queue file")?;
            removed += 1;
        }
        self.correct_min(log_min);
        Ok(removed)
    }

    /// First visible index whose store time, as `store_time` tells it, is at least `timestamp`.
    pub fn lower_bound(&self, timestamp: i64, store_time: impl Fn(&QueueEntry) -> Option<i64>) -> i64 {
        self.partition(self.min(), self.max(), |e| store_time(e).is_none_or(|time| time < timestamp))
    }

    pub fn is_dirty(&self) -> bool {
        let writer = self.writer.lock();
        writer.dir_changed || !writer.dirty.is_empty()
    }

    /// What was published before the call is on disk when it returns. A failure is final: the kernel may have dropped
    /// what it could not write.
    pub fn sync(&self) -> Result<(), StoreError> {
        let (dirty, dir_changed) = {
            let mut writer = self.writer.lock();
            (std::mem::take(&mut writer.dirty), std::mem::take(&mut writer.dir_changed))
        };
        for file in dirty.iter().filter_map(|start| self.find(*start)) {
            self.disk.sync(&file.file, &file.path).at(&file.path, "sync")?;
        }
        if dir_changed { self.disk.sync_dir(&self.dir).at(&self.dir, "sync") } else { Ok(()) }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Writer {
    fn mark_dirty(&mut self, start: i64) {
        if !self.dirty.contains(&start) {
            self.dirty.push(start);
        }
    }
}

#[cfg(test)]
mod tests;
