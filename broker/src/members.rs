//! S13 on the master: which slaves have which version of the settings, and when a change may be acknowledged.

use crate::meta::Holders;
use crate::sync_wire::SyncVersion;
use ha::{Replication, Role, RoleState};
use parking_lot::Mutex;
use proto::{BrokerId, Millis};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

/// How long a change waits for the members before it is answered with an error that names who lacks it.
const DEADLINE: Duration = Duration::from_secs(3);
/// How often the clock is looked at while waiting.
const TICK: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSettled {
    #[error("applied here, but replica {0} has not confirmed it; it may not survive a change of the master, try again")]
    Lacking(BrokerId),
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
        self.table.lock().note(slave, has);
        let synced = has.master_epoch == current.master_epoch && has.settings >= current.settings;
        replication.set_metadata_synced(current.master_epoch, slave, synced);
        self.changed.send_modify(|it| *it += 1);
    }

    /// The settings moved on: who does not have them does not join the set meanwhile.
    pub fn settings_changed(&self, replication: &Replication, current: SyncVersion) {
        for slave in self.table.lock().behind(current.master_epoch, current.settings) {
            replication.set_metadata_synced(current.master_epoch, slave, false);
        }
    }

    pub fn set_changed(&self, now: Millis, members: &BTreeSet<BrokerId>) {
        self.table.lock().set_changed(now, members);
        self.changed.send_modify(|it| *it += 1);
    }

    /// Waits until every member of the SyncStateSet, as it is at that moment, has settings `version` of this
    /// mastership.
    pub async fn settled(&self, mut role: watch::Receiver<RoleState>, version: SyncVersion) -> Result<(), NotSettled> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut changed = self.changed.subscribe();
        loop {
            let lacking = {
                let role = role.borrow_and_update();
                if role.role != Role::Master || role.master_epoch != version.master_epoch {
                    return Err(NotSettled::Deposed);
                }
                let now = node::clock::monotonic_ms();
                let mut table = self.table.lock();
                // The set may have grown a moment before the task that follows it has told us.
                table.set_changed(now, &role.sync_state_set);
                table.lacking(now, &role.sync_state_set, role.broker_id, version.master_epoch, version.settings)
            };
            let Some(lacking) = lacking else { return Ok(()) };
            if tokio::time::Instant::now() >= deadline {
                return Err(NotSettled::Lacking(lacking));
            }
            tokio::select! {
                _ = changed.changed() => {}
                _ = role.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }
}
