//! Calls to controllers (1002, 1005, 1006, 1009–1011).

use super::{Admin, AdminError, Result, bad_header, parse};
use proto::Command;
use proto::body::{BrokerReplicasInfo, ElectMasterResponseBody, HistoryLine};
use proto::code::request;
use proto::header::{
    BatonControllersRequest, BatonExplainRequest, BatonHistoryRequest, CleanBrokerDataRequest, ElectMasterRequest,
    ElectMasterResponse, GetMetadataInfoResponse,
};

/// What an election decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elected {
    pub header: ElectMasterResponse,
    pub body: ElectMasterResponseBody,
}

impl Admin {
    /// 1005: what this controller knows of its group.
    pub async fn controller_metadata(&self, controller: &str) -> Result<GetMetadataInfoResponse> {
        self.header(controller, Command::request(request::CONTROLLER_GET_METADATA_INFO)).await
    }

    /// Address of the leader, from the first of these controllers that knows it (`a:1;b:1` or several elements).
    pub async fn controller_leader(&self, controllers: &str) -> Result<String> {
        let mut last = AdminError::NoLeader { addresses: controllers.to_owned() };
        for address in crate::nameservers(controllers) {
            match self.controller_metadata(&address).await {
                Ok(it) => match it.controller_leader_address.filter(|it| !it.is_empty()) {
                    Some(leader) => return Ok(leader),
                    None => last = AdminError::NoLeader { addresses: controllers.to_owned() },
                },
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// 1006, to the leader: replicas of these broker sets.
    pub async fn sync_state_data(&self, leader: &str, broker_names: &[String]) -> Result<BrokerReplicasInfo> {
        let body = proto::json::to_vec(&broker_names);
        self.body(leader, Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(body)).await
    }

    /// 1002, to the leader.
    pub async fn elect_master(&self, leader: &str, election: &ElectMasterRequest) -> Result<Elected> {
        let code = request::CONTROLLER_ELECT_MASTER;
        let answer = self.succeed(leader, Command::request(code).with_header(election)).await?;
        let header = answer.header().map_err(|e| bad_header(e, leader, code))?;
        let body = if answer.body.is_empty() { Default::default() } else { parse(&answer, leader, code)? };
        Ok(Elected { header, body })
    }

    /// 1011, to the leader.
    pub async fn clean_broker_data(&self, leader: &str, what: &CleanBrokerDataRequest) -> Result<()> {
        self.succeed(leader, Command::request(request::CLEAN_BROKER_DATA).with_header(what)).await.map(|_| ())
    }

    /// Baton's 31010, to the leader: the newest events of a set, oldest first.
    pub async fn history(&self, leader: &str, broker_name: &str, most: Option<i64>) -> Result<Vec<HistoryLine>> {
        let header = BatonHistoryRequest { broker_name: broker_name.to_owned(), most };
        self.body(leader, Command::request(request::BATON_HISTORY).with_header(&header)).await
    }

    /// Baton's 31011, to the leader: why a set is, or was at a moment, as it is.
    pub async fn explain(&self, leader: &str, broker_name: &str, at_mills: Option<i64>) -> Result<String> {
        let header = BatonExplainRequest { broker_name: broker_name.to_owned(), at_mills };
        let answer = self.succeed(leader, Command::request(request::BATON_EXPLAIN).with_header(&header)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// 31020: adds or removes a controller, or lets another one lead; a line for each controller.
    pub async fn change_controllers(&self, leader: &str, what: &BatonControllersRequest) -> Result<String> {
        let answer = self.succeed(leader, Command::request(request::BATON_CONTROLLERS).with_header(what)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// 1009: `key=value` lines, for this controller only.
    pub async fn update_controller_config(&self, controller: &str, properties: &str) -> Result<()> {
        let request = Command::request(request::UPDATE_CONTROLLER_CONFIG).with_body(properties.to_owned());
        self.succeed(controller, request).await.map(|_| ())
    }

    /// 1010: `key=value` lines.
    pub async fn controller_config(&self, controller: &str) -> Result<String> {
        let answer = self.succeed(controller, Command::request(request::GET_CONTROLLER_CONFIG)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}
