//! The JSON form of a frame's header. (to be written)
use super::{Command, FrameError};
use bytes::BytesMut;
pub(super) fn encode(_command: &Command, _out: &mut BytesMut) {
    todo!()
}
pub(super) fn decode(_header: &[u8]) -> Result<Command, FrameError> {
    todo!()
}
