//! What the replication task publishes and others read without asking it.

use crate::epoch_file::EpochFile;
use crate::frontier::Frontier;
use crate::lease::Lease;
use crate::maximal_set::Awaited;
use crate::notes::Notes;
use crate::{Admission, HaConfig, HaStatus, Refusal, RoleState, TooFewInSync};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use proto::Offset;
use std::sync::Arc;
use store::Store;
use tokio::sync::watch;

pub(crate) struct Shared {
    pub config: HaConfig,
    pub store: Arc<Store>,
    pub epochs: EpochFile,
    pub frontier: Frontier,
    pub gate: ArcSwap<Gate>,
    /// Told after each change of the gate.
    pub gate_moved: tokio::sync::Notify,
    pub state: watch::Sender<RoleState>,
    pub status: ArcSwap<HaStatus>,
    /// What the present or last mastership has of the controllers' lease, in monotonic milliseconds (S5).
    pub lease: Mutex<Lease>,
    /// What the broker said of its slaves' topics and groups (S13). The replication task holds it over each step of the
    /// core and until `awaited` tells of it: who is said to lack something is not proposed after that, and whoever was
    /// proposed before is awaited.
    pub notes: Mutex<Notes>,
    /// `None` unless this replica is the master.
    pub awaited: watch::Sender<Option<Awaited>>,
}

/// Whether writes are admitted.
pub(crate) enum Gate {
    Closed(String),
    /// For a moment, while a planned change drains (S10): writes wait for what becomes of it.
    Held,
    Open {
        term: u64,
        in_sync: usize,
    },
    /// Not in controller mode: nobody else counts.
    Alone,
}

impl Shared {
    pub(crate) fn admit(&self) -> Result<Admission, Refusal> {
        match &**self.gate.load() {
            Gate::Closed(why) => Err(Refusal::NotMaster(why.clone())),
            Gate::Held => Err(Refusal::NotMaster("another replica is about to be master".to_owned())),
            Gate::Alone => Ok(Admission { term: 1 }),
            Gate::Open { in_sync, term } => {
                self.enough(*in_sync)?;
                Ok(Admission { term: *term })
            }
        }
    }

    pub(crate) fn enough(&self, have: usize) -> Result<(), TooFewInSync> {
        let want = self.config.min_in_sync_replicas;
        if have < want { Err(TooFewInSync { have, want }) } else { Ok(()) }
    }

    pub(crate) fn close_gate(&self, why: &str) {
        self.set_gate(Gate::Closed(why.to_owned()));
    }

    pub(crate) fn set_gate(&self, gate: Gate) {
        self.gate.store(Arc::new(gate));
        self.gate_moved.notify_waiters();
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(**self.gate.load(), Gate::Held)
    }

    /// How far this replica's own copy counts: to the end of the log, or with SYNC_FLUSH to where it is on disk (S11).
    pub(crate) fn own_end(&self) -> Offset {
        if self.config.sync_flush { self.store.flushed_offset() } else { self.store.max_offset() }
    }
}
