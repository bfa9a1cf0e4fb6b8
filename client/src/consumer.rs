//! Reads messages queue by queue, and keeps reading while masters change.
//!
//! The caller owns its position: a pull names an offset, and says where to go on. Nothing is committed behind its back.
//! A pull that fails looks for the new master and asks again until its time is up.

use crate::message::{CorruptMessage, MessageView};
use crate::routes::{RouteError, Routes, Urgency};
use crate::routing::Aliases;
use node::remoting::{CallError, Client, ClientOptions};
use node::tls::ClientTls;
use proto::Command;
use proto::body::MessageQueue;
use proto::code::{request, response};
use proto::header::{
    Header, HeaderError, OffsetResponse, PullMessageRequest, PullMessageResponse, QueryConsumerOffsetRequest,
    UpdateConsumerOffsetRequest, pull_sys_flag,
};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How a consumer behaves.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// `host:port` of each nameserver.
    pub namesrv: Vec<String>,
    pub group: String,
    /// For one call in all, besides the time it may wait for messages.
    pub timeout: Duration,
    /// How long a failed address is left alone while the route goes on naming it.
    pub patience: Duration,
    /// A silent broker makes the consumer watch the route for a new master after this long.
    pub silence: Duration,
    /// Access key and secret.
    pub credentials: Option<(String, String)>,
    /// `None`: plain text.
    pub tls: Option<ClientTls>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            namesrv: Vec::new(),
            group: "baton_consumer".into(),
            timeout: Duration::from_secs(5),
            patience: Duration::from_millis(100),
            silence: Duration::from_millis(200),
            credentials: None,
            tls: None,
        }
    }
}

/// What a pull brought. `next` is where to pull from next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullOutcome {
    Found {
        messages: Vec<MessageView>,
        next: i64,
        max_offset: i64,
    },
    /// Nothing at or after this offset yet.
    NoNewMessage {
        next: i64,
        max_offset: i64,
    },
    /// There are messages, but none for this consumer.
    NoMatch {
        next: i64,
    },
    /// The offset is outside the queue (removed by age, or cut); `next` is inside.
    OffsetMoved {
        next: i64,
    },
}

impl PullOutcome {
    pub fn next(&self) -> i64 {
        match *self {
            PullOutcome::Found { next, .. }
            | PullOutcome::NoNewMessage { next, .. }
            | PullOutcome::NoMatch { next }
            | PullOutcome::OffsetMoved { next } => next,
        }
    }

    pub fn into_messages(self) -> Vec<MessageView> {
        match self {
            PullOutcome::Found { messages, .. } => messages,
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("{address}: code {code}: {remark}")]
    Refused { address: String, code: i32, remark: String },
    #[error("{address}: {source}; skip it by pulling from the next offset")]
    Corrupt { address: String, source: CorruptMessage },
    #[error("{address}: {source}")]
    Header { address: String, source: HeaderError },
    #[error("{broker_name}: no answer within {timeout_ms} ms; last: {last}")]
    Deadline { broker_name: String, timeout_ms: u64, last: String },
}

/// Cheap to clone; clones share connections and routes.
#[derive(Clone)]
pub struct PullConsumer {
    options: ConsumerOptions,
    client: Client,
    routes: Routes,
}

impl PullConsumer {
    /// Needs a tokio runtime. Connects when there is something to ask.
    pub fn start(options: ConsumerOptions) -> PullConsumer {
        let client = Client::new(ClientOptions {
            credentials: options.credentials.clone(),
            tls: options.tls.clone(),
            ..ClientOptions::default()
        });
        let routes = Routes::new(client.clone(), options.namesrv.clone(), None, Aliases::Ignored);
        PullConsumer { options, client, routes }
    }

    /// The queues of a topic that can be read, whether their set has a master or not.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, PullError> {
        let entry = self.routes.topic(topic);
        let found = entry.wait(Urgency::Hunt, Instant::now() + self.options.timeout, |it| match &it.error {
            Some(e @ (RouteError::NoTopic { .. } | RouteError::NoNameserver)) => Some(Err(e.clone())),
            _ => it.route.as_ref().map(|_| Ok(it.subscribe.to_vec())),
        });
        Ok(found.await.unwrap_or_else(|| Err(no_route(topic, &entry)))?)
    }

