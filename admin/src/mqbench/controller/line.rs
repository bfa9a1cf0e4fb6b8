//! One connection of made-up brokers to one controller: their heartbeats out, the answers back.
//!
//! Frames are encoded once and sent again while nothing in them changes: the load must cost less than what it measures.

use bytes::BytesMut;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use proto::Command;
use proto::code::{request, response};
use proto::header::BrokerHeartbeatRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::report::{latencies, record};

/// As `brokerHeartbeatInterval`.
const EVERY: Duration = Duration::from_secs(1);
/// A controller that was killed is tried again this often.
const RECONNECT: Duration = Duration::from_millis(100);

/// What heartbeats took and what became of them, over all lines.
pub(super) struct Pulse {
    took: Mutex<Histogram<u64>>,
    unanswered: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse { took: Mutex::new(latencies()), unanswered: AtomicU64::new(0) }
    }

    /// What came in since the last call, and how many heartbeats went without an answer for a second.
    pub(super) fn take(&self) -> (Histogram<u64>, u64) {
        (std::mem::replace(&mut *self.took.lock(), latencies()), self.unanswered.swap(0, Ordering::Relaxed))
    }
}

/// Whether the brokers of a host speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    Speaking,
    /// One heartbeat more, at once, and then none, over a connection that stays open: a host that hangs.
    LastWord,
}

/// A replica as its heartbeats describe it.
pub(super) struct Speaker {
    pub(super) broker_set: String,
    pub(super) id: i64,
    pub(super) address: String,
    pub(super) boot_id: String,
    pub(super) timeout: Duration,
    /// Of its newest master, as its host was told.
    pub(super) epoch: Arc<AtomicI32>,
    /// When it said its last word, in microseconds since `Line::since`; the latest over all controllers.
    pub(super) last_word: Arc<AtomicU64>,
}

pub(super) struct Line {
    pub(super) controller: String,
    pub(super) speakers: Vec<Speaker>,
    pub(super) voice: watch::Receiver<Voice>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) since: Instant,
}

/// One speaker's heartbeat on this line.
struct Beat {
    frame: BytesMut,
    /// What is in `frame`.
    epoch: i32,
    sent: Option<Instant>,
}

impl Line {
    pub(super) async fn run(mut self) {
        loop {
            if let Ok(stream) = TcpStream::connect(&self.controller).await
                && stream.set_nodelay(true).is_ok()
            {
                // However it ends, it is opened again: the controller was killed.
                let _ended = self.speak(stream).await;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn speak(&mut self, stream: TcpStream) -> std::io::Result<()> {
        let (mut input, mut output) = stream.into_split();
        let mut beats = self.speakers.iter().map(|_| Beat::default()).collect::<Vec<_>>();
        let (mut buffer, step) = (BytesMut::with_capacity(4096), EVERY / self.speakers.len().max(1) as u32);
        // Lines begin anywhere within a second, as brokers do.
        let mut due = Instant::now() + EVERY.mul_f64(rand::random::<f64>());
        let mut next = 0;
        loop {
            let speaks = *self.voice.borrow() == Voice::Speaking;
            tokio::select! {
                () = tokio::time::sleep_until(due), if speaks => {
                    if beats[next].sent.is_none() {
                        let frame = self.beat(&mut beats, next);
                        output.write_all(frame).await?;
                    } else {
                        // As brokers do, it waits for the last answer before it says more.
                        self.pulse.unanswered.fetch_add(1, Ordering::Relaxed);
                    }
                    next = (next + 1) % beats.len();
                    due += step;
                }
                read = input.read_buf(&mut buffer) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.answers(&mut buffer, &mut beats)?;
                }
                changed = self.voice.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    for at in 0..beats.len() {
                        let frame = self.beat(&mut beats, at);
                        output.write_all(frame).await?;
                        let word = self.since.elapsed().as_micros() as u64;
                        self.speakers[at].last_word.fetch_max(word, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn beat<'a>(&self, beats: &'a mut [Beat], at: usize) -> &'a [u8] {
        let (beat, speaker) = (&mut beats[at], &self.speakers[at]);
        let epoch = speaker.epoch.load(Ordering::Relaxed);
        if beat.frame.is_empty() || beat.epoch != epoch {
            beat.frame.clear();
            beat.epoch = epoch;
            speaker.heartbeat(at, epoch).encode(&mut beat.frame);
        }
        beat.sent = Some(Instant::now());
        &beat.frame
    }

    fn answers(&self, buffer: &mut BytesMut, beats: &mut [Beat]) -> std::io::Result<()> {
        while let Some(answer) = Command::decode(buffer).map_err(std::io::Error::other)? {
            let beat = usize::try_from(answer.opaque).ok().and_then(|it| beats.get_mut(it));
            let sent = beat.and_then(|it| it.sent.take()).filter(|_| answer.code == response::SUCCESS);
            match sent {
                Some(sent) => record(&mut self.pulse.took.lock(), sent.elapsed()),
                None => drop(self.pulse.unanswered.fetch_add(1, Ordering::Relaxed)),
            }
        }
        Ok(())
    }
}

impl Default for Beat {
    fn default() -> Self {
        Beat { frame: BytesMut::new(), epoch: 0, sent: None }
    }
}

impl Speaker {
    /// What our brokers send.
    fn heartbeat(&self, opaque: usize, epoch: i32) -> Command {
        let header = BrokerHeartbeatRequest {
            cluster_name: super::set::CLUSTER.to_owned(),
            broker_addr: self.address.clone(),
            broker_name: self.broker_set.clone(),
            broker_id: Some(self.id),
            epoch: Some(epoch),
            max_offset: Some(1 << 30),
            confirm_offset: Some(1 << 30),
            heartbeat_timeout_mills: Some(self.timeout.as_millis() as i64),
            election_priority: None,
            boot_id: Some(self.boot_id.clone()),
            min_in_sync_replicas: Some(1),
            disk_probe_age_mills: Some(0),
            broker_zone: None,
        };
        Command { opaque: opaque as i32, ..Command::request(request::BROKER_HEARTBEAT).with_header(&header) }
    }
}
