//! The commit log: a sequence of mapped files, how far it reaches, how much of it is on disk.
//!
//! `max` is published only after the bytes below it are in place; everything below it may be read. Files are added at
//! the end and removed at either end under the append lock; readers use a snapshot of the list.

use crate::allocator::Allocator;
use crate::blank::has_data_after;
use crate::durable::{At, Disk};
use crate::mapped_file::{MappedFile, parse_file_name};
use crate::{LogSlice, StoreError};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use proto::Offset;
use proto::message::{BLANK_SIZE, encode_blank, store_timestamp};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::watch;
use tracing::warn;

pub(crate) struct CommitLog {
    pub dir: PathBuf,
    pub file_size: u64,
    disk: Disk,
    /// Ascending, without gaps.
    files: ArcSwap<Vec<Arc<MappedFile>>>,
    pub allocator: Allocator,
    max: AtomicI64,
    /// Where the log begins if that is behind its first file's start, or it has none; else means nothing.
    log_start: AtomicI64,
    pub max_watch: watch::Sender<Offset>,
    pub flushed_watch: watch::Sender<Offset>,
    /// Held by a flush, so that a truncation never meets one that would publish a position it has cut.
    pub flush_lock: Mutex<Flushes>,
}

/// What the flush lock guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushes {
    Work,
    /// One has failed: the kernel may have dropped the pages, and whoever flushes next would be told that all is well.
    Failed,
}

impl CommitLog {
    /// Opens the files; positions are set by recovery.
    pub fn load(dir: PathBuf, file_size: u64, disk: Disk) -> Result<CommitLog, StoreError> {
        std::fs::create_dir_all(&dir).at(&dir, "create commit log directory")?;
        let files = load_files(&dir, file_size, &disk)?;
        Ok(CommitLog {
            allocator: Allocator::new(dir.clone(), file_size, disk.clone()),
            dir,
            file_size,
            disk,
            files: ArcSwap::from_pointee(files),
            max: AtomicI64::new(0),
            log_start: AtomicI64::new(0),
            max_watch: watch::Sender::new(0),
            flushed_watch: watch::Sender::new(0),
            flush_lock: Mutex::new(Flushes::Work),
        })
    }

    pub fn files(&self) -> arc_swap::Guard<Arc<Vec<Arc<MappedFile>>>> {
        self.files.load()
    }

    pub fn max(&self) -> Offset {
        self.max.load(Ordering::Acquire)
    }

    /// First byte held; -1 without files.
    pub fn min(&self) -> Offset {
        self.files.load().first().map_or(-1, |file| file.start.max(self.log_start.load(Ordering::Acquire)))
    }

    pub fn flushed(&self) -> Offset {
        *self.flushed_watch.borrow()
    }

    pub fn set_log_start(&self, offset: Offset) {
        self.log_start.store(offset, Ordering::Release);
    }

    /// Publishes the log's end. The bytes below it are in place.
    pub fn publish_max(&self, max: Offset) {
        self.max.store(max, Ordering::Release);
        self.max_watch.send_replace(max);
    }

    /// The file that holds `offset`.
    pub fn find(&self, offset: Offset) -> Option<Arc<MappedFile>> {
        let files = self.files.load();
        let first = files.first()?.start;
        if offset < first {
            return None;
        }
        files.get(((offset - first) as u64 / self.file_size) as usize).cloned()
    }

    pub fn slice(&self, offset: Offset, max_len: usize) -> Option<LogSlice> {
        let max = self.max();
        if offset < self.min() || offset >= max {
            return None;
        }
        let file = self.find(offset)?;
        let at = file.position(offset);
        let len = max_len.min(file.size() - at).min((max - offset) as usize);
        Some(LogSlice { file, at, len })
    }

    /// The record at `offset` if its own header says it has `size` bytes.
    pub fn record(&self, offset: Offset, size: usize) -> Option<LogSlice> {
        let slice = self.slice(offset, size)?;
        (slice.len() == size && slice.first_chunk().is_some_and(|len| i32::from_be_bytes(*len) as usize == size))
            .then_some(slice)
    }

    pub fn store_time(&self, offset: Offset, size: usize) -> Option<i64> {
        store_timestamp(&self.record(offset, size)?)
    }

    /// Where the next `len` bytes go if they have to be in one file: closes the current file with a blank when they do
    /// not fit it. Under the append lock. Nothing is written when there is no room for another file.
    pub fn place(&self, len: usize) -> io::Result<(Arc<MappedFile>, Offset)> {
        let max = self.max();
        let (file, at) = self.current(max)?;
        let room = file.size() - at;
        if len + BLANK_SIZE <= room {
            self.prepare_next(&file, at + len);
            return Ok((file, max));
        }
        let next = self.add_file(file.end())?;
        if room >= BLANK_SIZE {
            file.write(at, &encode_blank(room as i32));
        }
        let start = next.start;
        Ok((next, start))
    }

    /// Where the next byte goes, and how much room is left there. Under the append lock.
    pub fn current(&self, max: Offset) -> io::Result<(Arc<MappedFile>, usize)> {
        let file = match self.files.load().last() {
            Some(last) if max < last.end() => last.clone(),
            _ => self.add_file(max - max % self.file_size as i64)?,
        };
        file.ensure_ready()?;
        let at = file.position(max);
        Ok((file, at))
    }

