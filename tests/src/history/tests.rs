//! What the judgement of one queue must say.

use super::*;
use crate::record::Record;

fn track(sent: u64, acknowledged: u64, repeated: &[(u64, u64)]) -> Track {
    Track { sent, acknowledged, repeated: repeated.iter().copied().collect(), ..Track::default() }
}

fn complaints(numbers: &[u64], track: &Track) -> String {
    judge(numbers, track).1.join("; ")
}

#[test]
fn a_whole_queue_passes_and_repetitions_are_counted() {
    let (account, wrong) = judge(&[1, 2, 2, 3, 2, 3, 4], &track(5, 4, &[(2, 2), (3, 1)]));
    assert_eq!(account, Account { acknowledged: 4, delivered: 4, duplicated: 3, ..Account::default() });
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_missing_acknowledged_message_is_a_loss() {
    assert_eq!(complaints(&[1, 2], &track(3, 3, &[])), "1 acknowledged and lost: [3]");
    assert_eq!(complaints(&[1, 3], &track(3, 3, &[])), "1 acknowledged and lost: [2]");
    assert_eq!(complaints(&[1, 2], &track(3, 2, &[])), "");
}

#[test]
fn a_message_that_was_never_sent_is_found() {
    assert_eq!(complaints(&[1, 2, 3], &track(2, 2, &[])), "1 delivered and never sent: [3]");
}

#[test]
fn a_message_that_is_there_more_often_than_it_was_sent_is_found() {
    assert_eq!(complaints(&[1, 2, 2, 2], &track(2, 2, &[(2, 1)])), "1 delivered more often than sent: [2]");
}

#[test]
fn a_late_first_occurrence_is_out_of_order() {
    let (account, wrong) = judge(&[2, 1], &track(2, 2, &[]));
    assert!(account.out_of_order == 1 && wrong[0].ends_with("out of order: [1]"), "{wrong:?}");
}

#[test]
fn everything_that_is_wrong_is_said() {
    let (account, wrong) = judge(&[1, 4, 4, 2, 9], &track(6, 5, &[]));
    let want = Account { acknowledged: 5, delivered: 4, lost: 2, duplicated: 1, out_of_order: 1 };
    assert_eq!((account, wrong.len()), (want, 4), "{wrong:?}");
}

#[test]
fn attempts_are_counted() {
    let history = History::new("t", 1);
    [1, 1, 2].iter().for_each(|it| history.sending(0, *it));
    history.repeated(0, 2, 3);
    history.repeated(0, 2, 0);
    assert_eq!(history.track(0).repeated, [(1, 1), (2, 3)].into());
}

#[test]
fn a_producer_that_fails_leaves_everything_to_be_judged() {
    let history = History::new("t", 1);
    history.sending(0, 1);
    history.acknowledged(0, 1);
    let outcome = std::panic::catch_unwind(|| history.acknowledged(0, 3));
    assert!(outcome.is_err(), "2 was not acknowledged yet");
    assert_eq!((history.acknowledged_total(), history.stood_still()), (1, Duration::ZERO));
}

#[test]
fn what_nobody_serves_any_more_is_a_gap_until_the_producers_stop() {
    let history = History::new("t", 2);
    history.acknowledged(0, 1);
    history.track(0).last_acknowledgement = Instant::now().checked_sub(2 * NOTICED);
    history.close();
    let told = history.stood_still();
    assert!(told >= 2 * NOTICED && history.longest_gap() == told, "{told:?}");
    history.close();
    assert_eq!(history.stood_still(), told, "they stop once");
}

#[test]
fn what_stands_in_a_wrong_place_is_found() {
    let record = |queue_offset: i64, body: Vec<u8>| Record {
        queue_id: 0,
        queue_offset,
        physical_offset: 0,
        born_host: ([127, 0, 0, 1], 1).into(),
        body,
        topic: "t".into(),
        properties: String::new(),
    };
    let mut contents = Contents::default();
    contents.take(&record(0, body(0, 1, 50)), "t", 0, 0);
    assert_eq!(contents, Contents { numbers: vec![1], wrong: BTreeMap::new() });
    contents.take(&record(2, body(0, 2, 50)), "t", 0, 1);
    contents.take(&record(3, body(1, 3, 50)), "t", 0, 3);
    contents.take(&record(4, b"x".to_vec()), "t", 0, 4);
    assert_eq!((contents.numbers, contents.wrong.len()), (vec![1, 2], 3));
}

#[test]
fn a_damaged_body_is_found() {
    let mut bytes = body(3, 77, 100);
    assert_eq!(parse(&bytes), Ok((3, 77)));
    bytes[99] ^= 1;
    assert!(parse(&bytes).unwrap_err().contains("damaged"));
    assert!(parse(&body(3, 77, 100)[..50]).is_ok(), "filling does not depend on the size");
    assert!(parse(b"garbage").is_err());
}
