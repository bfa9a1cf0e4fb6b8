//! The ROCKETMQ (binary) form of a frame's header. (to be written)
use super::{Command, FrameError};
pub(super) fn decode(_header: &[u8]) -> Result<Command, FrameError> {
    todo!()
}
