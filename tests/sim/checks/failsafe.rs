//! S8: a strict master whose replicas are connected goes on acknowledging, whatever the controllers do.

use super::Truth;

/// Longest pause of acknowledgements in a set that nothing disturbs, and how long it has to be undisturbed.
const PAUSE_US: u64 = 10_000_000;

impl Truth {
    /// Master and slaves have lived and heard each other since `since`.
    pub fn goes_on(&mut self, now: u64, since: u64) {
        let silent = now - since.max(self.acknowledged_at);
        if self.strict && silent >= PAUSE_US {
            let why = format!("nothing is acknowledged for {} s, and all replicas are connected", silent / 1_000_000);
            self.fail("S8", why);
        }
    }
}
