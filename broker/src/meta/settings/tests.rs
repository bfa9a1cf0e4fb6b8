//! Changes to topics and groups.

use super::*;
use crate::meta::{groups, topics};

fn at(epoch: Epoch, settings: u64) -> Stamp {
    Stamp { epoch, settings, now_ms: 5 }
}

#[test]
fn creating_what_is_there_changes_nothing_but_putting_does() {
    let mut settings = Settings::default();
    assert!(settings.apply(Change::CreateTopic(topics::derived("T".into(), 4)), at(1, 1)).topics);
    assert!(!settings.apply(Change::CreateTopic(topics::derived("T".into(), 9)), at(1, 2)).any());
    assert!(settings.apply(Change::PutTopic(topics::derived("T".into(), 9)), at(1, 3)).topics);
    assert_eq!(settings.topics.config("T").map(|it| it.write_queue_nums), Some(9));
    assert!(settings.apply(Change::CreateGroup(groups::auto_created("G")), at(1, 4)).groups);
    assert!(!settings.apply(Change::PutGroup(groups::auto_created("G")), at(1, 5)).any());
    assert!(settings.apply(Change::RemoveGroup("G".into()), at(1, 6)).groups);
    assert!(!settings.apply(Change::RemoveGroup("G".into()), at(1, 7)).any());
}

#[test]
fn a_new_masters_tables_are_newer_than_any_before() {
    let mut old = Settings::default();
    for i in 0..9 {
        old.apply(Change::PutTopic(topics::derived(format!("T{i}"), 1)), at(4, i));
    }
    let mut new = Settings::default();
    new.apply(Change::Adopt, at(5, 1));
    assert!(new.topics.version.compare(&old.topics.version).is_gt());
    assert!(new.groups.version.compare(&old.groups.version).is_gt());
}

#[test]
fn the_group_file_is_javas() {
    let mut settings = Settings::default();
    settings.apply(Change::PutGroup(groups::auto_created("G")), at(1, 1));
    let want = concat!(
        r#"{"dataVersion":{"counter":1,"stateVersion":1,"timestamp":5},"forbiddenTable":{},"#,
        r#""subscriptionGroupTable":{"G":{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"#,
        r#""consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"#,
        r#""consumeTimeoutMinute":15,"groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"#,
        r#""groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"#,
        r#""retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}}}"#
    );
    assert_eq!(String::from_utf8_lossy(&proto::json::to_vec(&settings.groups.to_file())), want);
}
