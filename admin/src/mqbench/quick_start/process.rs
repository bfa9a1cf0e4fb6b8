//! A process of the quick-start cluster, and signals to it.

use super::{Care, Life, Node, STOP_TIMEOUT, SUPERVISED};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// A started process.
pub struct Process {
    pub node: Node,
    pub(super) life: Life,
    pub(super) care: Care,
    pub(super) child: Child,
    pub(super) log_path: PathBuf,
}

impl Process {
    /// Of what was started: with supervision, of the supervisor.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Of the process that serves.
    pub fn serving_pid(&self) -> anyhow::Result<u32> {
        match self.care {
            Care::Nobody => Ok(self.child.id()),
            Care::Supervisor => {
                serving_below(self.child.id()).with_context(|| format!("{} has no process now", self.node.name()))
            }
        }
    }

    /// Fails when the process has ended, with the last lines of its log.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!(
            "{} ended with {status}; the end of {}:\n{}",
            self.node.name(),
            self.log_path.display(),
            tail(&self.log_path, 12)
        )
    }

    /// SIGKILL, and waits until the process is gone. A supervisor is left alone: it starts another.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self.care {
            Care::Nobody => self.end(),
            Care::Supervisor => signal(self.serving_pid()?, Signal::KILL),
        }
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, SIGKILL after [`STOP_TIMEOUT`].
    pub fn stop(&mut self) -> anyhow::Result<()> {
        signal(self.child.id(), Signal::TERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return self.end();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.life == Life::WithUs {
            let _ = self.end(); // it may have ended by itself
        }
    }
}

fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Sends a signal to a process by number.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid_typed =
        i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process number"))?;
    kill_process(pid_typed, signal).with_context(|| format!("cannot send {signal:?} to process {pid}"))
}

/// The process that a supervisor has started; `None` for another process, and while it has none.
pub fn serving_below(pid: u32) -> Option<u32> {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    command_line.split(|it| *it == 0).find(|it| *it == SUPERVISED.as_bytes())?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
