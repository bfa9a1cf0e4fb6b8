//! The rules of docs/SAFETY.md as checks over what everybody did. The judge sees all disks at once; nobody else does.
//!
//! ```text
//! S1        committed, leads                     one master per epoch, epochs grow, controllers agree
//! S2        promised, leads, copied, confirms,   nothing older than a promise, no epoch twice
//!           process_started
//!           acts_upon                            promises are on disk first
//! S3        judge_acknowledgement                every member of the set has it
//!           judge_confirm, readers::consumed     what may be read, and is, is the same for ever
//!           judge_members, committed             masters wait for all members, sets are compared before they are taken
//! S4, S5    judge_acknowledgement                so many copies, and nobody else is master
//! S5        proof::{trusts_lease,                no lease is longer than its controller waits, or of a deposed one
//!             answers_as_leader}
//! S6, S14   proof::judge_change, moves           only silent or dead masters are replaced unasked
//! S7        committed, the end                   who is elected may be, and has what is acknowledged
//!           java::judge_java                     one of RocketMQ's, too
//! S8        failsafe::goes_on                    an undisturbed strict master acknowledges
//! S9        judge_the_end; broker/follow.rs      bytes come where the log ends, logs are the same
//!           history::says                        histories say who wrote what, and end where the log does
//! S10       moves::judge_move                    a target that leads as planned has everything; S3, S5 meanwhile
//!           moves::may_move; requests.rs         meanwhile a lease counts for nothing, and none is granted
//! S11, S12  judge_flush, judge_confirm           what counts is on disk, readers see whole messages
//! S13       readers::serves, offset_told
//! S14       world/end.rs: judge_healing          a master in time, a whole set in time
//! the end   judge_the_end, readers::judge_delivery
//! ```

mod bytes;
mod disks;
mod end;
mod failsafe;
mod history;
mod java;
mod moves;
mod proof;
mod readers;

use crate::broker::Broker;
use crate::faults::Profile;
use crate::packet::{Cell, SetId};
use bytes::Agreement;
use controller::replicas::BrokerSet;
use proto::{BrokerId, Epoch, Offset};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

/// What the controllers have committed about the set, by the newest revision anybody has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub revision: u64,
    pub epoch: Epoch,
    pub master: Option<BrokerId>,
    pub set: BTreeSet<BrokerId>,
    pub set_epoch: i32,
    pub eligible: BTreeSet<BrokerId>,
}

/// To be judged when the step is over.
enum Claim {
    Confirms {
        broker: usize,
        /// The epoch that it is master of.
        master: Option<Epoch>,
        end: Offset,
    },
    Acknowledges {
        broker: usize,
        epoch: Epoch,
        message: u32,
        end: Offset,
    },
    /// The controllers have replaced the process of this replica because it is dead by proof.
    Died {
        id: BrokerId,
        boot_id: Option<String>,
    },
    /// One of RocketMQ's begins an epoch.
    JavaLeads {
        broker: usize,
        epoch: Epoch,
    },
    /// A slave has compared its history with its master's, and cut its log.
    Compared {
        slave: usize,
        master: usize,
        /// Which a slave of RocketMQ's does not know.
        epoch: Option<Epoch>,
    },
    /// It begins an epoch that was planned.
    TakesOver {
        broker: usize,
        after: Epoch,
    },
}

/// What is true about one broker set.
pub struct Truth {
    /// The first one is told: what follows may be its consequence.
    pub violation: Option<Violation>,
    /// Its replicas, among all brokers.
    replicas: Range<usize>,
    strict: bool,
    sync_flush: bool,
    copies: usize,
    claims: Vec<Claim>,
    /// By epoch: who was elected, who acted upon it and in which life.
    elected: BTreeMap<Epoch, BrokerId>,
    led: BTreeMap<Epoch, (usize, u32)>,
    revisions: BTreeMap<u64, Committed>,
    /// By masters: at which epoch, over which version, what set.
    proposed: BTreeSet<(Epoch, i32, BTreeSet<BrokerId>)>,
    pub newest: Option<Committed>,
    lives: Vec<u32>,
    promised: Vec<Epoch>,
    /// What every reader has to agree upon.
    confirmed: Vec<Cell>,
    /// Up to where each broker's log has been compared with it.
    compared: Vec<usize>,
    agreement: Agreement,
    pub acknowledged: Vec<u32>,
    /// Of the newest epoch in which anything was acknowledged: by whom, and up to where.
    top: Option<(Epoch, usize, usize)>,
    /// The epoch whose master has said last that it is drained, and when.
    drained: Option<(Epoch, u64)>,
    /// Acknowledged messages in the order in which clients, who wait for each, learned of it.
    pub heard: Vec<u32>,
    pub elections: u64,
    /// Epochs of planned changes (S10).
    planned: BTreeSet<Epoch>,
    /// Replicas that controllers have taken out of the set because they were dead.
    found_dead: BTreeSet<BrokerId>,
    /// Replicas whose disks are gone for good.
    pub gone: BTreeSet<BrokerId>,
    pub readers: readers::Readers,
    proof: proof::Proof,
    proof_of_death: bool,
    pub java: java::JavaTerms,
    /// When something was acknowledged last.
    acknowledged_at: u64,
}

