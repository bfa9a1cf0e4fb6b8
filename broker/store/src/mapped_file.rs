//! One commit log file in memory: preallocated, mapped shared, written by memcpy under the append lock, read by anyone
//! below the log's end.
//!
//! The only place of the crate with `unsafe`. The file's length never changes while it is mapped, and its blocks are
//! allocated before the first byte is written, so that a full disk is an error here and not a signal in a memcpy. Bytes
//! below the log's end change only when truncation zeroes them; a reader that still holds a slice then may see zeroes,
//! never unmapped memory.

use crate::blank::{any_stored, is_blank};
use crate::durable::{Access, Disk, parent};
use crate::scan::{Step, Verify, step};
use memmap2::{Advice, MmapRaw};
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The smallest there is: looking at one more often than needed does no harm.
const PAGE: usize = 4096;

pub(crate) struct MappedFile {
    /// Physical offset of the first byte, which is also the file's name.
    pub start: i64,
    pub path: PathBuf,
    file: File,
    map: MmapRaw,
    /// The file's blocks are there, and its name is on disk: nothing is appended before. Not known of a file that was
    /// found: it may be sparse (Java's), or its directory not synced. Nor of one with a hole punched into it, which
    /// lacks blocks only: its directory is synced once more for nothing.
    ready: AtomicBool,
    disk: Disk,
}

impl MappedFile {
    /// A new file of zeroes, on disk with its directory entry when this returns. Leaves nothing behind on failure.
    pub fn create(dir: &Path, start: i64, size: u64, disk: &Disk) -> io::Result<MappedFile> {
        let path = dir.join(file_name(start));
        let made = (|| {
            disk.before(Access::Allocate, &path)?;
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            allocate_blocks(&file, size)?;
            disk.sync(&file, &path)?;
            disk.sync_dir(dir)?;
            let map = MmapRaw::map_raw(&file)?;
            Ok(MappedFile { start, path: path.clone(), file, map, ready: AtomicBool::new(true), disk: disk.clone() })
        })();
        if made.is_err() {
            // The next start would have to remove a half allocated file. Ignored when it was never created.
            let _ = disk.remove_file(&path);
        }
        made
    }

