//! [`Disk`] on rocksdb, kept small: the log is written and scanned once at start, never read in between.
//!
//! ```text
//! m/identity     JSON: format, group, selfId, peers → who this directory belongs to
//! m/hard_state   eraftpb.HardState      m/conf_state  eraftpb.ConfState
//! m/directory/<id u64 big endian>       u64: which directory that controller was first heard with
//! m/snapshot     eraftpb.Snapshot       m/truncated   index u64, term u64 (big endian)
//! e/<index u64 big endian>              eraftpb.Entry
//! ```

use super::disk::{Batch, Disk, Durability, Stored};
use super::members::Members;
use ::raft::eraftpb::{ConfState, Entry, Snapshot};
use anyhow::{Context, bail, ensure};
use protobuf::Message;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

const IDENTITY: &[u8] = b"m/identity";
const HARD_STATE: &[u8] = b"m/hard_state";
const CONF_STATE: &[u8] = b"m/conf_state";
const SNAPSHOT: &[u8] = b"m/snapshot";
const TRUNCATED: &[u8] = b"m/truncated";
const DIRECTORIES: &[u8] = b"m/directory/";
const ENTRIES: &[u8] = b"e/";
const FORMAT: u32 = 1;
const MIB: usize = 1024 * 1024;

/// Who a data directory belongs to. Raft ids are positions in `peers`, so these must never change under a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub format: u32,
    pub group: String,
    pub self_id: String,
    /// Ids of the controllers that founded the group, in the order of their Raft ids, from 1.
    pub peers: Vec<String>,
    /// Of one that joined later; founders find theirs in `peers`.
    #[serde(default)]
    pub joined_as: Option<u64>,
    /// Drawn when the directory is made: tells this disk from the next one.
    #[serde(default)]
    pub directory: u64,
}

impl Identity {
    pub fn new(group: &str, self_id: &str, peers: &[String]) -> Identity {
        Identity {
            format: FORMAT,
            group: group.to_owned(),
            self_id: self_id.to_owned(),
            peers: peers.to_vec(),
            joined_as: None,
            directory: RandomState::new().hash_one((self_id, node::clock::wall_ms())),
        }
    }

    pub fn raft_id(&self) -> u64 {
        let founder = || self.peers.iter().position(|it| *it == self.self_id).map_or(0, |it| it as u64 + 1);
        self.joined_as.unwrap_or_else(founder)
    }

    /// `members`: who belongs to the group by now, if that is known.
    fn check(&self, found: &Identity, members: Option<&Members>, path: &Path) -> anyhow::Result<()> {
        let path = path.display();
        ensure!(found.format == FORMAT, "{path}: written in format {}, this controller reads {FORMAT}", found.format);
        if (&found.group, &found.self_id) != (&self.group, &self.self_id) {
            bail!(
                "{path} belongs to controller {} of group {}, not to {} of group {}: set controllerStorePath to this \
                 controller's own directory, or correct controllerDLegerSelfId and controllerDLegerGroup",
                found.self_id,
                found.group,
                self.self_id,
                self.group
            );
        }
        let known = members.map_or_else(|| found.peers.clone(), Members::name_list);
        let named = known.iter().filter(|it| self.peers.contains(it)).count();
        // Addresses come from the file: with most members missing there, it is about another group.
        if found.joined_as.is_none() && named <= known.len() / 2 {
            bail!(
                "{path} was written by a group of controllers {}, but controllerDLegerPeers names {}: restore the \
                 ids (addresses may change), or start this group with an empty controllerStorePath on every \
                 controller",
                known.join(", "),
                self.peers.join(", ")
            );
        }
        Ok(())
    }
}

pub struct RocksDisk {
    /// As found, or as made.
    pub identity: Identity,
    db: DB,
    path: PathBuf,
    /// Index of the last entry on disk, to delete exactly what an append overwrites.
    last: u64,
}

impl RocksDisk {
    /// Whether this directory says who it belongs to. One that was made a moment before its process died does not.
    pub fn has_identity(path: &Path) -> anyhow::Result<bool> {
        if !path.join("CURRENT").exists() {
            return Ok(false);
        }
        let db = DB::open_for_read_only(&options(), path, false).map_err(|e| explain(path, e.as_ref()))?;
        Ok(db.get(IDENTITY)?.is_some())
    }

