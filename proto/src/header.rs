//! Typed custom headers (`CommandCustomHeader`) to and from a frame's `extFields`.
//!
//! RocketMQ does not enforce its "required" annotation: a missing field keeps Java's default and the handler trips over
//! it later. We say at once which field of which header is missing or ill-typed; the handler turns that into the code
//! Java would have answered.

mod broker;
mod client;
mod controller;
mod namesrv;

pub use broker::*;
pub use client::*;
pub use controller::*;
pub use namesrv::*;

use crate::command::ExtFields;

/// A custom header.
pub trait Header: Sized {
    fn read(ext: &ExtFields) -> Result<Self, HeaderError>;
    fn write(&self, ext: &mut ExtFields);
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("{header}: field `{field}` is missing")]
    Missing { header: &'static str, field: &'static str },
    #[error("{header}: field `{field}` is `{value}`: want {want}")]
    IllTyped { header: &'static str, field: &'static str, value: String, want: &'static str },
}

/// One field's text form. `None` from `parse` means ill-typed.
pub trait Field: Sized {
    const WANT: &'static str;
    fn parse(text: &str) -> Option<Self>;
    fn text(&self) -> String;
}

macro_rules! integer_field {
    ($($t:ty => $want:literal),*) => {$(
        impl Field for $t {
            const WANT: &'static str = $want;
            fn parse(text: &str) -> Option<Self> { text.parse().ok() }
            fn text(&self) -> String { self.to_string() }
        }
    )*};
}
integer_field!(i32 => "an integer of 32 bits", i64 => "an integer of 64 bits");

impl Field for String {
    const WANT: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn text(&self) -> String {
        self.clone()
    }
}

/// As `Boolean.parseBoolean`: only `true` in any case is true, everything else is false.
impl Field for bool {
    const WANT: &'static str = "true or false";
    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// How a struct member maps to a field: `T` must be there, `Option<T>` may be absent.
pub trait Member: Sized {
    fn get(ext: &ExtFields, header: &'static str, field: &'static str) -> Result<Self, HeaderError>;
    fn put(&self, ext: &mut ExtFields, field: &'static str);
}

impl<T: Field> Member for T {
    fn get(ext: &ExtFields, header: &'static str, field: &'static str) -> Result<Self, HeaderError> {
        Option::<T>::get(ext, header, field)?.ok_or(HeaderError::Missing { header, field })
    }
    fn put(&self, ext: &mut ExtFields, field: &'static str) {
        ext.insert(field.to_owned(), self.text());
    }
}

impl<T: Field> Member for Option<T> {
    fn get(ext: &ExtFields, header: &'static str, field: &'static str) -> Result<Self, HeaderError> {
        let Some(text) = ext.get(field) else { return Ok(None) };
        T::parse(text).map(Some).ok_or_else(|| HeaderError::IllTyped {
            header,
            field,
            value: text.clone(),
            want: T::WANT,
        })
    }
    fn put(&self, ext: &mut ExtFields, field: &'static str) {
        if let Some(value) = self {
            ext.insert(field.to_owned(), value.text());
        }
    }
}

/// Declares a header: `header! { /// doc  pub struct Name { field: Type = "wireName", … } }`. `Option<T>` members may
/// be absent.
macro_rules! header {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $wire:literal),* $(,)? }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }

        impl $crate::header::Header for $name {
            #[allow(unused_variables)] // a header without fields reads nothing
            fn read(ext: &$crate::command::ExtFields) -> Result<Self, $crate::header::HeaderError> {
                Ok($name { $($field: $crate::header::Member::get(ext, stringify!($name), $wire)?),* })
            }
            #[allow(unused_variables)] // a header without fields writes nothing
            fn write(&self, ext: &mut $crate::command::ExtFields) {
                $($crate::header::Member::put(&self.$field, ext, $wire);)*
            }
        }
    )*};
}
pub(crate) use header;

#[cfg(test)]
mod tests;
