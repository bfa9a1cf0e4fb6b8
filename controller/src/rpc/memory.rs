//! What happened to a set, and why (Baton's 31010, 31011); what this controller hears (31012).

use super::{Failure, Service, json};
use crate::replicas::memory::Event;
use crate::replicas::story;
use proto::Command;
use proto::body::HistoryLine;
use proto::code::response;
use proto::header::{BatonExplainRequest, BatonHistoryRequest, BatonWitnessRequest, BatonWitnessResponse};

/// Events in an answer when the asker does not say.
const USUAL: i64 = 20;

impl Service {
    /// The newest events, oldest first.
    pub(super) async fn history(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let BatonHistoryRequest { broker_name, most } = it.header()?;
        let most = most.unwrap_or(USUAL).max(0) as usize;
        let name = broker_name.clone();
        let events = self.raft.read(move |it| {
            let set = it.get(&name).map(|_| ());
            let events = it.memory(&name).map(|it| it.events.iter().rev().take(most).cloned().collect::<Vec<_>>());
            set.map(|()| events.unwrap_or_default())
        });
        let events = events.await?.ok_or_else(|| unknown(&broker_name))?;
        let line = |it: &Event| HistoryLine {
            index: it.index,
            at_ms: it.at_ms,
            text: story::line(it),
            event: serde_json::to_value(&it.what).unwrap_or_default(),
        };
        let lines = events.iter().rev().map(line).collect::<Vec<_>>();
        Ok(Command::response(response::SUCCESS).with_body(json(&lines)))
    }

    pub(super) async fn explain(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let BatonExplainRequest { broker_name, at_mills } = it.header()?;
        let name = broker_name.clone();
        let known =
            self.raft.read(move |it| Some((it.get(&name)?.clone(), it.memory(&name).cloned().unwrap_or_default())));
        let (set, memory) = known.await?.ok_or_else(|| unknown(&broker_name))?;
        let seen = self
            .watch
            .look(move |now, it| (it.liveness.lives(now, &broker_name), it.liveness.waiting(now, &broker_name)));
        let (lives, waiting) = seen.await.unwrap_or_default();
        let text = story::explain(&set, &memory, at_mills, &lives, &waiting);
        Ok(Command::response(response::SUCCESS).with_body(text))
    }

    /// Answered by every controller: when it heard this replica last, if it has.
    pub(super) async fn witness(&self, it: &Command) -> Result<Command, Failure> {
        let BatonWitnessRequest { broker_name, broker_id } = it.header()?;
        let heard =
            self.watch.look(move |now, it| it.liveness.silent_for(now, &broker_name, broker_id)).await.flatten();
        let header = BatonWitnessResponse { heard_mills_ago: heard.map(|it| it as i64) };
        Ok(Command::response(response::SUCCESS).with_header(&header))
    }
}

fn unknown(broker_name: &str) -> Failure {
    let text = format!("broker set {broker_name} is not registered with these controllers; names are case-sensitive");
    Failure::Text(response::CONTROLLER_BROKER_METADATA_NOT_EXIST, text)
}
