//! All masters of a fleet die at once, and how long it takes until every live replica has been told of the next one.

use super::fleet::{Fleet, REPLICAS};
use super::group::PATIENCE;
use super::line::Voice;
use anyhow::{bail, ensure};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Their processes end: connections close, addresses refuse.
    Killed,
    /// They hang: everything stays open and nothing is said any more.
    Silent,
}

/// From the blow, or for a master that fell silent from when its timeout was over, until a replica was told.
pub(super) struct Waits {
    pub(super) median: Duration,
    pub(super) last: Duration,
}

impl Fleet {
    /// Needs hosts of one replica each.
    pub(super) async fn masters_die(&mut self, death: Death) -> anyhow::Result<Waits> {
        ensure!(self.spec.per_host == 1, "a host of several replicas cannot die for one of them");
        let before = self.sets.clone();
        let dead = (0..before.len()).map(|set| self.host_of(set, before[set].master)).collect::<BTreeSet<_>>();
        // What is on its way from before is about older epochs.
        let blow = Instant::now();
        for host in &dead {
            match death {
                Death::Killed => self.hosts[*host].tasks.abort_all(),
                Death::Silent => drop(self.hosts[*host].voice.send_replace(Voice::LastWord)),
            }
        }
        let mut waiting = (0..self.hosts.len()).filter(|it| !dead.contains(it)).collect::<BTreeSet<_>>();
        let mut waits = Vec::with_capacity(waiting.len());
        let deadline = blow + PATIENCE;
        while !waiting.is_empty() {
            let told = tokio::time::timeout_at(deadline.into(), self.told.recv()).await;
            let Ok(Some(told)) = told else {
                bail!("{} replicas were not told of a new master in {} s", waiting.len(), PATIENCE.as_secs());
            };
            let set = told.host / REPLICAS;
            let Some(master) = told.master.filter(|_| told.epoch > before[set].epoch) else { continue };
            if master == before[set].master {
                bail!("{}: its dead master {master} was elected again", before[set].name);
            }
            if waiting.remove(&told.host) {
                let from = match death {
                    Death::Killed => blow,
                    Death::Silent => self.last_word(self.host_of(set, before[set].master)) + self.spec.timeout,
                };
                waits.push(told.at.saturating_duration_since(from));
            }
            let it = &mut self.sets[set];
            if (told.epoch, told.sync_state_set_epoch) > (it.epoch, it.sync_state_set_epoch) {
                (it.master, it.epoch, it.sync_state_set_epoch) = (master, told.epoch, told.sync_state_set_epoch);
            }
        }
        waits.sort_unstable();
        Ok(Waits { median: waits[waits.len() / 2], last: waits[waits.len() - 1] })
    }

    fn last_word(&self, host: usize) -> Instant {
        let micros = self.hosts[host].last_words.iter().map(|it| it.load(Ordering::Relaxed)).max();
        self.since.into_std() + Duration::from_micros(micros.unwrap_or_default())
    }

    /// Those that are not master any more start again as new processes, and every set is whole.
    pub(super) async fn revive(&mut self, dead: &[usize]) -> anyhow::Result<()> {
        for host in dead {
            let opened = self.open(*host).await?;
            self.hosts[*host] = opened;
        }
        self.join(dead).await?;
        self.complete((0..self.sets.len()).collect()).await
    }

    /// Hosts of the present masters.
    pub(super) fn master_hosts(&self) -> Vec<usize> {
        (0..self.sets.len()).map(|set| self.host_of(set, self.sets[set].master)).collect()
    }
}
