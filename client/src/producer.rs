//! Sends messages, and keeps sending while masters change.
//!
//! One send has one deadline. Within it, an attempt that fails (connection closed or refused, or a code that another
//! attempt may cure) looks for the new master at once and tries again; an attempt that is merely silent is left running
//! while the route is watched, and abandoned for the new master as soon as there is one (a hung master keeps its
//! connections open).
//!
//! Duplicates: when an attempt's outcome is unknown, the retry may store the message a second time, with the same
//! UNIQ_KEY. Order: a caller that awaits each send has its messages in order. Pipelined sends to one queue are put on
//! the wire in the order in which their futures are first polled; when a master fails with several in flight, their
//! retries may overtake one another.

mod attempt;
mod request;

use crate::message::Message;
use crate::routes::{RouteError, Routes, Snapshot, Topic, Urgency};
use crate::routing::{Aliases, Successor, pick};
use attempt::Attempt;
use node::remoting::{Client, ClientOptions};
use node::tls::ClientTls;
use proto::body::MessageQueue;
use proto::code::response;
use proto::topic::AUTO_CREATE_TOPIC_KEY_TOPIC;
use request::Prepared;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How a producer behaves. The defaults suit a strict group: Java's total time, and a look at the route after 200 ms of
/// silence.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// `host:port` of each nameserver.
    pub namesrv: Vec<String>,
    pub group: String,
    /// For one send in all, however many attempts it takes.
    pub send_timeout: Duration,
    /// A request without an answer for this long makes the producer watch the route for a new master.
    pub silence: Duration,
    /// How long a failed address is left alone while the route goes on naming it.
    pub patience: Duration,
    /// Bodies of at least this many bytes are compressed (zlib). Java's default is 4096; 0 turns it off.
    pub compress_over: usize,
    /// Larger bodies are refused before they are sent.
    pub max_message_size: usize,
    pub aliases: Aliases,
    /// Access key and secret.
    pub credentials: Option<(String, String)>,
    /// `None`: plain text.
    pub tls: Option<ClientTls>,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            namesrv: Vec::new(),
            group: "baton_producer".into(),
            send_timeout: Duration::from_secs(3),
            silence: Duration::from_millis(200),
            patience: Duration::from_millis(100),
            compress_over: 4096,
            max_message_size: 4 * 1024 * 1024,
            aliases: Aliases::Ignored,
            credentials: None,
            tls: None,
        }
    }
}

/// What the broker made of a stored message. Only `SendOk` is an acknowledgement; the others are stored, but not as
/// safely as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    SendOk,
    FlushDiskTimeout,
    FlushSlaveTimeout,
    SlaveNotAvailable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    pub status: SendStatus,
    /// UNIQ_KEY, which users call the message id. A batch: one for each message, separated by commas.
    pub msg_id: String,
    /// Names the place in the store.
    pub offset_msg_id: String,
    pub queue: MessageQueue,
    /// Of the first message of a batch.
    pub queue_offset: i64,
    /// UNIQ_KEY as the broker echoes it.
    pub transaction_id: Option<String>,
    /// Where it was stored.
    pub address: String,
    /// Attempts made; with more than one the message may be stored more than once.
    pub attempts: u32,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    #[error("message for topic `{topic}` cannot be sent: {why}")]
    Illegal { topic: String, why: String },
    #[error(transparent)]
    Route(#[from] RouteError),
    /// An answer that no retry cures. An attempt before it, of unknown outcome, may have stored the message.
    #[error("{address} refused a message for topic {topic}: code {code}: {remark}")]
    Refused { topic: String, address: String, attempts: u32, code: i32, remark: String },
    #[error(
        "topic {topic}: no acknowledgement within {timeout_ms} ms and {attempts} attempts, {}; last: {last}",
        if *.maybe_stored { "the message may be stored all the same" } else { "the message is not stored" }
    )]
    Deadline { topic: String, timeout_ms: u64, attempts: u32, maybe_stored: bool, last: String },
}

/// Cheap to clone; clones share connections and routes.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    options: ProducerOptions,
    client: Client,
    routes: Routes,
    turn: AtomicUsize,
}

/// Where a send wants to go.
#[derive(Clone, Copy)]
enum Target<'a> {
    Any,
    Queue(&'a MessageQueue),
}

