//! S8: a master whose replicas are connected goes on acknowledging, whatever the controllers do.

use super::Truth;

impl Truth {
    /// Nothing has kept this set from it since `since`, and so long it may pause.
    pub fn goes_on(&mut self, now: u64, since: u64, pause: u64, circumstances: &str) {
        let silent = now - since.max(self.acknowledged_at);
        if silent >= pause {
            self.fail("S8", format!("nothing is acknowledged for {} ms, and {circumstances}", silent / 1_000));
        }
    }
}
