//! Phases of a failover that only the servers see, out of their `/status.json`.
//!
//! The pages are searched for objects about the broker set's new epoch, so that this code depends on the names of the
//! instants only. Servers write wall-clock milliseconds; a page without them (Java has none) adds nothing.

use super::failover::Fault;
use super::http;
use super::timeline::{Phase, Timeline};
use serde_json::Value;

/// Names of instants, in snake case; pages may write them in camel case.
const INSTANTS: [(&str, Phase); 5] = [
    ("detected_ms", Phase::Detected),
    ("proposed_ms", Phase::Proposed),
    ("committed_ms", Phase::Committed),
    ("applied_ms", Phase::Committed),
    ("promoted_ms", Phase::Promoted),
];
/// An instant this much before the kill belongs to it all the same: pages have whole milliseconds.
const ROUNDING_MS: f64 = 1.5;

/// Adds what the servers wrote down about the change of master that followed the fault.
pub async fn add_phases(timeline: &mut Timeline, fault: &Fault, servers: &[String], broker_set: &str) {
    for address in servers {
        let Some(page) = http::get(address, "/status.json").await else { continue };
        let Ok(page) = serde_json::from_slice::<Value>(&page) else { continue };
        let mut found = Vec::new();
        collect(&page, None, broker_set, &mut found);
        found.sort_by(|left, right| left.1.total_cmp(&right.1));
        for (phase, wall_ms) in found {
            let at = wall_ms - fault.wall_ms;
            if at > -ROUNDING_MS {
                timeline.add(phase, at.max(0.0), format!("by {address}"));
            }
        }
    }
}

/// Instants of every object that is not under another broker set's name.
fn collect(value: &Value, set: Option<&str>, broker_set: &str, out: &mut Vec<(Phase, f64)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|it| collect(it, set, broker_set, out)),
        Value::Object(fields) => {
            let own = ["name", "brokerName", "broker_name", "broker_set", "brokerSet"]
                .iter()
                .find_map(|it| fields.get(*it)?.as_str());
            let set = own.or(set);
            if set.is_some_and(|it| it != broker_set) {
                return;
            }
            for (key, item) in fields {
                match (INSTANTS.iter().find(|(name, _)| *name == snake_case(key)), item.as_f64()) {
                    (Some((_, phase)), Some(wall_ms)) => out.push((*phase, wall_ms)),
                    _ => collect(item, set, broker_set, out),
                }
            }
        }
        _ => {}
    }
}

fn snake_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for letter in text.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn instants_of_the_set_are_found() {
        let page = json!({"sets": [
            {"name": "broker-a", "changes": [{"epoch": 2, "detectedMs": 1000, "proposedMs": 1001.5, "cause": {"first": null}}]},
            {"name": "broker-b", "changes": [{"detected_ms": 1}]}
        ], "uptimeMs": 5});
        let mut found = Vec::new();
        collect(&page, None, "broker-a", &mut found);
        assert_eq!(found, [(Phase::Detected, 1000.0), (Phase::Proposed, 1001.5)]);
    }
}
