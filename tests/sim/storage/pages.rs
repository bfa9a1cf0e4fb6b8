//! A disk under a real store's folder. The folder is what the processes see: the page cache. Beside it stands what a
//! loss of power leaves: what was synced, and of everything else whatever the kernel happened to write, sector by
//! sector.
//!
//! A file whose sync fails keeps its bytes in the page cache, where they count as clean from then on: no later sync
//! writes them, unless they are written again. So Linux does it.

use super::flaws::Flaw;
use crate::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;
use store::{Access, DiskWatch};

/// A disk writes it whole or not at all.
pub const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    Full,
    /// So many syncs of a thousand fail.
    Failing(u64),
    Dead,
}

/// Inode and birth, because inodes are used again.
type FileId = (u64, Option<SystemTime>);

fn id(meta: &Metadata) -> FileId {
    (meta.ino(), meta.created().ok())
}

struct State {
    root: PathBuf,
    rng: Rng,
    flaw: Option<Flaw>,
    health: Health,
    /// What is on disk.
    files: BTreeMap<FileId, Vec<u8>>,
    folders: BTreeMap<FileId, BTreeMap<String, FileId>>,
    /// Sectors that are clean and not on disk.
    dropped: BTreeMap<FileId, BTreeSet<usize>>,
    /// The process dies at its so manyth access from now on.
    fuse: Option<u32>,
    dead: bool,
    /// A store is being opened.
    starts: bool,
    /// Planted: nothing of what happens now reaches the disk.
    cuts: bool,
}

#[derive(Clone)]
pub struct Pages(Arc<Mutex<State>>);

impl Pages {
    /// All that is in the folder is on disk.
    pub fn new(root: &Path, rng: Rng, flaw: Option<Flaw>) -> Pages {
        let it = Pages(Arc::new(Mutex::new(State {
            root: root.to_owned(),
            rng,
            flaw,
            health: Health::Well,
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            dropped: BTreeMap::new(),
            fuse: None,
            dead: false,
            starts: false,
            cuts: false,
        })));
        it.state().take_all(root);
        it
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("one thread")
    }

    pub fn set_health(&self, health: Health) {
        self.state().health = health;
    }

    pub fn health(&self) -> Health {
        self.state().health
    }

    pub fn light_fuse(&self, accesses: u32) {
        self.state().fuse = Some(accesses);
    }

    /// The process is gone: nothing it does reaches a file any more.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Another process begins, on a disk that works.
    pub fn revive(&self) {
        let mut it = self.state();
        (it.dead, it.fuse, it.health, it.starts) = (false, None, Health::Well, true);
    }

    /// It has come up.
    pub fn started(&self) {
        let mut it = self.state();
        (it.fuse, it.starts) = (None, false);
    }

    /// While it cuts its log.
    pub fn cuts(&self, cuts: bool) {
        let mut it = self.state();
        it.cuts = cuts && it.flaw == Some(Flaw::CutInMemoryOnly);
    }

    pub fn put_fuse_out(&self) {
        self.state().fuse = None;
    }

    /// What the kernel writes by itself, at any time and in any order.
    pub fn write_back(&self) {
        let mut it = self.state();
        let root = it.root.clone();
        let share = it.rng.pick(&[50, 500, 1_000]);
        it.write_back(&root, share);
    }

    /// Whether a power loss would leave these bytes of a file.
    pub fn holds(&self, path: &Path, at: usize, bytes: &[u8]) -> bool {
        let it = self.state();
        let Ok(meta) = fs::metadata(path) else { return false };
        let folder = path.parent().and_then(|it| fs::metadata(it).ok());
        let entries = folder.and_then(|folder| it.folders.get(&id(&folder)));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        entries.and_then(|it| it.get(&name)) == Some(&id(&meta))
            && it.files.get(&id(&meta)).and_then(|it| it.get(at..at + bytes.len())) == Some(bytes)
    }

    /// What a loss of power leaves, as a folder.
    pub fn lose_power(&self, to: &Path) {
        let mut it = self.state();
        // All, nothing, or anything between of what was not synced.
        let kept = it.rng.pick(&[0, 100, 500, 500, 900, 1_000]);
        let root = it.root.clone();
        let folder = fs::metadata(&root).map(|it| id(&it)).expect("the store's folder is there");
        it.leave(Some(&root), folder, to, kept);
    }
}

