//! RocketMQ 5's controller: who is master of each broker set, replicated with Raft.
pub mod liveness;
pub mod replicas;
