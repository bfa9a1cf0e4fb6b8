//! S13 on the master: which slaves have which version of the settings, and when a change may be acknowledged.

use crate::meta::Holders;
use crate::sync_wire::SyncVersion;
use ha::{Awaited, Replication, TooFewInSync};
use parking_lot::Mutex;
use proto::BrokerId;
use std::time::Duration;
use tokio::sync::watch;

/// How long a change waits for the members before it is answered with an error that names who lacks it.
const DEADLINE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSettled {
    #[error("applied here, but replica {0} has not confirmed it; it may not survive a change of the master, try again")]
    Lacking(BrokerId),
    #[error("applied here, but {0}; it may not survive a change of the master, try again")]
    TooFew(TooFewInSync),
    #[error("this replica stopped being the master; whether its successor has the change is unknown")]
    Deposed,
}

pub struct Members {
    table: Mutex<Holders>,
    changed: watch::Sender<u64>,
}

impl Default for Members {
    fn default() -> Self {
        Members { table: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Members {
    /// A slave says what it has. `current` is what it should have to count as synced.
    pub fn note(&self, replication: &Replication, slave: BrokerId, has: SyncVersion, current: SyncVersion) {
        {
            // Held until replication knows, so that what is said last is what is true.
            let mut table = self.table.lock();
            let synced = table.note(slave, has, current);
            replication.set_metadata_synced(current.master_epoch, slave, synced);
        }
        self.changed.send_modify(|it| *it += 1);
    }

    /// The settings moved on: who does not have them does not join the set meanwhile.
    pub fn settings_changed(&self, replication: &Replication, current: SyncVersion) {
        let mut table = self.table.lock();
        for slave in table.changed(current) {
            replication.set_metadata_synced(current.master_epoch, slave, false);
        }
    }

    /// Waits until every member of the maximal SyncStateSet, as it is at that moment, has settings `version` of this
    /// mastership, and the set is large enough for anything to be acknowledged: like a message (S3, S7).
    pub async fn settled(&self, replication: &Replication, version: SyncVersion) -> Result<(), NotSettled> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let (mut changed, mut awaited) = (self.changed.subscribe(), replication.awaited());
        loop {
            changed.borrow_and_update();
            let now_awaited = awaited.borrow_and_update().clone();
            match self.obstacle(replication, now_awaited, version) {
                None => return Ok(()),
                Some(NotSettled::Deposed) => return Err(NotSettled::Deposed),
                Some(why) if tokio::time::Instant::now() >= deadline => return Err(why),
                Some(_) => {}
            }
            tokio::select! {
                _ = changed.changed() => {}
                _ = awaited.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    fn obstacle(
        &self,
        replication: &Replication,
        awaited: Option<Awaited>,
        version: SyncVersion,
    ) -> Option<NotSettled> {
        let set = match awaited {
            Some(Awaited::Nobody) => return None,
            Some(Awaited::Set(set)) if set.epoch == version.master_epoch => set,
            Some(Awaited::Set(_)) | None => return Some(NotSettled::Deposed),
        };
        let lacking = self.table.lock().lacking(&set.others, version);
        let too_few = || replication.enough(&set).err().map(NotSettled::TooFew);
        lacking.map(NotSettled::Lacking).or_else(too_few)
    }
}
