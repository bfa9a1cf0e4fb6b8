//! A client that stays with one broker's address and asks it again and again after it was killed.

use super::super::{quick_start::Ports, topic};
use super::PATIENCE;
use anyhow::bail;
use client::{Admin, AdminOptions};
use proto::Command;
use proto::code::{request, response};
use proto::header::pull_sys_flag;
use std::time::{Duration, Instant};

/// Not the load's topic, which is accounted for.
const TOPIC: &str = "figures-visitor";
const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Visitor {
    admin: Admin,
    address: String,
}

impl Visitor {
    /// Makes sure that what is going to be asked can be answered.
    pub(super) async fn new(ports: &Ports, address: &str) -> anyhow::Result<Visitor> {
        let options = AdminOptions { namesrv: vec![ports.namesrv_address()], timeout: PATIENCE, ..Default::default() };
        let admin = Admin::new(options);
        topic::ensure(&admin, TOPIC, 1).await?;
        let visitor = Visitor { admin, address: address.to_owned() };
        for request in [send(), pull()] {
            visitor.served(request, Instant::now()).await?; // the first pull makes the group
        }
        Ok(visitor)
    }

    /// How long after `since` a send was acknowledged here, and a message delivered.
    pub(super) async fn served_again(&self, since: Instant) -> anyhow::Result<(Duration, Duration)> {
        tokio::try_join!(self.served(send(), since), self.served(pull(), since))
    }

    async fn served(&self, request: Command, since: Instant) -> anyhow::Result<Duration> {
        let mut last = String::new();
        while since.elapsed() < PATIENCE {
            match self.admin.call(&self.address, request.clone()).await {
                Ok(answer) if answer.code == response::SUCCESS => return Ok(since.elapsed()),
                Ok(answer) => last = format!("code {}: {}", answer.code, answer.remark.unwrap_or_default()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("{}: request {} not served within {} s: {last}", self.address, request.code, PATIENCE.as_secs())
    }
}

fn pull() -> Command {
    let numbers = ["queueId", "queueOffset", "commitOffset", "suspendTimeoutMillis", "subVersion"];
    let pull = Command::request(request::PULL_MESSAGE)
        .with_ext("consumerGroup", "figures-visitor")
        .with_ext("topic", TOPIC)
        .with_ext("maxMsgNums", 1)
        .with_ext("sysFlag", pull_sys_flag::SUBSCRIPTION)
        .with_ext("subscription", "*")
        .with_ext("expressionType", "TAG");
    numbers.into_iter().fold(pull, |pull, name| pull.with_ext(name, 0))
}

fn send() -> Command {
    let born = node::clock::wall_ms();
    let fields = [("a", "mqbench"), ("b", TOPIC), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0"), ("h", "0")];
    let with = |request: Command, (key, value): (&str, &str)| request.with_ext(key, value);
    fields.into_iter().fold(Command::request(request::SEND_MESSAGE_V2).with_ext("g", born), with).with_body("visitor")
}
