//! A deterministic simulation that hunts for lost messages: the real cores of controllers and brokers on one thread,
//! under virtual time, over a network and disks that fail; everything follows from one seed.

mod agenda;
mod broker;
mod checks;
mod consumer;
mod controller;
mod ctx;
mod disk;
mod draw;
mod faults;
mod java;
mod mutants;
mod net;
mod packet;
mod rng;
mod scenarios;
mod schedule;
mod shrink;
mod storage;
mod world;

use checks::Violation;
use faults::Profile;
use mutants::{Mutant, Planted};
use rng::Rng;
use schedule::Schedule;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use world::{Report, Telling, play, run};

/// A run is made of small things that live for microseconds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOURS_OF_A_YEAR: f64 = 8_766.0;
/// Of `make test`; `make sim SEEDS=…` and `make mutants` run more.
const SEEDS: u64 = 500;
/// Within half as many it is found wherever one begins, if it is found soon.
const MUTANT_SEEDS: u64 = 60;

fn number(key: &str) -> Option<u64> {
    std::env::var(key).ok()?.parse().ok()
}

/// The planted bugs that are asked for, by their names in mutants.rs and storage/flaws.rs. `None`: all.
fn asked_for() -> Option<Vec<String>> {
    let names = std::env::var("BATON_SIM_MUTANT").ok().filter(|it| !it.is_empty())?;
    let is_flaw = |name: &str| storage::FLAWS.iter().any(|it| format!("{:?}", it.0) == name);
    let known = |name: &str| {
        // A misspelt one must not be a hunt for nothing, which finds everything.
        assert!(mutants::named(name).is_some() || is_flaw(name), "BATON_SIM_MUTANT: no planted bug is called `{name}`");
        name.to_owned()
    };
    Some(names.split(',').map(known).collect())
}

/// A schedule with more acts than a person reads at once is shrunk before it is told.
const READABLE: usize = 8;

/// The story of a run that broke a rule, and how to see it again.
fn story(schedule: &Schedule, mutant: Option<Mutant>) -> Option<String> {
    let most_runs = if schedule.acts.len() > READABLE { shrink::RUNS } else { 0 };
    let seed = schedule.head();
    let it = shrink::shrink(schedule, mutant, most_runs)?;
    Some(format!("{seed} breaks a rule. In short:\n\n{}", shrink::told(&it, mutant)))
}

/// Runs are independent of each other: as many at once as there are processors, the results in order.
fn all<T: Send>(of: std::ops::Range<u64>, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicU64::new(of.start), Mutex::new(BTreeMap::new()));
    let processors = std::thread::available_parallelism().map_or(1, |it| it.get());
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !of.contains(&seed) {
                        return;
                    }
                    let it = work(seed);
                    done.lock().expect("nobody panics holding it").insert(seed, it);
                }
            });
        }
    });
    done.into_inner().expect("as above").into_values().collect()
}

/// Whoever runs many seeds for long sees the first bad one at once.
fn watched(seed: u64) -> Report {
    let it = run(seed, None, Telling::Nothing);
    if let Some(why) = &it.violation {
        println!("seed {seed}: {}: {}", why.rule, why.what);
    }
    it
}

