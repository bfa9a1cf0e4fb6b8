//! Planted bugs: each is one of RocketMQ's real failures, or a rule taken away. They live in the simulated drivers, so
//! that no released code knows of them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    ResumesMastership,
    ForgetsPromises,
    KeepsOldLink,
    KeepsServingWhenDeposed,
    AcksByCommittedSetOnly,
    TakesSilenceForRefusal,
    ForgetsDisconnectedMembers,
    StartsWithItselfAlone,
    CountsWhatWasSent,
    CountsConnectionsAsCopies,
    ShrinksOnItsOwn,
    AltersWithoutCompare,
    AcksBelowMinimum,
    BelievesLateNotices,
    CountsUnflushed,
    ElectsAnyone,
    HidesHostRestart,
    KeepsIdentityOfLostDisk,
    KeepsEpochsBeyondTheEnd,
    KeepsTornTail,
    SkipsCuts,
    CutsEverything,
    CutsInMemoryOnly,
    DropsEmptyEpochs,
    TakesClosedForDead,
    ForgetsRaftTail,
    ReactsToEventsOnly,
    NewLeaderForgets,
    CountsLeaseFromItsAnswer,
    GrantsLeasesWithoutRaftLease,
    TrustsLeaseWhileDraining,
    NewLeaderDoesNotWait,
    NeedsNoLease,
    ExpiresBeforeTheLease,
    TakesUnreachableForDead,
    RemembersEveryLeaver,
    CutsToItsConfirmOffset,
    DrainsWithoutWaiting,
    GrantsLeasesWhileSwitching,
    StopsWithoutControllers,
    AcknowledgesTopicsAlone,
    KeepsOffsetsBeyondTheEnd,
    ShowsUnconfirmed,
    GivesUpTooSoon,
    TakesJavaSlavesForWhole,
    SkipsCutsUnderJava,
    BelievesJavaLabels,
    TakesJavaForBaton,
    AwaitsBytesUnderJava,
    PromisesNothingToJava,
}

pub struct Planted {
    pub mutant: Mutant,
    /// What was taken away, or where it happened.
    pub from: &'static str,
    pub what: &'static str,
    /// Thirty seeds find it, wherever one begins.
    pub soon: bool,
}

/// A bug that shows soon.
const fn soon(mutant: Mutant, from: &'static str, what: &'static str) -> Planted {
    Planted { mutant, from, what, soon: true }
}

/// A bug that takes patience.
const fn late(mutant: Mutant, from: &'static str, what: &'static str) -> Planted {
    Planted { mutant, from, what, soon: false }
}

