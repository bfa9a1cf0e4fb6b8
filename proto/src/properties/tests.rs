//! Message properties as text, and hash codes of tags.

use super::*;
use proptest::prelude::*;

#[test]
fn reads_pairs_as_the_original_does() {
    let text = "KEYS\u{1}k1 k2\u{2}TAGS\u{1}TagA\u{2}EMPTY\u{1}\u{2}\u{1}noname\u{2}junk\u{2}LAST\u{1}v";
    let found: Vec<_> = pairs(text).collect();
    assert_eq!(found, [("KEYS", "k1 k2"), ("TAGS", "TagA"), ("LAST", "v")]);
    assert_eq!(get(text, TAGS), Some("TagA"));
    assert_eq!(get(text, "EMPTY"), None);
    assert_eq!(get("A\u{1}1\u{2}A\u{1}2\u{2}", "A"), Some("2"));
}

#[test]
fn set_ends_an_unfinished_pair_and_replaces() {
    assert_eq!(set("A\u{1}1", "B", "2"), "A\u{1}1\u{2}B\u{1}2\u{2}");
    assert_eq!(set("A\u{1}1\u{2}B\u{1}0\u{2}", "A", "2"), "B\u{1}0\u{2}A\u{1}2\u{2}");
    assert_eq!(set("", "A", "2"), "A\u{1}2\u{2}");
}

#[test]
fn wait_and_transient_hints_are_not_stored() {
    let text = "WAIT\u{1}true\u{2}TAGS\u{1}a\u{2}__RMQ.TRANSIENT.GROUP_SYS_FLAG\u{1}0\u{2}";
    assert_eq!(stored(text), "TAGS\u{1}a\u{2}");
    assert!(matches!(stored("TAGS\u{1}a\u{2}"), Cow::Borrowed(_)));
    assert!(waits_for_store(text));
    assert!(!waits_for_store("WAIT\u{1}false\u{2}"));
}

#[test]
fn tags_code_is_java_string_hash_code() {
    // Values of `"…".hashCode()` in a JVM.
    for (tags, hash) in [("TagA", 2598919), ("polygenelubricants", i32::MIN), ("", 0), ("\u{1F600}", 1772899)] {
        assert_eq!(java_hash(tags), hash, "{tags}");
    }
    assert_eq!(tags_code(Some("polygenelubricants")), i64::from(i32::MIN));
    assert_eq!(tags_code(None), 0);
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(map in proptest::collection::btree_map("[a-zA-Z_]{1,8}", "[^\u{1}\u{2}]{1,12}", 0..8)) {
        let text = build(map.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let back: std::collections::BTreeMap<String, String> = pairs(&text).map(|(n, v)| (n.into(), v.into())).collect();
        prop_assert_eq!(back, map);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\u{0}-\u{3}A-C\u{fffd}]{0,40}", name in "[A-C]{0,2}") {
        let _ = (get(&text, &name), stored(&text).len(), waits_for_store(&text));
        let without = remove(&text, &name);
        prop_assert!(name.is_empty() || get(&without, &name).is_none());
    }
}
