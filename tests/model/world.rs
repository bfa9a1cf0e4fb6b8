//! State, events and the one promise: what was acknowledged is in the log of every master elected since.

use crate::rules::Rule;
use stateright::{Model, Property};
use std::fmt;

pub const NOTHING_LOST: &str = "nothing acknowledged is lost";
const REPLICAS: usize = 3;

/// Replica numbers as bits.
type Set = u8;
type Id = usize;
/// A record is known by the epoch that wrote it and its place: one master per epoch writes each place once.
type Log = Vec<u8>;

/// How far the search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub epochs: u8,
    pub records: usize,
    /// Kills, power losses and cut links, taken together; power is lost once at most, and only where every acknowledged
    /// record has two copies: with asynchronous flush a sole copy is not promised to survive it.
    pub faults: u8,
    /// Proposals to the controller.
    pub proposals: u8,
}

impl Bounds {
    /// Everything up to here is visited by `make test`.
    pub const QUICK: Bounds = Bounds { epochs: 2, records: 1, faults: 1, proposals: 1 };
    /// And up to each of these by `make model`.
    pub const DEEP: [Bounds; 3] = [
        Bounds { epochs: 2, records: 1, faults: 2, proposals: 1 },
        Bounds { epochs: 3, records: 1, faults: 1, proposals: 2 },
        Bounds { epochs: 2, records: 2, faults: 1, proposals: 1 },
    ];
    /// Breadth first ends with the shortest story.
    pub const HUNT: Bounds = Bounds { epochs: 3, records: 1, faults: 1, proposals: 2 };
}

#[derive(Clone, Debug)]
pub struct SetModel {
    pub min_in_sync: usize,
    pub without: Option<Rule>,
    pub bounds: Bounds,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    up: bool,
    log: Log,
    /// Records that survive a power loss.
    flushed: usize,
    promised: u8,
    /// Leads the epoch it has promised.
    leads: bool,
    /// Whom it follows, and whether the handshake is done.
    follows: Option<Id>,
    linked: bool,
    /// As master: the committed set it knows and its version, the proposal under way, what each slave has acknowledged.
    set: Set,
    set_version: u8,
    proposed: Option<Set>,
    acks: [Option<usize>; REPLICAS],
    /// Lost records since it last registered.
    unclean: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    master: Id,
    epoch: u8,
    version: u8,
    set: Set,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    replicas: [Replica; REPLICAS],
    master: Option<Id>,
    epoch: u8,
    set: Set,
    set_version: u8,
    eligible: Set,
    wire: Vec<Proposal>,
    /// The longest log prefix that was acknowledged.
    acknowledged: Log,
    lost: bool,
    faults: u8,
    power_lost: bool,
    proposals: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Append(Id),
    Handshake(Id),
    Copy(Id),
    Ack(Id),
    Acknowledge(Id),
    Propose(Id, Set),
    Deliver(usize),
    Learn(Id),
    Shrink(Id, Set),
    Kill(Id),
    PowerLoss(Id),
    CutLink(Id),
    /// A master sees that a slave's connection is gone.
    Notice(Id, Id),
    Restart(Id),
    Elect(Id),
    Flush(Id),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Append(id) => write!(f, "{id} appends a record"),
            Event::Handshake(id) => write!(f, "{id} connects to its master"),
            Event::Copy(id) => write!(f, "{id} copies a record"),
            Event::Ack(id) => write!(f, "{id}'s position reaches its master"),
            Event::Acknowledge(id) => write!(f, "{id} acknowledges to its clients"),
            Event::Propose(id, set) => write!(f, "{id} proposes the set {}", members(*set)),
            Event::Deliver(_) => write!(f, "the controller decides a proposal"),
            Event::Learn(id) => write!(f, "{id} hears from the controller"),
            Event::Shrink(id, set) => write!(f, "{id} makes its set {}", members(*set)),
            Event::Kill(id) => write!(f, "{id} is killed"),
            Event::PowerLoss(id) => write!(f, "{id} loses power"),
            Event::Notice(id, slave) => write!(f, "{id} sees that {slave}'s connection is gone"),
            Event::CutLink(id) => write!(f, "{id}'s connection breaks"),
            Event::Restart(id) => write!(f, "{id} starts and registers"),
            Event::Elect(id) => write!(f, "the controller elects {id}"),
            Event::Flush(id) => write!(f, "{id} flushes"),
        }
    }
}

