//! Tag subscriptions: `TagA || TagB`, and which messages they let through.

use proto::properties::java_hash;
use std::collections::BTreeSet;

pub const TAG: &str = "TAG";
const ALL: &str = "*";

/// Which tags codes a consumer wants. Codes collide; the client compares the tags themselves again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    All,
    Codes(BTreeSet<i64>),
}

impl TagFilter {
    /// An empty expression or `*` wants everything. `None`: nothing between two `||`.
    pub fn parse(expression: &str) -> Option<TagFilter> {
        let expression = expression.trim();
        if expression.is_empty() || expression == ALL {
            return Some(TagFilter::All);
        }
        let tags: Vec<&str> = expression.split("||").map(str::trim).filter(|it| !it.is_empty()).collect();
        if tags.is_empty() {
            return None;
        }
        Some(TagFilter::Codes(tags.into_iter().map(|it| i64::from(java_hash(it))).collect()))
    }

    pub fn wants(&self, tags_code: i64) -> bool {
        match self {
            TagFilter::All => true,
            TagFilter::Codes(codes) => codes.contains(&tags_code),
        }
    }
}

/// Whether an expression type means tags; absent and empty do.
pub fn is_tag(expression_type: Option<&str>) -> bool {
    expression_type.is_none_or(|it| it.is_empty() || it == TAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_trimmed_and_hashed_as_java_does() {
        let codes = BTreeSet::from([2_598_919, 2_598_920]);
        assert_eq!(TagFilter::parse("TagA || TagB"), Some(TagFilter::Codes(codes)));
        assert_eq!(TagFilter::parse(" * "), Some(TagFilter::All));
        assert_eq!(TagFilter::parse(""), Some(TagFilter::All));
        assert_eq!(TagFilter::parse(" || "), None);
    }

    #[test]
    fn a_filter_lets_only_its_tags_through() {
        let filter = TagFilter::parse("TagA").expect("one tag");
        assert!(filter.wants(2_598_919));
        assert!(!filter.wants(2_598_920));
        assert!(!filter.wants(0), "a message without tags");
    }
}
