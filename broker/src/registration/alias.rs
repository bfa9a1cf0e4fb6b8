//! Announcing this replica under its failover alias ([`crate::alias`]) to one nameserver, for as long as it is a slave.
//!
//! The alias is a registration like any other, so it works with RocketMQ's nameservers. It has a connection of its own,
//! because those remove one broker for each connection that ends, and a short life: a producer that is sent to a dead
//! host's alias loses seconds, while nobody misses the alias of a slave that was silent for a moment.
//!
//! What the nameserver has is compared with what it should have, again and again: a nameserver may have restarted, and
//! RocketMQ's unregisters later than it says, maybe after the next registration.

use super::{RETRY, UNREGISTER_TIMEOUT};
use crate::alias::{self, Wanted};
use crate::broker::Broker;
use node::remoting::{CallError, Client};
use proto::alias::ALIAS_OF;
use proto::body::{DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper};
use proto::code::{request, response};
use proto::header::{
    QueryDataVersionRequest, QueryDataVersionResponse, RegisterBrokerRequest, UnregisterBrokerRequest,
};
use proto::topic::SELF_TEST_TOPIC;
use proto::{Command, MASTER_ID};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CHECK_PERIOD: Duration = Duration::from_secs(3);
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Three checks may be lost.
const LIFETIME_MS: i64 = 10_000;

pub(super) async fn keep_announced(broker: Arc<Broker>, client: Client, nameserver: String, stop: CancellationToken) {
    let mut changed = broker.registration.subscribe();
    let mut nameserver = Nameserver { broker, client, address: nameserver, announced: None };
    loop {
        changed.mark_unchanged();
        let pause = match nameserver.meet().await {
            Ok(pause) => pause,
            // The registration of the replica itself warns of it.
            Err(why) => {
                tracing::debug!(nameserver = nameserver.address, why, "alias");
                RETRY
            }
        };
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
    }
    if let Err(why) = nameserver.withdraw().await {
        tracing::info!(nameserver = nameserver.address, why, "alias not withdrawn; it ends with its connection");
    }
}

/// An alias as a nameserver was told it.
struct Announced {
    name: String,
    version: DataVersion,
    topics: BTreeSet<String>,
}

struct Nameserver {
    broker: Arc<Broker>,
    client: Client,
    address: String,
    /// What it was told last.
    announced: Option<Announced>,
}

impl Nameserver {
    /// Makes what it has what it should have; answers when to look again.
    async fn meet(&mut self) -> Result<Duration, String> {
        let wanted = alias::wanted(&self.broker.config.broker_name, &self.broker.role.borrow());
        let name = match wanted {
            Wanted::AsItIs => return Ok(CHECK_PERIOD),
            Wanted::Nothing => {
                self.withdraw().await?;
                return Ok(CHECK_PERIOD);
            }
            Wanted::Name(name) => name,
        };
        let settings = self.broker.metadata.settings().clone();
        let version = settings.topics.version;
        if let Some(it) = &self.announced
            && (&it.name, it.version) == (&name, version)
            && self.knows(it).await?
        {
            return Ok(CHECK_PERIOD);
        }
        let configs = alias::topics(&self.broker.config, &settings.topics);
        // A registration adds topics and takes none away. One that nobody may write to can stay.
        let goes = |it: &&String| *it != SELF_TEST_TOPIC && !configs.contains_key(*it);
        let gone = |it: &Announced| it.name != name || it.topics.iter().any(|it| goes(&it));
        let obsolete = self.announced.as_ref().is_some_and(gone);
        if obsolete {
            self.withdraw().await?;
        }
        let announced = Announced { name, version, topics: configs.keys().cloned().collect() };
        self.register(&announced, configs).await?;
        if self.announced.is_none() {
            tracing::info!(nameserver = self.address, alias = announced.name, "alias announced");
        }
        self.announced = Some(announced);
        Ok(if obsolete { RETRY } else { CHECK_PERIOD })
    }

    async fn call(&self, command: Command, timeout: Duration) -> Result<Command, String> {
        let why = |error: CallError| error.to_string();
        self.client.call(&self.address, command, timeout).await.map_err(why)
    }

    /// Counts as a heartbeat.
    async fn knows(&self, it: &Announced) -> Result<bool, String> {
        let config = &self.broker.config;
        let header = QueryDataVersionRequest {
            cluster_name: proto::alias::cluster(&config.broker_cluster_name),
            broker_name: it.name.clone(),
            broker_addr: self.broker.address.to_string(),
            broker_id: Some(MASTER_ID),
        };
        let query = Command::request(request::QUERY_DATA_VERSION).with_header(&header);
        let answer = self.call(query.with_body(proto::json::to_vec(&it.version)), CHECK_TIMEOUT).await?;
        let header: QueryDataVersionResponse = answer.header().map_err(|error| error.to_string())?;
        Ok(!header.changed)
    }

    async fn register(&self, it: &Announced, topics: BTreeMap<String, TopicConfig>) -> Result<(), String> {
        let broker = &self.broker;
        let config = &broker.config;
        let header = RegisterBrokerRequest {
            cluster_name: proto::alias::cluster(&config.broker_cluster_name),
            broker_name: it.name.clone(),
            broker_addr: broker.address.to_string(),
            broker_id: MASTER_ID,
            ha_server_addr: Some(broker.ha_address.clone()),
            heartbeat_timeout_millis: Some(LIFETIME_MS),
            enable_acting_master: Some(false),
            compressed: Some(false),
            body_crc32: Some(0),
            zone_name: None,
        };
        let body = RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
                data_version: it.version,
                topic_config_table: topics,
                ..Default::default()
            },
        };
        let command = Command::request(request::REGISTER_BROKER)
            .with_header(&header)
            .with_ext(ALIAS_OF, &config.broker_name)
            .with_body(proto::json::to_vec(&body));
        let answer = self.call(command, Duration::from_millis(config.register_broker_timeout_mills)).await?;
        match answer.code {
            response::SUCCESS => Ok(()),
            code => Err(format!("code {code}: {}", answer.remark.unwrap_or_default())),
        }
    }

    async fn withdraw(&mut self) -> Result<(), String> {
        let Some(it) = &self.announced else { return Ok(()) };
        let header = UnregisterBrokerRequest {
            cluster_name: proto::alias::cluster(&self.broker.config.broker_cluster_name),
            broker_name: it.name.clone(),
            broker_addr: self.broker.address.to_string(),
            broker_id: MASTER_ID,
        };
        let command = Command::request(request::UNREGISTER_BROKER).with_header(&header);
        self.call(command, UNREGISTER_TIMEOUT).await?;
        tracing::info!(nameserver = self.address, alias = it.name, "alias withdrawn");
        self.announced = None;
        Ok(())
    }
}
