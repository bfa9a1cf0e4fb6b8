//! The end of a run: everything that went wrong, whatever else went wrong before, and the table of faults.

use super::Chaos;
use super::errors::unannounced;
use super::faults::FAULTS;
use super::servers::Servers;
use baton_tests::history::{Account, History};
use baton_tests::{Load, loudly};
use std::sync::Arc;
use std::time::Duration;

/// So many complaints are shown of servers that are not ours.
const SHOWN: usize = 40;

impl Chaos {
    /// Every message, every byte, every line of every log. Fails with every complaint.
    pub fn judge(mut self, seed: u64, took: Duration) {
        // After a round that did not come to its end.
        self.round = None;
        self.attempt(Chaos::end_faults);
        self.attempt(Chaos::becomes_whole);
        let histories = self.stop_loads();
        let ours = self.judge_histories(&histories);
        self.judge_consumers();
        self.judge_applications();
        self.attempt(Chaos::judge_logs);
        self.attempt(Chaos::judge_errors);
        let elections = self.cluster.replicas().map_or(0, |it| it.master_epoch);
        let still = histories.iter().map(|it| it.stood_still()).max().unwrap_or_default();
        let summary = format!(
            "seed {seed}, {took:.0?}, {elections} elections, {} of ours lost of {}, no acknowledgement for {still:.1?} \
             in all",
            ours.lost, ours.acknowledged
        );
        loudly(&self.table(&summary));
        let wrong = std::mem::take(&mut self.wrong);
        match self.servers {
            Servers::Ours => assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n")),
            Servers::Java => {
                self.cluster.keep_if_asked();
                let text = wrong.iter().take(SHOWN).map(|it| format!("\n  {it}")).collect::<String>();
                loudly(&format!("helped {} times; {} complaints{text}", self.helped, wrong.len()));
            }
        }
    }

    fn stop_loads(&mut self) -> Vec<Arc<History>> {
        let loads = std::mem::take(&mut self.loads);
        let histories = loads.iter().map(|it| it.history.clone()).collect();
        loads.into_iter().for_each(|it| _ = self.attempt(|_| Load::stop(it)));
        histories
    }

    fn judge_histories(&mut self, histories: &[Arc<History>]) -> Account {
        let nameserver = self.cluster.nameserver().to_owned();
        let mut all = Account::default();
        for history in histories {
            if let Some((account, wrong)) = self.attempt(|_| history.judge(&nameserver)) {
                loudly(&format!("{}: {account:?}", history.topic));
                self.wrong.extend(wrong);
                all.add(account);
            }
        }
        all
    }

    fn judge_consumers(&mut self) {
        let nameserver = self.cluster.nameserver().to_owned();
        for readers in std::mem::take(&mut self.readers) {
            let found = self.attempt(|_| readers.judge(&nameserver));
            self.wrong.extend(found.unwrap_or_default());
        }
    }

    fn judge_applications(&mut self) {
        if let Some(applications) = self.applications.take() {
            let judged = self.attempt(|it| applications.judge(&it.cluster));
            let (said, found) = judged.unwrap_or_default();
            said.iter().for_each(|it| loudly(it));
            self.wrong.extend(found);
        }
    }

    /// Nobody sends any more: all replicas have the same bytes, and the same history of epochs.
    fn judge_logs(&mut self) {
        let differences = self.cluster.log_differences();
        self.wrong.extend(differences);
    }

    /// Errors that nobody announced, and processes that have ended though nobody stopped them.
    fn judge_errors(&mut self) {
        if self.servers == Servers::Java {
            return;
        }
        let announced = std::mem::take(&mut self.announced);
        for node in self.cluster.nodes_mut() {
            let log = std::fs::read(node.log()).unwrap_or_default();
            let expected = announced.get(&node.name).map_or(&[][..], Vec::as_slice);
            self.wrong.extend(unannounced(&log, expected).into_iter().map(|it| format!("{}: {it}", node.name)));
            if node.has_ended_by_itself() {
                self.wrong.push(format!("{} has ended by itself", node.name));
            }
        }
    }

    fn table(&mut self, summary: &str) -> String {
        let faults: usize = self.told.values().map(|it| it.times).sum();
        let struck: u64 = self.cluster.nodes_mut().map(|it| it.interposed().struck()).sum();
        let mut table = format!("chaos: {summary}; {faults} faults, {struck} writes and syncs failed or late\n");
        table += &format!("{:<38} {:>5} {:>24} {:>20}\n", "fault", "times", "longest without an ack", "longest repair");
        for fault in FAULTS {
            if let Some(it) = self.told.get(fault.name) {
                let (gap, repair) = (format!("{:.1?}", it.longest_gap), format!("{:.1?}", it.longest_repair));
                table += &format!("{:<38} {:>5} {gap:>24} {repair:>20}\n", fault.name, it.times);
            }
        }
        table
    }
}