pub const ALL: &[Planted] = &[
    soon(Mutant::ResumesMastership, "S2", "a restarted master resumes its old epoch"),
    soon(Mutant::ForgetsPromises, "S2", "a slave does not keep its promise on disk"),
    soon(Mutant::KeepsOldLink, "S2", "a slave goes on copying from the old master"),
    soon(Mutant::KeepsServingWhenDeposed, "S2", "a deposed master goes on"),
    soon(Mutant::AcksByCommittedSetOnly, "S3, rmq#5663", "a proposed member does not count"),
    late(Mutant::TakesSilenceForRefusal, "S3, rmq#5663", "a lost answer is taken for a refusal"),
    soon(Mutant::ForgetsDisconnectedMembers, "S3, rmq#6662", "a member without connection does not count"),
    soon(Mutant::StartsWithItselfAlone, "S3, rmq#6342", "a new master counts itself alone"),
    soon(Mutant::CountsWhatWasSent, "S3, rmq#3016", "what was sent counts as acknowledged"),
    soon(Mutant::CountsConnectionsAsCopies, "S3", "a slave that has connected counts as having everything"),
    soon(Mutant::ShrinksOnItsOwn, "S3, rmq#6342", "a master shrinks its set before the controllers agree"),
    late(Mutant::AltersWithoutCompare, "S3", "the controllers take a set without comparing versions"),
    soon(Mutant::AcksBelowMinimum, "S7", "a master acknowledges with fewer members than the minimum"),
    late(Mutant::BelievesLateNotices, "S2", "a late notification of an older epoch is believed"),
    soon(Mutant::CountsUnflushed, "S11", "with synchronous flush, bytes count before they are on disk"),
    soon(Mutant::ElectsAnyone, "S7", "a replica outside the set is elected"),
    late(Mutant::HidesHostRestart, "S7", "a replica whose host lost its memory does not say so"),
    soon(Mutant::KeepsIdentityOfLostDisk, "S7", "a replica whose disk was exchanged keeps its id"),
    late(Mutant::KeepsEpochsBeyondTheEnd, "S9", "a log that lost its tail keeps the epochs that began in it"),
    late(Mutant::KeepsTornTail, "S9", "an epoch begins in the middle of a message"),
    soon(Mutant::SkipsCuts, "S9", "a diverged tail is kept"),
    soon(Mutant::CutsEverything, "S9, rmq#6665", "the whole log is cut instead of the tail"),
    soon(Mutant::CutsInMemoryOnly, "S9, rmq#10666", "a cut tail is back after a crash"),
    soon(Mutant::DropsEmptyEpochs, "S9, KIP-279", "an epoch without bytes is left out of the history"),
    soon(Mutant::TakesClosedForDead, "S6", "a closed connection is taken for proof of death"),
    soon(Mutant::ForgetsRaftTail, "Raft", "a controller acknowledges entries before they are on disk"),
    soon(Mutant::ReactsToEventsOnly, "S14, rmq#9717", "a controller looks at a set only when it hears of it"),
    soon(Mutant::NewLeaderForgets, "S14, rmq#5712", "a new controller leader watches nobody"),
    soon(Mutant::CountsLeaseFromItsAnswer, "S5", "a lease runs from when the answer came"),
    soon(Mutant::GrantsLeasesWithoutRaftLease, "S5", "a controller grants leases without its own"),
    soon(Mutant::NeedsNoLease, "S4", "a relaxed master acknowledges without a lease"),
    soon(Mutant::NewLeaderDoesNotWait, "S5", "a new controller leader does not wait for leases to end"),
    soon(Mutant::ExpiresBeforeTheLease, "S5", "a master is replaced before its lease has ended"),
    late(Mutant::TakesUnreachableForDead, "S6", "an unreachable host is taken for a refusing one"),
    soon(Mutant::RemembersEveryLeaver, "S7", "whoever leaves the set stays eligible"),
    soon(Mutant::StopsWithoutControllers, "S8", "a master without controllers takes no messages"),
    soon(Mutant::CutsToItsConfirmOffset, "S9, KIP-101", "a slave cuts to what it knows to be confirmed"),
    late(Mutant::TrustsLeaseWhileDraining, "S10", "a draining master trusts its lease"),
    soon(Mutant::GrantsLeasesWhileSwitching, "S10", "a controller grants leases while it moves mastership"),
    late(Mutant::DrainsWithoutWaiting, "S10", "mastership is moved before the target has everything"),
    soon(Mutant::AcknowledgesTopicsAlone, "S13, rmq#9804", "a topic is acknowledged before the members have it"),
    late(Mutant::KeepsOffsetsBeyondTheEnd, "S13, rmq#4797", "a new master keeps offsets beyond its queues' ends"),
    soon(Mutant::GivesUpTooSoon, "S6, rmq#4800", "a controller waits for half of a master's timeout"),
    soon(Mutant::ShowsUnconfirmed, "S3, rmq#6618", "consumers are shown what is not confirmed"),
    late(Mutant::TakesJavaSlavesForWhole, "S3", "a slave of RocketMQ's has everything as soon as it connects"),
    late(Mutant::PromisesNothingToJava, "S2", "a slave does not keep its promise to a master of RocketMQ's on disk"),
];

/// Bugs of slaves under a master of RocketMQ's that seeds rarely come to; they are seen where they are told
/// (`scenarios.rs`).
pub const TOLD: &[Mutant] = &[
    // It keeps its diverged tail.
    Mutant::SkipsCutsUnderJava,
    // It goes by the epoch on the packets.
    Mutant::BelievesJavaLabels,
    // It waits for an epoch that its master leaves out.
    Mutant::TakesJavaForBaton,
    // It says nothing before the first byte has come, and RocketMQ's sends none to who has said nothing.
    Mutant::AwaitsBytesUnderJava,
];

/// By its name in this file.
pub fn named(name: &str) -> Option<Mutant> {
    ALL.iter().map(|it| it.mutant).chain(TOLD.iter().copied()).find(|it| format!("{it:?}") == name)
}
