//! Requests to answers: decode, one call on the tables, encode. One family per file.
//!
//! Codes, remarks and leftovers are Java's, so that its brokers, clients and mqadmin cannot tell the difference.

mod admin;
mod broker;
mod kv;
mod route;
mod settings;

use crate::config::Config;
use crate::kv::KvConfig;
use crate::route::{ConnectionId, RouteTable, Rules};
use proto::code::{request, response};
use proto::header::HeaderError;
use proto::{Command, Millis};
use std::path::PathBuf;

/// Everything a nameserver knows.
#[derive(Debug, Default)]
pub(crate) struct Nameserver {
    pub(crate) config: Config,
    pub(crate) table: RouteTable,
    pub(crate) kv: KvConfig,
    /// When the process began to serve.
    pub(crate) started: Millis,
}

/// An answer and what must be done before it is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) command: Command,
    pub(crate) save: Option<Save>,
}

/// A small file to be written durably. If that fails, the answer becomes an error that says so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Save {
    pub(crate) path: PathBuf,
    pub(crate) text: Vec<u8>,
}

type Result<T = Command> = std::result::Result<T, HeaderError>;

impl From<Command> for Answer {
    fn from(command: Command) -> Answer {
        Answer { command, save: None }
    }
}

impl Nameserver {
    pub(crate) fn answer(&mut self, now: Millis, from: ConnectionId, request: &Command) -> Answer {
        // Java answers a missing field with code 1 and the text of a NullPointerException; ours says which field.
        self.dispatch(now, from, request)
            .unwrap_or_else(|e| Command::error(response::SYSTEM_ERROR, e.to_string()).into())
    }

    fn dispatch(&mut self, now: Millis, from: ConnectionId, it: &Command) -> Result<Answer> {
        use request::*;
        let command = match it.code {
            PUT_KV_CONFIG => return self.put_kv(it),
            DELETE_KV_CONFIG => return self.delete_kv(it),
            UPDATE_NAMESRV_CONFIG => return Ok(self.update_config(it)),
            GET_NAMESRV_CONFIG => self.get_config(),
            GET_KV_CONFIG => self.get_kv(it)?,
            GET_KVLIST_BY_NAMESPACE => self.list_kv(it)?,
            REGISTER_BROKER => self.register_broker(now, from, it),
            UNREGISTER_BROKER => self.unregister_broker(it)?,
            BROKER_HEARTBEAT => self.broker_heartbeat(now, it)?,
            QUERY_DATA_VERSION => self.query_data_version(now, it)?,
            GET_BROKER_MEMBER_GROUP => self.broker_member_group(it)?,
            REGISTER_TOPIC_IN_NAMESRV => self.register_topic(it)?,
            GET_ROUTEINFO_BY_TOPIC => self.route_info(now, it)?,
            GET_BROKER_CLUSTER_INFO => self.cluster_info(it),
            WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_permission(it)?,
            ADD_WRITE_PERM_OF_BROKER => self.add_write_permission(it)?,
            GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(),
            GET_TOPICS_BY_CLUSTER => self.topics_by_cluster(it)?,
            GET_SYSTEM_TOPIC_LIST_FROM_NS => self.system_topics(),
            GET_UNIT_TOPIC_LIST | GET_HAS_UNIT_SUB_TOPIC_LIST | GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.unit_topics(it)
            }
            DELETE_TOPIC_IN_NAMESRV => self.delete_topic(it)?,
            other => {
                Command::error(response::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {other} not supported"))
            }
        };
        Ok(command.into())
    }

    fn rules(&self) -> Rules {
        Rules {
            delete_topic_with_registration: self.config.delete_topic_with_broker_registration,
            support_acting_master: self.config.support_acting_master,
        }
    }
}

fn success() -> Command {
    Command::response(response::SUCCESS)
}

#[cfg(test)]
mod tests;
