//! RocketMQ's wire and disk formats, and nothing else.
//!
//! Pure: no I/O, no clock, no randomness. Each format has one file that holds its constants, layout, encoder, decoder
//! and tests. Decoders never panic and bound every length before they allocate. Facts: Apache RocketMQ 5 (`remoting`,
//! `store`, `common` modules).

pub mod acl;
pub mod alias;
pub mod batch;
pub mod body;
pub mod code;
pub mod command;
pub mod forward;
pub mod ha;
pub mod header;
pub mod json;
pub mod message;
pub mod properties;
pub mod queue_entry;
pub mod topic;

/// Baton's own gRPC messages (Raft transport), generated from `proto/raft_transport.proto`.
pub mod raft_transport {
    tonic::include_proto!("baton.raft.v1");
}

pub use command::{Command, Decoded, FrameError};

/// What RocketMQ 5.5.0 sends as `version`; clients key behaviour on it, so every frame of ours carries it.
pub const VERSION: i32 = 513;
/// Text of [`VERSION`], as `clusterList` shows it.
pub const VERSION_NAME: &str = "V5_5_0";

/// Milliseconds: an instant on a caller-defined clock, or a duration.
pub type Millis = u64;

/// Controller-assigned id of one replica of a broker set, from 1. (Nameserver id 0 means "the master".)
pub type BrokerId = i64;
/// Term of a master of a broker set; grows once per committed election. 0 = never had a master.
pub type Epoch = i32;
/// Physical byte offset in a commit log.
pub type Offset = i64;

/// Id under which the nameserver and clients see the master of a set.
pub const MASTER_ID: BrokerId = 0;
