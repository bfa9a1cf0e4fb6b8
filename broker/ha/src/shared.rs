//! What the replication task publishes and others read without asking it.

use crate::epoch_file::EpochFile;
use crate::frontier::Frontier;
use crate::{Admission, HaConfig, HaStatus, Refusal, RoleState};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use proto::{BrokerId, Epoch, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;
use tokio::sync::watch;

pub(crate) struct Shared {
    pub config: HaConfig,
    pub store: Arc<Store>,
    pub epochs: EpochFile,
    pub frontier: Frontier,
    pub gate: ArcSwap<Gate>,
    pub state: watch::Sender<RoleState>,
    pub status: ArcSwap<HaStatus>,
    /// What the broker said about its slaves' metadata (S13), each for one mastership: what a slave confirmed to an earlier
    /// one proves nothing. The replication task takes it at every tick.
    pub metadata: Mutex<BTreeMap<BrokerId, (Epoch, bool)>>,
}

/// Whether writes are admitted.
pub(crate) enum Gate {
    Closed(String),
    Open { term: u64, in_sync: usize },
}

impl Shared {
    pub(crate) fn admit(&self) -> Result<Admission, Refusal> {
        match &**self.gate.load() {
            Gate::Closed(why) => Err(Refusal::NotMaster(why.clone())),
            Gate::Open { in_sync: have, .. } if *have < self.config.min_in_sync_replicas => {
                Err(Refusal::InSyncReplicasNotEnough { have: *have, want: self.config.min_in_sync_replicas })
            }
            Gate::Open { term, .. } => Ok(Admission { term: *term }),
        }
    }

    pub(crate) fn close_gate(&self, why: &str) {
        self.gate.store(Arc::new(Gate::Closed(why.to_owned())));
    }

    /// How far this replica's own copy counts: to the end of the log, or with SYNC_FLUSH to where it is on disk (S11).
    pub(crate) fn own_end(&self) -> Offset {
        if self.config.sync_flush { self.store.flushed_offset() } else { self.store.max_offset() }
    }
}
