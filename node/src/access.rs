//! The shared secret of controllers, brokers and operators: RocketMQ's signatures, asked for where a process is told
//! to.
//!
//! Which requests need one is the process's own business.

use crate::throttle::Throttle;
use proto::Command;
use proto::code::response;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use tracing::warn;

/// To be flattened into the configuration.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Answer only signed requests where they would change what the controllers decide: a controller, whatever changes
    /// its state; a broker, who is master, held writes and the copying of its settings. Default false. The same on all
    /// controllers, and only where every controller, broker and tool signs.
    pub controller_acl_enable: bool,
    /// The name of the secret: `accessKey` of the tools' `tools.yml` and of the brokers.
    pub controller_access_key: String,
    /// The secret itself.
    pub controller_secret_key: String,
}

impl Settings {
    /// Access key and secret, `None` when nothing is checked; or the key that is missing.
    pub fn credentials(&self) -> Result<Option<(String, String)>, &'static str> {
        match (self.controller_acl_enable, self.controller_access_key.as_str(), self.controller_secret_key.as_str()) {
            (false, _, _) => Ok(None),
            (true, "", _) => Err("controllerAccessKey"),
            (true, _, "") => Err("controllerSecretKey"),
            (true, key, secret) => Ok(Some((key.to_owned(), secret.to_owned()))),
        }
    }
}

/// Without the secret: configurations end up in logs and in panics.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("enable", &self.controller_acl_enable).finish_non_exhaustive()
    }
}

/// Checks signatures.
pub struct Access {
    credentials: Option<(String, String)>,
    said: Throttle,
}

impl Access {
    /// `None`: everybody may do everything, as in RocketMQ.
    pub fn new(credentials: Option<(String, String)>) -> Access {
        Access { credentials, said: Throttle::new() }
    }

    /// The answer to a request that needs a signature and has no good one.
    pub fn refuse(&self, peer: SocketAddr, it: &Command) -> Option<Command> {
        let (key, secret) = self.credentials.as_ref()?;
        let why = match it.ext.get(proto::acl::ACCESS_KEY) {
            None => "it carries no AccessKey".to_owned(),
            Some(given) if given != key => format!("its AccessKey `{given}` is not the one wanted here"),
            Some(_) if !proto::acl::verify(it, secret) => "its Signature does not fit the secret".to_owned(),
            Some(_) => return None,
        };
        self.said.say(|unsaid| warn!(%peer, code = it.code, why, unsaid, "refused a request"));
        let remark = format!(
            "request {} needs a signature, and {why}: tools take accessKey and secretKey from \
             $ROCKETMQ_HOME/conf/tools.yml, brokers from innerClientAuthenticationCredentials, controllers from \
             controllerAccessKey and controllerSecretKey",
            it.code
        );
        Some(Command::error(response::NO_PERMISSION, remark))
    }
}