impl Truth {
    pub fn new(profile: &Profile, set: SetId) -> Truth {
        let (replicas, brokers, copies) = (profile.brokers_of(set), profile.brokers(), profile.copies);
        Truth {
            replicas,
            violation: None,
            strict: copies == 0,
            sync_flush: profile.sync_flush,
            copies,
            claims: Vec::new(),
            elected: BTreeMap::new(),
            led: BTreeMap::new(),
            revisions: BTreeMap::new(),
            proposed: BTreeSet::new(),
            newest: None,
            lives: vec![0; brokers],
            promised: vec![0; brokers],
            confirmed: Vec::new(),
            compared: vec![0; brokers],
            agreement: Agreement::new(brokers),
            acknowledged: Vec::new(),
            top: None,
            drained: None,
            heard: Vec::new(),
            elections: 0,
            planned: BTreeSet::new(),
            found_dead: BTreeSet::new(),
            gone: BTreeSet::new(),
            readers: readers::Readers::default(),
            proof: proof::Proof::default(),
            proof_of_death: profile.proof_of_death,
            java: java::JavaTerms::default(),
            acknowledged_at: 0,
        }
    }

    pub fn fail(&mut self, rule: &'static str, what: String) {
        self.violation.get_or_insert(Violation { rule, what });
    }

    // ---- what brokers do

    /// S2: it is bound by what the processes before it have promised.
    pub fn process_started(&mut self, broker: usize, life: u32, bound_by: Epoch) {
        self.lives[broker] = life;
        let promised = self.promised[broker];
        if bound_by < promised {
            self.fail("S2", format!("B{} starts and has forgotten its promise of epoch {promised}", broker + 1));
        }
    }

    /// S2: a promise outlives the process that made it.
    pub fn promised(&mut self, broker: usize, epoch: Epoch) {
        self.acts(broker, epoch, "promises itself");
        self.promised[broker] = self.promised[broker].max(epoch);
    }

    /// S2: a promise is on disk before it is acted upon.
    pub fn acts_upon(&mut self, broker: usize, epoch: Epoch, on_disk: Epoch) {
        if on_disk < epoch {
            let why = format!("B{} acts upon epoch {epoch}, its disk knows of {on_disk}", broker + 1);
            self.fail("S2", why);
        }
    }

    /// S1 and S2: an epoch is led by one process, once.
    pub fn leads(&mut self, broker: usize, epoch: Epoch) {
        let now = (broker, self.lives[broker]);
        if let Some(before) = self.led.insert(epoch, now) {
            match before.0 == broker {
                true if before.1 != now.1 => self.fail("S2", format!("B{} resumes epoch {epoch}", broker + 1)),
                true => {}
                false => self.fail("S1", format!("B{} and B{} lead epoch {epoch}", before.0 + 1, broker + 1)),
            }
        }
        self.acts(broker, epoch, "leads");
        self.java_is_followed(epoch);
        if self.planned.contains(&epoch) {
            self.claims.push(Claim::TakesOver { broker, after: epoch - 1 });
        }
    }

    /// S2: bytes came in over a link of this epoch.
    pub fn copied(&mut self, broker: usize, epoch: Epoch) {
        self.acts(broker, epoch, "takes bytes");
    }

    fn acts(&mut self, broker: usize, epoch: Epoch, does: &str) {
        let promised = self.promised[broker];
        if epoch < promised {
            self.fail("S2", format!("B{} {does} at epoch {epoch}, it has promised {promised}", broker + 1));
        }
    }

    pub fn confirms(&mut self, broker: usize, master: Option<Epoch>, end: Offset) {
        if let Some(epoch) = master {
            self.acts(broker, epoch, "confirms");
        }
        self.claims.push(Claim::Confirms { broker, master, end });
    }

    pub fn acknowledges(&mut self, now: u64, broker: usize, epoch: Option<Epoch>, message: u32, end: Offset) {
        self.acknowledged_at = now;
        match epoch {
            Some(epoch) => self.claims.push(Claim::Acknowledges { broker, epoch, message, end }),
            None => self.fail("S2", format!("B{} acknowledges and is not master", broker + 1)),
        }
    }

    pub fn proposes(&mut self, epoch: Epoch, version: i32, set: &BTreeSet<BrokerId>) {
        self.proposed.insert((epoch, version, set.clone()));
    }

    // ---- what controllers do

