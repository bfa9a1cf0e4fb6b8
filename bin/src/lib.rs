//! What the server binaries share: command line, configuration file, start, success line, exit code.
//!
//! Exit codes: 0 after SIGTERM, SIGINT, `-h` and `-p`; 1 when the command line or a file is wrong or the server cannot
//! start or breaks.

pub mod inert;

pub use inert::Program;

pub mod offline;

pub mod notify;

pub mod supervise;

use anyhow::Context;
use clap::Parser;
use node::properties::{self, Loaded, UnknownKey};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Options of mqnamesrv and mqcontroller, by RocketMQ's names.
#[derive(Debug, Parser)]
pub struct ServerArgs {
    /// Configuration: a file of key=value lines
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Print the effective configuration and exit
    #[arg(short = 'p', long = "print-config", visible_alias = "printConfigItem")]
    pub print_config: bool,
}

/// Options of mqbroker.
#[derive(Debug, Parser)]
pub struct BrokerArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Nameservers, host:port separated by `;`. Default: the file's namesrvAddr, then the environment's NAMESRV_ADDR
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    pub namesrv: Option<String>,
    /// Keep the listening port open and start the broker again when it dies; SIGUSR2 restarts it in an orderly way
    #[arg(long)]
    pub supervised: bool,
}

/// Parses the command line; what cannot be parsed ends the process with code 1.
pub fn parse<A: Parser>(program: &'static str, about: &'static str) -> A {
    let command = A::command().name(program).bin_name(program).about(about).version(env!("CARGO_PKG_VERSION"));
    let matches = command.try_get_matches().and_then(|it| A::from_arg_matches(&it));
    matches.unwrap_or_else(|error| {
        // Help goes to stdout, everything else to stderr; a closed pipe is no reason to fail differently.
        let _ = error.print();
        std::process::exit(i32::from(error.use_stderr()))
    })
}

/// Reads the file over the defaults.
pub fn load<T: DeserializeOwned + Serialize + Default>(path: Option<&Path>) -> anyhow::Result<Loaded<T>> {
    Ok(properties::load(path)?)
}

/// Keys that none of the components knows: each would otherwise be a setting that silently does nothing.
pub fn warn_unknown(programs: &[Program], path: Option<&Path>, unknown: &[UnknownKey]) {
    let path = path.map(|it| it.display().to_string()).unwrap_or_default();
    for UnknownKey { line, key, nearest } in unknown {
        match (programs.iter().find_map(|it| inert::reason(*it, key)), nearest) {
            (Some(reason), _) => tracing::warn!("{path}:{line}: `{key}` has no effect here: {reason}"),
            (None, Some(nearest)) => {
                tracing::warn!("{path}:{line}: unknown key `{key}` is ignored; did you mean `{nearest}`?");
            }
            (None, None) => tracing::warn!("{path}:{line}: unknown key `{key}` is ignored"),
        }
    }
}

/// Prints `key=value` lines for `-p`.
pub fn print_config<T: Serialize>(config: &T) -> anyhow::Result<()> {
    say(properties::print(config).trim_end())
}

/// The server serves: says so on stdout and to whoever started the process.
pub fn serving(line: &str) -> anyhow::Result<()> {
    say(line)?;
    notify::ready();
    for address in node::listener::handed::unclaimed() {
        tracing::warn!(%address, "a socket was handed over that no port in the configuration is for; connections to it \
            are never answered");
    }
    Ok(())
}

/// A line on stdout, written at once: scripts wait for the success line.
pub fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Runs a server on its own runtime until it has ended.
pub fn serve<F>(program: &str, workers: usize, body: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let outcome = runtime.context("cannot start the runtime").and_then(|runtime| {
        runtime.block_on(async {
            let stop = node::shutdown::on_signals();
            body(stop).await
        })
    });
    finish(program, outcome)
}

/// The exit code, and on stderr why it is not 0.
pub fn finish(program: &str, outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
