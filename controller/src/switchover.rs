//! Moves a live master's mastership to another member, drained first (S10).
//!
//! ```text
//! leader ──hold writes──▶ master: appends wait, the target gets the whole log ──▶ its end
//!        ──Elect(Designated, expect this master at this epoch)──▶ Raft ──▶ notifications as after any election
//! ```
//! Whatever fails before the election leaves the master as it was. If this leader dies in between, the master goes on
//! by its own clock, and acknowledges nothing meanwhile that the target does not have.

use crate::metrics::Metrics;
use crate::raft::{Raft, RaftError};
use crate::replicas::{
    Asked, BrokerSet, Cause, Command as Change, Elect, ElectMode, NoSuccessor, Note, Outcome, Refusal, SetSummary,
    Successor, UncleanElection,
};
use crate::watch::Watch;
use node::clock::wall_ms;
use node::remoting::Client;
use proto::code::{request, response};
use proto::header::{HoldWritesRequest, HoldWritesResponse, ReleaseWritesRequest};
use proto::{BrokerId, Command, Offset};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a target may take to get what it lacks. Clients' sends wait meanwhile.
const DRAIN_MS: i64 = 1_000;
/// How long the master waits for the election afterwards: a commit takes milliseconds.
const HOLD_MS: i64 = 1_000;
/// An answer that is this much later than the drain's limit is lost.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Who wants it; stands in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// An operator, or a master that is about to stop.
    Asked,
    /// The target is the preferred replica (`enablePreferredMaster`).
    Preferred,
}

/// What a switchover came to.
pub(crate) struct Switched {
    pub(crate) plan: Successor,
    pub(crate) summary: SetSummary,
    pub(crate) end: Offset,
    pub(crate) drained_in: Duration,
    pub(crate) elected_in: Duration,
}

