//! Tools for operators: [`mqadmin`] with RocketMQ's commands and texts, [`mqbench`] with load, failover measurement and
//! a demonstration cluster. Both work against RocketMQ's own servers as well.

mod mqadmin;
mod mqbench;

pub use mqadmin::mqadmin;
pub use mqbench::mqbench;
