//! Raft messages between controllers: one gRPC stream to each peer, on the peer's one port.
//!
//! Best effort, as Raft expects: queues are bounded, what does not fit is dropped, a broken stream is opened again at
//! once and then with a small backoff. Order within a stream is kept.

use super::door::{Checking, Client, Door};
use super::members::Members;
use super::{Identity, Raft};
use ::raft::eraftpb::{Message, MessageType};
use parking_lot::Mutex;
use proto::raft_transport::raft_transport_server::{RaftTransport, RaftTransportServer};
use proto::raft_transport::{Closed, Envelope, Hello, JoinAnswer, JoinRequest};
use protobuf::Message as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

/// Messages waiting for one peer: some seconds of heartbeats and appends. Full means that the peer is stuck; Raft
/// repeats what matters.
const QUEUE: usize = 4_096;
/// Messages handed to the stream but not written yet.
const STREAM: usize = 64;
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_LONGEST: Duration = Duration::from_millis(300);
/// A snapshot of 10,000 broker sets fits many times. It travels in pieces of [`PIECE`].
const LARGEST_MESSAGE: usize = 512 * 1024 * 1024;

const PIECE: usize = 1024 * 1024;

/// Keeps one sender for each other member, and returns the function that hands them messages. A member that has good
/// reason never to talk to this controller again says so through `banned`.
pub fn connect(
    identity: &Identity,
    own_address: &str,
    mut members: watch::Receiver<Members>,
    banned: mpsc::Sender<String>,
    door: Door,
    stop: &CancellationToken,
) -> super::thread::Outbox {
    let peers = Peers {
        own_address: own_address.to_owned(),
        identity: Arc::new(identity.clone()),
        banned,
        door,
        stop: stop.clone(),
        open: Arc::default(),
    };
    let open = peers.open.clone();
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let now = members.borrow_and_update().clone();
            peers.follow(&now);
            let changed = stop.run_until_cancelled(members.changed()).await;
            if changed.is_none_or(|it| it.is_err()) {
                return;
            }
        }
    });
    Box::new(move |message: Message| {
        open.lock().get(&message.to).is_some_and(|it| it.messages.try_send(message).is_ok())
    })
}

/// The senders.
struct Peers {
    identity: Arc<Identity>,
    own_address: String,
    banned: mpsc::Sender<String>,
    door: Door,
    stop: CancellationToken,
    open: Arc<Mutex<BTreeMap<u64, Open>>>,
}

struct Open {
    address: String,
    messages: mpsc::Sender<Message>,
    stop: CancellationToken,
}

impl Peers {
    fn follow(&self, members: &Members) {
        let own = self.identity.raft_id();
        let mut open = self.open.lock();
        open.retain(|id, it| {
            let stays = members.get(*id).is_some_and(|member| member.address == it.address);
            if !stays {
                it.stop.cancel();
            }
            stays
        });
        for (id, member) in members.members.iter().filter(|it| *it.0 != own) {
            open.entry(*id).or_insert_with(|| self.open(*id, &member.address));
        }
    }

    fn open(&self, id: u64, address: &str) -> Open {
        let (messages, queue) = mpsc::channel(QUEUE);
        let peer = Peer {
            identity: self.identity.clone(),
            id,
            address: address.to_owned(),
            own_address: self.own_address.clone(),
            banned: self.banned.clone(),
            door: self.door.clone(),
        };
        let stop = self.stop.child_token();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(peer.run(queue)).await });
        Open { address: address.to_owned(), messages, stop }
    }
}

/// Asks the members who this controller is, until the leader knows. Returns its Raft id and the founders.
pub async fn join(
    group: &str,
    name: &str,
    addresses: &[String],
    door: &Door,
    stop: &CancellationToken,
) -> anyhow::Result<(u64, Vec<String>)> {
    let mut told = String::new();
    // It may be one that this controller's file does not name.
    let mut leader = None;
    loop {
        let mut why = "none of the other controllers can be reached".to_owned();
        for address in leader.take().into_iter().chain(addresses.iter().cloned()) {
            let Ok(mut client) = door.open(&address).await else { continue };
            match client
                .join(JoinRequest { group: group.to_owned(), name: name.to_owned() })
                .await
                .map(Response::into_inner)
            {
                Ok(JoinAnswer { raft_id: 0, leader: it, .. }) if it.is_empty() => {
                    "no controller leads".clone_into(&mut why);
                }
                Ok(JoinAnswer { raft_id: 0, leader: it, .. }) => {
                    why = format!("{it} leads the controllers, and does not answer");
                    leader = Some(it);
                }
                Ok(JoinAnswer { raft_id, founders, .. }) => return Ok((raft_id, founders)),
                Err(status) => why = status.message().to_owned(),
            }
        }
        if why != told {
            info!("waiting to join: {why}");
            told = why;
        }
        if stop.run_until_cancelled(tokio::time::sleep(BACKOFF_LONGEST)).await.is_none() {
            anyhow::bail!("stopped while waiting to join the group");
        }
    }
}

struct Peer {
    identity: Arc<Identity>,
    id: u64,
    address: String,
    own_address: String,
    banned: mpsc::Sender<String>,
    door: Door,
}

impl Peer {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.door.open(&self.address).await {
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

