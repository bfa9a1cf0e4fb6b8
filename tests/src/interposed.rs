//! The wall clock and the disk of one process, bent while it runs: the test's side of tests/preload.

use crate::process::binary;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[path = "../preload/src/control.rs"]
mod control;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Works,
    /// No room for anything new.
    Full,
    /// Every write and every sync ends with an error.
    Fails,
    /// Every sync takes so much longer.
    Slow(Duration),
}

/// What is bent stays so when the process is started again.
pub struct Interposed {
    page: File,
    path: PathBuf,
    /// What lies on the bent disk.
    store: PathBuf,
}

impl Interposed {
    pub fn new(folder: &Path, store: &Path) -> Interposed {
        let path = folder.join("interposed");
        let page = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let page = page.expect("a control page");
        page.set_len(control::SIZE).expect("a control page");
        Interposed { page, path, store: store.to_owned() }
    }

    pub fn preload_into(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", binary("libbaton_preload.so"))
            .env("BATON_PRELOAD_CONTROL", &self.path)
            .env("BATON_PRELOAD_FOLDER", &self.store);
    }

    /// From now on its wall clock is `ms` ahead of ours; negative: behind.
    pub fn set_clock(&self, ms: i64) {
        self.write(control::AT_CLOCK, &ms.to_ne_bytes());
    }

    pub fn set_disk(&self, disk: Disk) {
        let (state, delay) = match disk {
            Disk::Works => (control::WORKS, Duration::ZERO),
            Disk::Full => (control::FULL, Duration::ZERO),
            Disk::Fails => (control::FAILS, Duration::ZERO),
            Disk::Slow(delay) => (control::SLOW, delay),
        };
        self.write(control::AT_DELAY, &(delay.as_millis() as u32).to_ne_bytes());
        self.write(control::AT_DISK, &state.to_ne_bytes());
    }

    /// How many calls have failed, or were late, so far.
    pub fn struck(&self) -> u64 {
        let mut count = [0; 8];
        self.page.read_exact_at(&mut count, control::AT_STRUCK).expect("the control page");
        u64::from_ne_bytes(count)
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.page.write_all_at(bytes, at).expect("the control page");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The programs of the system, which do what every program does: `date` asks for the time, `dd` writes and syncs.
    fn run(interposed: &Interposed, shell: &str) -> (bool, String) {
        let mut command = Command::new("sh");
        command.args(["-c", shell]).current_dir(&interposed.store);
        interposed.preload_into(&mut command);
        let run = command.output().expect("a shell");
        (run.status.success(), String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned())
    }

    #[test]
    fn a_clock_is_shifted_and_a_disk_fails_where_it_is_told_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        std::fs::create_dir(&store).expect("a folder");
        let bent = Interposed::new(folder.path(), &store);
        let seconds = |shell: &str| run(&bent, shell).1.trim().parse::<i64>().expect("a number");
        let before = seconds("date +%s");
        bent.set_clock(-7_200_500);
        let behind = before - seconds("date +%s");
        assert!((7_000..7_300).contains(&behind), "two hours behind: {behind} s");
        bent.set_clock(0);

        let synced = "dd if=/dev/zero of=file bs=1000 count=1 conv=fsync,notrunc";
        assert!(run(&bent, synced).0);
        assert_eq!(bent.struck(), 0);
        bent.set_disk(Disk::Fails);
        let (succeeded, said) = run(&bent, synced);
        assert!(!succeeded && said.contains("Input/output error"), "{said}");
        assert!(run(&bent, "dd if=/dev/zero of=../elsewhere bs=1000 count=1 conv=fsync").0, "another disk works");
        bent.set_disk(Disk::Full);
        let (succeeded, said) = run(&bent, "fallocate -l 1M new");
        assert!(!succeeded && said.contains("No space left"), "{said}");
        assert!(bent.struck() >= 2);
        bent.set_disk(Disk::Slow(Duration::from_millis(300)));
        let begin = std::time::Instant::now();
        assert!(run(&bent, synced).0);
        assert!(begin.elapsed() >= Duration::from_millis(300));
        bent.set_disk(Disk::Works);
        assert!(run(&bent, synced).0);
    }
}
