//! The HA listener and, per slave, the connection that sends the log and reads acknowledgements.
//!
//! Bytes go straight from the map to the socket, header and body in one vectored write; the writer sleeps on the
//! store's own wake-up. While this replica is not master connections are closed on arrival, so that a slave tries again
//! in milliseconds.

use crate::driver::Event;
use crate::epochs::EpochHistory;
use crate::master::LinkId;
use crate::shared::Shared;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use proto::ha::{MAX_TRANSFER_BODY, MasterHandshake, SlaveHandshake, SlavePacket, TransferHeader};
use proto::{Decoded, Epoch, Offset};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use store::LogSlice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

/// One write to a slave that is behind: large enough that the system call does not matter, a quarter of Java's receive
/// buffer.
const CATCH_UP_BATCH: usize = MAX_TRANSFER_BODY / 4;
/// A confirm offset that moved without new bytes is told to the slaves after this long.
const CONFIRM_DELAY: Duration = Duration::from_millis(50);

/// One epoch of mastership as its connections see it. Dropping the links means cancelling and waiting for all of them.
pub(crate) struct Term {
    pub epoch: Epoch,
    history: Arc<EpochHistory>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Term {
    pub(crate) fn new(epoch: Epoch, history: Arc<EpochHistory>) -> Term {
        Term { epoch, history, cancel: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

/// Lets connections in while there is a term.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    term: Mutex<Option<Arc<Term>>>,
    links: AtomicU64,
}

/// What the replication task keeps of a connection.
pub(crate) struct LinkHandle {
    pub peer: String,
    pub close: CancellationToken,
    pub transfer_offset: Arc<AtomicI64>,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>, events: mpsc::Sender<Event>) -> Listener {
        Listener { shared, events, term: Mutex::new(None), links: AtomicU64::new(1) }
    }

    pub(crate) fn open(&self, term: Term) {
        *self.term.lock() = Some(Arc::new(term));
    }

    /// When this returns no connection is left, and no acknowledgement of theirs is on its way except in the event
    /// queue.
    pub(crate) async fn close(&self) {
        let term = self.term.lock().take();
        if let Some(term) = term {
            term.cancel.cancel();
            term.tasks.close();
            term.tasks.wait().await;
        }
    }

    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.accept(stream, peer.to_string()),
                Err(e) => {
                    // Out of file descriptors, mostly: it passes.
                    info!(%e, "cannot accept an HA connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream, peer: String) {
        let Some(term) = self.term.lock().clone() else {
            return debug!(%peer, "HA connection closed: not the master");
        };
        let link = Link {
            id: self.links.fetch_add(1, Ordering::Relaxed),
            shared: self.shared.clone(),
            events: self.events.clone(),
            term: term.clone(),
            peer,
            transfer_offset: Arc::new(AtomicI64::new(-1)),
            greeted: AtomicBool::new(false),
            close: term.cancel.child_token(),
        };
        term.tasks.spawn(link.run(stream));
    }
}

struct Link {
    id: LinkId,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    term: Arc<Term>,
    peer: String,
    transfer_offset: Arc<AtomicI64>,
    /// The handshake has come.
    greeted: AtomicBool,
    close: CancellationToken,
}

impl Link {
    async fn run(self, stream: TcpStream) {
        let why = tokio::select! {
            ended = self.serve(stream) => ended.map_or_else(|e| e.to_string(), |never| match never {}),
            () = self.close.cancelled() => "closed by this side".to_owned(),
        };
        match self.greeted.load(Ordering::Relaxed) {
            true => info!(peer = %self.peer, %why, "HA connection of a slave ended"),
            // A controller that looks whether anybody listens (S6), most of the time.
            false => debug!(peer = %self.peer, %why, "HA connection ended before the handshake"),
        }
        let down = Event::LinkDown { epoch: self.term.epoch, link: self.id };
        // The replication task may be waiting for this very task to end; then it forgets all links of the term by
        // itself.
        tokio::select! {
            _ = self.events.send(down) => {}
            () = self.term.cancel.cancelled() => {}
        }
    }

    async fn serve(&self, stream: TcpStream) -> anyhow::Result<std::convert::Infallible> {
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.into_split();
        let mut buf = BytesMut::with_capacity(4096);
        let slave = self.read_handshake(&mut reader, &mut buf).await?;
        self.greeted.store(true, Ordering::Relaxed);
        info!(peer = %self.peer, slave = slave.slave, "slave connected");
        self.announce(slave).await;
        writer.write_all(&self.handshake()).await?;
        let (first_ack, request) = oneshot::channel();
        tokio::select! {
            ended = self.read_acks(reader, buf, first_ack) => ended,
            ended = self.send(writer, request, slave.sync_from_last_file) => ended,
        }
    }

    async fn read_handshake(&self, reader: &mut OwnedReadHalf, buf: &mut BytesMut) -> anyhow::Result<SlaveHandshake> {
        loop {
            match SlavePacket::decode(buf)? {
                Decoded::Complete(SlavePacket::Handshake(it), used) => {
                    buf.advance(used);
                    return Ok(it);
                }
                Decoded::Complete(other, _) => anyhow::bail!("{other:?} before the handshake"),
                Decoded::NeedMore(_) => self.read(reader, buf).await?,
            }
        }
    }

    /// A slave that says nothing for `haHousekeepingInterval` is gone.
    async fn read(&self, reader: &mut OwnedReadHalf, buf: &mut BytesMut) -> anyhow::Result<()> {
        let silence = Duration::from_millis(self.shared.config.ha_housekeeping_interval_ms);
        buf.reserve(4096);
        match tokio::time::timeout(silence, reader.read_buf(buf)).await {
            Ok(Ok(0)) => anyhow::bail!("closed by the slave"),
            Ok(read) => read.map(drop).map_err(Into::into),
            Err(_) => anyhow::bail!("nothing from the slave for {silence:?}"),
        }
    }

    async fn announce(&self, slave: SlaveHandshake) {
        let handle = LinkHandle {
            peer: self.peer.clone(),
            close: self.close.clone(),
            transfer_offset: self.transfer_offset.clone(),
        };
        let up = Event::LinkUp { epoch: self.term.epoch, link: self.id, slave: slave.slave, kind: slave.kind, handle };
        let _stopping = self.events.send(up).await;
    }

    fn handshake(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let history = &self.term.history;
        let max_offset = self.shared.store.max_offset();
        MasterHandshake { max_offset, last_epoch: history.last_epoch(), entries: history.entries().to_vec() }
            .encode(&mut out);
        out
    }

    /// Passes on the last of the acknowledgements that have arrived together.
    async fn read_acks(
        &self,
        mut reader: OwnedReadHalf,
        mut buf: BytesMut,
        first: oneshot::Sender<Offset>,
    ) -> anyhow::Result<std::convert::Infallible> {
        let mut first = Some(first);
        loop {
            let mut last = None;
            while let Decoded::Complete(packet, used) = SlavePacket::decode(&buf)? {
                buf.advance(used);
                match packet {
                    SlavePacket::Ack(offset) => last = Some(offset),
                    // Java repeats its handshake while it waits for the answer; a second answer would only confuse it.
                    SlavePacket::Handshake(_) => {}
                }
            }
            if let Some(offset) = last {
                let max_offset = self.shared.store.max_offset();
                let ack = Event::Ack { epoch: self.term.epoch, link: self.id, offset, max_offset };
                let _stopping = self.events.send(ack).await;
                anyhow::ensure!(offset <= max_offset, "acknowledged {offset}, the log ends at {max_offset}");
                if let Some(first) = first.take() {
                    let _ended = first.send(offset);
                }
            }
            self.read(&mut reader, &mut buf).await?;
        }
    }

    async fn send(
        &self,
        mut writer: OwnedWriteHalf,
        request: oneshot::Receiver<Offset>,
        from_last_file: bool,
    ) -> anyhow::Result<std::convert::Infallible> {
        let store = &self.shared.store;
        let heartbeat = Duration::from_millis(self.shared.config.ha_send_heartbeat_interval_ms);
        let mut next = self.start(request.await?, from_last_file)?;
        let mut max = store.watch_max();
        let (mut told, mut sent_at) = (-1, Instant::now());
        loop {
            self.transfer_offset.store(next, Ordering::Relaxed);
            max.borrow_and_update();
            let confirm_offset = store.confirm_offset();
            if let Some((header, body)) = self.chunk(next, confirm_offset) {
                write_packet(&mut writer, &header.encode(), &body).await?;
                next += body.len() as Offset;
                (told, sent_at) = (confirm_offset, Instant::now());
                continue;
            }
            let idle = sent_at.elapsed();
            if idle >= heartbeat || (told != confirm_offset && idle >= CONFIRM_DELAY) {
                writer.write_all(&self.heartbeat(next, confirm_offset).encode()).await?;
                (told, sent_at) = (confirm_offset, Instant::now());
            }
            let wake_up = sent_at + heartbeat.min(CONFIRM_DELAY);
            tokio::select! {
                changed = max.changed() => changed?,
                () = tokio::time::sleep_until(wake_up.max(Instant::now() + Duration::from_millis(1))) => {}
            }
        }
    }

    /// Where to start: the slave's own end, or for an empty slave the first byte held, or the start of the last file if
    /// it wants that.
    fn start(&self, request: Offset, from_last_file: bool) -> anyhow::Result<Offset> {
        let store = &self.shared.store;
        let (min, max) = (store.min_offset().max(0), store.max_offset());
        if request > 0 {
            anyhow::ensure!(
                request >= min,
                "its log ends at {request}, the oldest byte here is {min}: move its store directory away to copy \
                 everything anew"
            );
            return Ok(request);
        }
        Ok(if from_last_file { self.last_file(min, max) } else { min })
    }

    /// A slice ends with its file at the latest: so one step per file.
    fn last_file(&self, min: Offset, max: Offset) -> Offset {
        let mut start = min;
        loop {
            let file = self.shared.store.slice(start, usize::MAX).map_or(0, |it| it.len()) as Offset;
            if file == 0 || start + file >= max {
                return start;
            }
            start += file;
        }
    }

    /// Bytes of one epoch and one file.
    fn chunk(&self, at: Offset, confirm_offset: Offset) -> Option<(TransferHeader, LogSlice)> {
        let store = &self.shared.store;
        let behind = usize::try_from(store.max_offset() - at).ok().filter(|it| *it > 0)?;
        let limit = if behind > self.shared.config.ha_transfer_batch_size { CATCH_UP_BATCH } else { behind };
        let (entry, end) = self.term.history.covering(at);
        let limit = end.map_or(limit, |end| limit.min((end - at) as usize));
        let body = store.slice(at, limit)?;
        let header = TransferHeader {
            body_size: body.len(),
            offset: at,
            epoch: entry.epoch,
            epoch_start: entry.start,
            confirm_offset,
        };
        (!body.is_empty()).then_some((header, body))
    }

    /// Labelled with the epoch of the last byte sent, so that a Java slave never learns of an epoch it has no byte of:
    /// it could not enter the next one at the same offset.
    fn heartbeat(&self, next: Offset, confirm_offset: Offset) -> TransferHeader {
        let (entry, _) = self.term.history.covering((next - 1).max(0));
        TransferHeader { body_size: 0, offset: next, epoch: entry.epoch, epoch_start: entry.start, confirm_offset }
    }
}

async fn write_packet(writer: &mut OwnedWriteHalf, header: &[u8], body: &[u8]) -> std::io::Result<()> {
    let mut packet = Buf::chain(header, body);
    while packet.has_remaining() {
        let mut parts = [IoSlice::new(&[]); 2];
        let count = packet.chunks_vectored(&mut parts);
        let written = writer.write_vectored(&parts[..count]).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        packet.advance(written);
    }
    Ok(())
}
