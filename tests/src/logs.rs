//! Commit logs as bytes on disk: what the replicas of a set must agree on.

use crate::cluster::{Cluster, Node};
use crate::queries::Epochs;
use crate::{PATIENCE, holds_within};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Logs are compared in pieces: an hour's do not fit in memory.
const PIECE: i64 = 16 << 20;

/// The bytes `from..to` of a commit log's folder.
pub fn read(commit_log: &Path, from: i64, to: i64) -> Vec<u8> {
    let files = files(commit_log);
    let mut bytes = vec![0; (to - from) as usize];
    for (i, (start, path)) in files.iter().enumerate() {
        let end = files.get(i + 1).map_or(i64::MAX, |it| it.0);
        let (begin, finish) = (from.max(*start), to.min(end));
        if begin < finish {
            let part = &mut bytes[(begin - from) as usize..(finish - from) as usize];
            let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            file.read_exact_at(part, (begin - start) as u64)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    bytes
}

impl Cluster {
    /// Waits until all replicas' logs end alike, and panics at the first byte in which they differ. Only without load.
    /// Java's brokers need not tell the same of who wrote what.
    #[track_caller]
    pub fn assert_one_log(&self) -> Vec<Epochs> {
        let (epochs, differences) = self.compare(|one, other| one.max_offset == other.max_offset);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        epochs
    }

    /// The same, and all replicas tell the same of who wrote what.
    #[track_caller]
    pub fn assert_one_history(&self) {
        let differences = self.log_differences();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// In what the replicas' logs differ when patience has ended: where they end, who wrote what, or a byte. Only
    /// without load.
    pub fn log_differences(&self) -> Vec<String> {
        self.compare(|one, other| (one.max_offset, &one.entries) == (other.max_offset, &other.entries)).1
    }

    /// What all said last, and in what they differ.
    fn compare(&self, agree: fn(&Epochs, &Epochs) -> bool) -> (Vec<Epochs>, Vec<String>) {
        let mut last = Vec::new();
        let all_agree = holds_within(PATIENCE, || {
            last = self.epochs_or_silence();
            let first = last[0].1.as_ref();
            last.iter().all(|it| it.1.as_ref().zip(first).is_some_and(|(one, first)| agree(one, first)))
        });
        let disagreement = (!all_agree).then(|| format!("after {PATIENCE:?} the replicas' logs are not one: {last:?}"));
        // Where all end alike, or as far as all have come; nothing if one does not say.
        let all: Option<Vec<_>> = last.into_iter().map(|it| it.1).collect();
        let end = all.iter().flatten().map(|it| it.max_offset).min().unwrap_or_default();
        let differences = disagreement.into_iter().chain(difference(&self.brokers, end)).collect();
        (all.unwrap_or_default(), differences)
    }
}

/// The first byte below `end` in which the log of any differs from the first one's.
fn difference(nodes: &[Node], end: i64) -> Option<String> {
    for from in (0..end).step_by(PIECE as usize) {
        let to = end.min(from + PIECE);
        let first = read(&nodes[0].commit_log(), from, to);
        for node in &nodes[1..] {
            let other = read(&node.commit_log(), from, to);
            if let Some(at) = first.iter().zip(&other).position(|(a, b)| a != b) {
                let (one, other, at) = (&nodes[0].name, &node.name, from + at as i64);
                return Some(format!("the commit logs of {one} and {other} differ at byte {at} of {end}"));
            }
        }
    }
    None
}

/// A log's files with the offset each begins at, in order.
fn files(commit_log: &Path) -> Vec<(i64, PathBuf)> {
    let entries = std::fs::read_dir(commit_log).unwrap_or_else(|error| panic!("{}: {error}", commit_log.display()));
    let mut files: Vec<_> = entries
        .filter_map(|it| {
            let path = it.expect("commit log entry").path();
            let start = path.file_name()?.to_str()?.parse().ok()?;
            Some((start, path))
        })
        .collect();
    files.sort();
    files
}
