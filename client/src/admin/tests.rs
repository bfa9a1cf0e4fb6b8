//! Calls, and what their failures say.

use super::*;
use crate::fake::{Server, refusing_address};
use node::remoting::Reply;
use proto::body::TopicConfig;
use proto::code::request;

fn admin(namesrv: Vec<String>) -> Admin {
    Admin::new(AdminOptions { namesrv, ..AdminOptions::default() })
}

async fn server(script: impl Fn(Command) -> Command + Send + Sync + 'static) -> Server {
    Server::start(move |_, request| Reply::Now(script(request))).await
}

#[tokio::test]
async fn another_nameserver_answers_where_the_first_is_gone() {
    let list = server(|_| Command::response(0).with_body(r#"{"topicList":["T"]}"#)).await;
    let admin = admin(vec![refusing_address(), list.address.clone()]);
    assert_eq!(admin.topic_list().await.unwrap().topic_list, ["T"]);
}

#[tokio::test]
async fn failures_say_who_refused_what() {
    let broker = server(|_| Command::error(17, "no topic")).await;
    let error = admin(vec![]).topic_stats(&broker.address, "T").await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}: request 202: code 17: no topic", broker.address));
    assert!(Admin::is_no_topic(&error));
    assert!(matches!(admin(vec![]).topic_list().await, Err(AdminError::NoNameserver)));
    let address = refusing_address();
    let error = admin(vec![address.clone()]).topic_list().await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: connection refused"));
    let broken = server(|_| Command::response(0).with_body("{")).await;
    let error = admin(vec![]).ha_status(&broken.address).await.unwrap_err();
    assert!(matches!(error, AdminError::Unreadable { request: 907, .. }), "{error}");
}

#[tokio::test]
async fn the_leader_is_found_through_any_controller() {
    let knows = server(|it| {
        assert_eq!(it.code, request::CONTROLLER_GET_METADATA_INFO);
        Command::response(0).with_ext("controllerLeaderAddress", "10.0.0.1:9878").with_ext("isLeader", false)
    })
    .await;
    let lost = server(|_| Command::response(0).with_ext("isLeader", false)).await;
    let list = format!("{};{};{}", refusing_address(), lost.address, knows.address);
    assert_eq!(admin(vec![]).controller_leader(&list).await.unwrap(), "10.0.0.1:9878");
    let error = admin(vec![]).controller_leader(&lost.address).await.unwrap_err();
    assert!(matches!(error, AdminError::NoLeader { .. }), "{error}");
}

#[tokio::test]
async fn a_topic_is_created_with_javas_fields() {
    let broker = server(|it| {
        assert_eq!(it.code, request::UPDATE_AND_CREATE_TOPIC);
        let fields = ["topic", "readQueueNums", "writeQueueNums", "perm", "topicFilterType", "order", "attributes"];
        Command::error(1, fields.map(|name| format!("{name}={}", it.ext[name])).join(" "))
    })
    .await;
    let topic = TopicConfig {
        topic_name: "T".into(),
        attributes: [("+message.type".to_owned(), "FIFO".to_owned())].into(),
        ..TopicConfig::default()
    };
    let error = admin(vec![]).create_topic(&broker.address, &topic).await.unwrap_err().to_string();
    let want = "topic=T readQueueNums=16 writeQueueNums=16 perm=6 \
                topicFilterType=SINGLE_TAG order=false attributes=+message.type=FIFO";
    assert!(error.ends_with(want), "{error}");
}

#[test]
fn lists_of_nameservers_are_split_as_rocketmq_writes_them() {
    assert_eq!(crate::nameservers("a:1; b:2;;c:3 "), ["a:1", "b:2", "c:3"]);
}