    /// Up to `max` messages from `offset` on. With none there the broker holds the request for up to `wait`.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: i32,
        wait: Duration,
    ) -> Result<PullOutcome, PullError> {
        let suspend = if wait.is_zero() { 0 } else { pull_sys_flag::SUSPEND };
        let header = PullMessageRequest {
            consumer_group: self.options.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: offset,
            max_msg_nums: max,
            sys_flag: suspend | pull_sys_flag::SUBSCRIPTION,
            suspend_timeout_millis: wait.as_millis() as i64,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            broker_name: Some(queue.broker_name.clone()),
            ..PullMessageRequest::default()
        };
        let (answer, address) = self.call(queue, request::PULL_MESSAGE, &header, wait).await?;
        let header: PullMessageResponse = read(&answer, &address)?;
        let (next, max_offset) = (header.next_begin_offset, header.max_offset);
        Ok(match answer.code {
            response::SUCCESS => {
                let messages = MessageView::decode_all(&answer.body, &queue.broker_name);
                PullOutcome::Found {
                    messages: messages.map_err(|source| PullError::Corrupt { address, source })?,
                    next,
                    max_offset,
                }
            }
            response::PULL_NOT_FOUND => PullOutcome::NoNewMessage { next, max_offset },
            response::PULL_RETRY_IMMEDIATELY => PullOutcome::NoMatch { next },
            _ => PullOutcome::OffsetMoved { next },
        })
    }

    /// The group's stored offset in a queue; `None` if it never stored one.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, PullError> {
        let header = QueryConsumerOffsetRequest {
            consumer_group: self.options.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            set_zero_if_not_found: Some(false),
        };
        match self.call(queue, request::QUERY_CONSUMER_OFFSET, &header, Duration::ZERO).await {
            Ok((answer, address)) => Ok(Some(read::<OffsetResponse>(&answer, &address)?.offset)),
            Err(PullError::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Stores the group's offset: the next message to read.
    pub async fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), PullError> {
        let header = UpdateConsumerOffsetRequest {
            consumer_group: self.options.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset: offset,
        };
        self.call(queue, request::UPDATE_CONSUMER_OFFSET, &header, Duration::ZERO).await.map(|_| ())
    }

    /// Asks the queue's broker set, its next master if need be. Codes that are results for the caller come back as
    /// answers.
    async fn call(
        &self,
        queue: &MessageQueue,
        code: i32,
        header: &impl Header,
        wait: Duration,
    ) -> Result<(Command, String), PullError> {
        let deadline = Instant::now() + self.options.timeout + wait;
        let mut failed: Option<(String, Instant, String)> = None;
        loop {
            let address = match (self.address(queue, failed.as_ref(), deadline).await, &failed) {
                (Ok(address), _) => address,
                (Err(e), None) => return Err(e.into()),
                (Err(_), Some((_, _, last))) => return Err(self.too_late(queue, wait, last.clone())),
            };
            let request = Command::request(code).with_header(header);
            let why = match self.attempt(queue, &address, request, wait, deadline).await {
                Ok(answer) if is_result(answer.code) => return Ok((answer, address)),
                Ok(answer) if is_cured_by_retry(answer.code) => {
                    format!("{address}: code {}: {}", answer.code, answer.remark.unwrap_or_default())
                }
                Ok(answer) => {
                    return Err(PullError::Refused {
                        address,
                        code: answer.code,
                        remark: answer.remark.unwrap_or_default(),
                    });
                }
                Err(why) => why,
            };
            if Instant::now() >= deadline {
                return Err(self.too_late(queue, wait, why));
            }
            failed = Some((address, Instant::now(), why));
        }
    }

    /// One request; given up early if its broker is silent for longer than it may be and another one leads the set.
    async fn attempt(
        &self,
        queue: &MessageQueue,
        address: &str,
        request: Command,
        wait: Duration,
        deadline: Instant,
    ) -> Result<Command, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut call = std::pin::pin!(self.client.call(address, request, left));
        let called = |it: Result<Command, CallError>| it.map_err(|e| e.to_string());
        // A long poll is silent by design, but a hung master can hide behind it as well: the same watch for both.
        if let Ok(answer) = timeout(self.options.silence.min(left), &mut call).await {
            return called(answer);
        }
        let entry = self.routes.topic(&queue.topic);
        let moved = entry.wait(Urgency::Watch, deadline, |it| {
            it.route.as_deref()?.master(&queue.broker_name).filter(|it| *it != address).map(|_| ())
        });
        // Watching costs a look-up each 100 ms, so a long poll does it only now and then.
        let watch_from = Instant::now() + wait.min(Duration::from_secs(1));
        tokio::select! {
            biased;
            answer = &mut call => called(answer),
            _ = async { sleep_until(watch_from).await; moved.await } => {
                Err(format!("{address}: no answer, looking for another master"))
            }
        }
    }

    async fn address(
        &self,
        queue: &MessageQueue,
        failed: Option<&(String, Instant, String)>,
        deadline: Instant,
    ) -> Result<String, RouteError> {
        let entry = self.routes.topic(&queue.topic);
        let found = entry.wait(Urgency::Hunt, deadline, |it| match (&it.error, failed) {
            (Some(e @ (RouteError::NoTopic { .. } | RouteError::NoNameserver)), None) => Some(Err(e.clone())),
            _ => {
                let address = it.route.as_deref()?.master(&queue.broker_name)?;
                let fresh = failed.is_none_or(|(old, at, _)| old != address || at.elapsed() >= self.options.patience);
                fresh.then(|| Ok(address.to_owned()))
            }
        });
        found.await.unwrap_or_else(|| Err(no_route(&queue.topic, &entry)))
    }

    fn too_late(&self, queue: &MessageQueue, wait: Duration, last: String) -> PullError {
        let timeout_ms = (self.options.timeout + wait).as_millis() as u64;
        PullError::Deadline { broker_name: queue.broker_name.clone(), timeout_ms, last }
    }
}

fn no_route(topic: &str, entry: &crate::routes::Topic) -> RouteError {
    entry.snapshot().error.clone().unwrap_or_else(|| RouteError::NoMaster { topic: topic.to_owned() })
}

fn read<H: Header>(answer: &Command, address: &str) -> Result<H, PullError> {
    answer.header().map_err(|source| PullError::Header { address: address.to_owned(), source })
}

fn is_result(code: i32) -> bool {
    use response::{PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY_IMMEDIATELY, SUCCESS};
    matches!(code, SUCCESS | PULL_NOT_FOUND | PULL_RETRY_IMMEDIATELY | PULL_OFFSET_MOVED)
}

/// Another master, or the same one a little later, may answer better.
fn is_cured_by_retry(code: i32) -> bool {
    matches!(code, response::SYSTEM_ERROR | response::SYSTEM_BUSY | response::SERVICE_NOT_AVAILABLE | response::GO_AWAY)
}

#[cfg(test)]
mod tests;
