//! Three mqcontroller processes of our own, by the quick start's files.

use super::super::http;
use super::super::quick_start::{Life, Node, Ports, Process, QuickStart, REPLICAS};
use anyhow::{Context, bail};
use client::{Admin, AdminOptions};
use std::path::Path;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer; whatever does is an error.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);
/// What Linux counts processor time in, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Group {
    cluster: QuickStart,
    processes: Vec<Process>,
    pub(super) admin: Admin,
}

impl Group {
    pub(super) async fn start(folder: &Path, programs: &Path) -> anyhow::Result<Group> {
        let cluster = QuickStart::lay_out(folder, programs, Ports::free()?)?;
        let admin = Admin::new(AdminOptions { timeout: Duration::from_secs(10), ..AdminOptions::default() });
        let mut group = Group { cluster, processes: Vec::new(), admin };
        group.start_all()?;
        group.leader().await?;
        Ok(group)
    }

    pub(super) fn start_all(&mut self) -> anyhow::Result<()> {
        self.processes.clear();
        for index in 0..REPLICAS {
            self.processes.push(self.cluster.start(Node::Controller(index), Life::WithUs)?);
        }
        Ok(())
    }

    pub(super) fn kill_all(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Process::kill)
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.cluster.ports.controller_addresses()
    }

    /// Waits for one.
    pub(super) async fn leader(&self) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.admin.controller_leader(&self.addresses().join(";")).await {
                Ok(leader) => return Ok(leader),
                Err(why) if Instant::now() > deadline => return Err(why.into()),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn index(&self, address: &str) -> anyhow::Result<usize> {
        let index = self.addresses().iter().position(|it| it == address);
        index.with_context(|| format!("{address} is none of our controllers"))
    }

    pub(super) fn pid(&self, address: &str) -> anyhow::Result<u32> {
        Ok(self.processes[self.index(address)?].pid())
    }

    pub(super) fn kill(&mut self, address: &str) -> anyhow::Result<()> {
        let index = self.index(address)?;
        self.processes[index].kill()
    }

    /// Starts it again and waits until it knows what the leader has committed.
    pub(super) async fn start_again(&mut self, address: &str) -> anyhow::Result<()> {
        let index = self.index(address)?;
        self.processes[index] = self.cluster.start(Node::Controller(index), Life::WithUs)?;
        let deadline = Instant::now() + PATIENCE;
        let want = committed(&self.leader().await?).await.unwrap_or_default();
        while committed(address).await.is_none_or(|it| it < want) {
            self.processes[index].check_running()?;
            if Instant::now() > deadline {
                bail!("{address} has not caught up within {} s of its restart", PATIENCE.as_secs());
            }
            tokio::time::sleep(10 * POLL).await;
        }
        Ok(())
    }

    /// Bytes that the largest data directory takes on disk.
    pub(super) fn largest_store(&self) -> anyhow::Result<u64> {
        let sizes = (0..REPLICAS).map(|index| {
            let name = Node::Controller(index).name();
            folder_size(&self.cluster.folder.join("data").join(name))
        });
        sizes.collect::<std::io::Result<Vec<_>>>()?.into_iter().max().context("no data directories")
    }
}

/// Index up to which this controller knows the log to be committed.
async fn committed(address: &str) -> Option<u64> {
    let page = http::get(address, "/status.json").await?;
    serde_json::from_slice::<serde_json::Value>(&page).ok()?.get("committedIndex")?.as_u64()
}

fn folder_size(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() { folder_size(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(total)
}

/// Processor time that a process has used so far, in seconds.
pub(super) fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; fields are counted from behind it.
    let fields = stat.rsplit_once(')').map(|it| it.1.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("/proc has no processor times")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_processor_time_grows() {
        let before = processor_seconds(std::process::id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while processor_seconds(std::process::id()).unwrap() <= before {
            assert!(Instant::now() < deadline, "20 s of work do not show");
        }
    }
}
