//! JSON as RocketMQ's peers write and read it.
//!
//! Reading: strict JSON first, since nearly everything is. What fails is rewritten by [`normalise`] (bare keys, single
//! quotes, objects as keys, nulls) and tried once more. Writing: strict JSON, except tables keyed by a message queue,
//! which clients want with an object as the key.

mod normalise;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use std::io::{self, Write};

pub(crate) use normalise::normalise;

/// Opens a map key whose rest is the JSON text of an object, to be written without quotes. Two private-use characters
/// that no name of a topic, group or broker may contain.
pub(crate) const OBJECT_KEY: &str = "\u{F8F0}\u{F8F1}";

/// Text that is neither JSON nor fastjson's idea of it, or does not have the wanted shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct JsonError {
    pub why: String,
}

pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let strict = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(e) => JsonError { why: e.to_string() },
    };
    let Some(text) = std::str::from_utf8(text).ok().and_then(normalise) else { return Err(strict) };
    serde_json::from_str(&text).map_err(|e| JsonError { why: e.to_string() })
}

/// Never fails: our bodies have text and integers as keys and no fallible serialisation.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Fastjson::default());
    value.serialize(&mut serializer).expect("a body of ours has only text and integers as keys");
    out
}

/// Compact JSON, but keys that begin with [`OBJECT_KEY`] are written as the object they contain.
#[derive(Default)]
struct Fastjson {
    key: Key,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    /// Not in a key.
    #[default]
    No,
    /// A key's string has begun, its quote is not written: the first fragment decides.
    Undecided,
    Text,
    Object,
}

impl Fastjson {
    fn decide_text<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.key == Key::Undecided {
            self.key = Key::Text;
            out.write_all(b"\"")?;
        }
        Ok(())
    }
}

impl Formatter for Fastjson {
    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.key = Key::Undecided;
        CompactFormatter.begin_object_key(out, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _out: &mut W) -> io::Result<()> {
        self.key = Key::No;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.key == Key::No { CompactFormatter.begin_string(out) } else { Ok(()) }
    }

    fn end_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.decide_text(out)?;
        if self.key == Key::Object { Ok(()) } else { CompactFormatter.end_string(out) }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut fragment = fragment;
        if let (Key::Undecided, Some(rest)) = (self.key, fragment.strip_prefix(OBJECT_KEY)) {
            self.key = Key::Object;
            fragment = rest;
        }
        self.decide_text(out)?;
        out.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        self.decide_text(out)?;
        match (self.key, escape) {
            // The key's text is JSON already; the escapes that make it a string are taken back.
            (Key::Object, CharEscape::Quote) => out.write_all(b"\""),
            (Key::Object, CharEscape::ReverseSolidus) => out.write_all(b"\\"),
            (_, escape) => CompactFormatter.write_char_escape(out, escape),
        }
    }

    // Integers as keys: serde_json puts them between begin_string and end_string.
    fn write_i64<W: ?Sized + Write>(&mut self, out: &mut W, value: i64) -> io::Result<()> {
        self.decide_text(out)?;
        CompactFormatter.write_i64(out, value)
    }

    fn write_i32<W: ?Sized + Write>(&mut self, out: &mut W, value: i32) -> io::Result<()> {
        self.decide_text(out)?;
        CompactFormatter.write_i32(out, value)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, out: &mut W, value: u64) -> io::Result<()> {
        self.decide_text(out)?;
        CompactFormatter.write_u64(out, value)
    }

    fn write_u32<W: ?Sized + Write>(&mut self, out: &mut W, value: u32) -> io::Result<()> {
        self.decide_text(out)?;
        CompactFormatter.write_u32(out, value)
    }
}

#[cfg(test)]
mod tests;