/// Why mastership stays where it is, or, after a [`RaftError`], may have moved all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error(transparent)]
    NoSuccessor(#[from] NoSuccessor),
    #[error(transparent)]
    Raft(#[from] RaftError),
    #[error("nothing was changed: {0}")]
    Refused(Refusal),
    #[error("{0}")]
    Failed(String),
}

#[derive(Clone)]
pub(crate) struct Switchover {
    pub(crate) raft: Raft,
    pub(crate) watch: Watch,
    /// For requests to brokers.
    pub(crate) client: Client,
    pub(crate) metrics: Arc<Metrics>,
}

impl Switchover {
    pub(crate) async fn plan(&self, set: &BrokerSet, wanted: Option<BrokerId>) -> Result<Successor, NoSuccessor> {
        let name = set.name.clone();
        let alive = self.watch.look(move |now, it| it.liveness.candidates(now, &name)).await.unwrap_or_default();
        set.successor(&alive, wanted)
    }

    pub(crate) async fn run(
        &self,
        set: &BrokerSet,
        wanted: Option<BrokerId>,
        reason: Reason,
    ) -> Result<Switched, SwitchError> {
        let plan = match self.plan(set, wanted).await {
            Ok(plan) => plan,
            Err(why) => {
                self.note(&set.name, why.to_string()).await;
                return Err(why.into());
            }
        };
        // A task of its own ends what it has begun, also when nobody waits for it any more.
        let (it, set) = (self.clone(), set.clone());
        let work = tokio::spawn(async move { it.without_lease(&set, plan, reason).await });
        work.await.unwrap_or_else(|e| Err(SwitchError::Failed(format!("the switchover ended early: {e}"))))
    }

    /// The election does not wait for the master's lease to end. So this leader grants it none from before the drain
    /// until it is known what became of the election; the master itself distrusts what it was granted before. However
    /// long a process is stopped in between, an old lease never acknowledges anything that the target lacks.
    async fn without_lease(&self, set: &BrokerSet, plan: Successor, reason: Reason) -> Result<Switched, SwitchError> {
        self.watch.switching(&set.name).await;
        let done = self.change(set, plan, reason).await;
        if let Err(SwitchError::Failed(why)) = &done {
            self.note(&set.name, why.clone()).await;
        }
        let in_doubt = matches!(done, Err(SwitchError::Raft(RaftError::Timeout)));
        let (it, name) = (self.clone(), set.name.clone());
        // Whoever asked for the change does not wait for that.
        tokio::spawn(async move { it.watch.settle(&it.raft, &name, in_doubt).await });
        done
    }

    /// For who asks later why nothing happened.
    async fn note(&self, broker_set: &str, why: String) {
        let note = Note { broker_set: broker_set.to_owned(), asked: Asked::Switchover, why, at_ms: wall_ms() };
        if let Err(e) = self.raft.propose(Change::Note(note)).await {
            info!(broker_set, %e, "a refused switchover is not in the history");
        }
    }

    /// Drain, then elect.
    async fn change(&self, set: &BrokerSet, plan: Successor, reason: Reason) -> Result<Switched, SwitchError> {
        let begun = Instant::now();
        let term = self.raft.leadership().borrow().term;
        let end = self.hold_writes(set, &plan).await?;
        let drained_in = begun.elapsed();
        let same_term = self.raft.leadership().borrow().term == term;
        let elected = match same_term {
            true => self.elect_designated(set, &plan, end, reason).await,
            // Another leader may have granted leases meanwhile.
            false => Err(SwitchError::Failed("nothing was changed: this controller lost its leadership".into())),
        };
        let elected_in = begun.elapsed() - drained_in;
        match elected {
            Ok(summary) => {
                let (broker_set, epoch) = (&set.name, summary.master_epoch);
                info!(
                    broker_set,
                    from = plan.from,
                    to = plan.to,
                    epoch,
                    end,
                    ?reason,
                    ?drained_in,
                    ?elected_in,
                    "switched over"
                );
                Ok(Switched { plan, summary, end, drained_in, elected_in })
            }
            Err(why) => {
                // An election whose outcome is unknown may still happen: then the master's own clock decides.
                if !matches!(why, SwitchError::Raft(_)) {
                    self.release_writes(set, plan.from).await;
                }
                Err(why)
            }
        }
    }

    /// Ends when the target has the master's whole log and the master appends no more, or with the reason why not.
    async fn hold_writes(&self, set: &BrokerSet, plan: &Successor) -> Result<Offset, SwitchError> {
        let header = HoldWritesRequest {
            broker_name: set.name.clone(),
            master_epoch: set.master_epoch,
            target_broker_id: plan.to,
            drain_mills: DRAIN_MS,
            hold_mills: HOLD_MS,
        };
        let address = set.replicas.get(&plan.from).map(|it| it.address.as_str()).unwrap_or_default();
        let limit = Duration::from_millis(DRAIN_MS as u64) + ANSWER_MARGIN;
        let request = Command::request(request::BATON_HOLD_WRITES).with_header(&header);
        let failed = |text: String| SwitchError::Failed(format!("nothing was changed: the master {text}"));
        let answer = self.client.call(address, request, limit).await;
        let answer = answer.map_err(|e| failed(format!("did not answer: {e}")))?;
        if answer.code != response::SUCCESS {
            let why = answer.remark.unwrap_or_default();
            return Err(failed(format!("at {address} did not drain: {why}")));
        }
        let drained = answer.header::<HoldWritesResponse>();
        Ok(drained.map_err(|e| failed(format!("at {address} answered: {e}")))?.end_offset)
    }

    async fn release_writes(&self, set: &BrokerSet, master: BrokerId) {
        let header = ReleaseWritesRequest { broker_name: set.name.clone(), master_epoch: set.master_epoch };
        let address = set.replicas.get(&master).map(|it| it.address.as_str()).unwrap_or_default();
        let request = Command::request(request::BATON_RELEASE_WRITES).with_header(&header);
        if let Err(e) = self.client.call(address, request, ANSWER_MARGIN).await {
            warn!(broker_set = set.name, %e, "the master was not told to go on; it does by itself within {HOLD_MS} ms");
        }
    }

    async fn elect_designated(
        &self,
        set: &BrokerSet,
        plan: &Successor,
        drained_to: Offset,
        reason: Reason,
    ) -> Result<SetSummary, SwitchError> {
        let name = set.name.clone();
        let alive = self.watch.look(move |now, it| it.liveness.candidates(now, &name)).await.unwrap_or_default();
        let at_ms = wall_ms();
        let elect = Elect {
            broker_set: set.name.clone(),
            requester: Some(plan.to),
            mode: ElectMode::Designated,
            alive,
            // The target is a member of the set or is not elected.
            unclean: UncleanElection::Forbidden,
            expect: Some((Some(plan.from), set.master_epoch)),
            cause: match reason {
                Reason::Asked => Cause::Switchover { drained_to },
                Reason::Preferred => Cause::Preferred { drained_to },
            },
            detected_ms: at_ms,
            at_ms,
        };
        let outcome = self.raft.propose(Change::Elect(elect)).await?;
        self.metrics.elected(&set.name, &outcome);
        match outcome {
            Outcome::Elected(summary, _) => Ok(summary),
            Outcome::Refused(why) => Err(SwitchError::Refused(why)),
            Outcome::Unchanged | Outcome::MasterStillAlive(_) => Err(SwitchError::Failed(format!(
                "the master of {} has changed meanwhile; look and try again",
                set.name
            ))),
            other => Err(SwitchError::Failed(format!("unexpected outcome {other:?}"))),
        }
    }
}
