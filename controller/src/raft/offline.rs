//! Tools for a data directory on which no controller runs: back it up, restore it, make it a group of its own.
//!
//! Both ways to a new group leap over the epochs that the lost controllers may have given (S1), and give the controller
//! a new Raft id, so that no message of the old group is ever taken for one of the new.

use super::disk::{Batch, Disk, Durability};
use super::log::Log;
use super::members::{Change, Members};
use super::rocks::{Identity, RocksDisk};
use super::thread::{self, State};
use crate::replicas::Replicas;
use ::raft::eraftpb::{ConfChangeV2, ConfState, EntryType, HardState, Snapshot};
use anyhow::{Context, ensure};
use protobuf::Message as _;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

const FORMAT: u32 = 1;

/// A backup: one JSON object.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Backup {
    format: u32,
    group: String,
    self_id: String,
    index: u64,
    term: u64,
    members: Members,
    replicas: Replicas,
}

/// Writes everything that this directory knows to a new file. Returns what is in it, for people.
pub fn backup(directory: &Path, file: &Path) -> anyhow::Result<String> {
    let backup = read(&mut RocksDisk::open_found(directory)?)?;
    let text = serde_json::to_vec(&backup)?;
    let new = std::fs::File::create_new(file);
    let mut out = new.with_context(|| format!("{}: want a file that does not exist yet", file.display()))?;
    out.write_all(&text).and_then(|()| out.sync_all()).with_context(|| format!("{}: cannot write", file.display()))?;
    Ok(backup.describe())
}

/// What a restore or a new group would be made of, for the operator to look at before it is done.
pub fn describe(directory: &Path) -> anyhow::Result<String> {
    Ok(read(&mut RocksDisk::open_found(directory)?)?.describe())
}

/// Makes this directory a group of one controller, with everything it knows, the last entries included of which it
/// cannot know whether they were committed.
pub fn force_new_cluster(directory: &Path) -> anyhow::Result<String> {
    let mut disk = RocksDisk::open_found(directory)?;
    let backup = read(&mut disk)?;
    let name = disk.identity.self_id.clone();
    let address = backup.members.id_of(&name).and_then(|it| backup.members.get(it)).map(|it| it.address.clone());
    begin(&mut disk, backup, &name, &address.unwrap_or_default())
}

/// Makes an empty directory the first controller of a group that knows what the backup knows.
pub fn restore(file: &Path, directory: &Path, self_id: &str, address: &str) -> anyhow::Result<String> {
    let text = std::fs::read(file).with_context(|| format!("{}: cannot read", file.display()))?;
    let backup: Backup =
        serde_json::from_slice(&text).with_context(|| format!("{}: not a backup of a controller", file.display()))?;
    ensure!(backup.format == FORMAT, "{}: written in format {}, want {FORMAT}", file.display(), backup.format);
    let empty = std::fs::read_dir(directory).map_or(true, |mut it| it.next().is_none());
    ensure!(empty, "{}: not empty; a backup is restored to a new directory", directory.display());
    let mut disk = RocksDisk::open(directory, &Identity::new(&backup.group, self_id, &[self_id.to_owned()]))?;
    begin(&mut disk, backup, self_id, address)
}

impl Backup {
    fn describe(&self) -> String {
        let (sets, members) = (self.replicas.iter().count(), self.members.names());
        format!("group {}: {sets} broker sets, controllers {members}, raft index {}", self.group, self.index)
    }
}

fn read(disk: &mut RocksDisk) -> anyhow::Result<Backup> {
    let identity = disk.identity.clone();
    let log = Log::load(disk.load()?)?;
    let founders = Members::founders(identity.peers.iter().map(|it| (it.clone(), String::new())));
    let State { mut members, mut replicas } = thread::decode(&log.snapshot, &founders)?;
    let (first, index) = (log.snapshot_index() + 1, log.last().max(log.snapshot_index()));
    for entry in log.entries_from(first) {
        let what = || format!("raft entry {}: not one of this version", entry.index);
        match entry.get_entry_type() {
            _ if entry.data.is_empty() => {}
            EntryType::EntryNormal => {
                replicas.apply(entry.index, serde_json::from_slice(&entry.data).with_context(what)?);
            }
            _ => {
                let change = ConfChangeV2::parse_from_bytes(&entry.data).with_context(what)?;
                members.apply(serde_json::from_slice::<Change>(&change.context).with_context(what)?);
            }
        }
    }
    let term = log.hard_state.term.max(log.term_of(index).unwrap_or(0));
    let (group, self_id) = (identity.group, identity.self_id);
    Ok(Backup { format: FORMAT, group, self_id, index, term, members, replicas })
}

fn begin(disk: &mut RocksDisk, backup: Backup, self_id: &str, address: &str) -> anyhow::Result<String> {
    let told = backup.describe();
    let Backup { group, index, term, members, mut replicas, .. } = backup;
    let (index, term, id) = (index + 1, term + 1, members.last_id + 1);
    replicas.begin_anew(index);
    let members = Members::alone(id, self_id, address, members.last_id);
    let conf_state = ConfState { voters: vec![id], ..Default::default() };
    let mut snapshot = Snapshot { data: thread::encode(&replicas, &members)?.into(), ..Default::default() };
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (index, term);
    meta.set_conf_state(conf_state);
    let identity =
        Identity { joined_as: Some(id), ..Identity::new(&group, self_id, std::slice::from_ref(&self_id.to_owned())) };
    disk.become_first(
        &identity,
        &Batch {
            hard_state: Some(&HardState { term, commit: index, ..Default::default() }),
            snapshot: Some(&snapshot),
            truncate: Some((index, term)),
            discard_entries: true,
            durability: Durability::Synced,
            ..Default::default()
        },
    )?;
    Ok(told)
}
