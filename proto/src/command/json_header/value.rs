//! Values of a JSON header, read with fastjson's coercions.

use crate::command::{ExtFields, Language};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A number, or a text that is one. Null is 0.
pub(super) struct Integer(pub(super) i32);

/// Text; numbers and booleans as they print, objects and arrays as their JSON. Null is `None`.
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

/// A name or a number of a `LanguageCode`.
pub(super) struct LanguageName(pub(super) Language);

/// `extFields`. A null value is a missing one.
pub(super) struct Extension(pub(super) ExtFields);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl Visitor<'_> for IntegerVisitor {
            type Value = Integer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer of 32 bits")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Integer, E> {
                i32::try_from(value).map(Integer).map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Integer, E> {
                i32::try_from(value).map(Integer).map_err(E::custom)
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Integer, E> {
                value.trim().parse().map(Integer).map_err(E::custom)
            }
            fn visit_unit<E: Error>(self) -> Result<Integer, E> {
                Ok(Integer(0))
            }
        }
        input.deserialize_any(IntegerVisitor)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(value))))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Text<'de>, E> {
                owned(value)
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Text<'de>, E> {
                owned(value)
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Text<'de>, E> {
                owned(value)
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Text<'de>, E> {
                owned(value)
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Text<'de>, E> {
                owned(value)
            }
            fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Text<'de>, A::Error> {
                owned(serde_json::Value::deserialize(SeqAccessDeserializer::new(seq))?)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text<'de>, A::Error> {
                owned(serde_json::Value::deserialize(MapAccessDeserializer::new(map))?)
            }
        }
        input.deserialize_any(TextVisitor)
    }
}

fn owned<'de, E>(value: impl ToString) -> Result<Text<'de>, E> {
    Ok(Text(Some(Cow::Owned(value.to_string()))))
}

impl<'de> Deserialize<'de> for LanguageName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(input)?.0.unwrap_or(Cow::Borrowed("JAVA"));
        Ok(LanguageName(match text.parse::<u8>() {
            // Through its name, so that a number nobody knows becomes OTHER.
            Ok(code) => Language::from_name(Language(code).name()),
            Err(_) => Language::from_name(&text),
        }))
    }
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct ExtensionVisitor;
        impl<'de> Visitor<'de> for ExtensionVisitor {
            type Value = Extension;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_unit<E: Error>(self) -> Result<Extension, E> {
                Ok(Extension(ExtFields::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extension, A::Error> {
                let mut fields = ExtFields::new();
                while let Some((key, value)) = map.next_entry::<String, Text>()? {
                    match value.0 {
                        Some(value) => fields.insert(key, value.into_owned()),
                        None => fields.remove(&key),
                    };
                }
                Ok(Extension(fields))
            }
        }
        input.deserialize_any(ExtensionVisitor)
    }
}
