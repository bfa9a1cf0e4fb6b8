//! The four problems of elections as short stories, each told twice: as it is, and without what keeps it harmless.
//! docs/SIMULATION.md tells them in words.

use crate::mutants::Mutant;
use crate::world::{Report, Telling, run_scripted};

/// What happens to whom.
#[derive(Clone, Copy, Debug)]
pub enum Strike {
    /// The master and the other servers do not hear each other for so many milliseconds; clients reach them all.
    CutOffMaster(u64),
    /// A slave hears no controller for so many milliseconds; what they say to it comes late, in any order.
    DeafenSlave(u64),
    /// An operator moves mastership.
    Switchover,
    /// The connections between master and controllers break; both live.
    BreakMastersConnections,
}

const SEEDS: u64 = 4;

/// The same story under some seeds, with and without the rule: every run with it keeps all rules.
fn tell(strikes: &[(u64, Strike)], without: Mutant) -> (Vec<Report>, Vec<Report>) {
    let told = |mutant| (1..=SEEDS).map(|seed| run_scripted(seed, strikes, mutant, Telling::Nothing)).collect();
    let (with, without): (Vec<Report>, Vec<Report>) = (told(None), told(Some(without)));
    for (seed, it) in (1..).zip(&with) {
        assert!(it.violation.is_none(), "seed {seed}: {:?}", it.violation);
        assert!(it.acknowledged > 100, "seed {seed}: {} messages are acknowledged", it.acknowledged);
    }
    (with, without)
}

fn broken(of: &[Report]) -> Vec<&'static str> {
    of.iter().filter_map(|it| it.violation.as_ref().map(|it| it.rule)).collect()
}

#[test]
fn split_brain_the_old_master_acknowledges_nothing_more() {
    let (with, without) = tell(&[(3_000, Strike::CutOffMaster(6_000))], Mutant::ForgetsDisconnectedMembers);
    assert!(with.iter().all(|it| it.elections >= 2), "another master is elected meanwhile");
    assert!(broken(&without).contains(&"S3"), "{:?}", broken(&without));
}

#[test]
fn a_notification_that_comes_late_is_not_believed() {
    let strikes = [
        (3_000, Strike::DeafenSlave(1_700)),
        (3_200, Strike::Switchover),
        (3_600, Strike::Switchover),
        (4_000, Strike::Switchover),
        (4_400, Strike::Switchover),
    ];
    let (_, without) = tell(&strikes, Mutant::BelievesLateNotices);
    assert!(broken(&without).contains(&"S2"), "some replica goes back to an older epoch");
}

#[test]
fn a_master_that_is_only_not_heard_for_a_moment_is_not_replaced() {
    let strikes = [(3_000, Strike::BreakMastersConnections), (4_000, Strike::BreakMastersConnections)];
    let (with, without) = tell(&strikes, Mutant::TakesClosedForDead);
    let most = |of: &[Report]| of.iter().map(|it| it.elections).max().unwrap_or_default();
    // The first one, and the one after the last blow.
    assert!(most(&with) <= 2, "{} elections", most(&with));
    assert!(most(&without) > 2, "a closed connection alone costs an election");
}

#[test]
fn data_after_an_election_the_tail_that_nobody_confirmed_is_cut() {
    let (_, without) = tell(&[(3_000, Strike::CutOffMaster(4_000))], Mutant::SkipsCuts);
    assert!(broken(&without).contains(&"S3"), "{:?}", broken(&without));
}
