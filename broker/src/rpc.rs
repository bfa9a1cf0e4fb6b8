//! Requests on the broker's port: each code to its family. A handler decodes, does one thing, encodes.
//!
//! Handlers run in order of arrival on their connection and must not block; what waits for disks, replicas or time
//! goes into [`Reply::Later`].

mod clients;
mod groups;
mod ha;
mod locks;
mod offsets;
mod pull;
mod queues;
mod runtime;
mod send;
mod send_back;
mod slave_sync;
mod topics;

use crate::broker::{Broker, ChangeError};
use crate::forward::{self, Origin, Road, Turn};
use crate::members::NotSettled;
use crate::meta::Change;
use crate::metadata::MetadataError;
use node::access::Access;
use node::remoting::{Connection, Handler, Reply};
use proto::Command;
use proto::code::{request, response};
use proto::header::{Header, MSG_REGION, TRACE_ON};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Instant;

/// The broker as the listener sees it.
pub struct Rpc {
    pub broker: Arc<Broker>,
    /// What controllers and slaves have to sign with, if they have to.
    pub access: Access,
}

impl Handler for Rpc {
    fn handle(&self, connection: &Arc<Connection>, command: Command) -> Reply {
        let (code, began) = (command.code, Instant::now());
        match self.answer(connection, command) {
            Reply::Now(answer) => {
                self.broker.metrics.answered(code, answer.code, began.elapsed());
                Reply::Now(answer)
            }
            Reply::Later(answer) => {
                let broker = self.broker.clone();
                Reply::Later(Box::pin(async move {
                    let answer = answer.await;
                    broker.metrics.answered(code, answer.code, began.elapsed());
                    answer
                }))
            }
            Reply::None => Reply::None,
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.broker.connection_closed(connection.id);
    }
}

/// What only controllers and slaves of this set ask: who could send it could make this broker a slave, stop its writes
/// or copy its topics and groups.
fn is_for_replicas(code: i32) -> bool {
    matches!(
        code,
        request::NOTIFY_BROKER_ROLE_CHANGED
            | request::BATON_METADATA_SYNC
            | request::BATON_HOLD_WRITES
            | request::BATON_RELEASE_WRITES
    )
}

impl Rpc {
    fn answer(&self, connection: &Arc<Connection>, command: Command) -> Reply {
        if is_for_replicas(command.code)
            && let Some(refusal) = self.access.refuse(connection.peer, &command)
        {
            return Reply::Now(refusal);
        }
        match forward::road(&self.broker, connection, &command) {
            Ok(Road::Here) => self.dispatch(connection, command, None),
            Ok(Road::Elsewhere(nature)) => match Origin::new(&self.broker, connection, command, None) {
                Ok(origin) => forward::enter(&self.broker, origin, nature),
                Err(refused) => Reply::Now(refused),
            },
            Err(refused) => Reply::Now(refused),
        }
    }

    /// By this replica, whatever it is.
    pub(crate) fn dispatch(&self, connection: &Arc<Connection>, command: Command, turn: Option<Turn>) -> Reply {
        let broker = &self.broker;
        match command.code {
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                send::send(broker, connection, command, turn)
            }
            request::CONSUMER_SEND_MSG_BACK => send_back::send_back(broker, &command),
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => pull::pull(broker, command),
            request::BATON_HOLD_WRITES => ha::hold_writes(broker, &command),
            request::BATON_RELEASE_WRITES => ha::release_writes(broker, &command),
            request::BATON_METADATA_SYNC => slave_sync::baton(broker, &command),
            request::HEART_BEAT => clients::heartbeat(broker, connection, &command),
            request::UPDATE_AND_CREATE_TOPIC => topics::put(broker, &command),
            request::UPDATE_AND_CREATE_TOPIC_LIST => topics::put_list(broker, &command),
            request::DELETE_TOPIC_IN_BROKER => topics::delete(broker, &command),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => groups::put(broker, &command),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => groups::put_list(broker, &command),
            request::DELETE_SUBSCRIPTIONGROUP => groups::delete(broker, &command),
            _ => Reply::Now(self.at_once(connection, &command).unwrap_or_else(|refused| refused)),
        }
    }

