//! Which acts a profile draws: everything that goes wrong by intent, before the run begins, from a stream of chance of
//! its own.

use crate::ctx::Point;
use crate::faults::{Kind, Profile, Theme};
use crate::packet::SetId;
use crate::rng::Rng;
use crate::schedule::{Act, Direction, Group, Order, POINTS, Timed, Way, Who};

/// When the first one may strike: the set has a master by then.
const FIRST_US: u64 = 2_000_000;
/// Links that were clogged together are released in random order.
const HEALING_US: u64 = 20_000;

pub fn acts(profile: &Profile, rng: &mut Rng) -> Vec<Timed> {
    let mut draw = Draw { profile, rng, quiet_us: 0, later: Vec::new() };
    let (mut at, mut acts) = (FIRST_US, Vec::new());
    while at < profile.faults_until {
        if let Some(kind) = profile.kind(draw.rng) {
            acts.extend(draw.of(kind).into_iter().map(|act| Timed { at, act }));
            acts.extend(draw.later.drain(..).map(|(after, act)| Timed { at: at + after, act }));
        }
        at += std::mem::take(&mut draw.quiet_us);
        at += draw.rng.below(2 * profile.gap_us);
    }
    acts.sort_by_key(|it| it.at);
    acts
}

struct Draw<'a> {
    profile: &'a Profile,
    rng: &'a mut Rng,
    /// Nothing but what was drawn last happens for so long.
    quiet_us: u64,
    /// What belongs to what was drawn last, and how long after it.
    later: Vec<(u64, Act)>,
}

