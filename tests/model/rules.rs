//! The rules that can be taken away, one at a time.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// S3: proposals in flight count for acknowledgement.
    MaximalSet,
    /// S3: members without a connection count.
    DisconnectedCount,
    /// S3: the set changes only by the controller's compare-and-set.
    CompareAndSet,
    /// S2: a restarted process does not resume its mastership.
    NoResume,
    /// S2: bytes of an older epoch are refused.
    OlderEpochRefused,
    /// S7: only members, and those that left while nothing could be acknowledged, are elected.
    CleanElection,
    /// S7: whoever lost an unflushed tail loses its place.
    UncleanLosesPlace,
    /// S9: a slave cuts what its master does not have.
    Truncation,
}

impl Rule {
    pub const ALL: [Rule; 8] = [
        Rule::MaximalSet,
        Rule::DisconnectedCount,
        Rule::CompareAndSet,
        Rule::NoResume,
        Rule::OlderEpochRefused,
        Rule::CleanElection,
        Rule::UncleanLosesPlace,
        Rule::Truncation,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Rule::MaximalSet => "Without S3's maximal set: a master counts only the members it knows to be committed.",
            Rule::DisconnectedCount => "Without S3's \"connected or not\": a master counts only members it hears.",
            Rule::CompareAndSet => {
                "Without S3's compare-and-set: a master takes a silent member out of its set by itself."
            }
            Rule::NoResume => {
                "Without S2's new epoch after a restart: a master's process resumes where the one before was."
            }
            Rule::OlderEpochRefused => {
                "Without S2's refusal of older epochs: a slave goes on copying from, and answering, the master it has \
                 promised to leave."
            }
            Rule::CleanElection => "Without S7: any live replica may be elected.",
            Rule::UncleanLosesPlace => {
                "Without S7's unclean restart: a replica that lost its unflushed tail keeps its place in the set."
            }
            Rule::Truncation => "Without S9: a slave keeps its own tail and copies only what comes after it.",
        }
    }

    pub fn file(self) -> &'static str {
        match self {
            Rule::MaximalSet => "s3_maximal_set",
            Rule::DisconnectedCount => "s3_disconnected_members_count",
            Rule::CompareAndSet => "s3_compare_and_set",
            Rule::NoResume => "s2_no_resume",
            Rule::OlderEpochRefused => "s2_older_epoch_refused",
            Rule::CleanElection => "s7_clean_election",
            Rule::UncleanLosesPlace => "s7_unclean_loses_place",
            Rule::Truncation => "s9_truncation",
        }
    }

    /// The `minInSyncReplicas` under which its loss shows.
    pub fn min_in_sync(self) -> usize {
        match self {
            Rule::UncleanLosesPlace | Rule::NoResume => 2,
            _ => 1,
        }
    }
}
