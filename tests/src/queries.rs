//! Questions to controllers, nameservers and brokers, each one request on a fresh connection. `None`: no answer, or not
//! a good one (yet).

use crate::record::{self, Record};
use crate::wire;
use bytes::Bytes;
use proto::Command;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const OK: i32 = 0;
/// The consumer group of whoever needs no other.
pub const TEST_GROUP: &str = "test-consumer";
/// How long one question may take: short, because the asked one may be stopped and there are others.
const PROMPT: Duration = Duration::from_millis(500);

/// What the controllers have committed about a broker set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub master_id: i64,
    pub master_address: String,
    pub master_epoch: i32,
    pub sync_state_set_epoch: i32,
    pub in_sync: BTreeSet<i64>,
    pub not_in_sync: BTreeSet<i64>,
    /// Addresses by broker id, of all replicas.
    pub addresses: BTreeMap<i64, String>,
}

/// One entry of a replica's epoch history: (epoch, start, end).
pub type EpochEntry = (i32, i64, i64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    pub broker_id: i64,
    pub entries: Vec<EpochEntry>,
    pub max_offset: i64,
}

/// Asks one controller who leads (1005).
pub fn leader_according_to(controller: &str) -> Option<String> {
    let answer = ask(controller, Command::request(1005))?;
    answer.ext.get("controllerLeaderAddress").filter(|it| !it.is_empty()).cloned()
}

/// 1006, at the leader.
pub fn replicas(leader: &str, broker_set: &str) -> Option<Replicas> {
    let body = serde_json::to_vec(&[broker_set]).expect("a list of text is JSON");
    let answer = ask(leader, Command::request(1006).with_body(body))?;
    let all: Value = serde_json::from_slice(&answer.body).ok()?;
    let info = &all["replicasInfoTable"][broker_set];
    let mut addresses = BTreeMap::new();
    let mut ids = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|it| {
            let id = it["brokerId"].as_i64()?;
            addresses.insert(id, it["brokerAddress"].as_str()?.to_owned());
            Some(id)
        })
        .collect::<BTreeSet<_>>()
    };
    let in_sync = ids(&info["inSyncReplicas"]);
    let not_in_sync = ids(&info["notInSyncReplicas"]);
    Some(Replicas {
        master_id: info["masterBrokerId"].as_i64()?,
        master_address: info["masterAddress"].as_str()?.to_owned(),
        master_epoch: i32::try_from(info["masterEpoch"].as_i64()?).ok()?,
        sync_state_set_epoch: i32::try_from(info["syncStateSetEpoch"].as_i64()?).ok()?,
        in_sync,
        not_in_sync,
        addresses,
    })
}

/// 1002 as an operator sends it: the replica `id` shall be master.
pub fn elect(leader: &str, cluster: &str, broker_set: &str, id: i64) -> std::io::Result<Command> {
    let request = Command::request(1002)
        .with_ext("clusterName", cluster)
        .with_ext("brokerName", broker_set)
        .with_ext("brokerId", id)
        .with_ext("designateElect", true);
    wire::call(leader, request, Duration::from_secs(5))
}

/// 31011: what a controller says about a broker set, in words. Empty if it says nothing.
pub fn explain(controller: &str, broker_set: &str) -> String {
    let answer = ask(controller, Command::request(31011).with_ext("brokerName", broker_set));
    answer.map(|it| String::from_utf8_lossy(&it.body).into_owned()).unwrap_or_default()
}

/// 1007.
pub fn epochs(broker: &str) -> Option<Epochs> {
    let answer = ask(broker, Command::request(1007))?;
    let all: Value = serde_json::from_slice(&answer.body).ok()?;
    let entry = |it: &Value| {
        let number = |key: &str| it[key].as_i64();
        Some((i32::try_from(number("epoch")?).ok()?, number("startOffset")?, number("endOffset")?))
    };
    Some(Epochs {
        broker_id: all["brokerId"].as_i64()?,
        entries: all["epochList"].as_array()?.iter().map(entry).collect::<Option<_>>()?,
        max_offset: all["maxOffset"].as_i64()?,
    })
}

/// Whether a replica, master or not, has the topic's configuration (21).
pub fn knows_topic(broker: &str, topic: &str) -> bool {
    let all = ask(broker, Command::request(21)).and_then(|it| serde_json::from_slice::<Value>(&it.body).ok());
    all.is_some_and(|it| it["topicConfigTable"].get(topic).is_some())
}

/// Addresses by broker id that a nameserver gives for `topic`, of one broker set (105).
pub fn route(nameserver: &str, topic: &str, broker_set: &str) -> Option<BTreeMap<i64, String>> {
    let request = Command::request(105).with_ext("topic", topic).with_ext("acceptStandardJsonOnly", true);
    let answer = ask(nameserver, request)?;
    let all: Value = serde_json::from_slice(&answer.body).ok()?;
    let set = all["brokerDatas"].as_array()?.iter().find(|it| it["brokerName"] == broker_set)?.clone();
    let addresses = set["brokerAddrs"].as_object()?.iter();
    addresses.map(|(id, address)| Some((id.parse().ok()?, address.as_str()?.to_owned()))).collect()
}

/// Where the master is, according to a nameserver.
pub fn master_address(nameserver: &str, topic: &str, broker_set: &str) -> Option<String> {
    route(nameserver, topic, broker_set)?.remove(&0)
}

