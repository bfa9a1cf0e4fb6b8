//! The nameserver: a route registry that brokers refresh and clients ask. Stateless but for key-value settings;
//! nameservers do not know each other. [`route`] decides, [`rpc`] speaks RocketMQ's codes, [`registry`] owns both and
//! the clock.

mod config;
mod kv;
mod metrics;
mod registration;
mod registry;
mod route;
mod route_json;
mod rpc;
mod saved;
mod status;

pub use config::Config;

use anyhow::Context;
use node::clock::monotonic_ms;
use node::listener::{Limits, Listener};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A nameserver that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, with the real port when 0 was asked for.
    pub address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Running {
    /// Ends when the token given to [`start`] was cancelled and every connection is closed; fails if a part of the
    /// server died.
    pub async fn finished(self) -> anyhow::Result<()> {
        for task in self.tasks {
            task.await.context("a task of the nameserver failed")?;
        }
        Ok(())
    }
}

/// Binds and serves. Ready as soon as this returns; brokers register within their next period.
pub async fn start(config: Config, stop: CancellationToken) -> anyhow::Result<Running> {
    let tls = node::tls::Tls::new(&config.tls)?;
    let kv = saved::load_kv(&config.kv_path())?;
    let at = format!("{}:{}", config.bind_address, config.listen_port);
    let listener = Listener::bind(&at).await?.with_tls(tls.server);
    let address = listener.local;
    let idle = Duration::from_secs(config.server_channel_max_idle_time_seconds.max(1));
    let nameserver = rpc::Nameserver { config, kv, started: monotonic_ms(), ..Default::default() };
    let (registry, inbox) = registry::channel();
    let http = status::router(registry.clone());
    let limits = Limits { idle, ..Limits::default() };
    let tasks = [
        tokio::spawn(registry::run(nameserver, inbox, stop.clone())),
        tokio::spawn(listener.serve(Arc::new(registry), Some(http), limits, stop)),
    ];
    tracing::info!(%address, "nameserver serves");
    Ok(Running { address, tasks })
}

#[cfg(test)]
mod tests;
