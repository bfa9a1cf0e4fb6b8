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
    CountsUnflushed,
    ElectsAnyone,
    HidesHostRestart,
    KeepsEpochsBeyondTheEnd,
    KeepsTornTail,
    SkipsCuts,
    CutsEverything,
    CutsInMemoryOnly,
    DropsEmptyEpochs,
    TakesClosedForDead,
    AnswersFromAFollower,
    ForgetsVotes,
    ElectsOnce,
    NewLeaderForgets,
    CountsLeaseFromItsAnswer,
    GrantsLeasesWithoutRaftLease,
    TrustsLeaseWhileDraining,
    NeverTells,
}

pub struct Planted {
    pub mutant: Mutant,
    /// What was taken away, or where it happened.
    pub from: &'static str,
    pub what: &'static str,
}

const fn planted(mutant: Mutant, from: &'static str, what: &'static str) -> Planted {
    Planted { mutant, from, what }
}

pub const ALL: &[Planted] = &[
    planted(Mutant::ResumesMastership, "S2", "a restarted master resumes its old epoch"),
    planted(Mutant::ForgetsPromises, "S2", "a slave does not keep its promise on disk"),
    planted(Mutant::KeepsOldLink, "S2", "a slave goes on copying from the old master"),
    planted(Mutant::KeepsServingWhenDeposed, "S2", "a deposed master goes on"),
    planted(Mutant::AcksByCommittedSetOnly, "S3, rmq#5663", "a proposed member does not count"),
    planted(Mutant::TakesSilenceForRefusal, "S3, rmq#5663", "a lost answer is taken for a refusal"),
    planted(Mutant::ForgetsDisconnectedMembers, "S3, rmq#6662", "a member without connection does not count"),
    planted(Mutant::StartsWithItselfAlone, "S3, rmq#6342", "a new master counts itself alone"),
    planted(Mutant::CountsWhatWasSent, "S3, rmq#3016", "what was sent counts as acknowledged"),
    planted(Mutant::CountsUnflushed, "S11", "with synchronous flush, bytes count before they are on disk"),
    planted(Mutant::ElectsAnyone, "S7", "a replica outside the set is elected"),
    planted(Mutant::HidesHostRestart, "S7", "a replica whose host lost its memory does not say so"),
    planted(Mutant::KeepsEpochsBeyondTheEnd, "S9", "a log that lost its tail keeps the epochs that began in it"),
    planted(Mutant::KeepsTornTail, "S9", "an epoch begins in the middle of a message"),
    planted(Mutant::SkipsCuts, "S9", "a diverged tail is kept"),
    planted(Mutant::CutsEverything, "S9, rmq#6665", "the whole log is cut instead of the tail"),
    planted(Mutant::CutsInMemoryOnly, "S9, rmq#10666", "a cut tail is back after a crash"),
    planted(Mutant::DropsEmptyEpochs, "S9, KIP-279", "an epoch without bytes is left out of the history"),
    planted(Mutant::TakesClosedForDead, "S6", "a closed connection is taken for proof of death"),
    planted(Mutant::AnswersFromAFollower, "reads", "a controller that does not lead answers who is master"),
    planted(Mutant::ForgetsVotes, "Raft", "a controller forgets its vote in a restart"),
    planted(Mutant::ElectsOnce, "S14, rmq#5009", "an election that failed is not proposed again"),
    planted(Mutant::NewLeaderForgets, "S14, rmq#5712", "a new controller leader watches nobody"),
    planted(Mutant::CountsLeaseFromItsAnswer, "S5", "a lease runs from when the answer came"),
    planted(Mutant::GrantsLeasesWithoutRaftLease, "S5", "a controller grants leases without its own"),
    planted(Mutant::TrustsLeaseWhileDraining, "S10", "a draining master trusts its lease"),
];
