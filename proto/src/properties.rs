//! Message properties: `name \x01 value \x02`, repeated; the last `\x02` may be missing.
//!
//! Reading follows the original's decoder: a pair needs a non-empty name and a non-empty value, anything else is
//! skipped. Writing always ends each pair with `\x02`. Knows no record and no header: strings in, strings out.

use std::borrow::Cow;

/// Between a name and its value.
pub const NAME_END: char = '\u{1}';
/// After a value.
pub const VALUE_END: char = '\u{2}';
/// Largest property string that fits a record (its length is an i16).
pub const MAX_BYTES: usize = i16::MAX as usize;
/// Between two words of KEYS.
pub const KEY_SEPARATOR: char = ' ';
/// Names that begin so are hints of one hop and are never stored.
pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";

pub const KEYS: &str = "KEYS";
pub const TAGS: &str = "TAGS";
pub const WAIT: &str = "WAIT";
pub const DELAY: &str = "DELAY";
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
pub const REAL_TOPIC: &str = "REAL_TOPIC";
pub const REAL_QUEUE_ID: &str = "REAL_QID";
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
pub const PRODUCER_GROUP: &str = "PGROUP";
pub const TRANSACTION_ID: &str = "__transactionId__";
pub const UNIQ_KEY: &str = "UNIQ_KEY";
pub const MSG_REGION: &str = "MSG_REGION";
pub const TRACE_ON: &str = "TRACE_ON";
pub const INSTANCE_ID: &str = "INSTANCE_ID";
pub const CLUSTER: &str = "CLUSTER";
pub const INNER_NUM: &str = "INNER_NUM";
pub const INNER_BASE: &str = "INNER_BASE";
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
pub const BORN_HOST: &str = "__BORNHOST";
pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
pub const MIN_OFFSET: &str = "MIN_OFFSET";
pub const MAX_OFFSET: &str = "MAX_OFFSET";
pub const CRC32: &str = "__CRC32#";
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";

/// Every usable pair, in order.
pub fn pairs(properties: &str) -> impl Iterator<Item = (&str, &str)> {
    properties.split(VALUE_END).filter_map(|pair| {
        let (name, value) = pair.split_once(NAME_END)?;
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// The value of `name`. Of several the last counts, as in the original's map.
pub fn get<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    pairs(properties).filter(|(n, _)| *n == name).last().map(|(_, value)| value)
}

/// The string of these pairs. The caller keeps `\x01` and `\x02` out of names and values.
pub fn build<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        push(&mut out, name, value);
    }
    out
}

/// Appends one pair; ends an unfinished last pair first.
pub fn push(properties: &mut String, name: &str, value: &str) {
    if !properties.is_empty() && !properties.ends_with(VALUE_END) {
        properties.push(VALUE_END);
    }
    properties.push_str(name);
    properties.push(NAME_END);
    properties.push_str(value);
    properties.push(VALUE_END);
}

/// The same pairs with `name` set to `value`, at the end.
pub fn set(properties: &str, name: &str, value: &str) -> String {
    let mut out = remove(properties, name).into_owned();
    push(&mut out, name, value);
    out
}

/// The same pairs without `name`.
pub fn remove<'a>(properties: &'a str, name: &str) -> Cow<'a, str> {
    retain(properties, |n| n != name)
}

/// What of a producer's properties is stored: WAIT speaks to this broker only, and transient hints end here.
pub fn stored(properties: &str) -> Cow<'_, str> {
    retain(properties, |name| name != WAIT && !name.starts_with(TRANSIENT_PREFIX))
}

/// False only if the producer said so: then it does not wait for flush or replicas.
pub fn waits_for_store(properties: &str) -> bool {
    !get(properties, WAIT).is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

fn retain<'a>(properties: &'a str, keep: impl Fn(&str) -> bool) -> Cow<'a, str> {
    if pairs(properties).all(|(name, _)| keep(name)) {
        return Cow::Borrowed(properties);
    }
    Cow::Owned(build(pairs(properties).filter(|(name, _)| keep(name))))
}

/// What a consume queue entry stores for TAGS: Java's `String.hashCode`, sign-extended. 0 when there are none.
pub fn tags_code(tags: Option<&str>) -> i64 {
    tags.map_or(0, |tags| i64::from(java_hash(tags)))
}

/// Java's `String.hashCode`: over UTF-16 units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests;
