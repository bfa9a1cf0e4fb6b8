//! Asks the controllers' leader, whoever that is at the moment, as brokers do.

use super::group::PATIENCE;
use anyhow::bail;
use client::{Admin, AdminOptions};
use parking_lot::Mutex;
use proto::Command;
use proto::code::response;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections, each with many requests under way.
const CONNECTIONS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Asking(Arc<Shared>);

struct Shared {
    admins: Vec<Admin>,
    controllers: String,
    leader: Mutex<String>,
    /// One question at a time who leads, however many requests have failed: more would be the load that they wait for.
    looking: tokio::sync::Mutex<()>,
    next: AtomicUsize,
}

impl Asking {
    pub(super) fn new(controllers: Vec<String>) -> Asking {
        let options = AdminOptions { timeout: TIMEOUT, ..AdminOptions::default() };
        let admins = (0..CONNECTIONS).map(|_| Admin::new(options.clone())).collect();
        let leader = Mutex::new(controllers.first().cloned().unwrap_or_default());
        let (controllers, next) = (controllers.join(";"), AtomicUsize::new(0));
        Asking(Arc::new(Shared { admins, controllers, leader, looking: Default::default(), next }))
    }

    /// Whatever the leader answers. After a failure it is asked again, or the next leader is: repeating a request must
    /// do no harm.
    pub(super) async fn leader(&self, request: Command) -> anyhow::Result<Command> {
        let deadline = Instant::now() + PATIENCE;
        let admin = &self.0.admins[self.0.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS];
        loop {
            let leader = self.0.leader.lock().clone();
            let why = match admin.call(&leader, request.clone()).await {
                Ok(answer) if answer.code != response::CONTROLLER_NOT_LEADER && !is_unknown(&answer) => {
                    return Ok(answer);
                }
                Ok(answer) => answer.remark.unwrap_or_default(),
                Err(why) => why.to_string(),
            };
            if Instant::now() > deadline {
                bail!("request {} was not answered within {} s: {why}", request.code, PATIENCE.as_secs());
            }
            tokio::time::sleep(RETRY).await;
            self.look(admin, &leader).await;
        }
    }

    async fn look(&self, admin: &Admin, failed: &str) {
        let _looking = self.0.looking.lock().await;
        if *self.0.leader.lock() != failed {
            // Somebody else has found the next one meanwhile.
            return;
        }
        if let Ok(found) = admin.controller_leader(&self.0.controllers).await {
            *self.0.leader.lock() = found;
        }
    }
}

/// The leader itself could not tell whether it was committed.
fn is_unknown(answer: &Command) -> bool {
    answer.code == response::SYSTEM_ERROR
}
