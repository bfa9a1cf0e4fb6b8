//! One remoting frame (`RemotingCommand`): request or response, JSON or binary header, opaque body.
//!
//! ```text
//! offset  0        4                              8             8+header
//!         length   serialize_type<<24 | header    header …      body …
//!         i32      u8         u24
//! ```
//! `length` counts everything after itself. The header is JSON text (type 0) or the compact ROCKETMQ form (type 1).
//! Either form is decoded; ours are always written as JSON, as a default Java process does.

mod binary_header;
mod json_header;

use crate::VERSION;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Largest frame a Java decoder accepts, including the 4-byte length field (`NettyDecoder.FRAME_MAX_LENGTH`).
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Custom header fields as they travel: text to text.
pub type ExtFields = BTreeMap<String, String>;

/// Serialize types: the top byte of the header's length.
const JSON: u32 = 0;
const BINARY: u32 = 1;

/// Smallest step by which a buffer grows towards the frame it holds the beginning of.
const RESERVE: usize = 64 * 1024;

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONE_WAY: i32 = 2;

/// A request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Request code, or response code when [`Command::is_response`].
    pub code: i32,
    /// Correlation id, echoed by the responder; may be negative.
    pub opaque: i32,
    /// Bit 0 response, bit 1 one-way.
    pub flag: i32,
    /// The sender's MQVersion ordinal.
    pub version: i32,
    pub language: Language,
    pub remark: Option<String>,
    pub ext: ExtFields,
    /// Empty means "no body".
    pub body: Bytes,
}

/// Sender's language (`LanguageCode`); unknown ones are kept as OTHER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Language(pub u8);

impl Language {
    pub const JAVA: Language = Language(0);
    pub const OTHER: Language = Language(7);
    pub const RUST: Language = Language(12);
    const NAMES: [&str; 14] = [
        "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST",
        "NODE_JS",
    ];

    pub fn name(self) -> &'static str {
        Self::NAMES.get(self.0 as usize).copied().unwrap_or("OTHER")
    }

    pub fn from_name(name: &str) -> Language {
        Self::NAMES.iter().position(|it| *it == name).map_or(Self::OTHER, |it| Language(it as u8))
    }
}

/// Outcome of looking at a buffer that may hold a whole item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// The item and how many bytes it took.
    Complete(T, usize),
    /// Nothing was consumed; decode again once the buffer holds at least this many bytes.
    NeedMore(usize),
}

/// A frame that cannot be decoded. The connection it came from is beyond repair and must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame length {length}: want 4 to {max}", max = MAX_FRAME - 4)]
    Length { length: i32 },
    #[error("frame of {length} bytes: header of {header} bytes does not fit")]
    HeaderLength { length: usize, header: usize },
    #[error("serialize type {0}: want 0 (JSON) or 1 (ROCKETMQ)")]
    SerializeType(u8),
    #[error("JSON header: {0}")]
    Json(String),
    #[error("binary header: {what} needs {need} bytes, {have} left")]
    Binary { what: &'static str, need: i64, have: usize },
}

impl Command {
    pub fn request(code: i32) -> Command {
        Command { code, version: VERSION, language: Language::RUST, ..Default::default() }
    }

    pub fn response(code: i32) -> Command {
        Command { flag: FLAG_RESPONSE, ..Command::request(code) }
    }

    pub fn error(code: i32, remark: impl Into<String>) -> Command {
        Command { remark: Some(remark.into()), ..Command::response(code) }
    }

    pub fn with_header(mut self, header: &impl crate::header::Header) -> Command {
        header.write(&mut self.ext);
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Command {
        self.body = body.into();
        self
    }

    /// Adds one custom field.
    pub fn with_ext(mut self, key: &str, value: impl ToString) -> Command {
        self.ext.insert(key.to_owned(), value.to_string());
        self
    }

    pub fn one_way(mut self) -> Command {
        self.flag |= FLAG_ONE_WAY;
        self
    }

    /// This as the response to the request with that opaque.
    pub fn answering(mut self, opaque: i32) -> Command {
        self.flag = FLAG_RESPONSE;
        self.opaque = opaque;
        self
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn is_one_way(&self) -> bool {
        self.flag & FLAG_ONE_WAY != 0
    }

    /// Decodes the custom header; see [`crate::header::HeaderError`] for what is refused.
    pub fn header<H: crate::header::Header>(&self) -> Result<H, crate::header::HeaderError> {
        H::read(&self.ext)
    }

    /// Appends this command as one frame with a JSON header.
    pub fn encode(&self, out: &mut BytesMut) {
        let at = out.len();
        out.put_u64(0);
        json_header::encode(self, out);
        let header = out.len() - at - 8;
        out.extend_from_slice(&self.body);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        out[at + 4..at + 8].copy_from_slice(&(header as u32).to_be_bytes());
    }

    /// As [`Command::encode`], with a binary header where that can carry the command (codes up to 32767), else with a
    /// JSON one.
    pub fn encode_binary(&self, out: &mut BytesMut) {
        let at = out.len();
        out.put_u64(0);
        if !binary_header::encode(self, out) {
            out.truncate(at);
            return self.encode(out);
        }
        let header = out.len() - at - 8;
        out.extend_from_slice(&self.body);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        out[at + 4..at + 8].copy_from_slice(&(header as u32 | BINARY << 24).to_be_bytes());
    }

    /// Takes one frame off the front of `buf`, or says how many bytes are needed in all.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Command>, FrameError> {
        match Self::frame_size(buf)? {
            Decoded::NeedMore(need) => {
                // In steps: a length alone, without the bytes to go with it, must not cost its sender's whim in memory.
                buf.reserve(need.saturating_sub(buf.len()).min(buf.len().max(RESERVE)));
                Ok(None)
            }
            Decoded::Complete((), size) => {
                let mut frame = buf.split_to(size);
                frame.advance(4);
                Self::decode_body(frame.freeze()).map(Some)
            }
        }
    }

    /// Looks at the length field only, so that an oversized frame is refused before a byte of it is buffered.
    pub fn frame_size(buf: &[u8]) -> Result<Decoded<()>, FrameError> {
        let Some(head) = buf.first_chunk::<4>() else { return Ok(Decoded::NeedMore(4)) };
        let length = i32::from_be_bytes(*head);
        if !(4..=(MAX_FRAME - 4) as i32).contains(&length) {
            return Err(FrameError::Length { length });
        }
        let size = 4 + length as usize;
        Ok(if buf.len() < size { Decoded::NeedMore(size) } else { Decoded::Complete((), size) })
    }

    /// `frame` starts after the length field.
    fn decode_body(mut frame: Bytes) -> Result<Command, FrameError> {
        let length = frame.len();
        let mark = frame.get_u32();
        let header = (mark & 0xFF_FFFF) as usize;
        if header > frame.len() {
            return Err(FrameError::HeaderLength { length, header });
        }
        let head = frame.split_to(header);
        let mut command = match mark >> 24 {
            JSON => json_header::decode(&head)?,
            BINARY => binary_header::decode(&head)?,
            other => return Err(FrameError::SerializeType(other as u8)),
        };
        command.body = frame;
        Ok(command)
    }
}

#[cfg(test)]
mod tests;
