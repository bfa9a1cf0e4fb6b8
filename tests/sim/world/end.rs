//! The end of a run: faults stop, the controllers are gone for a while, masters are lost for good, clients stop; at
//! each step what is promised has to come true in time.

use super::World;
use super::alone::Alone;
use crate::broker::Broker;
use crate::checks::Truth;
use crate::ctx::{Event, NodeId};
use crate::faults::{Fault, LastBlow};
use crate::packet::SetId;

/// After the faults: until a message is acknowledged, and until all replicas are members.
const ELECTED_WITHIN_US: u64 = 20_000_000;
const HEALED_WITHIN_US: u64 = 60_000_000;
/// Once everybody has stopped sending, a consumer that has not everything yet gets something.
const READ_WITHIN_US: u64 = 10_000_000;
const LOOK_US: u64 = 250_000;
/// With RocketMQ's brokers in the set it is whole later: their polls, timeouts and pauses are as long.
const MIXED_TIMES: u64 = 2;
/// And so is one of them the second copy, where that is waited for: it may hear of its master after 20 s only.
const MIXED_COPY_TIMES: u64 = 3;
/// Where one of them leads, it is missed after 10 s, drops members after 15, connects and is asked again after each 5.
const JAVA_LED_TIMES: u64 = 3;

impl World {
    pub(super) fn calm_down(&mut self) {
        self.calm_since = Some(self.ctx.now);
        self.ctx.say(NodeId(0), format_args!("faults are over"));
        self.fuses.fill(None);
        let profile = &mut self.ctx.profile;
        (profile.slow_packets, profile.loss, profile.duplicates) = (0, 0, 0);
        for from in (0..self.ctx.profile.nodes()).map(NodeId) {
            for to in (0..self.ctx.profile.nodes()).map(NodeId) {
                self.ctx.heal(from, to);
            }
        }
        for node in (0..self.ctx.profile.controllers + self.brokers.len()).map(NodeId) {
            self.go_on(node);
            self.start(node);
        }
        self.ctx.agenda.put(self.ctx.now + LOOK_US, Event::Fault(Fault::Look));
    }

    /// Every now and then.
    pub(super) fn look(&mut self) {
        let Some(since) = self.last_blow.or(self.calm_since) else { return };
        if self.ctx.truths.iter().any(Truth::is_stranded) {
            (self.over, self.stranded) = (true, true);
            return;
        }
        let (now, passed) = (self.ctx.now, self.ctx.now - since);
        if matches!(self.alone, Alone::Since(..)) {
            self.look_alone();
        } else if let Some(at) = self.ends_at {
            if now >= at && self.reading_is_over(at) {
                self.over = true;
                self.judge_the_end();
            }
        } else if self.operator.is_idle()
            && self.ctx.sets().all(|it| self.acknowledged_since[it.0] && self.is_whole(it))
        {
            match self.last_blow {
                None if self.alone == Alone::NotYet => self.take_controllers_away(),
                None => self.strike_masters(),
                // What is under way comes to its end.
                Some(_) => self.ends_at = Some(now + 3_000_000),
            }
        } else {
            for set in self.ctx.sets() {
                self.judge_healing(set, passed);
            }
            if passed >= HEALED_WITHIN_US && !self.operator.is_idle() {
                self.ctx.fail("S14", format!("the controllers' members are not as ordered: {:?}", self.operator));
            }
        }
        self.ctx.agenda.put(now + LOOK_US, Event::Fault(Fault::Look));
    }

    /// Everything, or nothing more comes.
    fn reading_is_over(&mut self, since: u64) -> bool {
        let so_far = self.ctx.truths.iter().map(|it| it.readers.read_to).sum();
        if self.read.0 != so_far {
            self.read = (so_far, self.ctx.now);
        }
        self.ctx.sets().all(|it| self.is_read(it)) || self.ctx.now >= since.max(self.read.1) + READ_WITHIN_US
    }

