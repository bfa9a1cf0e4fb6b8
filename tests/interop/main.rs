//! RocketMQ's own Java client and admin tool (5.5.0, from Maven Central) against our processes. What they do not accept
//! is wrong here, whatever our own client thinks.

mod admin_tool;
mod aliases;
mod client;
mod controller_tool;
mod doors;
mod figures;
mod java_brokers;
mod java_controllers;
mod mixed_set;
mod nobody_notices;
mod redelivery;
mod slave_reads;
mod store;
