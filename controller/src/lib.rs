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
pub mod liveness;
mod notify;
pub mod raft;
pub mod replicas;
mod rpc;
mod status;
mod watch;

pub use config::Config;

use ::raft::eraftpb::Message;
use anyhow::Context;
use arc_swap::ArcSwap;
use node::listener::{Limits, Listener};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
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
                raft.stop();
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
    let stop = stop.child_token();
    // First the port: two controllers that are the same one must not both touch the data.
    let listener = Listener::bind(&config.listen_address(&peers)).await?;
    let local = listener.local;
    let (events, listening) = mpsc::channel(EVENTS);
    let raft = start_raft(&config, &peers, &stop, events).await?;
    let black_list = rpc::black_list(&config);
    let group = config.controller_d_leger_group.clone();
    let config = Arc::new(ArcSwap::from_pointee(config));
    let (watch, ended) = watch::start(config.clone(), raft.clone(), listening, notify::Notifier::new());
    let transport = raft::transport::service(&group, peers.self_id, peers.others(), raft.clone());
    let router = tonic::service::Routes::new(transport).into_axum_router();
    info!(%local, group, self_id = peers.name(peers.self_id), peers = ?peers.addresses, "controller serving");
    let service = Arc::new(rpc::Service { config, peers, raft: raft.clone(), watch, black_list });
    let router = status::routes(router, service.clone());
    let server =
        tokio::spawn(listener.serve(Arc::new(rpc::Rpc(service)), Some(router), Limits::default(), stop.clone()));
    Ok(Running { local, raft, ended, server, stop })
}

async fn start_raft(
    config: &Config,
    peers: &config::Peers,
    stop: &CancellationToken,
    events: mpsc::Sender<raft::Event>,
) -> anyhow::Result<raft::Raft> {
    let self_id = peers.name(peers.self_id).unwrap_or_default();
    let identity = raft::Identity::new(&config.controller_d_leger_group, self_id, &peers.names);
    let path = config.store_path();
    let options = raft::Options {
        id: peers.self_id,
        election_timeout: config.election_timeout_mills,
        snapshot_entries: config.snapshot_entries.max(1),
        snapshot_bytes: config.snapshot_bytes.max(1) as usize,
    };
    let outbox: Box<dyn Fn(Message) -> bool + Send> =
        raft::transport::connect(&config.controller_d_leger_group, &peers.others(), stop);
    // Opening and replaying block, so not on a worker that serves connections.
    let started = tokio::task::spawn_blocking(move || {
        let disk = raft::RocksDisk::open(&path, &identity)?;
        raft::start(options, disk, outbox, events)
    });
    started.await.context("opening the data directory")?
}

#[cfg(test)]
mod tests;
