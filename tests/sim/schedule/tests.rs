//! Schedules as people write them.

use super::*;
use expect_test::expect;

#[test]
fn every_form_is_read_as_it_was_written() {
    let text = "\
seed 17; network 3; calm at 9000 ms; without loss; without slow packets
3000 ms: kill a.master for 40 ms
3000.125 ms: crash B2 after 7 outputs for 500 ms
3001 ms: power off leader for 3000 ms keeping 30 %
3001 ms: pause b.slave for 14000 ms
3002 ms: cut B1 > C1+C2, a.master <> all-C3-K1-R1 for 400 ms healing over 20 ms
3003 ms: break controllers and a
3004 ms: switch b
3004 ms: elect a
3004 ms: designate a.slave
3004 ms: clean a
3004 ms: transfer C2
3004 ms: add C4
3004 ms: remove leader
3004 ms: wipe B3 for 40 ms
3004 ms: jump a.master by -3600000 ms
3005 ms: at the next drained master, after 0.3 ms: cut controllers <> it for 40 ms";
    let schedule: Schedule = text.parse().unwrap();
    assert_eq!(schedule.to_string(), text);
    assert_eq!(schedule.on_one_line().parse(), Ok(schedule));
}

#[test]
fn a_seed_alone_is_what_it_draws_and_no_acts_are_none() {
    assert_eq!("seed 5".parse(), Ok(Schedule::drawn(5)));
    assert_eq!("seed 5; no acts".parse(), Ok(Schedule { acts: Vec::new(), ..Schedule::drawn(5) }));
    let none = Schedule { acts: Vec::new(), ..Schedule::drawn(5) };
    assert_eq!(none.to_string().parse(), Ok(none));
}

#[test]
fn what_cannot_be_read_is_said() {
    let told = ["seed x", "3 s: kill B1 for 40 ms", "3 ms: kill the master for 4 ms", "3 ms: stop B1", "hello"];
    let beginning = |it: &str| it.parse::<Schedule>().unwrap_err().to_string().chars().take(50).collect::<String>();
    expect![[r"
        `x`: want a number
        `3 s`: want a time as in `40 ms` or `0.125 ms`
        `the master`: want C1, B1, K1, R1, leader, a.maste
        `stop B1`: want `kill B1 for 40 ms`, `crash B1 aft
        `hello`: want `seed 17`, `quiet`, `mixed`, `networ
    "]]
    .assert_eq(&(told.map(beginning).join("\n") + "\n"));
}
