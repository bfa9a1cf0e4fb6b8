//! What becomes of a supervised process that has ended.
//!
//! One that was told to end, or ended well, ends the supervisor. One that never served and says so with exit code 1 has
//! a mistake in its configuration: trying again would only hide it. Everything else is started again, at once the first
//! time, then after pauses that double from 50 ms to 5 s, until a process has served for a while.

use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A process that served for this long was not broken from the start. Short: what dies later costs a start now and
/// then, a pause would cost its clients.
const HEALTHY: Duration = Duration::from_secs(3);
/// What our servers answer when their configuration or their start is at fault.
const REFUSED: i32 = 1;
/// What a shell makes of a process that a signal ended.
const SIGNALLED: i32 = 128;

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    /// The exit code that tells a shell the same.
    pub fn code(self) -> u8 {
        let code = match self {
            Ended::Code(code) => code,
            Ended::Signal(signal) => SIGNALLED + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

/// What the supervisor was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// To start the process anew.
    Restart,
    /// To end with it.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    End,
    Restart { after: Duration },
}

/// Remembers how often it has gone wrong.
#[derive(Debug, Default)]
pub struct Judge {
    /// Some process of ours has served before.
    has_served: bool,
    /// Pause before the next restart.
    pause: Duration,
}

impl Judge {
    /// `served`: how long, or `None` if it never did.
    pub fn on_end(&mut self, ended: Ended, served: Option<Duration>, told: Told) -> Verdict {
        self.has_served |= served.is_some();
        match (told, ended) {
            (Told::Stop, _) => return Verdict::End,
            (Told::Restart, _) => return Verdict::Restart { after: Duration::ZERO },
            (Told::Nothing, Ended::Code(0)) => return Verdict::End,
            (Told::Nothing, Ended::Code(REFUSED)) if !self.has_served => return Verdict::End,
            (Told::Nothing, _) => {}
        }
        if served.is_some_and(|it| it >= HEALTHY) {
            self.pause = Duration::ZERO;
        }
        let after = self.pause;
        self.pause = (after * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        Verdict::Restart { after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Ended = Ended::Signal(9);

    fn pauses(judge: &mut Judge, ends: usize, served: Option<Duration>) -> Vec<u128> {
        let pause = |it| match it {
            Verdict::Restart { after } => after.as_millis(),
            Verdict::End => panic!("it is not to end"),
        };
        (0..ends).map(|_| pause(judge.on_end(KILLED, served, Told::Nothing))).collect()
    }

    #[test]
    fn the_first_restart_is_at_once_and_pauses_double_to_five_seconds() {
        let mut judge = Judge::default();
        assert_eq!(pauses(&mut judge, 10, None), [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        // Serving for a moment is what a process that crashes at once does, too.
        assert_eq!(pauses(&mut judge, 1, Some(Duration::from_secs(1))), [5000]);
        assert_eq!(pauses(&mut judge, 3, Some(HEALTHY)), [0, 0, 0]);
        assert_eq!(pauses(&mut judge, 2, None), [50, 100]);
    }

    #[test]
    fn a_mistake_in_the_configuration_is_not_tried_again() {
        let mut judge = Judge::default();
        assert_eq!(judge.on_end(Ended::Code(1), None, Told::Nothing), Verdict::End);
        // Later it is no mistake of the first start: a full disk, a file edited meanwhile.
        let mut judge = Judge::default();
        pauses(&mut judge, 1, Some(HEALTHY));
        assert_eq!(
            judge.on_end(Ended::Code(1), None, Told::Nothing),
            Verdict::Restart { after: Duration::from_millis(50) }
        );
    }

    #[test]
    fn a_crash_before_it_ever_served_is_tried_again() {
        for ended in [KILLED, Ended::Code(101)] {
            let verdict = Judge::default().on_end(ended, None, Told::Nothing);
            assert_eq!(verdict, Verdict::Restart { after: Duration::ZERO });
        }
    }

    #[test]
    fn whoever_was_told_to_end_ends() {
        for ended in [Ended::Code(0), Ended::Code(1), Ended::Code(130), KILLED] {
            assert_eq!(Judge::default().on_end(ended, Some(HEALTHY), Told::Stop), Verdict::End);
        }
        assert_eq!(Judge::default().on_end(Ended::Code(0), Some(HEALTHY), Told::Nothing), Verdict::End);
        let again = Judge::default().on_end(Ended::Code(0), Some(HEALTHY), Told::Restart);
        assert_eq!(again, Verdict::Restart { after: Duration::ZERO });
    }

    #[test]
    fn the_exit_code_says_how_it_ended() {
        assert_eq!([Ended::Code(0), Ended::Code(1), Ended::Code(130), KILLED].map(Ended::code), [0, 1, 130, 137]);
    }
}
