//! The connection to the master, opened before it is needed: requests are sent over it in the order in which they are
//! handed to it.

use ha::{Role, RoleState};
use node::remoting::{Client, ClientConnection};
use proto::Epoch;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A master that was just elected, or restarted, listens soon.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// An open connection to the master of an epoch.
#[derive(Clone)]
pub(super) struct Link {
    pub epoch: Epoch,
    pub connection: Arc<ClientConnection>,
}

impl Link {
    pub fn is_open_at(&self, epoch: Epoch) -> bool {
        self.epoch == epoch && !self.connection.is_closed()
    }

    pub fn is_same(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.connection, &other.connection)
    }
}

/// Where the master is, and at which epoch.
fn master(role: &mut watch::Receiver<RoleState>) -> Option<(Epoch, String)> {
    let role = role.borrow_and_update();
    match &role.role {
        Role::Slave { master } => Some((role.master_epoch, master.address.clone())),
        _ => None,
    }
}

/// Publishes the link to each master in turn, until stopped.
pub(super) async fn keep(
    mut role: watch::Receiver<RoleState>,
    client: Client,
    link: watch::Sender<Option<Link>>,
    stop: CancellationToken,
) {
    let kept = async {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some((epoch, address)) = master(&mut role) else {
                link.send_replace(None);
                if role.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let at = (epoch, address);
            // A host that is gone does not even refuse: the next master is not to wait for that.
            let opened = tokio::select! {
                opened = client.connection(&at.1) => opened,
                () = changes(&mut role, &at) => continue,
            };
            match opened {
                Ok(connection) => {
                    pause = FIRST_PAUSE;
                    link.send_replace(Some(Link { epoch, connection: connection.clone() }));
                    tokio::select! {
                        () = changes(&mut role, &at) => {}
                        () = connection.closed() => {}
                    }
                    link.send_replace(None);
                }
                Err(error) => {
                    tracing::debug!(%error, epoch, "no connection to the master yet");
                    tokio::select! {
                        () = changes(&mut role, &at) => pause = FIRST_PAUSE,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(kept).await;
}

/// Ends when the master is another one, or of another epoch; never while this replica ends.
async fn changes(role: &mut watch::Receiver<RoleState>, at: &(Epoch, String)) {
    loop {
        if role.changed().await.is_err() {
            return std::future::pending().await;
        }
        if master(role).as_ref() != Some(at) {
            return;
        }
    }
}
