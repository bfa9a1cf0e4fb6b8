//! Faults at random, one after the other and two at once, under load: `make chaos MINUTES=10 SEED=7`. In `make test` a
//! few of them, the same each time.
//!
//! After each fault everything must become whole again by itself; at the end every acknowledged message must be there,
//! in order, and the logs the same to the byte. An ERROR in a log, which is what a person has to look at, fails the
//! run. Whatever goes wrong is one complaint among all: the run always ends with its table.

mod applications;
mod errors;
mod faults;
mod servers;
mod verdict;

use crate::at_random::applications::Applications;
use crate::at_random::errors::Announced;
use crate::at_random::faults::{Fault, Undo};
use crate::at_random::servers::Servers;
use baton_tests::cluster::{Cluster, Node};
use baton_tests::interposed::Disk;
use baton_tests::java::Java;
use baton_tests::netns::Network;
use baton_tests::readers::Readers;
use baton_tests::{Load, loudly, one_at_a_time};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of the run in `make test`.
const SEED: u64 = 2510;
const ROUNDS: usize = 8;
/// Enough to be there at every moment, little enough for an hour's disk, and for a wiped replica to copy it all.
const REST: Duration = Duration::from_millis(15);
const LONGEST_FAULT_MS: u64 = 4_000;

/// A cluster that is being broken.
struct Chaos {
    servers: Servers,
    cluster: Cluster,
    network: Arc<Network>,
    random: Xoshiro256PlusPlus,
    /// Names of processes that a fault under way has stopped, or whose disk it has bent: no second one is to strike
    /// them. What cuts or impairs the network, or sets a clock, strikes whomever it draws.
    struck: BTreeSet<String>,
    /// What ends the faults under way.
    undo: Vec<Undo>,
    loads: Vec<Load>,
    readers: Vec<Readers>,
    applications: Option<Applications>,
    /// Under way: what goes wrong meanwhile is told with it.
    round: Option<Round>,
    /// By the faults' names.
    told: BTreeMap<&'static str, Told>,
    /// Errors that a fault must lead to, by process.
    announced: BTreeMap<String, Vec<Announced>>,
    /// How often the servers did not become whole by themselves.
    helped: usize,
    /// Every complaint so far.
    wrong: Vec<String>,
}

/// Its number, and the faults that have struck so far.
struct Round {
    number: usize,
    faults: Vec<&'static str>,
}

/// What a kind of fault has led to.
#[derive(Default)]
struct Told {
    times: usize,
    longest_gap: Duration,
    longest_repair: Duration,
}

/// Who sends and consumes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    Ours,
    OursAndJavas,
}

#[test]
fn faults_at_random_lose_nothing_acknowledged() {
    let _turn = one_at_a_time();
    let number = |key: &str| std::env::var(key).ok().and_then(|it| it.parse::<u64>().ok());
    let minutes = number("BATON_CHAOS_MINUTES");
    let seed = number("BATON_CHAOS_SEED").unwrap_or_else(|| minutes.map_or(SEED, |_| rand::random_range(1..1_000_000)));
    // JVMs take longer to start than the short run takes; tests/interop has them live through single faults.
    let clients = if minutes.is_some() { Clients::OursAndJavas } else { Clients::Ours };
    let servers = match std::env::var("BATON_CHAOS_CONTROL").as_deref() {
        Ok("java") => Servers::Java,
        Ok("") | Err(_) => Servers::Ours,
        Ok(other) => panic!("CONTROL={other}: want java, or nothing"),
    };
    let Some(mut chaos) = Chaos::start(servers, clients, seed) else { return };
    let begin = Instant::now();
    let goes_on = |round: usize| match minutes {
        Some(minutes) => begin.elapsed() < Duration::from_secs(minutes * 60),
        None => round < ROUNDS,
    };
    loudly(&format!("chaos: seed {seed}; the same faults again: make chaos SEED={seed}"));
    let mut round = 0;
    while goes_on(round) && chaos.attempt(|it| it.round(round)).is_some() {
        round += 1;
    }
    chaos.judge(seed, begin.elapsed());
}

impl Chaos {
    fn start(servers: Servers, clients: Clients, seed: u64) -> Option<Chaos> {
        let cluster = servers.start()?;
        let network = cluster.network()?;
        for topic in ["plain", "ours"] {
            cluster.create_topic_everywhere(topic, 2);
        }
        if !network.impair("namesrv-0") {
            loudly("chaos: this kernel has neither netem nor tbf, so no packets come late");
        }
        network.heal();
        let nameserver = cluster.nameserver();
        let loads = vec![Load::start(nameserver, "plain", 2), Load::with_our_client(nameserver, "ours", 2)];
        loads.iter().for_each(|it| it.history.rest(REST));
        let readers = vec![
            Readers::plain(nameserver, &loads[0].history),
            Readers::with_our_client(nameserver, &loads[1].history),
        ];
        let java = (clients == Clients::OursAndJavas).then(Java::find).flatten();
        let applications = java.map(|java| Applications::start(java, &cluster));
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (struck, undo, round, told, announced, helped, wrong) = Default::default();
        Some(Chaos {
            servers,
            cluster,
            network,
            random,
            struck,
            undo,
            loads,
            readers,
            applications,
            round,
            told,
            announced,
            helped,
            wrong,
        })
    }

