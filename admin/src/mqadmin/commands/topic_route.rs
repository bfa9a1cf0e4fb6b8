//! `topicRoute`: which brokers have a topic.

use crate::mqadmin::java_text::pretty_json;
use proto::alias;
use proto::body::TopicRouteData;
use std::collections::BTreeMap;

/// The route as indented JSON.
pub fn json(route: &TopicRouteData) -> anyhow::Result<String> {
    Ok(pretty_json(&serde_json::to_value(route)?) + "\n")
}

fn line(cells: [&str; 6]) -> String {
    let [cluster, set, addresses, read, write, perm] = cells;
    format!("{cluster:<45} {set:<32} {addresses:<50} {read:<10} {write:<11} {perm:<5}\n")
}

/// The table of `-l`. Failover aliases are ways to queues that others have: they are in no total.
pub fn table(route: &TopicRouteData) -> String {
    let mut out = line(["#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm"]);
    let queues: BTreeMap<&str, _> = route.queue_datas.iter().map(|it| (it.broker_name.as_str(), it)).collect();
    let mut brokers: Vec<_> = route.broker_datas.iter().collect();
    brokers.sort_by(|left, right| left.broker_name.cmp(&right.broker_name));
    let (mut sets, mut read, mut write) = (0, 0, 0);
    for broker in brokers {
        // A set without queues cannot come from a nameserver; Java would fail on it.
        let Some(queue) = queues.get(broker.broker_name.as_str()) else { continue };
        if !alias::is_alias(&broker.cluster, &broker.broker_name) {
            sets += 1;
            read += queue.read_queue_nums;
            write += queue.write_queue_nums;
        }
        let addresses: Vec<String> =
            broker.broker_addrs.iter().map(|(id, address)| format!("{id}={address}")).collect();
        out += &line([
            &broker.cluster,
            &broker.broker_name,
            &format!("{{{}}}", addresses.join(", ")),
            &queue.read_queue_nums.to_string(),
            &queue.write_queue_nums.to_string(),
            &queue.perm.to_string(),
        ]);
    }
    out += &"-".repeat(158);
    out.push('\n');
    out + &line(["Total:", &sets.to_string(), "", &read.to_string(), &write.to_string(), ""])
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proto::body::{BrokerData, QueueData};

    fn route() -> TopicRouteData {
        TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: BTreeMap::from([(0, "127.0.0.1:10911".into()), (2, "127.0.0.1:10921".into())]),
                broker_name: "broker-a".into(),
                cluster: "DefaultCluster".into(),
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: "broker-a".into(),
                perm: 6,
                read_queue_nums: 8,
                write_queue_nums: 8,
                ..QueueData::default()
            }],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn json_is_what_a_jvm_prints() {
        let golden = "{\n\t\"brokerDatas\":[\n\t\t{\n\t\t\t\"brokerAddrs\":{\n\t\t\t\t0:\"127.0.0.1:10911\",\n\t\t\t\t2:\"127.0.0.1:10921\"\n\t\t\t},\n\t\t\t\"brokerName\":\"broker-a\",\n\t\t\t\"cluster\":\"DefaultCluster\",\n\t\t\t\"enableActingMaster\":false\n\t\t}\n\t],\n\t\"filterServerTable\":{},\n\t\"queueDatas\":[\n\t\t{\n\t\t\t\"brokerName\":\"broker-a\",\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":8\n\t\t}\n\t]\n}\n";
        assert_eq!(json(&route()).unwrap(), golden);
    }

    #[test]
    fn the_list_sums_up() {
        expect![[r"
            #ClusterName                                  #BrokerName                      #BrokerAddrs                                       #ReadQueue #WriteQueue #Perm
            DefaultCluster                                broker-a                         {0=127.0.0.1:10911, 2=127.0.0.1:10921}             8          8           6    
            --------------------------------------------------------------------------------------------------------------------------------------------------------------
            Total:                                        1                                                                                   8          8                
        "]]
        .assert_eq(&table(&route()));
    }

    #[test]
    fn aliases_are_in_no_total() {
        let mut route = route();
        route.broker_datas.push(BrokerData {
            broker_addrs: BTreeMap::from([(0, "127.0.0.1:10921".into())]),
            broker_name: "broker-a@2".into(),
            cluster: "DefaultCluster@alias".into(),
            ..BrokerData::default()
        });
        route.queue_datas.push(QueueData {
            broker_name: "broker-a@2".into(),
            perm: 2,
            write_queue_nums: 1,
            ..QueueData::default()
        });
        expect![[r#"
            #ClusterName                                  #BrokerName                      #BrokerAddrs                                       #ReadQueue #WriteQueue #Perm
            DefaultCluster                                broker-a                         {0=127.0.0.1:10911, 2=127.0.0.1:10921}             8          8           6    
            DefaultCluster@alias                          broker-a@2                       {0=127.0.0.1:10921}                                0          1           2    
            --------------------------------------------------------------------------------------------------------------------------------------------------------------
            Total:                                        1                                                                                   8          8                
        "#]]
        .assert_eq(&table(&route));
    }
}
