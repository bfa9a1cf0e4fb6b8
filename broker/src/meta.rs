//! What a broker knows beside its messages: topics, groups, consumer offsets, delivered delays, clients, queue locks.
//!
//! Pure tables. [`Settings`] (topics and groups) changes only by [`Change`]s, in one order, and travels to the slaves
//! (S13);
//! [`OffsetTable`] follows in batches; clients and locks live and die with the process.

pub mod clients;
pub mod custody;
pub mod delays;
pub mod groups;
pub mod holders;
pub mod locks;
pub mod offsets;
pub mod settings;
pub mod subscription;
pub mod topics;

pub use clients::ClientTable;
pub use custody::Custody;
pub use groups::GroupTable;
pub use holders::Holders;
pub use locks::QueueLocks;
pub use offsets::OffsetTable;
pub use settings::{Change, Settings, Stamp};
