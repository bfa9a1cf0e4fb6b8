//! The life of one store: appends of its own and of a master, flushes, cuts, role changes, and the ends of its
//! processes; all of it drawn from the seed.

use super::damage;
use super::flaws::Flaw;
use super::judge::{self, End, Verdict};
use super::model::{FILE_SIZE, Model, QUEUES, TOPICS, message};
use super::pages::{Health, Pages};
use crate::checks::Violation;
use crate::rng::Rng;
use node::clock::{self, Virtual};
use proto::Offset;
use std::path::PathBuf;
use std::sync::Arc;
use store::{DelayLevels, Duty, FlushDiskType, Store, StoreConfig};

const STEPS: u64 = 60;
/// A process that never starts would be started for ever.
const STARTS: u32 = 20;

pub struct Life {
    rng: Rng,
    flaw: Option<Flaw>,
    home: tempfile::TempDir,
    generation: u32,
    pages: Pages,
    store: Option<Store>,
    pub model: Model,
    /// What may be true instead: a step was under way, or has failed.
    others: Vec<Model>,
    /// Its disk works, and processes end between two steps.
    calm: bool,
    leads: bool,
    epoch: i32,
    number: u64,
    wall_ms: i64,
    sync_flush: bool,
    /// Its host has started anew and no controller knows.
    unreported: bool,
    /// Its disk has refused something, or a process died in the middle of its work: false alarms may follow.
    hurt: bool,
    /// What its checkpoint says to be on disk.
    noted: Offset,
    /// What is below is known to be on disk.
    looked_to: Offset,
    pub counts: Counts,
    pub story: Vec<String>,
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub appended: u64,
    pub crashes: u64,
    pub cuts: u64,
    pub damages: u64,
    /// Ended with a torn record that passes for whole.
    pub torn: u64,
}

/// In memory where there is such a folder.
pub fn folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

impl Life {
    pub fn new(seed: u64, flaw: Option<Flaw>) -> Life {
        let mut rng = Rng::new(seed);
        let home = tempfile::Builder::new().prefix("baton-sim-").tempdir_in(folder()).expect("a folder");
        let root = home.path().join("0");
        std::fs::create_dir_all(&root).expect("a folder");
        let pages = Pages::new(&root, Rng::new(rng.next()), flaw);
        let (sync_flush, calm) = (rng.chance(500), rng.chance(300));
        Life {
            rng,
            flaw,
            home,
            generation: 0,
            pages,
            store: None,
            model: Model::default(),
            others: Vec::new(),
            calm,
            leads: false,
            epoch: 1,
            number: 0,
            wall_ms: 1_700_000_000_000,
            sync_flush,
            unreported: false,
            hurt: false,
            noted: 0,
            looked_to: 0,
            counts: Counts::default(),
            story: Vec::new(),
            hash: 0xCBF2_9CE4_8422_2325,
        }
    }

    /// Ends with the first broken rule, or when nothing is left that a store could open.
    pub fn live(&mut self) -> Option<Violation> {
        let found = self.begin().and_then(|()| {
            for _ in 0..STEPS {
                if self.store.is_none() {
                    break;
                }
                self.step()?;
            }
            Ok(())
        });
        found.err().map(|(rule, what)| Violation { rule, what: what.replace(&*self.home.path().to_string_lossy(), "") })
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        let line = format!("{line}").replace(&*self.home.path().to_string_lossy(), "");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.story.push(line);
    }

    fn root(&self) -> PathBuf {
        self.home.path().join(self.generation.to_string())
    }

    fn config(&self) -> StoreConfig {
        StoreConfig {
            commit_log: self.root().join("commitlog"),
            root: self.root(),
            commit_log_file_size: FILE_SIZE,
            consume_queue_file_size: 20 * 130,
            flush: if self.sync_flush { FlushDiskType::SyncFlush } else { FlushDiskType::AsyncFlush },
            max_message_size: 4096,
            file_reserved_hours: 72,
            delay_levels: DelayLevels::default(),
            replicated: true,
        }
    }

