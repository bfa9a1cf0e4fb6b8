//! One replica of a broker set: requests of clients and operators, topics, groups and consumer offsets, composed from
//! the message store
//! ([`store`]) and replication ([`ha`]).
//!
//! Who is master is decided elsewhere; this crate follows [`ha::RoleState`]: it serves what the role allows, takes its
//! settings from the master while it is a slave, and tells the nameservers when anything changes.

mod alias;
mod broker;
mod config;
mod delay;
mod disk;
mod duties;
mod files;
mod forward;
mod hold;
mod members;
mod memory;
pub mod meta;
mod metadata;
mod metadata_sync;
mod metrics;
mod put;
mod readers;
mod registration;
mod rpc;
mod statistics;
mod status;
mod sync_wire;
mod unique_key;
pub mod verdict;

pub use config::{BrokerRole, Config, ConfigProblem, FlushDiskType};
pub use sync_wire::{SyncBody, SyncVersion};

use crate::broker::{Broker, Parts};
use crate::metadata::Metadata;
use anyhow::Context;
use ha::Replication;
use node::access::Access;
use node::listener::{Limits, Listener};
use node::remoting::{Client, ClientOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{Recovery, Store};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Said with a `listenPort` that cannot be bound.
pub const PORT_TAKEN: &str = "another broker may be running; choose another `listenPort`";
/// How long a master that is told to end waits for another replica to take over.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long peers have to go away after that; clients that know how take milliseconds.
const GOODBYE: Duration = Duration::from_secs(1);

/// A started broker.
pub struct Running {
    /// What clients are told: `brokerIP1` and the port that is really listened on.
    pub address: SocketAddr,
    main: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Ends when the token given to [`start`] was cancelled and everything is on disk.
    pub async fn finished(self) -> anyhow::Result<()> {
        self.main.await.context("the broker's main task")?
    }
}

/// Returns when the broker listens and takes part in its set. Which role it has comes later, from the controllers.
pub async fn start(config: Config, stop: CancellationToken) -> anyhow::Result<Running> {
    config.validate()?;
    let tls = node::tls::Tls::new(&config.tls)?;
    // Bound first: a port in use is an error before anything is touched.
    let listener = Listener::bind(&format!("{}:{}", config.bind_address, config.listen_port))
        .await
        .context(PORT_TAKEN)?
        .with_tls(tls.server.clone());
    let vip = vip_listener(&config).await.map(|it| it.with_tls(tls.server));
    let port = listener.local.port();
    let address = SocketAddr::new(config.ip1()?, port);
    tracing::info!(%address, durability = config.durability_in_words(), "starting");
    warn_about_loopback(&config, address);
    let (config, store, recovery, metadata) = open(config).await?;
    for cut in &recovery.cut {
        tracing::warn!(cut, "recovery cut the log");
    }
    let client =
        Client::new(ClientOptions { credentials: config.credentials()?, tls: tls.client, ..ClientOptions::default() });
    // Replication ends after the listener and the nameservers know, so not by the caller's token.
    let inner = CancellationToken::new();
    let ha_config = config.ha(port, recovery.lost_acknowledged(config.store().flush))?;
    let ha_address = ha_config.ha_address.clone();
    let replication = Replication::start(ha_config, store.clone(), client.clone(), inner.clone()).await?;
    let broker = Broker::new(Parts { config, address, ha_address, store, replication, metadata });
    let main = tokio::spawn(run(broker, listener, vip, client, stop, inner));
    Ok(Running { address, main })
}

/// The second port, which nobody but Java's slaves depends on.
async fn vip_listener(config: &Config) -> Option<Listener> {
    let port = config.vip_port()?;
    match Listener::bind(&format!("{}:{port}", config.bind_address)).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            let advice = "Java slaves of this broker get no topics; choose another `listenPort`, or set \
                          `enableVipListener=false` if there are none";
            tracing::warn!(%error, advice, "the second port, listenPort - 2, is not served");
            None
        }
    }
}

