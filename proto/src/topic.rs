//! Topic and group names: what is allowed, what is built in, what is derived.

/// Bits of a topic's or broker's `perm`.
pub mod perm {
    pub const PRIORITY: i32 = 8;
    pub const READ: i32 = 4;
    pub const WRITE: i32 = 2;
    /// Auto-created topics may copy the settings of this one.
    pub const INHERIT: i32 = 1;

    pub fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    pub fn is_writeable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    pub fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }

    /// `RWX`, with `-` for what is missing.
    pub fn text(perm: i32) -> String {
        let letter = |bit, letter| if perm & bit != 0 { letter } else { '-' };
        [letter(READ, 'R'), letter(WRITE, 'W'), letter(INHERIT, 'X')].iter().collect()
    }
}

/// Template of auto-created topics.
pub const AUTO_CREATE_TOPIC_KEY_TOPIC: &str = "TBW102";
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Everything that begins so is a system topic.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
pub const REVIVE_TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
pub const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
pub const REPLY_TOPIC_POSTFIX: &str = "REPLY_TOPIC";

pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DLQ_PREFIX: &str = "%DLQ%";

const SYSTEM_TOPICS: [&str; 9] = [
    AUTO_CREATE_TOPIC_KEY_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// Topics that clients may not send to.
const NOT_ALLOWED_SEND: [&str; 6] = [
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// Groups that every broker has.
pub const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// Longest name of a topic that people create.
pub const MAX_TOPIC: usize = 127;
/// Longest name of a retry or dead-letter topic, and what a record's length byte can say.
pub const MAX_RETRY_TOPIC: usize = 255;
/// Longest name of a consumer or producer group, so that its retry topic still fits.
pub const MAX_GROUP: usize = 120;

/// Why a topic or group name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("The specified {what} is blank")]
    Blank { what: &'static str },
    #[error("The specified {what} contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    Characters { what: &'static str },
    #[error("The specified {what} is longer than {what} max length {max}.")]
    Length { what: &'static str, max: usize },
}

/// As `TopicValidator#validateTopic`.
pub fn validate_topic(topic: &str) -> Result<(), NameError> {
    let derived = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    validate("topic", topic, if derived { MAX_RETRY_TOPIC } else { MAX_TOPIC })
}

pub fn validate_group(group: &str) -> Result<(), NameError> {
    validate("group", group, MAX_GROUP)
}

fn validate(what: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { what });
    }
    if !name.bytes().all(|it| it.is_ascii_alphanumeric() || b"%|_-".contains(&it)) {
        return Err(NameError::Characters { what });
    }
    if name.len() > max {
        return Err(NameError::Length { what, max });
    }
    Ok(())
}

pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_TOPIC_PREFIX)
}

pub fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with(SYSTEM_GROUP_PREFIX)
}

pub fn is_send_allowed(topic: &str) -> bool {
    !NOT_ALLOWED_SEND.contains(&topic)
}

/// Where a group's failed messages wait for their next attempt.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// Where a group's messages end that failed too often.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The group whose retry or dead-letter topic this is.
pub fn group_of(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX).or_else(|| topic.strip_prefix(DLQ_PREFIX))
}

pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}_{REPLY_TOPIC_POSTFIX}")
}

pub fn revive_topic(cluster: &str) -> String {
    format!("{REVIVE_TOPIC_PREFIX}{cluster}")
}

pub fn sync_broker_member_topic(broker_name: &str) -> String {
    format!("{SYNC_BROKER_MEMBER_PREFIX}{broker_name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_java_checks_them() {
        for good in ["T", "a-b_c|%d", "%RETRY%g", &"x".repeat(127), &format!("%DLQ%{}", "x".repeat(250))] {
            assert_eq!(validate_topic(good), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("", NameError::Blank { what: "topic" }),
            (" \t", NameError::Blank { what: "topic" }),
            ("a b", NameError::Characters { what: "topic" }),
            ("größe", NameError::Characters { what: "topic" }),
            (&"x".repeat(128), NameError::Length { what: "topic", max: 127 }),
            (&format!("%RETRY%{}", "x".repeat(250)), NameError::Length { what: "topic", max: 255 }),
        ] {
            assert_eq!(validate_topic(bad), Err(want), "{bad}");
        }
        assert_eq!(validate_group(&"g".repeat(121)), Err(NameError::Length { what: "group", max: 120 }));
    }

    #[test]
    fn system_topics_are_known_by_name_and_prefix() {
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_anything"));
        assert!(!is_system_topic("MyTopic") && !is_system_topic("%RETRY%TOOLS_CONSUMER"));
        assert!(!is_send_allowed("SCHEDULE_TOPIC_XXXX") && is_send_allowed("TBW102"));
    }

    #[test]
    fn derived_names_lead_back_to_their_group() {
        assert_eq!(group_of(&retry_topic("g")), Some("g"));
        assert_eq!(group_of(&dlq_topic("g")), Some("g"));
        assert_eq!(group_of("g"), None);
        assert_eq!(perm::text(6), "RW-");
        assert_eq!(perm::text(7), "RWX");
        assert_eq!(perm::text(1), "--X");
    }
}
