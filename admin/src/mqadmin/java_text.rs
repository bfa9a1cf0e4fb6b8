//! Values as Java prints them, where Rust would print something else.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// `Double.toString`: `0.0`, `12.5`, `1.0E7`, `1.0E-4`.
pub fn double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) || !value.is_finite() {
        return match value {
            _ if value.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            _ => format!("{value:?}"),
        };
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// A map in the order of `HashMap<String, _>(128)` into which the pairs were put: that is how a Java client prints a
/// message's properties.
pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    const BUCKETS: u32 = 128;
    let mut sorted: Vec<(u32, &str, &str)> = Vec::new();
    for (name, value) in pairs {
        match sorted.iter_mut().find(|it| it.1 == name) {
            Some(known) => known.2 = value,
            None => sorted.push((bucket(name, BUCKETS), name, value)),
        }
    }
    sorted.sort_by_key(|it| it.0); // stable: within a bucket the order of insertion stays
    let entries: Vec<String> = sorted.iter().map(|(_, name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", entries.join(", "))
}

fn bucket(name: &str, buckets: u32) -> u32 {
    let hash = proto::properties::java_hash(name) as u32;
    (hash ^ (hash >> 16)) & (buckets - 1)
}

/// `yyyy-MM-dd HH:mm:ss,SSS` in the machine's time zone; empty for 0, as topicStatus shows a queue without messages.
pub fn instant(millis: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(at) if millis > 0 => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S,%3f").to_string(),
        _ => String::new(),
    }
}

/// Milliseconds of `yyyy-MM-dd#HH:mm:ss:SSS` in the machine's time zone, or of a plain number.
pub fn parse_instant(text: &str, zone: &TimeZone) -> Option<i64> {
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    let (seconds, millis) = text.rsplit_once(':')?;
    let at = jiff::civil::DateTime::strptime("%Y-%m-%d#%H:%M:%S", seconds).ok()?;
    let millis: i64 = millis.parse().ok().filter(|it| (0..1000).contains(it))?;
    Some(at.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond() + millis)
}

/// JSON as fastjson indents it: tabs, no blank after a colon, integer keys without quotes.
pub fn pretty_json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, 0, &mut out);
    out
}

fn write_json(value: &Value, depth: usize, out: &mut String) {
    let indent = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n('\t', depth));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                indent(out, depth + 1);
                write_json(item, depth + 1, out);
            }
            indent(out, depth);
            out.push(']');
        }
        Value::Object(entries) if !entries.is_empty() => {
            for (index, (key, item)) in entries.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                indent(out, depth + 1);
                match key.parse::<i64>() {
                    Ok(_) => out.push_str(key),
                    Err(_) => out.push_str(&Value::from(key.as_str()).to_string()),
                }
                out.push(':');
                write_json(item, depth + 1, out);
            }
            indent(out, depth);
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// The first `size` characters (`frontStringAtLeast`): Java clips names so that columns stay in line.
pub fn clip(text: &str, size: usize) -> &str {
    text.char_indices().nth(size).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn doubles() {
        // From a JVM.
        let texts: Vec<String> = [0.0, 12.5, 1e7, 123456.789, 1e-4, -2.5e10].map(double).into();
        assert_eq!(texts, ["0.0", "12.5", "1.0E7", "123456.789", "1.0E-4", "-2.5E10"]);
    }

    #[test]
    fn a_map_is_in_the_order_of_a_jvm() {
        let names =
            ["a", "UNIQ_KEY", "TAGS", "CLUSTER", "MIN_OFFSET", "MAX_OFFSET", "WAIT", "MSG_REGION", "TRACE_ON", "KEYS"];
        // From a JVM.
        expect![
            "{MSG_REGION=7, UNIQ_KEY=1, CLUSTER=3, MIN_OFFSET=4, TAGS=2, KEYS=9, WAIT=6, a=0, TRACE_ON=8, MAX_OFFSET=5}"
        ]
        .assert_eq(&map(names.iter().copied().zip(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"])));
    }

    #[test]
    fn instants() {
        assert_eq!(instant(1_700_000_000_007, &TimeZone::UTC), "2023-11-14 22:13:20,007");
        assert_eq!(instant(0, &TimeZone::UTC), "");
        assert_eq!(parse_instant("2023-11-14#22:13:20:007", &TimeZone::UTC), Some(1_700_000_000_007));
        assert_eq!(parse_instant("1700000000007", &TimeZone::UTC), Some(1_700_000_000_007));
        assert_eq!(parse_instant("yesterday", &TimeZone::UTC), None);
    }

    #[test]
    fn clipping_counts_characters() {
        assert_eq!(clip("größer", 3), "grö");
        assert_eq!(clip("ab", 3), "ab");
    }
}
