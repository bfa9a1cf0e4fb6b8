//! Operators' requests about the controllers themselves (31020): add, remove, transfer the leadership, list.

use super::{Failure, Service};
use crate::raft::Ask;
use proto::Command;
use proto::code::response;
use proto::header::BatonControllersRequest;

impl Service {
    pub(super) async fn controllers(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: BatonControllersRequest = it.header()?;
        let refuse = |text: String| Failure::Text(response::CONTROLLER_INVALID_REQUEST, text);
        let name = || it.controller_id.clone().ok_or_else(|| refuse(format!("{}: controllerId is missing", it.action)));
        let ask = match it.action.as_str() {
            "list" => None,
            "add" => {
                let address = it.controller_address.clone();
                let address = address.ok_or_else(|| refuse("add: controllerAddress is missing".into()))?;
                Some(Ask::Add { name: name()?, address })
            }
            "remove" => Some(Ask::Remove { name: name()? }),
            "transfer" => Some(Ask::Transfer { name: name()? }),
            other => return Err(refuse(format!("action `{other}`: want add, remove, transfer or list"))),
        };
        if let Some(ask) = ask {
            self.raft.ask(ask).await?.map_err(|why| refuse(why.to_string()))?;
        }
        Ok(Command::response(response::SUCCESS).with_body(self.list_controllers()))
    }

    fn list_controllers(&self) -> String {
        let leader = self.raft.leadership().borrow().leader;
        let line = |(id, it): (&u64, &crate::raft::Member)| {
            let role = if leader == Some(*id) { "leader".to_owned() } else { format!("{:?}", it.role).to_lowercase() };
            format!("{}\t{}\t{role}\traft id {id}\n", it.name, it.address)
        };
        self.raft.members().members.iter().map(line).collect()
    }
}
