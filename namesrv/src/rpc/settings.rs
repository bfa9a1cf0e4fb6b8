//! The nameserver's own settings over the network (318, 319).

use super::{Answer, Nameserver, Save, success};
use crate::config::UpdateError;
use proto::Command;
use proto::code::response;

impl Nameserver {
    pub(super) fn update_config(&mut self, request: &Command) -> Answer {
        let updated = match self.config.updated(&String::from_utf8_lossy(&request.body)) {
            Ok(it) => it,
            Err(e @ UpdateError::BlackListed) => return Command::error(response::NO_PERMISSION, e.to_string()).into(),
            Err(e @ UpdateError::BadValue { .. }) => {
                return Command::error(response::SYSTEM_ERROR, e.to_string()).into();
            }
        };
        self.config = updated;
        tracing::info!("settings changed over the network");
        Answer {
            command: success(),
            save: Some(Save {
                path: self.config.store_path(),
                text: sorted(&node::properties::print_with_secrets(&self.config)).into_bytes(),
            }),
        }
    }

    pub(super) fn get_config(&self) -> Command {
        success().with_body(sorted(&node::properties::print(&self.config)))
    }
}

/// `key=value` lines, sorted by key as Java's are.
fn sorted(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}
