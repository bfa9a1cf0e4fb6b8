//! Which start of the host this store was last opened under: tells a process that died (the page cache kept its writes)
//! from a host that did (whatever was not flushed is gone, rule S7). And that something is gone, until the controllers
//! know.
//!
//! `hostBootId` holds the kernel's boot id while a store is open whose losses are known. A clean stop removes it, so
//! that only a store that was left open has one.

use crate::StoreError;
use crate::durable::{At, Disk};
use std::path::Path;

/// Ours; RocketMQ ignores unknown files in the store directory.
const FILE: &str = "hostBootId";
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";
const TAIL: &str = "unreported: the host has started anew";
const FLUSHED: &str = "unreported: something that was on disk is gone";

/// What the process before has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Nothing: a clean stop, a new store, one that another program left.
    Unknown,
    ThisBoot,
    /// Or a kernel that does not say.
    OtherBoot,
    /// No controller knows yet that what was not flushed may be gone.
    LostTail,
    /// Nor that something is gone that was on disk or confirmed.
    LostFlushed,
}

pub(crate) fn last(root: &Path) -> Last {
    let Ok(saved) = std::fs::read_to_string(root.join(FILE)) else { return Last::Unknown };
    match saved.as_str() {
        TAIL => Last::LostTail,
        FLUSHED => Last::LostFlushed,
        saved if std::fs::read_to_string(KERNEL).is_ok_and(|current| current == saved) => Last::ThisBoot,
        _ => Last::OtherBoot,
    }
}

/// The controllers know all there is to know. Writes nothing when that stands there.
pub(crate) fn reported(root: &Path, disk: &Disk) -> Result<(), StoreError> {
    if last(root) == Last::ThisBoot {
        return Ok(());
    }
    put(root, disk, &std::fs::read_to_string(KERNEL).unwrap_or_default())
}

pub(crate) fn note_lost_flushed(root: &Path, disk: &Disk) -> Result<(), StoreError> {
    put(root, disk, FLUSHED)
}

/// Before the abort file goes: it would have told that a loss is to be reported.
pub(crate) fn on_clean_stop(root: &Path, disk: &Disk) -> Result<(), StoreError> {
    match last(root) {
        Last::Unknown | Last::OtherBoot => put(root, disk, TAIL),
        Last::LostTail | Last::LostFlushed => Ok(()),
        Last::ThisBoot => {
            let path = root.join(FILE);
            disk.remove_file(&path).at(&path, "remove")
        }
    }
}

fn put(root: &Path, disk: &Disk, content: &str) -> Result<(), StoreError> {
    let path = root.join(FILE);
    disk.replace(&path, content.as_bytes()).at(&path, "write")
}
