//! Bytes that nobody sane has written, into everything that reads bytes from a network, a disk or a person. The corpus
//! in fuzz/corpus is read first, then so many mutations of it, the same in each run. `make test`, and with it CI, goes
//! on until a minute is over for each target, with a seed that nobody has tried.
//!
//! `make fuzz MINUTES=60` does so for an hour per target, under libFuzzer if that is installed. What fails is kept in
//! fuzz/artifacts; put into fuzz/corpus under a name that says what it was, it is tried from then on.

mod mutate;
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use mutate::Mutator;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of the mutations that are the same in each run.
const SEED: u64 = 20_261_121;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").join("fuzz")
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = folder().join("corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|it| it.expect("a folder's entry").path()).collect();
    paths.sort();
    paths.iter().map(|it| std::fs::read(it).expect("a file of the corpus")).collect()
}

/// The corpus, `count` mutations that are always the same, and others until BATON_FUZZ_MINUTES have passed, if given.
fn fuzz(target: &str, count: usize, run: impl Fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "fuzz/corpus/{target} has files");
    let began = Instant::now();
    corpus.iter().for_each(|it| attempt(target, it, &run));
    let mut mutator = Mutator::new(SEED);
    (0..count).for_each(|_| attempt(target, &mutator.next(&corpus), &run));
    let minutes =
        std::env::var("BATON_FUZZ_MINUTES").map_or(0.0, |it| it.parse().expect("BATON_FUZZ_MINUTES: a number"));
    let (seed, mut tried) = (rand::random(), 0);
    let mut mutator = Mutator::new(seed);
    while began.elapsed() < Duration::from_secs_f64(minutes * 60.0) {
        attempt(target, &mutator.next(&corpus), &run);
        tried += 1;
    }
    println!("{target}: {} of the corpus, {count} mutations, then {tried} of seed {seed}", corpus.len());
}

fn attempt(target: &str, input: &[u8], run: impl Fn(&[u8])) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        let folder = folder().join("artifacts").join(target);
        let path = folder.join(format!("{:08x}", crc32fast::hash(input)));
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input)).expect("the input is kept");
        panic!("{target} fails on {}, see above", path.display());
    }
}

#[test]
fn remoting_frames() {
    fuzz("remoting", 10_000, targets::remoting);
}

#[test]
fn headers() {
    fuzz("headers", 500, targets::headers);
}

#[test]
fn ha_packets() {
    fuzz("ha_packets", 20_000, targets::ha_packets);
}

#[test]
fn stored_records() {
    fuzz("records", 20_000, targets::records);
}

#[test]
fn a_damaged_log() {
    fuzz("log", 100, targets::log);
}

#[test]
fn epoch_promise_and_identity_files() {
    fuzz("files", 20_000, targets::files);
}

#[test]
fn configuration_files() {
    fuzz("configuration", 150, |data| {
        targets::configuration(data);
        // Not among libFuzzer's targets: it would have to build RocksDB with them.
        let text = String::from_utf8_lossy(data);
        targets::settings::<controller::Config>(&text);
        if let Ok(it) = node::properties::parse::<controller::Config>("controller.conf", &text) {
            let _ = it.config.peers().map(|peers| (it.config.warnings(&peers), it.config.listen_address(&peers)));
        }
    });
}

/// A header that is added to proto is fuzzed, too.
#[test]
fn every_header_is_among_the_targets() {
    let folder = folder().join("../proto/src/header");
    let files = ["broker", "client", "controller", "namesrv"].map(|it| folder.join(it).with_extension("rs"));
    let text: String = files.iter().map(|it| std::fs::read_to_string(it).expect("proto's headers")).collect();
    let declared = text.lines().filter_map(|it| it.trim().strip_prefix("pub struct ")?.split([' ', '{']).next());
    let fuzzed: BTreeSet<_> = targets::READ_ALL.iter().map(|it| it.0).collect();
    let missing: Vec<_> = declared.filter(|it| !fuzzed.contains(it)).collect();
    assert!(missing.is_empty(), "add to each_header! in fuzz/src/targets.rs: {missing:?}");
}
