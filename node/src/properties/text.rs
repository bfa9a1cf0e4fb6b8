//! A serde deserializer of text values: the wanted type says how a text is read.

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, Unexpected, Visitor};
use serde_json::Value;
use std::cell::Cell;
use std::fmt::{self, Display};
use std::str::FromStr;

/// One `key=value` line.
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: String,
    /// The key's default, if it is a known one: its kind says how to read the text where the struct does not say it
    /// itself (a struct flattened into another).
    default: Option<Value>,
    ignored: Cell<bool>,
}

impl Entry {
    pub(super) fn new(line: usize, key: &str, value: &str, default: Option<Value>) -> Entry {
        Entry { line, key: key.to_owned(), value: value.to_owned(), default, ignored: Cell::new(false) }
    }

    fn locate<T>(&self, read: Result<T, Refused>) -> Result<T, Refused> {
        read.map_err(|e| Refused { line: Some(self.line), ..e })
    }

    /// Once read: no field took it.
    pub(super) fn is_unknown(&self) -> bool {
        self.ignored.get()
    }
}

/// What was wanted instead, and on which line.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) line: Option<usize>,
    pub(super) want: String,
}

impl Refused {
    fn want(want: impl Into<String>) -> Refused {
        Refused { line: None, want: want.into() }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.want)
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: Display>(message: T) -> Refused {
        Refused::want(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Refused {
        Refused::want(expected.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Refused {
        Refused::want(expected.to_string())
    }

    fn unknown_variant(_: &str, allowed: &'static [&'static str]) -> Refused {
        Refused::want(one_of(allowed))
    }
}

/// `A`, `A or B`, `A, B or C`.
fn one_of(allowed: &[&str]) -> String {
    match allowed {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Defaults that no line overrides, then the lines.
pub(super) struct Fields<'a> {
    fields: Vec<(&'a str, Field<'a>)>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(kept: impl Iterator<Item = &'a (String, Value)>, entries: &'a [Entry]) -> Fields<'a> {
        let kept = kept.map(|(key, value)| (key.as_str(), Field::Default(value)));
        let set = entries.iter().map(|entry| (entry.key.as_str(), Field::Set(entry)));
        Fields { fields: kept.chain(set).collect() }
    }
}

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(MapDeserializer::new(self.fields.into_iter()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Default(&'a Value),
    Set(&'a Entry),
}

impl IntoDeserializer<'_, Refused> for Field<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Defaults read themselves; how a text is read follows.
macro_rules! read_text {
    ($($method:ident($text:ident, $visitor:ident) $read:block)*) => {$(
        fn $method<V: Visitor<'de>>(self, $visitor: V) -> Result<V::Value, Refused> {
            match self {
                Field::Default(value) => value.clone().$method($visitor).map_err(Refused::custom),
                Field::Set(entry) => {
                    let $text = entry.value.as_str();
                    entry.locate($read)
                }
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Field<'_> {
    type Error = Refused;

    /// Somebody who does not say what it wants: a flattened struct collects everything first.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self {
            Field::Default(value) => value.clone().deserialize_any(visitor).map_err(Refused::custom),
            Field::Set(entry) => match &entry.default {
                Some(Value::Bool(_)) => self.deserialize_bool(visitor),
                Some(Value::Number(number)) if number.is_f64() => self.deserialize_f64(visitor),
                Some(Value::Number(_)) => self.deserialize_i64(visitor),
                Some(_) => self.deserialize_str(visitor),
                None => {
                    entry.ignored.set(true);
                    self.deserialize_str(visitor)
                }
            },
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if let Field::Set(entry) = self {
            entry.ignored.set(true);
        }
        visitor.visit_unit()
    }

    /// `key=` takes the value away.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self {
            Field::Default(Value::Null) => visitor.visit_none(),
            Field::Set(entry) if entry.value.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self {
            Field::Default(value) => value.clone().deserialize_enum(name, variants, visitor).map_err(Refused::custom),
            Field::Set(entry) => entry.locate(visitor.visit_enum(entry.value.as_str().into_deserializer())),
        }
    }

    read_text! {
        deserialize_bool(text, visitor) { boolean(text).and_then(|it| visitor.visit_bool(it)) }
        deserialize_i8(text, visitor) { integer(text, i8::MIN, i8::MAX).and_then(|it| visitor.visit_i8(it)) }
        deserialize_i16(text, visitor) { integer(text, i16::MIN, i16::MAX).and_then(|it| visitor.visit_i16(it)) }
        deserialize_i32(text, visitor) { integer(text, i32::MIN, i32::MAX).and_then(|it| visitor.visit_i32(it)) }
        deserialize_i64(text, visitor) { integer(text, i64::MIN, i64::MAX).and_then(|it| visitor.visit_i64(it)) }
        deserialize_u8(text, visitor) { integer(text, u8::MIN, u8::MAX).and_then(|it| visitor.visit_u8(it)) }
        deserialize_u16(text, visitor) { integer(text, u16::MIN, u16::MAX).and_then(|it| visitor.visit_u16(it)) }
        deserialize_u32(text, visitor) { integer(text, u32::MIN, u32::MAX).and_then(|it| visitor.visit_u32(it)) }
        deserialize_u64(text, visitor) { integer(text, u64::MIN, u64::MAX).and_then(|it| visitor.visit_u64(it)) }
        deserialize_f32(text, visitor) { float(text).and_then(|it| visitor.visit_f64(it)) }
        deserialize_f64(text, visitor) { float(text).and_then(|it| visitor.visit_f64(it)) }
        deserialize_str(text, visitor) { visitor.visit_str(text) }
        deserialize_string(text, visitor) { visitor.visit_str(text) }
        deserialize_char(text, visitor) { visitor.visit_str(text) }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

fn boolean(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refused::want("true or false")),
    }
}

fn integer<T: FromStr + Display>(text: &str, least: T, most: T) -> Result<T, Refused> {
    text.parse().map_err(|_| match text.parse::<i128>() {
        Ok(_) => Refused::want(format!("an integer from {least} to {most}")),
        Err(_) => Refused::want("an integer"),
    })
}

fn float(text: &str) -> Result<f64, Refused> {
    text.parse().map_err(|_| Refused::want("a number"))
}
