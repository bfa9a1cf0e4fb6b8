//! The course of a change of master: what was measured, in order, counted from the kill.
//!
//! Pure. Only what somebody observed is in it; a phase nobody saw is left out rather than guessed.

use serde::Serialize;

/// A step of a failover, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// SIGKILL or SIGSTOP was sent.
    Killed,
    /// The controller leader found the master dead.
    Detected,
    /// It proposed an election to the other controllers.
    Proposed,
    /// A majority has it.
    Committed,
    /// The controllers name another master to whoever asks.
    Named,
    /// The new master opened its log for writing.
    Promoted,
    /// The nameserver's route names the new master.
    RoutePublished,
    /// The new master's first acknowledgement reached a producer.
    FirstAck,
    /// The old master's process was started again.
    Restarted,
    /// The old master is in the SyncStateSet again.
    Rejoined,
}

impl Phase {
    pub fn label(self) -> &'static str {
        match self {
            Phase::Killed => "killed",
            Phase::Detected => "detected",
            Phase::Proposed => "proposed",
            Phase::Committed => "committed",
            Phase::Named => "named",
            Phase::Promoted => "promoted",
            Phase::RoutePublished => "route published",
            Phase::FirstAck => "first ack",
            Phase::Restarted => "restarted",
            Phase::Rejoined => "old master back",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    pub phase: Phase,
    /// Since the kill.
    pub at_ms: f64,
    pub what: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Timeline {
    pub entries: Vec<Entry>,
}

impl Timeline {
    /// The first observation of a phase counts.
    pub fn add(&mut self, phase: Phase, at_ms: f64, what: impl Into<String>) {
        if self.at(phase).is_none() {
            self.entries.push(Entry { phase, at_ms: tenths(at_ms), what: what.into() });
            self.entries.sort_by(|left, right| left.at_ms.total_cmp(&right.at_ms).then(left.phase.cmp(&right.phase)));
        }
    }

    /// Milliseconds from the kill to this phase.
    pub fn at(&self, phase: Phase) -> Option<f64> {
        self.entries.iter().find(|it| it.phase == phase).map(|it| it.at_ms)
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        for Entry { phase, at_ms, what } in &self.entries {
            out += &format!("{at_ms:>10.1} ms  {:<16} {what}\n", phase.label());
        }
        out
    }
}

/// Finer than that is noise.
fn tenths(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn phases_are_in_the_order_in_which_they_were_seen() {
        let mut timeline = Timeline::default();
        timeline.add(Phase::Killed, 0.0, "broker-n0");
        timeline.add(Phase::FirstAck, 61.27, "127.0.0.1:10921");
        timeline.add(Phase::Named, 21.0, "127.0.0.1:10921 at epoch 2");
        timeline.add(Phase::Named, 99.0, "seen again");
        let lines = [
            "       0.0 ms  killed           broker-n0",
            "      21.0 ms  named            127.0.0.1:10921 at epoch 2",
            "      61.3 ms  first ack        127.0.0.1:10921",
            "",
        ];
        assert_eq!(timeline.text(), lines.join("\n"));
        assert_eq!(timeline.at(Phase::FirstAck), Some(61.3));
        assert_eq!(timeline.at(Phase::Promoted), None);
    }

    #[test]
    fn json_names_the_phases() {
        let mut timeline = Timeline::default();
        timeline.add(Phase::RoutePublished, 30.5, "x");
        expect![[r#"[{"phase":"route_published","at_ms":30.5,"what":"x"}]"#]]
            .assert_eq(&serde_json::to_string(&timeline).unwrap());
    }
}
