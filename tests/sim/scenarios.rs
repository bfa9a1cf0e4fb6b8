//! The four problems of elections as short stories, each told twice: as it is, and without what keeps it harmless.
//! docs/SIMULATION.md tells them in words. Below them, what seeds have found in Baton, as short.

use crate::mutants::Mutant;
use crate::schedule::Schedule;
use crate::world::{Report, Telling, play};

const SEEDS: u64 = 4;

/// The same story under some seeds, with and without the rule: every run with it keeps all rules. It begins with
/// `mixed` if one broker, B3, is RocketMQ's.
#[track_caller]
fn tell(story: &str, without: Mutant) -> (Vec<Report>, Vec<Report>) {
    let quiet = |network| Schedule { network, ..format!("quiet; {story}").parse().expect("a schedule") };
    let told = |mutant| (1..=SEEDS).map(|seed| play(&quiet(seed), mutant, Telling::Nothing)).collect();
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
    let (with, without) = tell("3000 ms: cut a.master <> servers for 6000 ms", Mutant::ForgetsDisconnectedMembers);
    assert!(with.iter().all(|it| it.elections >= 2), "another master is elected meanwhile");
    assert!(broken(&without).contains(&"S3"), "{:?}", broken(&without));
}

#[test]
fn a_notification_that_comes_late_is_not_believed() {
    let story = "3000 ms: cut controllers > a.slave for 1700 ms
        3200 ms: switch a; 3600 ms: switch a; 4000 ms: switch a; 4400 ms: switch a";
    let (_, without) = tell(story, Mutant::BelievesLateNotices);
    assert!(broken(&without).contains(&"S2"), "some replica goes back to an older epoch");
}

#[test]
fn a_master_that_is_only_not_heard_for_a_moment_is_not_replaced() {
    let story = "3000 ms: break controllers and a.master; 4000 ms: break controllers and a.master";
    let (with, without) = tell(story, Mutant::TakesClosedForDead);
    let most = |of: &[Report]| of.iter().map(|it| it.elections).max().unwrap_or_default();
    // The first one, and the one after the last blow.
    assert!(most(&with) <= 2, "{} elections", most(&with));
    // The judge stops a run at the first.
    let unasked = |it: &Report| it.violation.as_ref().is_some_and(|it| it.rule == "S6");
    assert!(without.iter().any(unasked), "a closed connection alone costs an election");
}

#[test]
fn data_after_an_election_the_tail_that_nobody_confirmed_is_cut() {
    let (_, without) = tell("3000 ms: cut a.master <> servers for 4000 ms", Mutant::SkipsCuts);
    // Its history already says of these bytes that the new master wrote them; readers would see them next (S3).
    assert!(broken(&without).contains(&"S9"), "{:?}", broken(&without));
}

// ---- what was found

/// The controllers may elect another in spite of its lease, and that one confirms more.
#[test]
fn a_master_that_hands_over_and_does_not_learn_that_it_has_moves_no_consumer_back() {
    let story = "2000 ms: at the next drained master, after 0 ms: cut controllers > it for 1975 ms; 2000 ms: switch a";
    let (_, without) = tell(story, Mutant::TrustsLeaseWhileDraining);
    assert!(broken(&without).contains(&"S3"), "{:?}", broken(&without));
}

/// Its successor is elected in spite of its lease (S5).
#[test]
fn a_leader_that_has_handed_over_answers_no_heartbeat_as_leader() {
    let mut without = Vec::new();
    for leader in ["C1", "C2", "C3"] {
        let story = format!("2000 ms: cut {leader} > leader for 1400 ms; 2962 ms: transfer {leader}");
        without.extend(tell(&story, Mutant::GrantsLeasesWithoutRaftLease).1);
    }
    assert!(broken(&without).contains(&"S5"), "{:?}", broken(&without));
}

/// What RocketMQ's has acknowledged may be gone, what ours acknowledges next may not.
#[test]
fn after_a_master_of_rocketmqs_one_of_ours_promises_anew() {
    let story = "mixed; calm at 90000 ms; 10000 ms: designate B1; 45000 ms: designate B3; 60000 ms: designate B1
        75000 ms: cut a.master <> servers for 6000 ms";
    let (with, without) = tell(story, Mutant::ForgetsDisconnectedMembers);
    assert!(with.iter().all(|it| it.java_led && it.elections >= 4), "one of RocketMQ's has led, then others");
    let anew: Vec<Report> = without.into_iter().filter(|it| it.java_led && it.virtual_time > 75_000_000).collect();
    assert!(broken(&anew).contains(&"S3"), "{:?}", broken(&anew));
}

/// What it takes to see the planted bugs that are rare where everything happens: each without its rule, under some
/// seed, and never with it.
const RARE: [(Mutant, &str, &str); 9] = [
    (
        Mutant::TakesSilenceForRefusal,
        "S3",
        "3000 ms: at the next joining, after 0.3 ms: cut controllers > it for 2500 ms
         3001 ms: kill a.slave for 300 ms",
    ),
    (
        Mutant::DropsEmptyEpochs,
        "S9",
        "3000 ms: at the next handshake, after 0.1 ms: cut a.master <> servers for 7000 ms
         3001 ms: kill a.master for 40 ms; 7500 ms: switch a",
    ),
    (
        Mutant::CountsLeaseFromItsAnswer,
        "S5",
        "3000 ms: at the next heartbeat, after 0.5 ms: cut controllers > it for 450 ms",
    ),
    (Mutant::GrantsLeasesWithoutRaftLease, "S5", "3000 ms: pause leader for 1200 ms"),
    (Mutant::GrantsLeasesWhileSwitching, "S10", "3000 ms: cut a.slave > a.master for 900 ms; 3005 ms: switch a"),
    // RocketMQ's broker finds its master within half a minute.
    (
        Mutant::SkipsCutsUnderJava,
        "S9",
        "mixed; calm at 65000 ms; 10000 ms: designate B1
         50000 ms: cut B1 <> servers for 6000 ms; 50000.1 ms: designate B3",
    ),
    (
        Mutant::BelievesJavaLabels,
        "S9",
        "mixed; calm at 65000 ms; 10000 ms: designate B1
         50000 ms: kill B2 for 4000 ms; 51000 ms: designate B3",
    ),
    (Mutant::AwaitsBytesUnderJava, "S14", "mixed; calm at 60000 ms; 10000 ms: designate B1; 50000 ms: designate B3"),
    // It leads an epoch without a byte, so that its history leaves out the next one that it leads.
    (
        Mutant::TakesJavaForBaton,
        "S14",
        "mixed; calm at 80000 ms; 10000 ms: designate B1; 50000 ms: cut K1+K2+K3 > a for 30000 ms
         52000 ms: designate B3; 70000 ms: designate B1; 70300 ms: designate B3",
    ),
];

#[test]
fn what_is_rare_is_seen_where_it_is_told() {
    for (mutant, rule, story) in RARE {
        let (_, without) = tell(story, mutant);
        assert!(broken(&without).contains(&rule), "{mutant:?}: {:?}", broken(&without));
    }
}
