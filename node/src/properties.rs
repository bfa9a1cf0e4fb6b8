//! RocketMQ's `key=value` configuration files, read into a serde struct.
//!
//! Values are text; the struct's field types say what is allowed. An unknown key is a warning that names the nearest known one; a bad
//! value is an error with file, line, key, value and what is allowed.

use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot read: {why}")]
    Unreadable { path: String, why: String },
    #[error("{path}:{line}: `{key}={value}`: want {want}")]
    BadValue { path: String, line: usize, key: String, value: String, want: String },
    #[error("{path}:{line}: `{text}`: want key=value")]
    NotKeyValue { path: String, line: usize, text: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    pub line: usize,
    pub key: String,
    pub nearest: Option<String>,
}

/// A configuration and what was odd about its file.
#[derive(Debug)]
pub struct Loaded<T> {
    pub config: T,
    pub unknown: Vec<UnknownKey>,
}

/// Reads `path` over `T::default()`. Without a path: the defaults. Field types: integers, floats, bool (`true`/`false`), String,
/// `Option` of them, and unit enums (their serde names are what is allowed).
pub fn load<T: DeserializeOwned + Serialize + Default>(_path: Option<&Path>) -> Result<Loaded<T>, ConfigError> {
    todo!()
}

/// `key=value` lines in the struct's order: the effective configuration.
pub fn print<T: Serialize>(_config: &T) -> String {
    todo!()
}
