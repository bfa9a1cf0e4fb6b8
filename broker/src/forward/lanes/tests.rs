//! Golden scripts: what arrives, what the masters are, and where each request goes.

use super::*;
use std::error::Error;
use std::path::Path;

test_each_file::test_each_path! { in "./broker/src/forward/lanes/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Stage::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[derive(goldenscript::Command)]
enum Step {
    /// `limits hold=2500 count=3 bytes=100`, before anything else.
    Limits {
        #[arg(key)]
        hold: Option<Millis>,
        #[arg(key)]
        count: Option<usize>,
        #[arg(key)]
        bytes: Option<usize>,
    },
    /// `arrive 1 kind=append|blind|repeat`: ticket 1 in lane 1. Blind: nothing in the log tells it from others.
    Arrive {
        ticket: Ticket,
        #[arg(key)]
        lane: Option<Lane>,
        #[arg(key)]
        kind: Option<String>,
        #[arg(key)]
        bytes: Option<usize>,
        #[arg(key)]
        marked: Option<Epoch>,
        #[arg(key)]
        deposed: Option<Epoch>,
        #[arg(key, optional)]
        early: bool,
    },
    Complete(Lane),
    Here(Epoch),
    Pausing(Epoch),
    There(Epoch),
    Nobody(Epoch),
    Leaving(Epoch),
    Began(Ticket),
    /// Of the last attempt, or of the one that is named.
    Answered {
        ticket: Ticket,
        #[arg(key)]
        attempt: Option<u32>,
    },
    Refused {
        ticket: Ticket,
        #[arg(key)]
        attempt: Option<u32>,
    },
    Lost {
        ticket: Ticket,
        #[arg(key)]
        attempt: Option<u32>,
    },
    Settled(Epoch),
    Found {
        ticket: Ticket,
        #[arg(key)]
        at: Epoch,
    },
    Absent {
        ticket: Ticket,
        #[arg(key)]
        at: Epoch,
    },
    Unclear {
        ticket: Ticket,
        #[arg(key)]
        at: Epoch,
    },
    Again {
        ticket: Ticket,
        #[arg(key)]
        at: Epoch,
    },
    Gone(Ticket),
    Wait(Millis),
}

struct Stage {
    now: Millis,
    lanes: Lanes,
    attempts: BTreeMap<Ticket, u32>,
}

fn lanes(hold: Option<Millis>, count: Option<usize>, bytes: Option<usize>) -> Lanes {
    Lanes::new(LaneConfig {
        hold_ms: hold.unwrap_or(2_500),
        hold_count: count.unwrap_or(100),
        hold_bytes: bytes.unwrap_or(1_000),
        answer_ms: 5_000,
    })
}

impl Default for Stage {
    fn default() -> Stage {
        Stage { now: 0, lanes: lanes(None, None, None), attempts: BTreeMap::new() }
    }
}

impl Stage {
    fn ended(&self, ticket: Ticket, attempt: Option<u32>, outcome: Outcome) -> Input {
        let last = self.attempts.get(&ticket).copied().unwrap_or(0);
        Input::Ended { ticket, attempt: attempt.unwrap_or(last), outcome }
    }
}

fn kind(text: Option<&str>) -> Result<Kind, Box<dyn Error>> {
    match text {
        None | Some("append") => Ok(Kind::Append { traceable: true }),
        Some("blind") => Ok(Kind::Append { traceable: false }),
        Some("repeat") => Ok(Kind::Repeatable),
        Some(other) => Err(format!("kind={other}: want append, blind or repeat").into()),
    }
}

impl goldenscript::Runner for Stage {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let traced = |ticket: &Ticket, at: &Epoch, traced| Input::Traced { ticket: *ticket, at: *at, traced };
        let input = match step {
            Step::Limits { hold, count, bytes } => {
                self.lanes = lanes(*hold, *count, *bytes);
                return Ok(String::new());
            }
            Step::Arrive { ticket, lane, kind: name, bytes, marked, deposed, early } => Input::Arrived(Arrival {
                ticket: *ticket,
                lane: lane.unwrap_or(1),
                kind: kind(name.as_deref())?,
                bytes: bytes.unwrap_or(10),
                marked: *marked,
                deposed: *deposed,
                early: *early,
            }),
            Step::Complete(lane) => Input::Complete(*lane),
            Step::Here(epoch) => Input::Standing(Standing::Here { epoch: *epoch }),
            Step::Pausing(epoch) => Input::Standing(Standing::Pausing { epoch: *epoch }),
            Step::There(epoch) => Input::Standing(Standing::There { epoch: *epoch }),
            Step::Nobody(epoch) => Input::Standing(Standing::Nobody { epoch: *epoch }),
            Step::Leaving(epoch) => Input::Standing(Standing::Leaving { epoch: *epoch }),
            Step::Began(ticket) => Input::Began { ticket: *ticket, attempt: self.attempts[ticket] },
            Step::Answered { ticket, attempt } => self.ended(*ticket, *attempt, Outcome::Answered),
            Step::Refused { ticket, attempt } => self.ended(*ticket, *attempt, Outcome::Refused),
            Step::Lost { ticket, attempt } => self.ended(*ticket, *attempt, Outcome::Lost),
            Step::Settled(epoch) => Input::Settled(*epoch),
            Step::Found { ticket, at } => traced(ticket, at, Traced::Found),
            Step::Absent { ticket, at } => traced(ticket, at, Traced::Absent),
            Step::Unclear { ticket, at } => traced(ticket, at, Traced::Unclear),
            Step::Again { ticket, at } => traced(ticket, at, Traced::Again),
            Step::Gone(ticket) => Input::Gone(*ticket),
            Step::Wait(ms) => {
                self.now += ms;
                Input::Tick
            }
        };
        let mut out = Vec::new();
        self.lanes.step(self.now, input, &mut out);
        let mut text = String::new();
        for output in out {
            if let Output::Send { ticket, attempt, .. } | Output::Run { ticket, attempt, .. } = output {
                self.attempts.insert(ticket, attempt);
            }
            text += &format!("{output:?}\n");
        }
        Ok(text)
    }
}

