//! Watches, every few milliseconds, whom the controllers and the nameservers call master of one broker set.
//!
//! It only asks what any client may ask (1005, 1006, 105), so it sees a change when a client could see it, and it works
//! on Java's controllers too.

use super::topic::master_of;
use client::{Admin, AdminOptions};
use parking_lot::Mutex;
use proto::body::ReplicasInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two questions: the resolution of what is seen.
const PERIOD: Duration = Duration::from_millis(4);
/// An address that is silent for this long is passed over.
const TIMEOUT: Duration = Duration::from_millis(300);
/// Changes kept for the live view.
const EVENTS: usize = 1000;

/// A change, and when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Instant,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The controllers name this master.
    Master { id: i64, address: String, epoch: i32 },
    /// The controllers name none.
    NoMaster { epoch: i32 },
    /// Addresses in the SyncStateSet, sorted.
    Members(Vec<String>),
    /// The nameserver's route names this master, or none.
    Route(Option<String>),
    /// Another controller answers as leader.
    Leader(String),
}

impl Change {
    pub fn text(&self) -> String {
        match self {
            Change::Master { id, address, epoch } => {
                format!("controllers name {address} (id {id}) master at epoch {epoch}")
            }
            Change::NoMaster { epoch } => format!("no master (epoch {epoch})"),
            Change::Members(members) => format!("{} in sync", members.len()),
            Change::Route(Some(address)) => format!("route names {address}"),
            Change::Route(None) => "route names no master".to_owned(),
            Change::Leader(address) => format!("controller leader is {address}"),
        }
    }
}

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub info: Option<ReplicasInfo>,
    pub route: Option<String>,
    pub leader: Option<String>,
    events: Vec<Event>,
}

impl View {
    fn push(&mut self, change: Change) {
        if self.events.len() == EVENTS {
            self.events.remove(0);
        }
        self.events.push(Event { at: Instant::now(), change });
    }

    fn on_replicas(&mut self, info: ReplicasInfo) {
        let master = |it: &ReplicasInfo| (it.master_broker_id, it.master_address.clone(), it.master_epoch);
        if self.info.as_ref().map(master) != Some(master(&info)) {
            let epoch = info.master_epoch;
            self.push(match (info.master_broker_id, &info.master_address) {
                (Some(id), Some(address)) if !address.is_empty() => {
                    Change::Master { id, address: address.clone(), epoch }
                }
                _ => Change::NoMaster { epoch },
            });
        }
        if self.info.as_ref().map(members) != Some(members(&info)) {
            self.push(Change::Members(members(&info)));
        }
        self.info = Some(info);
    }

    fn on_route(&mut self, master: Option<String>) {
        if self.route != master {
            self.push(Change::Route(master.clone()));
            self.route = master;
        }
    }

    fn on_answer(&mut self, leader: &str, info: Option<ReplicasInfo>) {
        if self.leader.as_deref() != Some(leader) {
            self.push(Change::Leader(leader.to_owned()));
            self.leader = Some(leader.to_owned());
        }
        if let Some(info) = info {
            self.on_replicas(info);
        }
    }

    pub fn last(&self) -> Option<&Event> {
        self.events.last()
    }

    /// The first change after `since` for which `pick` has an answer.
    pub fn first<T>(&self, since: Instant, pick: impl Fn(&Change) -> Option<T>) -> Option<(Instant, T)> {
        self.events.iter().filter(|it| it.at > since).find_map(|it| Some((it.at, pick(&it.change)?)))
    }

    pub fn members(&self) -> Vec<String> {
        self.info.as_ref().map(members).unwrap_or_default()
    }

    pub fn master(&self) -> Option<&str> {
        self.info.as_ref()?.master_address.as_deref().filter(|it| !it.is_empty())
    }
}

fn members(info: &ReplicasInfo) -> Vec<String> {
    let mut members: Vec<String> = info.in_sync_replicas.iter().map(|it| it.broker_address.clone()).collect();
    members.sort();
    members
}

