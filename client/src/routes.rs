//! Keeps routes fresh: one task per topic asks the nameservers, everybody else reads what it published last.
//!
//! How often it asks depends on who waits. Someone whose send failed hunts for a new master: every 15 ms. Someone whose
//! request is overdue watches: every 100 ms. Otherwise every 30 s, as Java's clients do. However many wait, they share
//! the one look-up.

use crate::routing::{Aliases, TopicRoute};
use node::remoting::{CallError, Client};
use parking_lot::Mutex;
use proto::Command;
use proto::body::{MessageQueue, TopicRouteData};
use proto::code::{request, response};
use proto::header::GetRouteInfoRequest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info};

/// A look-up costs a nameserver some 20 µs: 15 ms adds little to a failover and nothing to the load, since callers
/// share it.
const HUNT: Duration = Duration::from_millis(15);
const WATCH: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_secs(30);
/// A nameserver that takes longer is passed over; there is another one, or the next attempt.
const LOOKUP: Duration = Duration::from_millis(500);
/// How often a waiting caller judges again even if no look-up ended.
const JUDGE: Duration = Duration::from_millis(50);
/// Java's `defaultTopicQueueNums`: what a topic that is created by its first message gets at most.
pub(crate) const DEFAULT_QUEUES: i32 = 4;

/// Why there is no route.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    #[error("no nameserver is configured: give its address, host:port, with -n, --namesrv or NAMESRV_ADDR")]
    NoNameserver,
    #[error("topic {topic} is unknown to nameserver {nameserver}: create it (mqadmin updateTopic), or check its name")]
    NoTopic { topic: String, nameserver: String },
    #[error("no nameserver answered for topic {topic}: {why}; check that they run and are reachable")]
    Unreachable { topic: String, why: String },
    #[error("topic {topic} has no queue to write to: its broker sets have no master now, or it is not writable")]
    NoMaster { topic: String },
}

/// What is known of one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) route: Option<Arc<TopicRoute>>,
    pub(crate) publish: Arc<Vec<MessageQueue>>,
    pub(crate) subscribe: Arc<Vec<MessageQueue>>,
    /// Look-ups that have ended, well or not.
    pub(crate) lookups: u64,
    pub(crate) error: Option<RouteError>,
}

/// How urgently somebody waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Urgency {
    Hunt,
    Watch,
}

#[derive(Clone)]
pub(crate) struct Routes {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    nameservers: Vec<String>,
    /// Whose queues a topic that does not exist yet will get; consumers have none.
    default_topic: Option<String>,
    aliases: Aliases,
    topics: Mutex<BTreeMap<String, Arc<Topic>>>,
    stop: CancellationToken,
    /// Ends the tasks with the last handle.
    _guard: DropGuard,
}

pub(crate) struct Topic {
    name: String,
    snapshot: watch::Sender<Snapshot>,
    hunters: AtomicUsize,
    watchers: AtomicUsize,
    wanted: Notify,
}

/// Counts one waiting caller for as long as it waits.
struct Demand<'a>(&'a AtomicUsize);

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Routes {
    pub(crate) fn new(
        client: Client,
        nameservers: Vec<String>,
        default_topic: Option<String>,
        aliases: Aliases,
    ) -> Routes {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let topics = Mutex::default();
        Routes { shared: Arc::new(Shared { client, nameservers, default_topic, aliases, topics, stop, _guard }) }
    }

    /// The topic's entry; the first caller starts its task.
    pub(crate) fn topic(&self, name: &str) -> Arc<Topic> {
        let mut topics = self.shared.topics.lock();
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        let topic = Arc::new(Topic {
            name: name.to_owned(),
            snapshot: watch::Sender::default(),
            hunters: AtomicUsize::new(0),
            watchers: AtomicUsize::new(0),
            wanted: Notify::new(),
        });
        topics.insert(name.to_owned(), topic.clone());
        let asker = Asker {
            client: self.shared.client.clone(),
            nameservers: self.shared.nameservers.clone(),
            default_topic: self.shared.default_topic.clone(),
            aliases: self.shared.aliases,
            preferred: 0,
        };
        tokio::spawn(keep_fresh(asker, topic.clone(), self.shared.stop.clone()));
        topic
    }
}

