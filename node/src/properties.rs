//! RocketMQ's `key=value` configuration files, read into a serde struct.
//!
//! Values are text; the struct's field types say what is allowed. An unknown key is a warning that names the nearest
//! known one; a bad value is an error with file, line, key, value and what is allowed.

mod text;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::Path;
use text::{Entry, Refused};

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

/// Below this likeness (1 = equal) a known key is no help.
const NEAR: f64 = 0.7;

/// Reads `path` over `T::default()`. Without a path: the defaults. Field types: integers, floats, bool
/// (`true`/`false`), String,
/// `Option` of them, and unit enums (their serde names are what is allowed); flattened structs of these. No aliases.
pub fn load<T: DeserializeOwned + Serialize + Default>(path: Option<&Path>) -> Result<Loaded<T>, ConfigError> {
    let Some(path) = path else { return Ok(Loaded { config: T::default(), unknown: Vec::new() }) };
    let name = path.display().to_string();
    let unreadable = |why: String| ConfigError::Unreadable { path: name.clone(), why };
    let bytes = std::fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("not a text file (UTF-8)".to_owned()))?;
    parse(&name, &text)
}

/// As [`load`], of text that is at hand; errors name it `path`.
pub fn parse<T: DeserializeOwned + Serialize + Default>(path: &str, text: &str) -> Result<Loaded<T>, ConfigError> {
    let defaults = fields(&T::default());
    let entries = entries(path, text, &defaults)?;
    let config =
        read::<T>(&defaults, &entries).map_err(|refused| bad_value::<T>(path, refused, &defaults, &entries))?;
    let unknown = entries.iter().filter(|it| it.is_unknown()).map(|it| unknown_key(it, &defaults)).collect();
    Ok(Loaded { config, unknown })
}

/// `key=value` lines in the struct's order: the effective configuration, with secrets made unreadable.
pub fn print<T: Serialize>(config: &T) -> String {
    let lines = print_with_secrets(config);
    let hidden = |line: &str| match line.split_once('=') {
        Some((key, value)) if is_secret(key) && !value.is_empty() => format!("{key}={HIDDEN}\n"),
        _ => format!("{line}\n"),
    };
    lines.lines().map(hidden).collect()
}

/// What is shown instead of a secret.
pub const HIDDEN: &str = "******";

/// Whether nobody may see this key's value.
pub fn is_secret(key: &str) -> bool {
    ["secretkey", "keypassword", "credentials"].iter().any(|it| key.to_ascii_lowercase().ends_with(it))
}

/// As [`print`], to be written to a file that only its owner may read.
pub fn print_with_secrets<T: Serialize>(config: &T) -> String {
    let line = |(key, value): &(String, Value)| match value {
        Value::Null => format!("{key}=\n"),
        Value::String(text) => format!("{key}={text}\n"),
        other => format!("{key}={other}\n"),
    };
    fields(config).iter().map(line).collect()
}

/// The struct's keys in order, with their values.
fn fields<T: Serialize>(config: &T) -> Vec<(String, Value)> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => panic!("a configuration is a struct of plain values: {}", std::any::type_name::<T>()),
    }
}

/// The last of several lines with one key counts, as in Java.
fn entries(path: &str, text: &str, defaults: &[(String, Value)]) -> Result<Vec<Entry>, ConfigError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut in_xml_comment = false;
    for (at, line) in text.trim_start_matches('\u{FEFF}').lines().enumerate() {
        let line = line.trim();
        // RocketMQ's own samples for a controller in a nameserver begin with their license in an XML comment.
        in_xml_comment |= line.starts_with("<!--");
        if in_xml_comment {
            in_xml_comment = !line.ends_with("-->");
            continue;
        }
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let not_key_value = || ConfigError::NotKeyValue { path: path.to_owned(), line: at + 1, text: line.to_owned() };
        let (key, value) =
            line.split_once('=').map(|(key, value)| (key.trim(), value.trim())).ok_or_else(not_key_value)?;
        if key.is_empty() {
            return Err(not_key_value());
        }
        let default = defaults.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
        entries.retain(|it| it.key != key);
        entries.push(Entry::new(at + 1, key, value, default));
    }
    Ok(entries)
}

/// The entries over the defaults.
fn read<T: DeserializeOwned>(defaults: &[(String, Value)], entries: &[Entry]) -> Result<T, Refused> {
    let kept = defaults.iter().filter(|(key, _)| entries.iter().all(|it| it.key != *key));
    T::deserialize(text::Fields::new(kept, entries))
}

fn bad_value<T: DeserializeOwned>(
    path: &str,
    refused: Refused,
    defaults: &[(String, Value)],
    entries: &[Entry],
) -> ConfigError {
    // A struct flattened into another says only that something is wrong: find out which entry it is by trying each
    // alone.
    let guilty = || entries.iter().find(|it| read::<T>(defaults, std::slice::from_ref(*it)).is_err());
    let entry = entries.iter().find(|it| Some(it.line) == refused.line).or_else(guilty);
    let (line, key, value) = entry.map_or((0, "?", "?"), |it| (it.line, &it.key, &it.value));
    ConfigError::BadValue {
        path: path.to_owned(),
        line,
        key: key.to_owned(),
        value: value.to_owned(),
        want: refused.want,
    }
}

fn unknown_key(entry: &Entry, known: &[(String, Value)]) -> UnknownKey {
    let likeness = |key: &str| strsim::normalized_damerau_levenshtein(&key.to_lowercase(), &entry.key.to_lowercase());
    let nearest = known
        .iter()
        .map(|(key, _)| (likeness(key), key))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    UnknownKey { line: entry.line, key: entry.key.clone(), nearest: nearest.map(|(_, key)| key.clone()) }
}

#[cfg(test)]
mod tests;
