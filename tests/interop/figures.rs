//! The table of docs/FAILOVER.md: what Java clients go through, measured. `make failover` runs it, not `make test`.
//!
//! `RUNS=n` sets how often each row's fault strikes our servers (Java's: a tenth of it, at least three times),
//! `ROW=name` measures one row.

use crate::nobody_notices::{Fault, QUEUES, cluster};
use baton_tests::application::{Application, Period, stored};
use baton_tests::java::{self, JAVA_KEYS, Java};
use baton_tests::{Cluster, ClusterSpec, SECOND, one_at_a_time};

/// Whose servers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Servers {
    Ours { aliases: bool, supervised: bool },
    Java,
}

struct Row {
    name: &'static str,
    what: &'static str,
    servers: Servers,
    fault: Fault,
    producers: &'static [&'static str],
    /// Of the first producer's topic.
    consumers: &'static [&'static str],
    /// Messages a second and thread; 0: full load.
    rate: u32,
}

const ALIASES: Servers = Servers::Ours { aliases: true, supervised: false };
const SUPERVISED: Servers = Servers::Ours { aliases: false, supervised: true };
const BOTH: Servers = Servers::Ours { aliases: true, supervised: true };

const ROWS: [Row; 9] = [
    Row {
        name: "kill",
        what: "kill -9 of the master, aliases",
        servers: ALIASES,
        fault: Fault::Kill,
        producers: &["sync", "async"],
        consumers: &[],
        rate: 200,
    },
    Row {
        name: "kill-supervised",
        what: "kill -9 of the master, supervisor, no aliases",
        servers: SUPERVISED,
        fault: Fault::KillSupervised,
        producers: &["sync", "async"],
        consumers: &[],
        rate: 200,
    },
    Row {
        name: "kill-both",
        what: "kill -9 of the master, supervisor and aliases",
        servers: BOTH,
        fault: Fault::KillSupervised,
        producers: &["sync", "async"],
        consumers: &[],
        rate: 200,
    },
    Row {
        name: "consumers",
        what: "kill -9 of the master, supervisor and aliases",
        servers: BOTH,
        fault: Fault::KillSupervised,
        producers: &["sync"],
        consumers: &["push", "lite"],
        rate: 100,
    },
    Row {
        name: "switchover",
        what: "switchover at full load",
        servers: ALIASES,
        fault: Fault::Switchover,
        producers: &["sync"],
        consumers: &["push"],
        rate: 0,
    },
    Row {
        name: "rolling",
        what: "rolling restart of three brokers, full load",
        servers: BOTH,
        fault: Fault::RollingRestart,
        producers: &["sync"],
        consumers: &["push"],
        rate: 0,
    },
    Row {
        name: "java-kill",
        what: "Java's servers: kill -9 of the master",
        servers: Servers::Java,
        fault: Fault::Kill,
        producers: &["sync", "async"],
        consumers: &[],
        rate: 200,
    },
    Row {
        name: "java-consumers",
        what: "Java's servers: kill -9 of the master",
        servers: Servers::Java,
        fault: Fault::Kill,
        producers: &["sync"],
        consumers: &["push", "lite"],
        rate: 100,
    },
    Row {
        name: "java-rolling",
        what: "Java's servers: rolling restart of three brokers",
        servers: Servers::Java,
        fault: Fault::RollingRestart,
        producers: &["sync"],
        consumers: &["push"],
        rate: 200,
    },
];

#[test]
#[ignore = "a measurement: make failover"]
fn failover_figures() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let runs = std::env::var("RUNS").ok().map_or(20, |it| it.parse().expect("RUNS is a number"));
    let wanted = std::env::var("ROW").unwrap_or_default();
    let rows: Vec<_> = ROWS.iter().filter(|it| wanted.is_empty() || it.name == wanted).collect();
    assert!(!rows.is_empty(), "ROW={wanted}: want one of {:?}", ROWS.map(|it| it.name));
    let mut table = Vec::new();
    for row in rows {
        let runs = if row.servers == Servers::Java { (runs / 10).max(3) } else { runs };
        table.extend(row.measure(&java, runs));
    }
    println!(
        "\n| client | what happens | runs | failed sends, median / worst | longest gap ms, median / worst | lost | \
         stored twice |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    table.iter().for_each(|it| println!("{it}"));
}

impl Row {
    fn measure(&self, java: &Java, runs: usize) -> Vec<String> {
        let mut cluster = self.start(java);
        for topic in self.producers {
            cluster.create_topic_everywhere(topic, QUEUES);
        }
        let nameservers = cluster.nameserver_list();
        let mut producers = Application::produces(java, &nameservers, self.rate, self.producers);
        let mut consumers = (!self.consumers.is_empty())
            .then(|| Application::consumes(java, &nameservers, self.producers[0], self.consumers));
        let modes = self.producers.iter().chain(self.consumers);
        let mut periods: Vec<(&str, Vec<Period>)> = modes.map(|it| (*it, Vec::new())).collect();
        for run in 1..=runs {
            producers.wait_undisturbed();
            if let Some(consumers) = &mut consumers {
                consumers.wait_undisturbed();
            }
            if self.fault == Fault::KillSupervised {
                // A process that dies again within three seconds is started with a pause.
                std::thread::sleep(4 * SECOND);
                producers.mark();
                consumers.as_mut().map(Application::mark);
            }
            self.fault.strike(&mut cluster);
            // What consumers wait for is written when producers get on again.
            let mut of_run = producers.wait_undisturbed();
            if let Some(consumers) = &mut consumers {
                of_run.extend(consumers.wait_undisturbed());
            }
            for (mode, periods) in &mut periods {
                let period = of_run.remove(*mode).expect("each mode has a period");
                println!("{} {run} {mode}: {period:?}", self.name);
                periods.push(period);
            }
        }
        let acknowledged = producers.stop();
        let received = consumers.map(|mut it| {
            it.wait_total(acknowledged[self.producers[0]].len() as u64);
            it.stop()
        });
        let master = cluster.brokers[cluster.wait_master()].address.clone();
        let account = |mode: &str| match &received {
            Some(received) if received.contains_key(mode) => {
                let wanted = &acknowledged[self.producers[0]];
                (wanted.difference(&received[mode]).count(), "–".to_owned())
            }
            _ => {
                let stored = stored(&master, mode, QUEUES);
                (acknowledged[mode].difference(&stored.numbers).count(), stored.repeated.to_string())
            }
        };
        periods.iter().map(|(mode, periods)| self.line(mode, periods, account(mode))).collect()
    }

    fn line(&self, mode: &str, periods: &[Period], (lost, twice): (usize, String)) -> String {
        let failed = median_and_worst(periods.iter().map(|it| it.failed));
        let failed = if self.consumers.contains(&mode) { "–".to_owned() } else { failed };
        let gap = median_and_worst(periods.iter().map(|it| it.longest_gap.as_millis() as u64));
        format!("| {mode} | {} | {} | {failed} | {gap} | {lost} | {twice} |", self.what, periods.len())
    }

    fn start(&self, java: &Java) -> Cluster {
        if let Servers::Ours { aliases, supervised } = self.servers {
            return cluster(aliases, supervised);
        }
        let spec = JAVA_KEYS.iter().fold(ClusterSpec::default(), |spec, key| spec.broker_key(key));
        let mut cluster = Cluster::prepare(&spec);
        java.takes_over_all(&mut cluster);
        java::start_all(&mut cluster);
        cluster
    }
}

fn median_and_worst(values: impl Iterator<Item = u64>) -> String {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    format!("{} / {}", values[values.len() / 2], values.last().expect("at least one run"))
}
