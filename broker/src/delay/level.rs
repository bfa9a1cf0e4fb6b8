//! Where the delivery of one level goes on, and how long its next message still waits. Pure.

use proto::Millis;

/// What to do with a level's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look from this offset on.
    From(i64),
    /// The queue ends here, before what was delivered: a tail was cut that had been read.
    Clamp(i64),
    /// Nothing there, or a new master's queue may still grow to where its predecessor was.
    Nothing,
}

/// `bounds`: first and next offset of the queue. `settled`: it does not grow by what the log had at the promotion.
pub fn next(delivered: i64, bounds: Option<(i64, i64)>, settled: bool) -> Next {
    let Some((min, max)) = bounds else { return Next::Nothing };
    if delivered < max {
        Next::From(delivered.max(min))
    } else if delivered > max && settled {
        Next::Clamp(max)
    } else {
        Next::Nothing
    }
}

/// How long a message waits that is due at `due`; 0: deliver it. A due time that no clock which goes forwards can have
/// given is not waited for.
pub fn wait(now: i64, due: i64, delay: i64) -> Millis {
    if due > now.saturating_add(delay) { 0 } else { due.saturating_sub(now).max(0) as Millis }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_goes_on_where_it_was_within_what_the_queue_has() {
        assert_eq!(next(0, None, true), Next::Nothing);
        assert_eq!(next(3, Some((0, 5)), false), Next::From(3));
        assert_eq!(next(3, Some((4, 5)), true), Next::From(4), "what was deleted is gone");
        assert_eq!(next(5, Some((0, 5)), true), Next::Nothing);
        assert_eq!(next(7, Some((0, 5)), false), Next::Nothing, "the queue may still grow there");
        assert_eq!(next(7, Some((0, 5)), true), Next::Clamp(5));
    }

    #[test]
    fn a_message_is_due_at_its_time_or_when_its_time_makes_no_sense() {
        assert_eq!(wait(1000, 900, 500), 0);
        assert_eq!(wait(1000, 1000, 500), 0);
        assert_eq!(wait(1000, 1001, 500), 1);
        assert_eq!(wait(1000, 1500, 500), 500);
        assert_eq!(wait(1000, 1501, 500), 0, "the clock was set back");
        assert_eq!(wait(i64::MAX, i64::MIN, 500), 0);
    }
}
