//! `mqbench`: load (`send`, `consume`), failover measurement (`failover`), and the quick-start cluster (`demo`, `up`,
//! `down`).
//!
//! A live line per second goes to stderr, the result to stdout; with `--json` the last thing on stdout is one JSON
//! object.

mod account;
mod args;
mod body;
mod consume;
mod controller;
mod demo;
mod failover;
mod figures;
mod http;
mod load;
mod meter;
mod observer;
mod quick_start;
mod read_back;
mod report;
mod send;
mod status;
mod table;
mod timeline;
mod topic;

use args::{Args, Command};
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `mqbench` with these arguments (the program's name first). Exit status: 0, 1 when it could not do its work or
/// messages were lost, 2 when the command line is wrong.
pub async fn mqbench(args: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help goes to stdout, everything else to stderr; a closed pipe is no reason to fail differently.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match args.command {
        Command::Send(args) => send::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Failover(args) => failover::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Figures(args) => figures::run(args).await,
        Command::Controller(args) => controller::run(args).await,
        Command::Up(args) => demo::up(args).await,
        Command::Down(args) => demo::down(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mqbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the result: the JSON object, or the text for people.
fn print_result<T: serde::Serialize>(json: bool, result: &T, text: &str) -> anyhow::Result<()> {
    crate::mqadmin::print(&if json { serde_json::to_string(result)? + "\n" } else { text.to_owned() })
}