impl DiskWatch for Pages {
    fn before(&self, access: Access, path: &Path) -> io::Result<()> {
        self.state().before(access, path)
    }

    fn wrote(&self, path: &Path, range: Range<u64>) {
        self.state().wrote(path, range);
    }

    fn synced(&self, path: &Path, range: Range<u64>) {
        self.state().synced(path, range);
    }
}

fn entries(folder: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return BTreeMap::new() };
    let named = found.flatten().filter_map(|it| Some((it.file_name().into_string().ok()?, it.path())));
    // Temp files that nobody renamed have names by chance, and nobody reads them.
    named.filter(|it| !it.0.starts_with(".tmp")).collect()
}

fn sector<'a>(bytes: &'a [u8], number: usize, into: &'a mut [u8; SECTOR]) -> &'a [u8; SECTOR] {
    into.fill(0);
    let rest = bytes.get(number * SECTOR..).unwrap_or_default();
    let len = rest.len().min(SECTOR);
    into[..len].copy_from_slice(&rest[..len]);
    into
}

impl State {
    fn before(&mut self, access: Access, path: &Path) -> io::Result<()> {
        let error = |it: rustix::io::Errno| Err(io::Error::from(it));
        if let Some(left) = &mut self.fuse {
            *left = left.saturating_sub(1);
            self.dead |= *left == 0;
        }
        if self.dead {
            return error(rustix::io::Errno::IO);
        }
        match (self.health, access) {
            (Health::Full, Access::Allocate) => error(rustix::io::Errno::NOSPC),
            // What overwrites blocks that are there needs no room.
            (Health::Full, Access::Write) if !path.ends_with("checkpoint") && self.rng.chance(500) => {
                error(rustix::io::Errno::NOSPC)
            }
            (Health::Failing(share), Access::Sync) if self.rng.chance(share) => {
                self.drop_dirty(path);
                if self.flaw == Some(Flaw::HidesFailedSyncs) { Ok(()) } else { error(rustix::io::Errno::IO) }
            }
            (Health::Dead, _) => error(rustix::io::Errno::IO),
            _ => Ok(()),
        }
    }

    /// The kernel could not write them and forgets about it.
    fn drop_dirty(&mut self, path: &Path) {
        let (Ok(meta), Ok(live)) = (fs::metadata(path), fs::read(path)) else { return };
        let on_disk = self.files.get(&id(&meta)).map(Vec::as_slice).unwrap_or_default();
        let (mut one, mut two) = ([0; SECTOR], [0; SECTOR]);
        let dirty = (0..live.len().div_ceil(SECTOR))
            .filter(|it| sector(&live, *it, &mut one) != sector(on_disk, *it, &mut two));
        let dirty: Vec<usize> = dirty.collect();
        self.dropped.entry(id(&meta)).or_default().extend(dirty);
    }

    fn wrote(&mut self, path: &Path, range: Range<u64>) {
        if self.dropped.is_empty() || (self.starts && self.flaw == Some(Flaw::DirtiesNothing)) {
            return;
        }
        let Ok(meta) = fs::metadata(path) else { return };
        if let Some(dropped) = self.dropped.get_mut(&id(&meta)) {
            let sectors = range.start as usize / SECTOR..(range.end as usize).div_ceil(SECTOR);
            dropped.retain(|it| !sectors.contains(it));
        }
    }

    fn synced(&mut self, path: &Path, range: Range<u64>) {
        if self.dead || self.cuts || self.flaw.is_some_and(|it| it.forgets_sync(path, &mut self.rng)) {
            return;
        }
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.is_dir() {
            return self.take_entries(path, &meta, 1_000);
        }
        let whole = range.end == u64::MAX;
        self.take_bytes(path, &meta, range, 1_000);
        if whole && let Some(it) = self.files.get_mut(&id(&meta)) {
            it.resize(meta.len() as usize, 0);
        }
    }

