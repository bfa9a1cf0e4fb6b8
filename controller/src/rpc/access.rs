//! Which requests need a signature, and whether they have a good one.
//!
//! Reading stays open: whoever may connect may look. What would change anything, or make somebody look alive, does not.

use proto::Command;
use proto::code::request;
use std::net::SocketAddr;

/// The secret that this group of controllers shares with its brokers and operators.
pub(crate) struct Access(node::access::Access);

impl Access {
    /// `None`: everybody may do everything, as in RocketMQ.
    pub(crate) fn new(credentials: Option<(String, String)>) -> Access {
        Access(node::access::Access::new(credentials))
    }

    /// The answer to a request that may not pass.
    pub(super) fn refuse(&self, peer: SocketAddr, it: &Command) -> Option<Command> {
        if only_reads(it.code) { None } else { self.0.refuse(peer, it) }
    }
}

/// A code that is not known to only read needs a signature, so that a new one is never forgotten.
fn only_reads(code: i32) -> bool {
    matches!(
        code,
        request::CONTROLLER_GET_REPLICA_INFO
            | request::CONTROLLER_GET_METADATA_INFO
            | request::CONTROLLER_GET_SYNC_STATE_DATA
            | request::CONTROLLER_GET_NEXT_BROKER_ID
            | request::GET_CONTROLLER_CONFIG
            | request::BATON_HISTORY
            | request::BATON_EXPLAIN
            | request::BATON_WITNESS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access::new(Some(("operator".into(), "12345678".into())))
    }

    fn signed(key: &str, secret: &str) -> Command {
        let mut it = Command::request(request::CLEAN_BROKER_DATA).with_ext("brokerName", "a").with_body("body");
        proto::acl::sign(&mut it, key, secret);
        it
    }

    fn refusal(it: &Command) -> Option<String> {
        access()
            .refuse(([127, 0, 0, 1], 1).into(), it)
            .map(|it| format!("{} {}", it.code, it.remark.unwrap_or_default()))
    }

    #[test]
    fn only_a_request_signed_with_the_secret_changes_anything() {
        assert_eq!(refusal(&signed("operator", "12345678")), None);
        assert!(refusal(&signed("operator", "12345679")).unwrap().contains("does not fit the secret"));
        assert!(refusal(&signed("other", "12345678")).unwrap().contains("`other` is not the one wanted here"));
        let mut changed = signed("operator", "12345678");
        changed.ext.insert("isCleanLivingBroker".into(), "true".into());
        assert!(refusal(&changed).is_some());
        let mut changed = signed("operator", "12345678");
        changed.body = "other".into();
        assert!(refusal(&changed).is_some());
        expect_test::expect![
            "16 request 1011 needs a signature, and it carries no AccessKey: tools take accessKey and secretKey from \
             $ROCKETMQ_HOME/conf/tools.yml, brokers from innerClientAuthenticationCredentials, controllers from \
             controllerAccessKey and controllerSecretKey"
        ]
        .assert_eq(&refusal(&Command::request(request::CLEAN_BROKER_DATA)).unwrap());
    }

    #[test]
    fn reading_is_open_and_everything_is_where_there_is_no_secret() {
        assert_eq!(refusal(&Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA)), None);
        assert!(refusal(&Command::request(request::BROKER_HEARTBEAT)).is_some());
        assert!(refusal(&Command::request(31_999)).is_some(), "a code of tomorrow");
        assert!(
            Access::new(None)
                .refuse(([127, 0, 0, 1], 1).into(), &Command::request(request::CLEAN_BROKER_DATA))
                .is_none()
        );
    }
}
