//! S13 on the master: which slaves have which version of the settings, and when a change may be acknowledged.

use crate::sync_wire::SyncVersion;
use ha::{Replication, Role, RoleState};
use parking_lot::Mutex;
use proto::{BrokerId, Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// How long a change waits for the members before it is answered with an error that names who lacks it.
const DEADLINE: Duration = Duration::from_secs(3);
/// A member that has not asked for metadata this long after it joined the set is taken for a Java slave, which polls at
/// its own pace and is not
/// waited for. A Baton slave asks within milliseconds of becoming one.
const SILENT_IS_JAVA: Millis = 1_000;
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
    table: Mutex<Table>,
    changed: watch::Sender<u64>,
}

/// Pure part.
#[derive(Debug, Default)]
struct Table {
    /// Slaves that have asked for metadata, and what they had.
    has: BTreeMap<BrokerId, Progress>,
    /// Since when each other member is in the set.
    joined: BTreeMap<BrokerId, Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    has: SyncVersion,
    /// False once the replica has left the set: it may come back as another program, and what it once asked says
    /// nothing then.
    fresh: bool,
}

impl Table {
    fn note(&mut self, id: BrokerId, has: SyncVersion) {
        self.has.insert(id, Progress { has, fresh: true });
    }

    fn set_changed(&mut self, now: Millis, members: &BTreeSet<BrokerId>) {
        let left: Vec<BrokerId> = self.joined.keys().filter(|it| !members.contains(it)).copied().collect();
        for id in left {
            self.joined.remove(&id);
            if let Some(progress) = self.has.get_mut(&id) {
                progress.fresh = false;
            }
        }
        for id in members {
            self.joined.entry(*id).or_insert(now);
        }
    }

    /// The first member that is not known to have settings `version` of master `epoch`.
    fn lacking(
        &self,
        now: Millis,
        members: &BTreeSet<BrokerId>,
        own: BrokerId,
        epoch: Epoch,
        version: u64,
    ) -> Option<BrokerId> {
        let has_it = |id: &BrokerId| match self.has.get(id).filter(|it| it.fresh) {
            Some(it) => it.has.master_epoch == epoch && it.has.settings >= version,
            None => self.joined.get(id).is_some_and(|since| now >= since + SILENT_IS_JAVA),
        };
        members.iter().filter(|it| **it != own).find(|it| !has_it(it)).copied()
    }

    /// Slaves that asked once and do not have it.
    fn behind(&self, epoch: Epoch, version: u64) -> Vec<BrokerId> {
        let behind = |it: &Progress| it.has.master_epoch != epoch || it.has.settings < version;
        self.has.iter().filter(|(_, it)| behind(it)).map(|(id, _)| *id).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: BrokerId = 1;
    const EPOCH: Epoch = 4;

    fn has(settings: u64) -> SyncVersion {
        SyncVersion { master_epoch: EPOCH, settings, offsets: 0 }
    }

    #[test]
    fn a_change_waits_for_members_that_speak_baton() {
        let members = BTreeSet::from([OWN, 2]);
        let mut table = Table::default();
        table.set_changed(0, &members);
        table.note(2, has(6));
        assert_eq!(table.lacking(99_999, &members, OWN, EPOCH, 7), Some(2));
        table.note(2, has(7));
        assert_eq!(table.lacking(0, &members, OWN, EPOCH, 7), None);
        assert_eq!(table.lacking(0, &members, OWN, EPOCH + 1, 7), Some(2), "versions of another master do not count");
    }

    #[test]
    fn a_member_that_never_asks_is_java_and_waited_for_only_a_moment() {
        let members = BTreeSet::from([OWN, 2]);
        let mut table = Table::default();
        table.set_changed(100, &members);
        assert_eq!(table.lacking(100, &members, OWN, EPOCH, 7), Some(2));
        assert_eq!(table.lacking(100 + SILENT_IS_JAVA, &members, OWN, EPOCH, 7), None);
    }

    #[test]
    fn a_replica_that_left_and_came_back_starts_afresh() {
        let mut table = Table::default();
        table.set_changed(0, &BTreeSet::from([OWN, 2]));
        table.note(2, has(7));
        table.set_changed(5_000, &BTreeSet::from([OWN]));
        let members = BTreeSet::from([OWN, 2]);
        table.set_changed(6_000, &members);
        assert_eq!(table.lacking(6_000, &members, OWN, EPOCH, 7), Some(2));
    }

    #[test]
    fn who_is_behind_is_kept_out_of_the_set() {
        let mut table = Table::default();
        table.note(2, has(6));
        table.note(3, has(7));
        assert_eq!(table.behind(EPOCH, 7), [2]);
    }
}
