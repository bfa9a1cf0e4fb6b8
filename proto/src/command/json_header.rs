//! The JSON form of a frame's header.
//!
//! ```text
//! {"code":105,"extFields":{"topic":"T"},"flag":0,"language":"RUST","opaque":7,"remark":"…",
//!  "serializeTypeCurrentRPC":"JSON","version":513}
//! ```
//! Written in one pass by hand. Read as fastjson reads it: numbers as text and text as numbers, unknown keys and nulls
//! skipped, everything optional.

mod value;

use super::{Command, FrameError, Language};
use bytes::{BufMut, BytesMut};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt::{self, Write};
use value::{Extension, Integer, LanguageName, Text};

/// Room for everything but extension fields and remark.
const FIXED_ESTIMATE: usize = 160;

pub(super) fn encode(command: &Command, out: &mut BytesMut) {
    let fields: usize = command.ext.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    out.reserve(FIXED_ESTIMATE + fields + command.remark.as_ref().map_or(0, String::len) + command.body.len());
    out.put_slice(b"{\"code\":");
    put_integer(out, command.code);
    // Java's clients look into the fields of a response without asking whether there are any.
    if !command.ext.is_empty() || command.is_response() {
        out.put_slice(b",\"extFields\":{");
        for (at, (key, value)) in command.ext.iter().enumerate() {
            if at > 0 {
                out.put_u8(b',');
            }
            put_text(out, key);
            out.put_u8(b':');
            put_text(out, value);
        }
        out.put_u8(b'}');
    }
    out.put_slice(b",\"flag\":");
    put_integer(out, command.flag);
    out.put_slice(b",\"language\":\"");
    out.put_slice(command.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    put_integer(out, command.opaque);
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        put_text(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_integer(out, command.version);
    out.put_u8(b'}');
}

fn put_integer(out: &mut BytesMut, value: i32) {
    write!(out, "{value}").expect("a BytesMut grows");
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text;
    // What needs an escape is ASCII, so a cut beside it is a cut between characters.
    while let Some(at) = rest.bytes().position(|it| it < 0x20 || it == b'"' || it == b'\\') {
        out.put_slice(&rest.as_bytes()[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            control => write!(out, "\\u{control:04x}").expect("a BytesMut grows"),
        }
        rest = &rest[at + 1..];
    }
    out.put_slice(rest.as_bytes());
    out.put_u8(b'"');
}

pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    let strict = match read(header) {
        Ok(command) => return Ok(command),
        Err(e) => FrameError::Json(e.to_string()),
    };
    let Some(text) = std::str::from_utf8(header).ok().and_then(crate::json::normalise) else { return Err(strict) };
    read(text.as_bytes()).map_err(|e| FrameError::Json(e.to_string()))
}

fn read(header: &[u8]) -> Result<Command, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_slice(header);
    let command = input.deserialize_map(HeaderVisitor)?;
    input.end()?;
    Ok(command)
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Command;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Command, A::Error> {
        let mut command = Command { language: Language::JAVA, ..Default::default() };
        while let Some(key) = map.next_key::<Text>()? {
            match key.0.as_deref() {
                Some("code") => command.code = map.next_value::<Integer>()?.0,
                Some("flag") => command.flag = map.next_value::<Integer>()?.0,
                Some("opaque") => command.opaque = map.next_value::<Integer>()?.0,
                Some("version") => command.version = map.next_value::<Integer>()?.0,
                Some("language") => command.language = map.next_value::<LanguageName>()?.0,
                Some("remark") => command.remark = map.next_value::<Text>()?.0.map(|it| it.into_owned()),
                Some("extFields") => command.ext = map.next_value::<Extension>()?.0,
                _ => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(command)
    }
}
