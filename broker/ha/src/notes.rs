//! What is said of slaves' topics and groups (S13), until the master core hears it before its next step. Pure.
//!
//! Whoever says it may be late: it speaks for one mastership, and never drowns what was said for a newer one.

use proto::{BrokerId, Epoch};
use std::collections::BTreeMap;

/// The last word on each slave, for the newest mastership that anybody spoke for.
#[derive(Clone, Debug, Default)]
pub struct Notes(BTreeMap<BrokerId, (Epoch, bool)>);

impl Notes {
    /// Whether this slave has all that the mastership of `epoch` has.
    pub fn add(&mut self, epoch: Epoch, slave: BrokerId, synced: bool) {
        let known = self.0.get(&slave).map(|it| it.0);
        if known.is_none_or(|it| it <= epoch) {
            self.0.insert(slave, (epoch, synced));
        }
    }

    /// All, of which only what speaks for the mastership of `epoch` counts: what a slave confirmed to another proves
    /// nothing.
    pub fn take(&mut self, epoch: Epoch) -> impl Iterator<Item = (BrokerId, bool)> + use<> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.filter(move |it| it.1.0 == epoch).map(|(slave, (_, synced))| (slave, synced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(notes: &mut Notes, epoch: Epoch) -> Vec<(BrokerId, bool)> {
        notes.take(epoch).collect()
    }

    #[test]
    fn a_late_word_of_an_older_mastership_does_not_replace_a_newer_one() {
        let mut notes = Notes::default();
        notes.add(5, 2, false);
        notes.add(4, 2, false);
        notes.add(4, 3, true);
        assert_eq!(taken(&mut notes, 5), [(2, false)], "2 lacks something, and 3 has confirmed nothing to epoch 5");
        assert_eq!(taken(&mut notes, 5), []);
    }

    #[test]
    fn the_last_word_for_a_mastership_counts() {
        let mut notes = Notes::default();
        notes.add(5, 2, true);
        notes.add(5, 2, false);
        notes.add(5, 3, false);
        notes.add(5, 3, true);
        assert_eq!(taken(&mut notes, 5), [(2, false), (3, true)]);
    }
}