    async fn pump(&self, mut client: Client, messages: &mut mpsc::Receiver<Message>) {
        let (stream, body) = mpsc::channel(STREAM);
        let (address, banned) = (self.address.clone(), self.banned.clone());
        let call = tokio::spawn(async move {
            let Err(status) = client.send(Request::new(ReceiverStream::new(body))).await else { return };
            match status.code() {
                tonic::Code::PermissionDenied => warn!(peer = address, "controller refuses us: {}", status.message()),
                // The first one to say so is enough.
                tonic::Code::FailedPrecondition => drop(banned.try_send(status.message().to_owned())),
                code => info!(peer = address, ?code, "stream to controller ended: {}", status.message()),
            }
        });
        // There is room: nothing was sent yet.
        let _ = stream.try_send(self.hello());
        loop {
            let message = tokio::select! {
                () = stream.closed() => break,
                message = messages.recv() => message,
            };
            let Some(bytes) = message.and_then(|it| it.write_to_bytes().ok()) else { break };
            let mut pieces = bytes.chunks(PIECE).peekable();
            let mut broken = false;
            while let Some(piece) = pieces.next() {
                let envelope = Envelope { message: piece.to_vec(), more: pieces.peek().is_some(), ..self.envelope() };
                broken |= stream.send(envelope).await.is_err();
            }
            if broken {
                break;
            }
        }
        // Gives a refusal that is on its way the time to be heard.
        drop(stream);
        if tokio::time::timeout(BACKOFF_LONGEST, &mut { call }).await.is_err() {
            info!(peer = self.address, "stream to controller given up");
        }
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            from: self.identity.raft_id(),
            to: self.id,
            group: self.identity.group.clone(),
            ..Default::default()
        }
    }

    fn hello(&self) -> Envelope {
        let hello = Hello {
            name: self.identity.self_id.clone(),
            address: self.own_address.clone(),
            directory: self.identity.directory,
            founders: self.identity.peers.clone(),
        };
        Envelope { hello: Some(hello), ..self.envelope() }
    }
}

/// The receiving side.
pub(crate) fn service(
    identity: &Identity,
    raft: Raft,
    door: Door,
) -> InterceptedService<RaftTransportServer<impl RaftTransport>, Checking> {
    let inbox = Inbox { identity: identity.clone(), raft };
    InterceptedService::new(RaftTransportServer::new(inbox).max_decoding_message_size(2 * PIECE), Checking(door))
}

struct Inbox {
    identity: Identity,
    raft: Raft,
}

#[tonic::async_trait]
impl RaftTransport for Inbox {
    async fn send(&self, request: Request<Streaming<Envelope>>) -> Result<Response<Closed>, Status> {
        let mut stream = request.into_inner();
        let Some(first) = stream.message().await? else { return Ok(Response::new(Closed { received: 0 })) };
        self.check(&first).await.inspect_err(|it| warn!("refused a controller: {}", it.message()))?;
        let (from, mut received, mut bytes) = (first.from, 0, Vec::new());
        while let Some(envelope) = stream.message().await? {
            bytes.extend_from_slice(&envelope.message);
            if bytes.len() > LARGEST_MESSAGE {
                return Err(Status::out_of_range(format!("a message of more than {LARGEST_MESSAGE} bytes")));
            }
            if envelope.more {
                continue;
            }
            let message = Message::parse_from_bytes(&std::mem::take(&mut bytes))
                .map_err(|e| Status::invalid_argument(e.to_string()))?;
            if message.from != from || ::raft::raw_node::is_local_msg(message.get_msg_type()) {
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

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinAnswer>, Status> {
        let JoinRequest { group, name } = request.into_inner();
        self.check_group(&group)?;
        let founders = self.identity.peers.clone();
        match self.raft.newcomer(&name).await {
            Ok(Ok(raft_id)) => Ok(Response::new(JoinAnswer { raft_id, founders, ..Default::default() })),
            Ok(Err(why)) => Err(Status::not_found(why.to_string())),
            Err(super::RaftError::NotLeader) => {
                let leader = self.leader().unwrap_or_default();
                Ok(Response::new(JoinAnswer { founders, leader, ..Default::default() }))
            }
            Err(why) => Err(Status::unavailable(why.to_string())),
        }
    }
}

impl Inbox {
    /// Where the leader is reached.
    fn leader(&self) -> Option<String> {
        let id = self.raft.leadership().borrow().leader?;
        self.raft.members().get(id).map(|it| it.address.clone())
    }

    fn check_group(&self, group: &str) -> Result<(), Status> {
        if group == self.identity.group {
            return Ok(());
        }
        let own = &self.identity.group;
        let text = format!("this is a controller of group {own}, the sender's controllerDLegerGroup is {group}");
        Err(Status::permission_denied(text))
    }

    async fn check(&self, it: &Envelope) -> Result<(), Status> {
        self.check_group(&it.group)?;
        let Some(hello) = &it.hello else {
            return Err(Status::invalid_argument("a stream opens with who opens it"));
        };
        let is_of_this_group = hello.founders == self.identity.peers;
        // Whoever was away for long looks for the others under ids that are not theirs any more.
        if is_of_this_group && let Err(why) = self.raft.members().check_not_gone(it.from, &hello.name) {
            return Err(Status::failed_precondition(why.to_string()));
        }
        if it.to != self.identity.raft_id() || !is_of_this_group {
            let text = format!(
                "message from controller {} ({}) of a group founded by {:?} to {}, but this is {} of a group founded \
                 by {:?}: controllerDLegerPeers must be the same everywhere when a group is founded; one that is added \
                 later needs controllerJoin=true and an empty controllerStorePath",
                it.from,
                hello.name,
                hello.founders,
                it.to,
                self.identity.raft_id(),
                self.identity.peers
            );
            return Err(Status::permission_denied(text));
        }
        let (name, address) = (hello.name.clone(), hello.address.clone());
        let asked = super::Hello { from: it.from, directory: hello.directory, name, address };
        match self.raft.hello(asked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Status::failed_precondition(why)),
            Err(why) => Err(Status::unavailable(why.to_string())),
        }
    }
}
