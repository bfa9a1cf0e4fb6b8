//! What happens when: a radix heap, which suits a clock that never goes back.
//!
//! An event waits in the bucket of the highest bit in which its time differs from the time reached; only the lowest
//! bucket in use is ever sorted out, into lower ones. See Ahuja, Mehlhorn, Orlin and Tarjan, "Faster algorithms for the
//! shortest path problem" (1990).

use crate::ctx::Event;
use std::collections::VecDeque;

/// Microseconds of true time; of several events at once, first what was put first.
pub struct Agenda {
    /// The time of the event that was taken last.
    reached: u64,
    /// Due at `reached`.
    due: VecDeque<u32>,
    /// By the highest bit that differs: when, and where the event is kept.
    later: [Vec<(u64, u32)>; 64],
    /// Which of them are in use, a bit each.
    used: u64,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
}

impl Default for Agenda {
    fn default() -> Agenda {
        let later = std::array::from_fn(|_| Vec::new());
        Agenda { reached: 0, due: VecDeque::new(), later, used: 0, events: Vec::new(), free: Vec::new() }
    }
}

impl Agenda {
    /// What should have been before the time reached happens now.
    pub fn put(&mut self, at: u64, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() as u32 - 1
        });
        self.events[place as usize] = Some(event);
        self.sort_in(at.max(self.reached), place);
    }

    pub fn take(&mut self) -> Option<(u64, Event)> {
        if self.due.is_empty() {
            self.advance()?;
        }
        let place = self.due.pop_front()?;
        self.free.push(place);
        self.events[place as usize].take().map(|event| (self.reached, event))
    }

    fn sort_in(&mut self, at: u64, place: u32) {
        match (at ^ self.reached).checked_ilog2() {
            None => self.due.push_back(place),
            Some(bit) => {
                self.used |= 1 << bit;
                self.later[bit as usize].push((at, place));
            }
        }
    }

    /// To the next time at which something is due. What is due at one time is in one bucket, in the order in which it
    /// was put, and stays in it.
    fn advance(&mut self) -> Option<()> {
        let bit = (self.used != 0).then(|| self.used.trailing_zeros() as usize)?;
        self.used &= !(1 << bit);
        let mut bucket = std::mem::take(&mut self.later[bit]);
        self.reached = bucket.iter().map(|it| it.0).min()?;
        bucket.drain(..).for_each(|(at, place)| self.sort_in(at, place));
        self.later[bit] = bucket;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::{NodeId, Timer};
    use crate::rng::Rng;

    fn number(event: &Event) -> u64 {
        match event {
            Event::Timer { timer: Timer::Call(it), .. } => *it,
            _ => unreachable!("only these were put"),
        }
    }

    /// As a list that is kept in order would have it.
    #[test]
    fn events_are_taken_by_time_and_then_by_the_order_they_were_put_in() {
        let (mut rng, mut agenda, mut expected) = (Rng::new(1), Agenda::default(), Vec::new());
        let mut now = 0;
        for it in 0..20_000 {
            for _ in 0..rng.below(3) {
                let farthest = rng.pick(&[1, 5, 3_000, 40_000_000]);
                let at = now + rng.below(farthest);
                agenda.put(at, Event::Timer { node: NodeId(0), life: 0, timer: Timer::Call(it) });
                let place = expected.partition_point(|(before, _)| *before <= at);
                expected.insert(place, (at, it));
            }
            let taken = agenda.take().map(|(at, event)| (at, number(&event)));
            assert_eq!(taken, (!expected.is_empty()).then(|| expected.remove(0)));
            now = taken.map_or(now, |it| it.0);
        }
    }
}
