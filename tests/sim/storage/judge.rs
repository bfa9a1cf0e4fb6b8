//! What a store may make of what a crash has left (S9, S12), and what it may claim while it runs (S11).

use super::model::{FILE_SIZE, Model, QUEUES, Stored, TOPICS};
use super::pages::{Pages, SECTOR};
use proto::Offset;
use std::path::Path;
use store::{Recovery, Store};

/// How the process before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    Killed,
    PowerLost,
}

/// Of the rules, the one that is broken, and how.
pub type Verdict = Result<(), (&'static str, String)>;

macro_rules! ensure {
    ($holds:expr, $rule:expr, $($what:tt)*) => {
        if !$holds { return Err(($rule, format!($($what)*))) }
    };
}

/// Up to here everything has to be there.
pub fn promised(model: &Model, end: End) -> Offset {
    let limit = if end == End::PowerLost { model.flushed } else { model.end() };
    let whole = model.whole_end(limit);
    let damaged = model.damage.iter().map(|it| it.0).min();
    damaged.map_or(whole, |at| {
        model.whole().map(|it| it.to).filter(|it| *it <= at).last().unwrap_or(model.base).min(whole)
    })
}

/// S7: that a host started anew is said as long as the controllers do not know, and only then.
pub fn judge_losses(recovery: &Recovery, unreported: bool, hurt: bool) -> Verdict {
    let said = recovery.host_restarted;
    ensure!(said || !unreported, "S7", "its host has started anew, and nobody is told");
    ensure!(unreported || !said || hurt, "S7", "its host is said to have started anew, and has not");
    Ok(())
}

/// Whatever happens to the disk, what is in the log is read.
pub fn judge_reads(store: &Store, model: &Model) -> Verdict {
    let from = (model.end() - 300).max(begin(store)).max(model.base);
    let same = read(store, from, model.end()) == model.damaged_bytes(from.min(model.end()), model.end());
    ensure!(same, "S12", "what stands from {from} on is not what was written there");
    Ok(())
}

/// S9 and S12: whether this log is what is left of the model's. Bytes that nobody promised may be there or not; what is
/// there is right.
/// `noted`: what the checkpoint of a first start says to be on disk.
pub fn judge_log(
    store: &Store,
    recovery: &Recovery,
    model: &Model,
    end: End,
    kept: &Path,
    noted: Option<Offset>,
) -> Verdict {
    let (min, max) = (store.min_offset(), store.max_offset());
    ensure!(max == recovery.max_offset, "S12", "recovery says {}, the log ends at {max}", recovery.max_offset);
    let promised = promised(model, end);
    ensure!(max >= promised, "S12", "the log ends at {max}, what is below {promised} was on disk");
    // A rest of a file that is known to be unused may be there in full when only its beginning was written.
    let unused = model.end() + (FILE_SIZE as Offset - model.end() % FILE_SIZE as Offset) % FILE_SIZE as Offset;
    ensure!(max <= model.end() || max == unused, "S9", "the log ends at {max}, it was cut at {}", model.end());
    ensure!(model.is_boundary(max), "S12", "the log ends at {max}, in the middle of a record");
    ensure!(min < 0 || min <= model.min, "S12", "the log begins at {min}, it was to begin at {}", model.min);
    if min >= 0 {
        let until = max.min(model.end());
        let want = model.damaged_bytes(min.max(model.base).min(until), until);
        let have = read(store, min.max(model.base), until);
        if let Some(at) = (0..want.len()).find(|it| have.get(*it) != Some(&want[*it])) {
            return Err(("S9", format!("byte {} of the log is another one", min.max(model.base) + at as Offset)));
        }
    }
    for (name, bytes) in &model.tails {
        let found = std::fs::read(kept.join(name)).unwrap_or_default();
        ensure!(found == *bytes, "S9", "the tail {name} was cut and is not kept");
    }
    let had = model.whole_end(if end == End::PowerLost { model.flushed } else { model.end() });
    // What a start said that failed later is in its log.
    let told = noted.is_none() || !recovery.cut.is_empty();
    ensure!(max >= had || told, "S12", "the log is cut from {had} to {max}, and nobody is told");
    let known = model.whole_end(model.flushed.min(noted.unwrap_or_default()));
    // A size that has changed tells nothing.
    let size_right = !model.damage.iter().any(|it| (max..max + 8).contains(&it.0));
    let told = recovery.lost_flushed || !size_right;
    ensure!(max >= known || told, "S7", "the log ends at {max}, {known} was on disk, and the set is not told");
    ensure!(
        !recovery.lost_flushed || !model.damage.is_empty() || model.tainted,
        "S7",
        "nothing was lost that was on disk"
    );
    judge_kept(model, max, kept)
}

/// A record in which this log differs from the model by the zeroes of a sector that lacks its end, in fields that no
/// checksum covers and that may be zero. Nothing in RocketMQ's format tells such a record from a whole one, and nobody
/// promised it: it was not flushed.
pub fn torn_unseen(store: &Store, model: &Model) -> Option<Offset> {
    let (from, until) = (begin(store).max(model.base), store.max_offset().min(model.end()));
    if until < from {
        return None;
    }
    let (have, want) = (read(store, from, until), model.damaged_bytes(from, until));
    let differs = |at: usize| have.get(at) != Some(&want[at]);
    let mut torn = None;
    for at in (0..want.len()).filter(|it| differs(*it)) {
        let offset = from + at as Offset;
        let to_sector_end = SECTOR - offset as usize % SECTOR;
        let zeroes = have.get(at..want.len().min(at + to_sector_end))?.iter().all(|it| *it == 0);
        let record = model.whole().find(|it| it.from <= offset && offset < it.to)?;
        // Queue and flag; then system flag, times and hosts up to the body's length. That a queue offset is torn, its
        // queue tells, if that is the right one.
        let begin = (record.from - from) as usize;
        let other_queue = (begin + 12..begin + 16).any(differs);
        let unguarded = match offset - record.from {
            20..28 => other_queue,
            field => matches!(field, 12..20 | 36..84),
        };
        if !zeroes || !unguarded || offset < model.flushed {
            return None;
        }
        torn = Some(record.from);
    }
    torn
}

/// What stood intact behind a damaged record is not thrown away, by whichever start has cut it.
fn judge_kept(model: &Model, max: Offset, kept: &Path) -> Verdict {
    let Some(at) = model.whole().position(|it| it.from == max) else { return Ok(()) };
    let (damaged, next) = (&model.records[at], model.records.get(at + 1).filter(|it| it.to <= model.flushed));
    let hit = |it: &Stored| model.damage.iter().any(|flip| (it.from..it.to).contains(&flip.0));
    // Where the next one begins is told by the damaged one's size.
    let size_right = !model.damage.iter().any(|flip| (damaged.from..damaged.from + 4).contains(&flip.0));
    let neighbours = next.is_some_and(|it| it.from == damaged.to && !hit(it));
    let Some(next) = next.filter(|_| hit(damaged) && size_right && neighbours) else { return Ok(()) };
    let (from, to) = ((next.from - max) as usize, (next.to - max) as usize);
    let of_this_cut = format!("0-{max}-");
    let found = std::fs::read_dir(kept).into_iter().flatten().flatten();
    let mut tails = found.filter(|it| it.file_name().to_string_lossy().starts_with(&of_this_cut));
    let is_kept = |tail: &std::fs::DirEntry| {
        let bytes = std::fs::read(tail.path()).unwrap_or_default();
        bytes.get(from..to) == Some(model.bytes(next.from, next.to))
    };
    ensure!(tails.any(|it| is_kept(&it)), "S12", "intact records behind {max} are thrown away");
    Ok(())
}

/// The first byte that is in the log; of an empty one, where it ends.
pub fn begin(store: &Store) -> Offset {
    if store.min_offset() < 0 { store.max_offset() } else { store.min_offset() }
}

pub fn read(store: &Store, from: Offset, to: Offset) -> Vec<u8> {
    let mut bytes = Vec::new();
    while from + (bytes.len() as Offset) < to {
        let at = from + bytes.len() as Offset;
        let Some(slice) = store.slice(at, (to - at) as usize) else { break };
        bytes.extend_from_slice(&slice);
    }
    bytes
}

/// S3: what was not confirmed is not shown, nor confirmed. And the queues are the log's (S12): each entry points at its
/// record, none is missing, none is beyond.
pub fn judge_queues(store: &Store, model: &Model) -> Verdict {
    let confirm = store.confirm_offset();
    let ends = (confirm, store.max_offset(), model.confirmed);
    ensure!(confirm <= store.max_offset(), "S3", "confirmed {} beyond the end {}", ends.0, ends.1);
    ensure!(confirm <= model.confirmed.max(model.base), "S3", "{} is confirmed, {} was", ends.0, ends.2);
    let visible = confirm.max(store.dispatched_offset());
    let begin = begin(store);
    for (topic, queue) in TOPICS.into_iter().flat_map(|topic| (0..QUEUES).map(move |queue| (topic, queue))) {
        let of_it: Vec<&Stored> =
            model.whole().filter(|it| it.topic == topic && it.queue == queue && it.from >= begin).collect();
        let (low, high) = store.queue_bounds(topic, queue).unwrap_or_default();
        for it in of_it.iter().filter(|it| it.to <= visible) {
            ensure!(
                (low..high).contains(&it.index),
                "S12",
                "{topic}/{queue} shows {low} to {high}: {} at {} is missing",
                it.index,
                it.from
            );
        }
        let mut at = low;
        while at < high {
            let entries = store.entries(topic, queue, at, high - at).map_err(|it| ("S12", it.to_string()))?;
            ensure!(!entries.is_empty(), "S12", "{topic}/{queue} has no entry {at}, and shows {low} to {high}");
            for entry in entries {
                match of_it.iter().find(|it| it.index == at) {
                    Some(it) => {
                        let same = (entry.offset, i64::from(entry.size)) == (it.from, it.to - it.from);
                        ensure!(same, "S12", "{topic}/{queue} {at} is {entry:?}, the record is at {}", it.from);
                        let confirmed = it.to <= model.confirmed;
                        ensure!(confirmed, "S3", "{topic}/{queue} shows {at} at {}, not confirmed", it.from);
                    }
                    None => ensure!(entry.is_pre_blank(), "S12", "{topic}/{queue} {at} is {entry:?}, no record"),
                }
                at += 1;
            }
        }
    }
    Ok(())
}

/// S11: what the store says to be on disk is what a loss of power would leave.
pub fn judge_flushed(store: &Store, model: &Model, pages: &Pages, log: &Path, from: Offset) -> Verdict {
    let flushed = store.flushed_offset();
    ensure!(flushed <= model.end(), "S11", "flushed {flushed}, the log ends at {}", model.end());
    let mut at = from.max(model.base).max(begin(store));
    while at < flushed {
        let start = at - at % FILE_SIZE as Offset;
        let to = flushed.min(start + FILE_SIZE as Offset);
        let on_disk =
            pages.holds(&log.join(format!("{start:020}")), (at - start) as usize, &model.damaged_bytes(at, to));
        ensure!(on_disk, "S11", "{flushed} is said to be on disk, what stands from {at} on is not");
        at = to;
    }
    Ok(())
}
