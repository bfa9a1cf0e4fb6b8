//! Which start of the host this store was last opened under: tells a process that died (the page cache kept its writes)
//! from a host that did (whatever was not flushed is gone, rule S7).

use crate::StoreError;
use crate::durable::{At, Disk};
use std::path::Path;

/// Ours; RocketMQ ignores unknown files in the store directory.
const FILE: &str = "hostBootId";
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";

/// False when either side is unknown: a store that another program left, or a kernel that does not say.
pub(crate) fn is_same(root: &Path) -> bool {
    let saved = std::fs::read_to_string(root.join(FILE));
    let current = std::fs::read_to_string(KERNEL);
    matches!((saved, current), (Ok(saved), Ok(current)) if saved == current)
}

/// Writes nothing when that is what stands there.
pub(crate) fn save(root: &Path, disk: &Disk) -> Result<(), StoreError> {
    if is_same(root) {
        return Ok(());
    }
    let current = std::fs::read_to_string(KERNEL).unwrap_or_default();
    let path = root.join(FILE);
    disk.replace(&path, current.as_bytes()).at(&path, "write")
}