fn members(set: Set) -> String {
    let ids = (0..REPLICAS).filter(|id| has(set, *id)).map(|id| id.to_string()).collect::<Vec<_>>();
    format!("{{{}}}", ids.join(","))
}

fn bit(id: Id) -> Set {
    1 << id
}

fn has(set: Set, id: Id) -> bool {
    set & bit(id) != 0
}

fn others(id: Id) -> impl Iterator<Item = Id> {
    (0..REPLICAS).filter(move |it| *it != id)
}

fn common(a: &Log, b: &Log) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Model for SetModel {
    type State = World;
    type Action = Event;

    /// Replica 0 is master of epoch 1, alone in its set, everyone is up.
    fn init_states(&self) -> Vec<World> {
        let mut replicas: [Replica; REPLICAS] = Default::default();
        for (id, it) in replicas.iter_mut().enumerate() {
            *it = Replica { up: true, promised: 1, follows: Some(0), ..Replica::default() };
            if id == 0 {
                *it = Replica { leads: true, follows: None, set: 0b111, set_version: 1, ..it.clone() };
            }
        }
        vec![World {
            replicas,
            master: Some(0),
            epoch: 1,
            set: 0b111,
            set_version: 1,
            eligible: 0,
            wire: vec![],
            acknowledged: vec![],
            lost: false,
            faults: 0,
            power_lost: false,
            proposals: 0,
        }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Event>) {
        if world.lost {
            return;
        }
        for id in 0..REPLICAS {
            self.of_replica(world, id, out);
        }
        out.extend((0..world.wire.len()).map(Event::Deliver));
        if world.epoch < self.bounds.epochs {
            out.extend((0..REPLICAS).filter(|id| self.may_be_elected(world, *id)).map(Event::Elect));
        }
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        self.apply(&mut world, event);
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(NOTHING_LOST, |_, world: &World| !world.lost)]
    }
}

