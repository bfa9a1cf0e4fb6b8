//! RocketMQ 5's controller: who is master of each broker set, replicated with Raft.
//!
//! ```text
//! brokers, mqadmin ──remoting──▶ rpc ──command──▶ raft ──committed──▶ replicas (pure: who is master)
//!                                 │                 │ views
//!                                 └─heartbeats──▶ watch ──▶ liveness (pure: who is alive) ──▶ probes, elections …
//! other controllers ────gRPC────▶ raft
//! ```
//! Everything on one port, that of the controller's own entry in `controllerDLegerPeers`.

pub mod config;
mod knock;
mod lag;
pub mod liveness;
mod metrics;
mod notify;
pub mod raft;
pub mod replicas;
mod rpc;
mod status;
mod switchover;
mod watch;
mod witness_io;

pub use config::Config;
pub use watch::settings as liveness_settings;

use crate::switchover::Switchover;
use ::raft::eraftpb::Message;
use anyhow::Context;
use arc_swap::ArcSwap;
use node::listener::{Limits, Listener};
use node::remoting::{Client, ClientOptions};
use node::tls::Tls;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Views and leadership changes on their way from the raft thread; when full, the raft thread waits.
const EVENTS: usize = 16_384;

/// A controller that has been started.
pub struct Running {
    /// Where it listens.
    pub local: SocketAddr,
    raft: raft::Raft,
    ended: JoinHandle<Option<String>>,
    server: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    /// Waits until the controller has stopped; an error if it had to give up.
    pub async fn finished(self) -> anyhow::Result<()> {
        let Running { raft, mut ended, server, stop, .. } = self;
        let why = tokio::select! {
            why = &mut ended => why,
            () = stop.cancelled() => {
                raft.stop().await;
                ended.await
            }
        };
        stop.cancel();
        // The listener ends by itself once cancelled; a panic in it has been reported.
        let _ = server.await;
        match why.context("the controller's task panicked")? {
            None => Ok(()),
            Some(why) => anyhow::bail!("controller stopped: {why}"),
        }
    }
}

/// Checks the configuration, binds, opens the data directory, starts Raft, serves. Returns as soon as requests are
/// served; a leader may be elected a moment later.
pub async fn start(config: Config, stop: CancellationToken) -> anyhow::Result<Running> {
    let peers = config.peers()?;
    config.warnings(&peers).iter().for_each(|it| warn!("{it}"));
    let credentials = config.access.credentials().map_err(config::ConfigError::NoCredentials)?;
    let tls = Tls::new(&config.tls)?;
    let options = ClientOptions { credentials: credentials.clone(), tls: tls.client.clone(), ..Default::default() };
    let door = raft::Door { group: config.group().to_owned(), credentials: credentials.clone(), tls: tls.client };
    let stop = stop.child_token();
    // First the port: two controllers that are the same one must not both touch the data.
    let listener = Listener::bind(&config.listen_address(&peers)).await?.with_tls(tls.server);
    let local = listener.local;
    let (events, listening) = mpsc::channel(EVENTS);
    let Started { raft, identity } = start_raft(&config, &peers, &door, &stop, events).await?;
    let black_list = rpc::black_list(&config);
    let group = config.group().to_owned();
    let config = Arc::new(ArcSwap::from_pointee(config));
    let own_name = peers.name(peers.self_id).unwrap_or_default().to_owned();
    let labels = metrics::common_labels(local.to_string(), group.clone(), own_name);
    let metrics = Arc::new(metrics::Metrics::new(&labels, &raft.metrics));
    let notifier = notify::Notifier::new(options.clone());
    let (watch, ended) = watch::start(config.clone(), raft.clone(), listening, notifier, metrics.clone());
    let transport = raft::transport::service(&identity, raft.clone(), door);
    let router = tonic::service::Routes::new(transport).into_axum_router();
    info!(%local, group, self_id = peers.name(peers.self_id), peers = ?peers.addresses, "controller serving");
    let switchover =
        Switchover { raft: raft.clone(), watch: watch.clone(), client: Client::new(options), metrics: metrics.clone() };
    let service = Arc::new(rpc::Service {
        config,
        peers,
        raft: raft.clone(),
        watch,
        switchover,
        metrics,
        local,
        black_list,
        access: rpc::Access::new(credentials),
    });
    let router = status::routes(router, service.clone());
    let server =
        tokio::spawn(listener.serve(Arc::new(rpc::Rpc(service)), Some(router), Limits::default(), stop.clone()));
    Ok(Running { local, raft, ended, server, stop })
}

struct Started {
    raft: raft::Raft,
    identity: raft::Identity,
}

async fn start_raft(
    config: &Config,
    peers: &config::Peers,
    door: &raft::Door,
    stop: &CancellationToken,
    events: mpsc::Sender<raft::Event>,
) -> anyhow::Result<Started> {
    let identity = identify(config, peers, door, stop).await?;
    let path = config.store_path();
    // Opening and replaying block, so not on a worker that serves connections.
    let opened = tokio::task::spawn_blocking(move || raft::RocksDisk::open(&path, &identity));
    let disk = opened.await.context("opening the data directory")??;
    let identity = disk.identity.clone();
    let address = |name: &String| peers.address_of(name).unwrap_or_default().to_owned();
    let founders = raft::Members::founders(identity.peers.iter().map(|it| (it.clone(), address(it))));
    let options = raft::Options {
        id: identity.raft_id(),
        election_timeout: config.election_timeout_mills,
        snapshot_entries: config.snapshot_entries.max(1),
        snapshot_bytes: config.snapshot_bytes.max(1) as usize,
        founders: founders.clone(),
        address: peers.own_address().to_owned(),
    };
    let (members, following) = channel::channel(founders);
    let (ban, mut banned) = mpsc::channel(1);
    let outbox: Box<dyn Fn(Message) -> bool + Send> =
        raft::transport::connect(&identity, peers.own_address(), following, ban, door.clone(), stop);
    let raft = tokio::task::spawn_blocking(move || raft::start(options, disk, outbox, events, members))
        .await
        .context("reading the data directory")??;
    let told = raft.clone();
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Some(Some(why)) = stop.run_until_cancelled(banned.recv()).await {
            told.fail(why);
        }
    });
    Ok(Started { raft, identity })
}

/// Who this controller is by its configuration; one that joins asks the others, unless its directory knows.
async fn identify(
    config: &Config,
    peers: &config::Peers,
    door: &raft::Door,
    stop: &CancellationToken,
) -> anyhow::Result<raft::Identity> {
    let group = config.group();
    let own_name = peers.name(peers.self_id).unwrap_or_default();
    let mut identity = raft::Identity::new(group, own_name, &peers.names);
    let path = config.store_path();
    let has_identity = || tokio::task::spawn_blocking(move || raft::RocksDisk::has_identity(&path));
    if config.controller_join && !has_identity().await.context("reading the data directory")?? {
        let others = peers.others().into_values().collect::<Vec<_>>();
        let (raft_id, founders) = raft::transport::join(group, own_name, &others, door, stop).await?;
        (identity.joined_as, identity.peers) = (Some(raft_id), founders);
    }
    Ok(identity)
}

#[cfg(test)]
mod tests;