    /// S1, and that the controllers agree.
    pub fn committed(&mut self, controller: usize, set: &BrokerSet) {
        if self.newest.as_ref().is_none_or(|newest| newest.revision < set.revision) {
            self.judge_changes(set);
        }
        let it = Committed {
            revision: set.revision,
            epoch: set.master_epoch,
            master: set.master,
            set: set.sync_state_set.clone(),
            set_epoch: set.sync_state_set_epoch,
            eligible: set.eligible.clone(),
        };
        if let Some(known) = self.revisions.get(&it.revision) {
            if *known != it {
                self.fail("Raft", format!("C{} applied {it:?}, another one {known:?}", controller + 1));
            }
            return;
        }
        if let Some(master) = it.master {
            let before = self.elected.insert(it.epoch, master);
            if before.is_none() {
                self.elections += 1;
            }
            if let Some(before) = before.filter(|it| *it != master) {
                self.fail("S1", format!("epoch {} has masters {before} and {master}", it.epoch));
            }
            if before.is_none() {
                self.claim_reason(set);
                self.judge_elected(master, it.epoch);
            }
        }
        if let Some(newest) = self.newest.as_ref().filter(|newest| newest.revision < it.revision) {
            let (was, is) = ((newest.epoch, newest.set_epoch), (it.epoch, it.set_epoch));
            let grows = !it.set.is_subset(&newest.set);
            if is.0 < was.0 || is.1 < was.1 {
                self.fail("S1", format!("epochs go back from {was:?} to {is:?}"));
            } else if is == (was.0, was.1 + 1) && grows && !self.proposed.contains(&(is.0, was.1, it.set.clone())) {
                let why = format!("nobody proposed {:?} over version {} of epoch {}", it.set, was.1, was.0);
                self.fail("S3", why);
            }
        }
        if self.newest.as_ref().is_none_or(|newest| newest.revision < it.revision) {
            self.newest = Some(it.clone());
        }
        self.revisions.insert(it.revision, it);
    }

    /// S7: whoever is elected was a member, or is known to lack nothing.
    fn judge_elected(&mut self, master: BrokerId, epoch: Epoch) {
        let Some(before) = self.newest.as_ref().filter(|it| it.epoch > 0) else { return };
        if !before.set.contains(&master) && !before.eligible.contains(&master) {
            let why =
                format!("replica {master} is elected at epoch {epoch}, of {:?} and {:?}", before.set, before.eligible);
            self.fail("S7", why);
        }
    }

    pub fn found_dead(&mut self, ids: &BTreeSet<BrokerId>) {
        self.found_dead.extend(ids);
    }

    // ---- judging

    fn of<'a>(&self, brokers: &'a [Broker]) -> &'a [Broker] {
        &brokers[self.replicas.clone()]
    }

    /// Whether what this broker confirms is promised by a master of ours. A slave has promised the epoch of the master
    /// that it believes.
    fn is_promised(&self, broker: usize, master: Option<Epoch>) -> bool {
        self.java.promises(master.unwrap_or(self.promised[broker]))
    }

    /// After every step.
    pub fn judge(&mut self, brokers: &mut [Broker]) {
        if self.claims.is_empty() {
            return;
        }
        for broker in &mut brokers[self.replicas.clone()] {
            let unchanged = std::mem::replace(&mut broker.disk.unjudged, usize::MAX);
            if unchanged < usize::MAX {
                self.compared[broker.index] = self.compared[broker.index].min(unchanged);
                self.agreement.forget(broker.index, unchanged);
            }
        }
        for claim in std::mem::take(&mut self.claims) {
            match claim {
                Claim::Confirms { broker, master, end } if self.strict && self.is_promised(broker, master) => {
                    self.judge_confirm(&brokers[broker], master, end);
                    self.judge_members(&brokers[broker], master);
                }
                Claim::Confirms { .. } => {}
                Claim::Acknowledges { epoch, .. } if !self.java.promises(epoch) => {}
                Claim::Acknowledges { broker, epoch, message, end } => {
                    self.judge_flush(brokers, broker, epoch, end);
                    self.judge_acknowledgement(brokers, broker, epoch, end);
                    self.acknowledged.push(message);
                    // A late one of an older epoch is nothing that a planned change of this one hands over.
                    if self.top.is_none_or(|it| it.0 <= epoch) {
                        let before = self.top.filter(|it| it.0 == epoch).map_or(0, |it| it.2);
                        self.top = Some((epoch, broker, before.max(end as usize)));
                    }
                }
                Claim::Died { id, boot_id } => self.judge_death(brokers, id, boot_id.as_deref()),
                Claim::JavaLeads { broker, epoch } => self.judge_java(brokers, broker, epoch),
                Claim::Compared { slave, master, epoch } => {
                    self.judge_comparison(&brokers[slave], &brokers[master], epoch);
                }
                Claim::TakesOver { broker, after } => self.judge_move(brokers, broker, after),
            }
        }
    }
}
