//! Commands that controllers acknowledge, one after another from several clients, and whether all controllers have them
//! afterwards.

use crate::{http, queries, wire};
use proto::Command;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const CLIENTS: usize = 4;
/// A killed controller never answers; the command is asked of another one then.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Clients that take the first id of ever new broker sets: each is one command, and repeating one is harmless.
pub struct Commands {
    controllers: Arc<Mutex<Vec<String>>>,
    acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<BTreeSet<String>>>,
}

impl Commands {
    pub fn start(controllers: Vec<String>) -> Commands {
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let controllers = Arc::new(Mutex::new(controllers));
        let client = |n: usize| {
            let (controllers, acknowledged, stop) = (controllers.clone(), acknowledged.clone(), stop.clone());
            std::thread::spawn(move || client(n, &controllers, &acknowledged, &stop))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Commands { controllers, acknowledged, stop, clients }
    }

    /// From now on these are asked.
    pub fn ask(&self, controllers: Vec<String>) {
        *self.controllers.lock().expect("no client panics while holding it") = controllers;
    }

    /// Waits for this many more acknowledgements.
    #[track_caller]
    pub fn wait_progress(&self, more: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        crate::wait_until("commands are acknowledged", crate::PATIENCE, || {
            self.acknowledged.load(Ordering::Relaxed) >= goal
        });
    }

    /// The names of the sets whose command was acknowledged.
    pub fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|it| it.join().expect("no client panics")).collect()
    }
}

fn client(n: usize, controllers: &Mutex<Vec<String>>, count: &AtomicUsize, stop: &AtomicBool) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for sequence in 0.. {
        let set = format!("commands-{n}-{sequence}");
        loop {
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            let some = controllers.lock().expect("as above").clone();
            if some.iter().any(|it| take_id(it, &set)) {
                break;
            }
            std::thread::sleep(AGAIN_AFTER);
        }
        acknowledged.insert(set);
        count.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

fn take_id(controller: &str, set: &str) -> bool {
    let request = Command::request(1013)
        .with_ext("clusterName", "commands")
        .with_ext("brokerName", set)
        .with_ext("appliedBrokerId", 1)
        .with_ext("registerCheckCode", format!("{set};1"));
    wire::call(controller, request, ANSWER_WITHIN).is_ok_and(|it| it.code == queries::OK)
}

/// The broker sets that this controller has applied, whether it leads or not, each with its replicas' ids.
pub fn applied(controller: &str) -> Option<BTreeSet<(String, Vec<i64>)>> {
    let (_, page) = http::get(controller, "/status.json").filter(|it| it.0 == 200)?;
    let page: serde_json::Value = serde_json::from_str(&page).ok()?;
    let set = |it: &serde_json::Value| {
        let ids = it["replicas"].as_array()?.iter().filter_map(|it| it["brokerId"].as_i64()).collect();
        Some((it["brokerName"].as_str()?.to_owned(), ids))
    };
    page["brokerSets"].as_array()?.iter().map(set).collect()
}

/// Waits until all of these have applied the same, and that includes everything acknowledged.
#[track_caller]
pub fn wait_same(controllers: &[&str], acknowledged: &BTreeSet<String>) {
    let mut found = Vec::new();
    crate::holds_within(crate::PATIENCE, || {
        found = controllers.iter().filter_map(|it| applied(it)).collect::<Vec<_>>();
        found.len() == controllers.len() && found.iter().all(|it| *it == found[0])
    });
    assert_eq!(found.len(), controllers.len(), "not all of {controllers:?} answer");
    for (controller, sets) in controllers.iter().zip(&found) {
        let missing = acknowledged.iter().find(|it| !sets.contains(&((*it).clone(), vec![1])));
        assert_eq!(missing, None, "was acknowledged and is not at {controller}, which knows {} sets", sets.len());
        assert_eq!(sets, &found[0], "{controller} and {} differ", controllers[0]);
    }
}
