//! Who belongs to the group of controllers, by Raft id. Pure; part of the replicated state.
//!
//! A Raft id is given once and never again: a controller that lost its disk, or was removed, comes back under a new id,
//! because what its old self had promised is forgotten.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    pub members: BTreeMap<u64, Member>,
    /// The largest Raft id ever given.
    pub last_id: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `n0`, as in `controllerDLegerSelfId`.
    pub name: String,
    pub address: String,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Voter,
    /// Receives the log and counts for nothing, until it has caught up.
    Learner,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Add { name: String, address: String },
    Remove { name: String },
    Transfer { name: String },
}

/// One step of a change, as it stands in the log: the context of the Raft entry that changes the quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    AddLearner { id: u64, name: String, address: String },
    Promote { id: u64 },
    Remove { id: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberRefusal {
    #[error("controller {name} is a member already, at {address}; a controller that lost its disk is removed first")]
    Known { name: String, address: String },
    #[error("address {0} belongs to controller {1} already")]
    AddressTaken(String, String),
    #[error("`{0}` is not an address: want host:port")]
    BadAddress(String),
    #[error("`{0}` is not a controller's id: want letters, digits and `_`, as in n3")]
    BadName(String),
    #[error("there is no controller {0}; the members are {1}")]
    Unknown(String, String),
    #[error("controller {0} leads: transfer the leadership to another one first")]
    Leads(String),
    #[error("controller {0} is still catching up: wait until it is a voter")]
    Learner(String),
    #[error("without {0}, {1} of {2} voters would be heard, and {3} are needed: bring the silent ones back first")]
    NoQuorum(String, usize, usize, usize),
    #[error("another change of the members is under way; try again")]
    Busy,
    #[error("controller {0} is not a member yet: run mqadmin addController --id {0} --address <its address>")]
    NotYet(String),
    #[error("controller {name} had another data directory when it was last heard: {}", disk_is_lost(.name, .address))]
    DiskLost { name: String, address: String },
    #[error(
        "controller {0} (Raft id {1}) is not a member any more: to bring it back, empty its controllerStorePath, set \
         controllerJoin=true, and run mqadmin addController"
    )]
    Gone(String, u64),
}

impl Members {
    /// The first members: Raft ids count from 1.
    pub fn founders(of: impl IntoIterator<Item = (String, String)>) -> Members {
        let member = |(name, address)| Member { name, address, role: Role::Voter };
        let members = (1..).zip(of.into_iter().map(member)).collect::<BTreeMap<_, _>>();
        let last_id = members.len() as u64;
        Members { members, last_id }
    }

    /// One controller, all others gone. Ids given before stay given.
    pub(super) fn alone(id: u64, name: &str, address: &str, last_id: u64) -> Members {
        let only = Member { name: name.to_owned(), address: address.to_owned(), role: Role::Voter };
        Members { members: [(id, only)].into(), last_id: last_id.max(id) }
    }

    pub fn id_of(&self, name: &str) -> Option<u64> {
        self.members.iter().find(|it| it.1.name == name).map(|it| *it.0)
    }

    pub fn get(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    pub fn name_list(&self) -> Vec<String> {
        self.members.values().map(|it| it.name.clone()).collect()
    }

    pub fn names(&self) -> String {
        self.name_list().join(", ")
    }

    pub fn apply(&mut self, change: Change) {
        match change {
            Change::AddLearner { id, name, address } => {
                self.members.insert(id, Member { name, address, role: Role::Learner });
                self.last_id = self.last_id.max(id);
            }
            Change::Promote { id } => {
                if let Some(it) = self.members.get_mut(&id) {
                    it.role = Role::Voter;
                }
            }
            Change::Remove { id } => drop(self.members.remove(&id)),
        }
    }

    /// Founders may move, and so may this controller: their addresses are those of the configuration file.
    pub(super) fn readdress(&mut self, founders: &Members, own_id: u64, own_address: &str) {
        if let Some(it) = self.members.get_mut(&own_id).filter(|_| !own_address.is_empty()) {
            own_address.clone_into(&mut it.address);
        }
        for (id, founder) in &founders.members {
            if let Some(it) =
                self.members.get_mut(id).filter(|it| it.name == founder.name && !founder.address.is_empty())
            {
                it.address.clone_from(&founder.address);
            }
        }
    }

    pub(super) fn check_add(&self, name: &str, address: &str) -> Result<Change, MemberRefusal> {
        if name.is_empty() || !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
            return Err(MemberRefusal::BadName(name.to_owned()));
        }
        let port = address.rsplit_once(':').filter(|it| !it.0.is_empty()).and_then(|it| it.1.parse::<u16>().ok());
        if port.is_none_or(|it| it == 0) {
            return Err(MemberRefusal::BadAddress(address.to_owned()));
        }
        for it in self.members.values() {
            if it.name == name {
                return Err(MemberRefusal::Known { name: name.to_owned(), address: it.address.clone() });
            }
            if it.address == address {
                return Err(MemberRefusal::AddressTaken(address.to_owned(), it.name.clone()));
            }
        }
        Ok(Change::AddLearner { id: self.last_id + 1, name: name.to_owned(), address: address.to_owned() })
    }

