//! The rules of docs/SAFETY.md as checks over what everybody did. The judge sees all disks at once; nobody else does.
//!
//! ```text
//! S1        committed, leads                     one master per epoch, epochs grow, controllers agree
//! S2        promised, leads, copied, confirms    nothing older than a promise, no epoch twice
//!           acts_upon                            promises are on disk first
//! S3        judge_acknowledgement                every member of the set has it
//!           judge_confirm, readers::consumed     what may be read, and is, is the same for ever
//!           judge_members, committed             masters wait for all members, sets are compared before they are taken
//! S4, S5    judge_acknowledgement                so many copies, and nobody else is master
//! S5        proof::{trusts_lease,                no lease is longer than its controller waits, or of a deposed one
//!             answers_as_leader}
//! S6, S14   proof::judge_change                  only silent or dead masters are replaced unasked
//! S7        judge_acknowledgement, the end       who is elected has what is acknowledged
//! S8        failsafe::goes_on                    an undisturbed strict master acknowledges
//! S9        judge_the_end; broker/follow.rs      bytes come where the log ends, logs are the same
//!           history::says                        histories say who wrote what, and end where the log does
//! S10       judge_move, judge_acknowledgement    planned changes lose nothing; requests.rs: and no lease hides them
//! S11, S12  judge_acknowledgement, judge_confirm what counts is on disk, readers see whole messages
//! S13       readers::serves, offset_clamped
//! S14       world.rs: judge_healing              a master in time, a whole set in time
//! the end   judge_the_end, readers::judge_delivery
//! ```

mod failsafe;
mod history;
mod proof;
mod readers;

use crate::broker::Broker;
use crate::faults::Profile;
use crate::packet::{Cell, SetId};
use controller::replicas::{BrokerSet, Cause};
use proto::{BrokerId, Epoch, Offset};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// For so long an election that was planned may still be committed, whatever its master hears (S10); less than
/// `DOUBT_MS`, which a slow clock counts.
const MAY_MOVE_US: u64 = 9_000_000;

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
    /// It begins an epoch that was planned.
    TakesOver {
        broker: usize,
        after: Epoch,
    },
}

/// Up to where the logs of two replicas have been found to be the same, so that each byte is compared once.
struct Agreement {
    same: Vec<Vec<usize>>,
}

impl Agreement {
    /// This broker's log may have changed above `unchanged`.
    fn forget(&mut self, broker: usize, unchanged: usize) {
        for other in 0..self.same.len() {
            self.same[broker][other] = self.same[broker][other].min(unchanged);
            self.same[other][broker] = self.same[other][broker].min(unchanged);
        }
    }

    /// Whether this replica's log is the same as `own` up to `end`. Nothing if nobody is that replica.
    fn holds(&mut self, replicas: &[Broker], own: &Broker, id: BrokerId, end: usize) -> Option<bool> {
        let it = replicas.iter().find(|it| it.identity() == Some(id))?;
        let (log, expected) = (&it.disk.log, &own.disk.log);
        let known = self.same[own.index][it.index].min(end);
        let same = log.len() >= end && log[known..end] == expected[known..end];
        if same {
            self.same[own.index][it.index] = self.same[own.index][it.index].max(end);
            self.same[it.index][own.index] = self.same[own.index][it.index];
        }
        // A replica that has lost its memory loses its place when it says so; meanwhile nobody elects it.
        Some(same || it.disk.host_restarted || (it.process.is_none() && it.disk.log.len() == it.disk.flushed))
    }
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
            agreement: Agreement { same: vec![vec![0; brokers]; brokers] },
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

