//! A run that breaks a rule, told with as few acts as possible.
//!
//! Acts are taken away in halves, quarters, …, one by one (ddmin) as long as the same rule still breaks; then what
//! the profile brings besides, and time. With other acts the network's chance falls otherwise: each candidate is tried
//! under a few seeds of it.

use crate::checks::Violation;
use crate::mutants::Mutant;
use crate::schedule::{Schedule, TROUBLES, Timed};
use crate::world::{Report, Telling, play};

/// What shrinking may cost.
pub const RUNS: usize = 2_000;
/// Seeds of the network under which a candidate is tried.
const CHANCES: u64 = 4;
/// A set has its master and its slaves by then.
const EARLIEST_US: u64 = 2_000_000;

pub struct Shrunk {
    pub schedule: Schedule,
    pub violation: Violation,
    pub runs: usize,
}

/// Nothing, if the schedule breaks no rule.
pub fn shrink(schedule: &Schedule, mutant: Option<Mutant>, most_runs: usize) -> Option<Shrunk> {
    let first = play(schedule, mutant, Telling::Nothing);
    let violation = first.violation.clone()?;
    let best = Shrunk { schedule: before_the_end(schedule, &first), violation, runs: 1 };
    let mut it = Shrinker { mutant, most_runs, best };
    while it.take_acts() | it.take_troubles() | it.take_time() {}
    Some(it.best)
}

struct Shrinker {
    mutant: Option<Mutant>,
    most_runs: usize,
    best: Shrunk,
}

/// What would have happened after the rule broke changes nothing.
fn before_the_end(schedule: &Schedule, report: &Report) -> Schedule {
    let acts = schedule.acts.iter().filter(|it| it.at <= report.virtual_time).cloned().collect();
    Schedule { acts, ..schedule.clone() }
}

impl Shrinker {
    /// Takes the candidate if it breaks the same rule.
    fn try_out(&mut self, candidate: Schedule) -> bool {
        if self.best.runs >= self.most_runs {
            return false;
        }
        let network = candidate.network;
        let chances = crate::all(0..CHANCES, |more| {
            let schedule = Schedule { network: network + more, ..candidate.clone() };
            let report = play(&schedule, self.mutant, Telling::Nothing);
            (schedule, report)
        });
        self.best.runs += CHANCES as usize;
        let rule = self.best.violation.rule;
        let same = chances.into_iter().find(|it| it.1.violation.as_ref().is_some_and(|it| it.rule == rule));
        let Some((schedule, report)) = same else { return false };
        self.best.schedule = before_the_end(&schedule, &report);
        self.best.violation = report.violation.unwrap_or_else(|| self.best.violation.clone());
        true
    }

    fn take_acts(&mut self) -> bool {
        let (mut parts, mut any) = (2, false);
        while !self.best.schedule.acts.is_empty() && self.best.runs < self.most_runs {
            let acts = self.best.schedule.acts.clone();
            parts = parts.min(acts.len());
            let taken = without_one_of(&acts, parts)
                .into_iter()
                .any(|acts| self.try_out(Schedule { acts, ..self.best.schedule.clone() }));
            match taken {
                true => (parts, any) = ((parts - 1).max(2), true),
                false if parts >= acts.len() => break,
                false => parts *= 2,
            }
        }
        any
    }

    fn take_troubles(&mut self) -> bool {
        let mut any = false;
        for (trouble, _) in TROUBLES {
            let mut candidate = self.best.schedule.clone();
            any |= candidate.without.insert(trouble) && self.try_out(candidate);
        }
        any
    }

    /// The acts strike as soon as they can, at round times; and everything is mended as soon as the last one has
    /// struck, or a while later.
    fn take_time(&mut self) -> bool {
        self.take_time_before() | self.take_time_after()
    }

    fn take_time_before(&mut self) -> bool {
        let first = self.best.schedule.acts.first().map_or(0, |it| it.at);
        let earlier = |it: &Timed| Timed { at: (it.at - first + EARLIEST_US) / 1_000 * 1_000, act: it.act.clone() };
        let acts: Vec<Timed> = self.best.schedule.acts.iter().map(earlier).collect();
        first > EARLIEST_US && self.try_out(Schedule { acts, ..self.best.schedule.clone() })
    }

    fn take_time_after(&mut self) -> bool {
        let last = self.best.schedule.acts.last().map_or(0, |it| it.at) / 1_000 * 1_000;
        let until = self.best.schedule.profile().faults_until;
        let earlier = [100_000, 1_000_000, 5_000_000].into_iter().map(|it| last + it).filter(|it| *it < until);
        let candidate = |it: &Shrinker, at| Schedule { calm_at: Some(at), ..it.best.schedule.clone() };
        earlier.into_iter().any(|at| self.try_out(candidate(self, at)))
    }
}

/// All but one of so many parts, for each of them.
fn without_one_of(acts: &[Timed], parts: usize) -> Vec<Vec<Timed>> {
    let bound = |part: usize| part * acts.len() / parts;
    (0..parts).map(|part| [&acts[..bound(part)], &acts[bound(part + 1)..]].concat()).collect()
}

/// The acts, what came of them, the rule, and how to see it again.
pub fn told(it: &Shrunk, mutant: Option<Mutant>) -> String {
    let story = play(&it.schedule, mutant, Telling::Story).story.join("\n");
    let Shrunk { schedule, violation, runs } = it;
    let planted = mutant.map(|it| format!(" MUTANT={it:?}")).unwrap_or_default();
    format!(
        "{schedule}\n\n{story}\n\nbreaks {}: {} (shrunk in {runs} runs)\n\
         see it again: make sim{planted} SCHEDULE='{}'\n",
        violation.rule,
        violation.what,
        schedule.on_one_line(),
    )
}
