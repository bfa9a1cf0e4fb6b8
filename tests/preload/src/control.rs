//! The page that a test writes and the processes under test read, byte order as the machine has it.
//!
//! ```text
//! offset  0         8     12        16
//!         clock_ms  disk  delay_ms  struck
//!         i64       u32   u32       u64
//! ```

/// How far the process's wall clock is ahead.
pub const AT_CLOCK: u64 = 0;
/// [`WORKS`], or what is wrong with the disk.
pub const AT_DISK: u64 = 8;
/// How long each sync takes on a [`SLOW`] disk.
pub const AT_DELAY: u64 = 12;
/// How many calls have been failed or delayed, counted by the processes.
pub const AT_STRUCK: u64 = 16;
pub const SIZE: u64 = 24;

pub const WORKS: u32 = 0;
/// No room: what wants new blocks fails.
pub const FULL: u32 = 1;
/// Nothing is written any more, and no sync succeeds.
pub const FAILS: u32 = 2;
/// Everything works, each sync late.
pub const SLOW: u32 = 3;
