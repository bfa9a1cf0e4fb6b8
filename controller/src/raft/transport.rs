//! Raft messages between controllers: one gRPC stream to each peer, on the peer's one port.
//!
//! Best effort, as Raft expects: queues are bounded, what does not fit is dropped, a broken stream is opened again at
//! once and then with a small backoff. Order within a stream is kept.

use super::Raft;
use ::raft::eraftpb::{Message, MessageType};
use proto::raft_transport::raft_transport_client::RaftTransportClient;
use proto::raft_transport::raft_transport_server::{RaftTransport, RaftTransportServer};
use proto::raft_transport::{Closed, Envelope};
use protobuf::Message as _;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

/// Messages waiting for one peer: some seconds of heartbeats and appends. Full means that the peer is stuck; Raft
/// repeats what matters.
const QUEUE: usize = 4_096;
/// Messages handed to the stream but not written yet.
const STREAM: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_LONGEST: Duration = Duration::from_millis(300);
/// A snapshot of 10,000 broker sets fits many times.
const LARGEST_MESSAGE: usize = 512 * 1024 * 1024;

/// Starts one sender per peer and returns the function that hands them messages.
pub fn connect(group: &str, peers: &BTreeMap<u64, String>, stop: &CancellationToken) -> super::thread::Outbox {
    let senders = peers.iter().map(|(id, address)| {
        let (queue, messages) = mpsc::channel(QUEUE);
        let peer = Peer { group: group.to_owned(), id: *id, address: address.clone() };
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(peer.run(messages)).await });
        (*id, queue)
    });
    let senders = senders.collect::<BTreeMap<_, _>>();
    Box::new(move |message: Message| senders.get(&message.to).is_some_and(|it| it.try_send(message).is_ok()))
}

struct Peer {
    group: String,
    id: u64,
    address: String,
}

impl Peer {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.open().await {
                Ok(client) => {
                    info!(peer = self.address, "connected to controller");
                    backoff = BACKOFF_FIRST;
                    self.pump(client, &mut messages).await;
                    info!(peer = self.address, "connection to controller lost");
                }
                // The peer is down: expected, and said once when its connection was lost.
                Err(_) => backoff = (backoff * 2).min(BACKOFF_LONGEST),
            }
            // What waited is stale by now, and would only delay what Raft sends next.
            while messages.try_recv().is_ok() {}
            if messages.is_closed() {
                return;
            }
            tokio::time::sleep(backoff).await;
        }
    }

    async fn open(&self) -> Result<RaftTransportClient<Channel>, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true);
        Ok(RaftTransportClient::new(endpoint.connect().await?))
    }

    async fn pump(&self, mut client: RaftTransportClient<Channel>, messages: &mut mpsc::Receiver<Message>) {
        let (stream, body) = mpsc::channel(STREAM);
        let address = self.address.clone();
        let call = tokio::spawn(async move {
            if let Err(status) = client.send(Request::new(ReceiverStream::new(body))).await
                && status.code() == tonic::Code::PermissionDenied
            {
                warn!(peer = address, "controller refuses us: {}", status.message());
            }
        });
        loop {
            let message = tokio::select! {
                () = stream.closed() => break,
                message = messages.recv() => message,
            };
            let Some(envelope) = message.and_then(|it| self.envelope(&it)) else { break };
            if stream.send(envelope).await.is_err() {
                break;
            }
        }
        call.abort();
    }

    fn envelope(&self, message: &Message) -> Option<Envelope> {
        let bytes = message.write_to_bytes().ok()?;
        Some(Envelope { from: message.from, to: self.id, group: self.group.clone(), message: bytes })
    }
}

/// The receiving side.
pub fn service(
    group: &str,
    self_id: u64,
    peers: BTreeMap<u64, String>,
    raft: Raft,
) -> RaftTransportServer<impl RaftTransport> {
    let inbox = Inbox { group: group.to_owned(), self_id, peers, raft };
    RaftTransportServer::new(inbox).max_decoding_message_size(LARGEST_MESSAGE)
}

struct Inbox {
    group: String,
    self_id: u64,
    peers: BTreeMap<u64, String>,
    raft: Raft,
}

#[tonic::async_trait]
impl RaftTransport for Inbox {
    async fn send(&self, request: Request<Streaming<Envelope>>) -> Result<Response<Closed>, Status> {
        let (mut stream, mut received) = (request.into_inner(), 0);
        while let Some(envelope) = stream.message().await? {
            self.check(&envelope).inspect_err(|it| warn!("refused a controller: {}", it.message()))?;
            let message =
                Message::parse_from_bytes(&envelope.message).map_err(|e| Status::invalid_argument(e.to_string()))?;
            if message.from != envelope.from || ::raft::raw_node::is_local_msg(message.get_msg_type()) {
                return Err(Status::invalid_argument("not a message of the controller that sent it"));
            }
            let is_proposal = message.get_msg_type() == MessageType::MsgPropose;
            // Proposals come through the RPCs of the leader only. A full queue drops messages; Raft repeats them.
            if !is_proposal && self.raft.deliver(message) == Err(super::RaftError::Stopped) {
                return Err(Status::unavailable("the controller is shutting down"));
            }
            received += 1;
        }
        Ok(Response::new(Closed { received }))
    }
}

impl Inbox {
    fn check(&self, it: &Envelope) -> Result<(), Status> {
        if it.group != self.group {
            let text = format!(
                "this is a controller of group {}, the sender's controllerDLegerGroup is {}",
                self.group, it.group
            );
            return Err(Status::permission_denied(text));
        }
        if it.to != self.self_id || !self.peers.contains_key(&it.from) {
            let text = format!(
                "message from controller {} to {}, but this is {} and knows {:?}: controllerDLegerPeers must be the \
                 same everywhere",
                it.from,
                it.to,
                self.self_id,
                self.peers.keys()
            );
            return Err(Status::permission_denied(text));
        }
        Ok(())
    }
}
