//! S13 on a master: which slaves have which version of its settings, as far as they said.

use crate::sync_wire::SyncVersion;
use proto::{BrokerId, Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};

/// A member that has not asked for metadata this long after it joined the set is taken for a Java slave, which polls at
/// its own pace and is not waited for. A Baton slave asks within milliseconds of becoming one.
const SILENT_IS_JAVA: Millis = 1_000;

/// Of one master, over all its masterships.
#[derive(Debug, Default)]
pub struct Holders {
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

impl Holders {
    pub fn note(&mut self, id: BrokerId, has: SyncVersion) {
        self.has.insert(id, Progress { has, fresh: true });
    }

    pub fn set_changed(&mut self, now: Millis, members: &BTreeSet<BrokerId>) {
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
    pub fn lacking(
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
    pub fn behind(&self, epoch: Epoch, version: u64) -> Vec<BrokerId> {
        let behind = |it: &Progress| it.has.master_epoch != epoch || it.has.settings < version;
        self.has.iter().filter(|(_, it)| behind(it)).map(|(id, _)| *id).collect()
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
        let mut table = Holders::default();
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
        let mut table = Holders::default();
        table.set_changed(100, &members);
        assert_eq!(table.lacking(100, &members, OWN, EPOCH, 7), Some(2));
        assert_eq!(table.lacking(100 + SILENT_IS_JAVA, &members, OWN, EPOCH, 7), None);
    }

    #[test]
    fn a_replica_that_left_and_came_back_starts_afresh() {
        let mut table = Holders::default();
        table.set_changed(0, &BTreeSet::from([OWN, 2]));
        table.note(2, has(7));
        table.set_changed(5_000, &BTreeSet::from([OWN]));
        let members = BTreeSet::from([OWN, 2]);
        table.set_changed(6_000, &members);
        assert_eq!(table.lacking(6_000, &members, OWN, EPOCH, 7), Some(2));
    }

    #[test]
    fn who_is_behind_is_kept_out_of_the_set() {
        let mut table = Holders::default();
        table.note(2, has(6));
        table.note(3, has(7));
        assert_eq!(table.behind(EPOCH, 7), [2]);
    }
}