    fn begin(&mut self) -> Verdict {
        let (store, _) = Store::open_by_hand(self.config(), Arc::new(self.pages.clone()))
            .map_err(|it| ("S12", format!("a new store does not open: {it}")))?;
        if self.rng.chance(200) {
            let base = self.rng.below(3 * FILE_SIZE) as Offset;
            store.start_at(base).map_err(|it| ("S9", it.to_string()))?;
            self.model = Model::starting_at(base);
            self.say(format_args!("starts at {base}"));
        }
        self.store = Some(store);
        Ok(())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("looked at between steps only")
    }

    // ---- what happens

    fn step(&mut self) -> Verdict {
        let passed = self.rng.pick(&[0, 1, 20, 4_000]);
        self.wall_ms += passed;
        clock::simulate(Virtual { monotonic_ms: (self.wall_ms - 1_600_000_000_000) as u64, wall_ms: self.wall_ms });
        let fused = !self.calm && self.rng.chance(60);
        if fused {
            let accesses = self.rng.between(1, 14) as u32;
            self.pages.light_fuse(accesses);
        }
        let begun = self.model.clone();
        match self.rng.below(100) {
            0..=29 => self.take()?,
            30..=36 => self.change_role()?,
            37..=44 => self.confirm(),
            45..=52 => self.perform(Duty::Flush),
            53..=62 => self.perform(Duty::Dispatch),
            63..=69 => self.perform(Duty::Checkpoint),
            70..=72 => self.perform(Duty::Allocate),
            73..=78 => self.truncate()?,
            79..=81 => self.expire(),
            82..=87 => self.pages.write_back(),
            88..=89 if self.calm => {}
            88..=89 => self.sicken(),
            90..=91 => return self.stop(),
            92..=95 => return self.end(End::Killed),
            _ => return self.end(End::PowerLost),
        }
        if self.store.is_none() {
            return Ok(());
        }
        if self.pages.is_dead() {
            self.say(format_args!("dies in the middle of it"));
            self.hurt = true;
            self.others.push(begun);
            let end = if self.rng.chance(600) { End::PowerLost } else { End::Killed };
            return self.end(end);
        }
        if fused {
            self.pages.put_fuse_out();
        }
        self.look()
    }

    fn look(&mut self) -> Verdict {
        let flushed = self.store().flushed_offset();
        let log = self.root().join("commitlog");
        judge::judge_flushed(self.store(), &self.model, &self.pages, &log, self.looked_to)?;
        self.looked_to = flushed;
        self.model.flushed = self.model.flushed.max(flushed);
        judge::judge_reads(self.store(), &self.model)
    }

    fn take(&mut self) -> Verdict {
        if self.leads { self.append() } else { self.copy() }
    }

    fn append(&mut self) -> Verdict {
        for _ in 0..self.rng.between(1, 5) {
            self.number += 1;
            let (message, _) = message(&mut self.rng, self.number);
            let before = self.store().max_offset();
            let appended = self.store().append(&[message]);
            let after = self.store().max_offset();
            if let Err(error) = appended {
                self.say(format_args!("cannot append: {error}"));
                if after != before {
                    return Err(("S12", format!("an append that failed moved the end from {before} to {after}")));
                }
                return Ok(());
            }
            let bytes = judge::read(self.store(), before, after);
            self.model.appended(&bytes);
            self.counts.appended += 1;
        }
        self.say(format_args!("appends to {}", self.model.end()));
        Ok(())
    }

    /// What comes from the master, in pieces.
    fn copy(&mut self) -> Verdict {
        for _ in 0..self.rng.between(1, 4) {
            self.number += 1;
            let (message, topic) = message(&mut self.rng, self.number);
            self.model.arrive(message, topic, self.wall_ms);
        }
        let mut left = self.rng.below(self.model.incoming.len() as u64 + 1) as usize;
        while left > 0 {
            let piece = self.rng.between(1, left as u64) as usize;
            let (from, bytes) = (self.model.end(), self.model.incoming[..piece].to_vec());
            let copied = self.store().append_replicated(from, &bytes);
            let took = (self.store().max_offset() - from).max(0) as usize;
            self.model.log.extend_from_slice(&bytes[..took.min(piece)]);
            self.model.incoming.drain(..took.min(piece));
            if let Err(error) = copied {
                self.say(format_args!("cannot copy at {from}: {error}"));
                break;
            }
            left -= piece;
            self.counts.appended += 1;
        }
        self.say(format_args!("copies to {}", self.model.end()));
        Ok(())
    }

