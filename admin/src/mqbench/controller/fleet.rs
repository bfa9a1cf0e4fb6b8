//! Made-up brokers, as many as asked for: real sockets, registered with address and boot id, heartbeating each second,
//! listening for who is master. They store nothing.
//!
//! Several replicas may share a host, which then has one connection to each controller and one listener for all of
//! them, as brokers of one container do; never two of one set.

use super::asking::Asking;
use super::ears::{Told, listen};
use super::group::{Group, PATIENCE};
use super::line::{Line, Pulse, Speaker, Voice};
use super::set::Set;
use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::Command;
use proto::code::request;
use proto::header::ElectMasterResponse;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(super) const REPLICAS: usize = 3;
/// Requests under way in all.
const INFLIGHT: usize = 512;
const RETRY: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) sets: usize,
    /// Replicas that share a host.
    pub(super) per_host: usize,
    /// As `controllerHeartBeatTimeoutMills`.
    pub(super) timeout: Duration,
    pub(super) audience: Audience,
}

/// To whom the brokers heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// All controllers, as brokers do.
    All,
    /// The leader alone. The others would take as much processor time again, of a machine that is not theirs in
    /// earnest.
    Leader,
}

pub(super) struct Host {
    address: String,
    boot_id: String,
    pub(super) voice: watch::Sender<Voice>,
    /// Of each replica.
    epochs: Vec<Arc<AtomicI32>>,
    pub(super) last_words: Vec<Arc<AtomicU64>>,
    /// Its listener and connections; they close with it.
    pub(super) tasks: JoinSet<()>,
}

pub(super) struct Fleet {
    pub(super) spec: Spec,
    pub(super) sets: Vec<Set>,
    pub(super) hosts: Vec<Host>,
    controllers: Vec<String>,
    asking: Asking,
    tell: mpsc::UnboundedSender<Told>,
    pub(super) told: mpsc::UnboundedReceiver<Told>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) since: Instant,
    boots: u64,
}

impl Fleet {
    /// Registers them all and makes the first replica of each set master of all three.
    pub(super) async fn found(group: &Group, spec: Spec) -> anyhow::Result<Fleet> {
        let (tell, told) = mpsc::unbounded_channel();
        let set = |at: usize| Set { name: format!("mqbench-{at}"), master: 1, ..Set::default() };
        let mut fleet = Fleet {
            spec,
            sets: (0..spec.sets).map(set).collect(),
            hosts: Vec::new(),
            controllers: match spec.audience {
                Audience::All => group.addresses(),
                Audience::Leader => vec![group.leader().await?],
            },
            asking: Asking::new(group.addresses()),
            tell,
            told,
            pulse: Arc::new(Pulse::new()),
            since: Instant::now(),
            boots: 0,
        };
        for host in 0..spec.sets.div_ceil(spec.per_host) * REPLICAS {
            let opened = fleet.open(host).await?;
            fleet.hosts.push(opened);
        }
        // A set's ids are given in order; sets side by side.
        for id in 1..=REPLICAS as i64 {
            fleet.ask((0..spec.sets).map(|set| fleet.take_id(set, id)).collect()).await?;
        }
        let all = (0..fleet.hosts.len()).collect::<Vec<_>>();
        fleet.join(&all).await?;
        fleet.elect().await?;
        fleet.complete((0..spec.sets).collect()).await?;
        Ok(fleet)
    }

    /// Sets whose replica `id` lives on a host, and which.
    fn replicas_of(&self, host: usize) -> (std::ops::Range<usize>, i64) {
        let first = host / REPLICAS * self.spec.per_host;
        (first..(first + self.spec.per_host).min(self.spec.sets), (host % REPLICAS) as i64 + 1)
    }

    pub(super) fn host_of(&self, set: usize, id: i64) -> usize {
        set / self.spec.per_host * REPLICAS + (id - 1) as usize
    }

    /// A process that has just started: it listens, and has told nobody yet.
    pub(super) async fn open(&mut self, host: usize) -> anyhow::Result<Host> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a made-up broker")?;
        let address = listener.local_addr()?.to_string();
        let mut tasks = JoinSet::new();