    /// Opens or creates `path` for this identity; a directory of another controller and a damaged one are refused,
    /// never reset.
    pub fn open(path: &Path, identity: &Identity) -> anyhow::Result<RocksDisk> {
        std::fs::create_dir_all(path).with_context(|| {
            format!("{}: cannot create; set controllerStorePath to a writable directory", path.display())
        })?;
        let db = DB::open(&options(), path).map_err(|e| explain(path, e.as_ref()))?;
        let mut disk = RocksDisk { identity: identity.clone(), db, path: path.to_owned(), last: 0 };
        match disk.get(IDENTITY)? {
            Some(bytes) => {
                let found = serde_json::from_slice(&bytes).map_err(|e| disk.damaged("identity", e))?;
                let snapshot: Snapshot = disk.message(SNAPSHOT)?;
                let state = super::thread::decode(&snapshot, &Members::default())?;
                let members = Some(&state.members).filter(|it| it.last_id > 0);
                identity.check(&found, members, path)?;
                disk.identity = found;
            }
            None => disk.initialise(identity)?,
        }
        Ok(disk)
    }

    /// Opens a directory that exists, whoever it belongs to: for tools, while no controller runs on it.
    pub(super) fn open_found(path: &Path) -> anyhow::Result<RocksDisk> {
        ensure!(path.join("CURRENT").exists(), "{}: no controller has written here", path.display());
        let db = DB::open(&options(), path).map_err(|e| explain(path, e.as_ref()))?;
        let identity = Identity::new("", "", &[]);
        let mut disk = RocksDisk { identity, db, path: path.to_owned(), last: 0 };
        let found = disk.get(IDENTITY)?.with_context(|| format!("{}: not a controller's directory", path.display()))?;
        disk.identity = serde_json::from_slice(&found).map_err(|e| disk.damaged("identity", e))?;
        ensure!(disk.identity.format == FORMAT, "{}: written in another format", path.display());
        Ok(disk)
    }

    /// Makes it the disk of a group of its own: a new identity, a snapshot, nothing else.
    pub(super) fn become_first(&mut self, identity: &Identity, batch: &Batch<'_>) -> anyhow::Result<()> {
        let mut forget = WriteBatch::default();
        forget.put(IDENTITY, serde_json::to_vec(identity)?);
        forget.delete_range([DIRECTORIES, &[0]].concat(), [DIRECTORIES, &[0xff; 9]].concat());
        self.identity = identity.clone();
        self.write(batch)?;
        Ok(self.db.write_opt(forget, &write_options(Durability::Synced))?)
    }

    fn initialise(&self, identity: &Identity) -> anyhow::Result<()> {
        ensure!(
            self.db.iterator(IteratorMode::Start).next().is_none(),
            "{}: a rocksdb database that is not a controller's; set controllerStorePath to an empty directory",
            self.path.display()
        );
        let voters = (1..=identity.peers.len() as u64).collect::<Vec<_>>();
        let mut batch = WriteBatch::default();
        batch.put(IDENTITY, serde_json::to_vec(identity)?);
        batch.put(CONF_STATE, ConfState { voters, ..Default::default() }.write_to_bytes()?);
        Ok(self.db.write_opt(batch, &write_options(Durability::Synced))?)
    }

    fn get(&self, key: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(|e| self.damaged(&String::from_utf8_lossy(key), e))
    }

    fn message<M: Message>(&self, key: &[u8]) -> anyhow::Result<M> {
        let bytes = self.get(key)?.unwrap_or_default();
        M::parse_from_bytes(&bytes).map_err(|e| self.damaged(&String::from_utf8_lossy(key), e))
    }

    fn damaged(&self, what: &str, why: impl std::fmt::Display) -> anyhow::Error {
        anyhow::anyhow!(
            "{}: {what} is damaged ({why}); if the other controllers are healthy, move this directory away and start \
             again: the state is copied from them",
            self.path.display()
        )
    }
}

