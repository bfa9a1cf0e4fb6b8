//! What a route means for those who send and read. Pure.
//!
//! Promises: queues come in the order of broker set and id, so that equal routes give equal lists; only sets with a
//! master (id 0) and the write permission take messages; reading needs neither. Does not know whether an address is
//! alive.

use proto::MASTER_ID;
use proto::body::{BrokerData, MessageQueue, QueueData, TopicRouteData};

const PERM_WRITE: i32 = 2;
const PERM_READ: i32 = 4;

/// What a producer does with failover aliases ([`proto::alias`]): write-only brokers that stand for live slaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aliases {
    /// It finds a new master faster without them, and saves their detour.
    #[default]
    Ignored,
    /// As RocketMQ's clients, which know no difference between them and other brokers.
    Used,
}

/// One topic's route, sorted, so that it differs from another only if something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRoute {
    data: TopicRouteData,
}

impl TopicRoute {
    pub fn new(mut data: TopicRouteData, aliases: Aliases) -> TopicRoute {
        if aliases == Aliases::Ignored {
            data.leave_out_aliases();
        }
        data.broker_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        data.queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        TopicRoute { data }
    }

    pub fn data(&self) -> &TopicRouteData {
        &self.data
    }

    /// Where a message of this topic may go now. An ordered topic lists its queues itself (`broker-a:4;broker-b:4`).
    pub fn publish_queues(&self, topic: &str) -> Vec<MessageQueue> {
        if let Some(order) = self.data.order_topic_conf.as_deref().filter(|it| !it.is_empty()) {
            return ordered_queues(topic, order);
        }
        let takes = |it: &&QueueData| it.perm & PERM_WRITE != 0 && self.master(&it.broker_name).is_some();
        self.data
            .queue_datas
            .iter()
            .filter(takes)
            .flat_map(|it| queues(topic, &it.broker_name, it.write_queue_nums))
            .collect()
    }

    /// Where messages of this topic may be, whether their set has a master or not.
    pub fn subscribe_queues(&self, topic: &str) -> Vec<MessageQueue> {
        let has = |it: &&QueueData| it.perm & PERM_READ != 0;
        self.data
            .queue_datas
            .iter()
            .filter(has)
            .flat_map(|it| queues(topic, &it.broker_name, it.read_queue_nums))
            .collect()
    }

    /// The address that takes messages of this broker set.
    pub fn master(&self, broker_name: &str) -> Option<&str> {
        self.set(broker_name)?.broker_addrs.get(&MASTER_ID).map(String::as_str)
    }

    /// The master, or, while there is none, any replica: what is confirmed can be read from each.
    pub fn readable(&self, broker_name: &str) -> Option<&str> {
        self.set(broker_name)?.broker_addrs.values().next().map(String::as_str)
    }

    /// This route for a topic that does not exist yet and will be created on first use: at most `queues` queues for
    /// each set.
    pub fn inherited(&self, queues: i32) -> TopicRoute {
        let mut data = self.data.clone();
        for it in &mut data.queue_datas {
            it.write_queue_nums = it.write_queue_nums.min(queues);
            it.read_queue_nums = it.read_queue_nums.min(queues);
        }
        TopicRoute { data }
    }

    fn set(&self, broker_name: &str) -> Option<&BrokerData> {
        self.data.broker_datas.iter().find(|it| it.broker_name == broker_name)
    }
}

/// The queue for the `turn`-th message. A retry avoids the broker set that failed, unless it is the only one.
pub fn pick<'a>(queues: &'a [MessageQueue], turn: usize, failed: Option<&str>) -> Option<&'a MessageQueue> {
    let at = turn.checked_rem(queues.len())?;
    let mut from_here = queues[at..].iter().chain(&queues[..at]);
    from_here.find(|it| Some(it.broker_name.as_str()) != failed).or(queues.get(at))
}

/// What another route says about a set whose master failed at `failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor<'a> {
    /// Another address leads now.
    At(&'a str),
    /// Nobody leads.
    None,
    /// The route still names the address that failed: not noticed yet, or it is back.
    Unchanged,
}

impl TopicRoute {
    pub fn successor(&self, broker_name: &str, failed: &str) -> Successor<'_> {
        match self.master(broker_name) {
            None => Successor::None,
            Some(address) if address == failed => Successor::Unchanged,
            Some(address) => Successor::At(address),
        }
    }
}

fn queues(topic: &str, broker_name: &str, count: i32) -> impl Iterator<Item = MessageQueue> {
    (0..count.max(0)).map(move |queue_id| MessageQueue {
        broker_name: broker_name.to_owned(),
        queue_id,
        topic: topic.to_owned(),
    })
}

/// An entry that is no `name:count` is skipped.
fn ordered_queues(topic: &str, conf: &str) -> Vec<MessageQueue> {
    let entries = conf.split(';').filter_map(|it| it.rsplit_once(':'));
    entries.flat_map(|(name, count)| queues(topic, name, count.trim().parse().unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests;