impl Draw<'_> {
    fn of(&mut self, kind: Kind) -> Vec<Act> {
        let act = match kind {
            Kind::KillBroker => Act::Kill { who: self.some_broker(), back: self.duration() },
            Kind::KillController => Act::Kill { who: self.some_controller(), back: self.duration() },
            Kind::KillLeaderAndMaster => {
                let leader = Act::Kill { who: Who::Leader, back: self.duration() };
                return vec![leader, Act::Kill { who: Who::Master(self.some_set()), back: self.duration() }];
            }
            Kind::CrashBroker => {
                let (who, outputs) = (self.some_broker(), self.rng.between(1, 60) as u32);
                Act::Crash { who, outputs, back: self.duration() }
            }
            Kind::PowerBroker => self.power_off_broker(),
            Kind::PowerController => {
                Act::PowerOff { who: self.some_controller(), back: self.duration(), kept_percent: 0 }
            }
            Kind::PauseBroker => Act::Pause { who: self.some_broker(), lasts: self.duration() },
            Kind::PauseController => Act::Pause { who: self.some_controller(), lasts: self.duration() },
            Kind::Cut => {
                let (from, to) = self.two_servers();
                Act::Cut { ways: vec![way(from, to, Direction::There)], lasts: self.duration(), healing: 0 }
            }
            Kind::Isolate => {
                let who = self.some_server();
                self.isolate(who)
            }
            Kind::Reset => {
                let (a, b) = self.two_servers();
                Act::Break { a, b }
            }
            Kind::Switchover => Act::Order(Order::Switch { set: self.some_set() }),
            Kind::WipeBroker => Act::Wipe { who: self.some_broker(), back: self.duration() },
            Kind::WipeController => Act::Wipe { who: self.some_controller(), back: self.duration() },
            Kind::Members => Act::Order(self.members()),
            Kind::Order => Act::Order(self.order()),
            Kind::Jump => Act::Jump { who: self.some_server(), by_ms: self.jump() },
            Kind::Triangle => self.triangle(),
            Kind::Partition => {
                let master = Who::Master(self.some_set());
                self.partition(master)
            }
            Kind::Ambush => return self.ambush(),
            Kind::Catastrophe => return self.catastrophe(),
            Kind::LoseControllers => return self.lose_controllers(),
        };
        vec![act]
    }

    /// How long something stays broken: mostly short, sometimes long enough for every timeout.
    fn duration(&mut self) -> u64 {
        let longest = self.rng.pick(&[50, 500, 3_000, 3_000, 14_000]);
        self.rng.between(5, longest) * 1_000
    }

    fn some_set(&mut self) -> SetId {
        SetId(self.rng.below(self.profile.sets as u64) as usize)
    }

    fn some_broker(&mut self) -> Who {
        let set = self.some_set();
        // The master is what matters.
        match self.rng.chance(500) {
            true => Who::Master(set),
            false => Who::Broker(self.rng.pick(&self.profile.brokers_of(set).collect::<Vec<_>>())),
        }
    }

    fn some_controller(&mut self) -> Who {
        match self.rng.chance(600) {
            true => Who::Leader,
            false => Who::Controller(self.rng.below(self.profile.controllers as u64) as usize),
        }
    }

    fn some_server(&mut self) -> Who {
        if self.rng.chance(400) { self.some_controller() } else { self.some_broker() }
    }

    fn two_servers(&mut self) -> (Who, Who) {
        loop {
            let both = (self.some_server(), self.some_server());
            if both.0 != both.1 {
                return both;
            }
        }
    }

    fn power_off_broker(&mut self) -> Act {
        Act::PowerOff { who: self.some_broker(), back: self.duration(), kept_percent: self.rng.below(101) }
    }

    /// One loses power, all others of its set are killed, and it is back before them.
    fn catastrophe(&mut self) -> Vec<Act> {
        let (set, kept_percent) = (self.some_set(), self.rng.below(101));
        let who = match self.rng.chance(500) {
            true => Who::Master(set),
            false => Who::Slave(set),
        };
        let mut acts = vec![Act::PowerOff { who, back: 1_000, kept_percent }];
        for index in self.profile.brokers_of(set) {
            acts.push(Act::Kill { who: Who::Broker(index), back: self.duration() });
        }
        acts
    }

    /// For long, and mostly nothing else goes wrong meanwhile (S8): a majority is dead, or no broker reaches any.
    fn lose_controllers(&mut self) -> Vec<Act> {
        let lasts = self.rng.between(4_000, 20_000) * 1_000;
        self.quiet_us = if self.rng.chance(700) { lasts } else { 0 };
        if self.rng.chance(500) {
            let most = (1..self.profile.controllers).map(Who::Controller);
            return most.map(|who| Act::Kill { who, back: lasts }).collect();
        }
        let brokers = Group { of: (0..self.profile.sets).map(|it| Who::Set(SetId(it))).collect(), but: Vec::new() };
        let way = Way { from: Who::Controllers.into(), to: brokers, direction: Direction::Both };
        vec![Act::Cut { ways: vec![way], lasts, healing: HEALING_US }]
    }

    /// One node from the others, or from some of them: a master with one controller, now and then.
    fn isolate(&mut self, who: Who) -> Act {
        let spared = self.rng.chance(300).then(|| self.some_controller());
        let all = || Group { of: vec![Who::All], but: spared.into_iter().collect() };
        let one = || Group::from(who);
        let way = match self.rng.below(3) {
            0 => Way { from: one(), to: all(), direction: Direction::There },
            1 => Way { from: all(), to: one(), direction: Direction::There },
            _ => Way { from: one(), to: all(), direction: Direction::Both },
        };
        Act::Cut { ways: vec![way], lasts: self.duration(), healing: HEALING_US }
    }

    /// Answers do not come, or requests and answers do not, while the brokers hear each other.
    fn cut_from_controllers(&mut self, who: Who) -> Act {
        let direction = if self.rng.chance(300) { Direction::Both } else { Direction::There };
        Act::Cut { ways: vec![way(Who::Controllers, who, direction)], lasts: self.duration(), healing: 0 }
    }

    fn members(&mut self) -> Order {
        let who = Who::Controller(self.rng.below(self.profile.controllers as u64) as usize);
        if self.rng.chance(600) { Order::Add { who } } else { Order::Remove { who } }
    }

    fn order(&mut self) -> Order {
        let set = self.some_set();
        match self.rng.below(4) {
            0 => Order::Elect { set },
            // Over a live master it does not wait for the lease, see docs/SAFETY.md.
            1 if self.profile.copies == 0 => Order::Designate { who: self.some_broker() },
            1 => Order::Switch { set },
            2 => Order::Clean { set },
            _ => Order::Transfer { to: Who::Controller(self.rng.below(self.profile.founders as u64) as usize) },
        }
    }

    /// Seconds or hours, both ways.
    fn jump(&mut self) -> i64 {
        let longest = self.rng.pick(&[5_000, 4 * 3_600_000]);
        self.rng.between(1, longest) as i64 * self.rng.pick(&[-1, 1])
    }

    /// Everybody is of one of three parties; each way between two of them is open or not, and one at least is not.
    fn triangle(&mut self) -> Act {
        let mut parties = [Group::default(), Group::default(), Group::default()];
        let controllers = (0..self.profile.controllers).map(Who::Controller);
        for who in controllers.chain((0..self.profile.brokers()).map(Who::Broker)) {
            parties[self.rng.below(3) as usize].of.push(who);
        }
        let [a, b, c] = &parties;
        let pairs = [(a, b), (b, a), (b, c), (c, b), (a, c), (c, a)];
        let cut = self.rng.between(1, 62);
        let ways = pairs.iter().enumerate().filter(|it| cut & (1 << it.0) != 0).map(|(_, (from, to))| (from, to));
        let ways = ways.filter(|(from, to)| !from.of.is_empty() && !to.of.is_empty());
        let way = |(from, to): (&&Group, &&Group)| Way {
            from: (*from).clone(),
            to: (*to).clone(),
            direction: Direction::There,
        };
        let ways: Vec<Way> = ways.map(way).collect();
        match ways.is_empty() {
            true => Act::Pause { who: self.some_server(), lasts: self.duration() },
            false => Act::Cut { ways, lasts: self.duration(), healing: HEALING_US },
        }
    }

    /// One server, with the controllers' leader or without, from all others; clients reach both sides.
    fn partition(&mut self, who: Who) -> Act {
        let of = if self.rng.chance(500) { vec![who, Who::Leader] } else { vec![who] };
        let (one, others) = (Group { of: of.clone(), but: Vec::new() }, Group { of: vec![Who::Servers], but: of });
        let way = match self.rng.below(4) {
            0 => Way { from: one, to: others, direction: Direction::There },
            1 => Way { from: others, to: one, direction: Direction::There },
            _ => Way { from: one, to: others, direction: Direction::Both },
        };
        Act::Cut { ways: vec![way], lasts: self.duration(), healing: HEALING_US }
    }

    /// What it says to the controllers comes late, all at once.
    fn delay_requests(&mut self, who: Who) -> Act {
        Act::Cut { ways: vec![way(who, Who::Controllers, Direction::There)], lasts: self.duration(), healing: 0 }
    }

    fn point(&mut self) -> Point {
        match self.profile.theme {
            Theme::Everything => self.rng.pick(&POINTS).0,
            Theme::Failovers => self.rng.pick(&[
                Point::Epoch,
                Point::Epoch,
                Point::Promise,
                Point::Election,
                Point::Cut,
                Point::Handshake,
            ]),
            Theme::Proposals => self.rng.pick(&[Point::Joining, Point::Joining, Point::Proposal, Point::Epoch]),
            Theme::Leases => self.rng.pick(&[Point::Heartbeat, Point::Heartbeat, Point::Drained, Point::Election]),
        }
    }

    /// What makes somebody come to the point, unless it is left to the rest of the run.
    fn provoke(&mut self, point: Point) -> Option<Act> {
        let set = self.some_set();
        match point {
            Point::Drained => Some(Act::Order(Order::Switch { set })),
            _ if self.rng.chance(300) => None,
            Point::Epoch | Point::Promise | Point::Election | Point::Cut | Point::Handshake => {
                Some(match self.rng.below(3) {
                    0 => self.partition(Who::Master(set)),
                    1 => Act::Pause { who: Who::Master(set), lasts: self.duration() },
                    _ => Act::Kill { who: Who::Master(set), back: self.duration() },
                })
            }
            Point::Proposal | Point::Joining => Some(match self.rng.below(3) {
                0 => Act::Break { a: Who::Master(set), b: Who::Slave(set) },
                1 => Act::Pause { who: Who::Slave(set), lasts: self.duration() },
                _ => Act::Kill { who: Who::Slave(set), back: self.duration() },
            }),
            Point::Heartbeat => None,
        }
    }

    /// What happens at a moment that matters.
    fn ambush(&mut self) -> Vec<Act> {
        if self.rng.chance(300) {
            match self.profile.theme {
                Theme::Everything => {}
                Theme::Failovers if self.rng.chance(500) => return self.double_failover(),
                Theme::Failovers => return self.lose_a_beginning(),
                Theme::Proposals => return self.join_unheard(),
                Theme::Leases if self.rng.chance(500) => return self.usurp(),
                Theme::Leases => return self.move_unheard(),
            }
        }
        let point = self.point();
        let longest = self.rng.pick(&[1, 300, 3_000, 30_000]);
        let wait = self.rng.below(longest);
        let act = match self.rng.below(12) {
            0 | 1 => Act::Kill { who: Who::It, back: self.duration() },
            2 | 3 => Act::Pause { who: Who::It, lasts: self.duration() },
            4 => Act::PowerOff { who: Who::It, back: self.duration(), kept_percent: self.rng.below(101) },
            5..=7 => self.cut_from_controllers(Who::It),
            8 => self.delay_requests(Who::It),
            9 => self.partition(Who::It),
            _ => self.isolate(Who::It),
        };
        let ambush = Act::Ambush { point, wait, act: Box::new(act) };
        [ambush].into_iter().chain(self.provoke(point)).collect()
    }

    /// A master is cut off when its slaves know its epoch and none of its bytes; its successor's epoch is short, and
    /// when it is back there is a third one (KIP-279).
    fn double_failover(&mut self) -> Vec<Act> {
        let (set, timeout) = (self.some_set(), self.profile.timeout_ms + self.profile.witness_ms);
        let next = (timeout + self.rng.between(500, 3_000)) * 1_000;
        let lasts = next + self.rng.between(200, 2_000) * 1_000;
        let way = Way { from: Who::Master(set).into(), to: Who::Servers.into(), direction: Direction::Both };
        let act = Box::new(Act::Cut { ways: vec![way], lasts, healing: HEALING_US });
        let wait = self.rng.pick(&[0, 100, 1_000]);
        let third = match self.rng.chance(600) {
            true => Act::Order(Order::Switch { set }),
            false => Act::Kill { who: Who::Master(set), back: self.duration() },
        };
        self.later.push((next, third));
        self.quiet_us = lasts;
        let first = Act::Kill { who: Who::Master(set), back: self.rng.between(5, 100) * 1_000 };
        vec![Act::Ambush { point: Point::Handshake, wait, act }, first]
    }

    /// A new master loses power before the bytes that its epoch stands on are on disk.
    fn lose_a_beginning(&mut self) -> Vec<Act> {
        let kept_percent = self.rng.pick(&[0, 0, 50]);
        let act = Box::new(Act::PowerOff { who: Who::It, back: self.duration(), kept_percent });
        let longest = self.rng.pick(&[1, 1_000, 50_000]);
        let wait = self.rng.below(longest);
        let first = Act::Kill { who: Who::Master(self.some_set()), back: self.rng.between(5, 500) * 1_000 };
        vec![Act::Ambush { point: Point::Epoch, wait, act }, first]
    }

    /// A slave is gone for a moment, and when it is to be a member again its master does not hear that it is, or asks
    /// so late that it has asked for something else meanwhile.
    fn join_unheard(&mut self) -> Vec<Act> {
        let set = self.some_set();
        let (it, lasts) = (Who::It, self.rng.between(1_600, 5_000) * 1_000);
        let cut = match self.rng.chance(600) {
            true => way(Who::Controllers, it, Direction::There),
            false => way(it, Who::Controllers, Direction::There),
        };
        let act = Box::new(Act::Cut { ways: vec![cut], lasts, healing: 0 });
        let wait = self.rng.below(2 * self.profile.latency_us);
        self.quiet_us = lasts;
        let slave = Act::Kill { who: Who::Slave(set), back: self.rng.between(200, 1_000) * 1_000 };
        vec![Act::Ambush { point: Point::Joining, wait, act }, slave]
    }

    /// Mastership is moved as planned, and the master does not hear of it.
    fn move_unheard(&mut self) -> Vec<Act> {
        let (set, lasts) = (self.some_set(), self.rng.between(1_100, 4_000) * 1_000);
        let act = Act::Cut { ways: vec![way(Who::Controllers, Who::It, Direction::There)], lasts, healing: 0 };
        let wait = self.rng.below(2 * self.profile.latency_us);
        self.quiet_us = lasts;
        vec![Act::Ambush { point: Point::Drained, wait, act: Box::new(act) }, Act::Order(Order::Switch { set })]
    }

    /// The controllers' leader is stopped for so long that there is another one, and it alone hears a master.
    fn usurp(&mut self) -> Vec<Act> {
        let master = Who::Master(self.some_set());
        let others = Group { of: vec![Who::Servers], but: vec![master, Who::Leader] };
        let way = Way { from: master.into(), to: others, direction: Direction::Both };
        let stopped = self.rng.between(2, 8) * self.profile.election_ms;
        let lasts = (stopped + 2 * self.profile.timeout_ms + self.rng.below(2_000)) * 1_000;
        self.quiet_us = lasts;
        let cut = Act::Cut { ways: vec![way], lasts, healing: HEALING_US };
        vec![cut, Act::Pause { who: Who::Leader, lasts: stopped * 1_000 }]
    }
}

fn way(from: Who, to: Who, direction: Direction) -> Way {
    Way { from: from.into(), to: to.into(), direction }
}