/// Every request ends once, whatever happens in which order, and a lane's are sent in order.
mod laws {
    use super::*;
    use proptest::prelude::*;

    fn input() -> impl Strategy<Value = (Millis, Input)> {
        let ticket = 1..12u64;
        let epoch = 1..5;
        let arrival = (ticket.clone(), 1..3u64, 0..3usize, prop::option::weighted(0.2, 1..5));
        let arrival = arrival.prop_map(|(ticket, lane, kind, marked)| {
            let kind = [Kind::Append { traceable: true }, Kind::Append { traceable: false }, Kind::Repeatable][kind];
            Input::Arrived(Arrival { ticket, lane, kind, bytes: 1, marked, deposed: None, early: false })
        });
        let standing = (0..5, epoch.clone()).prop_map(|(which, epoch)| {
            Input::Standing(match which {
                0 => Standing::Here { epoch },
                1 => Standing::Pausing { epoch },
                2 => Standing::There { epoch },
                3 => Standing::Nobody { epoch },
                _ => Standing::Leaving { epoch },
            })
        });
        let outcome = prop_oneof![Just(Outcome::Answered), Just(Outcome::Refused), Just(Outcome::Lost)];
        let ended = (ticket.clone(), 1..4u32, outcome);
        let ended = ended.prop_map(|(ticket, attempt, outcome)| Input::Ended { ticket, attempt, outcome });
        let traced = prop_oneof![Just(Traced::Found), Just(Traced::Absent), Just(Traced::Unclear), Just(Traced::Again)];
        let traced = (ticket.clone(), epoch.clone(), traced);
        let traced = traced.prop_map(|(ticket, at, traced)| Input::Traced { ticket, at, traced });
        let began = (ticket.clone(), 1..4u32).prop_map(|(ticket, attempt)| Input::Began { ticket, attempt });
        let input = prop_oneof![
            4 => arrival,
            2 => standing,
            3 => ended,
            2 => traced,
            1 => began,
            1 => epoch.prop_map(Input::Settled),
            1 => ticket.prop_map(Input::Gone),
            1 => Just(Input::Tick),
        ];
        (0..400u64, input)
    }

    proptest! {
        #[test]
        fn every_request_ends_once_and_none_is_sent_twice_unless_it_may(
            inputs in prop::collection::vec(input(), 0..200)
        ) {
            let mut lanes = lanes(None, Some(8), None);
            let (mut now, mut out) = (0, Vec::new());
            let mut known: BTreeMap<Ticket, Arrival> = BTreeMap::new();
            let mut ended = BTreeSet::new();
            // Requests that may be in some log: sent, and nothing certain has come back.
            let mut doubtful: BTreeSet<Ticket> = BTreeSet::new();
            let mut searched: BTreeSet<Ticket> = BTreeSet::new();
            let mut attempts: BTreeMap<Ticket, u32> = BTreeMap::new();
            let mut standing = Standing::Nobody { epoch: 0 };
            for (wait, mut input) in inputs.into_iter().chain([(1_000_000, Input::Tick)]) {
                now += wait;
                match &mut input {
                    Input::Arrived(it) if known.contains_key(&it.ticket) => continue,
                    Input::Arrived(it) => drop(known.insert(it.ticket, *it)),
                    // Epochs only grow (S1).
                    Input::Standing(it) if it.epoch() < standing.epoch() => continue,
                    Input::Standing(it) => standing = *it,
                    Input::Ended { ticket, attempt, outcome: Outcome::Refused }
                        if attempts.get(ticket) == Some(attempt) =>
                    {
                        doubtful.remove(ticket);
                    }
                    Input::Traced { ticket, at, traced } => {
                        let asked = searched.remove(ticket);
                        if asked && *traced == Traced::Absent && *at == standing.epoch() {
                            doubtful.remove(ticket);
                        }
                    }
                    _ => {}
                }
                lanes.step(now, input, &mut out);
                for output in out.drain(..) {
                    match output {
                        Output::Send { ticket, attempt, .. } | Output::Run { ticket, attempt, .. } => {
                            let arrival = known[&ticket];
                            prop_assert!(!ended.contains(&ticket));
                            let again = !doubtful.insert(ticket);
                            prop_assert!(!again || arrival.kind == Kind::Repeatable, "{ticket} is sent again");
                            attempts.insert(ticket, attempt);
                            let sent = matches!(output, Output::Send { .. });
                            prop_assert!(!sent || arrival.marked.is_none(), "{ticket} makes a second hop");
                        }
                        Output::Answer(ticket) | Output::Refuse(ticket, _) | Output::Forget(ticket) => {
                            prop_assert!(ended.insert(ticket), "{ticket} ends twice");
                        }
                        Output::Trace { ticket, at } => {
                            prop_assert!(doubtful.contains(&ticket));
                            searched.insert(ticket);
                            prop_assert_eq!(at, standing.epoch());
                        }
                    }
                }
            }
            // Entering is left by what the driver says at once; all else ends by time.
            let waiting = known.keys().filter(|it| !ended.contains(it)).count();
            prop_assert_eq!(lanes.requests.len(), waiting);
            let entering = |it: &Request| matches!(it.state, State::Entering { .. });
            prop_assert!(lanes.requests.values().all(entering));
            let bytes: usize = lanes.requests.values().map(|it| it.bytes).sum();
            prop_assert_eq!(lanes.bytes, bytes);
        }
    }
}