async fn open(config: Config) -> anyhow::Result<(Config, Arc<Store>, Recovery, Metadata)> {
    // Recovery reads the whole tail of the log.
    tokio::task::spawn_blocking(move || {
        let (store, recovery) = Store::open(config.store())?;
        let metadata = Metadata::open(&config, &config.root())?;
        Ok((config, store, recovery, metadata))
    })
    .await?
}

/// Other hosts cannot reach a loopback address.
fn warn_about_loopback(config: &Config, address: SocketAddr) {
    let elsewhere =
        |list: Vec<String>| list.into_iter().find(|it| !it.starts_with("127.") && !it.starts_with("localhost"));
    if address.ip().is_loopback()
        && let Some(other) = elsewhere(config.controllers()).or_else(|| elsewhere(config.nameservers()))
    {
        tracing::warn!(%address, other, "clients on other hosts cannot reach this address; set `brokerIP1`");
    }
}

async fn run(
    broker: Arc<Broker>,
    listener: Listener,
    vip: Option<Listener>,
    client: Client,
    stop: CancellationToken,
    inner: CancellationToken,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let access = Access::new(broker.config.wanted_credentials()?);
    let handler = Arc::new(rpc::Rpc { broker: broker.clone(), access });
    let http = status::router(broker.clone());
    let (mut listening, goodbye) = (JoinSet::new(), CancellationToken::new());
    if let Some(vip) = vip.map(|it| it.with_goodbye(goodbye.clone())) {
        listening.spawn(vip.serve(handler.clone(), None, Limits::default(), inner.clone()));
    }
    let local = handler.clone();
    let local = Box::new(move |connection: &_, command, turn| local.dispatch(connection, command, Some(turn)));
    tasks.spawn(forward::run(broker.clone(), client.separate(), local, inner.clone()));
    let listener = listener.with_goodbye(goodbye.clone());
    listening.spawn(listener.serve(handler, Some(http), Limits::default(), inner.clone()));
    tasks.spawn(duties::follow_role(broker.clone(), inner.clone()));
    tasks.spawn(duties::every_second(broker.clone(), inner.clone()));
    tasks.spawn(duties::publish_offsets(broker.clone(), inner.clone()));
    tasks.spawn(duties::save_offsets(broker.clone(), inner.clone()));
    tasks.spawn(duties::save_delays(broker.clone(), inner.clone()));
    tasks.spawn(delay::run(broker.clone(), inner.clone()));
    tasks.spawn(duties::clean_up(broker.clone(), inner.clone()));
    tasks.spawn(hold::drive(broker.clone(), broker.store.clone(), inner.clone()));
    tasks.spawn(metadata_sync::run(broker.clone(), client.clone(), inner.clone()));
    let leaving = CancellationToken::new();
    let registration = tokio::spawn(registration::run(broker.clone(), client, leaving.clone()));

    stop.cancelled().await;
    tracing::info!("stopping");
    // Writes go on until another replica has them (S10).
    if let Err(why) = broker.replication.hand_over(HAND_OVER).await {
        tracing::warn!(why, "stopping as the master: no other replica has taken over");
    }
    leaving.cancel();
    // Whoever asks from now on is told to ask anew: the next process on this address, or another replica.
    goodbye.cancel();
    broker.hold.close();
    let gone = async { while listening.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, gone).await.is_err() {
        tracing::info!("some peers have not gone away");
    }
    broker.stopping.store(true, Ordering::Release);
    registration.await.context("the registration task")?;
    broker.replication.shutdown().await;
    inner.cancel();
    for tasks in [&mut listening, &mut tasks] {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task of the broker")?;
        }
    }
    broker.metadata.save_offsets().await;
    broker.metadata.save_delays().await;
    let store = broker.store.clone();
    tokio::task::spawn_blocking(move || store.shutdown()).await??;
    tracing::info!("stopped");
    Ok(())
}
