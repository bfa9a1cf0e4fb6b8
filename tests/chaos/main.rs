//! Faults on real processes: what is killed, stopped or restarted, and what clients must still find afterwards.
//!
//! Each case starts a cluster of its own: three controllers, a nameserver and the three replicas of one broker set.

mod aliases;
mod at_random;
mod comes_back;
mod controllers_die;
mod delayed;
mod disks;
mod explained;
mod flapping;
mod forms;
mod forwarding;
mod master_dies;
mod master_hangs;
mod members;
mod metadata_follows;
mod others_die;
mod partition;
mod planned_change;
mod preferred;
mod role_switch;
mod scenarios;
mod signed;
mod slave_reads;
mod stub;
mod supervised;
mod tail_diverges;