impl Topic {
    pub(crate) fn snapshot(&self) -> watch::Ref<'_, Snapshot> {
        // `watch::Sender::borrow` reads without a subscription.
        self.snapshot.borrow()
    }

    /// Waits until `pick` finds what it wants, asking the nameservers as often as `urgency` says. `None` at the
    /// deadline.
    pub(crate) async fn wait<T>(
        &self,
        urgency: Urgency,
        deadline: Instant,
        mut pick: impl FnMut(&Snapshot) -> Option<T>,
    ) -> Option<T> {
        let known = self.snapshot().lookups;
        // What a look-up before this call failed to find may be there by now.
        let mut judge = |it: &Snapshot| match it.error.is_some() && it.lookups == known {
            true => pick(&Snapshot { error: None, ..it.clone() }),
            false => pick(it),
        };
        if let Some(found) = judge(&self.snapshot()) {
            return Some(found);
        }
        let mut changes = self.snapshot.subscribe();
        let _demand = self.demand(urgency);
        loop {
            if let Some(found) = judge(&changes.borrow_and_update()) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // An elapsed timeout is a reason to judge again: `pick` may have become more patient.
            let _ = timeout(left.min(JUDGE), changes.changed()).await;
        }
    }

    fn demand(&self, urgency: Urgency) -> Demand<'_> {
        let count = match urgency {
            Urgency::Hunt => &self.hunters,
            Urgency::Watch => &self.watchers,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.wanted.notify_one();
        Demand(count)
    }

    fn pause(&self) -> Duration {
        match (self.hunters.load(Ordering::Relaxed), self.watchers.load(Ordering::Relaxed)) {
            (0, 0) => PERIOD,
            (0, _) => WATCH,
            _ => HUNT,
        }
    }
}

async fn keep_fresh(mut asker: Asker, topic: Arc<Topic>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            found = asker.lookup(&topic.name) => topic.publish(found),
        }
        let ended = Instant::now();
        // A new demand shortens the pause, but never below its own rhythm.
        while let left = topic.pause().saturating_sub(ended.elapsed())
            && !left.is_zero()
        {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(left) => {}
                () = topic.wanted.notified() => {}
            }
        }
    }
}

impl Topic {
    fn publish(&self, found: Result<TopicRoute, RouteError>) {
        self.snapshot.send_modify(|it| {
            it.lookups += 1;
            match found {
                Ok(route) => {
                    it.error = None;
                    if it.route.as_deref() != Some(&route) {
                        info!(topic = self.name, brokers = ?route.data().broker_datas, "route changed");
                        it.publish = Arc::new(route.publish_queues(&self.name));
                        it.subscribe = Arc::new(route.subscribe_queues(&self.name));
                        it.route = Some(Arc::new(route));
                    }
                }
                // Nobody answered: what was known is still the best guess.
                Err(error @ RouteError::Unreachable { .. }) => it.error = Some(error),
                Err(error) => *it = Snapshot { lookups: it.lookups, error: Some(error), ..Snapshot::default() },
            }
        });
    }
}

/// Asks one nameserver after the other, beginning with the one that answered last.
struct Asker {
    client: Client,
    nameservers: Vec<String>,
    default_topic: Option<String>,
    aliases: Aliases,
    preferred: usize,
}

impl Asker {
    async fn lookup(&mut self, topic: &str) -> Result<TopicRoute, RouteError> {
        match (self.ask(topic).await, self.default_topic.clone()) {
            (Err(RouteError::NoTopic { topic, nameserver }), Some(default)) => match self.ask(&default).await {
                Ok(route) => Ok(route.inherited(DEFAULT_QUEUES)),
                Err(_) => Err(RouteError::NoTopic { topic, nameserver }),
            },
            (found, _) => found,
        }
    }

    async fn ask(&mut self, topic: &str) -> Result<TopicRoute, RouteError> {
        let mut failures = Vec::new();
        for turn in 0..self.nameservers.len() {
            let at = (self.preferred + turn) % self.nameservers.len();
            let nameserver = &self.nameservers[at];
            match ask_one(&self.client, nameserver, topic, self.aliases).await {
                Ok(found) => {
                    self.preferred = at;
                    let unknown = || RouteError::NoTopic { topic: topic.to_owned(), nameserver: nameserver.clone() };
                    return found.ok_or_else(unknown);
                }
                Err(why) => {
                    debug!(nameserver, why, "no route from this nameserver");
                    failures.push(why);
                }
            }
        }
        if failures.is_empty() {
            return Err(RouteError::NoNameserver);
        }
        Err(RouteError::Unreachable { topic: topic.to_owned(), why: failures.join("; ") })
    }
}

/// `None`: that nameserver does not know the topic.
async fn ask_one(
    client: &Client,
    nameserver: &str,
    topic: &str,
    aliases: Aliases,
) -> Result<Option<TopicRoute>, String> {
    let header = GetRouteInfoRequest {
        topic: Some(topic.to_owned()),
        accept_standard_json_only: Some(true),
        ..Default::default()
    };
    let request = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
    // Bounds connecting as well: an unreachable host must not hold up the hunt.
    let answer = timeout(LOOKUP, client.call(nameserver, request, LOOKUP)).await.unwrap_or_else(|_| {
        Err(CallError::Timeout {
            address: nameserver.to_owned(),
            code: request::GET_ROUTEINFO_BY_TOPIC,
            timeout_ms: LOOKUP.as_millis() as u64,
        })
    });
    let answer = answer.map_err(|e| e.to_string())?;
    match answer.code {
        response::SUCCESS => {
            let data: TopicRouteData =
                proto::json::from_slice(&answer.body).map_err(|e| format!("{nameserver}: route: {e}"))?;
            Ok(Some(TopicRoute::new(data, aliases)))
        }
        response::TOPIC_NOT_EXIST => Ok(None),
        code => Err(format!("{nameserver}: code {code}: {}", answer.remark.unwrap_or_default())),
    }
}
