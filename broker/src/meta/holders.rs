//! S13 on a master: which slaves have which version of its settings, as far as they said.

use crate::sync_wire::SyncVersion;
use proto::ha::SlaveKind;
use proto::{BrokerId, Epoch};
use std::collections::BTreeMap;

/// Of one master, over all its masterships.
#[derive(Debug, Default)]
pub struct Holders {
    /// Slaves that have asked for metadata, and what they had: it is on their disks, whatever became of them since.
    has: BTreeMap<BrokerId, (Epoch, u64)>,
    /// The newest settings: a slave has to have them before it joins the set.
    current: (Epoch, u64),
}

impl Holders {
    /// A slave says what it has. Answers whether that is everything.
    pub fn note(&mut self, id: BrokerId, has: SyncVersion, current: SyncVersion) -> bool {
        self.moved_on(current);
        self.has.insert(id, version(has));
        self.covers(id, self.current)
    }

    /// The settings may be newer now. Answers who has asked once and lacks some.
    pub fn changed(&mut self, current: SyncVersion) -> Vec<BrokerId> {
        self.moved_on(current);
        self.has.keys().copied().filter(|id| !self.covers(*id, self.current)).collect()
    }

    /// The first of these members of the set, or who may be, that is not known to have this version. RocketMQ's slaves
    /// poll at their own pace and are not waited for; who has not said yet what it is may be Baton's.
    pub fn lacking(&self, others: &BTreeMap<BrokerId, Option<SlaveKind>>, wanted: SyncVersion) -> Option<BrokerId> {
        let waits = |it: &(&BrokerId, &Option<SlaveKind>)| *it.1 != Some(SlaveKind::Java);
        others.iter().filter(waits).map(|it| *it.0).find(|id| !self.covers(*id, version(wanted)))
    }

    fn moved_on(&mut self, current: SyncVersion) {
        self.current = self.current.max(version(current));
    }

    fn covers(&self, id: BrokerId, wanted: (Epoch, u64)) -> bool {
        self.has.get(&id).is_some_and(|has| has.0 == wanted.0 && has.1 >= wanted.1)
    }
}

fn version(it: SyncVersion) -> (Epoch, u64) {
    (it.master_epoch, it.settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = 4;

    fn at(settings: u64) -> SyncVersion {
        SyncVersion { master_epoch: EPOCH, settings, offsets: 0 }
    }

    fn one(kind: Option<SlaveKind>) -> BTreeMap<BrokerId, Option<SlaveKind>> {
        BTreeMap::from([(2, kind)])
    }

    #[test]
    fn a_change_waits_for_members_that_speak_baton() {
        let baton = one(Some(SlaveKind::Baton));
        let mut table = Holders::default();
        assert_eq!(table.lacking(&baton, at(7)), Some(2), "however long it says nothing");
        table.note(2, at(6), at(7));
        assert_eq!(table.lacking(&baton, at(7)), Some(2));
        table.note(2, at(7), at(7));
        assert_eq!(table.lacking(&baton, at(7)), None);
        let next = SyncVersion { master_epoch: EPOCH + 1, ..at(7) };
        assert_eq!(table.lacking(&baton, next), Some(2), "versions of another master do not count");
    }

    #[test]
    fn a_member_that_is_rocketmqs_is_not_waited_for_and_one_that_may_be_batons_is() {
        let table = Holders::default();
        assert_eq!(table.lacking(&one(Some(SlaveKind::Java)), at(7)), None);
        assert_eq!(table.lacking(&one(None), at(7)), Some(2));
    }

    #[test]
    fn who_is_behind_is_kept_out_of_the_set() {
        let mut table = Holders::default();
        assert!(!table.note(2, at(6), at(7)));
        assert!(table.note(3, at(7), at(7)));
        assert_eq!(table.changed(at(7)), [2]);
        assert_eq!(table.changed(at(8)), [2, 3]);
        assert!(!table.note(3, at(7), at(7)), "what was current when it asked is not any more");
        assert!(table.note(3, at(8), at(7)));
    }
}
