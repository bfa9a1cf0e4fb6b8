//! `topicList`: the topics the nameserver knows, with `-c` by cluster and consumer group.

use crate::mqadmin::java_text::clip;

/// Header of `-c`.
pub fn header() -> String {
    format!("{:<20}  {:<48}  {:<48}\n", "#Cluster Name", "#Topic", "#Consumer Group")
}

/// A topic's lines under `-c`: one per consumer group, or one with an empty group.
pub fn lines(cluster: &str, topic: &str, groups: &[String]) -> String {
    let line = |group: &str| format!("{:<20}  {:<64}  {:<64}\n", clip(cluster, 20), clip(topic, 64), clip(group, 64));
    match groups {
        [] => line(""),
        groups => groups.iter().map(|it| line(it)).collect(),
    }
}

/// Retry and dead-letter topics belong to groups and are not shown under `-c`.
pub fn is_shown(topic: &str) -> bool {
    !topic.starts_with(proto::topic::RETRY_PREFIX) && !topic.starts_with(proto::topic::DLQ_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn one_line_per_group() {
        let text =
            header() + &lines("DefaultCluster", "orders", &["a".into(), "b".into()]) + &lines("c", "unread", &[]);
        expect![[r"
            #Cluster Name         #Topic                                            #Consumer Group                                 
            DefaultCluster        orders                                                            a                                                               
            DefaultCluster        orders                                                            b                                                               
            c                     unread                                                                                                                            
        "]]
        .assert_eq(&text);
    }

    #[test]
    fn topics_of_groups_are_hidden() {
        assert!(is_shown("orders") && !is_shown("%RETRY%g") && !is_shown("%DLQ%g"));
    }
}