impl SetModel {
    fn lacks(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    fn of_replica(&self, world: &World, id: Id, out: &mut Vec<Event>) {
        let it = &world.replicas[id];
        let faulty = world.faults < self.bounds.faults;
        if !it.up {
            return out.push(Event::Restart(id));
        }
        if faulty {
            out.push(Event::Kill(id));
            if it.linked {
                out.push(Event::CutLink(id));
            }
        }
        if self.min_in_sync > 1 && !world.power_lost && it.flushed < it.log.len() {
            out.push(Event::Flush(id));
            out.extend(faulty.then_some(Event::PowerLoss(id)));
        }
        if it.promised < world.epoch || (it.leads && world.master == Some(id) && it.set_version < world.set_version) {
            out.push(Event::Learn(id));
        }
        if it.leads {
            self.of_master(world, id, out);
        }
        // A master follows somebody only if it has forgotten to leave the one before.
        if let Some(master) = it.follows {
            self.of_slave(world, id, master, out);
        }
    }

    fn of_master(&self, world: &World, id: Id, out: &mut Vec<Event>) {
        let it = &world.replicas[id];
        if it.log.len() < self.bounds.records && it.set.count_ones() as usize >= self.min_in_sync {
            out.push(Event::Append(id));
        }
        out.push(Event::Acknowledge(id));
        let gone = |slave: &Id| {
            it.acks[*slave].is_some() && !(world.replicas[*slave].linked && world.replicas[*slave].follows == Some(id))
        };
        out.extend(others(id).filter(gone).map(|slave| Event::Notice(id, slave)));
        if it.proposed.is_none() && world.proposals < self.bounds.proposals {
            for other in others(id) {
                let caught_up = it.acks[other].is_some_and(|ack| ack >= self.confirmed(it, id) && ack == it.log.len());
                if has(it.set, other) {
                    out.push(Event::Propose(id, it.set & !bit(other)));
                } else if caught_up {
                    out.push(Event::Propose(id, it.set | bit(other)));
                }
            }
        }
        if self.lacks(Rule::CompareAndSet) {
            out.extend(
                others(id)
                    .filter(|it2| has(it.set, *it2) && it.acks[*it2].is_none())
                    .map(|it2| Event::Shrink(id, it.set & !bit(it2))),
            );
        }
    }

    fn of_slave(&self, world: &World, id: Id, master: Id, out: &mut Vec<Event>) {
        let (it, of) = (&world.replicas[id], &world.replicas[master]);
        // The old master may still be talked to by a slave that forgets its promise.
        let same_epoch = of.promised == it.promised || (self.lacks(Rule::OlderEpochRefused) && it.linked);
        if !(of.up && of.leads && same_epoch) {
            return;
        }
        if !it.linked {
            out.push(Event::Handshake(id));
            return;
        }
        if it.log.len() < of.log.len() {
            out.push(Event::Copy(id));
        }
        if of.acks[id] != Some(it.log.len()) {
            out.push(Event::Ack(id));
        }
    }

    fn may_be_elected(&self, world: &World, id: Id) -> bool {
        if !world.replicas[id].up || world.master == Some(id) {
            return false;
        }
        let up = |set: Set| (0..REPLICAS).any(|it| has(set, it) && world.replicas[it].up && world.master != Some(it));
        if self.lacks(Rule::CleanElection) {
            return true;
        }
        has(world.set, id)
            || (has(world.eligible, id) && !up(world.set) && world.master.is_none_or(|it| !world.replicas[it].up))
    }

    /// What this master may acknowledge.
    fn confirmed(&self, it: &Replica, id: Id) -> usize {
        let set = match self.lacks(Rule::MaximalSet) {
            true => it.set,
            false => it.set | it.proposed.unwrap_or(0),
        };
        let held = others(id).filter(|other| has(set, *other)).filter_map(|other| match it.acks[other] {
            None if self.lacks(Rule::DisconnectedCount) => None,
            ack => Some(ack.unwrap_or(0)),
        });
        held.chain([it.log.len()]).min().unwrap_or(0)
    }

    fn apply(&self, world: &mut World, event: Event) {
        match event {
            Event::Append(id) => {
                let epoch = world.replicas[id].promised;
                world.replicas[id].log.push(epoch);
            }
            Event::Handshake(id) => self.handshake(world, id),
            Event::Copy(id) => {
                let master = world.replicas[id].follows.unwrap_or(id);
                let at = world.replicas[id].log.len();
                let record = world.replicas[master].log[at];
                world.replicas[id].log.push(record);
            }
            Event::Ack(id) => {
                let master = world.replicas[id].follows.unwrap_or(id);
                world.replicas[master].acks[id] = Some(world.replicas[id].log.len());
            }
            Event::Acknowledge(id) => self.acknowledge(world, id),
            Event::Propose(id, set) => {
                let it = &mut world.replicas[id];
                it.proposed = Some(set);
                world.wire.push(Proposal { master: id, epoch: it.promised, version: it.set_version, set });
                world.proposals += 1;
            }
            Event::Deliver(at) => self.decide(world, at),
            Event::Learn(id) => self.learn(world, id),
            Event::Shrink(id, set) => world.replicas[id].set = set,
            Event::Kill(id) => self.stop(world, id, usize::MAX),
            Event::PowerLoss(id) => {
                world.power_lost = true;
                let keeps = world.replicas[id].flushed;
                self.stop(world, id, keeps);
            }
            Event::CutLink(id) => {
                world.faults += 1;
                world.replicas[id].linked = false;
            }
            Event::Notice(id, slave) => world.replicas[id].acks[slave] = None,
            Event::Restart(id) => self.restart(world, id),
            Event::Elect(id) => self.elect(world, id),
            Event::Flush(id) => world.replicas[id].flushed = world.replicas[id].log.len(),
        }
    }

    /// S9: both histories prove the common prefix, and nothing else is kept.
    fn handshake(&self, world: &mut World, id: Id) {
        let Some(master) = world.replicas[id].follows else { return };
        let same = common(&world.replicas[id].log, &world.replicas[master].log);
        let it = &mut world.replicas[id];
        if !self.lacks(Rule::Truncation) {
            it.log.truncate(same);
            it.flushed = it.flushed.min(same);
        }
        it.linked = true;
        world.replicas[master].acks[id] = None;
    }

    fn acknowledge(&self, world: &mut World, id: Id) {
        let it = &world.replicas[id];
        if (it.set.count_ones() as usize) < self.min_in_sync {
            return;
        }
        let prefix = it.log[..self.confirmed(it, id)].to_vec();
        let same = common(&prefix, &world.acknowledged);
        // Two acknowledged logs that differ: whatever becomes of them, one is lost.
        world.lost |= same < prefix.len().min(world.acknowledged.len());
        if prefix.len() > world.acknowledged.len() {
            world.acknowledged = prefix;
        }
    }

    /// The controller's compare-and-set (1001).
    fn decide(&self, world: &mut World, at: usize) {
        let it = world.wire.remove(at);
        let alive = (0..REPLICAS).all(|id| !has(it.set, id) || (world.replicas[id].up && !world.replicas[id].unclean));
        if (world.master, world.epoch, world.set_version) == (Some(it.master), it.epoch, it.version) && alive {
            self.replace_set(world, it.set);
        }
    }

    fn replace_set(&self, world: &mut World, new: Set) {
        let before = world.set | world.eligible;
        let below = (new.count_ones() as usize) < self.min_in_sync;
        world.eligible = if below { before & !new } else { 0 };
        world.set = new;
        world.set_version += 1;
    }

    /// A push, a poll, or the answer to a proposal: the newest view; older ones are refused (S2).
    fn learn(&self, world: &mut World, id: Id) {
        if world.replicas[id].promised < world.epoch {
            if let Some(master) = world.master {
                self.take_role(world, id, master);
            }
            return;
        }
        // Same epoch: only the master cares. Nothing it proposed against an older version can still be committed.
        let (set, version) = (world.set, world.set_version);
        let it = &mut world.replicas[id];
        (it.set, it.set_version, it.proposed) = (set, version, None);
    }

    fn take_role(&self, world: &mut World, id: Id, master: Id) {
        let keeps_link = self.lacks(Rule::OlderEpochRefused) && world.replicas[id].linked;
        let (epoch, set, version) = (world.epoch, world.set, world.set_version);
        let it = &mut world.replicas[id];
        it.promised = epoch;
        it.leads = master == id;
        it.proposed = None;
        it.acks = Default::default();
        if it.leads {
            (it.set, it.set_version) = (set, version);
        } else {
            (it.set, it.set_version) = (0, 0);
        }
        if !keeps_link {
            it.follows = (master != id).then_some(master);
        }
        it.linked = keeps_link;
    }

    fn stop(&self, world: &mut World, id: Id, keeps: usize) {
        world.faults += 1;
        let it = &mut world.replicas[id];
        it.linked = false;
        it.unclean |= keeps < it.log.len();
        it.log.truncate(keeps);
        it.up = false;
        it.proposed = None;
        it.acks = Default::default();
    }

    /// 1003 comes before anything else a process does.
    fn restart(&self, world: &mut World, id: Id) {
        let resumes = self.lacks(Rule::NoResume) && world.replicas[id].leads && world.master == Some(id);
        if world.replicas[id].unclean && !self.lacks(Rule::UncleanLosesPlace) {
            let others = (world.set | world.eligible) & !bit(id);
            if others != 0 {
                world.set &= !bit(id);
                world.eligible &= !bit(id);
                world.set_version += 1;
            }
        }
        if world.master == Some(id) && !resumes {
            world.master = None;
        }
        // A host takes longer to come back than an acknowledgement counts for joining (`haMaxTimeSlaveNotCatchup`).
        if world.replicas[id].unclean {
            world.replicas.iter_mut().for_each(|it| it.acks[id] = None);
        }
        let known = (world.set, world.set_version);
        let (epoch, master) = (world.epoch, world.master);
        let it = &mut world.replicas[id];
        it.up = true;
        it.unclean = false;
        if resumes {
            (it.set, it.set_version) = known;
            world.lost |= common(&world.replicas[id].log, &world.acknowledged) < world.acknowledged.len();
            return;
        }
        it.leads = false;
        (it.set, it.set_version) = (0, 0);
        // The view in the answer to its registration.
        it.follows = master.filter(|_| it.promised == epoch);
    }

    fn elect(&self, world: &mut World, id: Id) {
        let live = (0..REPLICAS).filter(|it| world.replicas[*it].up && world.master != Some(*it)).map(bit).sum::<Set>();
        let staying = if has(world.set, id) { world.set & live } else { 0 };
        world.epoch += 1;
        world.master = Some(id);
        self.replace_set(world, staying | bit(id));
        world.lost |= common(&world.replicas[id].log, &world.acknowledged) < world.acknowledged.len();
    }
}

impl World {
    /// One line about the world once an event has happened.
    pub fn after(&self, event: &Event, model: &SetModel) -> String {
        let mut world = self.clone();
        model.apply(&mut world, *event);
        let log = |it: &Log| it.iter().map(|it| it.to_string()).collect::<Vec<_>>().join("");
        let logs = world.replicas.iter().map(|it| log(&it.log)).collect::<Vec<_>>().join("|");
        let lost = if world.lost { "  LOST" } else { "" };
        let master = world.master.map_or("none".to_owned(), |it| it.to_string());
        format!(
            "epoch {} master {master} set {} logs {logs} acknowledged {}{lost}",
            world.epoch,
            members(world.set),
            log(&world.acknowledged)
        )
    }
}
