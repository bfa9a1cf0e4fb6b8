//! The offset table against Java's file, and its incremental form.

use super::*;

fn table() -> OffsetTable {
    let mut table = OffsetTable::default();
    table.commit("G", "T", 0, 12);
    table.commit("G", "T", 1, 3);
    table.commit("H", "T", 0, 7);
    table
}

#[test]
fn the_file_is_javas() {
    let text = proto::json::to_vec(&table().to_file());
    let want = concat!(
        r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"#,
        r#""offsetTable":{"T@G":{"0":12,"1":3},"T@H":{"0":7}}}"#
    );
    assert_eq!(String::from_utf8_lossy(&text), want);
    let java = concat!(
        r#"{"dataVersion":{"counter":5,"stateVersion":2,"timestamp":1700000000000},"#,
        r#""groupTopicMap":{"G":["T"]},"offsetTable":{"T@G":{0:12,1:3}}}"#
    )
    .as_bytes();
    let read = OffsetTable::from_file(proto::json::from_slice(java).expect("Java's form, keys without quotes"));
    assert_eq!(read.get("G", "T", 1), Some(3));
    assert_eq!(read.version.state_version, 2);
}

#[test]
fn a_slave_gets_what_is_newer_than_what_it_has() {
    let mut table = table();
    let had = table.sequence();
    assert!(!table.commit("G", "T", 0, 12), "nothing new");
    assert!(table.newer_than(Some(had)).is_empty());
    assert!(table.commit("G", "T", 0, 11), "a reset goes back");
    assert_eq!(table.newer_than(Some(had)), BTreeMap::from([("T@G".into(), BTreeMap::from([(0, 11)]))]));
    assert!(!table.is_whole(Some(had)));
}

#[test]
fn a_removal_makes_slaves_take_the_whole_table() {
    let mut table = table();
    let had = table.sequence();
    table.remove_group("G");
    assert!(table.is_whole(Some(had)));
    let mut slave = self::table();
    slave.replace(table.newer_than(Some(had)));
    assert_eq!((slave.get("G", "T", 0), slave.get("H", "T", 0)), (None, Some(7)));
    table.remove_topic("T");
    assert_eq!(table.newer_than(None), BTreeMap::new());
}

#[test]
fn offsets_beyond_their_queue_are_clamped_to_its_end() {
    let mut table = table();
    let end = |_: &str, queue_id| if queue_id == 0 { Some(10) } else { None };
    assert_eq!(table.clamp(end), [("T@G".into(), 0, 12, 10), ("T@G".into(), 1, 3, 0)]);
    assert_eq!((table.get("G", "T", 0), table.get("G", "T", 1), table.get("H", "T", 0)), (Some(10), Some(0), Some(7)));
}

#[test]
fn groups_and_topics_are_found_by_each_other() {
    let table = table();
    assert_eq!(table.groups_of("T"), BTreeSet::from(["G".to_owned(), "H".to_owned()]));
    assert_eq!(table.topics_of("G"), BTreeSet::from(["T".to_owned()]));
}

proptest::proptest! {
    /// However commits, removals and deliveries are cut into rounds, the slave ends with the master's table.
    #[test]
    fn a_slave_that_asks_now_and_then_ends_with_the_masters_table(
        steps in proptest::collection::vec((0..6u8, 0..3u8, 0..3u8, 0..3i32, 0..5i64), 1..60)
    ) {
        let (mut master, mut slave) = (OffsetTable::default(), OffsetTable::default());
        let mut has = None;
        for (kind, group, topic, queue, offset) in steps {
            match kind {
                0 | 1 => { master.commit(&format!("g{group}"), &format!("t{topic}"), queue, offset); }
                2 => master.remove_group(&format!("g{group}")),
                3 => master.delivered(queue, offset),
                4 => master.clamp_delay(queue, offset),
                _ => {
                    let (whole, newer) = (master.is_whole(has), master.newer_than(has));
                    if whole { slave.replace(newer) } else { slave.merge(newer) }
                    if let Some(delays) = master.delays_newer_than(has) {
                        slave.replace_delays(delays);
                    }
                    has = Some(master.sequence());
                    proptest::prop_assert_eq!(slave.newer_than(None), master.newer_than(None));
                    proptest::prop_assert_eq!(slave.delays().to_file(), master.delays().to_file());
                }
            }
        }
    }
}