/// 17: creates or changes a topic; the answer, whatever it is.
pub fn create_topic(broker: &str, topic: &str, queues: i32) -> std::io::Result<Command> {
    let request = Command::request(17)
        .with_ext("topic", topic)
        .with_ext("defaultTopic", "TBW102")
        .with_ext("readQueueNums", queues)
        .with_ext("writeQueueNums", queues)
        .with_ext("perm", 6)
        .with_ext("topicFilterType", "SINGLE_TAG")
        .with_ext("topicSysFlag", 0)
        .with_ext("order", false);
    wire::call(broker, request, Duration::from_secs(5))
}

/// 200: creates or changes a subscription group; the answer, whatever it is.
pub fn create_group(broker: &str, group: &str) -> std::io::Result<Command> {
    let body = serde_json::to_vec(&serde_json::json!({ "groupName": group })).expect("a map is JSON");
    wire::call(broker, Command::request(200).with_body(body), Duration::from_secs(5))
}

/// 310, as a Java producer sends it.
pub fn send_request(topic: &str, queue_id: i32, body: impl Into<Bytes>) -> Command {
    let born = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    Command::request(310)
        .with_ext("a", "test-producer")
        .with_ext("b", topic)
        .with_ext("c", "TBW102")
        .with_ext("d", 4)
        .with_ext("e", queue_id)
        .with_ext("f", 0)
        .with_ext("g", born)
        .with_ext("h", 0)
        .with_ext("i", "")
        .with_ext("j", 0)
        .with_ext("k", false)
        .with_ext("m", false)
        .with_body(body)
}

/// 11 without long polling: up to 32 messages from `offset`, and where to go on. Errors name what is wrong with the
/// answer.
pub fn pull(
    connection: &mut wire::Connection,
    topic: &str,
    queue_id: i32,
    offset: i64,
) -> Result<(Vec<Record>, i64), String> {
    let request = pull_request(TEST_GROUP, topic, queue_id, offset, Duration::ZERO);
    pulled(&connection.call(request, Duration::from_secs(5)).map_err(|error| error.to_string())?)
}

/// The messages of a pull's answer, and where to go on.
pub fn pulled(answer: &Command) -> Result<(Vec<Record>, i64), String> {
    let next = answer.ext.get("nextBeginOffset").and_then(|it| it.parse().ok());
    let next: i64 = next.ok_or_else(|| format!("pull answered {}: {:?}", answer.code, answer.remark))?;
    match answer.code {
        OK => Ok((record::decode_all(&answer.body)?, next)),
        19..=21 => Ok((Vec::new(), next)),
        code => Err(format!("pull answered {code}: {:?}", answer.remark)),
    }
}

/// Every message of a queue, as that broker serves it. `None` while it does not.
pub fn read_queue(broker: &str, topic: &str, queue_id: i32) -> Option<Vec<Record>> {
    let mut connection = wire::Connection::open(broker, Duration::from_secs(5)).ok()?;
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let (records, next) = pull(&mut connection, topic, queue_id, offset).ok()?;
        if records.is_empty() {
            return Some(all);
        }
        all.extend(records);
        offset = next;
    }
}

/// Flags of a pull: a subscription comes with it; it may be held.
const SUBSCRIPTION: i32 = 4;
const SUSPEND: i32 = 2;

/// 11: up to 32 messages from `offset`. Where there is none the broker waits so long for one.
pub fn pull_request(group: &str, topic: &str, queue_id: i32, offset: i64, wait: Duration) -> Command {
    Command::request(11)
        .with_ext("consumerGroup", group)
        .with_ext("topic", topic)
        .with_ext("queueId", queue_id)
        .with_ext("queueOffset", offset)
        .with_ext("maxMsgNums", 32)
        .with_ext("sysFlag", SUBSCRIPTION | if wait.is_zero() { 0 } else { SUSPEND })
        .with_ext("commitOffset", 0)
        .with_ext("suspendTimeoutMillis", wait.as_millis())
        .with_ext("subscription", "*")
        .with_ext("subVersion", 0)
        .with_ext("expressionType", "TAG")
}

/// 30: where a queue ends.
pub fn queue_end(broker: &str, topic: &str, queue_id: i32) -> Option<i64> {
    let request = Command::request(30).with_ext("topic", topic).with_ext("queueId", queue_id);
    ask(broker, request)?.ext.get("offset")?.parse().ok()
}

/// 15: commits a consumer group's offset.
pub fn commit_offset(broker: &str, group: &str, topic: &str, queue_id: i32, offset: i64) -> std::io::Result<Command> {
    let request = offset_request(15, group, topic, queue_id).with_ext("commitOffset", offset);
    wire::call(broker, request, Duration::from_secs(5))
}

/// 14: a consumer group's committed offset.
pub fn committed_offset(broker: &str, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    ask(broker, offset_request(14, group, topic, queue_id))?.ext.get("offset")?.parse().ok()
}

fn offset_request(code: i32, group: &str, topic: &str, queue_id: i32) -> Command {
    Command::request(code).with_ext("consumerGroup", group).with_ext("topic", topic).with_ext("queueId", queue_id)
}

/// The answer if it is a good one.
fn ask(address: &str, request: Command) -> Option<Command> {
    wire::call(address, request, PROMPT).ok().filter(|it| it.code == OK)
}
