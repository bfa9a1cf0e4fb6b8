//! The checkpoint file: Java's five positions, and after them ours.
//!
//! ```text
//! offset  0                 8                 16               24                     32               (Java)
//!         physic_timestamp  logics_timestamp  index_timestamp  master_flushed_offset  confirm_offset
//! offset  40     48          56       64                                                               (Baton)
//!         magic  dispatched  entries  crc
//!         i64    i64         i64      u32 over bytes 0..32 and 40..64
//! ```
//! Below `dispatched`, a record boundary, log and consume queues are whole and on disk, and the queues' ends add up to
//! `entries`. Java rewrites its own positions only, so the checksum tells that it has been here since; then recovery
//! goes by Java's timestamps.

use crate::StoreError;
use crate::durable::{At, Disk};
use parking_lot::Mutex;
use proto::Offset;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FILE_SIZE: u64 = 4096;
const AT_CONFIRM: usize = 32;
const AT_OURS: usize = 40;
const AT_CRC: usize = 64;
const USED: usize = 68;
const MAGIC: i64 = 0x4241_544f_4e43_4b31;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Store time of the last record that is on disk.
    pub physic_timestamp: i64,
    /// Store time of the last record whose consume queue entry is on disk.
    pub logics_timestamp: i64,
    pub index_timestamp: i64,
    pub master_flushed_offset: Offset,
    pub confirm_offset: Offset,
    pub verified: Option<Verified>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub dispatched: Offset,
    pub entries: i64,
}

impl Verified {
    /// Vouches for nothing above `min` and for no queue: no sum is like this one, and the next start builds them all.
    pub fn no_queues(min: Offset) -> Verified {
        Verified { dispatched: min, entries: -1 }
    }
}

impl Checkpoint {
    /// Java's rule: what is older than this was on disk.
    pub fn min_timestamp(&self) -> i64 {
        (self.physic_timestamp.min(self.logics_timestamp) - 3000).max(0)
    }

    /// What ends here or before is known to have been on disk. Of another's checkpoint, nothing: Java's brokers put
    /// another replica's position there.
    pub fn flushed(&self) -> Offset {
        if self.verified.is_some() { self.master_flushed_offset } else { 0 }
    }

    /// Reaches no further than a log that ends at `end` and is confirmed up to `confirm`.
    pub fn lower(&mut self, end: Offset, confirm: Offset) {
        self.confirm_offset = self.confirm_offset.min(confirm);
        self.master_flushed_offset = self.master_flushed_offset.min(end);
        self.verified = self.verified.filter(|it| it.dispatched <= end);
    }

    fn encode(&self) -> [u8; USED] {
        let mut out = [0; USED];
        let java = [
            self.physic_timestamp,
            self.logics_timestamp,
            self.index_timestamp,
            self.master_flushed_offset,
            self.confirm_offset,
        ];
        for (slot, value) in out.chunks_exact_mut(8).zip(java) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        if let Some(verified) = self.verified {
            for (slot, value) in out[AT_OURS..].chunks_exact_mut(8).zip([MAGIC, verified.dispatched, verified.entries])
            {
                slot.copy_from_slice(&value.to_be_bytes());
            }
            let crc = crc(&out);
            out[AT_CRC..].copy_from_slice(&crc.to_be_bytes());
        }
        out
    }

    fn decode(buf: &[u8; USED]) -> Checkpoint {
        let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|i| buf[at + i]));
        let ours = long(AT_OURS) == MAGIC && buf[AT_CRC..] == crc(buf).to_be_bytes();
        Checkpoint {
            physic_timestamp: long(0),
            logics_timestamp: long(8),
            index_timestamp: long(16),
            master_flushed_offset: long(24),
            confirm_offset: long(AT_CONFIRM),
            verified: ours.then(|| Verified { dispatched: long(48), entries: long(56) }),
        }
    }
}

fn crc(buf: &[u8; USED]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&buf[..AT_CONFIRM]);
    hasher.update(&buf[AT_OURS..AT_CRC]);
    hasher.finalize()
}

/// The open file, and what it says.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    file: File,
    disk: Disk,
    saved: Mutex<Checkpoint>,
}

impl CheckpointFile {
    pub fn open(path: &Path, disk: Disk) -> Result<CheckpointFile, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .at(path, "open checkpoint")?;
        if file.metadata().at(path, "stat")?.len() < FILE_SIZE {
            disk.set_len(&file, path, FILE_SIZE).at(path, "grow checkpoint")?;
        }
        let mut buf = [0; USED];
        file.read_exact_at(&mut buf, 0).at(path, "read checkpoint")?;
        Ok(CheckpointFile { path: path.to_path_buf(), file, disk, saved: Mutex::new(Checkpoint::decode(&buf)) })
    }

    pub fn saved(&self) -> Checkpoint {
        *self.saved.lock()
    }

    /// Writes the confirm offset without forcing it to disk: enough to survive the process, and an older one is always
    /// safe.
    pub fn note_confirm(&self, confirm: Offset) -> Result<(), StoreError> {
        let mut saved = self.saved.lock();
        if saved.confirm_offset != confirm {
            let (bytes, at) = (confirm.to_be_bytes(), AT_CONFIRM as u64);
            self.disk.write_at(&self.file, &self.path, &bytes, at).at(&self.path, "write checkpoint")?;
            saved.confirm_offset = confirm;
        }
        Ok(())
    }

    /// Changes and writes the checkpoint, durably.
    pub fn save(&self, change: impl FnOnce(&mut Checkpoint)) -> Result<(), StoreError> {
        let mut saved = self.saved.lock();
        let mut next = *saved;
        change(&mut next);
        self.disk.write_at(&self.file, &self.path, &next.encode(), 0).at(&self.path, "write checkpoint")?;
        *saved = next;
        drop(saved);
        self.disk.sync_data(&self.file, &self.path).at(&self.path, "sync checkpoint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn java_reads_its_five_positions_where_it_expects_them() {
        let verified = Some(Verified { dispatched: 6, entries: 7 });
        let checkpoint = Checkpoint {
            physic_timestamp: 1,
            logics_timestamp: 2,
            index_timestamp: 3,
            master_flushed_offset: 4,
            confirm_offset: 5,
            verified,
        };
        let hex: String = checkpoint.encode().iter().map(|b| format!("{b:02x}")).collect();
        expect_test::expect!["00000000000000010000000000000002000000000000000300000000000000040000000000000005"]
            .assert_eq(&hex[..80]);
    }

    #[test]
    fn a_checkpoint_that_java_has_written_since_is_not_taken_for_ours() {
        let verified = Some(Verified { dispatched: 6, entries: 7 });
        let mut buf = Checkpoint { physic_timestamp: 1, verified, ..Checkpoint::default() }.encode();
        buf[AT_CONFIRM + 7] = 9;
        assert_eq!(Checkpoint::decode(&buf).verified, verified, "the confirm offset alone changes all the time");
        buf[7] = 2;
        assert_eq!(Checkpoint::decode(&buf).verified, None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(long: [i64; 5], ours in proptest::option::of(any::<(i64, i64)>())) {
            let [physic_timestamp, logics_timestamp, index_timestamp, master_flushed_offset, confirm_offset] = long;
            let verified = ours.map(|(dispatched, entries)| Verified { dispatched, entries });
            let checkpoint = Checkpoint { physic_timestamp, logics_timestamp, index_timestamp, master_flushed_offset, confirm_offset, verified };
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), checkpoint);
        }
    }
}
