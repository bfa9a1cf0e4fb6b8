//! The port two below `listenPort`, where Java's slaves ask for topics.

use super::*;
use std::net::{Ipv4Addr, TcpListener};

/// A free port whose second one below is free too, and that one, held. Below what the kernel gives out, to other tests
/// too; each test here looks from a `start` of its own.
fn two_ports(start: u16) -> (u16, TcpListener) {
    let first = start + (std::process::id() % 400) as u16 * 4;
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let free = |port: u16| bind(port - 2).filter(|_| bind(port).is_some()).map(|below| (port, below));
    (first..first + 400).step_by(4).find_map(free).expect("two free ports")
}

#[tokio::test]
async fn a_java_slave_gets_the_topics_on_the_second_port() {
    let (port, below) = two_ports(10_000);
    drop(below);
    let broker = Fixture::start_with(|it| it.listen_port = port).await;
    let second = format!("127.0.0.1:{}", port - 2);
    let command = Command::request(request::GET_ALL_TOPIC_CONFIG);
    let answer = broker.client.call(&second, command, DEADLINE).await.expect("an answer");
    let topics: TopicConfigSerializeWrapper = proto::json::from_slice(&answer.body).expect("topics");
    assert!(topics.topic_config_table.contains_key("broker-a"), "{topics:?}");
    broker.stop().await;
}

#[tokio::test]
async fn a_second_port_that_is_taken_does_not_keep_a_broker_from_starting() {
    let (port, below) = two_ports(12_000);
    let broker = Fixture::start_with(|it| it.listen_port = port).await;
    assert_eq!(broker.call(Command::request(request::GET_ALL_TOPIC_CONFIG)).await.code, response::SUCCESS);
    broker.stop().await;
    drop(below);
}
