//! Commands as fast as they are committed: each set's master takes a slave out of its SyncStateSet and back in, one
//! request under way per set.

use super::fleet::{Fleet, REPLICAS, Set};
use anyhow::Context;
use client::Admin;
use proto::Command;
use proto::body::BrokerReplicasInfo;
use proto::code::request;
use std::time::{Duration, Instant};

/// As many as all sets together have to carry out; how long each took.
pub(super) async fn run(fleet: &mut Fleet, commands: usize) -> anyhow::Result<Vec<Duration>> {
    // In pairs, so that all sets are whole at the end.
    let rounds = commands.div_ceil(fleet.sets.len()).next_multiple_of(2);
    let worker = |(n, set): (usize, &Set)| {
        let (set, admin, leader) = (set.clone(), fleet.admin(n).clone(), fleet.leader.clone());
        tokio::spawn(toggle(set, admin, leader, rounds))
    };
    let workers = fleet.sets.iter().enumerate().map(worker).collect::<Vec<_>>();
    let mut took = Vec::with_capacity(rounds * workers.len());
    for (n, worker) in workers.into_iter().enumerate() {
        let (set, some) = worker.await.context("a sender panicked")??;
        fleet.sets[n] = set;
        took.extend(some);
    }
    Ok(took)
}

async fn toggle(mut set: Set, admin: Admin, leader: String, rounds: usize) -> anyhow::Result<(Set, Vec<Duration>)> {
    let slave = if set.master == 1 { 2 } else { 1 };
    let mut took = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let members = (1..=REPLICAS as i64).filter(|it| *it != slave || round % 2 == 1);
        let began = Instant::now();
        let answer = admin.succeed(&leader, set.alter(members)).await?;
        took.push(began.elapsed());
        set.altered(&answer)?;
    }
    Ok((set, took))
}

impl Fleet {
    /// How many sets the leader knows with exactly the epochs that were acknowledged.
    pub(super) async fn still_known(&self, leader: &str) -> anyhow::Result<usize> {
        let names = self.sets.iter().map(|it| &it.name).collect::<Vec<_>>();
        let request = Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(serde_json::to_vec(&names)?);
        let answer = self.admin(0).succeed(leader, request).await?;
        let found: BrokerReplicasInfo = proto::json::from_slice(&answer.body)?;
        let same = |it: &&Set| {
            found.replicas_info_table.get(&it.name).is_some_and(|found| {
                (found.master_epoch, found.sync_state_set_epoch) == (it.epoch, it.sync_state_set_epoch)
            })
        };
        Ok(self.sets.iter().filter(same).count())
    }
}
