//! One process of a cluster, which can be ended and started again in its place.

use crate::PATIENCE;
use crate::interposed::Interposed;
use crate::netns::Network;
use crate::process::{Process, binary, written};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

/// One process of the cluster and what is needed to start it again.
pub struct Node {
    pub name: String,
    /// Where it is talked to.
    pub address: String,
    /// Its working directory: configuration, log and store are in it.
    pub folder: PathBuf,
    /// What is run, without the configuration file.
    program: Box<dyn Fn() -> Command>,
    arguments: Vec<&'static str>,
    boot_line: &'static str,
    process: Option<Process>,
    /// Where in the log the last run begins.
    log_start: u64,
    /// The last run has said that it serves: what it says later need not be read again for that.
    booted: Cell<bool>,
    interposed: Option<Interposed>,
    /// It runs on the host of its own name there.
    pub(super) network: Option<Arc<Network>>,
}

impl Node {
    /// Writes the configuration; starts nothing.
    pub fn new(root: &Path, name: &str, program: &'static str, address: &str, config: &str) -> Node {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).expect("node folder");
        std::fs::write(folder.join("node.conf"), config).expect("node configuration");
        let boot_line = match program {
            "mqcontroller" => "The Controller Server boot success.",
            "mqnamesrv" => "The Name Server boot success.",
            _ => "The broker[",
        };
        let program = Box::new(move || Command::new(binary(program)));
        Node {
            name: name.to_owned(),
            address: address.to_owned(),
            folder,
            program,
            arguments: Vec::new(),
            boot_line,
            process: None,
            log_start: 0,
            booted: Cell::new(false),
            interposed: None,
            network: None,
        }
    }

    /// Runs on the host of its own name.
    pub(super) fn on(mut self, network: Option<&Arc<Network>>, program: &'static str) -> Node {
        self.network = network.cloned();
        let on_host = self.on_host();
        self.run_with(move || on_host(&binary(program)));
        self
    }

    /// How a program is run on this node's host.
    pub fn on_host(&self) -> impl Fn(&Path) -> Command + use<> {
        let (network, name) = (self.network.clone(), self.name.clone());
        move |program| network.as_ref().map_or_else(|| Command::new(program), |it| it.command(&name, program))
    }

    /// It runs no more, though nobody has stopped it.
    pub fn has_ended_by_itself(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| it.has_ended().is_some())
    }

    /// From the next start on another program runs here, with the same configuration, folder and boot line.
    pub fn run_with(&mut self, program: impl Fn() -> Command + 'static) {
        self.program = Box::new(program);
    }

    /// From the next start on the program has one more argument.
    pub fn extend_program(&mut self, argument: &'static str) {
        self.arguments.push(argument);
    }

    pub fn arguments(&self) -> &[&'static str] {
        &self.arguments
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("node.conf")
    }

    /// Starts the process without waiting for it.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = (self.program)();
        command.args(&self.arguments).arg("-c").arg(self.config()).current_dir(&self.folder);
        // What the machine's user has set must not reach the processes.
        command
            .env_remove("NAMESRV_ADDR")
            .env_remove("ROCKETMQ_HOME")
            .env("HOME", &self.folder)
            .env("RUST_BACKTRACE", "1");
        if let Some(interposed) = &self.interposed {
            interposed.preload_into(&mut command);
        }
        self.log_start = self.log_length();
        self.booted.set(false);
        self.process = Some(Process::start(&self.name, command, &self.log()));
    }

    /// From the next start on the process's clock and disk can be bent.
    pub fn interpose(&mut self) {
        self.interposed = Some(Interposed::new(&self.folder, &self.store()));
    }

    #[track_caller]
    pub fn interposed(&self) -> &Interposed {
        self.interposed.as_ref().unwrap_or_else(|| panic!("{} was started as it is", self.name))
    }

    /// What all its runs have written.
    pub fn log(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    pub fn log_length(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |it| it.len())
    }

    #[track_caller]
    pub fn wait_booted(&mut self) {
        let boot_line = self.boot_line;
        self.process().wait_for_output(boot_line, PATIENCE);
    }

    /// The last run has said that it serves.
    pub fn has_booted(&self) -> bool {
        if !self.booted.get() {
            self.booted.set(self.output().contains(self.boot_line));
        }
        self.booted.get()
    }

    #[track_caller]
    pub fn start(&mut self) {
        self.launch();
        self.wait_booted();
    }

    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        let name = &self.name;
        self.process.as_mut().unwrap_or_else(|| panic!("{name} does not run"))
    }

    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    #[track_caller]
    pub fn pause(&mut self) {
        self.process().pause();
    }

    #[track_caller]
    pub fn resume(&mut self) {
        self.process().resume();
    }

    /// SIGTERM, and its exit status.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        let status = self.process().terminate(PATIENCE);
        self.process = None;
        status
    }

    /// What the last run has written, also when it has ended.
    pub fn output(&self) -> String {
        written(&self.log(), self.log_start)
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub fn commit_log(&self) -> PathBuf {
        self.store().join("commitlog")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell says `text` in place of the program.
    fn says(node: &mut Node, text: &'static str) {
        node.run_with(move || {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("echo '{text}'; exec sleep 600"));
            shell
        });
        node.launch();
        node.process().wait_for_output(text, PATIENCE);
    }

    #[test]
    fn what_the_last_run_has_written_is_there_when_it_has_ended() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut node = Node::new(root.path(), "one", "mqnamesrv", "127.0.0.1:1", "");
        assert!(node.output().is_empty() && !node.has_booted());
        says(&mut node, "The Name Server boot success.");
        assert!(node.has_booted());
        node.kill();
        assert_eq!(node.output(), "The Name Server boot success.\n");
        says(&mut node, "something else");
        assert!(!node.has_booted());
        node.kill();
        assert_eq!(node.output(), "something else\n");
    }
}
