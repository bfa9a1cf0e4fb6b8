//! What is fed with bytes that nobody sane has written.

pub mod targets;
