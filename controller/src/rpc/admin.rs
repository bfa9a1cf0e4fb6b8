//! Operators' requests: cleaning (1011) and configuration (1009, 1010).

use super::{Failure, Service, code_of, unexpected};
use crate::config::Config;
use crate::replicas::{Clean, CleanLiving, Command as Change, Outcome};
use node::clock::wall_ms;
use proto::code::response;
use proto::header::CleanBrokerDataRequest;
use proto::{BrokerId, Command};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tracing::{info, warn};

/// Of the process itself: never changed from outside.
const ALWAYS_BLACK: [&str; 3] = ["configBlackList", "configStorePath", "rocketmqHome"];

/// The keys that 1009 refuses.
pub(crate) fn black_list(config: &Config) -> Vec<String> {
    let listed = config.config_black_list.split(';').map(|it| it.trim().to_owned());
    // Who may change what is not changed from outside either.
    let doors = [node::properties::print(&config.access), node::properties::print(&config.tls)].concat();
    let doors = doors.lines().filter_map(|it| it.split_once('=')).map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    let always = ALWAYS_BLACK.iter().map(|it| (*it).to_owned());
    always.chain(doors).chain(listed.filter(|it| !it.is_empty())).collect()
}

impl Service {
    pub(super) async fn clean_broker_data(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: CleanBrokerDataRequest = it.header()?;
        let living = if it.is_clean_living_broker.unwrap_or(false) { CleanLiving::Allow } else { CleanLiving::Refuse };
        let ids = it.broker_controller_ids_to_clean.as_deref().filter(|it| !it.trim().is_empty()).map(ids).transpose();
        let ids = ids.map_err(|e| {
            let text =
                format!("Please set the option <brokerControllerIdsToClean> according to the format, exception: {e}");
            Failure::Text(response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA, text)
        })?;
        let name = it.broker_name.clone();
        let alive = self.watch.look(move |now, it| it.liveness.heard(now, &name)).await.unwrap_or_default();
        let change = Clean { broker_set: it.broker_name, ids, living, alive, at_ms: wall_ms() };
        match self.propose(Change::Clean(change)).await? {
            Outcome::Cleaned => Ok(Command::response(response::SUCCESS)),
            Outcome::Refused(why) => Ok(Command::error(code_of(&why), why.to_string())),
            other => Err(unexpected(&other)),
        }
    }

    /// This controller's effective configuration, sorted.
    pub(super) fn get_config(&self) -> Command {
        Command::response(response::SUCCESS).with_body(sorted(&node::properties::print(&**self.config.load())))
    }

    /// Changes this controller only, as RocketMQ does; what is read at start takes effect with the next start.
    pub(super) async fn update_config(&self, it: &Command) -> Result<Command, Failure> {
        let refuse = |text: String| Failure::Text(response::SYSTEM_ERROR, text);
        let body = String::from_utf8(it.body.to_vec()).map_err(|e| refuse(format!("body of request 1009: {e}")))?;
        let lines = body.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
        let pairs = lines
            .filter_map(|it| it.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect::<Vec<_>>();
        if pairs.iter().any(|(key, _)| self.black_list.iter().any(|it| it == key)) {
            return Err(Failure::Text(response::NO_PERMISSION, "Can not update config in black list.".into()));
        }
        let changed = changed(&self.config.load(), &pairs).map_err(|e| refuse(e.to_string()))?;
        // With such a file the next start would fail.
        changed.peers().map_err(|e| refuse(e.to_string()))?;
        let (persisted, path) = (sorted(&node::properties::print_with_secrets(&changed)), changed.persist_path());
        self.config.store(Arc::new(changed));
        if let Some(path) = path {
            let written =
                tokio::task::spawn_blocking(move || persist(&path, &persisted)).await.map_err(std::io::Error::other);
            written
                .and_then(|it| it)
                .map_err(|e| refuse(format!("changed, but not written to configStorePath: {e}")))?;
        }
        Ok(Command::response(response::SUCCESS))
    }
}

fn ids(text: &str) -> Result<BTreeSet<BrokerId>, std::num::ParseIntError> {
    text.split(';').map(str::trim).filter(|it| !it.is_empty()).map(str::parse).collect()
}

/// As RocketMQ, keys it does not know and values that do not parse are passed over; ours says so in its log.
fn changed(config: &Config, pairs: &[(&str, &str)]) -> serde_json::Result<Config> {
    let mut fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(config)?)?;
    for (key, value) in pairs {
        let Some(field) = fields.get_mut(*key) else {
            warn!(key, "updateControllerConfig: no such key");
            continue;
        };
        let parsed = match field {
            Value::String(_) => Some(Value::String((*value).to_owned())),
            Value::Bool(_) => Some(Value::Bool(*value == "true")),
            _ => value.parse::<u64>().ok().map(Value::from),
        };
        match parsed {
            Some(parsed) => {
                info!(key, value, "updateControllerConfig");
                *field = parsed;
            }
            None => warn!(key, value, "updateControllerConfig: want a number"),
        }
    }
    serde_json::from_value(Value::Object(fields))
}

fn sorted(text: &str) -> String {
    let mut lines = text.lines().collect::<Vec<_>>();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

fn persist(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("properties.tmp");
    // Its owner's alone: there may be a secret in it.
    let _leftover = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
