//! What no single key can say: combinations that make no sense, each with the key and the cure.

use super::Config;
use ha::Acknowledgement;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    #[error(
        "`enableControllerMode=true` needs `controllerAddr`: name the controllers, such as \
         `controllerAddr=10.0.0.1:9878;10.0.0.2:9878`"
    )]
    NoControllers,
    #[error("`{key}={value}`: want host:port, several separated by `;`")]
    BadAddress { key: &'static str, value: String },
    #[error("`{key}={value}`: want letters, digits and `_-.|%`; `#` and blanks cannot be part of a name")]
    BadName { key: &'static str, value: String },
    #[error("`{key}={value}`: want an IP address that other hosts can reach; leave the key out to use this host's own")]
    BadIp { key: &'static str, value: String },
    #[error(
        "`minInSyncReplicas={min}` is more than `inSyncReplicas={want}`: nothing could ever be acknowledged; \
         lower the first or raise the second"
    )]
    MinAboveInSync { min: usize, want: usize },
    #[error("`{key}={value}`: want {want}")]
    OutOfRange { key: &'static str, value: i64, want: &'static str },
    #[error(
        "`brokerRole=SLAVE` without controllers is not supported: set `enableControllerMode=true` and `controllerAddr`"
    )]
    StaticSlave,
    #[error("`enableFailoverAlias=true` needs `enableControllerMode=true`: only a slave of a set has an alias")]
    AliasWithoutControllers,
    #[error("`haListenPort={0}` equals `listenPort`: leave it out to use listenPort + 1")]
    SamePort(u16),
    #[error(
        "`innerClientAuthenticationCredentials`: want {{\"accessKey\":\"…\",\"secretKey\":\"…\"}} with neither of them \
         empty"
    )]
    Credentials,
    #[error(
        "`{0}` is missing: `controllerAclEnable=true` needs controllerAccessKey and controllerSecretKey, or \
         innerClientAuthenticationCredentials"
    )]
    NoCredentials(&'static str),
    #[error("`deleteWhen={0}`: want hours from 00 to 23, several separated by `;`")]
    DeleteWhen(String),
    #[error("`messageDelayLevel={value}`: {why}")]
    DelayLevels { value: String, why: String },
    #[error("`slaveReadSpread=true` needs `slaveReadEnable=true`")]
    SpreadWithoutRead,
}

pub(super) fn ip(key: &'static str, value: &str) -> Result<IpAddr, ConfigProblem> {
    match value.trim().parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => Ok(ip),
        _ => Err(ConfigProblem::BadIp { key, value: value.to_owned() }),
    }
}

fn name(key: &'static str, value: &str) -> Result<(), ConfigProblem> {
    // The controller and the nameserver build keys such as `cluster#name`.
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-.|%".contains(c);
    if value.is_empty() || !value.chars().all(fine) {
        return Err(ConfigProblem::BadName { key, value: value.to_owned() });
    }
    Ok(())
}

fn addresses(key: &'static str, list: &[String]) -> Result<(), ConfigProblem> {
    let fine =
        |it: &&String| it.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match list.iter().find(|it| !fine(it)) {
        Some(bad) => Err(ConfigProblem::BadAddress { key, value: bad.clone() }),
        None => Ok(()),
    }
}

fn at_least(key: &'static str, value: i64, least: i64, want: &'static str) -> Result<(), ConfigProblem> {
    if value < least { Err(ConfigProblem::OutOfRange { key, value, want }) } else { Ok(()) }
}

/// As the key's text holds them.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    access_key: String,
    secret_key: String,
}

impl Config {
    /// Access key and secret, if requests are to be signed.
    pub fn credentials(&self) -> Result<Option<(String, String)>, ConfigProblem> {
        let text = self.inner_client_authentication_credentials.trim();
        if text.is_empty() {
            return self.access.credentials().map_err(ConfigProblem::NoCredentials);
        }
        match serde_json::from_str(text) {
            Ok(Credentials { access_key, secret_key }) if !access_key.is_empty() && !secret_key.is_empty() => {
                Ok(Some((access_key, secret_key)))
            }
            // Not what stands there: it may be the secret.
            _ => Err(ConfigProblem::Credentials),
        }
    }

    /// Access key and secret that controllers and slaves have to sign with, if they have to.
    pub fn wanted_credentials(&self) -> Result<Option<(String, String)>, ConfigProblem> {
        let access = &self.access;
        match (access.controller_access_key.is_empty(), access.controller_secret_key.is_empty()) {
            (true, true) if access.controller_acl_enable => self.credentials(),
            _ => access.credentials().map_err(ConfigProblem::NoCredentials),
        }
    }

