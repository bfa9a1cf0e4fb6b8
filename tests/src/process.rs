//! One child process: started in a group of its own, its output in a file, never outliving the test.

use crate::{ask_within, wait_until};
use rustix::process::{Pid, Signal};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Where the binaries under test are: beside the folder of the running test executable (`target/<profile>/`).
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: build what is tested first (cargo build -p baton -p baton-preload)",
        path.display()
    );
    path
}

pub struct Process {
    pub name: String,
    child: Child,
    log: PathBuf,
    /// Where this run's output begins: a restarted process appends to the log of the one before.
    log_start: u64,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Process {
        command.stdin(Stdio::null());
        Process::start_as_is(name, command, log)
    }

    /// The same for a program that takes [commands](Process::tell).
    pub fn start_told(name: &str, mut command: Command, log: &Path) -> Process {
        command.stdin(Stdio::piped());
        Process::start_as_is(name, command, log)
    }

    fn start_as_is(name: &str, mut command: Command, log: &Path) -> Process {
        let out = OpenOptions::new().create(true).append(true).open(log).expect("log file");
        let log_start = out.metadata().expect("log file").len();
        command.stdout(out.try_clone().expect("log file")).stderr(out).process_group(0);
        // SAFETY: only one async-signal-safe system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        let child = spawn(command).unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned(), log_start, ended: None }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to the standard input of a process of [`Process::start_told`].
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("started with an input");
        let told = input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush());
        told.unwrap_or_else(|error| panic!("{} does not listen ({error}):\n{}", self.name, tail(&self.output(), 40)));
    }

    /// What this run has written so far.
    pub fn output(&self) -> String {
        written(&self.log, self.log_start)
    }

    /// Waits for `text` in the output; panics with the output when the process ends or time runs out first.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str, within: Duration) {
        let outcome = ask_within(within, || {
            // In this order: what it said before it ended must not be missed.
            let ended = self.has_ended();
            let said = self.output().contains(text);
            (said || ended.is_some()).then_some((said, ended))
        });
        let why = match outcome {
            Some((true, _)) => return,
            Some((false, ended)) => format!("ended ({ended:?}) before it said `{text}`"),
            None => format!("has not said `{text}` within {within:?}"),
        };
        panic!("{} {why}:\n{}", self.name, self.output());
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    #[track_caller]
    pub fn wait_for_end(&mut self, within: Duration) -> ExitStatus {
        let Some(status) = ask_within(within, || self.has_ended()) else {
            panic!("{} has not ended within {within:?}:\n{}", self.name, self.output());
        };
        status
    }

    /// SIGKILL; returns once the kernel has taken the process down and closed its sockets.
    pub fn kill(&mut self) {
        if self.has_ended().is_none() {
            self.signal(Signal::KILL);
            self.ended = Some(self.child.wait().expect("a child can be waited for"));
        }
    }

    /// SIGSTOP, and waits until every thread has stopped: the signal is delivered in its own time, and what a thread
    /// still does until then belongs to before.
    #[track_caller]
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        wait_until("all threads have stopped", Duration::from_secs(10), || {
            std::fs::read_dir(&tasks).is_ok_and(|it| it.flatten().all(|task| is_stopped(&task.path())))
        });
    }

    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, and its exit status.
    #[track_caller]
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end(within)
    }

    fn signal(&mut self, signal: Signal) {
        assert!(self.has_ended().is_none(), "{} has ended by itself:\n{}", self.name, tail(&self.output(), 40));
        let group = Pid::from_raw(self.child.id() as i32).expect("a process id is positive");
        rustix::process::kill_process_group(group, signal).expect("our own child can be signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What stands in a log from there on. Nothing, where there is none.
pub fn written(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The last `lines` lines of `text`.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Children are started by one thread that lives as long as the test process: the kernel sends the death signal when
/// the *thread* that forked is gone, and each test case is a thread.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = channel();
    spawner.lock().expect("spawner").send((command, answer)).expect("spawner");
    child.recv().expect("spawner")
}

/// The state in `/proc/PID/task/TID/stat` stands after the name, which may itself contain parentheses and blanks.
fn is_stopped(task: &std::path::Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}
