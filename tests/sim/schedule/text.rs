//! Schedules as text: one line an act, or all on one line with `;` between them.

use super::{Act, Direction, Group, Order, Schedule, Setting, Timed, Trouble, Way, Who};
use crate::ctx::Point;
use crate::packet::SetId;
use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Result as Written};
use std::str::FromStr;

/// What cannot be read, and what would be understood.
#[derive(Debug, PartialEq, Eq)]
pub struct BadSchedule(String);

impl Display for BadSchedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        f.write_str(&self.0)
    }
}

type Read<T> = Result<T, BadSchedule>;

fn bad<T>(text: &str, want: &str) -> Read<T> {
    Err(BadSchedule(format!("`{}`: want {want}", text.trim())))
}

/// By their names; what is drawn and left out is one of these.
pub const POINTS: [(Point, &str); 9] = [
    (Point::Proposal, "proposal"),
    (Point::Joining, "joining"),
    (Point::Handshake, "handshake"),
    (Point::Epoch, "epoch"),
    (Point::Promise, "promise"),
    (Point::Cut, "cut"),
    (Point::Drained, "drained master"),
    (Point::Election, "election"),
    (Point::Heartbeat, "heartbeat"),
];

pub const TROUBLES: [(Trouble, &str); 4] = [
    (Trouble::Loss, "loss"),
    (Trouble::Duplicates, "duplicates"),
    (Trouble::SlowPackets, "slow packets"),
    (Trouble::Drift, "drift"),
];

fn name_of<T: Copy + PartialEq>(of: T, among: &[(T, &'static str)]) -> &'static str {
    among.iter().find(|it| it.0 == of).expect("all have names").1
}

fn named<T: Copy>(text: &str, among: &[(T, &'static str)]) -> Read<T> {
    let found = among.iter().find(|it| it.1 == text.trim()).map(|it| it.0);
    let names: Vec<&str> = among.iter().map(|it| it.1).collect();
    found.map_or_else(|| bad(text, &names.join(", ")), Ok)
}

// ---- times

struct Ms(u64);

impl Display for Ms {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        match rest {
            0 => write!(f, "{whole} ms"),
            _ => write!(f, "{} ms", format!("{whole}.{rest:03}").trim_end_matches('0')),
        }
    }
}

fn time(text: &str) -> Read<u64> {
    let micros = text.trim().strip_suffix("ms").and_then(|it| {
        let (whole, rest) = it.trim().split_once('.').unwrap_or((it.trim(), "0"));
        let rest = if rest.len() <= 3 { format!("{rest:0<3}").parse::<u64>().ok()? } else { return None };
        whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(rest)
    });
    micros.map_or_else(|| bad(text, "a time as in `40 ms` or `0.125 ms`"), Ok)
}

// ---- whom

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Who::Controller(it) => write!(f, "C{}", it + 1),
            Who::Broker(it) => write!(f, "B{}", it + 1),
            Who::Client(it) => write!(f, "K{}", it + 1),
            Who::Consumer(it) => write!(f, "R{}", it + 1),
            Who::Leader => f.write_str("leader"),
            Who::Master(it) => write!(f, "{}.master", it.name()),
            Who::Slave(it) => write!(f, "{}.slave", it.name()),
            Who::It => f.write_str("it"),
            Who::Controllers => f.write_str("controllers"),
            Who::Set(it) => f.write_str(it.name()),
            Who::Servers => f.write_str("servers"),
            Who::All => f.write_str("all"),
        }
    }
}

impl FromStr for Who {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Read<Who> {
        let text = text.trim();
        let number = |it: &str| it.get(1..)?.parse::<usize>().ok()?.checked_sub(1);
        let found = match (text, text.split_once('.')) {
            ("leader", _) => Some(Who::Leader),
            ("it", _) => Some(Who::It),
            ("controllers", _) => Some(Who::Controllers),
            ("servers", _) => Some(Who::Servers),
            ("all", _) => Some(Who::All),
            (_, Some((name, "master"))) => SetId::named(name).map(Who::Master),
            (_, Some((name, "slave"))) => SetId::named(name).map(Who::Slave),
            _ if text.starts_with('C') => number(text).map(Who::Controller),
            _ if text.starts_with('B') => number(text).map(Who::Broker),
            _ if text.starts_with('K') => number(text).map(Who::Client),
            _ if text.starts_with('R') => number(text).map(Who::Consumer),
            _ => SetId::named(text).map(Who::Set),
        };
        let want = "C1, B1, K1, R1, leader, a.master, a.slave, it, controllers, a, servers or all";
        found.map_or_else(|| bad(text, want), Ok)
    }
}

impl Display for Group {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        for (at, who) in self.of.iter().enumerate() {
            write!(f, "{}{who}", if at > 0 { "+" } else { "" })?;
        }
        self.but.iter().try_for_each(|who| write!(f, "-{who}"))
    }
}

impl FromStr for Group {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Read<Group> {
        let mut parts = text.split('-');
        let of = parts.next().unwrap_or_default().split('+').map(str::parse).collect::<Read<_>>()?;
        Ok(Group { of, but: parts.map(str::parse).collect::<Read<_>>()? })
    }
}

