//! A RocketMQ client: producer, pull consumer and operators' calls. Works with any RocketMQ 5 broker.
//!
//! What it is made for is a master that dies: a send that fails looks for the new master at once and goes there, within
//! one deadline for the whole send. [`routing`] decides from route data, [`routes`] keeps that data fresh, the rest
//! talks.
//!
//! What it does not do: rebalance (a caller assigns queues), transactions, pop.

mod admin;
mod compression;
mod consumer;
#[cfg(test)]
mod fake;
mod message;
mod producer;
mod routes;
pub mod routing;
mod unique_key;

pub use admin::{Admin, AdminError, AdminOptions, Elected};
pub use consumer::{ConsumerOptions, PullConsumer, PullError, PullOutcome};
pub use message::{CorruptMessage, Message, MessageView};
pub use producer::{Producer, ProducerOptions, SendError, SendResult, SendStatus};
pub use proto::body::MessageQueue;
pub use routes::RouteError;

/// Splits a list of nameservers as RocketMQ writes it: `10.0.0.1:9876;10.0.0.2:9876`.
pub fn nameservers(list: &str) -> Vec<String> {
    list.split([';', ',']).map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}
