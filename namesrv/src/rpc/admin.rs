//! What operators ask and order about brokers and topics (106, 205, 327, 206, 224, 304, 311–313, 216).

use super::{Nameserver, Result, success};
use crate::route::{Aliases, UnitTopics};
use proto::Command;
use proto::alias::WITH_ALIASES;
use proto::body::TopicList;
use proto::code::{request, response};
use proto::header::{
    AddWritePermOfBrokerResponse, DeleteTopicInNamesrvRequest, GetTopicsByClusterRequest,
    WipeWritePermOfBrokerResponse, WritePermOfBrokerRequest,
};
use tracing::info;

impl Nameserver {
    pub(super) fn cluster_info(&self, request: &Command) -> Command {
        let asked = request.ext.get(WITH_ALIASES).is_some_and(|it| it == "true");
        let aliases = if asked { Aliases::Shown } else { Aliases::Hidden };
        success().with_body(proto::json::to_vec(&self.table.cluster_info(aliases)))
    }

    pub(super) fn wipe_write_permission(&mut self, request: &Command) -> Result {
        let header: WritePermOfBrokerRequest = request.header()?;
        let wipe_topic_count = self.table.wipe_write_permission(&header.broker_name);
        info!(broker_set = header.broker_name, topics = wipe_topic_count, "write permission wiped");
        Ok(success().with_header(&WipeWritePermOfBrokerResponse { wipe_topic_count }))
    }

    pub(super) fn add_write_permission(&mut self, request: &Command) -> Result {
        let header: WritePermOfBrokerRequest = request.header()?;
        let add_topic_count = self.table.add_write_permission(&header.broker_name);
        info!(broker_set = header.broker_name, topics = add_topic_count, "write permission added");
        Ok(success().with_header(&AddWritePermOfBrokerResponse { add_topic_count }))
    }

    pub(super) fn all_topics(&self) -> Command {
        match self.config.enable_all_topic_list {
            true => topic_list(self.table.topics(), None),
            false => disabled(),
        }
    }

    pub(super) fn topics_by_cluster(&self, request: &Command) -> Result {
        let header: GetTopicsByClusterRequest = request.header()?;
        Ok(match self.config.enable_topic_list {
            true => topic_list(self.table.topics_of_cluster(&header.cluster), None),
            false => disabled(),
        })
    }

    pub(super) fn system_topics(&self) -> Command {
        let (topics, broker_addr) = self.table.system_topics();
        topic_list(topics, broker_addr)
    }

    pub(super) fn unit_topics(&self, request: &Command) -> Command {
        if !self.config.enable_topic_list {
            return disabled();
        }
        let which = match request.code {
            request::GET_UNIT_TOPIC_LIST => UnitTopics::Unit,
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => UnitTopics::UnitSub,
            _ => UnitTopics::UnitSubButNotUnit,
        };
        topic_list(self.table.unit_topics(which), None)
    }

    pub(super) fn delete_topic(&mut self, request: &Command) -> Result {
        let header: DeleteTopicInNamesrvRequest = request.header()?;
        self.table.delete_topic(&header.topic, header.cluster_name.as_deref().filter(|it| !it.is_empty()));
        info!(topic = header.topic, cluster = header.cluster_name, "topic deleted from routes");
        Ok(success())
    }
}

fn topic_list(topics: Vec<String>, broker_addr: Option<String>) -> Command {
    success().with_body(proto::json::to_vec(&TopicList { topic_list: topics, broker_addr }))
}

fn disabled() -> Command {
    Command::error(response::SYSTEM_ERROR, "disable")
}
