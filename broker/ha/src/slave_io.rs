//! The slave's connection to its master: finds the HA address, connects, and carries out what the pure [`Slave`]
//! decides.
//!
//! Runs until it is aborted, which happens only between two steps: no store operation is ever left half done by a role
//! change.

use crate::driver::Event;
use crate::shared::Shared;
use crate::slave::{Input, LogFacts, Output, Peer, Slave, SlaveConfig};
use crate::{Master, controllers::Controllers};
use anyhow::Context;
use bytes::{Buf, BytesMut};
use proto::ha::{MasterPacket, encode_ack};
use proto::{BrokerId, Decoded, Epoch, Offset};
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// A new master opens its HA port for us within milliseconds of the moment we hear of it.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One read: as much as one large packet of ours.
const READ_BUFFER: usize = 1 << 20;

pub(crate) struct Link {
    pub shared: Arc<Shared>,
    pub controllers: Arc<Controllers>,
    /// The runtime the remoting client lives on.
    pub main: tokio::runtime::Handle,
    pub events: mpsc::Sender<Event>,
    pub me: BrokerId,
    pub epoch: Epoch,
    pub master: Master,
}

impl Link {
    pub(crate) async fn run(self) {
        let mut core = Slave::new(self.core_config());
        let mut pause = FIRST_RETRY;
        loop {
            let ended = match self.connect().await {
                Ok(stream) => self.session(&mut core, stream).await.map_or_else(|e| e, |never| match never {}),
                Err(e) => e,
            };
            // What our own store refuses it will refuse again.
            let copied = core.in_transfer() && ended.downcast_ref::<StoreError>().is_none();
            if copied || pause == FIRST_RETRY {
                let why = format!("{ended:#}");
                info!(master = self.master.id, %why, "replication connection ended, connecting again");
            }
            pause = if copied { FIRST_RETRY } else { (pause * 2).min(LAST_RETRY) };
            let _stopping = self.events.send(Event::CopyingFrom(None)).await;
            tokio::time::sleep(pause).await;
        }
    }

    fn core_config(&self) -> SlaveConfig {
        let config = &self.shared.config;
        SlaveConfig {
            me: self.me,
            promised: self.epoch,
            // Only a Baton controller knows HA addresses, and only of Baton brokers.
            peer: if self.master.ha_address.is_some() { Peer::Baton } else { Peer::Java },
            sync_from_last_file: config.sync_from_last_file,
            async_learner: config.async_learner,
            heartbeat_ms: config.ha_send_heartbeat_interval_ms,
            housekeeping_ms: config.ha_housekeeping_interval_ms,
        }
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let address = match &self.master.ha_address {
            Some(known) => known.clone(),
            None => self
                .ask_ha_address()
                .await
                .with_context(|| format!("no HA address of the master {}", self.master.address))?,
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await;
        let stream =
            connected.context("timeout").and_then(|it| Ok(it?)).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let _stopping = self.events.send(Event::CopyingFrom(Some(address))).await;
        Ok(stream)
    }

    async fn ask_ha_address(&self) -> Option<String> {
        let (controllers, master) = (self.controllers.clone(), self.master.clone());
        self.main.spawn(async move { controllers.ha_address(&master).await }).await.ok()?
    }

    async fn session(&self, core: &mut Slave, mut stream: TcpStream) -> anyhow::Result<std::convert::Infallible> {
        let store = &self.shared.store;
        let mut buf = BytesMut::with_capacity(READ_BUFFER);
        let mut flushed = store.watch_flushed();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let history = (*self.shared.epochs.current()).clone();
        let facts = LogFacts { history, min: store.min_offset(), max: store.max_offset() };
        self.step(core, Input::Connected(facts), &mut stream).await?;
        loop {
            tokio::select! {
                read = stream.read_buf(&mut buf) => {
                    anyhow::ensure!(read? > 0, "closed by the master");
                    self.take(core, &mut buf, &mut stream).await?;
                    buf.reserve(READ_BUFFER / 2);
                }
                _ = flushed.changed(), if self.shared.config.sync_flush => {}
                _ = tick.tick() => self.step(core, Input::Tick, &mut stream).await?,
            }
            let reportable = self.shared.own_end();
            self.step(core, Input::Reportable(reportable), &mut stream).await?;
        }
    }

    /// Everything that has arrived: bodies are appended as they come, not packet by packet.
    async fn take(&self, core: &mut Slave, buf: &mut BytesMut, stream: &mut TcpStream) -> anyhow::Result<()> {
        loop {
            let body = core.body_left().min(buf.len());
            if body > 0 {
                self.shared.store.append_replicated(core.next_offset(), &buf[..body])?;
                buf.advance(body);
                self.step(core, Input::Appended(body), stream).await?;
            }
            if buf.is_empty() {
                return Ok(());
            }
            match MasterPacket::decode(buf)? {
                Decoded::NeedMore(_) => return Ok(()),
                Decoded::Complete(packet, used) => {
                    buf.advance(used);
                    self.step(core, Input::Packet(packet), stream).await?;
                }
            }
        }
    }

    async fn step(&self, core: &mut Slave, input: Input, stream: &mut TcpStream) -> anyhow::Result<()> {
        let mut out = Vec::new();
        core.step(node::clock::monotonic_ms(), input, &mut out);
        for output in out {
            self.perform(output, stream).await?;
        }
        Ok(())
    }

    async fn perform(&self, output: Output, stream: &mut TcpStream) -> anyhow::Result<()> {
        let store = &self.shared.store;
        match output {
            Output::SendHandshake(it) => stream.write_all(&it.encode()).await?,
            Output::SendAck(offset) => stream.write_all(&encode_ack(offset)).await?,
            Output::Truncate { to, epoch } => self.truncate(to, epoch)?,
            Output::StartAt(offset) => store.start_at(offset)?,
            Output::SaveHistory(history) => self.shared.epochs.save(history)?,
            Output::Confirm(offset) if offset > store.confirm_offset() => store.set_confirm_offset(offset),
            Output::Confirm(_) => {}
            Output::AskController => drop(self.events.send(Event::PollNow).await),
            Output::Disconnect(why) => anyhow::bail!(why),
        }
        Ok(())
    }

    fn truncate(&self, to: Offset, epoch: Epoch) -> anyhow::Result<()> {
        let end = self.shared.store.max_offset();
        let tail = self.shared.store.truncate(to, epoch)?;
        warn!(
            from = to,
            to = end,
            bytes = end - to,
            epoch,
            kept = tail.map(|it| it.path.display().to_string()),
            "cut the log to where it agrees with the master's"
        );
        Ok(())
    }
}
