//! RocketMQ's controller requests: decode, one call, encode. Texts and codes are RocketMQ's.
//!
//! Only the leader answers what concerns broker sets; every controller takes heartbeats (its table stays warm) and says
//! who leads.

pub(crate) use access::Access;
pub(crate) use admin::black_list;
mod access;
mod admin;
mod broker;
mod election;
mod members;
mod memory;
mod planned;
mod query;

use crate::config::{Config, Peers};
use crate::metrics::{Metrics, common_labels};
use crate::raft::{Raft, RaftError};
use crate::replicas::{Command as Change, Outcome, Refusal, SetSummary};
use crate::switchover::Switchover;
use crate::watch::Watch;
use arc_swap::ArcSwap;
use node::remoting::{Connection, Handler, Reply};
use proto::Command;
use proto::body::SyncStateSet;
use proto::code::{request, response};
use proto::header::{Header, HeaderError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What every request may need.
pub(crate) struct Service {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) peers: Peers,
    pub(crate) raft: Raft,
    pub(crate) watch: Watch,
    /// Planned changes (S10).
    pub(crate) switchover: Switchover,
    pub(crate) metrics: Arc<Metrics>,
    /// Where this controller listens.
    pub(crate) local: SocketAddr,
    /// Keys that 1009 may not touch, as they were at start.
    pub(crate) black_list: Vec<String>,
    pub(crate) access: Access,
}

pub(crate) struct Rpc(pub(crate) Arc<Service>);

impl Handler for Rpc {
    fn handle(&self, connection: &Arc<Connection>, request: Command) -> Reply {
        let (service, peer, connection) = (self.0.clone(), connection.peer, connection.id);
        let (code, began, metrics) = (request.code, Instant::now(), service.metrics.clone());
        if let Some(refusal) = service.access.refuse(peer, &request) {
            return counted(metrics, code, began, Reply::Now(refusal));
        }
        if let Some(refusal) = unfit(&request) {
            return counted(metrics, code, began, Reply::Now(refusal));
        }
        if code == request::BROKER_HEARTBEAT {
            return counted(metrics, code, began, broker::heartbeat(service, connection, &request));
        }
        Reply::Later(Box::pin(async move {
            let answered = service.answer(request).await;
            let status = answered.as_ref().map_or_else(Failure::status, status);
            metrics.answered(code, status, began.elapsed());
            answered.unwrap_or_else(Failure::answer)
        }))
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.0.watch.closed(connection.id);
    }
}

/// Nothing that brokers and tools send in a header is longer; whatever is kept stays in every controller's memory.
const LONGEST_FIELD: usize = 4_096;

/// Names and addresses end up in logs, files and on screens.
fn unfit(it: &Command) -> Option<Command> {
    let unfit = |value: &String| value.len() > LONGEST_FIELD || value.chars().any(char::is_control);
    let (field, value) = it.ext.iter().find(|it| unfit(it.1))?;
    let field = field.chars().filter(|it| !it.is_control()).take(64).collect::<String>();
    let text = match value.len() {
        length if length > LONGEST_FIELD => {
            format!("field `{field}` has {length} bytes: want at most {LONGEST_FIELD}")
        }
        _ => format!("field `{field}` has an unprintable character"),
    };
    Some(Command::error(response::CONTROLLER_INVALID_REQUEST, text))
}

/// "success" is RocketMQ's word for answered, with whatever code; "failed" for what the controller itself could not do.
fn status(answer: &Command) -> &'static str {
    if answer.code == response::SYSTEM_ERROR { "failed" } else { "success" }
}

fn counted(metrics: Arc<Metrics>, code: i32, began: Instant, reply: Reply) -> Reply {
    match reply {
        Reply::Later(answer) => Reply::Later(Box::pin(async move {
            let answer = answer.await;
            metrics.answered(code, status(&answer), began.elapsed());
            answer
        })),
        Reply::Now(answer) => {
            metrics.answered(code, status(&answer), began.elapsed());
            Reply::Now(answer)
        }
        Reply::None => {
            metrics.answered(code, "success", began.elapsed());
            Reply::None
        }
    }
}

