//! Snapshots of the applied state, and the log cut behind them.
//!
//! The raft thread only copies the state; a thread of its own turns it into bytes, so that no heartbeat of the leader
//! waits for it.
//!
//! ```text
//! data   zstd(JSON of State), or plain JSON, as the first versions wrote it
//! ```

use super::super::disk::{Batch, Disk};
use super::super::members::Members;
use super::Driver;
use crate::replicas::Replicas;
use ::raft::StateRole;
use ::raft::eraftpb::Snapshot;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use tracing::info;

/// Entries kept behind a snapshot, so that a follower that lags a little needs no snapshot.
const KEEP: u64 = 1_000;
/// The leader keeps as many for a follower that is heard but slow.
const KEEP_FOR_SLOW: u64 = 50_000;
/// A snapshot of a large state is not taken before the log has grown to one part in this many of it: taking it costs
/// more than what it saves otherwise.
const SHARE_OF_STATE: usize = 2;
/// JSON compresses tenfold at the fastest level.
const COMPRESSION: i32 = 1;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The newest one and the next.
#[derive(Default)]
pub(super) struct Snapshots {
    /// To be taken whatever the log's size: the members have changed.
    pub(super) due: bool,
    /// Of the state in the newest, before compression; 0 as long as this process has taken none.
    state_bytes: usize,
    under_way: Option<Receiver<anyhow::Result<Taken>>>,
}

/// A snapshot in bytes, and how many there were before compression.
struct Taken {
    snapshot: Snapshot,
    state_bytes: usize,
}

impl<D: Disk> Driver<D> {
    /// Bounds log, memory and restart time.
    pub(super) fn compact(&mut self) -> anyhow::Result<()> {
        if let Some(under_way) = &self.snapshots.under_way {
            match under_way.try_recv() {
                Ok(taken) => {
                    self.snapshots.under_way = None;
                    self.keep(taken?)?;
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => anyhow::bail!("the thread that takes a snapshot panicked"),
            }
        }
        if self.wants_snapshot() {
            self.snapshots.due = false;
            self.take()?;
        }
        Ok(())
    }

    fn wants_snapshot(&self) -> bool {
        let log = self.node.store();
        let grown = self.applied - log.snapshot_index();
        let large = grown >= self.options.snapshot_entries || log.grown_bytes() >= self.options.snapshot_bytes;
        let worth_it = log.grown_bytes() >= self.snapshots.state_bytes / SHARE_OF_STATE;
        grown > 0 && (self.snapshots.due || large && worth_it)
    }

    fn take(&mut self) -> anyhow::Result<()> {
        let log = self.node.store();
        let term = log.term_of(self.applied).context("the applied index is not in the log")?;
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (self.applied, term);
        meta.set_conf_state(log.conf_state.clone());
        let (replicas, members) = (self.replicas.clone(), self.members.clone());
        let encode = move || {
            let (data, state_bytes) = compress(&replicas, &members)?;
            snapshot.data = data.into();
            anyhow::Ok(Taken { snapshot, state_bytes })
        };
        if self.election_seed.is_some() {
            // By hand, everything happens in the order of the rounds.
            return self.keep(encode()?);
        }
        let (done, under_way) = channel();
        // Nobody waits for it any more when the raft thread has ended.
        let work = move || drop(done.send(encode()));
        std::thread::Builder::new().name("raft-snapshot".into()).spawn(work).context("cannot start a thread")?;
        self.snapshots.under_way = Some(under_way);
        Ok(())
    }

    fn keep(&mut self, taken: Taken) -> anyhow::Result<()> {
        let Taken { snapshot, state_bytes } = taken;
        let (log, index) = (self.node.store(), snapshot.get_metadata().index);
        if index <= log.snapshot_index() {
            // The leader's, which was installed meanwhile, is newer.
            return Ok(());
        }
        let keep_from = self.keep_from(index);
        let truncate = log.term_of(keep_from).filter(|_| keep_from >= log.first()).map(|term| (keep_from, term));
        self.disk.write(&Batch { snapshot: Some(&snapshot), truncate, ..Default::default() })?;
        let bytes = snapshot.data.len();
        let log = self.node.mut_store();
        log.compacted(snapshot, truncate);
        self.snapshots.state_bytes = state_bytes;
        info!(index, bytes, kept = log.last() + 1 - log.first(), "snapshot taken");
        Ok(())
    }

    /// The last entry that nobody needs any more.
    fn keep_from(&self, index: u64) -> u64 {
        let few = index.saturating_sub(KEEP.min(self.options.snapshot_entries));
        let raft = &self.node.raft;
        let heard = raft.prs().iter().filter(|(id, it)| **id != raft.id && it.recent_active);
        let slowest = heard.map(|it| it.1.matched).min().filter(|_| raft.state == StateRole::Leader);
        let most = index.saturating_sub(KEEP_FOR_SLOW.min(self.options.snapshot_entries * 5));
        few.min(slowest.unwrap_or(few).max(most))
    }
}

/// What a snapshot holds.
#[derive(Serialize, Deserialize)]
pub(in crate::raft) struct State {
    pub(in crate::raft) members: Members,
    pub(in crate::raft) replicas: Replicas,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    members: &'a Members,
    replicas: &'a Replicas,
}

pub(in crate::raft) fn encode(replicas: &Replicas, members: &Members) -> anyhow::Result<Vec<u8>> {
    Ok(compress(replicas, members)?.0)
}

/// Also how many bytes it was.
fn compress(replicas: &Replicas, members: &Members) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut out = Counting { inner: zstd::Encoder::new(Vec::new(), COMPRESSION)?, bytes: 0 };
    serde_json::to_writer(std::io::BufWriter::with_capacity(64 * 1024, &mut out), &Borrowed { members, replicas })?;
    Ok((out.inner.finish()?, out.bytes))
}

struct Counting<W> {
    inner: W,
    bytes: usize,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, some: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(some)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Without a snapshot there is nothing but the founders.
pub(in crate::raft) fn decode(snapshot: &Snapshot, founders: &Members) -> anyhow::Result<State> {
    if snapshot.data.is_empty() {
        return Ok(State { members: founders.clone(), replicas: Replicas::default() });
    }
    let state = match snapshot.data.starts_with(&ZSTD_MAGIC) {
        true => serde_json::from_slice(&zstd::decode_all(&snapshot.data[..]).context("the raft snapshot is damaged")?),
        false => serde_json::from_slice(&snapshot.data),
    };
    state.context("the raft snapshot is not one of this version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_of_either_form_are_read() {
        let founders = Members::founders((0..3).map(|i| (format!("n{i}"), format!("h{i}:9878"))));
        let plain = serde_json::to_vec(&Borrowed { members: &founders, replicas: &Replicas::default() }).unwrap();
        let packed = encode(&Replicas::default(), &founders).unwrap();
        assert!(packed.starts_with(&ZSTD_MAGIC));
        let read = |data: Vec<u8>| decode(&Snapshot { data: data.into(), ..Default::default() }, &Members::default());
        for data in [plain, packed.clone()] {
            assert_eq!(read(data).unwrap().members, founders);
        }
        let why = read(packed[..packed.len() - 5].to_vec()).err().unwrap().to_string();
        assert_eq!(why, "the raft snapshot is damaged");
        assert!(read(b"{".to_vec()).is_err());
    }
}
