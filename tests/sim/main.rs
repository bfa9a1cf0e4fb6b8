//! A deterministic simulation that hunts for lost messages: the real cores of controllers and brokers on one thread,
//! under virtual time, over a network and disks that fail; everything follows from one seed.

mod broker;
mod checks;
mod controller;
mod ctx;
mod disk;
mod faults;
mod mutants;
mod net;
mod packet;
mod rng;
mod world;

use std::time::Instant;
use world::{Report, run};

/// Of `make test`; `make sim SEEDS=…` runs more.
const SEEDS: u64 = 50;

fn number(key: &str) -> Option<u64> {
    std::env::var(key).ok()?.parse().ok()
}

/// The story of a run that broke a rule, and how to see it again.
fn story(seed: u64) -> String {
    let Report { violation, story, .. } = run(seed, None, true);
    let why = violation.map_or("nothing".to_owned(), |it| format!("{}: {}", it.rule, it.what));
    format!("{}\n\nseed {seed} breaks {why}\nsee it again: make sim SEEDS=1 SEED={seed}\n", story.join("\n"))
}

#[test]
fn no_seed_breaks_a_rule() {
    let (count, first) = (number("BATON_SIM_SEEDS").unwrap_or(SEEDS), number("BATON_SIM_SEED").unwrap_or(1));
    let began = Instant::now();
    let (mut acknowledged, mut elections, mut events, mut virtual_time, mut broken) = (0, 0, 0, 0, Vec::new());
    for seed in first..first + count {
        let it = run(seed, None, false);
        acknowledged += it.acknowledged;
        elections += it.elections;
        events += it.events;
        virtual_time += it.virtual_time;
        if let Some(why) = it.violation {
            println!("seed {seed}: {}: {}", why.rule, why.what);
            broken.push(seed);
        }
    }
    let took = began.elapsed().as_secs_f64();
    let simulated = virtual_time as f64 / 1e6;
    println!(
        "{count} seeds from {first}: {acknowledged} acknowledged messages, {elections} elections, {events} events, \
         {simulated:.0} s simulated in {took:.1} s; {} seeds broke a rule",
        broken.len()
    );
    assert!(broken.is_empty(), "{}", story(broken[0]));
}

/// Each planted bug, after how many seeds it was found, and by which check.
#[test]
fn planted_bugs_are_found() {
    let most = number("BATON_SIM_MUTANT_SEEDS").unwrap_or(0);
    if most == 0 {
        return println!("`make mutants` plants the bugs");
    }
    let mut found = 0;
    println!("{:<14} {:<66} {:>6}  by", "from", "planted bug", "seeds");
    for it in mutants::ALL {
        let by = (1..=most).find_map(|seed| Some((seed, run(seed, Some(it.mutant), false).violation?)));
        found += usize::from(by.is_some());
        let (seeds, by) = by.map_or(("-".to_owned(), "not found".to_owned()), |(seed, by)| {
            (seed.to_string(), format!("{}: {}", by.rule, by.what))
        });
        println!("{:<14} {:<66} {seeds:>6}  {by}", it.from, it.what);
    }
    println!("{found} of {} planted bugs found", mutants::ALL.len());
    assert_eq!(found, mutants::ALL.len());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=5 {
        let (one, two) = (run(seed, None, false), run(seed, None, false));
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
    }
    assert_ne!(run(1, None, false).hash, run(2, None, false).hash);
}
