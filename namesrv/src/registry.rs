//! The task that owns the tables. Connections hand it requests and their own end, in order; a timer lets it look for
//! silent brokers.

use crate::metrics::Metrics;
use crate::route::ConnectionId;
use crate::rpc::{Answer, Nameserver};
use crate::saved;
use crate::status::Status;
use node::clock::monotonic_ms;
use node::remoting::{Connection, Handler, Reply};
use proto::Command;
use proto::code::{request, response};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Requests that wait for the tables, as many as Java's default pool queues. More are answered SYSTEM_BUSY, which peers
/// retry.
const QUEUE: usize = 10_000;

/// What the owner of the tables is told.
pub(crate) enum Input {
    Request { from: Arc<Connection>, request: Command, reply: oneshot::Sender<Command> },
    Closed(ConnectionId),
    Status(oneshot::Sender<Status>),
}

/// The connections' side.
#[derive(Clone)]
pub(crate) struct Registry(mpsc::Sender<Input>, Arc<Metrics>);

pub(crate) fn channel() -> (Registry, mpsc::Receiver<Input>) {
    let (sender, inbox) = mpsc::channel(QUEUE);
    (Registry(sender, Arc::default()), inbox)
}

impl Registry {
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.1
    }

    /// `None` while the process stops.
    pub(crate) async fn status(&self) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.0.send(Input::Status(reply)).await.ok()?;
        status.await.ok()
    }
}

impl Handler for Registry {
    fn handle(&self, connection: &Arc<Connection>, request: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let (code, began, metrics) = (request.code, Instant::now(), self.1.clone());
        match self.0.try_send(Input::Request { from: connection.clone(), request, reply }) {
            Ok(()) => Reply::Later(Box::pin(async move {
                let answer = answer.await.unwrap_or_else(|_| stopping());
                metrics.answered(code, answer.code, began.elapsed());
                answer
            })),
            Err(mpsc::error::TrySendError::Full(_)) => Reply::Now(overloaded()),
            Err(mpsc::error::TrySendError::Closed(_)) => Reply::Now(stopping()),
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        // Must not get lost: a dead master would stay in its route until it expires.
        if let Err(mpsc::error::TrySendError::Full(input)) = self.0.try_send(Input::Closed(connection.id)) {
            let sender = self.0.clone();
            tokio::spawn(async move { sender.send(input).await });
        }
    }
}

pub(crate) async fn run(nameserver: Nameserver, mut inbox: mpsc::Receiver<Input>, stop: CancellationToken) {
    let mut owner = Owner { nameserver, brokers: BTreeMap::new() };
    let mut next_scan = monotonic_ms();
    loop {
        let pause = Duration::from_millis(next_scan.saturating_sub(monotonic_ms()));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {
                owner.scan();
                next_scan = monotonic_ms() + owner.nameserver.config.scan_not_active_broker_interval.max(1);
            }
            input = inbox.recv() => match input {
                Some(input) => owner.step(input).await,
                None => return,
            }
        }
    }
}

struct Owner {
    nameserver: Nameserver,
    /// Connections over which brokers registered, to be closed when those expire.
    brokers: BTreeMap<ConnectionId, Arc<Connection>>,
}

impl Owner {
    async fn step(&mut self, input: Input) {
        match input {
            Input::Request { from, request, reply } => {
                let answer = self.nameserver.answer(monotonic_ms(), from.id, &request);
                if request.code == request::REGISTER_BROKER {
                    self.brokers.insert(from.id, from);
                }
                // Who asked may be gone by now; the change stands.
                let _ = reply.send(saved_first(answer).await);
            }
            Input::Closed(connection) => {
                self.brokers.remove(&connection);
                for gone in self.nameserver.table.closed(connection) {
                    info!(
                        broker_set = gone.broker_set,
                        address = gone.address,
                        "broker removed: its connection closed"
                    );
                }
            }
            Input::Status(reply) => {
                let _ = reply.send(Status::of(&self.nameserver, monotonic_ms()));
            }
        }
    }

    fn scan(&mut self) {
        for (gone, connection) in self.nameserver.table.expire(monotonic_ms()) {
            info!(
                broker_set = gone.broker_set,
                address = gone.address,
                "broker removed: silent for longer than its timeout"
            );
            if let Some(connection) = self.brokers.remove(&connection) {
                connection.close();
            }
        }
    }
}

/// Writes what has to outlive the process before the answer says it is done.
async fn saved_first(Answer { command, save }: Answer) -> Command {
    let Some(save) = save else { return command };
    let path = save.path.display().to_string();
    let written = tokio::task::spawn_blocking(move || saved::write(&save)).await;
    let why = match written {
        Ok(Ok(())) => return command,
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    tracing::error!(path, why, "cannot save");
    Command::error(response::SYSTEM_ERROR, format!("changed in memory, but {path} cannot be written: {why}"))
}

fn overloaded() -> Command {
    Command::error(response::SYSTEM_BUSY, "[OVERLOAD]system busy, start flow control for a while")
}

fn stopping() -> Command {
    Command::error(response::SYSTEM_BUSY, "nameserver is stopping; ask another one")
}
