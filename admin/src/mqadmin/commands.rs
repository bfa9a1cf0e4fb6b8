//! The commands: what each is called, what it takes, and what it does. Their texts are pure functions in the modules
//! below.

mod broker_epoch;
mod cluster;
mod cluster_list;
mod consume_message;
mod controller;
mod controller_upkeep;
mod history;
mod members;
mod messages;
mod planned;
mod send_message;
mod topic_list;
mod topic_route;
mod topic_status;
mod topics;
mod update_topic;

use super::options::{Given, Opt};
use super::{Command, Context};
use anyhow::bail;
use futures_util::future::BoxFuture;
use proto::MASTER_ID;
use proto::body::{BrokerData, ClusterInfo};
use std::time::Duration;

/// A command at work.
pub(crate) type Run = fn(Context, Given) -> BoxFuture<'static, anyhow::Result<()>>;

const CONTROLLER: Opt = Opt::value("a", "controllerAddress", "the address of controller").required();
const ALIASES: Opt = Opt::flag("aliases", "aliases", "Baton: show failover aliases too");
const INTERVAL: Opt = Opt::value("i", "interval", "the interval(second) of get info");

/// In RocketMQ's order.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "updateTopic",
        about: "Update or create topic.",
        options: &[
            Opt::value("b", "brokerAddr", "create topic to which broker").one_of_group(),
            Opt::value("c", "clusterName", "create topic to which cluster").one_of_group(),
            Opt::value("a", "attributes", "attribute(+a=b,+c=d,-e)"),
            Opt::value("t", "topic", "topic name").required(),
            Opt::value("r", "readQueueNums", "set read queue nums"),
            Opt::value("w", "writeQueueNums", "set write queue nums"),
            Opt::value("p", "perm", "set topic's permission(2|4|6), intro[2:W 4:R; 6:RW]"),
            Opt::value("o", "order", "set topic's order(true|false)"),
            Opt::value("u", "unit", "is unit topic (true|false)"),
            Opt::value("s", "hasUnitSub", "has unit sub (true|false)"),
        ],
        run: |context, given| Box::pin(topics::update(context, given)),
    },
    Command {
        name: "topicRoute",
        about: "Examine topic route info.",
        options: &[
            Opt::value("t", "topic", "topic name").required(),
            Opt::flag("l", "list", "Use list format to print data"),
            ALIASES,
        ],
        run: |context, given| Box::pin(topics::route(context, given)),
    },
    Command {
        name: "topicStatus",
        about: "Examine topic Status info.",
        options: &[
            Opt::value("t", "topic", "topic name").required(),
            Opt::value("c", "cluster", "cluster name or lmq parent topic, lmq is used to find the route."),
        ],
        run: |context, given| Box::pin(topics::status(context, given)),
    },
    Command {
        name: "clusterList",
        about: "List cluster infos.",
        options: &[
            Opt::flag("m", "moreStats", "Print more stats"),
            Opt::value("i", "interval", "specify intervals numbers, it is in seconds"),
            Opt::value("c", "clusterName", "which cluster"),
            ALIASES,
        ],
        run: |context, given| Box::pin(cluster::list(context, given)),
    },
    Command {
        name: "topicList",
        about: "Fetch all topic list from name server.",
        options: &[Opt::flag("c", "clusterModel", "clusterModel")],
        run: |context, given| Box::pin(topics::list(context, given)),
    },
    Command {
        name: "sendMessage",
        about: "Send a message.",
        options: &[
            Opt::value("t", "topic", "Topic name").required(),
            Opt::value("p", "body", "UTF-8 string format of the message body").required(),
            Opt::value("k", "key", "Message keys"),
            Opt::value("c", "tags", "Message tags"),
            Opt::value("b", "broker", "Send message to target broker"),
            Opt::value("i", "qid", "Send message to target queue"),
            Opt::value("m", "msgTraceEnable", "Message Trace Enable, Default: false"),
        ],
        run: |context, given| Box::pin(messages::send(context, given)),
    },
    Command {
        name: "consumeMessage",
        about: "Consume message.",
        options: &[
            Opt::value("t", "topic", "Topic name").required(),
            Opt::value("b", "brokerName", "Broker name"),
            Opt::value("i", "queueId", "Queue Id"),
            Opt::value("o", "offset", "Queue offset"),
            Opt::value("g", "consumerGroup", "Consumer group name"),
            // The blanks at the ends of these two names are RocketMQ's; help shows them.
            Opt::value("s", "beginTimestamp ", "Begin timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]"),
            Opt::value("e", "endTimestamp ", "End timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]"),
            Opt::value("c", "MessageNumber", "Number of message to be consumed"),
        ],
        run: |context, given| Box::pin(messages::consume(context, given)),
    },
    Command {
        name: "getSyncStateSet",
        about: "Fetch syncStateSet for target brokers.",
        options: &[
            CONTROLLER,
            Opt::value("c", "clusterName", "which cluster"),
            Opt::value("b", "brokerName", "which broker to fetch"),
            INTERVAL,
        ],
        run: |context, given| Box::pin(cluster::sync_state_set(context, given)),
    },
    Command {
        name: "getBrokerEpoch",
        about: "Fetch broker epoch entries.",
        options: &[
            Opt::value("c", "clusterName", "which cluster").one_of_group(),
            Opt::value("b", "brokerName", "which broker to fetch").one_of_group(),
            INTERVAL,
        ],
        run: |context, given| Box::pin(cluster::broker_epoch(context, given)),
    },
    Command {
        name: "getControllerMetaData",
        about: "Get controller cluster's metadata.",
        options: &[CONTROLLER],
        run: |context, given| Box::pin(cluster::controller_metadata(context, given)),
    },
    controller_upkeep::GET_CONFIG,
    controller_upkeep::UPDATE_CONFIG,
    Command {
        name: "electMaster",
        about: "Re-elect the specified broker as master.",
        options: &[
            Opt::value("a", "controllerAddress", "The address of controller").required(),
            Opt::value("b", "brokerId", "The id of the broker which requires to become master").required(),
            Opt::value("bn", "brokerName", "The broker name of the replicas that require to be manipulated").required(),
            Opt::value("c", "clusterName", "the clusterName of broker").required(),
        ],
        run: |context, given| Box::pin(cluster::elect_master(context, given)),
    },
    controller_upkeep::CLEAN,
    Command {
        name: "history",
        about: "Baton: what happened to a broker set: changes of master and of the SyncStateSet, and refusals.",
        options: &[
            CONTROLLER,
            Opt::value("b", "brokerName", "which broker set").required(),
            // -n is the nameserver's in every command.
            Opt::value("m", "most", "only the newest so many, 20 if not given"),
        ],
        run: |context, given| Box::pin(history::history(context, given)),
    },
    Command {
        name: "explain",
        about: "Baton: why a broker set has the master it has, or none.",
        options: &[
            CONTROLLER,
            Opt::value("b", "brokerName", "which broker set").required(),
            Opt::value("at", "at", "at this time (UTC) instead of now, as in '2026-11-21 12:03'"),
        ],
        run: |context, given| Box::pin(history::explain(context, given)),
    },
    members::ADD,
    members::REMOVE,
    members::TRANSFER,
    members::LIST,
    planned::SWITCHOVER,
    planned::DRAIN,
    planned::UNDRAIN,
    planned::PAUSE,
    planned::RESUME,
];