    fn change_role(&mut self) -> Verdict {
        if std::mem::replace(&mut self.leads, false) {
            self.store().close_writes("another replica is master");
            self.say(format_args!("is a slave"));
            return Ok(());
        }
        match self.store().seal_tail() {
            Ok(end) => {
                let whole = self.model.whole_end(self.model.end());
                if end < whole || !self.model.is_boundary(end) || end > self.model.end() {
                    return Err(("S9", format!("sealed at {end}, the last whole record ends at {whole}")));
                }
                self.model.seal(end);
                self.epoch += 1;
                self.store().open_writes(self.epoch);
                self.leads = true;
                let epoch = self.epoch;
                self.say(format_args!("is master of epoch {epoch} from {end} on"));
            }
            // It may have cut already.
            Err(error) => {
                self.say(format_args!("cannot seal: {error}"));
                let mut sealed = self.model.clone();
                sealed.seal(self.model.whole_end(self.model.end()));
                self.others.push(sealed);
                return self.end_broken();
            }
        }
        Ok(())
    }

    fn confirm(&mut self) {
        // With synchronous flush a replica's own copy counts when it is on disk (S11).
        let most = if self.sync_flush { self.store().flushed_offset() } else { Offset::MAX };
        let fits = |it: &Offset| *it > self.model.confirmed && *it <= most;
        let whole: Vec<Offset> = self.model.whole().map(|it| it.to).filter(fits).collect();
        if whole.is_empty() {
            return;
        }
        let to = self.rng.pick(&whole);
        self.model.confirmed = to;
        self.store().set_confirm_offset(to);
        self.say(format_args!("confirms {to}"));
    }

    fn perform(&mut self, duty: Duty) {
        self.store().perform(duty);
        let (flushed, dispatched) = (self.store().flushed_offset(), self.store().dispatched_offset());
        self.say(format_args!("{duty:?}: flushed {flushed}, dispatched {dispatched}"));
    }

    /// S9. Mostly where a record ends.
    fn truncate(&mut self) -> Verdict {
        if self.leads {
            return Ok(());
        }
        let ends: Vec<Offset> = self.model.whole().map(|it| it.to).filter(|it| *it > self.model.min).collect();
        if ends.is_empty() {
            return Ok(());
        }
        // Recent ones more often than old ones.
        let back = self.rng.pick(&[2, 6, 1_000]).min(ends.len() as u64);
        let mut to = ends[ends.len() - 1 - self.rng.below(back) as usize];
        if self.rng.chance(200) {
            to = (to - self.rng.below(90) as Offset).max(self.model.min + 1);
            to = if self.model.is_boundary(to) { ends[ends.len() - 1] } else { to };
        }
        let old = self.model.clone();
        let mut cut = self.model.clone();
        cut.cut(to);
        let tail = old.damaged_bytes(to.min(old.end()), old.end());
        self.pages.cuts(true);
        let done = self.store().truncate(to, self.epoch);
        self.pages.cuts(false);
        match done {
            Ok(kept) => {
                self.say(format_args!("cuts from {} to {to}", old.end()));
                if let Some(kept) = kept {
                    let name = kept.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    cut.tails.insert(name, tail.clone());
                }
                self.counts.cuts += 1;
                self.model = cut;
                self.looked_to = self.looked_to.min(to);
                self.forget_to_zero(to, &tail);
            }
            Err(error) => {
                self.say(format_args!("cannot cut to {to}: {error}"));
                self.others.push(cut);
                return self.end_broken();
            }
        }
        Ok(())
    }