#[test]
fn no_seed_breaks_a_rule() {
    let (count, first) = (number("BATON_SIM_SEEDS").unwrap_or(SEEDS), number("BATON_SIM_SEED").unwrap_or(1));
    let began = Instant::now();
    let (mut acknowledged, mut elections, mut events, mut virtual_time, mut broken) = (0, 0, 0, 0, Vec::new());
    let (mut stranded, mut mixed, mut java_led, mut diverged) = (0, 0, 0, 0);
    for (seed, it) in (first..).zip(all(first..first + count, watched)) {
        acknowledged += it.acknowledged;
        elections += it.elections;
        events += it.events;
        virtual_time += it.virtual_time;
        stranded += u64::from(it.stranded);
        mixed += u64::from(it.mixed);
        java_led += u64::from(it.java_led);
        diverged += u64::from(it.diverged);
        broken.extend(it.violation.map(|_| seed));
    }
    let took = began.elapsed().as_secs_f64();
    let simulated = virtual_time as f64 / 1e6;
    println!(
        "{count} seeds from {first}: {acknowledged} acknowledged messages, {elections} elections, {events} events, \
         {simulated:.0} s simulated in {took:.1} s, {:.2} years in an hour; {stranded} lost a last disk; {mixed} \
         had RocketMQ's brokers, one of which led in {java_led} and had logs differ in {diverged}; {} seeds broke \
         a rule",
        simulated / took / HOURS_OF_A_YEAR,
        broken.len()
    );
    let why = broken.first().and_then(|seed| story(&Schedule::drawn(*seed), None));
    assert!(broken.is_empty(), "{}", why.unwrap_or_default());
}

/// Looks for planted bugs, from one seed on.
struct Hunt {
    first: u64,
    most: u64,
    /// Whether a seed keeps all rules without a bug: many bugs are found by the same ones.
    clean: Mutex<BTreeMap<u64, bool>>,
}

impl Hunt {
    /// After how many seeds it is found, and by which check.
    fn find(&self, planted: &Planted) -> Option<(u64, Violation)> {
        let found = (0..self.most).find_map(|at| {
            let by = run(self.first + at, Some(planted.mutant), Telling::Nothing).violation?;
            // What is found without the bug, too, is another one.
            self.is_clean(self.first + at).then_some((at + 1, by))
        });
        println!("{}: {}", planted.what, found.as_ref().map_or("not found".to_owned(), |it| format!("{} seeds", it.0)));
        found
    }

    fn is_clean(&self, seed: u64) -> bool {
        let known = self.clean.lock().expect("nobody panics holding it").get(&seed).copied();
        known.unwrap_or_else(|| {
            let is_clean = run(seed, None, Telling::Nothing).violation.is_none();
            self.clean.lock().expect("as above").insert(seed, is_clean);
            is_clean
        })
    }
}

/// A planted bug, and what has found it.
struct Row {
    from: &'static str,
    what: &'static str,
    found: Option<(u64, Violation)>,
}

impl Row {
    fn text(&self) -> String {
        let (seeds, by) = self.found.as_ref().map_or(("-".to_owned(), "not found".to_owned()), |(seed, by)| {
            (seed.to_string(), format!("{}: {}", by.rule, by.what))
        });
        format!("{:<15} {:<72} {seeds:>6}  {by}\n", self.from, self.what)
    }
}