    /// The consumer has all there is.
    fn is_read(&self, set: SetId) -> bool {
        let end = self.master(set).map(|it| &self.brokers[it].disk).map(|it| it.whole_end_below(it.confirm));
        end.is_some_and(|end| self.ctx.truths[set.0].readers.read_to >= end)
            || !self.ctx.truths[set.0].readers_are_promised()
    }

    fn judge_the_end(&mut self) {
        let clients = self.clients.len() as u32;
        for set in self.ctx.sets() {
            let Some(master) = self.master(set) else {
                self.ctx.truth(set).fail("S14", "nobody is master in the end".to_owned());
                continue;
            };
            self.ctx.truth(set).judge_delivery();
            self.ctx.truth(set).judge_the_end(&self.brokers, master, |it| (it % clients) as usize);
        }
    }

    /// S14: so long after the last fault.
    fn judge_healing(&mut self, set: SetId, passed_us: u64) {
        let (name, passed) = (set.name(), passed_us / 1_000_000);
        let (copy_times, times) = match (self.ctx.profile.is_mixed(set), self.ctx.profile.min_in_sync) {
            (false, _) => (1, 1),
            (true, _) if self.ctx.truths[set.0].java.has_led() => (JAVA_LED_TIMES, JAVA_LED_TIMES),
            (true, 1) => (1, MIXED_TIMES),
            (true, _) => (MIXED_COPY_TIMES, MIXED_TIMES),
        };
        if !self.acknowledged_since[set.0] && passed_us >= copy_times * ELECTED_WITHIN_US {
            let why = format!("nothing is acknowledged in set {name} {passed} s after the faults");
            self.ctx.truth(set).fail("S14", why);
        } else if passed_us >= times * HEALED_WITHIN_US && !self.is_whole(set) {
            let why = format!("set {name} is not whole {passed} s after the faults");
            self.ctx.truth(set).fail("S14", why);
        }
    }

    /// Killed or hung, and not back: others have to take over in time.
    fn strike_masters(&mut self) {
        self.last_blow = Some(self.ctx.now);
        for set in self.ctx.sets() {
            self.strike_master(set);
        }
    }

    fn strike_master(&mut self, set: SetId) {
        // Who has nobody to replace it is spared.
        let needed = self.ctx.profile.min_in_sync.max(self.ctx.profile.copies).max(1);
        let replaceable = self.ctx.profile.replicas > needed;
        let Some(master) = self.master(set).filter(|_| replaceable) else { return };
        let node = self.ctx.broker(master);
        self.victims.push(master);
        self.acknowledged_since[set.0] = false;
        match self.ctx.profile.last_blow {
            LastBlow::Killed => {
                self.ctx.say(node, format_args!("is killed for good"));
                self.stop(node);
            }
            LastBlow::Hung => {
                self.ctx.say(node, format_args!("hangs for good"));
                self.paused[node.0] = true;
            }
        }
    }

    /// Everybody who can be is in the set of the master that the controllers know, and copies from it: a member that
    /// was restarted has to learn from the controllers whom to copy from, so S8 promises nothing before it has.
    fn is_whole(&self, set: SetId) -> bool {
        let Some(newest) = &self.ctx.truths[set.0].newest else { return false };
        let Some(master) = self.master(set) else { return false };
        let epoch = self.brokers[master].leads();
        let copies = |it: &Broker| it.index == master || it.copies_at() == epoch;
        let belongs = |it: &Broker| it.identity().is_some_and(|id| newest.set.contains(&id)) && copies(it);
        self.brokers[master].identity() == newest.master
            && newest.set.is_disjoint(&self.ctx.truths[set.0].gone)
            // What was proposed and not answered may be in the controllers' log, and become the set.
            && self.brokers[master].is_settled()
            && self.replicas(set).iter().all(|it| self.victims.contains(&it.index) || belongs(it))
    }
}
