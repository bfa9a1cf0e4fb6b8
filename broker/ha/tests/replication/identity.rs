//! RocketMQ's scenarios of how a broker gets its id, D2 to D9, by their names (docs/SCENARIOS.md): what is in the
//! folder when a step fails, and what the next start makes of it.

use crate::cluster::*;
use proto::code::request;
use std::path::{Path, PathBuf};

const IDENTITY: &str = "brokerIdentity";
const TEMPORARY: &str = "brokerIdentity-temp";

fn read(root: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(root.join(name)).ok()
}

fn root(controller: &FakeController) -> PathBuf {
    controller.folder.path().join("a")
}

/// Registered with id 1 and running: the whole protocol is behind it.
async fn runs(controller: &FakeController, broker: &Broker) {
    assert_eq!(broker.id().await, 1);
    wait("it is registered and leads", || broker.is_master()).await;
    assert_eq!(controller.registered(1).as_deref(), Some("a:10911"));
    assert_eq!(read(&root(controller), IDENTITY).as_deref(), Some("c#broker-a#1"));
    assert_eq!(read(&root(controller), TEMPORARY), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_new_broker_gets_an_id_and_registers() {
    let controller = FakeController::start().await;
    let broker = Broker::start(&controller, "a").await;
    runs(&controller, &broker).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_a_restart_under_another_name_is_refused_by_name() {
    let controller = FakeController::start().await;
    let broker = Broker::start(&controller, "a").await;
    runs(&controller, &broker).await;
    broker.stop().await;
    for (identity, name) in [("c#broker-b#1", "c/broker-b"), ("other#broker-a#1", "other/broker-a")] {
        std::fs::write(root(&controller).join(IDENTITY), identity).unwrap();
        let refused = Broker::try_start(&controller.address, &root(&controller)).await.err().unwrap().to_string();
        assert!(refused.contains(&format!("replica 1 of {name}")), "{refused}");
        assert_eq!(read(&root(&controller), IDENTITY).as_deref(), Some(identity), "and nothing is changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_without_a_next_id_there_are_no_files() {
    let controller = FakeController::start().await;
    controller.fail(Some(request::CONTROLLER_GET_NEXT_BROKER_ID));
    let broker = Broker::start(&controller, "a").await;
    wait("it has asked more than once", || controller.failed() > 1).await;
    assert_eq!(broker.replication.state().borrow().broker_id, 0);
    assert_eq!((read(&root(&controller), IDENTITY), read(&root(&controller), TEMPORARY)), (None, None));
    controller.fail(None);
    runs(&controller, &broker).await;
    broker.stop().await;
}

/// What cannot be written is no reason to apply: the id would be given and forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_without_a_temporary_file_no_id_is_applied_for() {
    let controller = FakeController::start().await;
    // A folder in the file's place: root may write anything else.
    std::fs::create_dir_all(root(&controller).join(TEMPORARY)).unwrap();
    let started = Broker::try_start(&controller.address, &root(&controller)).await;
    let refused = started.err().expect("it does not start").to_string();
    assert!(refused.contains(TEMPORARY), "{refused}");
    assert_eq!(controller.registered(1), None);
    assert_eq!(read(&root(&controller), IDENTITY), None);
    std::fs::remove_dir(root(&controller).join(TEMPORARY)).unwrap();
    let broker = Broker::start(&controller, "a").await;
    runs(&controller, &broker).await;
    broker.stop().await;
}

/// An answer that says nothing of the id keeps what is applied for; "taken" begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_an_application_that_fails_leaves_no_identity() {
    let controller = FakeController::start().await;
    controller.fail(Some(request::CONTROLLER_APPLY_BROKER_ID));
    let broker = Broker::start(&controller, "a").await;
    wait("it has applied more than once", || controller.failed() > 1).await;
    assert_eq!(read(&root(&controller), IDENTITY), None);
    assert!(read(&root(&controller), TEMPORARY).is_some_and(|it| it.starts_with("c#broker-a#1#a:10911;")));
    controller.fail(None);
    runs(&controller, &broker).await;
    broker.stop().await;

    // The id of a temporary file has been given to somebody else meanwhile.
    let second = controller.folder.path().join("b");
    std::fs::create_dir_all(&second).unwrap();
    std::fs::write(second.join(TEMPORARY), "c#broker-a#1#b:10911;1").unwrap();
    let broker = Broker::start(&controller, "b").await;
    assert_eq!(broker.id().await, 2, "the taken id is given up, another asked for");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_an_identity_that_cannot_be_written_is_completed_by_the_next_start() {
    let controller = FakeController::start().await;
    controller.fail(Some(request::CONTROLLER_APPLY_BROKER_ID));
    let broker = Broker::start(&controller, "a").await;
    wait("it applies", || controller.failed() > 0).await;
    let applied_for = read(&root(&controller), TEMPORARY);
    assert!(applied_for.is_some());
    // A folder in the file's place. It is granted and cannot be written: the process ends or waits, the id is kept.
    std::fs::create_dir(root(&controller).join(IDENTITY)).unwrap();
    controller.fail(None);
    wait("the id is granted", || controller.knows(1)).await;
    broker.stop().await;
    assert_eq!(read(&root(&controller), TEMPORARY), applied_for);
    std::fs::remove_dir(root(&controller).join(IDENTITY)).unwrap();
    let broker = Broker::start(&controller, "a").await;
    runs(&controller, &broker).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_a_registration_that_fails_keeps_the_id() {
    let controller = FakeController::start().await;
    controller.fail(Some(request::CONTROLLER_REGISTER_BROKER));
    let broker = Broker::start(&controller, "a").await;
    wait("it has tried to register", || controller.failed() > 0).await;
    assert_eq!(read(&root(&controller), IDENTITY).as_deref(), Some("c#broker-a#1"));
    assert_eq!(read(&root(&controller), TEMPORARY), None);
    broker.stop().await;
    controller.fail(None);
    let broker = Broker::start(&controller, "a").await;
    runs(&controller, &broker).await;
    broker.stop().await;
}

/// Ours looks a name up whenever it connects, so there is no list that an empty answer could replace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_a_controller_is_found_by_its_name() {
    let controller = FakeController::start().await;
    let named = controller.address.replace("127.0.0.1", "localhost");
    let broker = Broker::try_start(&named, &root(&controller)).await.unwrap();
    runs(&controller, &broker).await;
    broker.stop().await;
}
