//! With `controllerAclEnable` what controllers and slaves ask needs their signature; clients are served as ever.

use super::*;

const CODES: [i32; 4] = [
    request::NOTIFY_BROKER_ROLE_CHANGED,
    request::BATON_METADATA_SYNC,
    request::BATON_HOLD_WRITES,
    request::BATON_RELEASE_WRITES,
];

fn signer(secret: &str) -> Client {
    let credentials = Some(("baton".to_owned(), secret.to_owned()));
    Client::new(ClientOptions { credentials, ..ClientOptions::default() })
}

async fn asked(by: &Client, broker: &Fixture, code: i32) -> (i32, String) {
    let answer = by.call(&broker.address, Command::request(code), DEADLINE).await.expect("an answer");
    (answer.code, answer.remark.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_the_secret_speaks_for_controllers_and_slaves() {
    let broker = Fixture::start_with(|it| {
        it.inner_client_authentication_credentials = r#"{"accessKey":"baton","secretKey":"12345678"}"#.into();
        it.access.controller_acl_enable = true;
    })
    .await;
    let (known, stranger) = (signer("12345678"), signer("12345679"));
    for code in CODES {
        let (answered, why) = asked(&broker.client, &broker, code).await;
        assert_eq!(answered, response::NO_PERMISSION, "{code}: {why}");
        assert!(why.contains(&format!("request {code} needs a signature")), "{why}");
        assert_eq!(asked(&stranger, &broker, code).await.0, response::NO_PERMISSION, "{code}");
        assert_ne!(asked(&known, &broker, code).await.0, response::NO_PERMISSION, "{code}");
    }
    let (answered, why) = asked(&broker.client, &broker, request::GET_BROKER_RUNTIME_INFO).await;
    assert_eq!(answered, response::SUCCESS, "{why}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_needs_a_signature_where_none_is_asked_for() {
    let broker = Fixture::start().await;
    for code in CODES {
        assert_ne!(asked(&broker.client, &broker, code).await.0, response::NO_PERMISSION, "{code}");
    }
    broker.stop().await;
}
