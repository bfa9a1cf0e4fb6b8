//! `mqbroker --supervised`: a small parent that keeps the broker's listening sockets open and starts the broker again
//! when it dies.
//!
//! ```text
//! parent: listenPort, listenPort - 2 ── open from start to end; who connects meanwhile waits in their queues
//!   └─ child: the same command without `--supervised`, serves those sockets and its own HA port
//! ```
//! A refused HA port still says that the broker process is gone (S6): the parent never holds that one. SIGTERM and
//! SIGINT are passed on and end both. SIGUSR2 restarts the child in an orderly way, with the program and the
//! configuration that are on disk by then. The child dies with the parent.

mod sockets;
mod verdict;

use crate::notify;
use anyhow::Context;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use sockets::Sockets;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};
use tracing::{info, warn};
use verdict::{Ended, Judge, Told, Verdict};

/// The option that a child is started without.
const OPTION: &str = "--supervised";

/// Runs until the child is to be started no more; its exit code.
pub fn run(config: &broker::Config) -> anyhow::Result<ExitCode> {
    config.validate()?;
    // One thread: the kernel ends the child when the thread that started it is gone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Supervisor::new(config).await?.run().await })
}

struct Supervisor {
    /// None after SIGTERM: from then on the ports are as open as the child has them.
    sockets: Option<Sockets>,
    program: PathBuf,
    args: Vec<OsString>,
    ready: Ready,
    signals: Signals,
    judge: Judge,
    restarts: u64,
}

/// One life of the child.
struct Life {
    child: Child,
    serves_since: Option<Instant>,
    told: Told,
}

impl Supervisor {
    async fn new(config: &broker::Config) -> anyhow::Result<Supervisor> {
        Ok(Supervisor {
            sockets: Some(Sockets::open(config).await?),
            // By name, not by inode: after an upgrade the next child is the new program.
            program: std::env::current_exe().context("cannot find this program's file")?,
            args: std::env::args_os().skip(1).filter(|it| it != OPTION).collect(),
            ready: Ready::new()?,
            signals: Signals::new()?,
            judge: Judge::default(),
            restarts: 0,
        })
    }

    async fn run(mut self) -> anyhow::Result<ExitCode> {
        loop {
            let (status, served, told) = self.live().await?;
            let ended = ended(status);
            let after = match self.judge.on_end(ended, served, told) {
                Verdict::End => return Ok(ExitCode::from(ended.code())),
                Verdict::Restart { after } => after,
            };
            self.restarts += 1;
            let (served_ms, after_ms) = (served.map(|it| it.as_millis()), after.as_millis());
            match told {
                Told::Restart => info!(restarts = self.restarts, "the broker has ended as told and is started again"),
                _ => warn!(why = %status, served_ms, after_ms, restarts = self.restarts, "the broker died and is \
                    started again"),
            }
            if self.told_to_stop_within(after).await {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Starts a child and follows it until it has ended.
    async fn live(&mut self) -> anyhow::Result<(ExitStatus, Option<Duration>, Told)> {
        let child = self.start().with_context(|| format!("cannot start {}", self.program.display()))?;
        info!(pid = child.id(), restarts = self.restarts, "the broker is started");
        let mut life = Life { child, serves_since: None, told: Told::Nothing };
        loop {
            tokio::select! {
                status = life.child.wait() => {
                    let served = life.serves_since.map(|it| it.elapsed());
                    return Ok((status.context("cannot wait for the broker")?, served, life.told));
                }
                told = self.signals.next() => self.tell(&mut life, told),
                () = self.ready.said() => {
                    life.serves_since.get_or_insert_with(Instant::now);
                    notify::ready(); // to whoever has started us
                }
            }
        }
    }

    fn tell(&mut self, life: &mut Life, (told, with): (Told, Signal)) {
        info!(signal = ?with, "passed on to the broker");
        if told == Told::Stop {
            self.sockets = None;
        }
        if life.told != Told::Stop {
            life.told = told;
        }
        let pid = life.child.id().and_then(|it| Pid::from_raw(it as i32));
        if let Some(Err(error)) = pid.map(|it| kill_process(it, with)) {
            info!(%error, "the broker cannot be told any more");
        }
    }

    fn start(&mut self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env(notify::SOCKET, &self.ready.name);
        // Not ours: it names the process for which somebody else has opened sockets.
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES").env_remove("LISTEN_FDS");
        let place = self.sockets.as_ref().map(|it| {
            command.env("LISTEN_FDS", it.count().to_string());
            it.place()
        });
        // A group of its own: Ctrl-C at the terminal reaches the child once, through us.
        command.process_group(0);
        let parent = getpid();
        // SAFETY: between fork and exec only async-signal-safe system calls are made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(parent) {
                    return Err(rustix::io::Errno::SRCH.into()); // the parent died before that took effect
                }
                place.as_ref().map_or(Ok(()), |it| it())
            });
        }
        command.spawn()
    }

    /// Waits before a restart; whether that is not to be any more.
    async fn told_to_stop_within(&mut self, pause: Duration) -> bool {
        let over = tokio::time::sleep(pause);
        let told_to_stop = async { while self.signals.next().await.0 != Told::Stop {} };
        tokio::select! {
            () = over => false,
            () = told_to_stop => true,
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// Where children say that they serve.
struct Ready {
    socket: UnixDatagram,
    name: String,
}

impl Ready {
    fn new() -> anyhow::Result<Ready> {
        let name = format!("@baton-supervisor-{}", std::process::id());
        let bound = notify::address(&name).and_then(|it| std::os::unix::net::UnixDatagram::bind_addr(&it));
        let socket = bound.context("cannot make a socket for the broker to report to")?;
        socket.set_nonblocking(true)?;
        Ok(Ready { socket: UnixDatagram::from_std(socket)?, name })
    }

    async fn said(&self) {
        let mut said = [0; 256];
        loop {
            // Without it a child only counts as one that never served.
            let Ok(len) = self.socket.recv(&mut said).await else { return std::future::pending().await };
            if said[..len].split(|it| *it == b'\n').any(|it| it == notify::READY) {
                return;
            }
        }
    }
}

struct Signals {
    terminate: Caught,
    interrupt: Caught,
    restart: Caught,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let catch = |kind| signal(kind).context("cannot catch a signal");
        Ok(Signals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            restart: catch(SignalKind::user_defined2())?,
        })
    }

    /// What it means, and what the child is told by.
    async fn next(&mut self) -> (Told, Signal) {
        tokio::select! {
            _ = self.terminate.recv() => (Told::Stop, Signal::TERM),
            _ = self.interrupt.recv() => (Told::Stop, Signal::INT),
            _ = self.restart.recv() => (Told::Restart, Signal::TERM),
        }
    }
}
