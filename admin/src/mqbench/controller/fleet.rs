//! Made-up brokers, as many as asked for: real sockets, registered with address and boot id, heartbeating to every
//! controller each second, listening for who is master. They store nothing.
//!
//! Several replicas may share a host, which then has one connection to each controller and one listener for all of
//! them, as brokers of one container do; never two of one set.

use super::ears::{Told, listen};
use super::group::{Group, PATIENCE};
use super::line::{Line, Pulse, Speaker, Voice};
use anyhow::{Context, bail};
use client::{Admin, AdminOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::code::{request, response};
use proto::header::{AlterSyncStateSetResponse, ElectMasterResponse};
use proto::{Command, body};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(super) const REPLICAS: usize = 3;
pub(super) const CLUSTER: &str = "mqbench";
/// Connections for registrations and the like, each with many requests under way.
const CONNECTIONS: usize = 8;
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
}

/// As its brokers know it.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) master: i64,
    pub(super) epoch: i32,
    pub(super) sync_state_set_epoch: i32,
}

impl Set {
    fn request(&self, code: i32) -> Command {
        Command::request(code).with_ext("clusterName", CLUSTER).with_ext("brokerName", &self.name)
    }

    /// The master's request that its SyncStateSet become this.
    pub(super) fn alter(&self, members: impl IntoIterator<Item = i64>) -> Command {
        let members = body::SyncStateSet {
            sync_state_set: members.into_iter().collect(),
            sync_state_set_epoch: self.sync_state_set_epoch,
        };
        self.request(request::CONTROLLER_ALTER_SYNC_STATE_SET)
            .with_ext("masterBrokerId", self.master)
            .with_ext("masterEpoch", self.epoch)
            .with_body(serde_json::to_vec(&members).unwrap_or_default())
    }

    pub(super) fn altered(&mut self, answer: &Command) -> anyhow::Result<()> {
        let it: AlterSyncStateSetResponse = answer.header()?;
        self.sync_state_set_epoch = it.new_sync_state_set_epoch;
        Ok(())
    }
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
    admins: Vec<Admin>,
    pub(super) leader: String,
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
        let options = AdminOptions { timeout: Duration::from_secs(30), ..AdminOptions::default() };
        let set = |at: usize| Set { name: format!("mqbench-{at}"), master: 1, epoch: 0, sync_state_set_epoch: 0 };
        let mut fleet = Fleet {
            spec,
            sets: (0..spec.sets).map(set).collect(),
            hosts: Vec::new(),
            controllers: group.addresses(),
            admins: (0..CONNECTIONS).map(|_| Admin::new(options.clone())).collect(),
            leader: group.leader().await?,
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
    fn replicas_of(&self, host: usize) -> (impl Iterator<Item = usize> + use<>, i64) {
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
        tasks.spawn(listen(host, listener, self.tell.clone()));
        self.boots += 1;
        let sets = self.replicas_of(host).0;
        let epochs = sets.map(|set| Arc::new(AtomicI32::new(self.sets[set].epoch))).collect::<Vec<_>>();
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
    pub(super) async fn ask(&self, requests: Vec<Command>) -> anyhow::Result<Vec<Command>> {
        let asked = requests.into_iter().enumerate().map(|(n, it)| self.admin(n).succeed(&self.leader, it));
        Ok(stream::iter(asked).buffered(INFLIGHT).try_collect().await?)
    }

    pub(super) fn admin(&self, n: usize) -> &Admin {
        &self.admins[n % CONNECTIONS]
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
        for (set, answer) in answers.iter().enumerate() {
            let it: ElectMasterResponse = answer.header()?;
            let epochs = it.master_epoch.zip(it.sync_state_set_epoch);
            let (epoch, sync_state_set_epoch) = epochs.context("an election was answered without an epoch")?;
            self.learn(set, it.master_broker_id.unwrap_or(1), epoch, sync_state_set_epoch);
        }
        Ok(())
    }

    /// Brings all three replicas of these sets into their SyncStateSets, as soon as the leader hears them.
    pub(super) async fn complete(&mut self, mut sets: Vec<usize>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !sets.is_empty() {
            let requests = sets.iter().map(|set| self.sets[*set].alter(1..=REPLICAS as i64)).collect::<Vec<_>>();
            let asked = requests.into_iter().enumerate().map(|(n, it)| self.admin(n).call(&self.leader, it));
            let answers: Vec<Command> = stream::iter(asked).buffered(INFLIGHT).try_collect().await?;
            let (mut missing, mut why) = (Vec::new(), None);
            for (set, answer) in std::mem::take(&mut sets).into_iter().zip(answers) {
                match answer.code {
                    response::SUCCESS => self.sets[set].altered(&answer)?,
                    response::CONTROLLER_BROKER_NOT_ALIVE => missing.push(set),
                    _ => why = answer.remark,
                }
            }
            if let Some(why) = why {
                bail!("a SyncStateSet was not made whole: {why}");
            }
            if Instant::now() > deadline {
                bail!("{} made-up sets were not heard within {} s", missing.len(), PATIENCE.as_secs());
            }
            sets = missing;
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, set: usize, master: i64, epoch: i32, sync_state_set_epoch: i32) {
        let it = &mut self.sets[set];
        if (epoch, sync_state_set_epoch) > (it.epoch, it.sync_state_set_epoch) {
            (it.master, it.epoch, it.sync_state_set_epoch) = (master, epoch, sync_state_set_epoch);
        }
        for id in 1..=REPLICAS as i64 {
            let host = &self.hosts[self.host_of(set, id)];
            host.epochs[set % self.spec.per_host].fetch_max(epoch, Ordering::Relaxed);
        }
    }
}
