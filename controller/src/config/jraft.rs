//! The group as a file of RocketMQ's JRaft controller names it: two lists that belong together by position.
//!
//! JRaft speaks its own protocol on the ports of `jRaftInitConf` and serves brokers on those of
//! `jRaftControllerRPCAddr`. Here one port does both, the one that brokers know; the other one stays unused and its
//! address is the member's name.

use super::{Config, ConfigError};
use std::collections::BTreeMap;

/// Name → address of all members, and the name of this one.
pub(super) fn members(config: &Config) -> Result<(BTreeMap<String, String>, &str), ConfigError> {
    let names = list("jRaftInitConf", &config.j_raft_init_conf)?;
    let addresses = list("jRaftControllerRPCAddr", &config.j_raft_controller_rpc_addr)?;
    if names.len() != addresses.len() {
        return Err(ConfigError::JRaftLists { raft: names.len(), rpc: addresses.len() });
    }
    let own = config.j_raft_server_id.trim();
    if !names.contains(&own) {
        return Err(ConfigError::JRaftServerUnknown { server_id: own.to_owned(), known: names.join(", ") });
    }
    if let Some(it) = repeated(&names) {
        return Err(ConfigError::DuplicateJRaftPeer(it.to_owned()));
    }
    if let Some(it) = repeated(&addresses) {
        return Err(ConfigError::DuplicateJRaftAddress(it.to_owned()));
    }
    let owned = |it: Vec<&str>| it.into_iter().map(str::to_owned).collect::<Vec<_>>();
    Ok((owned(names).into_iter().zip(owned(addresses)).collect(), own))
}

fn list<'a>(key: &'static str, text: &'a str) -> Result<Vec<&'a str>, ConfigError> {
    let peers = text.split(',').map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>();
    match peers.iter().find(|it| !is_host_port(it)) {
        Some(bad) => Err(ConfigError::BadJRaftPeer { key, value: (*bad).to_owned() }),
        None => Ok(peers),
    }
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|it| it != 0)
}

fn repeated<'a>(list: &[&'a str]) -> Option<&'a str> {
    list.iter().enumerate().find(|(at, it)| list[..*at].contains(it)).map(|(_, it)| *it)
}