impl Display for Way {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let arrow = if self.direction == Direction::Both { "<>" } else { ">" };
        write!(f, "{} {arrow} {}", self.from, self.to)
    }
}

impl FromStr for Way {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Read<Way> {
        let both = text.split_once("<>").map(|it| (it, Direction::Both));
        let Some(((from, to), direction)) = both.or(text.split_once('>').map(|it| (it, Direction::There))) else {
            return bad(text, "who is not heard by whom, as in `B1 > C1+C2` or `a.master <> all-C1`");
        };
        Ok(Way { from: from.parse()?, to: to.parse()?, direction })
    }
}

// ---- acts

impl Display for Act {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Act::Kill { who, back } => write!(f, "kill {who} for {}", Ms(*back)),
            Act::Crash { who, outputs, back } => write!(f, "crash {who} after {outputs} outputs for {}", Ms(*back)),
            Act::PowerOff { who, back, kept_percent } => {
                write!(f, "power off {who} for {} keeping {kept_percent} %", Ms(*back))
            }
            Act::Pause { who, lasts } => write!(f, "pause {who} for {}", Ms(*lasts)),
            Act::Cut { ways, lasts, healing } => {
                let ways: Vec<String> = ways.iter().map(Way::to_string).collect();
                write!(f, "cut {} for {}", ways.join(", "), Ms(*lasts))?;
                if *healing > 0 {
                    write!(f, " healing over {}", Ms(*healing))?;
                }
                Ok(())
            }
            Act::Break { a, b } => write!(f, "break {a} and {b}"),
            Act::Wipe { who, back } => write!(f, "wipe {who} for {}", Ms(*back)),
            Act::Jump { who, by_ms } => write!(f, "jump {who} by {by_ms} ms"),
            Act::Order(order) => write!(f, "{order}"),
            Act::Ambush { point, wait, act } => {
                write!(f, "at the next {}, after {}: {act}", name_of(*point, &POINTS), Ms(*wait))
            }
        }
    }
}

impl Display for Order {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Order::Switch { set } => write!(f, "switch {}", Who::Set(*set)),
            Order::Elect { set } => write!(f, "elect {}", Who::Set(*set)),
            Order::Designate { who } => write!(f, "designate {who}"),
            Order::Clean { set } => write!(f, "clean {}", Who::Set(*set)),
            Order::Transfer { to } => write!(f, "transfer {to}"),
            Order::Add { who } => write!(f, "add {who}"),
            Order::Remove { who } => write!(f, "remove {who}"),
        }
    }
}

fn order(verb: &str, whom: &str) -> Read<Option<Order>> {
    let set = || SetId::named(whom.trim()).map_or_else(|| bad(whom, "a broker set as in `a`"), Ok);
    Ok(Some(match verb {
        "switch" => Order::Switch { set: set()? },
        "elect" => Order::Elect { set: set()? },
        "designate" => Order::Designate { who: whom.parse()? },
        "clean" => Order::Clean { set: set()? },
        "transfer" => Order::Transfer { to: whom.parse()? },
        "add" => Order::Add { who: whom.parse()? },
        "remove" => Order::Remove { who: whom.parse()? },
        _ => return Ok(None),
    }))
}

const FORMS: &str = "`kill B1 for 40 ms`, `crash B1 after 7 outputs for 40 ms`, `power off B1 for 40 ms keeping 30 %`, \
                     `pause B1 for 40 ms`, `cut B1 <> all-C1, B1 > C1 for 40 ms healing over 20 ms`, \
                     `break B1 and controllers`, `wipe B1 for 40 ms`, `jump C1 by -3600000 ms`, `switch a`, `elect a`, \
                     `designate B1`, `clean a`, `transfer C1`, `add C4`, `remove C1`, or \
                     `at the next proposal, after 0.3 ms: …`";

