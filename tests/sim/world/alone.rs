//! When all that goes wrong is over, the controllers are killed for a while: whoever is connected needs none (S8).

use super::World;
use crate::ctx::NodeId;

/// How long they are gone, and from when on something has to be acknowledged all the same: every lease is over by then.
const ALONE_US: u64 = 4_000_000;
const WITHOUT_LEASE_US: u64 = 2_500_000;

/// Whether the brokers have been without controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    NotYet,
    /// Since when, and which come back.
    Since(u64, Vec<NodeId>),
    Over,
}

impl World {
    pub(super) fn take_controllers_away(&mut self) {
        self.ctx.say(NodeId(0), format_args!("and all other controllers are killed"));
        let gone: Vec<NodeId> = self.controllers.iter().filter(|it| it.process.is_some()).map(|it| it.node).collect();
        gone.iter().for_each(|it| self.stop(*it));
        self.alone = Alone::Since(self.ctx.now, gone);
    }

    /// In any profile: a relaxed master without a lease waits for all of its set.
    pub(super) fn look_alone(&mut self) {
        let now = self.ctx.now;
        let Alone::Since(at, gone) = &self.alone else { return };
        if now < at + ALONE_US {
            return;
        }
        let (since, gone) = (at + WITHOUT_LEASE_US, gone.clone());
        for set in self.ctx.sets().filter(|it| !self.java_leads(*it)).collect::<Vec<_>>() {
            self.ctx.truth(set).goes_on(now, since, ALONE_US - WITHOUT_LEASE_US, "there are no controllers");
        }
        gone.iter().for_each(|it| self.start(*it));
        self.alone = Alone::Over;
    }
}