    pub fn validate(&self) -> Result<(), ConfigProblem> {
        self.credentials()?;
        self.wanted_credentials()?;
        name("brokerClusterName", &self.broker_cluster_name)?;
        name("brokerName", &self.broker_name)?;
        if self.bind_address.parse::<IpAddr>().is_err() {
            return Err(ConfigProblem::BadIp { key: "bindAddress", value: self.bind_address.clone() });
        }
        self.ip1()?;
        self.ip2()?;
        if self.listen_port != 0 && self.ha_port() == self.listen_port {
            return Err(ConfigProblem::SamePort(self.listen_port));
        }
        addresses("namesrvAddr", &self.nameservers())?;
        addresses("controllerAddr", &self.controllers())?;
        store::DelayLevels::parse(&self.message_delay_level)
            .map_err(|why| ConfigProblem::DelayLevels { value: self.message_delay_level.clone(), why })?;
        if self.slave_read_spread && !self.slave_read_enable {
            return Err(ConfigProblem::SpreadWithoutRead);
        }
        self.validate_roles()?;
        self.validate_numbers()
    }

    fn validate_roles(&self) -> Result<(), ConfigProblem> {
        if self.enable_controller_mode && self.controllers().is_empty() {
            return Err(ConfigProblem::NoControllers);
        }
        if !self.enable_controller_mode && (self.broker_role == super::BrokerRole::Slave || self.broker_id != 0) {
            return Err(ConfigProblem::StaticSlave);
        }
        if self.enable_failover_alias && !self.enable_controller_mode {
            return Err(ConfigProblem::AliasWithoutControllers);
        }
        match self.acknowledgement() {
            Acknowledgement::InSyncReplicas(want) if self.min_in_sync_replicas > want => {
                Err(ConfigProblem::MinAboveInSync { min: self.min_in_sync_replicas, want })
            }
            _ => Ok(()),
        }
    }

    fn validate_numbers(&self) -> Result<(), ConfigProblem> {
        at_least("minInSyncReplicas", self.min_in_sync_replicas as i64, 1, "at least 1")?;
        at_least("inSyncReplicas", self.in_sync_replicas.unwrap_or(1) as i64, 1, "at least 1")?;
        at_least("defaultTopicQueueNums", self.default_topic_queue_nums.into(), 1, "at least 1")?;
        at_least("maxMessageSize", self.max_message_size as i64, 1, "bytes, at least 1")?;
        at_least("mappedFileSizeConsumeQueue", self.mapped_file_size_consume_queue as i64, 20, "bytes, at least 20")?;
        at_least("brokerHeartbeatInterval", self.broker_heartbeat_interval as i64, 1, "milliseconds, at least 1")?;
        at_least("registerNameServerPeriod", self.register_name_server_period as i64, 1, "milliseconds, at least 1")?;
        at_least("flushDelayOffsetInterval", self.flush_delay_offset_interval as i64, 1, "milliseconds, at least 1")?;
        at_least("forwardHoldMillis", self.forward_hold_millis as i64, 0, "milliseconds, 0 to refuse at once")?;
        at_least("forwardHoldCount", self.forward_hold_count as i64, 1, "at least 1")?;
        // One of the largest requests has to fit.
        let least = proto::command::MAX_FRAME as i64;
        at_least("forwardHoldBytes", self.forward_hold_bytes as i64, least, "bytes, at least 16777216 (one request)")?;
        at_least("cleanResourceInterval", self.clean_resource_interval as i64, 1, "milliseconds, at least 1")?;
        let log = self.mapped_file_size_commit_log as i64;
        // One record and its end-of-file blank must fit, whatever its topic and properties.
        at_least("mappedFileSizeCommitLog", log, 65_536, "bytes, at least 65536")?;
        if self.broker_permission & !6 != 0 || self.broker_permission == 0 {
            let value = self.broker_permission.into();
            return Err(ConfigProblem::OutOfRange {
                key: "brokerPermission",
                value,
                want: "2 (write), 4 (read) or 6 (both)",
            });
        }
        if self.controller_heart_beat_timeout_mills <= self.broker_heartbeat_interval {
            let value = self.controller_heart_beat_timeout_mills as i64;
            return Err(ConfigProblem::OutOfRange {
                key: "controllerHeartBeatTimeoutMills",
                value,
                want: "more than brokerHeartbeatInterval, better three times as much",
            });
        }
        let hours = super::split_list(&self.delete_when);
        if hours.iter().any(|it| !it.parse::<i8>().is_ok_and(|hour| (0..24).contains(&hour))) {
            return Err(ConfigProblem::DeleteWhen(self.delete_when.clone()));
        }
        Ok(())
    }
}
