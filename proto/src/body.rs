//! JSON bodies, by RocketMQ's key names. Read with [`crate::json::from_slice`], write with [`crate::json::to_vec`].

mod broker;
mod controller;
mod history;
mod message_queue;
mod namesrv;

pub use broker::*;
pub use controller::*;
pub use history::HistoryLine;
pub use message_queue::MessageQueue;
pub use namesrv::*;
