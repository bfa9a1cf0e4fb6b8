//! The promise on disk (ours): the newest (master epoch, master) this replica has acted upon (S2).
//!
//! Two slots of 64 bytes, written in turn and in place, so that keeping a promise costs one small fdatasync: a torn
//! slot leaves the other.
//!
//! ```text
//! <sequence> <epoch> <master id, 0 = none> <crc32 of the text before it>  padded with blanks, newline last
//! ```

use crate::HaError;
use crate::durable_file::{self, Loaded};
use crate::role::Promise;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SLOT: usize = 64;

pub(crate) struct PromiseFile {
    path: PathBuf,
    file: File,
    sequence: u64,
}

impl PromiseFile {
    pub(crate) fn open(path: PathBuf) -> Result<(PromiseFile, Option<Promise>), HaError> {
        let advice = "the epoch this replica has promised is unknown; move its whole store directory away to let it \
            copy everything anew";
        let newest = load(&path).or_stop(&path, advice)?;
        if newest.is_none() && !path.exists() {
            durable_file::replace(&path, &[b' '; 2 * SLOT])?;
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(|e| durable_file::failed(&path, &e))?;
        let (sequence, promise) = newest.map_or((0, None), |(sequence, promise)| (sequence, Some(promise)));
        Ok((PromiseFile { path, file, sequence }, promise))
    }

    /// Durable when it returns.
    pub(crate) fn save(&mut self, promise: Promise) -> Result<(), HaError> {
        self.sequence += 1;
        let at = (self.sequence % 2) * SLOT as u64;
        let write = self.file.write_all_at(&encode(self.sequence, promise), at).and_then(|()| self.file.sync_data());
        write.map_err(|e| durable_file::failed(&self.path, &e))
    }
}

fn load(path: &Path) -> Loaded<(u64, Promise)> {
    match durable_file::read_text(path) {
        Loaded::Empty => Loaded::Empty,
        Loaded::Unreadable { why } => Loaded::Unreadable { why },
        Loaded::Present(text) if text.trim().is_empty() => Loaded::Empty,
        Loaded::Present(text) => match newest(&text) {
            Some(newest) => Loaded::Present(newest),
            None => Loaded::Unreadable { why: "neither slot holds a whole promise".to_owned() },
        },
    }
}

pub(crate) fn newest(text: &str) -> Option<(u64, Promise)> {
    text.as_bytes().chunks(SLOT).filter_map(decode).max_by_key(|(sequence, _)| *sequence)
}

fn encode(sequence: u64, promise: Promise) -> [u8; SLOT] {
    let text = format!("{sequence} {} {} ", promise.epoch, promise.master.unwrap_or(0));
    let text = format!("{text}{}", crc32fast::hash(text.as_bytes()));
    let mut slot = [b' '; SLOT];
    slot[..text.len()].copy_from_slice(text.as_bytes());
    slot[SLOT - 1] = b'\n';
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Promise)> {
    let text = std::str::from_utf8(slot).ok()?.trim_end();
    let (checked, crc) = text.rsplit_once(' ').map(|(head, crc)| (format!("{head} "), crc))?;
    if crc.parse() != Ok(crc32fast::hash(checked.as_bytes())) {
        return None;
    }
    let mut fields = checked.split_whitespace();
    let sequence = fields.next()?.parse().ok()?;
    let epoch = fields.next()?.parse().ok()?;
    let master = fields.next()?.parse().ok().map(|id: i64| (id != 0).then_some(id))?;
    Some((sequence, Promise { epoch, master }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_promise_is_loaded_and_a_torn_slot_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promise");
        let (mut file, none) = PromiseFile::open(path.clone()).unwrap();
        assert_eq!(none, None);
        assert_eq!(PromiseFile::open(path.clone()).unwrap().1, None, "created, never promised");
        for (epoch, master) in [(3, Some(1)), (4, None), (i32::MAX, Some(i64::MAX))] {
            file.save(Promise { epoch, master }).unwrap();
            assert_eq!(PromiseFile::open(path.clone()).unwrap().1, Some(Promise { epoch, master }));
        }
        let newest_slot = SLOT as u64; // the third write went to slot 1
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"9", newest_slot).unwrap();
        assert_eq!(PromiseFile::open(path.clone()).unwrap().1, Some(Promise { epoch: 4, master: None }));
        std::fs::write(&path, "x".repeat(2 * SLOT)).unwrap();
        assert!(PromiseFile::open(path).err().unwrap().to_string().contains("neither slot"));
    }
}
