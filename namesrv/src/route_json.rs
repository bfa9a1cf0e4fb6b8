//! Route data as JSON text in the two forms clients expect. Pure.
//!
//! Standard: what every JSON parser reads, everything but ASCII escaped. Legacy: numeric keys bare
//! (`{0:"10.0.0.1:10911"}`), as fastjson writes maps with integer keys; old clients in other languages look for exactly
//! that.

use proto::body::TopicRouteData;
use serde_json::Value;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Standard,
    Legacy,
}

/// Maps whose keys are integers in Java.
const INTEGER_KEYED: [&str; 2] = ["brokerAddrs", "currIdMap"];

pub(crate) fn encode(route: &TopicRouteData, form: Form) -> Vec<u8> {
    let standard = proto::json::to_vec(route);
    if form == Form::Standard && standard.is_ascii() {
        return standard;
    }
    let Ok(value) = serde_json::from_slice::<Value>(&standard) else { return standard };
    let mut out = String::with_capacity(standard.len());
    write_value(&mut out, &value, form, false);
    out.into_bytes()
}

fn write_value(out: &mut String, value: &Value, form: Form, integer_keys: bool) {
    match value {
        Value::Object(fields) => write_list(out, ['{', '}'], fields.iter(), |out, (key, value)| {
            if integer_keys && form == Form::Legacy {
                out.push_str(key);
            } else {
                write_text(out, key, form);
            }
            out.push(':');
            write_value(out, value, form, INTEGER_KEYED.contains(&key.as_str()));
        }),
        Value::Array(items) => write_list(out, ['[', ']'], items.iter(), |out, it| write_value(out, it, form, false)),
        Value::String(text) => write_text(out, text, form),
        plain => {
            let _ = write!(out, "{plain}"); // a String takes everything
        }
    }
}

fn write_list<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    each: impl Fn(&mut String, T),
) {
    out.push(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(close);
}

fn write_text(out: &mut String, text: &str, form: Form) {
    let quoted = Value::from(text).to_string();
    if form == Form::Legacy {
        return out.push_str(&quoted);
    }
    for c in quoted.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04X}"); // a String takes everything
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::body::BrokerData;

    fn route() -> TopicRouteData {
        let addresses = [(0, "10.0.0.1:10911"), (2, "10.0.0.2:10911")];
        let data = BrokerData {
            broker_addrs: addresses.map(|(id, it)| (id, it.to_owned())).into(),
            broker_name: "bröker-a".into(),
            cluster: "c".into(),
            ..BrokerData::default()
        };
        TopicRouteData { broker_datas: vec![data], ..TopicRouteData::default() }
    }

    #[test]
    fn standard_quotes_keys_and_escapes_everything_but_ascii() {
        let text = String::from_utf8(encode(&route(), Form::Standard)).unwrap();
        expect_test::expect![[r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","2":"10.0.0.2:10911"},"brokerName":"br\u00F6ker-a","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[]}"#]].assert_eq(&text);
    }

    #[test]
    fn legacy_leaves_integer_keys_bare() {
        let text = String::from_utf8(encode(&route(), Form::Legacy)).unwrap();
        expect_test::expect![[r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",2:"10.0.0.2:10911"},"brokerName":"bröker-a","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[]}"#]].assert_eq(&text);
    }
}
