//! Who may change anything: the shared secret that RocketMQ's tools and brokers sign with.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// To be flattened into the configuration.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// Answer only signed requests where they would change anything, and sign our own requests to brokers and other
    /// controllers. The same on all controllers.
    pub controller_acl_enable: bool,
    /// The name of the secret: `accessKey` of the tools' `tools.yml` and of the brokers.
    pub controller_access_key: String,
    /// The secret itself.
    pub controller_secret_key: String,
}

impl Access {
    /// Access key and secret; `None` when nothing is checked.
    pub fn credentials(&self) -> Result<Option<(String, String)>, ConfigError> {
        match (self.controller_acl_enable, self.controller_access_key.as_str(), self.controller_secret_key.as_str()) {
            (false, _, _) => Ok(None),
            (true, "", _) => Err(ConfigError::NoCredentials("controllerAccessKey")),
            (true, _, "") => Err(ConfigError::NoCredentials("controllerSecretKey")),
            (true, key, secret) => Ok(Some((key.to_owned(), secret.to_owned()))),
        }
    }
}

/// Without the secret: configurations end up in logs and in panics.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("enable", &self.controller_acl_enable).finish_non_exhaustive()
    }
}
