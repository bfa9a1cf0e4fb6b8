//! What is done to the files of a store between two processes: damage of the medium, and what planted bugs leave.

use super::flaws::Flaw;
use super::model::{FILE_SIZE, Model, QUEUES, TOPICS};
use crate::rng::Rng;
use proto::Offset;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        file.write_all_at(bytes, at).expect("an ordinary file");
    }
}

/// The medium loses something. What, or nothing if there was nothing to lose.
pub fn strike(rng: &mut Rng, root: &Path, models: &mut [Model]) -> Option<String> {
    match rng.below(6) {
        0..=2 => flip(rng, root, models),
        3 => fs::remove_file(root.join("checkpoint")).ok().map(|()| "the checkpoint is lost".to_owned()),
        4 => {
            let (topic, queue) = (rng.pick(&TOPICS), rng.below(QUEUES as u64));
            let folder = root.join("consumequeue").join(topic).join(queue.to_string());
            fs::remove_dir_all(folder).ok().map(|()| format!("the queue {topic}/{queue} is lost"))
        }
        _ => {
            let (topic, queue) = (rng.pick(&TOPICS), rng.below(QUEUES as u64));
            let folder = root.join("consumequeue").join(topic).join(queue.to_string());
            let mut files: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|it| it.path()).collect();
            files.sort();
            let file = files.get(rng.below(files.len() as u64) as usize)?;
            let name = file.file_name()?.to_string_lossy().into_owned();
            fs::remove_file(file).ok().map(|()| format!("file {name} of the queue {topic}/{queue} is lost"))
        }
    }
}

pub fn flip_bit(path: &Path, at: u64, bit: u8) {
    let mut byte = [0];
    fs::File::open(path).and_then(|it| it.read_exact_at(&mut byte, at)).expect("within the file");
    overwrite(path, at, &[byte[0] ^ bit]);
}

/// One bit of a record, where its checksum or its layout tells: what else a record holds no checksum covers.
fn flip(rng: &mut Rng, root: &Path, models: &mut [Model]) -> Option<String> {
    let model = models.first()?;
    let until = model.flushed;
    let records: Vec<_> = model.whole().filter(|it| it.to <= until && it.from >= model.min).cloned().collect();
    let record = records.get(rng.below(records.len() as u64) as usize)?;
    let bytes = model.bytes(record.from, record.to);
    let body_len = i32::from_be_bytes(bytes.get(84..88)?.try_into().ok()?) as u64;
    let covered = [(0, 12), (28, 8), (88, body_len)];
    let (from, len) = covered[rng.below(covered.len() as u64) as usize];
    if len == 0 {
        return None;
    }
    let at = record.from + (from + rng.below(len)) as Offset;
    let bit = 1u8 << rng.below(8);
    let start = at - at % FILE_SIZE as Offset;
    let path = root.join("commitlog").join(format!("{start:020}"));
    // Of a log that was emptied the model keeps more than the disk.
    if !path.exists() {
        return None;
    }
    flip_bit(&path, (at - start) as u64, bit);
    for model in models.iter_mut().filter(|it| at < it.end()) {
        model.damage.push((at, bit));
        model.tainted = true;
    }
    Some(format!("a bit at {at} flips, in the record at {}", record.from))
}

/// What the checkpoint says to be on disk; nothing if Baton has not written it.
pub fn noted_flushed(root: &Path) -> Offset {
    let bytes = fs::read(root.join("checkpoint")).unwrap_or_default();
    let long = |at: usize| bytes.get(at..at + 8).and_then(|it| it.try_into().ok()).map_or(0, i64::from_be_bytes);
    if long(40) == 0 { 0 } else { long(24) }
}

/// What a store with this bug would have left.
pub fn apply(flaw: Option<Flaw>, root: &Path) {
    match flaw {
        Some(Flaw::IntentForgotten) => drop(fs::remove_file(root.join("truncate-intent"))),
        Some(Flaw::TailsNotKept) => drop(fs::remove_dir_all(root.join("truncated"))),
        Some(Flaw::AbortForgotten) => drop(fs::remove_file(root.join("abort"))),
        Some(Flaw::ConfirmAhead) => overwrite(&root.join("checkpoint"), 32, &i64::MAX.to_be_bytes()),
        Some(Flaw::CheckpointAhead) => believe_everything(root),
        Some(Flaw::ChecksumsIgnored) => make_checksums_right(root),
        _ => {}
    }
    let (path, current) = (root.join("hostBootId"), fs::read_to_string("/proc/sys/kernel/random/boot_id"));
    let of_this_boot = fs::read_to_string(&path).is_ok_and(|it| current.is_ok_and(|current| current == it));
    if of_this_boot && flaw != Some(Flaw::HostRestartForgotten) {
        fs::write(path, "an earlier boot").expect("room for the image");
    }
}

/// The checkpoint vouches for all that has a place in the log's files.
fn believe_everything(root: &Path) {
    let path = root.join("checkpoint");
    let (Ok(mut bytes), Some(last)) = (fs::read(&path), log_files(root).pop()) else { return };
    if bytes.len() < 68 {
        return;
    }
    let start: i64 = last.file_name().and_then(|it| it.to_str()).and_then(|it| it.parse().ok()).unwrap_or(0);
    bytes[48..56].copy_from_slice(&(start + FILE_SIZE as i64 / 2).to_be_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..32]);
    hasher.update(&bytes[40..64]);
    bytes[64..68].copy_from_slice(&hasher.finalize().to_be_bytes());
    fs::write(&path, bytes).expect("room for the image");
}

fn log_files(root: &Path) -> Vec<std::path::PathBuf> {
    let found = fs::read_dir(root.join("commitlog")).into_iter().flatten().flatten();
    let mut files: Vec<_> = found.map(|it| it.path()).filter(|it| it.is_file()).collect();
    files.sort();
    files
}

/// A recovery that looks at no checksum takes each record for right: so each gets the checksum that it would need.
fn make_checksums_right(root: &Path) {
    for path in log_files(root) {
        let Ok(mut bytes) = fs::read(&path) else { continue };
        let mut at = 0;
        while let Ok(record) = proto::message::Record::decode(&bytes[at..]) {
            let (size, crc) = (record.size, proto::message::body_crc(record.body));
            bytes[at + 8..at + 12].copy_from_slice(&crc.to_be_bytes());
            at += size;
        }
        fs::write(&path, bytes).expect("room for the image");
    }
}
