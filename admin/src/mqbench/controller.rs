//! `mqbench controller`: what a group of controllers carries. Without `--controllers` it starts three of its own on
//! this machine and strikes them; with it, it loads a group that runs.

mod asking;
mod death;
mod ears;
mod fleet;
mod group;
mod line;
mod running;
mod scenarios;
mod set;
mod toggles;

pub use scenarios::Scenario;

use super::args::ControllerArgs;
use super::demo;
use super::print_result;
use super::table::Figures;
use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;

pub(super) async fn run(args: ControllerArgs) -> anyhow::Result<ExitCode> {
    if let Some(controllers) = &args.controllers {
        return running::run(controllers, &args).await;
    }
    let programs = demo::programs(&args.programs)?;
    allow_sockets();
    let interrupt = node::shutdown::on_signals();
    let scenarios = if args.only.is_empty() { scenarios::ALL.to_vec() } else { args.only.clone() };
    let mut figures = Figures::default();
    for scenario in scenarios {
        let folder = tempfile::Builder::new().prefix("baton-controllers-").tempdir().context("cannot make a folder")?;
        tokio::select! {
            done = scenario.measure(&args, folder.path(), &programs, &mut figures) => done?,
            () = interrupt.cancelled() => bail!("interrupted"),
        }
    }
    print_result(args.json, &figures, &figures.text())?;
    Ok(ExitCode::SUCCESS)
}

/// Thousands of made-up brokers have a socket each; the usual limit of a shell is 1,024. Where not even the hard limit
/// is enough, opening one fails and says so.
fn allow_sockets() {
    let limit = getrlimit(Resource::Nofile);
    // Refused: then with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