    /// Requests that neither change settings nor wait for anything.
    fn at_once(&self, connection: &Arc<Connection>, command: &Command) -> Answer {
        let broker = &self.broker;
        match command.code {
            request::QUERY_CONSUMER_OFFSET => offsets::query(broker, command),
            request::UPDATE_CONSUMER_OFFSET => offsets::update(broker, command),
            request::GET_MAX_OFFSET => queues::max_offset(broker, command),
            request::GET_MIN_OFFSET => queues::min_offset(broker, command),
            request::SEARCH_OFFSET_BY_TIMESTAMP => queues::offset_by_time(broker, command),
            request::GET_EARLIEST_MSG_STORETIME => queues::earliest_time(broker, command),
            request::VIEW_MESSAGE_BY_ID => queues::message_by_id(broker, command),
            request::UNREGISTER_CLIENT => clients::unregister(broker, connection, command),
            request::CHECK_CLIENT_CONFIG => clients::check_config(command),
            request::GET_CONSUMER_LIST_BY_GROUP => clients::consumer_list(broker, command),
            request::GET_CONSUMER_CONNECTION_LIST => clients::consumer_connections(broker, command),
            request::GET_PRODUCER_CONNECTION_LIST => clients::producer_connections(broker, command),
            request::LOCK_BATCH_MQ => locks::lock(broker, command),
            request::UNLOCK_BATCH_MQ => locks::unlock(broker, command),
            request::GET_TOPIC_CONFIG => topics::get(broker, command),
            request::GET_ALL_TOPIC_CONFIG => topics::all(broker, command),
            request::GET_TOPIC_STATS_INFO => topics::stats(broker, command),
            request::QUERY_TOPIC_CONSUME_BY_WHO => topics::consumed_by(broker, command),
            request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => topics::system(broker),
            request::GET_SUBSCRIPTIONGROUP_CONFIG => groups::get(broker, command),
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => groups::all(broker, command),
            request::GET_CONSUME_STATS => groups::stats(broker, command),
            request::QUERY_TOPICS_BY_CONSUMER => groups::topics(broker, command),
            request::GET_BROKER_RUNTIME_INFO => runtime::info(broker),
            request::GET_BROKER_CONFIG => runtime::config(broker),
            request::GET_BROKER_EPOCH_CACHE => ha::epochs(broker),
            request::GET_BROKER_HA_STATUS => ha::status(broker),
            request::EXCHANGE_BROKER_HA_INFO => ha::exchange(broker, command),
            request::NOTIFY_BROKER_ROLE_CHANGED => ha::role_changed(broker, command),
            request::GET_ALL_CONSUMER_OFFSET => slave_sync::consumer_offsets(broker),
            request::GET_ALL_DELAY_OFFSET => slave_sync::delay_offsets(broker),
            request::GET_ALL_MESSAGE_REQUEST_MODE => slave_sync::request_modes(),
            request::GET_TIMER_METRICS => slave_sync::timer_metrics(),
            request::GET_TIMER_CHECK_POINT => slave_sync::timer_check_point(),
            other => Err(Command::error(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {other} not supported"),
            )),
        }
    }
}

/// An answer, or a refusal that is one too: `?` ends a handler early.
type Answer = Result<Command, Command>;

pub(crate) fn refuse(code: i32, remark: impl Into<String>) -> Command {
    Command::error(code, remark)
}

/// A header that cannot be read is answered as Java answers the exception it throws.
fn header<H: Header>(command: &Command) -> Result<H, Command> {
    command.header().map_err(|error| refuse(response::SYSTEM_ERROR, error.to_string()))
}

fn body<T: DeserializeOwned>(command: &Command) -> Result<T, Command> {
    let what = "the request's body cannot be read";
    proto::json::from_slice(&command.body).map_err(|error| refuse(response::SYSTEM_ERROR, format!("{what}: {error}")))
}

/// Clients read these two fields of every answer to a send, and fail without them.
pub(crate) fn marked(broker: &Broker, answer: Command) -> Command {
    answer.with_ext(MSG_REGION, &broker.config.region_id).with_ext(TRACE_ON, broker.config.trace_on)
}

fn success() -> Command {
    Command::response(response::SUCCESS)
}

fn json(value: &impl Serialize) -> Command {
    success().with_body(proto::json::to_vec(value))
}

fn topic_missing(topic: &str) -> Command {
    let see = "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
    refuse(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist, apply first please!\n{see}"))
}

fn group_missing(group: &str) -> Command {
    refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("subscription group [{group}] does not exist"))
}

fn not_master(broker: &Broker) -> Command {
    let role = broker.role.borrow();
    let master = match &role.role {
        ::ha::Role::Slave { master } => format!("; the master is {} at {}", master.id, master.address),
        _ => String::new(),
    };
    refuse(
        response::SERVICE_NOT_AVAILABLE,
        format!("service not available now: this replica is not the master{master}"),
    )
}

impl From<ChangeError> for Command {
    fn from(error: ChangeError) -> Command {
        let code = match &error {
            ChangeError::Metadata(MetadataError::NotMaster | MetadataError::Stopped)
            | ChangeError::NotSettled(NotSettled::Deposed) => response::SERVICE_NOT_AVAILABLE,
            ChangeError::Metadata(MetadataError::NotWritten(_))
            | ChangeError::NotSettled(NotSettled::Lacking(_) | NotSettled::TooFew(_))
            | ChangeError::TooFew(_) => response::SYSTEM_ERROR,
        };
        refuse(code, error.to_string())
    }
}

/// Changes settings, waits for the slaves, answers `then`.
fn after(broker: &Arc<Broker>, changes: Vec<Change>, then: Command) -> Reply {
    let broker = broker.clone();
    Reply::Later(Box::pin(async move {
        match broker.change(changes).await {
            Ok(_) => then,
            Err(error) => error.into(),
        }
    }))
}

#[cfg(test)]
mod tests;
