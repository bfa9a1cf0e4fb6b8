//! `epochFileCheckpoint`: the epoch history on disk, in Java's text format, but written atomically.
//!
//! ```text
//! 2              number of entries
//! 773307083      CRC-32 & 0x7FFFFFFF of the lines below, each with its newline; 0 = do not check
//! 7-7000         epoch-startOffset
//! 8-8000
//! ```
//! An empty history is written as count 0 (Java leaves the old entries behind, which then come back after a restart).

use crate::HaError;
use crate::durable_file::{self, Loaded};
use crate::epochs::EpochHistory;
use arc_swap::ArcSwap;
use proto::ha::EpochEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The history of this replica. One writer at a time: the slave link while there is one, else the replication task.
/// Anybody reads.
pub(crate) struct EpochFile {
    path: PathBuf,
    current: ArcSwap<EpochHistory>,
}

impl EpochFile {
    pub(crate) fn open(path: PathBuf) -> Result<EpochFile, HaError> {
        let advice = "restore it from a backup (`.bak`) or, to copy everything anew from the master, move the whole \
            store directory away";
        let history = load(&path).or_stop(&path, advice)?.unwrap_or_default();
        Ok(EpochFile { path, current: ArcSwap::from_pointee(history) })
    }

    pub(crate) fn current(&self) -> Arc<EpochHistory> {
        self.current.load_full()
    }

    /// Durable when it returns; only then visible to others.
    pub(crate) fn save(&self, history: EpochHistory) -> Result<(), HaError> {
        if *self.current.load_full() != history {
            durable_file::replace(&self.path, encode(&history).as_bytes())?;
            self.current.store(Arc::new(history));
        }
        Ok(())
    }
}

fn load(path: &Path) -> Loaded<EpochHistory> {
    match durable_file::read_text(path) {
        Loaded::Empty => Loaded::Empty,
        Loaded::Unreadable { why } => Loaded::Unreadable { why },
        Loaded::Present(text) => decode(&text).map_or_else(|why| Loaded::Unreadable { why }, Loaded::Present),
    }
}

pub(crate) fn encode(history: &EpochHistory) -> String {
    let lines: String = history.entries().iter().map(|it| format!("{}-{}\n", it.epoch, it.start)).collect();
    format!("{}\n{}\n{lines}", history.entries().len(), checksum(&lines))
}

pub(crate) fn decode(text: &str) -> Result<EpochHistory, String> {
    let mut lines = text.lines();
    let count: usize = field(lines.next(), "number of entries")?;
    let stored: u32 = field(lines.next(), "checksum")?;
    let lines: Vec<&str> = lines.filter(|it| !it.is_empty()).collect();
    if lines.len() != count {
        return Err(format!("{} entries, the first line promises {count}", lines.len()));
    }
    let computed = checksum(&lines.iter().map(|it| format!("{it}\n")).collect::<String>());
    if stored != 0 && stored != computed {
        return Err(format!("checksum {stored}, computed {computed}"));
    }
    let entries = lines.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    EpochHistory::from_entries(entries).map_err(|e| e.to_string())
}

fn field<T: std::str::FromStr>(line: Option<&str>, what: &str) -> Result<T, String> {
    let line = line.unwrap_or("").trim();
    line.parse().map_err(|_| format!("{what}: `{line}` is not a number"))
}

fn entry(line: &str) -> Result<EpochEntry, String> {
    let parsed = line.trim().split_once('-').and_then(|(epoch, start)| {
        Some(EpochEntry { epoch: epoch.parse().ok()?, start: start.parse().ok().filter(|it| *it >= 0)? })
    });
    parsed.ok_or_else(|| format!("entry `{line}`: want epoch-startOffset"))
}

fn checksum(lines: &str) -> u32 {
    crc32fast::hash(lines.as_bytes()) & 0x7FFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    fn history(entries: &[(i32, i64)]) -> EpochHistory {
        EpochHistory::from_entries(entries.iter().map(|&(epoch, start)| EpochEntry { epoch, start })).unwrap()
    }

    #[test]
    fn the_text_is_javas() {
        expect!["2\n773307083\n7-7000\n8-8000\n"].assert_eq(&encode(&history(&[(7, 7000), (8, 8000)])));
    }

    #[test]
    fn a_file_of_javas_is_read_whatever_its_line_ends_and_with_checking_off() {
        assert_eq!(decode("2\n773307083\n7-7000\n8-8000\n"), Ok(history(&[(7, 7000), (8, 8000)])));
        assert_eq!(decode("2\r\n0\r\n7-7000\r\n8-8000\r\n"), Ok(history(&[(7, 7000), (8, 8000)])));
    }

    #[test]
    fn damage_is_named() {
        let why = |text: &str| decode(text).unwrap_err();
        expect!["checksum 773307083, computed 923569034"].assert_eq(&why("2\n773307083\n7-7000\n8-8001\n"));
        expect!["1 entries, the first line promises 2"].assert_eq(&why("2\n773307083\n7-7000\n"));
        expect!["entry `7+7000`: want epoch-startOffset"].assert_eq(&why("1\n0\n7+7000\n"));
        expect!["number of entries: `x` is not a number"].assert_eq(&why("x"));
        expect!["epoch 7 at 8000 does not follow epoch 8 at 7000: the history only grows"]
            .assert_eq(&why("2\n0\n8-7000\n7-8000\n"));
    }

    #[test]
    fn an_emptied_history_stays_empty_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epochFileCheckpoint");
        let file = EpochFile::open(path.clone()).unwrap();
        file.save(history(&[(1, 0)])).unwrap();
        assert_eq!(*EpochFile::open(path.clone()).unwrap().current(), history(&[(1, 0)]));
        file.save(EpochHistory::default()).unwrap();
        assert_eq!(*EpochFile::open(path).unwrap().current(), EpochHistory::default());
    }

    #[test]
    fn a_damaged_file_stops_the_start_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epochFileCheckpoint");
        std::fs::write(&path, "1\n5\n7-7000\n").unwrap();
        let err = EpochFile::open(path).err().unwrap().to_string();
        assert!(err.contains("checksum 5") && err.contains("restore it"), "{err}");
    }

    proptest! {
        #[test]
        fn what_is_saved_is_loaded(entries in prop::collection::btree_map(0..i32::MAX, 0..9i64, 0..6)) {
            let mut start = 0;
            let it = EpochHistory::from_entries(entries.into_iter().map(|(epoch, gap)| { start += gap; EpochEntry { epoch, start } })).unwrap();
            prop_assert_eq!(decode(&encode(&it)), Ok(it));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9\\-\n]{0,40}") {
            let _ = decode(&text);
        }
    }
}
