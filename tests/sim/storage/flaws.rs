//! Planted bugs: what a store would leave that leaves out a step. They live in the disk and in what crashes leave, so
//! that no released code knows of them.

use crate::rng::Rng;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    FlushesTooLittle,
    HidesFailedSyncs,
    DirtiesNothing,
    FoldersNotSynced,
    SmallFilesNotSynced,
    CheckpointAhead,
    ConfirmAhead,
    ChecksumsIgnored,
    TailNotZeroed,
    CutInMemoryOnly,
    IntentForgotten,
    TailsNotKept,
    AbortForgotten,
    HostRestartForgotten,
}

/// Each with the rule it is taken from, or where it happened, and in words.
pub const ALL: &[(Flaw, &str, &str)] = &[
    (Flaw::FlushesTooLittle, "S11", "the flushed offset runs ahead of what is on disk"),
    (Flaw::HidesFailedSyncs, "S11, fsync-gate", "a sync that failed counts as done"),
    (Flaw::DirtiesNothing, "S11, fsync-gate", "a restart takes for written what a failed sync has left behind"),
    (Flaw::FoldersNotSynced, "S11", "a new file's folder is not synced"),
    (Flaw::SmallFilesNotSynced, "S9", "a small file is renamed before its bytes are on disk"),
    (Flaw::CheckpointAhead, "S12", "recovery believes a checkpoint that is ahead of the log"),
    (Flaw::ConfirmAhead, "S3", "recovery believes a confirm offset that is ahead of the log"),
    (Flaw::ChecksumsIgnored, "S12", "recovery does not look at checksums"),
    (Flaw::TailNotZeroed, "S9", "what is behind a cut stays in the file"),
    (Flaw::CutInMemoryOnly, "S9, rmq#10666", "a cut is reported before it is on disk"),
    (Flaw::IntentForgotten, "S9", "a cut that a crash interrupts is not finished"),
    (Flaw::TailsNotKept, "S9", "what is cut is not kept aside"),
    (Flaw::AbortForgotten, "S7", "a crash is taken for a clean stop"),
    (Flaw::HostRestartForgotten, "S7", "a host that started anew is taken for a process that died"),
];

impl Flaw {
    /// A sync that the store leaves out.
    pub fn forgets_sync(self, path: &Path, rng: &mut Rng) -> bool {
        let within = |folder: &str| path.components().any(|it| it.as_os_str() == folder);
        match self {
            Flaw::FlushesTooLittle => within("commitlog") && path.is_file() && rng.chance(200),
            Flaw::FoldersNotSynced => path.is_dir(),
            Flaw::SmallFilesNotSynced => path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(".tmp")),
            _ => false,
        }
    }
}