        self.boots += 1;
        let sets = self.replicas_of(host).0;
        let epochs = sets.clone().map(|set| Arc::new(AtomicI32::new(self.sets[set].epoch))).collect::<Vec<_>>();
        let known = sets.map(|set| self.sets[set].name.clone()).zip(epochs.iter().cloned()).collect();
        tasks.spawn(listen(host, listener, known, self.tell.clone()));
        Ok(Host {
            address,
            boot_id: format!("boot-{}", self.boots),
            voice: watch::Sender::new(Voice::Speaking),
            last_words: epochs.iter().map(|_| Arc::default()).collect(),
            epochs,
            tasks,
        })
    }

    /// Registers what lives on these hosts; then they heartbeat.
    pub(super) async fn join(&mut self, hosts: &[usize]) -> anyhow::Result<()> {
        let fleet = &*self;
        let registrations = hosts.iter().flat_map(|host| {
            let (sets, id) = fleet.replicas_of(*host);
            sets.map(move |set| fleet.register(set, id))
        });
        self.ask(registrations.collect()).await?;
        for host in hosts {
            for controller in self.controllers.clone() {
                let line = self.line(*host, controller);
                self.hosts[*host].tasks.spawn(line.run());
            }
        }
        Ok(())
    }

    fn line(&self, host: usize, controller: String) -> Line {
        let (sets, id) = self.replicas_of(host);
        let host = &self.hosts[host];
        let speaker = |(slot, set): (usize, usize)| Speaker {
            broker_set: self.sets[set].name.clone(),
            id,
            address: host.address.clone(),
            boot_id: host.boot_id.clone(),
            timeout: self.spec.timeout,
            epoch: host.epochs[slot].clone(),
            last_word: host.last_words[slot].clone(),
        };
        Line {
            controller,
            speakers: sets.enumerate().map(speaker).collect(),
            voice: host.voice.subscribe(),
            pulse: self.pulse.clone(),
            since: self.since,
        }
    }

    /// All of them, many at once; the answers in their order, or the first failure.
    async fn ask(&self, requests: Vec<Command>) -> anyhow::Result<Vec<Command>> {
        let asked = requests.into_iter().map(|it| self.asking.leader(it));
        stream::iter(asked).buffered(INFLIGHT).try_collect().await
    }

    pub(super) fn asking(&self) -> Asking {
        self.asking.clone()
    }

    fn request(&self, code: i32, set: usize) -> Command {
        self.sets[set].request(code)
    }

    fn take_id(&self, set: usize, id: i64) -> Command {
        let address = &self.hosts[self.host_of(set, id)].address;
        self.request(request::CONTROLLER_APPLY_BROKER_ID, set)
            .with_ext("appliedBrokerId", id)
            .with_ext("registerCheckCode", format!("{address};1"))
    }

    fn register(&self, set: usize, id: i64) -> Command {
        let host = &self.hosts[self.host_of(set, id)];
        self.request(request::CONTROLLER_REGISTER_BROKER, set)
            .with_ext("brokerId", id)
            .with_ext("brokerAddress", &host.address)
            .with_ext("haAddress", &host.address)
            .with_ext("bootId", &host.boot_id)
    }

    /// The first replica of each set asks for its first election.
    async fn elect(&mut self) -> anyhow::Result<()> {
        let request = |set| self.request(request::CONTROLLER_ELECT_MASTER, set).with_ext("brokerId", 1);
        let answers = self.ask((0..self.sets.len()).map(request).collect()).await?;
        for (set, answer) in self.sets.iter_mut().zip(answers) {
            let it: ElectMasterResponse = answer.header()?;
            let epochs = it.master_epoch.zip(it.sync_state_set_epoch);
            (set.epoch, set.sync_state_set_epoch) = epochs.with_context(|| format!("elected nobody: {answer:?}"))?;
        }
        Ok(())
    }

    /// Brings all three replicas of these sets into their SyncStateSets, as soon as the leader hears them.
    pub(super) async fn complete(&mut self, mut sets: Vec<usize>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !sets.is_empty() {
            let asking = self.asking();
            let some = sets.iter().map(|set| {
                let (asking, mut it) = (asking.clone(), self.sets[*set].clone());
                async move { it.become_whole(&asking).await.map(|whole| (it, whole)) }
            });
            let done: Vec<(Set, bool)> = stream::iter(some).buffered(INFLIGHT).try_collect().await?;
            let mut missing = Vec::new();
            for (set, (it, whole)) in sets.into_iter().zip(done) {
                self.sets[set] = it;
                if !whole {
                    missing.push(set);
                }
            }
            if Instant::now() > deadline {
                bail!("{} made-up sets were not whole within {} s", missing.len(), PATIENCE.as_secs());
            }
            sets = missing;
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }
}