    /// Planted: what was cut stands in the file again.
    fn forget_to_zero(&self, to: Offset, tail: &[u8]) {
        if self.flaw == Some(Flaw::TailNotZeroed) {
            let start = to - to % FILE_SIZE as Offset;
            let room = (start + FILE_SIZE as Offset - to) as usize;
            let path = self.root().join("commitlog").join(format!("{start:020}"));
            damage::overwrite(&path, (to - start) as u64, &tail[..tail.len().min(room)]);
        }
    }

    fn expire(&mut self) {
        let removed = self.store().clean_expired(i64::MAX / 2);
        let min = self.store().min_offset();
        self.model.min = self.model.min.max(min);
        match removed {
            Ok(0) => {}
            Ok(count) => self.say(format_args!("deletes {count} files, begins at {min}")),
            Err(error) => self.say(format_args!("cannot delete: {error}")),
        }
    }

    fn sicken(&mut self) {
        let health = match self.pages.health() {
            Health::Well => self.rng.pick(&[Health::Full, Health::Failing(300), Health::Failing(1_000), Health::Dead]),
            // A full disk gets room again, one that failed may work for a while.
            _ => Health::Well,
        };
        self.pages.set_health(health);
        self.hurt = true;
        self.say(format_args!("its disk is {health:?}"));
    }

    // ---- ends and beginnings

    fn stop(&mut self) -> Verdict {
        let begun = self.model.clone();
        match self.store().shutdown() {
            Ok(()) if !self.pages.is_dead() => {
                self.say(format_args!("stops"));
                self.model.flushed = self.model.end();
                self.others.clear();
                self.end(End::Clean)
            }
            _ => {
                self.say(format_args!("cannot stop cleanly"));
                self.others.push(begun);
                self.hurt = true;
                self.end(End::Killed)
            }
        }
    }

    /// A store that has failed takes nothing more, and is restarted at some time.
    fn end_broken(&mut self) -> Verdict {
        let end = if self.rng.chance(500) { End::PowerLost } else { End::Killed };
        self.end(end)
    }

    /// The process ends; the next ones begin, until one has come up.
    fn end(&mut self, end: End) -> Verdict {
        self.store = None;
        self.leads = false;
        self.counts.crashes += 1;
        let mut models = std::mem::take(&mut self.others);
        models.insert(0, self.model.clone());
        let first = end;
        let mut end = end;
        let mut dark = false;
        for start in 0..STARTS {
            // A host may go down after a clean stop, too.
            let power_lost = end == End::PowerLost || (end == End::Clean && self.rng.chance(500));
            if power_lost {
                self.change_image(&mut models, end);
            }
            dark |= end == End::PowerLost;
            self.say(format_args!("{end:?}{}", if power_lost { ", its host starts anew" } else { "" }));
            self.pages.revive();
            self.looked_to = 0;
            if !self.calm && self.rng.chance(100) {
                let accesses = self.rng.between(1, 20) as u32;
                self.pages.light_fuse(accesses);
            } else if !self.calm && self.rng.chance(30) {
                self.pages.set_health(Health::Failing(300));
                self.hurt = true;
            }
            self.noted = damage::noted_flushed(&self.root());
            let opened = Store::open_by_hand(self.config(), Arc::new(self.pages.clone()));
            match opened {
                Ok((store, recovery)) if !self.pages.is_dead() => {
                    self.pages.started();
                    self.unreported |= first == End::PowerLost;
                    // Who died while it stopped or started may have left no trace.
                    if !self.hurt && (end == End::Clean) == recovery.unclean {
                        return Err(("S12", format!("after {end:?}, unclean is {}", recovery.unclean)));
                    }
                    judge::judge_losses(&recovery, self.unreported, self.hurt)?;
                    self.unreported |= recovery.host_restarted;
                    let (last, tries) = (if dark { End::PowerLost } else { first }, start + 1);
                    return self.opened(store, &recovery, models, last, tries);
                }
                Ok(_) => {
                    self.say(format_args!("start {start} dies"));
                    self.hurt = true;
                }
                Err(error) => {
                    self.say(format_args!("start {start} fails: {error}"));
                    let refused = error.to_string().contains("damaged at its very start");
                    if self.pages.is_dead() || self.pages.health() != Health::Well {
                        // Another one, when the disk works.
                        self.hurt = true;
                    } else if refused
                        && models.iter().any(|it| !it.damage.is_empty() || it.whole_end(it.flushed) <= it.min)
                    {
                        // Advice was given, and a person has to follow it.
                        return Ok(());
                    } else {
                        return Err(("S12", format!("does not open after {end:?}: {error}")));
                    }
                }
            }
            end = if self.rng.chance(500) { End::PowerLost } else { End::Killed };
        }
        Err(("S12", "does not come up".to_owned()))
    }