    /// One fault, or two of which the second strikes while the first lasts; then everything is whole again.
    fn round(&mut self, number: usize) {
        self.round = Some(Round { number, faults: Vec::new() });
        self.becomes_whole();
        self.loads.iter().for_each(|it| _ = it.history.take_longest_gap());
        let faults: Vec<_> = (0..1 + usize::from(self.below(3) == 0)).map(|_| self.any_fault()).collect();
        for fault in faults {
            self.strike(fault);
            // How long the fault lasts, not a wait for anything.
            let lasts = self.random.next_u64() % LONGEST_FAULT_MS;
            std::thread::sleep(Duration::from_millis(lasts));
        }
        let healed = Instant::now();
        self.end_faults();
        self.becomes_whole();
        let repair = healed.elapsed();
        self.end_announcements();
        let gap = self.loads.iter().map(|it| it.history.take_longest_gap()).max().unwrap_or_default();
        loudly(&format!("{:<80} no acknowledgement for {gap:>8.1?}, whole after {repair:>8.1?}", self.moment()));
        for name in self.round.take().map_or(Vec::new(), |it| it.faults) {
            let told = self.told.entry(name).or_default();
            told.longest_gap = told.longest_gap.max(gap);
            told.longest_repair = told.longest_repair.max(repair);
        }
    }

    /// Told and counted before it does anything: whatever comes of it, one must see what it came of.
    fn strike(&mut self, fault: &'static Fault) {
        self.round.iter_mut().for_each(|it| it.faults.push(fault.name));
        self.told.entry(fault.name).or_default().times += 1;
        loudly(&self.moment());
        let roles = self.roles();
        (fault.strike)(self, &roles);
    }

    /// The fault that strikes at the moment has not become what its name says.
    fn uncount(&mut self) {
        let last = self.round.as_ref().and_then(|it| it.faults.last().copied());
        if let Some(told) = last.and_then(|it| self.told.get_mut(it)) {
            told.times -= 1;
        }
    }

    /// The round under way and what has struck in it.
    fn moment(&self) -> String {
        let Some(Round { number, faults }) = &self.round else { return "the end".to_owned() };
        let faults = if faults.is_empty() { "before any fault" } else { &faults.join(" + ") };
        format!("round {number}, {faults}")
    }

    /// What this panics with is one more complaint.
    fn attempt<T>(&mut self, step: impl FnOnce(&mut Chaos) -> T) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(|| step(self)));
        outcome.map_err(|panic| self.complain(&said(&*panic))).ok()
    }

    fn complain(&mut self, what: &str) {
        self.wrong.push(format!("{}: {what}", self.moment()));
    }

    /// One that cannot be ended is a complaint, and keeps no other from being ended.
    fn end_faults(&mut self) {
        while let Some(undo) = self.undo.pop() {
            self.attempt(|it| it.end_one(undo));
        }
        self.network.heal();
        self.struck.clear();
    }

    fn end_one(&mut self, undo: Undo) {
        match undo {
            Undo::Start(name) => self.node(&name).launch(),
            Undo::Resume(name) => self.node(&name).resume(),
            Undo::SetClock(name) => self.node(&name).interposed().set_clock(0),
            Undo::Mend(name) => self.node(&name).interposed().set_disk(Disk::Works),
            Undo::MendAndRestart(name) => {
                let node = self.node(&name);
                // Not before: what it has not written must not be written late.
                node.kill();
                node.interposed().set_disk(Disk::Works);
                node.launch();
            }
        }
    }

    /// From now on and until the round is over this process may complain about its disk.
    fn announce(&mut self, name: &str) {
        let from = self.node(name).log_length();
        self.announced.entry(name.to_owned()).or_default().push(Announced { from, to: u64::MAX });
    }

    /// What was announced has been heard, or is not to be heard any more.
    fn end_announcements(&mut self) {
        let mut announced = std::mem::take(&mut self.announced);
        for (name, of_node) in &mut announced {
            let end = self.node(name).log_length();
            of_node.iter_mut().for_each(|it| it.to = it.to.min(end));
        }
        self.announced = announced;
    }

    fn any_fault(&mut self) -> &'static Fault {
        let faults = self.servers.faults();
        faults[self.below(faults.len())]
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random.next_u64() % end as u64) as usize
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.cluster.nodes_mut().find(|it| it.name == name).expect("a node of the cluster")
    }
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned())).unwrap_or_else(|| "a panic".to_owned())
}
