//! `updateTopic`: creates or changes a topic on one broker or on all masters of a cluster.

use crate::mqadmin::options::{Given, UsageError};
use proto::body::TopicConfig;
use std::collections::BTreeMap;

/// Queues a topic gets when nobody says how many.
const QUEUES: i32 = 8;

/// The topic the options describe. Attributes are sent as they are meant: `+name=value` sets, `-name` removes.
pub fn config(given: &Given) -> Result<TopicConfig, UsageError> {
    const COUNT: &str = "a number of queues";
    Ok(TopicConfig {
        topic_name: given.required("t").to_owned(),
        attributes: attributes(given.get("a").unwrap_or_default())?,
        read_queue_nums: given.parse("r", COUNT)?.unwrap_or(QUEUES),
        write_queue_nums: given.parse("w", COUNT)?.unwrap_or(QUEUES),
        perm: given.parse("p", "2 (write), 4 (read) or 6 (both)")?.unwrap_or(6),
        order: given.is_true("o"),
        topic_sys_flag: sys_flag(given.is_true("u"), given.is_true("s")),
        ..TopicConfig::default()
    })
}

/// `TopicSysFlag`: bit 0 for a topic of a unit, bit 1 for one that units subscribe to.
fn sys_flag(unit: bool, subscribed_by_units: bool) -> i32 {
    i32::from(unit) | i32::from(subscribed_by_units) << 1
}

fn attributes(text: &str) -> Result<BTreeMap<String, String>, UsageError> {
    let wrong = |part: &str| UsageError::IllTyped {
        option: "a",
        value: part.to_owned(),
        want: "+name=value or -name, separated by commas",
    };
    let mut map = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) if name.starts_with('+') && name.len() > 1 => (name, value),
            None if part.starts_with('-') && part.len() > 1 => (part, ""),
            _ => return Err(wrong(part)),
        };
        if map.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(wrong(part));
        }
    }
    Ok(map)
}

pub fn created(address: &str) -> String {
    format!("create topic to {address} success.\n")
}

/// `TopicConfig#toString`.
pub fn text(config: &TopicConfig) -> String {
    let attributes: Vec<String> = config.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, \
         topicSysFlag={}, order={}, attributes={{{}}}]\n",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        proto::topic::perm::text(config.perm),
        config.topic_filter_type,
        config.topic_sys_flag,
        config.order,
        attributes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqadmin::options::{Opt, parse};
    use expect_test::{Expect, expect};

    fn check(line: &str, expect: Expect) {
        let options: Vec<Opt> = ["t", "a", "r", "w", "p", "o", "u", "s"].map(|it| Opt::value(it, it, "")).into();
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let given = parse(&options, &args).unwrap();
        expect.assert_eq(&config(&given).map_or_else(|error| error.to_string(), |it| text(&it)));
    }

    #[test]
    fn options_become_a_topic() {
        check(
            "-t T",
            expect![[r"
            TopicConfig [topicName=T, readQueueNums=8, writeQueueNums=8, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}]
        "]],
        );
        check(
            "-t T -r 4 -w 2 -p 4 -o true -u true -s TRUE -a +message.type=FIFO",
            expect![[r"
            TopicConfig [topicName=T, readQueueNums=4, writeQueueNums=2, perm=R--, topicFilterType=SINGLE_TAG, topicSysFlag=3, order=true, attributes={+message.type=FIFO}]
        "]],
        );
    }

    #[test]
    fn nonsense_is_refused() {
        check("-t T -r many", expect!["option -r is `many`: want a number of queues"]);
        check("-t T -a x=y", expect!["option -a is `x=y`: want +name=value or -name, separated by commas"]);
    }
}