impl Disk for RocksDisk {
    fn load(&mut self) -> anyhow::Result<Stored> {
        let truncated = match self.get(TRUNCATED)?.map(<[u8; 16]>::try_from) {
            None => (0, 0),
            Some(Err(bytes)) => return Err(self.damaged("m/truncated", format!("{} bytes, want 16", bytes.len()))),
            Some(Ok(bytes)) => {
                let both = u128::from_be_bytes(bytes);
                ((both >> 64) as u64, both as u64)
            }
        };
        let mut entries = Vec::new();
        for item in self.db.iterator(IteratorMode::From(ENTRIES, Direction::Forward)) {
            let (key, value) = item.map_err(|e| self.damaged("the log", e))?;
            if !key.starts_with(ENTRIES) {
                break;
            }
            entries.push(Entry::parse_from_bytes(&value).map_err(|e| self.damaged("a log entry", e))?);
        }
        let mut directories = BTreeMap::new();
        for item in self.db.iterator(IteratorMode::From(DIRECTORIES, Direction::Forward)) {
            let (key, value) = item.map_err(|e| self.damaged("the table of directories", e))?;
            let Some(id) = key.strip_prefix(DIRECTORIES).and_then(|it| it.try_into().ok()) else { break };
            let directory = (*value).try_into().map_err(|e| self.damaged("a directory's number", e))?;
            directories.insert(u64::from_be_bytes(id), u64::from_be_bytes(directory));
        }
        self.last = entries.last().map_or(truncated.0, |it| it.index);
        Ok(Stored {
            hard_state: self.message(HARD_STATE)?,
            conf_state: self.message(CONF_STATE)?,
            snapshot: self.message(SNAPSHOT)?,
            entries,
            truncated,
            directories,
        })
    }

    fn write(&mut self, it: &Batch<'_>) -> anyhow::Result<()> {
        let mut batch = WriteBatch::default();
        if let Some(snapshot) = it.snapshot {
            batch.put(SNAPSHOT, snapshot.write_to_bytes()?);
            batch.put(CONF_STATE, snapshot.get_metadata().get_conf_state().write_to_bytes()?);
        }
        if it.discard_entries {
            batch.delete_range(entry_key(0), entry_key(u64::MAX));
            self.last = 0;
        }
        if let Some(first) = it.entries.first() {
            (first.index..=self.last).for_each(|index| batch.delete(entry_key(index)));
        }
        for entry in it.entries {
            batch.put(entry_key(entry.index), entry.write_to_bytes()?);
            self.last = entry.index;
        }
        if let Some((index, term)) = it.truncate {
            batch.delete_range(entry_key(0), entry_key(index + 1));
            batch.put(TRUNCATED, (u128::from(index) << 64 | u128::from(term)).to_be_bytes());
        }
        if let Some(hard_state) = it.hard_state {
            batch.put(HARD_STATE, hard_state.write_to_bytes()?);
        }
        if let Some((id, directory)) = it.directory {
            batch.put([DIRECTORIES, &id.to_be_bytes()].concat(), directory.to_be_bytes());
        }
        let written = self.db.write_opt(batch, &write_options(it.durability));
        written.with_context(|| format!("{}: cannot write the raft log", self.path.display()))
    }
}

fn entry_key(index: u64) -> Vec<u8> {
    [ENTRIES, &index.to_be_bytes()].concat()
}

fn write_options(durability: Durability) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(durability == Durability::Synced);
    options
}

/// Sized for a log of a few megabytes in a process that should stay under 40.
fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(MIB / 2));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(4 * MIB);
    // Writes go on while two are on their way to disk: a leader that waits for its disk is taken for dead.
    options.set_max_write_buffer_number(3);
    options.set_max_total_wal_size(12 * MIB as u64);
    // What was cut from the log leaves the disk when files are merged.
    options.set_level_zero_file_num_compaction_trigger(2);
    options.set_max_background_jobs(2);
    options.set_max_open_files(64);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(MIB);
    // Only a write that was cut off by a crash may be missing, and only at the end: it was never acknowledged.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

fn explain(path: &Path, why: &str) -> anyhow::Error {
    let path = path.display();
    if why.contains("lock") {
        return anyhow::anyhow!(
            "{path} is in use by another process: each controller needs a controllerStorePath of its own, and runs \
             once ({why})"
        );
    }
    anyhow::anyhow!(
        "{path} cannot be opened ({why}); if the other controllers are healthy, move this directory away and start \
         again: the state is copied from them"
    )
}
