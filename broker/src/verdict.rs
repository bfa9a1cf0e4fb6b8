//! What a look at a queue means to a consumer. Pure.
//!
//! No consumer is moved because of what a replica happens to have: a slave that is behind, or has deleted more than its
//! master, a new master whose queues still grow, and an old one that has not heard of its successor, all let it stay
//! where it is. Only a master that knows its queues corrects an offset.

use proto::BrokerId;
use proto::code::response;
use std::collections::BTreeSet;
use store::GetStatus;

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every message that the log had at the promotion is in its queue.
    Master,
    /// Not so yet (S13); or the controllers are silent, or about to move mastership, and another may be master and
    /// have confirmed more.
    UnsureMaster,
    Slave,
    /// Behind others, cut off, or of no role yet.
    LaggingSlave,
}

/// What a replica knows of itself at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    Master(Queues, Tenure),
    /// Or of no role yet.
    Slave(Pace),
}

/// Of a master, after its promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// They have what the log had at the promotion, all of it confirmed (S13).
    Complete,
    Growing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    Certain,
    /// The controllers may have made another replica master (S5, S10).
    Doubtful,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    KeepsUp,
    Lags,
}

/// Of a slave, to its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    Down,
}

/// Bytes that a member of the set may be behind: what arrives between two looks at a replication link under full load.
pub const SLACK: i64 = 16 << 20;

impl Pace {
    /// Of a slave that heard last that this is the set; its queues lack so many bytes of its log.
    pub fn of(me: BrokerId, set: &BTreeSet<BrokerId>, link: Link, queues_behind: i64) -> Pace {
        let keeps_up = set.contains(&me) && link == Link::Up && queues_behind <= SLACK;
        if keeps_up { Pace::KeepsUp } else { Pace::Lags }
    }
}

impl Standing {
    pub fn of(it: Replica) -> Standing {
        match it {
            Replica::Master(Queues::Complete, Tenure::Certain) => Standing::Master,
            Replica::Master(Queues::Growing, _) | Replica::Master(_, Tenure::Doubtful) => Standing::UnsureMaster,
            Replica::Slave(Pace::KeepsUp) => Standing::Slave,
            Replica::Slave(Pace::Lags) => Standing::LaggingSlave,
        }
    }
}

/// What is answered, and whether it may wait for something better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub code: i32,
    pub next: i64,
    pub hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    No,
    AsAsked,
    /// The consumer should soon ask the master.
    Briefly,
}

/// `next`: where the store would go on.
pub fn verdict(standing: Standing, status: GetStatus, offset: i64, next: i64) -> Verdict {
    let code = code(status, offset);
    let moved = code == response::PULL_OFFSET_MOVED;
    let slave = matches!(standing, Standing::Slave | Standing::LaggingSlave);
    // The master may still have what this replica has deleted.
    let elsewhere = slave && matches!(status, GetStatus::OffsetTooSmall | GetStatus::MessageWasRemoving);
    let (code, next) = match status {
        _ if elsewhere => (response::PULL_RETRY_IMMEDIATELY, offset),
        GetStatus::OffsetTooSmall => (code, next),
        GetStatus::OffsetFoundNull if slave => (code, offset),
        _ if moved && standing != Standing::Master => (response::PULL_NOT_FOUND, offset),
        _ => (code, next),
    };
    let hold = match (code, standing) {
        (response::PULL_NOT_FOUND, Standing::LaggingSlave) => Hold::Briefly,
        (response::PULL_NOT_FOUND, _) => Hold::AsAsked,
        // Its next read is the master's. A consumer that takes this replica for the master must not run in circles.
        _ if elsewhere => Hold::Briefly,
        _ => Hold::No,
    };
    Verdict { code, next, hold }
}

fn code(status: GetStatus, offset: i64) -> i32 {
    match status {
        GetStatus::Found => response::SUCCESS,
        GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving => response::PULL_RETRY_IMMEDIATELY,
        GetStatus::OffsetFoundNull | GetStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if offset == 0 => response::PULL_NOT_FOUND,
        GetStatus::NoMatchedLogicQueue
        | GetStatus::NoMessageInQueue
        | GetStatus::OffsetOverflowBadly
        | GetStatus::OffsetTooSmall => response::PULL_OFFSET_MOVED,
    }
}

#[cfg(test)]
mod tests {
    use super::Standing::{LaggingSlave, Master, Slave, UnsureMaster};
    use super::*;
    use response::{PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY_IMMEDIATELY, SUCCESS};

