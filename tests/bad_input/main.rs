//! What users, operators and strangers get wrong: each case has an error that names the thing and the cure, and leaves
//! others served.

mod configuration;
mod disk_full;
mod doors;
mod frames;
mod identity;

use baton_tests::cluster::Node;
use baton_tests::process::{Process, binary};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Long enough for a process that refuses to start, even on a loaded machine.
const REFUSAL: Duration = Duration::from_secs(30);

/// Runs a binary that must refuse to start; returns what it said. It must end with code 1, not with a panic.
#[track_caller]
fn refusal(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(binary(program));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("NAMESRV_ADDR")
        .env_remove("ROCKETMQ_HOME")
        .env("HOME", folder);
    let mut process = Process::start(program, command, &folder.join("refusal.log"));
    let status = process.wait_for_end(REFUSAL);
    let output = process.output();
    assert_eq!(status.code(), Some(1), "{program} {arguments:?} ended with {status}:\n{output}");
    assert!(!output.contains("panicked at"), "{program} {arguments:?}:\n{output}");
    output
}

/// Same for a prepared node.
#[track_caller]
fn refusal_of(node: &Node, program: &str) -> String {
    refusal(&node.folder, program, &["-c", &node.config().display().to_string()])
}

#[track_caller]
fn assert_names(output: &str, things: &[&str]) {
    for thing in things {
        assert!(output.contains(thing), "the message must name `{thing}`:\n{output}");
    }
}