impl FromStr for Act {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Read<Act> {
        let text = text.trim();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let parts = |between: &str| rest.split_once(between).map_or_else(|| bad(text, FORMS), Ok);
        let percent = |it: &str| it.trim().strip_suffix('%').and_then(|it| it.trim().parse().ok());
        match verb {
            "kill" => parts(" for ").and_then(|(who, back)| Ok(Act::Kill { who: who.parse()?, back: time(back)? })),
            "pause" => parts(" for ").and_then(|(who, it)| Ok(Act::Pause { who: who.parse()?, lasts: time(it)? })),
            "crash" => {
                let (who, rest) = parts(" after ")?;
                let Some((outputs, back)) = rest.split_once(" outputs for ") else { return bad(text, FORMS) };
                let Ok(outputs) = outputs.trim().parse() else { return bad(outputs, "a number of outputs") };
                Ok(Act::Crash { who: who.parse()?, outputs, back: time(back)? })
            }
            "power" => {
                let (who, rest) = parts(" for ")?;
                let who = who.trim().strip_prefix("off ").map_or_else(|| bad(text, FORMS), Ok)?.parse()?;
                let (back, kept) = rest.split_once(" keeping ").unwrap_or((rest, "0 %"));
                let Some(kept_percent) = percent(kept) else { return bad(kept, "a part as in `30 %`") };
                Ok(Act::PowerOff { who, back: time(back)?, kept_percent })
            }
            "cut" => {
                let (ways, rest) = parts(" for ")?;
                let (lasts, healing) = rest.split_once(" healing over ").unwrap_or((rest, "0 ms"));
                let ways = ways.split(',').map(str::parse).collect::<Read<_>>()?;
                Ok(Act::Cut { ways, lasts: time(lasts)?, healing: time(healing)? })
            }
            "break" => parts(" and ").and_then(|(a, b)| Ok(Act::Break { a: a.parse()?, b: b.parse()? })),
            "wipe" => parts(" for ").and_then(|(who, back)| Ok(Act::Wipe { who: who.parse()?, back: time(back)? })),
            "jump" => {
                let (who, by) = parts(" by ")?;
                let by_ms = by.trim().strip_suffix("ms").and_then(|it| it.trim().parse().ok());
                let Some(by_ms) = by_ms else { return bad(by, "a time as in `-3600000 ms`") };
                Ok(Act::Jump { who: who.parse()?, by_ms })
            }
            "at" => {
                let Some((head, act)) = text.split_once(": ") else { return bad(text, FORMS) };
                let Some((point, wait)) = head.strip_prefix("at the next ").and_then(|it| it.split_once(", after "))
                else {
                    return bad(text, FORMS);
                };
                let (point, wait) = (named(point, &POINTS)?, time(wait)?);
                Ok(Act::Ambush { point, wait, act: Box::new(act.parse()?) })
            }
            _ => order(verb, rest)?.map_or_else(|| bad(text, FORMS), |it| Ok(Act::Order(it))),
        }
    }
}

impl Display for Timed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        write!(f, "{}: {}", Ms(self.at), self.act)
    }
}

impl FromStr for Timed {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Read<Timed> {
        let Some((at, act)) = text.split_once(':') else {
            return bad(
                text,
                "`seed 17`, `quiet`, `mixed`, `network 3`, `calm at 9000 ms`, `without loss`, or `3000 ms: …`",
            );
        };
        Ok(Timed { at: time(at)?, act: act.parse()? })
    }
}

// ---- whole schedules

impl Schedule {
    /// Everything but the acts.
    pub fn head(&self) -> String {
        let mut parts = vec![match self.setting {
            Setting::Seed(seed) => format!("seed {seed}"),
            Setting::Quiet => "quiet".to_owned(),
            Setting::Mixed => "mixed".to_owned(),
        }];
        if self.setting != Setting::Seed(self.network) {
            parts.push(format!("network {}", self.network));
        }
        parts.extend(self.calm_at.map(|it| format!("calm at {}", Ms(it))));
        parts.extend(self.without.iter().map(|it| format!("without {}", name_of(*it, &TROUBLES))));
        parts.extend(self.acts.is_empty().then(|| "no acts".to_owned()));
        parts.join("; ")
    }

    pub fn on_one_line(&self) -> String {
        self.to_string().replace('\n', "; ")
    }
}

impl Display for Schedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        write!(f, "{}", self.head())?;
        self.acts.iter().try_for_each(|it| write!(f, "\n{it}"))
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    /// A seed without acts is the schedule that it draws. Lines that begin with `#` are left out.
    fn from_str(text: &str) -> Read<Schedule> {
        let (mut setting, mut network, mut calm_at) = (Setting::Seed(1), None, None);
        let (mut without, mut acts, mut as_drawn) = (BTreeSet::new(), Vec::new(), true);
        let number = |it: &str| it.trim().parse::<u64>().map_or_else(|_| bad(it, "a number"), Ok);
        let lines = text.lines().filter(|it| !it.trim_start().starts_with('#'));
        for part in lines.flat_map(|it| it.split(';')).map(str::trim).filter(|it| !it.is_empty()) {
            match part.split_once(' ') {
                None if part == "quiet" => setting = Setting::Quiet,
                None if part == "mixed" => setting = Setting::Mixed,
                _ if part == "no acts" => as_drawn = false,
                Some(("seed", it)) => setting = Setting::Seed(number(it)?),
                Some(("network", it)) => network = Some(number(it)?),
                Some(("without", it)) => drop(without.insert(named(it, &TROUBLES)?)),
                _ if part.starts_with("calm at ") => calm_at = Some(time(&part["calm at ".len()..])?),
                _ => acts.push(part.parse::<Timed>()?),
            }
        }
        acts.sort_by_key(|it| it.at);
        let of_the_seed = if let Setting::Seed(seed) = setting { seed } else { 1 };
        let network = network.unwrap_or(of_the_seed);
        match setting {
            Setting::Seed(seed) if as_drawn && acts.is_empty() => {
                Ok(Schedule { network, calm_at, without, ..Schedule::drawn(seed) })
            }
            _ => Ok(Schedule { setting, network, calm_at, without, acts }),
        }
    }
}
