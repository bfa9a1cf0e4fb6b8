//! RocketMQ's TLS keys, as they stand in a configuration file of ours.

use super::TlsError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a listener does with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Plain text only.
    Disabled,
    /// Both; TLS only when there is a certificate.
    #[default]
    Permissive,
    /// TLS only.
    Enforcing,
}

/// What a listener wants to see of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    #[default]
    None,
    Optional,
    Require,
}

/// To be flattened into a process's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `disabled`, `permissive` or `enforcing`. Default `permissive`, which without a certificate is plain text only.
    #[serde(rename = "tls.server.mode")]
    pub server_mode: Mode,
    /// Connect to others with TLS. Default false.
    #[serde(rename = "tls.enable")]
    pub enable: bool,
    /// A file with the keys below; then all of them come from there. Default: none.
    #[serde(rename = "tls.config.file")]
    pub config_file: String,
    /// Without `tls.server.certPath` make a certificate at start that nobody can check, and as a client accept every
    /// certificate. Keeps out listeners, not impostors. Default false (RocketMQ: true).
    #[serde(rename = "tls.test.mode.enable")]
    pub test_mode: bool,
    /// `none`, `optional` or `require` a client's certificate. Default `none`.
    #[serde(rename = "tls.server.need.client.auth")]
    pub need_client_auth: ClientAuth,
    /// Certificate chain, PEM. Default: none.
    #[serde(rename = "tls.server.certPath")]
    pub server_cert: String,
    /// Its private key, PEM, not encrypted. Default: none.
    #[serde(rename = "tls.server.keyPath")]
    pub server_key: String,
    /// Must stay empty: keys are read unencrypted.
    #[serde(rename = "tls.server.keyPassword")]
    pub server_key_password: String,
    /// Check clients' certificates against `tls.server.trustCertPath`. Default false.
    #[serde(rename = "tls.server.authClient")]
    pub auth_client: bool,
    /// Certificates, PEM, that clients' ones must lead to. Default: none.
    #[serde(rename = "tls.server.trustCertPath")]
    pub server_trust: String,
    /// Check servers' certificates against `tls.client.trustCertPath`. Default: true when that is set.
    #[serde(rename = "tls.client.authServer")]
    pub auth_server: bool,
    /// Certificates, PEM, that servers' ones must lead to. Default: none.
    #[serde(rename = "tls.client.trustCertPath")]
    pub client_trust: String,
    /// Our certificate as a client, PEM. Default: none.
    #[serde(rename = "tls.client.certPath")]
    pub client_cert: String,
    /// Its private key, PEM, not encrypted. Default: none.
    #[serde(rename = "tls.client.keyPath")]
    pub client_key: String,
    /// Must stay empty: keys are read unencrypted.
    #[serde(rename = "tls.client.keyPassword")]
    pub client_key_password: String,
}

impl Settings {
    /// With what `tls.config.file` says. As in RocketMQ that file sets neither `tls.server.mode` nor `tls.enable`.
    pub(super) fn with_file(&self) -> Result<Settings, TlsError> {
        if self.config_file.is_empty() {
            return Ok(self.clone());
        }
        let failed = |why: String| TlsError::File { key: "tls.config.file", path: self.config_file.clone(), why };
        let loaded = crate::properties::load::<Settings>(Some(Path::new(&self.config_file)));
        let loaded = loaded.map_err(|e| failed(e.to_string()))?;
        for unknown in &loaded.unknown {
            tracing::warn!("{}:{}: unknown key `{}` is ignored", self.config_file, unknown.line, unknown.key);
        }
        let own = |it: &Settings| Settings {
            server_mode: self.server_mode,
            enable: self.enable,
            config_file: self.config_file.clone(),
            ..it.clone()
        };
        if *self != own(&Settings::default()) {
            return Err(failed("other `tls` keys stand beside it: move them into that file".to_owned()));
        }
        Ok(own(&loaded.config))
    }
}