    /// `heard`: whether a member answered lately.
    pub(super) fn check_remove(
        &self,
        name: &str,
        leader: u64,
        heard: impl Fn(u64) -> bool,
    ) -> Result<Change, MemberRefusal> {
        let id = self.known(name)?;
        if id == leader {
            return Err(MemberRefusal::Leads(name.to_owned()));
        }
        let rest = self.members.iter().filter(|(it, member)| **it != id && member.role == Role::Voter);
        let rest = rest.map(|it| *it.0).collect::<Vec<_>>();
        let (heard, need) = (rest.iter().filter(|it| heard(**it)).count(), rest.len() / 2 + 1);
        if heard < need {
            return Err(MemberRefusal::NoQuorum(name.to_owned(), heard, rest.len(), need));
        }
        Ok(Change::Remove { id })
    }

    pub(super) fn check_transfer(&self, name: &str) -> Result<u64, MemberRefusal> {
        let id = self.known(name)?;
        match self.members.get(&id).map(|it| it.role) {
            Some(Role::Voter) => Ok(id),
            _ => Err(MemberRefusal::Learner(name.to_owned())),
        }
    }

    /// The Raft id of the controller of this name that has an empty disk. `heard`: whether a controller was heard with
    /// this id, from another disk then. As its old self it must never come back.
    pub(super) fn newcomer(&self, name: &str, heard: impl Fn(u64) -> bool) -> Result<u64, MemberRefusal> {
        let Some((id, member)) = self.members.iter().find(|it| it.1.name == name) else {
            return Err(MemberRefusal::NotYet(name.to_owned()));
        };
        match heard(*id) {
            true => Err(member.disk_is_lost()),
            false => Ok(*id),
        }
    }

    /// An id that was given to somebody, and taken away again.
    pub fn check_not_gone(&self, id: u64, name: &str) -> Result<(), MemberRefusal> {
        match id <= self.last_id && !self.members.contains_key(&id) {
            true => Err(MemberRefusal::Gone(name.to_owned(), id)),
            false => Ok(()),
        }
    }

    fn known(&self, name: &str) -> Result<u64, MemberRefusal> {
        self.id_of(name).ok_or_else(|| MemberRefusal::Unknown(name.to_owned(), self.names()))
    }
}

impl Member {
    pub(super) fn disk_is_lost(&self) -> MemberRefusal {
        MemberRefusal::DiskLost { name: self.name.clone(), address: self.address.clone() }
    }
}

/// What to do about it.
pub(super) fn disk_is_lost(name: &str, address: &str) -> String {
    format!(
        "its disk was lost or exchanged, and with it what it had promised. Run `mqadmin removeController --id {name}`, \
         set controllerJoin=true in its file, and run `mqadmin addController --id {name} --address {address}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Members {
        Members::founders((0..3).map(|i| (format!("n{i}"), format!("h{i}:9878"))))
    }

    fn three_without(id: u64) -> Members {
        let mut members = three();
        members.apply(Change::Remove { id });
        members
    }

    #[test]
    fn an_id_is_never_given_twice() {
        let members = three_without(3);
        let again = members.check_add("n2", "h2:9878");
        assert_eq!(again, Ok(Change::AddLearner { id: 4, name: "n2".into(), address: "h2:9878".into() }));
    }

    #[test]
    fn what_would_harm_the_group_is_refused_with_advice() {
        let members = three();
        let told = [
            members.check_add("n2", "h9:9878").map(drop),
            members.check_add("n9", "h2:9878").map(drop),
            members.check_add("n9", "h9").map(drop),
            members.check_add("n-9", "h9:9878").map(drop),
            members.check_remove("n7", 1, |_| true).map(drop),
            members.check_remove("n0", 1, |_| true).map(drop),
            members.check_remove("n1", 1, |id| id != 3).map(drop),
            members.check_remove("n2", 1, |id| id != 3).map(drop),
            members.newcomer("n1", |_| false).map(drop),
            members.newcomer("n1", |id| id == 2).map(drop),
            members.newcomer("n7", |_| false).map(drop),
            members.check_not_gone(4, "n7"),
            three_without(2).check_not_gone(2, "n1"),
        ];
        let told = told.map(|it| it.map_or_else(|why| why.to_string(), |()| "done".into())).join("\n") + "\n";
        expect_test::expect![[r"
            controller n2 is a member already, at h2:9878; a controller that lost its disk is removed first
            address h2:9878 belongs to controller n2 already
            `h9` is not an address: want host:port
            `n-9` is not a controller's id: want letters, digits and `_`, as in n3
            there is no controller n7; the members are n0, n1, n2
            controller n0 leads: transfer the leadership to another one first
            without n1, 1 of 2 voters would be heard, and 2 are needed: bring the silent ones back first
            done
            done
            controller n1 had another data directory when it was last heard: its disk was lost or exchanged, and with it what it had promised. Run `mqadmin removeController --id n1`, set controllerJoin=true in its file, and run `mqadmin addController --id n1 --address h1:9878`
            controller n7 is not a member yet: run mqadmin addController --id n7 --address <its address>
            done
            controller n1 (Raft id 2) is not a member any more: to bring it back, empty its controllerStorePath, set controllerJoin=true, and run mqadmin addController
        "]]
        .assert_eq(&told);
    }
}