    /// An existing file; the caller has checked its length.
    pub fn open(path: &Path, start: i64, disk: &Disk) -> io::Result<MappedFile> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let map = MmapRaw::map_raw(&file)?;
        let ready = AtomicBool::new(false);
        Ok(MappedFile { start, path: path.to_path_buf(), file, map, ready, disk: disk.clone() })
    }

    pub fn size(&self) -> usize {
        self.map.len()
    }

    /// Physical offset after the last byte.
    pub fn end(&self) -> i64 {
        self.start + self.map.len() as i64
    }

    /// Position of a physical offset, which must be within the file or at its end.
    pub fn position(&self, offset: i64) -> usize {
        assert!(offset >= self.start && offset <= self.end(), "offset {offset} outside file {}", self.path.display());
        (offset - self.start) as usize
    }

    /// Makes sure that writing cannot hit a hole of the file, and that a loss of power leaves it its name (S11): the
    /// process that made it may have died over that. Cheap after the first time.
    pub fn ensure_ready(&self) -> io::Result<()> {
        if !self.ready.load(Ordering::Acquire) {
            self.allocate()?;
            self.disk.sync_dir(parent(&self.path))?;
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn allocate(&self) -> io::Result<()> {
        self.disk.before(Access::Allocate, &self.path)?;
        allocate_blocks(&self.file, self.map.len() as u64)
    }

    /// Copies bytes into the map. The caller holds the append lock and has not published the range to readers yet.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(
            self.ready.load(Ordering::Acquire),
            "{} is written before its blocks and name are there",
            self.path.display()
        );
        assert!(
            at.checked_add(bytes.len()).is_some_and(|end| end <= self.map.len()),
            "write past {}",
            self.path.display()
        );
        // SAFETY: the range is inside the map (checked above), the map is writable for the life of `self`, and `bytes`
        // is ordinary memory that cannot overlap a range nobody was given a reference to: readers only get ranges below
        // the published log end.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(at), bytes.len()) }
        self.disk.0.wrote(&self.path, at as u64..(at + bytes.len()) as u64);
    }

    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.map.len(), "read past {}", self.path.display());
        // SAFETY: the range is inside the map (checked above), which lives as long as `self`. Nobody writes below the
        // log's end, save the zeroes of a truncation, which change values only; every decoder of these bytes bounds
        // what it reads.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(range.start), range.len()) }
    }

    /// What stands at a place of the log, of which `readable` bytes may be looked at.
    pub fn step(&self, at: i64, readable: usize, verify: Verify) -> Step<'_> {
        step(self.bytes(0..self.size()), self.position(at), readable, at, verify)
    }

    /// Everything of the range is on disk when this returns.
    pub fn sync(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.disk.before(Access::Sync, &self.path)?;
        self.map.flush_range(range.start, range.len())?;
        self.disk.0.synced(&self.path, range.start as u64..range.end as u64);
        Ok(())
    }

    /// Has the kernel write this range with the next sync, whatever it believes to have written: what it could not
    /// write once, it keeps and takes for clean.
    pub fn dirty(&self, range: Range<usize>) -> io::Result<()> {
        self.allocate()?;
        assert!(range.start <= range.end && range.end <= self.map.len(), "write past {}", self.path.display());
        let first = range.start - range.start % PAGE;
        for at in (first..range.end).step_by(PAGE) {
            // SAFETY: the byte is inside the map (checked above), which is writable for the life of `self`, and gets
            // the value that it has. Recovery alone calls this, before anybody else writes.
            unsafe {
                let byte = self.map.as_mut_ptr().add(at);
                byte.write_volatile(byte.read_volatile());
            }
        }
        let end = range.end.next_multiple_of(PAGE).min(self.map.len());
        self.disk.0.wrote(&self.path, first as u64..end as u64);
        Ok(())
    }

    /// True when anything but zeroes stands at or after `from`. Looks through the map, which can be kept from reading
    /// ahead; a read of the file cannot once a page that announces more is met.
    pub fn has_data_after(&self, from: usize) -> io::Result<bool> {
        let len = self.size() - from;
        if len > 0 {
            self.map.advise_range(Advice::Random, from, len)?;
        }
        let found = any_stored(&self.file, from as u64, self.size() as u64, |stretch| {
            Ok(!is_blank(self.bytes(stretch.start as usize..stretch.end as usize)))
        });
        if len > 0 {
            self.map.advise_range(Advice::Normal, from, len)?;
        }
        found
    }

    /// Zeroes everything from `from` on, durably, so that stale bytes can never become records again (S9).
    pub fn zero_from(&self, from: usize) -> io::Result<()> {
        let len = (self.map.len() - from) as u64;
        if len == 0 {
            return Ok(());
        }
        self.disk.before(Access::Write, &self.path)?;
        let (from, unsupported) =
            (from as u64, |e| matches!(e, rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS));
        match rustix::fs::fallocate(&self.file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, from, len) {
            Err(error) if unsupported(error) => {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match rustix::fs::fallocate(&self.file, punch, from, len) {
                    // The hole needs new blocks before the next write, and there may be no room for them.
                    Ok(()) => self.ready.store(false, Ordering::Release),
                    Err(error) if unsupported(error) => write_zeroes(&self.file, from, len)?,
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        }
        self.disk.0.wrote(&self.path, from..from + len);
        self.disk.sync(&self.file, &self.path)
    }
}

/// Reserves all blocks; the file then has its full length and reads as zeroes.
fn allocate_blocks(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            // No way to reserve: write the missing length. What is in the file already stays; its holes are the file
            // system's risk.
            let len = file.metadata()?.len();
            write_zeroes(file, len, size.saturating_sub(len))
        }
        other => Ok(other?),
    }
}

fn write_zeroes(file: &File, mut from: u64, mut len: u64) -> io::Result<()> {
    let zeroes = vec![0; 1 << 20];
    while len > 0 {
        let part = len.min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..part as usize], from)?;
        (from, len) = (from + part, len - part);
    }
    Ok(())
}

/// RocketMQ's name of the file that starts at `start`: 20 digits.
pub(crate) fn file_name(start: i64) -> String {
    format!("{start:020}")
}

/// Start offset from a file's name; `None` for files that are not ours.
pub(crate) fn parse_file_name(name: &str) -> Option<i64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}
