//! The nameserver's settings, by RocketMQ's keys and with its defaults.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One nameserver process. Keys of Java's nameserver that are not here (pool sizes, Netty buffers) have no meaning in
/// this implementation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Address to listen on. Default `0.0.0.0`, all interfaces. A wrong one makes the start fail.
    pub bind_address: String,
    /// Port for everything: brokers, clients, mqadmin, health checks. Default 9876; 0 lets the system choose.
    pub listen_port: u16,
    /// Folder under which files are kept when their own key does not say otherwise. Default: the user's home.
    pub rocketmq_home: String,
    /// Where key-value settings are kept. Default `<rocketmqHome>/namesrv/kvConfig.json`. Unreadable: the start fails
    /// rather than forget them.
    pub kv_config_path: String,
    /// Where UPDATE_NAMESRV_CONFIG saves the settings. Default `<rocketmqHome>/namesrv/namesrv.properties`.
    pub config_store_path: String,
    /// Milliseconds between looks for silent brokers. Default 5000. Larger: a broker whose host is gone stays in routes
    /// for longer.
    pub scan_not_active_broker_interval: u64,
    /// Adds `orderTopicConf` to routes from the namespace ORDER_TOPIC_CONFIG. Default false.
    pub order_message_enable: bool,
    /// Sends the namespace ORDER_TOPIC_CONFIG back to registering brokers. Default true.
    pub return_order_topic_config_to_broker: bool,
    /// Shows the smallest slave id as master where brokers run with `enableSlaveActingMaster`. Default false.
    pub support_acting_master: bool,
    /// Answers the list of all topics (206). Default true.
    pub enable_all_topic_list: bool,
    /// Answers topic lists by cluster or unit (224, 311–313). Default true.
    pub enable_topic_list: bool,
    /// Refuses route look-ups for `waitSecondsForService` after the start, so that brokers can register first. Default
    /// false.
    pub need_wait_for_service: bool,
    /// Seconds, see `needWaitForService`. Default 45.
    pub wait_seconds_for_service: u64,
    /// A registration removes topics that it does not list. Default false: topics stay until they are deleted.
    pub delete_topic_with_broker_registration: bool,
    /// Keys, `;`-separated, that UPDATE_NAMESRV_CONFIG must not change, besides the four that it never may.
    pub config_black_list: String,
    /// Seconds without traffic after which a connection is closed, and its broker with it. Default 120.
    pub server_channel_max_idle_time_seconds: u64,
    /// Also run a controller in this process; its keys stand in the same file. Default false.
    pub enable_controller_in_namesrv: bool,
    #[serde(flatten)]
    pub tls: node::tls::Settings,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bind_address: "0.0.0.0".into(),
            listen_port: 9876,
            rocketmq_home: String::new(),
            kv_config_path: String::new(),
            config_store_path: String::new(),
            scan_not_active_broker_interval: 5000,
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            support_acting_master: false,
            enable_all_topic_list: true,
            enable_topic_list: true,
            need_wait_for_service: false,
            wait_seconds_for_service: 45,
            delete_topic_with_broker_registration: false,
            config_black_list: "configBlackList;configStorePath;kvConfigPath".into(),
            server_channel_max_idle_time_seconds: 120,
            enable_controller_in_namesrv: false,
            tls: node::tls::Settings::default(),
        }
    }
}

/// A change that UPDATE_NAMESRV_CONFIG asked for and that cannot be made. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpdateError {
    /// Java's words.
    #[error("Can not update config in black list.")]
    BlackListed,
    #[error("`{key}={value}`: want {want}")]
    BadValue { key: String, value: String, want: &'static str },
}

/// Never changed over the network, whatever the operator's list says.
const BLACK_LIST: [&str; 4] = ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

impl Config {
    pub(crate) fn kv_path(&self) -> PathBuf {
        self.path(&self.kv_config_path, "kvConfig.json")
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path(&self.config_store_path, "namesrv.properties")
    }