/// The attempt before this one.
struct Failed {
    broker_name: String,
    address: String,
    at: Instant,
    why: String,
    /// The broker is fine, but not for this message: only another set can help.
    elsewhere: bool,
}

impl Producer {
    /// Needs a tokio runtime. Connects when there is something to send.
    pub fn start(options: ProducerOptions) -> Producer {
        let client = Client::new(ClientOptions {
            credentials: options.credentials.clone(),
            tls: options.tls.clone(),
            ..ClientOptions::default()
        });
        let default_topic = Some(AUTO_CREATE_TOPIC_KEY_TOPIC.into());
        let routes = Routes::new(client.clone(), options.namesrv.clone(), default_topic, options.aliases);
        Producer {
            shared: Arc::new(Shared {
                options,
                client,
                routes,
                turn: AtomicUsize::new(rand::random_range(0..1 << 16)),
            }),
        }
    }

    /// The queues that take messages of this topic now; waits for a master within the send timeout.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, SendError> {
        let deadline = self.deadline();
        let entry = self.shared.routes.topic(topic);
        let found =
            entry.wait(Urgency::Hunt, deadline, |it| (!it.publish.is_empty()).then(|| it.publish.to_vec())).await;
        found.ok_or_else(|| no_route(topic, &entry).into())
    }

    /// Sends to the next queue in turn.
    pub async fn send(&self, message: &Message) -> Result<SendResult, SendError> {
        self.deliver(self.prepare(std::slice::from_ref(message))?, Target::Any).await
    }

    /// Sends to this queue and no other, whoever its master is or becomes.
    pub async fn send_to(&self, message: &Message, queue: &MessageQueue) -> Result<SendResult, SendError> {
        self.deliver(self.prepare(std::slice::from_ref(message))?, Target::Queue(queue)).await
    }

    /// Sends messages of one topic as one request: all are stored, in order and in one queue, or none.
    pub async fn send_batch(
        &self,
        messages: &[Message],
        queue: Option<&MessageQueue>,
    ) -> Result<SendResult, SendError> {
        self.deliver(self.prepare_batch(messages)?, queue.map_or(Target::Any, Target::Queue)).await
    }

    /// Sends without asking for an answer: nothing is retried, and nobody learns of a loss.
    pub async fn send_one_way(&self, message: &Message) -> Result<(), SendError> {
        let prepared = self.prepare(std::slice::from_ref(message))?;
        let turn = self.next_turn();
        let (queue, address) = self.place(&prepared.topic, Target::Any, turn, None, self.deadline()).await?;
        let sent = self.shared.client.notify(&address, prepared.command(&queue).one_way()).await;
        sent.map_err(|e| SendError::Deadline {
            topic: prepared.topic,
            timeout_ms: self.shared.options.send_timeout.as_millis() as u64,
            attempts: 1,
            maybe_stored: true,
            last: e.to_string(),
        })
    }

    fn prepare(&self, message: &[Message]) -> Result<Prepared, SendError> {
        Prepared::single(&message[0], &self.shared.options)
    }

    fn prepare_batch(&self, messages: &[Message]) -> Result<Prepared, SendError> {
        Prepared::batch(messages, &self.shared.options)
    }

    async fn deliver(&self, prepared: Prepared, target: Target<'_>) -> Result<SendResult, SendError> {
        let deadline = self.deadline();
        let turn = self.next_turn();
        let mut failed: Option<Failed> = None;
        let (mut attempts, mut maybe_stored) = (0, false);
        loop {
            let place = self.place(&prepared.topic, target, turn + attempts as usize, failed.as_ref(), deadline).await;
            let (queue, address) = match (place, failed) {
                (Ok(place), _) => place,
                (Err(e), None) => return Err(e.into()),
                (Err(_), Some(failed)) => {
                    return Err(self.too_late(prepared.topic, attempts, maybe_stored, failed.why));
                }
            };
            attempts += 1;
            let entry = self.shared.routes.topic(&prepared.topic);
            let attempt =
                attempt::run(&self.shared, &entry, prepared.command(&queue), &queue, &address, deadline).await;
            let (why, elsewhere) = match attempt {
                Attempt::Stored(answer) => {
                    return answer.result(prepared.msg_id, &prepared.topic, queue, address, attempts);
                }
                Attempt::Answered { code, remark } if is_cured_by_retry(code) => {
                    (format!("{address}: code {code}: {remark}"), false)
                }
                Attempt::Answered { code, remark } => {
                    let (topic, address) = (prepared.topic.clone(), address.clone());
                    let refused = SendError::Refused { topic, address, attempts, code, remark };
                    if !is_cured_elsewhere(code) || !self.has_other_set(&entry, target, &queue) {
                        return Err(refused);
                    }
                    (refused.to_string(), true)
                }
                Attempt::NotSent(e) => (e, false),
                Attempt::Unknown(e) => {
                    maybe_stored = true;
                    (e, false)
                }
            };
            if Instant::now() >= deadline {
                return Err(self.too_late(prepared.topic, attempts, maybe_stored, why));
            }
            tracing::debug!(topic = prepared.topic, why, attempts, "send failed, looking for the master");
            failed = Some(Failed { broker_name: queue.broker_name, address, at: Instant::now(), why, elsewhere });
        }
    }

    /// The queue and address for the next attempt; waits for a master if there is none, until the deadline.
    async fn place(
        &self,
        topic: &str,
        target: Target<'_>,
        turn: usize,
        failed: Option<&Failed>,
        deadline: Instant,
    ) -> Result<(MessageQueue, String), RouteError> {
        let entry = self.shared.routes.topic(topic);
        let patience = self.shared.options.patience;
        let mut missing = None;
        let found = entry.wait(Urgency::Hunt, deadline, |it| {
            // A topic that does not exist will not appear by waiting; a retry hopes that it does.
            if let (Some(RouteError::NoTopic { .. } | RouteError::NoNameserver), None) = (&it.error, failed) {
                missing.clone_from(&it.error);
                return Some(None);
            }
            place_in(it, target, turn, failed, patience).map(Some)
        });
        match found.await.flatten() {
            Some(place) => Ok(place),
            None => Err(missing.unwrap_or_else(|| no_route(topic, &entry))),
        }
    }

    fn has_other_set(&self, entry: &Topic, target: Target<'_>, queue: &MessageQueue) -> bool {
        let other = |it: &MessageQueue| it.broker_name != queue.broker_name;
        matches!(target, Target::Any) && entry.snapshot().publish.iter().any(other)
    }

    fn too_late(&self, topic: String, attempts: u32, maybe_stored: bool, last: String) -> SendError {
        let timeout_ms = self.shared.options.send_timeout.as_millis() as u64;
        SendError::Deadline { topic, timeout_ms, attempts, maybe_stored, last }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.options.send_timeout
    }

    fn next_turn(&self) -> usize {
        self.shared.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// What this snapshot offers for the next attempt, if anything.
fn place_in(
    it: &Snapshot,
    target: Target<'_>,
    turn: usize,
    failed: Option<&Failed>,
    patience: Duration,
) -> Option<(MessageQueue, String)> {
    let route = it.route.as_deref()?;
    let queue = match target {
        Target::Queue(queue) => queue,
        Target::Any => pick(&it.publish, turn, failed.map(|it| it.broker_name.as_str()))?,
    };
    let address = match failed.filter(|it| it.broker_name == queue.broker_name) {
        None => route.master(&queue.broker_name)?,
        Some(failed) => match route.successor(&queue.broker_name, &failed.address) {
            Successor::At(address) => address,
            Successor::None => return None,
            // It may be back, or be master again at the same address: try it, but not all the time.
            Successor::Unchanged if failed.at.elapsed() >= patience && !failed.elsewhere => &failed.address,
            Successor::Unchanged => return None,
        },
    };
    Some((queue.clone(), address.to_owned()))
}

fn no_route(topic: &str, entry: &Topic) -> RouteError {
    entry.snapshot().error.clone().unwrap_or_else(|| RouteError::NoMaster { topic: topic.to_owned() })
}

/// The set has no master at this address, or it is busy: its next master, or the same one a little later, may take the
/// message.
fn is_cured_by_retry(code: i32) -> bool {
    matches!(code, response::SYSTEM_ERROR | response::SYSTEM_BUSY | response::SERVICE_NOT_AVAILABLE | response::GO_AWAY)
}

/// This set will not take it; another may.
fn is_cured_elsewhere(code: i32) -> bool {
    matches!(
        code,
        response::TOPIC_NOT_EXIST | response::NO_PERMISSION | response::NO_BUYER_ID | response::NOT_IN_CURRENT_UNIT
    )
}

#[cfg(test)]
mod tests;