/// Seconds between rounds of `-i`; an empty value means RocketMQ's 3.
fn interval(given: &Given) -> anyhow::Result<Option<Duration>> {
    if given.get("i") == Some("") {
        return Ok(Some(Duration::from_secs(3)));
    }
    Ok(given.parse("i", "a number of seconds")?.map(Duration::from_secs))
}

/// Broker sets of a cluster; fails if there is none.
fn sets_of<'a>(info: &'a ClusterInfo, cluster: &str) -> anyhow::Result<Vec<&'a BrokerData>> {
    let names = info.cluster_addr_table.get(cluster);
    let sets: Vec<_> = names.into_iter().flatten().filter_map(|it| info.broker_addr_table.get(it)).collect();
    if sets.is_empty() {
        let known: Vec<&str> = info.cluster_addr_table.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        bail!(
            "cluster {cluster} is not known to the nameserver; it knows: {known}. Names are case-sensitive; see \
             `mqadmin clusterList`"
        );
    }
    Ok(sets)
}

/// Where an administrator's question about a set goes: its master, else any replica.
fn any_address(data: &BrokerData) -> Option<&str> {
    let addresses = &data.broker_addrs;
    addresses.get(&MASTER_ID).or_else(|| addresses.values().next()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_unknown_cluster_names_the_known_ones() {
        let info = ClusterInfo {
            cluster_addr_table: BTreeMap::from([("c1".into(), ["b".into()].into())]),
            ..ClusterInfo::default()
        };
        let error = sets_of(&info, "C1").unwrap_err().to_string();
        assert_eq!(
            error,
            "cluster C1 is not known to the nameserver; it knows: c1. Names are case-sensitive; see `mqadmin \
             clusterList`"
        );
    }

    #[test]
    fn the_master_is_asked_first() {
        let mut data =
            BrokerData { broker_addrs: BTreeMap::from([(0, "m".into()), (2, "s".into())]), ..BrokerData::default() };
        assert_eq!(any_address(&data), Some("m"));
        data.broker_addrs.remove(&0);
        assert_eq!(any_address(&data), Some("s"));
    }
}
