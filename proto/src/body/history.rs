//! Body of Baton's history answer (31010): a list of these, oldest first.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// Place in the controllers' log.
    pub index: u64,
    /// Wall clock of the controller that led.
    pub at_ms: i64,
    /// For people.
    pub text: String,
    /// The same for programs.
    pub event: serde_json::Value,
}
