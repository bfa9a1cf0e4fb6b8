//! Who has to have what a master acknowledges (S3, S13). Pure.

use crate::master::Master;
use proto::ha::SlaveKind;
use proto::{BrokerId, Epoch};
use std::collections::BTreeMap;

/// Whom a change on this master waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Not in controller mode: there is nobody else.
    Nobody,
    Set(MaximalSet),
}

/// Everybody who counts in the SyncStateSet of a mastership, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaximalSet {
    pub epoch: Epoch,
    /// All but the master, with the program that each is, as far as it said.
    pub others: BTreeMap<BrokerId, Option<SlaveKind>>,
    /// How many are members by the controllers' last word, the master among them.
    pub committed: usize,
}

impl MaximalSet {
    pub fn of(epoch: Epoch, core: &Master) -> MaximalSet {
        MaximalSet { epoch, others: core.others().collect(), committed: core.in_sync_count() }
    }
}