    fn change_image(&mut self, models: &mut [Model], end: End) {
        let from = self.generation;
        self.generation += 1;
        let to = self.root();
        self.pages.lose_power(&to);
        std::fs::remove_dir_all(self.home.path().join(from.to_string())).expect("the old folder goes");
        if end != End::Clean && self.rng.chance(150) {
            let what = damage::strike(&mut self.rng, &to, models);
            self.counts.damages += u64::from(what.is_some());
            if let Some(what) = what {
                self.say(format_args!("{what}"));
            }
        }
        damage::apply(self.flaw, &to);
        self.pages = Pages::new(&to, Rng::new(self.rng.next()), self.flaw);
    }

    fn opened(
        &mut self,
        store: Store,
        recovery: &store::Recovery,
        models: Vec<Model>,
        end: End,
        tries: u32,
    ) -> Verdict {
        let kept = self.root().join("truncated");
        let losses = (recovery.unclean, recovery.host_restarted, recovery.lost_flushed);
        let (min, max, cut) = (store.min_offset(), store.max_offset(), &recovery.cut);
        self.say(format_args!("begins at {min}, ends at {max}, unclean, restarted, lost: {losses:?}; {cut:?}"));
        if end == End::PowerLost
            && let Some(at) = models.iter().find_map(|it| judge::torn_unseen(&store, it))
        {
            if !models.iter().any(|it| max >= judge::promised(it, end)) {
                return Err(("S12", format!("the log ends at {max}, and more was on disk")));
            }
            // What such a record says of its queue is served and replicated: there is nothing to compare with any more.
            self.say(format_args!("the record at {at} is torn where nothing tells"));
            self.counts.torn += 1;
            return Ok(());
        }
        let noted = if tries == 1 { Some(self.noted) } else { None };
        let judge = |it: &Model| judge::judge_log(&store, recovery, it, end, &kept, noted);
        let fits = models.iter().position(|it| judge(it).is_ok());
        let Some(fits) = fits else { return judge(&models[0]) };
        let mut model = models[fits].clone();
        model.recovered(store.max_offset());
        model.min = model.min.min(judge::begin(&store).max(model.base));
        judge::judge_queues(&store, &model)?;
        self.model = model;
        if self.rng.chance(300) && self.pages.health() == Health::Well {
            let again = (store.max_offset(), store.min_offset(), store.confirm_offset(), bounds(&store));
            drop(store);
            let (store, recovery) = Store::open_by_hand(self.config(), Arc::new(self.pages.clone()))
                .map_err(|it| ("S12", format!("opens once and not again: {it}")))?;
            let now = (store.max_offset(), store.min_offset(), store.confirm_offset(), bounds(&store));
            if now != again || !recovery.cut.is_empty() {
                let cut = recovery.cut;
                return Err(("S12", format!("opened again it is {now:?}, it was {again:?}; cut {cut:?}")));
            }
            self.store = Some(store);
        } else {
            self.store = Some(store);
        }
        // The controllers know at some time, whether or not that can be noted.
        if self.rng.chance(700) {
            self.hurt |= self.store().losses_reported().is_err();
            self.unreported = false;
        }
        self.look()
    }
}

fn bounds(store: &Store) -> Vec<Option<(i64, i64)>> {
    let all = TOPICS.into_iter().flat_map(|topic| (0..QUEUES).map(move |queue| (topic, queue)));
    all.map(|(topic, queue)| store.queue_bounds(topic, queue)).collect()
}