    const ALL: [Standing; 4] = [Master, UnsureMaster, Slave, LaggingSlave];

    fn of(standing: Standing, status: GetStatus, offset: i64, next: i64) -> (i32, i64, Hold) {
        let Verdict { code, next, hold } = verdict(standing, status, offset, next);
        (code, next, hold)
    }

    #[test]
    fn a_master_knows_its_queues_when_they_are_complete_and_nobody_else_can_be_master() {
        let master = |queues, tenure| Standing::of(Replica::Master(queues, tenure));
        assert_eq!(master(Queues::Complete, Tenure::Certain), Master);
        assert_eq!(master(Queues::Growing, Tenure::Certain), UnsureMaster);
        assert_eq!(master(Queues::Complete, Tenure::Doubtful), UnsureMaster);
        assert_eq!(master(Queues::Growing, Tenure::Doubtful), UnsureMaster);
    }

    #[test]
    fn a_slave_keeps_up_as_a_connected_member_with_nearly_all_in_its_queues() {
        let slave = |me, link, behind| Standing::of(Replica::Slave(Pace::of(me, &[1, 2].into(), link, behind)));
        assert_eq!(slave(2, Link::Up, SLACK), Slave);
        assert_eq!(slave(2, Link::Up, SLACK + 1), LaggingSlave);
        assert_eq!(slave(2, Link::Down, 0), LaggingSlave);
        assert_eq!(slave(3, Link::Up, 0), LaggingSlave, "outside the set");
    }

    #[test]
    fn what_is_found_is_answered_by_everybody() {
        for standing in ALL {
            assert_eq!(of(standing, GetStatus::Found, 3, 5), (SUCCESS, 5, Hold::No));
            assert_eq!(of(standing, GetStatus::NoMatchedMessage, 3, 5), (PULL_RETRY_IMMEDIATELY, 5, Hold::No));
        }
    }

    #[test]
    fn the_end_of_a_queue_is_waited_at_briefly_where_it_may_not_be_the_end() {
        for standing in [Master, UnsureMaster, Slave] {
            assert_eq!(of(standing, GetStatus::OffsetOverflowOne, 5, 5), (PULL_NOT_FOUND, 5, Hold::AsAsked));
        }
        assert_eq!(of(LaggingSlave, GetStatus::OffsetOverflowOne, 5, 5), (PULL_NOT_FOUND, 5, Hold::Briefly));
        assert_eq!(of(Master, GetStatus::NoMatchedLogicQueue, 0, 0), (PULL_NOT_FOUND, 0, Hold::AsAsked));
    }

    #[test]
    fn only_a_master_that_knows_its_queues_moves_a_consumer() {
        use GetStatus::{NoMatchedLogicQueue, NoMessageInQueue, OffsetFoundNull, OffsetOverflowBadly, OffsetTooSmall};
        for (status, next) in [(OffsetOverflowBadly, 5), (NoMessageInQueue, 0), (NoMatchedLogicQueue, 0)] {
            assert_eq!(of(Master, status, 9, next), (PULL_OFFSET_MOVED, next, Hold::No), "{status:?}");
            assert_eq!(of(UnsureMaster, status, 9, next), (PULL_NOT_FOUND, 9, Hold::AsAsked), "{status:?}");
            assert_eq!(of(Slave, status, 9, next), (PULL_NOT_FOUND, 9, Hold::AsAsked), "{status:?}");
            assert_eq!(of(LaggingSlave, status, 9, next), (PULL_NOT_FOUND, 9, Hold::Briefly), "{status:?}");
        }
        for standing in [Master, UnsureMaster] {
            assert_eq!(of(standing, OffsetTooSmall, 1, 4), (PULL_OFFSET_MOVED, 4, Hold::No));
            assert_eq!(of(standing, OffsetFoundNull, 1, 8), (PULL_NOT_FOUND, 8, Hold::AsAsked));
            assert_eq!(of(standing, GetStatus::MessageWasRemoving, 1, 4), (PULL_RETRY_IMMEDIATELY, 4, Hold::No));
        }
        for standing in [Slave, LaggingSlave] {
            assert_eq!(of(standing, OffsetTooSmall, 1, 4), (PULL_RETRY_IMMEDIATELY, 1, Hold::Briefly));
            assert_eq!(of(standing, GetStatus::MessageWasRemoving, 1, 4), (PULL_RETRY_IMMEDIATELY, 1, Hold::Briefly));
            assert_eq!(of(standing, OffsetFoundNull, 1, 8).1, 1);
        }
    }
}
