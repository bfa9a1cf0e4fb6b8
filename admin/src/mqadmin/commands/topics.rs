//! Commands about topics.

use super::{any_address, cluster, topic_list, topic_route, topic_status, update_topic};
use crate::mqadmin::{Context, options::Given, print};
use anyhow::bail;
use jiff::tz::TimeZone;
use proto::body::{ClusterInfo, TopicRouteData, TopicStatsTable};

pub(crate) async fn update(context: Context, given: Given) -> anyhow::Result<()> {
    let config = update_topic::config(&given)?;
    if config.order {
        bail!("-o true writes an order configuration to the nameserver, which is not implemented; leave -o out");
    }
    proto::topic::validate_topic(&config.topic_name)?;
    let addresses = match given.get("b") {
        Some(address) => vec![address.to_owned()],
        None => cluster::masters(&context, given.required("c")).await?,
    };
    for address in &addresses {
        context.admin.create_topic(address, &config).await?;
        print(&update_topic::created(address))?;
    }
    print(&update_topic::text(&config))
}

pub(crate) async fn route(context: Context, given: Given) -> anyhow::Result<()> {
    let route = match given.has("aliases") {
        true => context.admin.topic_route_with_aliases(given.required("t")).await?,
        false => context.admin.topic_route(given.required("t")).await?,
    };
    print(&match given.has("l") {
        true => topic_route::table(&route),
        false => topic_route::json(&route)?,
    })
}

pub(crate) async fn status(context: Context, given: Given) -> anyhow::Result<()> {
    let topic = given.required("t");
    let route = context.admin.topic_route(given.get("c").unwrap_or(topic)).await?;
    let mut all = TopicStatsTable::default();
    for address in route.broker_datas.iter().filter_map(any_address) {
        let stats = context.admin.topic_stats(address, topic).await?;
        all.offset_table.extend(stats.offset_table);
        all.topic_put_tps += stats.topic_put_tps;
    }
    if all.offset_table.is_empty() {
        bail!("no broker has queues of topic {topic}");
    }
    print(&topic_status::table(&all, &TimeZone::system()))
}

pub(crate) async fn list(context: Context, given: Given) -> anyhow::Result<()> {
    let topics = context.admin.topic_list().await?.topic_list;
    if !given.has("c") {
        return print(&topics.iter().map(|it| format!("{it}\n")).collect::<String>());
    }
    let info = context.admin.cluster_info().await?;
    print(&topic_list::header())?;
    for topic in topics.iter().filter(|it| topic_list::is_shown(it)) {
        // A topic whose brokers are gone is listed all the same, as RocketMQ does, with empty cells.
        let route = context.admin.topic_route(topic).await.unwrap_or_default();
        let groups = groups(&context, &route, topic).await;
        print(&topic_list::lines(cluster_of(&info, &route), topic, &groups))?;
    }
    Ok(())
}

async fn groups(context: &Context, route: &TopicRouteData, topic: &str) -> Vec<String> {
    for address in route.broker_datas.iter().filter_map(any_address) {
        if let Ok(groups) = context.admin.topic_consumed_by(address, topic).await {
            return groups.group_list.into_iter().collect();
        }
    }
    Vec::new()
}

fn cluster_of<'a>(info: &'a ClusterInfo, route: &TopicRouteData) -> &'a str {
    let set = route.broker_datas.first().map(|it| &it.broker_name);
    let holds = |sets: &std::collections::BTreeSet<String>| set.is_some_and(|it| sets.contains(it));
    info.cluster_addr_table.iter().find(|(_, sets)| holds(sets)).map_or("", |(name, _)| name)
}