    /// It has told a controller so, which may elect another master from now on.
    pub fn drained(&mut self, epoch: Epoch, now: u64) {
        self.drained = Some((epoch, now));
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

    pub fn found_dead(&mut self, ids: &BTreeSet<BrokerId>) {
        self.found_dead.extend(ids);
    }

    /// What an election's cause says is to be true.
    fn claim_reason(&mut self, set: &BrokerSet) {
        let Some(change) = set.history.back().filter(|it| it.epoch == set.master_epoch) else { return };
        match (&change.cause, change.from) {
            (Cause::Switchover { .. } | Cause::Preferred { .. }, _) => {
                self.planned.insert(set.master_epoch);
            }
            (Cause::ConnectionClosedAndRefused, Some(id)) => {
                let boot_id = set.replicas.get(&id).and_then(|it| it.boot_id.clone());
                self.claims.push(Claim::Died { id, boot_id });
            }
            _ => {}
        }
    }

    // ---- judging

    fn of<'a>(&self, brokers: &'a [Broker]) -> &'a [Broker] {
        &brokers[self.replicas.clone()]
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
                Claim::Confirms { broker, master, end } if self.strict => {
                    self.judge_confirm(&brokers[broker], end);
                    self.judge_members(&brokers[broker], master);
                }
                Claim::Confirms { .. } => {}
                Claim::Acknowledges { broker, epoch, message, end } => {
                    self.judge_acknowledgement(brokers, broker, epoch, end);
                    self.acknowledged.push(message);
                    let before = self.top.filter(|it| it.0 >= epoch).map_or((epoch, 0), |it| (it.0, it.2));
                    self.top = Some((before.0, broker, before.1.max(end as usize)));
                }
                Claim::Died { id, boot_id } => self.judge_death(brokers, id, boot_id.as_deref()),
                Claim::TakesOver { broker, after } => self.judge_move(brokers, broker, after),
            }
        }
    }

    /// S6: proof is proof, however bad the network.
    fn judge_death(&mut self, brokers: &[Broker], id: BrokerId, boot_id: Option<&str>) {
        let alive = |it: &&Broker| it.identity() == Some(id) && it.boot_id().is_some() && it.boot_id() == boot_id;
        if let Some(it) = self.of(brokers).iter().find(alive) {
            self.fail("S6", format!("B{} is replaced as dead by proof, and lives", it.index + 1));
        }
    }

    /// S10: in either profile a planned change loses nothing. It is judged when the target leads: one whose host loses
    /// power after the drain never does, it comes back as one that may lack something and another is elected. A master
    /// that lost its memory meanwhile proves nothing.
    fn judge_move(&mut self, brokers: &[Broker], to: usize, after: Epoch) {
        let Some((_, from, end)) = self.top.filter(|it| it.0 == after) else { return };
        let (had, has) = (&brokers[from].disk.log, &brokers[to].disk.log);
        if had.len() >= end && (has.len() < end || had[..end] != has[..end]) {
            let why = format!("B{} takes over as planned, and lacks what was acknowledged up to {end}", to + 1);
            self.fail("S10", why);
        }
    }

    /// S3: what readers may see is the same everywhere and for ever.
    fn judge_confirm(&mut self, broker: &Broker, end: Offset) {
        let log = &broker.disk.log;
        let mut end = (end.max(0) as usize).min(log.len());
        // Readers see whole messages only.
        while end > 0 && log[end - 1].part + 1 != log[end - 1].parts {
            end -= 1;
        }
        let from = self.compared[broker.index].min(end);
        let known = end.min(self.confirmed.len());
        if let Some(at) = (from..known).find(|at| log[*at] != self.confirmed[*at]) {
            let (is, was) = (log[at].message, self.confirmed[at].message);
            let why = format!("B{} confirms message {is} at {at}, where message {was} was confirmed", broker.index + 1);
            return self.fail("S3", why);
        }
        let follows = |at: usize| match (at.checked_sub(1).map(|before| log[before]), log[at]) {
            (Some(before), it) if it.part > 0 => (before.message, before.part + 1) == (it.message, it.part),
            (before, it) => it.part == 0 && before.is_none_or(|before| before.part + 1 == before.parts),
        };
        if let Some(at) = (from..end).find(|at| !follows(*at)) {
            let why =
                format!("B{} confirms message {} at {at}, in the middle of another", broker.index + 1, log[at].message);
            return self.fail("S12", why);
        }
        if end > self.confirmed.len() {
            self.confirmed.extend_from_slice(&log[self.confirmed.len()..end]);
        }
        self.compared[broker.index] = end;
    }

    /// S3: a master waits for all who may be members: as long as nobody else is elected, for those who are.
    fn judge_members(&mut self, broker: &Broker, master: Option<Epoch>) {
        let leading = broker.process.as_ref().and_then(|it| it.leading.as_ref());
        let Some(leading) = leading.filter(|it| Some(it.epoch) == master) else { return };
        let Some(newest) = self.newest.as_ref().filter(|it| it.epoch == leading.epoch) else { return };
        let counted: BTreeSet<BrokerId> = leading.core.in_sync().maximal().collect();
        if let Some(id) = newest.set.difference(&counted).next() {
            let (broker, version) = (broker.index + 1, newest.set_epoch);
            let why = format!("B{broker} does not wait for replica {id}, a member by version {version} of its set");
            self.fail("S3", why);
        }
    }

    /// S11: each that counts has it on disk. S3: every member has it. S4, S5: enough have it, and nobody else is master yet.
    fn judge_acknowledgement(&mut self, brokers: &[Broker], broker: usize, epoch: Epoch, end: Offset) {
        let Some(newest) = &self.newest else { return };
        let (own, replicas, end) = (&brokers[broker], &brokers[self.replicas.clone()], end as usize);
        let in_memory = |it: &&Broker| {
            let counts = it.index == broker
                || self.strict && newest.epoch == epoch && it.identity().is_some_and(|id| newest.set.contains(&id));
            counts && it.process.is_some() && it.disk.log.len() >= end && it.disk.flushed < end
        };
        if let Some(it) = replicas.iter().find(in_memory).filter(|_| self.sync_flush) {
            let why = format!("B{} acknowledges {end}, on B{}'s disk is {}", broker + 1, it.index + 1, it.disk.flushed);
            return self.fail("S11", why);
        }
        let mut holds = |id: BrokerId| match self.gone.contains(&id) {
            // What it had was lost later, or is somebody's fault who may not lose it.
            true => Some(true),
            false => self.agreement.holds(replicas, own, id, end),
        };
        if self.strict {
            let lacking = match newest.epoch == epoch {
                true => newest.set.iter().find(|id| holds(**id) == Some(false)),
                false => newest.master.iter().find(|id| holds(**id) == Some(false)),
            };
            if let Some(id) = lacking {
                let why = format!("B{} acknowledges {end} at epoch {epoch}, replica {id} lacks it", broker + 1);
                self.fail("S3", why);
            }
            return;
        }
        let holders = newest.set.iter().filter(|id| holds(**id) == Some(true)).count();
        let all = holders == newest.set.len();
        let moves = self.drained.is_some_and(|it| it.0 == epoch && self.acknowledged_at < it.1 + MAY_MOVE_US);
        if moves && newest.epoch == epoch && !all {
            let (broker, members) = (broker + 1, newest.set.len());
            let why = format!("B{broker} acknowledges what {holders} of {members} have, and may be replaced as planned");
            return self.fail("S10", why);
        }
        if newest.epoch > epoch && !all {
            let why = format!("B{} acknowledges at epoch {epoch}, epoch {} is elected", broker + 1, newest.epoch);
            return self.fail("S5", why);
        }
        // Where the whole set has it, whoever is elected does: a copy outside it, on a replica that left while its
        // master could not hear of it (S8), is one, too.
        let copies = match all {
            // A member whose disk was exchanged meanwhile is nobody's identity any more, and had it.
            true => {
                let them = replicas.iter().filter_map(Broker::identity);
                holders.max(them.filter(|id| holds(*id) == Some(true)).count())
            }
            // So is one on a replica that the controllers found dead and took out on their own account, as long as the
            // master has not heard of that: S4 promises copies, and a lease binds the controllers to the master only.
            false => {
                let unheard = own.process.as_ref().and_then(|it| it.leading.as_ref()).map_or(0, |it| {
                    let known = it.core.in_sync().committed().intersection(&self.found_dead);
                    known.filter(|id| !newest.set.contains(id) && holds(**id) == Some(true)).count()
                });
                holders + unheard
            }
        };
        if newest.epoch == epoch && copies < self.copies {
            let why = format!("B{} acknowledges with {copies} copies of {}", broker + 1, self.copies);
            self.fail("S4", why);
        }
    }

    /// May this host lose everything above `kept`? With asynchronous flush a replica whose host has restarted loses its
    /// place, whatever it kept, so one member that is in no doubt has to have all that was confirmed: machines that
    /// fail together are not promised anything.
    pub fn may_lose_power(&self, brokers: &[Broker], broker: usize, kept: usize) -> bool {
        let Some(newest) = &self.newest else { return true };
        let until = self.confirmed.len();
        let counts =
            |it: &Broker| it.identity().is_some_and(|id| newest.set.contains(&id) || newest.eligible.contains(&id));
        let others = || self.of(brokers).iter().filter(|it| it.index != broker);
        if others().any(|it| it.disk.host_restarted) {
            return false;
        }
        let alone = newest.set.len() + newest.eligible.len() == 1 && counts(&brokers[broker]);
        let holds = |it: &Broker| it.disk.log.len() >= until && it.disk.log[..until] == self.confirmed[..];
        alone && kept >= until || others().any(|it| counts(it) && holds(it))
    }

    /// May this disk be lost? Only where another member is there that has all that was confirmed, and that the master
    /// is not about to take out of the set.
    pub fn may_lose_disk(&self, brokers: &[Broker], broker: usize) -> bool {
        let Some(newest) = &self.newest else { return true };
        let counts =
            |it: &Broker| it.identity().is_some_and(|id| newest.set.contains(&id) || newest.eligible.contains(&id));
        let until = self.confirmed.len();
        let intact = |it: &&Broker| {
            let holds = it.disk.log.len() >= until && it.disk.log[..until] == self.confirmed[..];
            it.index != broker && it.process.is_some() && counts(it) && !it.disk.host_restarted && holds
        };
        !counts(&brokers[broker]) || self.of(brokers).iter().filter(intact).any(|_| brokers[broker].is_settled())
    }

    /// The replica on this broker exists no more: what it had promised binds nobody.
    pub fn disk_lost(&mut self, broker: usize, id: Option<BrokerId>) {
        self.gone.extend(id);
        self.promised[broker] = 0;
    }

    /// All that could be elected was on disks that are gone: nothing is promised then.
    pub fn is_stranded(&self) -> bool {
        let Some(newest) = self.newest.as_ref().filter(|_| !self.gone.is_empty()) else { return false };
        newest.set.union(&newest.eligible).all(|id| self.gone.contains(id))
    }

    /// In the end: every acknowledged message is on the master, each client's in order, and logs agree.
    pub fn judge_the_end(&mut self, brokers: &[Broker], master: usize, client_of: impl Fn(u32) -> usize) {
        let log = &brokers[master].disk.log;
        if self.strict {
            let mut places: BTreeMap<u32, usize> = BTreeMap::new();
            for (at, cell) in log.iter().enumerate() {
                places.entry(cell.message).or_insert(at);
            }
            if let Some(gone) = self.acknowledged.iter().find(|it| !places.contains_key(it)) {
                return self.fail("loss", format!("message {gone} was acknowledged and is gone"));
            }
            let mut last: BTreeMap<usize, (usize, u32)> = BTreeMap::new();
            for message in self.heard.clone() {
                let Some(at) = places.get(&message).copied() else { continue };
                let before = last.insert(client_of(message), (at, message));
                if let Some((before_at, before)) = before.filter(|it| it.0 > at) {
                    return self
                        .fail("order", format!("message {before} at {before_at} comes after {message} at {at}"));
                }
            }
        }
        let confirm = brokers[master].disk.confirm as usize;
        let members = self.newest.as_ref().map(|it| it.set.clone()).unwrap_or_default();
        let is_member = |it: &&Broker| it.identity().is_some_and(|id| members.contains(&id));
        for it in self.of(brokers).iter().filter(is_member) {
            let until = confirm.min(it.disk.log.len());
            if it.disk.log.len() < confirm || it.disk.log[..until] != log[..until] {
                return self
                    .fail("S9", format!("B{}'s log differs from B{}'s below {confirm}", it.index + 1, master + 1));
            }
        }
    }
}