    fn path(&self, configured: &str, name: &str) -> PathBuf {
        if !configured.is_empty() {
            return configured.into();
        }
        let user_home = || std::env::var_os("HOME").unwrap_or_default().into();
        let home: PathBuf = if self.rocketmq_home.is_empty() { user_home() } else { (&self.rocketmq_home).into() };
        home.join("namesrv").join(name)
    }

    /// The settings after UPDATE_NAMESRV_CONFIG. Unknown keys are ignored, as Java does: one text may serve processes
    /// of several kinds.
    pub(crate) fn updated(&self, text: &str) -> Result<Config, UpdateError> {
        let entries = || text.lines().filter_map(entry);
        // Who may connect, and how, is not changed from outside.
        let listed = |key: &str| {
            BLACK_LIST.contains(&key)
                || key.starts_with("tls.")
                || self.config_black_list.split(';').any(|it| it.trim() == key)
        };
        if entries().any(|(key, _)| listed(key)) {
            return Err(UpdateError::BlackListed);
        }
        let mut values = serde_json::to_value(self).unwrap_or_default();
        for (key, value) in entries() {
            let Some(slot) = values.get_mut(key) else { continue };
            let bad = |want| UpdateError::BadValue { key: key.into(), value: value.into(), want };
            *slot = match slot {
                serde_json::Value::Bool(_) => value.parse::<bool>().map_err(|_| bad("true or false"))?.into(),
                serde_json::Value::Number(_) => {
                    value.parse::<u64>().map_err(|_| bad("a whole number, not negative"))?.into()
                }
                _ => value.into(),
            };
        }
        serde_json::from_value(values).map_err(|_| UpdateError::BadValue {
            key: "listenPort".into(),
            value: String::new(),
            want: "a port from 0 to 65535",
        })
    }
}

/// One `key=value` line of a properties text.
fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', '!']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_change_and_unknown_ones_are_ignored() {
        let config =
            Config::default().updated("# words\nsupportActingMaster = true\nnoSuchKey=1\nlistenPort=1234").unwrap();
        assert_eq!(config, Config { support_acting_master: true, listen_port: 1234, ..Config::default() });
    }

    #[test]
    fn a_listed_key_refuses_the_whole_update() {
        for key in ["kvConfigPath", "rocketmqHome", "mine"] {
            let config = Config { config_black_list: "other; mine".into(), ..Config::default() };
            assert_eq!(
                config.updated(&format!("enableTopicList=false\n{key}=x")),
                Err(UpdateError::BlackListed),
                "{key}"
            );
        }
    }

    #[test]
    fn the_tls_keys_stand_in_the_same_file_and_cannot_be_changed_over_the_network() {
        let read = |text: &str| node::properties::parse::<Config>("namesrv.conf", text);
        let loaded = read("tls.server.mode=enforcing\ntls.server.keyPassword=secret\n").unwrap();
        assert_eq!(loaded.config.tls.server_mode, node::tls::Mode::Enforcing);
        assert!(loaded.unknown.is_empty());
        assert!(node::properties::print(&loaded.config).contains("tls.server.keyPassword=******\n"));
        assert!(node::properties::print_with_secrets(&loaded.config).contains("tls.server.keyPassword=secret\n"));
        let why = read("tls.server.mode=some\n").unwrap_err().to_string();
        assert!(why.contains("namesrv.conf:1: `tls.server.mode=some`: want"), "{why}");
        assert_eq!(Config::default().updated("tls.enable=true"), Err(UpdateError::BlackListed));
    }

    #[test]
    fn a_bad_value_is_named() {
        let error = |text| Config::default().updated(text).unwrap_err().to_string();
        assert_eq!(error("enableTopicList=yes"), "`enableTopicList=yes`: want true or false");
        assert_eq!(error("waitSecondsForService=-1"), "`waitSecondsForService=-1`: want a whole number, not negative");
        assert!(error("listenPort=70000").contains("a port from 0 to 65535"));
    }
}