impl Service {
    pub(crate) fn labels(&self) -> [(&'static str, String); 3] {
        let peer = self.peers.name(self.peers.self_id).unwrap_or_default().to_owned();
        common_labels(self.local.to_string(), self.config.load().group().to_owned(), peer)
    }

    async fn answer(&self, it: Command) -> Result<Command, Failure> {
        match it.code {
            request::CONTROLLER_ALTER_SYNC_STATE_SET => self.alter_sync_state_set(&it).await,
            request::CONTROLLER_ELECT_MASTER => self.elect_master(&it).await,
            request::CONTROLLER_REGISTER_BROKER => self.register(&it).await,
            request::CONTROLLER_GET_REPLICA_INFO => self.replica_info(&it).await,
            request::CONTROLLER_GET_METADATA_INFO => Ok(self.metadata()),
            request::CONTROLLER_GET_SYNC_STATE_DATA => self.sync_state_data(&it).await,
            request::CLEAN_BROKER_DATA => self.clean_broker_data(&it).await,
            request::CONTROLLER_GET_NEXT_BROKER_ID => self.next_broker_id(&it).await,
            request::CONTROLLER_APPLY_BROKER_ID => self.apply_broker_id(&it).await,
            request::UPDATE_CONTROLLER_CONFIG => self.update_config(&it).await,
            request::GET_CONTROLLER_CONFIG => Ok(self.get_config()),
            request::BATON_HISTORY => self.history(&it).await,
            request::BATON_EXPLAIN => self.explain(&it).await,
            request::BATON_WITNESS => self.witness(&it).await,
            request::BATON_CONTROLLERS => self.controllers(&it).await,
            request::BATON_SWITCHOVER => self.switchover(&it).await,
            request::BATON_DRAIN => self.drain(&it).await,
            request::BATON_PAUSE => self.pause(&it).await,
            code => {
                Ok(Command::error(response::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {code} not supported")))
            }
        }
    }

    async fn propose(&self, change: Change) -> Result<Outcome, Failure> {
        self.lead()?;
        let elects = matches!(&change, Change::Elect(_)).then(|| change.broker_set().to_owned());
        let outcome = self.raft.propose(change).await?;
        if let Some(broker_set) = elects {
            self.metrics.elected(&broker_set, &outcome);
        }
        Ok(outcome)
    }

    fn lead(&self) -> Result<(), Failure> {
        if self.raft.is_leading() { Ok(()) } else { Err(RaftError::NotLeader.into()) }
    }
}

/// Why a request was not even tried.
enum Failure {
    Raft(RaftError),
    Header(HeaderError),
    Text(i32, String),
}

impl Failure {
    /// As RocketMQ counts it.
    fn status(&self) -> &'static str {
        match self {
            Failure::Raft(RaftError::Timeout) => "timeout",
            Failure::Raft(RaftError::NotLeader) => "success",
            Failure::Text(code, _) if *code != response::SYSTEM_ERROR => "success",
            Failure::Raft(_) | Failure::Header(_) | Failure::Text(..) => "failed",
        }
    }

    fn answer(self) -> Command {
        match self {
            Failure::Raft(RaftError::NotLeader) => {
                Command::error(response::CONTROLLER_NOT_LEADER, RaftError::NotLeader.to_string())
            }
            Failure::Raft(why) => Command::error(response::SYSTEM_ERROR, why.to_string()),
            Failure::Header(why) => Command::error(response::SYSTEM_ERROR, why.to_string()),
            Failure::Text(code, text) => Command::error(code, text),
        }
    }
}

impl From<RaftError> for Failure {
    fn from(it: RaftError) -> Self {
        Failure::Raft(it)
    }
}

impl From<HeaderError> for Failure {
    fn from(it: HeaderError) -> Self {
        Failure::Header(it)
    }
}

/// The code that RocketMQ answers for a refusal.
fn code_of(why: &Refusal) -> i32 {
    use Refusal::*;
    match why {
        FirstIdIsOne { .. } | IdTaken { .. } | IdInUse { .. } => response::CONTROLLER_BROKER_ID_INVALID,
        SetNotRegistered(_) | IdNotRegistered { .. } | ElectUnknownSet => {
            response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED
        }
        NobodyElectable => response::CONTROLLER_MASTER_NOT_AVAILABLE,
        ElectFailed | ElectionsPaused { .. } => response::CONTROLLER_ELECT_MASTER_FAILED,
        DrainBelowMinimum { .. } => response::SYSTEM_ERROR,
        AlterUnknownSet | AlterEqual | AlterWithoutMaster(_) => response::CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
        AlterOtherMaster { .. } => response::CONTROLLER_INVALID_MASTER,
        AlterOtherEpoch { .. } => response::CONTROLLER_FENCED_MASTER_EPOCH,
        AlterOtherSetEpoch { .. } => response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH,
        AlterUnknownReplica(_) => response::CONTROLLER_INVALID_REPLICAS,
        AlterDeadReplica(_) => response::CONTROLLER_BROKER_NOT_ALIVE,
        CleanHasMaster(_) | CleanLiveReplica { .. } | CleanUnknownSet(_) => {
            response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA
        }
    }
}

/// A refusal with the header that RocketMQ sends along even then.
fn refused(why: &Refusal, header: &impl Header) -> Command {
    Command::error(code_of(why), why.to_string()).with_header(header)
}

/// An outcome that the command cannot have; only a controller of another version could produce it.
fn unexpected(outcome: &Outcome) -> Failure {
    Failure::Text(response::SYSTEM_ERROR, format!("unexpected outcome {outcome:?}"))
}

fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

fn sync_state_set(it: &SetSummary) -> SyncStateSet {
    SyncStateSet { sync_state_set: it.sync_state_set.clone(), sync_state_set_epoch: it.sync_state_set_epoch }
}

#[cfg(test)]
mod tests;
