//! Calls for planned changes, to the controller leader (31004–31006; Baton's controllers only).

use super::{Admin, Result};
use proto::Command;
use proto::code::request;
use proto::header::{DrainRequest, Header, PauseRequest, SwitchoverRequest, SwitchoverResponse};

impl Admin {
    /// 31004: moves mastership to another member of the SyncStateSet, or says what would be done.
    pub async fn switchover(&self, leader: &str, what: &SwitchoverRequest) -> Result<SwitchoverResponse> {
        self.header(leader, Command::request(request::BATON_SWITCHOVER).with_header(what)).await
    }

    /// 31005: keeps mastership away from replicas, or allows it again; a line for each.
    pub async fn drain(&self, leader: &str, what: &DrainRequest) -> Result<String> {
        self.text(leader, request::BATON_DRAIN, what).await
    }

    /// 31006: stops automatic elections, or lets them go on; a line for each broker set.
    pub async fn pause_elections(&self, leader: &str, what: &PauseRequest) -> Result<String> {
        self.text(leader, request::BATON_PAUSE, what).await
    }

    async fn text(&self, leader: &str, code: i32, what: &impl Header) -> Result<String> {
        let answer = self.succeed(leader, Command::request(code).with_header(what)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}