    fn take_entries(&mut self, path: &Path, meta: &Metadata, share: u64) {
        let live: BTreeMap<String, FileId> =
            entries(path).into_iter().filter_map(|(name, path)| Some((name, id(&fs::metadata(path).ok()?)))).collect();
        let known = self.folders.entry(id(meta)).or_default();
        let names: BTreeSet<String> = live.keys().chain(known.keys()).cloned().collect();
        for name in names {
            if live.get(&name) != known.get(&name) && self.rng.chance(share) {
                match live.get(&name) {
                    Some(id) => known.insert(name, *id),
                    None => known.remove(&name),
                };
            }
        }
    }

    /// Whole sectors, even where part of one was asked for.
    fn take_bytes(&mut self, path: &Path, meta: &Metadata, range: Range<u64>, share: u64) {
        let Ok(live) = fs::read(path) else { return };
        let on_disk = self.files.entry(id(meta)).or_default();
        if on_disk.len() < live.len() {
            on_disk.resize(live.len(), 0);
        }
        let dropped = self.dropped.get(&id(meta));
        let until = (range.end as usize).min(live.len()).div_ceil(SECTOR);
        for number in range.start as usize / SECTOR..until {
            let bytes = number * SECTOR..((number + 1) * SECTOR).min(live.len());
            let clean = dropped.is_some_and(|it| it.contains(&number)) || live[bytes.clone()] == on_disk[bytes.clone()];
            if !clean && self.rng.chance(share) {
                on_disk[bytes.clone()].copy_from_slice(&live[bytes]);
            }
        }
    }

    fn write_back(&mut self, path: &Path, share: u64) {
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.is_dir() {
            self.take_entries(path, &meta, share);
            entries(path).values().for_each(|it| self.write_back(it, share));
        } else {
            self.take_bytes(path, &meta, 0..u64::MAX, share);
        }
    }

    fn take_all(&mut self, path: &Path) {
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.is_dir() {
            self.take_entries(path, &meta, 1_000);
            entries(path).values().for_each(|it| self.take_all(it));
        } else {
            self.files.insert(id(&meta), fs::read(path).unwrap_or_default());
        }
    }

    /// One folder of what is left: `live` as the processes saw it, if it was still there.
    fn leave(&mut self, live: Option<&Path>, folder: FileId, to: &Path, kept: u64) {
        fs::create_dir_all(to).expect("room for the image");
        let seen = live.map(entries).unwrap_or_default();
        let known = self.folders.get(&folder).cloned().unwrap_or_default();
        let names: BTreeSet<String> = seen.keys().chain(known.keys()).cloned().collect();
        for name in names {
            let now = seen.get(&name).and_then(|path| Some((path, fs::metadata(path).ok()?)));
            let of_now = now.as_ref().map(|it| id(&it.1));
            let durable = known.get(&name).copied();
            let chosen = if of_now == durable || self.rng.chance(kept) { of_now } else { durable };
            let Some(file) = chosen else { continue };
            let now = now.filter(|it| id(&it.1) == file);
            match now {
                Some((path, meta)) if meta.is_dir() => self.leave(Some(path), file, &to.join(name), kept),
                Some((path, _)) => {
                    let live = fs::read(path).unwrap_or_default();
                    let bytes = self.mix(&live, file, kept);
                    fs::write(to.join(name), bytes).expect("room for the image");
                }
                None if self.folders.contains_key(&file) => self.leave(None, file, &to.join(name), kept),
                None => {
                    let bytes = self.files.get(&file).map(Vec::as_slice).unwrap_or_default();
                    fs::write(to.join(name), bytes).expect("room for the image");
                }
            }
        }
    }

    fn mix(&mut self, live: &[u8], file: FileId, kept: u64) -> Vec<u8> {
        let on_disk = self.files.get(&file).cloned().unwrap_or_default();
        let same_length = live.len() == on_disk.len();
        let len = if same_length || self.rng.chance(kept) { live.len() } else { on_disk.len() };
        let mut bytes = on_disk;
        bytes.resize(len, 0);
        for (number, bytes) in bytes.chunks_mut(SECTOR).enumerate() {
            let dropped = self.dropped.get(&file).is_some_and(|it| it.contains(&number));
            let mut of_now = [0; SECTOR];
            let of_now = &sector(live, number, &mut of_now)[..bytes.len()];
            if bytes != of_now && !dropped && self.rng.chance(kept) {
                bytes.copy_from_slice(of_now);
            }
        }
        bytes
    }
}