/// Each planted bug, after how many seeds it was found, and by which check.
#[test]
fn planted_bugs_are_found() {
    // Of the cluster's, `make test` looks for those that it finds soon; `make mutants` for all.
    let wanted = number("BATON_SIM_MUTANT_SEEDS");
    let (most, first) = (wanted.unwrap_or(MUTANT_SEEDS), number("BATON_SIM_SEED").unwrap_or(1));
    let hunt = Hunt { first, most, clean: Mutex::default() };
    let only = asked_for();
    let is_wanted = |name: String| only.as_ref().is_none_or(|only| only.contains(&name));
    let of_cluster = mutants::ALL.iter().filter(|it| wanted.is_some() || only.is_some() || it.soon);
    let of_cluster: Vec<&Planted> = of_cluster.filter(|it| is_wanted(format!("{:?}", it.mutant))).collect();
    let of_store: Vec<_> = storage::FLAWS.iter().filter(|it| is_wanted(format!("{:?}", it.0))).collect();
    let mut rows = all(0..of_cluster.len() as u64, |at| {
        let it = of_cluster[at as usize];
        Row { from: it.from, what: it.what, found: hunt.find(it) }
    });
    // A life of a store takes a tenth of the time.
    rows.extend(all(0..of_store.len() as u64, |at| {
        let (flaw, from, what) = *of_store[at as usize];
        Row { from, what, found: storage::hunt(flaw, first, 10 * most) }
    }));
    assert!(!rows.is_empty(), "no bug was planted: {only:?}");
    let mut table = format!("{:<15} {:<72} {:>6}  by\n", "from", "planted bug", "seeds");
    rows.iter().for_each(|it| table += &it.text());
    table += &format!("{} of {} planted bugs found\n", rows.iter().filter(|it| it.found.is_some()).count(), rows.len());
    print!("{table}");
    if let Some(path) = std::env::var_os("BATON_SIM_TABLE") {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let missed: Vec<&str> = rows.iter().filter(|it| it.found.is_none()).map(|it| it.what).collect();
    assert!(missed.is_empty(), "not found within {most} seeds: {missed:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let profile = |seed| Profile::draw(&mut Rng::new(seed));
    let first = |what: &dyn Fn(&Profile) -> bool| (1..).find(|it| what(&profile(*it))).expect("some seed draws it");
    let kinds = [
        first(&|it| !it.java.is_empty()),
        first(&|it| it.copies > 0),
        first(&|it| it.sets > 1),
        first(&|it| it.faults_until > 1_000_000_000),
        // One of RocketMQ's brokers leads in it.
        27,
    ];
    for seed in (1..=3).chain(kinds) {
        let (one, two) = (run(seed, None, Telling::Nothing), run(seed, None, Telling::Story));
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
    }
    let hash = |seed| run(seed, None, Telling::Nothing).hash;
    assert_ne!(hash(1), hash(2));
}

/// A pasted one (`make sim SCHEDULE='seed 17; 3000 ms: kill B1 for 40 ms'`), or one in a file.
#[test]
fn test_one_schedule() {
    let given = std::env::var("BATON_SIM_SCHEDULE").unwrap_or("seed 1".to_owned());
    let text = std::fs::read_to_string(&given).unwrap_or(given);
    let schedule: Schedule = text.parse().unwrap_or_else(|e| panic!("BATON_SIM_SCHEDULE: {e}"));
    let mutant = asked_for().map(|it| {
        let mutant = if let [one] = &it[..] { mutants::named(one) } else { None };
        mutant.unwrap_or_else(|| panic!("BATON_SIM_MUTANT: a schedule takes one bug of the cluster, not {it:?}"))
    });
    let report = play(&schedule, mutant, Telling::Story);
    println!("{}\n{schedule}\n{} messages acknowledged", report.story.join("\n"), report.acknowledged);
    assert!(report.violation.is_none(), "{}", story(&schedule, mutant).unwrap_or_default());
}

#[test]
fn a_schedule_that_was_printed_is_the_same_run() {
    for seed in 1..=100 {
        let drawn = Schedule::drawn(seed);
        let read: Schedule = drawn.to_string().parse().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(read, drawn, "seed {seed}");
    }
    for seed in 1..=5 {
        let drawn = Schedule::drawn(seed);
        let pasted: Schedule = drawn.on_one_line().parse().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let (one, two) = (run(seed, None, Telling::Nothing), play(&pasted, None, Telling::Nothing));
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
    }
}

#[test]
fn a_failing_run_is_shrunk_to_a_few_acts_that_break_the_same_rule() {
    let mutant = Some(Mutant::ForgetsDisconnectedMembers);
    let failing = (1..).find(|seed| run(*seed, mutant, Telling::Nothing).violation.is_some());
    let drawn = Schedule::drawn(failing.expect("the bug is found soon"));
    let rule = play(&drawn, mutant, Telling::Nothing).violation.map(|it| it.rule);
    let it = shrink::shrink(&drawn, mutant, 200).expect("it breaks a rule");
    println!("{}", shrink::told(&it, mutant));
    assert!(it.schedule.acts.len() <= 5 && it.schedule.acts.len() < drawn.acts.len(), "{}", it.schedule);
    let pasted: Schedule = it.schedule.on_one_line().parse().expect("a schedule");
    let again = play(&pasted, mutant, Telling::Nothing).violation;
    assert_eq!(again.map(|it| it.rule), rule, "{}", it.schedule);
}
