//! Where made-up brokers listen: takes the notifications (1008) of who is master now.

use bytes::BytesMut;
use proto::Command;
use proto::code::request;
use proto::header::NotifyBrokerRoleChangedRequest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A host was told who is master of its set.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) host: usize,
    pub(super) master: Option<i64>,
    pub(super) epoch: i32,
    pub(super) sync_state_set_epoch: i32,
    pub(super) at: Instant,
}

/// The newest epoch that a host knows, by the name of the set.
pub(super) type Known = BTreeMap<String, Arc<AtomicI32>>;

/// Accepts until dropped, and with it every connection it has accepted.
pub(super) async fn listen(host: usize, listener: TcpListener, known: Known, told: mpsc::UnboundedSender<Told>) {
    let known = Arc::new(known);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(hear(host, stream, known.clone(), told.clone()))),
                // No descriptor left: others may close theirs first.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A probe of the controller's closes without a word.
async fn hear(host: usize, mut stream: TcpStream, known: Arc<Known>, told: mpsc::UnboundedSender<Told>) {
    let mut buffer = BytesMut::new();
    loop {
        match Command::decode(&mut buffer) {
            Ok(Some(command)) => {
                // Nobody listens any more when the measurement is over.
                let _ = read(host, &command, &known).map(|it| told.send(it));
            }
            Ok(None) if matches!(stream.read_buf(&mut buffer).await, Ok(read) if read > 0) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn read(host: usize, command: &Command, known: &Known) -> Option<Told> {
    let it: NotifyBrokerRoleChangedRequest =
        command.header().ok().filter(|_| command.code == request::NOTIFY_BROKER_ROLE_CHANGED)?;
    let (master, epoch, sync_state_set_epoch) = (it.master_broker_id, it.master_epoch?, it.sync_state_set_epoch?);
    known.get(&it.broker_name?)?.fetch_max(epoch, Ordering::Relaxed);
    Some(Told { host, master, epoch, sync_state_set_epoch, at: Instant::now() })
}
