//! The ROCKETMQ (binary) form of a frame's header.
//!
//! ```text
//! offset  0     2         3        5       9     13          17+n
//!         code  language  version  opaque  flag  n  remark   m  fields …
//!         i16   u8        i16      i32     i32   i32 n bytes i32
//! field:  i16 length  key  i32 length  value
//! ```
//! An empty text is a missing one. Only 16 bits of the code travel, so codes above 32767 need the JSON form.

use super::{Command, ExtFields, FrameError, Language};
use bytes::{BufMut, BytesMut};

/// False, and nothing written, when this form cannot carry the command.
pub(super) fn encode(command: &Command, out: &mut BytesMut) -> bool {
    let Ok(code) = i16::try_from(command.code) else { return false };
    if command.ext.keys().any(|key| key.len() > i16::MAX as usize) {
        return false;
    }
    out.put_i16(code);
    out.put_u8(command.language.0);
    out.put_i16(command.version as i16);
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    let remark = command.remark.as_deref().unwrap_or("");
    out.put_u32(remark.len() as u32);
    out.put_slice(remark.as_bytes());
    let fields = || command.ext.iter().filter(|(key, value)| !key.is_empty() && !value.is_empty());
    out.put_u32(fields().map(|(key, value)| 6 + key.len() + value.len()).sum::<usize>() as u32);
    for (key, value) in fields() {
        out.put_u16(key.len() as u16);
        out.put_slice(key.as_bytes());
        out.put_u32(value.len() as u32);
        out.put_slice(value.as_bytes());
    }
    true
}

pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    let mut input = Input { rest: header };
    let mut command = Command {
        code: i16::from_be_bytes(input.array("code")?) as i32,
        // Through its name, so that a number nobody knows becomes OTHER.
        language: Language::from_name(Language(input.array::<1>("language")?[0]).name()),
        version: i16::from_be_bytes(input.array("version")?) as i32,
        opaque: i32::from_be_bytes(input.array("opaque")?),
        flag: i32::from_be_bytes(input.array("flag")?),
        ..Default::default()
    };
    let remark = i32::from_be_bytes(input.array("remark length")?);
    command.remark = input.text("remark", remark as i64)?;
    let fields = i32::from_be_bytes(input.array("extFields length")?);
    command.ext = read_fields(Input { rest: input.bytes("extFields", fields as i64)? })?;
    Ok(command)
}

fn read_fields(mut input: Input) -> Result<ExtFields, FrameError> {
    let mut fields = ExtFields::new();
    while !input.rest.is_empty() {
        let length = i16::from_be_bytes(input.array("key length")?);
        let key = input.text("key", length as i64)?;
        let length = i32::from_be_bytes(input.array("value length")?);
        let value = input.text("value", length as i64)?;
        if let (Some(key), Some(value)) = (key, value) {
            fields.insert(key, value);
        }
    }
    Ok(fields)
}

/// What is left of the header. Every length is checked against it before anything is copied.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn bytes(&mut self, what: &'static str, need: i64) -> Result<&'a [u8], FrameError> {
        let have = self.rest.len();
        let taken = usize::try_from(need).ok().and_then(|need| self.rest.split_at_checked(need));
        let (taken, rest) = taken.ok_or(FrameError::Binary { what, need, have })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(what, N as i64)?);
        Ok(array)
    }

    /// As Java, bytes that are no UTF-8 become replacement characters.
    fn text(&mut self, what: &'static str, need: i64) -> Result<Option<String>, FrameError> {
        let bytes = self.bytes(what, need)?;
        Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned()))
    }
}
