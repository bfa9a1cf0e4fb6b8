//! Why each replica of a set was, or was not, made master: the reasons of one election, for people.
//!
//! Follows [`BrokerSet::choose`]; it decides nothing.

use super::command::Elect;
use super::elect::{Candidate, Choice, ElectMode, Standing, UncleanElection};
use super::set::BrokerSet;
use proto::{BrokerId, Epoch, Offset};
use serde::{Deserialize, Serialize};

/// One replica in one election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    pub id: BrokerId,
    /// As its last heartbeat said; none: it was not alive.
    pub epoch: Option<Epoch>,
    pub max_offset: Option<Offset>,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    Won,
    /// Not heard within its timeout, or dead by proof.
    NotAlive,
    /// Presumed alive, but not heard by this leader yet, without connection, or with a stalled disk.
    NotElectable,
    /// Another one was designated.
    NotDesignated,
    /// May lack acknowledged messages (S7).
    NotInSync,
    /// The winner's `brokerElectionPriority` is smaller.
    LowerPriority,
    /// An operator keeps mastership away from it (S10).
    Drained,
    /// The winner's log has a newer epoch.
    OlderEpoch,
    ShorterLog,
    /// Equal in everything; the winner is in another zone than the old master.
    SameZone,
    /// Equal in everything.
    LargerId,
}

impl BrokerSet {
    /// All replicas in the light of what [`BrokerSet::choose`] says to the same command.
    pub(super) fn considered(&self, elect: &Elect) -> Vec<Considered> {
        let choice = self.choose(elect);
        let of = |id: BrokerId| {
            let candidate = elect.alive.iter().find(|it| it.id == id);
            Considered {
                id,
                epoch: candidate.map(|it| it.epoch),
                max_offset: candidate.map(|it| it.max_offset),
                verdict: self.verdict(elect, choice, id, candidate),
            }
        };
        self.replicas.keys().map(|id| of(*id)).collect()
    }

    fn verdict(&self, elect: &Elect, choice: Choice, id: BrokerId, candidate: Option<&Candidate>) -> Verdict {
        if matches!(choice, Choice::New(winner, _) if winner == id) {
            return Verdict::Won;
        }
        let Some(candidate) = candidate else { return Verdict::NotAlive };
        if elect.mode == ElectMode::Designated && elect.requester != Some(id) {
            return Verdict::NotDesignated;
        }
        let allowed = match choice {
            Choice::New(_, Standing::InSync | Standing::First) | Choice::Keep => self.sync_state_set.contains(&id),
            Choice::New(_, Standing::Eligible) => self.eligible.contains(&id),
            Choice::New(_, Standing::Unclean) => true,
            Choice::Nobody => {
                elect.unclean == UncleanElection::Allowed
                    || self.sync_state_set.contains(&id)
                    || self.eligible.contains(&id)
            }
        };
        let winner = match choice {
            Choice::New(winner, standing) => elect.alive.iter().find(|it| it.id == winner).map(|it| (it, standing)),
            Choice::Keep | Choice::Nobody => None,
        };
        match winner {
            _ if !allowed => Verdict::NotInSync,
            _ if !candidate.electable => Verdict::NotElectable,
            Some((winner, standing))
                if standing == Standing::Unclean || self.drained.contains(&id) == self.drained.contains(&winner.id) =>
            {
                lost(candidate, winner, standing)
            }
            Some(_) => Verdict::Drained,
            None => Verdict::NotElectable,
        }
    }
}

/// The first field in which the winner was better.
fn lost(it: &Candidate, winner: &Candidate, standing: Standing) -> Verdict {
    let priority = (it.priority != winner.priority).then_some(Verdict::LowerPriority);
    let epoch = (it.epoch != winner.epoch).then_some(Verdict::OlderEpoch);
    let length = (it.max_offset != winner.max_offset).then_some(Verdict::ShorterLog);
    let zone = (it.zone != winner.zone).then_some(Verdict::SameZone);
    let in_order = match standing {
        Standing::Unclean => [epoch, length, priority, zone],
        _ => [priority, epoch, length, zone],
    };
    in_order.into_iter().flatten().next().unwrap_or(Verdict::LargerId)
}