/// Asks until it is dropped.
pub struct Observer {
    view: Arc<Mutex<View>>,
    _tasks: JoinSet<()>,
}

impl Observer {
    pub fn start(namesrv: Vec<String>, controllers: String, topic: String, broker_set: String) -> Observer {
        let view = Arc::new(Mutex::new(View::default()));
        let admin = Admin::new(AdminOptions { namesrv, timeout: TIMEOUT, ..AdminOptions::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_controllers(admin.clone(), controllers, broker_set.clone(), view.clone()));
        tasks.spawn(watch_route(admin, topic, broker_set, view.clone()));
        Observer { view, _tasks: tasks }
    }

    pub fn view(&self) -> View {
        self.view.lock().clone()
    }

    /// Waits until `is_so`; false when the time is up before.
    pub async fn wait(&self, timeout: Duration, is_so: impl Fn(&View) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if is_so(&self.view.lock()) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

async fn watch_controllers(admin: Admin, controllers: String, broker_set: String, view: Arc<Mutex<View>>) {
    let names = [broker_set];
    loop {
        // Whoever is asked may be dead or deposed: then all are asked again who leads.
        if let Ok(leader) = admin.controller_leader(&controllers).await {
            while let Ok(mut answer) = admin.sync_state_data(&leader, &names).await {
                view.lock().on_answer(&leader, answer.replicas_info_table.remove(&names[0]));
                tokio::time::sleep(PERIOD).await;
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn watch_route(admin: Admin, topic: String, broker_set: String, view: Arc<Mutex<View>>) {
    loop {
        match admin.topic_route(&topic).await {
            Ok(route) => view.lock().on_route(master_of(&route, &broker_set)),
            Err(error) if Admin::is_no_topic(&error) => view.lock().on_route(None),
            Err(_) => {} // a silent nameserver says nothing about the master
        }
        tokio::time::sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::body::ReplicaIdentity;

    fn info(master: Option<i64>, epoch: i32, members: &[i64]) -> ReplicasInfo {
        let address = |id: i64| format!("b:{id}");
        ReplicasInfo {
            in_sync_replicas: members
                .iter()
                .map(|id| ReplicaIdentity {
                    broker_address: address(*id),
                    broker_id: *id,
                    ..ReplicaIdentity::default()
                })
                .collect(),
            master_address: master.map(address),
            master_broker_id: master,
            master_epoch: epoch,
            ..ReplicasInfo::default()
        }
    }

    #[test]
    fn only_changes_are_events() {
        let mut view = View::default();
        for it in [info(Some(1), 1, &[1, 2]), info(Some(1), 1, &[1, 2]), info(None, 2, &[1, 2]), info(Some(2), 3, &[2])]
        {
            view.on_replicas(it);
        }
        view.on_route(Some("b:2".into()));
        view.on_route(Some("b:2".into()));
        let texts: Vec<String> = view.events.iter().map(|it| it.change.text()).collect();
        assert_eq!(
            texts,
            [
                "controllers name b:1 (id 1) master at epoch 1",
                "2 in sync",
                "no master (epoch 2)",
                "controllers name b:2 (id 2) master at epoch 3",
                "1 in sync",
                "route names b:2"
            ]
        );
        assert_eq!(view.master(), Some("b:2"));
    }

    #[test]
    fn the_first_matching_change_after_an_instant_is_found() {
        let mut view = View::default();
        view.on_route(Some("old".into()));
        let killed = Instant::now();
        view.on_route(None);
        view.on_route(Some("new".into()));
        let another = |it: &Change| match it {
            Change::Route(Some(address)) if address != "old" => Some(address.clone()),
            _ => None,
        };
        assert_eq!(view.first(killed, another).map(|it| it.1), Some("new".to_owned()));
        assert_eq!(view.first(Instant::now(), another), None);
    }
}
