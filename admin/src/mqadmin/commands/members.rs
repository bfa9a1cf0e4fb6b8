//! `addController`, `removeController`, `transferLeadership`, `listControllers`: the group of controllers itself, of
//! Baton's own.

use super::super::options::{Given, Opt};
use super::super::{Command, Context, print};
use super::CONTROLLER;
use anyhow::bail;
use proto::header::BatonControllersRequest;
use std::time::{Duration, Instant};

const ID: Opt = Opt::value("i", "id", "the controller's id, as in n3").required();
/// A new controller is to have caught up, or another one to lead, by then.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(super) const ADD: Command = Command {
    name: "addController",
    about: "Baton: add a controller to the group; it counts once it has copied everything.",
    options: &[CONTROLLER, ID, Opt::value("s", "address", "where it is reached, host:port").required()],
    run: |context, given| Box::pin(add(context, given)),
};

pub(super) const REMOVE: Command = Command {
    name: "removeController",
    about: "Baton: remove a controller from the group, for good.",
    options: &[CONTROLLER, ID],
    run: |context, given| Box::pin(remove(context, given)),
};

pub(super) const TRANSFER: Command = Command {
    name: "transferLeadership",
    about: "Baton: let another controller lead.",
    options: &[CONTROLLER, ID],
    run: |context, given| Box::pin(transfer(context, given)),
};

pub(super) const LIST: Command = Command {
    name: "listControllers",
    about: "Baton: the controllers, who leads, and who is still catching up.",
    options: &[CONTROLLER],
    run: |context, given| Box::pin(list(context, given)),
};

async fn add(context: Context, given: Given) -> anyhow::Result<()> {
    let id = given.required("i");
    let address = Some(given.required("s").to_owned());
    change(&context, &given, "add", Some(id), address).await?;
    let voter = |text: &str| line_of(text, id).is_some_and(|it| !it.contains("\tlearner\t"));
    let why = format!(
        "controller {id} is a member and has not caught up within {} s: is it running, with controllerJoin=true and an \
         empty controllerStorePath? It is made a voter as soon as it has; see `mqadmin listControllers`",
        PATIENCE.as_secs()
    );
    print(&until(&context, &given, voter, &why).await?)
}

async fn remove(context: Context, given: Given) -> anyhow::Result<()> {
    print(&change(&context, &given, "remove", Some(given.required("i")), None).await?)
}

async fn transfer(context: Context, given: Given) -> anyhow::Result<()> {
    let id = given.required("i");
    change(&context, &given, "transfer", Some(id), None).await?;
    let leads = |text: &str| line_of(text, id).is_some_and(|it| it.contains("\tleader\t"));
    let why = format!("controller {id} does not lead: it may be behind or unreachable; see `mqadmin listControllers`");
    print(&until(&context, &given, leads, &why).await?)
}

async fn list(context: Context, given: Given) -> anyhow::Result<()> {
    print(&change(&context, &given, "list", None, None).await?)
}

async fn change(
    context: &Context,
    given: &Given,
    action: &str,
    id: Option<&str>,
    address: Option<String>,
) -> anyhow::Result<String> {
    let controller_id = id.map(str::to_owned);
    let what = BatonControllersRequest { action: action.to_owned(), controller_id, controller_address: address };
    let leader = context.admin.controller_leader(given.required("a")).await?;
    Ok(context.admin.change_controllers(&leader, &what).await?)
}

/// Lists until it is so. While leadership changes, nobody answers for a moment.
async fn until(context: &Context, given: &Given, is_so: impl Fn(&str) -> bool, why: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match change(context, given, "list", None, None).await {
            Ok(text) if is_so(&text) => return Ok(text),
            _ => tokio::time::sleep(POLL).await,
        }
    }
    bail!("{why}")
}

fn line_of<'a>(text: &'a str, id: &str) -> Option<&'a str> {
    text.lines().find(|it| it.split('\t').next() == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_by_its_whole_id() {
        let text = "n1\th1:9878\tleader\traft id 2\nn11\th2:9878\tlearner\traft id 4\n";
        assert_eq!(line_of(text, "n11"), Some("n11\th2:9878\tlearner\traft id 4"));
        assert_eq!(line_of(text, "n"), None);
    }
}
