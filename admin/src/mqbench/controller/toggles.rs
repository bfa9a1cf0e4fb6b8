//! Commands as fast as they are committed: each set's master takes a slave out of its SyncStateSet and back in, one
//! request under way per set.

use super::asking::Asking;
use super::fleet::{Fleet, REPLICAS};
use super::group::PATIENCE;
use super::set::Set;
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const RETRY: Duration = Duration::from_millis(20);

/// As many as all sets together have to carry out; how long each took.
pub(super) async fn run(fleet: &mut Fleet, commands: usize) -> anyhow::Result<Vec<Duration>> {
    // In pairs, so that all sets are whole at the end.
    let rounds = commands.div_ceil(fleet.sets.len()).next_multiple_of(2);
    let workers = fleet.sets.iter().map(|set| tokio::spawn(toggle(set.clone(), fleet.asking(), rounds)));
    let workers = workers.collect::<Vec<_>>();
    let mut took = Vec::with_capacity(rounds * workers.len());
    for (n, worker) in workers.into_iter().enumerate() {
        let (set, some) = worker.await.context("a sender panicked")??;
        fleet.sets[n] = set;
        took.extend(some);
    }
    Ok(took)
}

async fn toggle(mut set: Set, asking: Asking, rounds: usize) -> anyhow::Result<(Set, Vec<Duration>)> {
    let slave = if set.master == 1 { 2 } else { 1 };
    let mut took = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let members = (1..=REPLICAS as i64).filter(|it| *it != slave || round % 2 == 1).collect::<BTreeSet<_>>();
        let began = Instant::now();
        while !set.alter(&asking, members.clone()).await? {
            ensure!(began.elapsed() < PATIENCE, "{} was not altered in {} s", set.name, PATIENCE.as_secs());
            tokio::time::sleep(RETRY).await;
        }
        took.push(began.elapsed());
    }
    Ok((set, took))
}

impl Fleet {
    /// How many sets the controllers know with exactly the epochs that were acknowledged.
    pub(super) async fn still_known(&self) -> anyhow::Result<usize> {
        let mut known = 0;
        for set in &self.sets {
            let mut found = set.clone();
            let members = found.look(&self.asking()).await?;
            let same = (found.epoch, found.sync_state_set_epoch) == (set.epoch, set.sync_state_set_epoch);
            known += usize::from(same && members.len() == REPLICAS);
        }
        Ok(known)
    }
}
