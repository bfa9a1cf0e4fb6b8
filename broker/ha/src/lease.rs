//! The lease that the controllers give a master (S5), and when it says nothing (S10). Pure.

use proto::Millis;

/// As this replica counts it: from when it sent the heartbeat that the controller leader answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The controllers elect nobody else before then; 0: they have never said so, as Java's never do.
    until: Millis,
    /// Until then they may elect in spite of it: a planned change was begun, and may be committed.
    trust_from: Millis,
}

impl Lease {
    pub fn until(&self) -> Millis {
        self.until
    }

    /// An answer that comes late takes nothing back.
    pub fn grant(&mut self, until: Millis) {
        self.until = self.until.max(until);
    }

    /// A planned change is begun that may be committed until then. What was granted before it proves nothing, however
    /// long it lasts: the leader that switches over grants nothing more.
    pub fn distrust(&mut self, until: Millis) {
        self.trust_from = self.trust_from.max(until).max(self.until);
    }

    /// No other replica is master.
    pub fn holds(&self, now: Millis) -> bool {
        (self.trust_from..self.until).contains(&now)
    }

    /// The controllers may have made another replica master by now. Not the opposite of [`Lease::holds`] only where
    /// they have never granted a lease: their silence proves nothing then.
    pub fn may_be_deposed(&self, now: Millis) -> bool {
        let grants = self.until > 0;
        (grants && !self.holds(now)) || now < self.trust_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(until: Millis) -> Lease {
        Lease { until, ..Lease::default() }
    }

    #[test]
    fn only_who_has_had_a_lease_can_outlive_it() {
        let never = Lease::default();
        assert_eq!((never.holds(5_000), never.may_be_deposed(5_000)), (false, false));
        let lease = granted(5_000);
        assert_eq!((lease.holds(4_999), lease.may_be_deposed(4_999)), (true, false));
        assert_eq!((lease.holds(5_000), lease.may_be_deposed(5_000)), (false, true));
    }

    #[test]
    fn a_planned_change_may_have_been_made_in_spite_of_a_lease() {
        let mut lease = granted(4_000);
        lease.distrust(6_000);
        lease.grant(9_000);
        let sure = |now| (lease.holds(now), lease.may_be_deposed(now));
        assert_eq!([3_999, 5_999, 6_000, 8_999, 9_000].map(|it| sure(it).0), [false, false, true, true, false]);
        assert!([3_999, 5_999, 6_000, 8_999, 9_000].iter().all(|it| sure(*it).0 != sure(*it).1));

        let mut never = Lease::default();
        never.distrust(6_000);
        assert_eq!([5_999, 6_000].map(|it| never.may_be_deposed(it)), [true, false], "nor does it need one to be made");
    }

    #[test]
    fn what_was_granted_before_a_planned_change_proves_nothing_however_long_it_lasts() {
        let mut lease = granted(60_000);
        lease.distrust(100);
        assert_eq!([99, 100, 59_999].map(|it| lease.holds(it)), [false; 3]);
        assert!(lease.may_be_deposed(59_999));
        lease.grant(70_000);
        assert_eq!([59_999, 60_000, 69_999, 70_000].map(|it| lease.holds(it)), [false, true, true, false]);
        lease.grant(65_000);
        assert!(lease.holds(69_999), "an answer that comes late takes nothing back");
    }
}