    /// Asks for the next file once this one is half full.
    pub fn prepare_next(&self, file: &MappedFile, used: usize) {
        if used > file.size() / 2 {
            self.allocator.request(file.end());
        }
    }

    fn add_file(&self, start: Offset) -> io::Result<Arc<MappedFile>> {
        if let Some(last) = self.files.load().last()
            && last.start == start
        {
            return Ok(last.clone());
        }
        let file = self.allocator.take(start)?;
        let mut files = self.files.load().as_ref().clone();
        files.push(file.clone());
        self.files.store(Arc::new(files));
        Ok(file)
    }

    /// Everything below the log's end at the time of the call is on disk when this returns. After a failure it never
    /// succeeds again.
    pub fn flush(&self) -> io::Result<()> {
        let mut flushes = self.flush_lock.lock();
        if *flushes == Flushes::Failed {
            return Err(io::Error::other("a flush before this one has failed"));
        }
        let flushed = self.flush_files();
        if flushed.is_err() {
            *flushes = Flushes::Failed;
        }
        flushed
    }

    /// Under the flush lock.
    fn flush_files(&self) -> io::Result<()> {
        let (from, to) = (self.flushed(), self.max());
        if from >= to {
            return Ok(());
        }
        for file in self.files.load().iter().filter(|file| file.end() > from && file.start < to) {
            file.sync(file.position(from.max(file.start))..file.position(to.min(file.end())))?;
        }
        self.flushed_watch.send_replace(to);
        Ok(())
    }

    /// What stands in this range will be written by the next flush, even if the kernel takes it for written.
    pub fn dirty(&self, from: Offset, to: Offset) -> io::Result<()> {
        for file in self.files.load().iter().filter(|file| file.end() > from && file.start < to) {
            file.dirty(file.position(from.max(file.start))..file.position(to.min(file.end())))?;
        }
        Ok(())
    }

    /// Cuts at `to`, durably: later files go, the rest of the file that holds `to` becomes zeroes. Idempotent.
    /// Positions are the caller's. Under the append and flush locks, or before anyone else uses the log.
    pub fn cut(&self, to: Offset) -> Result<(), StoreError> {
        self.allocator.discard().at(&self.dir, "remove the file made ahead")?;
        let files = self.files.load().as_ref().clone();
        let (kept, gone): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.start < to);
        // From the end, so that a crash in between leaves no gap.
        for file in gone.iter().rev() {
            self.disk.remove_file(&file.path).at(&file.path, "remove a cut commit log file")?;
            self.disk.sync_dir(&self.dir).at(&self.dir, "sync")?;
        }
        if let Some(last) = kept.last()
            && to < last.end()
        {
            last.zero_from(last.position(to)).at(&last.path, "zero the cut tail")?;
        }
        self.files.store(Arc::new(kept));
        Ok(())
    }

    /// Forgets and deletes the first file. Under the append lock.
    pub fn remove_first(&self) -> Result<(), StoreError> {
        let mut files = self.files.load().as_ref().clone();
        let file = files.remove(0);
        self.files.store(Arc::new(files));
        self.disk.remove(&file.path).at(&file.path, "remove an expired commit log file")
    }
}

fn is_blank_file(path: &std::path::Path, len: u64) -> io::Result<bool> {
    Ok(!has_data_after(&File::open(path)?, 0, len)?)
}

fn load_files(dir: &std::path::Path, file_size: u64, disk: &Disk) -> Result<Vec<Arc<MappedFile>>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).at(dir, "list")? {
        let entry = entry.at(dir, "list")?;
        let meta = entry.metadata().at(&entry.path(), "stat")?;
        if let (true, Some(start)) = (meta.is_file(), entry.file_name().to_str().and_then(parse_file_name)) {
            found.push((start, entry.path(), meta.len()));
        }
    }
    found.sort();
    // A crash between creating and allocating the next file leaves an empty one, as Java's does; one while its blocks
    // are reserved may leave a short one. Nothing was written into either: that begins when all of it is there.
    if let Some((_, path, len)) = found.last()
        && *len < file_size
        && is_blank_file(path, *len).at(path, "look for data in a short file")?
    {
        warn!(file = %path.display(), len, "removing a commit log file without data: not all of it was allocated");
        disk.remove(path).at(path, "remove a file that was not allocated")?;
        found.pop();
    }
    let mut files: Vec<Arc<MappedFile>> = Vec::new();
    for (start, path, len) in found {
        if len != file_size {
            return Err(StoreError::Unusable(format!(
                "{}: {len} bytes, mappedFileSizeCommitLog is {file_size}; set it to the size the store was made with",
                path.display()
            )));
        }
        if let Some(before) = files.last()
            && before.end() != start
        {
            return Err(StoreError::Unusable(format!(
                "{}: a commit log file is missing before it (the one before ends at {}); restore it, or move this and \
                 later files away to lose their messages",
                path.display(),
                before.end()
            )));
        }
        files.push(Arc::new(MappedFile::open(&path, start, disk).at(&path, "map")?));
    }
    Ok(files)
}
