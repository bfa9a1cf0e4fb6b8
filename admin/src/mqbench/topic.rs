//! Makes sure that a topic exists and says which queues it has.

use anyhow::{Context, bail};
use client::{Admin, MessageQueue};
use proto::MASTER_ID;
use proto::body::{TopicConfig, TopicRouteData};
use std::time::{Duration, Instant};

/// Queues a topic gets at least.
const QUEUES: u32 = 8;
/// A master registers a new topic at once; this is for a busy machine and for Java brokers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Creates the topic on every master if no broker has it; returns its route.
pub async fn ensure(admin: &Admin, topic: &str, producers: u32) -> anyhow::Result<TopicRouteData> {
    proto::topic::validate_topic(topic)?;
    match admin.topic_route(topic).await {
        Ok(route) => return Ok(route),
        Err(error) if !Admin::is_no_topic(&error) => return Err(error.into()),
        Err(_) => {}
    }
    let queues = producers.max(QUEUES) as i32;
    let config = TopicConfig {
        topic_name: topic.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..TopicConfig::default()
    };
    let info = admin.cluster_info().await?;
    let masters: Vec<&String> =
        info.broker_addr_table.values().filter_map(|it| it.broker_addrs.get(&MASTER_ID)).collect();
    if masters.is_empty() {
        bail!("no broker set has a master now, so topic {topic} cannot be created; see `mqadmin clusterList`");
    }
    for master in &masters {
        admin.create_topic(master, &config).await?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let route = admin.topic_route(topic).await;
        match route {
            Ok(route) if route.queue_datas.len() >= masters.len() => return Ok(route),
            Ok(_) | Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(route) => return Ok(route),
            Err(error) => return Err(error).context("the topic was created, but the nameserver does not know it yet"),
        }
    }
}

/// The queues to write to on one broker set.
pub fn queues_of(route: &TopicRouteData, topic: &str, broker_set: &str) -> Vec<MessageQueue> {
    let count = route.queue_datas.iter().find(|it| it.broker_name == broker_set).map_or(0, |it| it.write_queue_nums);
    (0..count)
        .map(|queue_id| MessageQueue { broker_name: broker_set.to_owned(), queue_id, topic: topic.to_owned() })
        .collect()
}

/// The master a route names.
pub fn master_of(route: &TopicRouteData, broker_set: &str) -> Option<String> {
    route.broker_datas.iter().find(|it| it.broker_name == broker_set)?.broker_addrs.get(&MASTER_ID).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::body::{BrokerData, QueueData};

    #[test]
    fn queues_and_master_of_a_set() {
        let route = TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: [(0, "m:1".into()), (2, "s:1".into())].into(),
                broker_name: "a".into(),
                ..Default::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: "a".into(),
                write_queue_nums: 2,
                read_queue_nums: 4,
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(queues_of(&route, "t", "a").iter().map(|it| it.queue_id).collect::<Vec<_>>(), [0, 1]);
        assert!(queues_of(&route, "t", "b").is_empty());
        assert_eq!(master_of(&route, "a").as_deref(), Some("m:1"));
        assert_eq!(master_of(&route, "b"), None);
    }
}
