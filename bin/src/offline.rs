//! `mqcontroller backup | restore | force-new-cluster`: for a data directory on which no controller runs.

use crate::say;
use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use controller::raft::offline;
use std::io::Write;
use std::path::PathBuf;

/// Tools for a controller's data directory. The controller must not be running.
#[derive(Debug, Parser)]
pub struct Offline {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write everything a controller knows to a file
    Backup {
        /// Its controllerStorePath
        #[arg(long)]
        dir: PathBuf,
        /// A file that does not exist yet
        #[arg(long)]
        to: PathBuf,
    },
    /// Begin a new group of one controller from a backup, in an empty directory
    Restore {
        #[arg(long)]
        from: PathBuf,
        /// An empty directory, its controllerStorePath
        #[arg(long)]
        dir: PathBuf,
        /// Its controllerDLegerSelfId
        #[arg(long)]
        id: String,
        /// Where it is reached, host:port
        #[arg(long)]
        address: String,
        /// Do not ask: the sentence that would have to be typed
        #[arg(long)]
        confirm: Option<String>,
    },
    /// Make a directory that is left the group's only one: the last way out when most disks are lost
    ForceNewCluster {
        /// The controllerStorePath that is left
        #[arg(long)]
        dir: PathBuf,
        /// Do not ask: the sentence that would have to be typed
        #[arg(long)]
        confirm: Option<String>,
    },
}

/// Whether the command line asks for one of these.
pub fn is_offline() -> bool {
    std::env::args().nth(1).is_some_and(|it| ["backup", "restore", "force-new-cluster"].contains(&it.as_str()))
}

pub fn run(it: Offline) -> anyhow::Result<()> {
    match it.what {
        What::Backup { dir, to } => say(&format!("backed up {}", offline::backup(&dir, &to)?)),
        What::Restore { from, dir, id, address, confirm } => {
            let what = "This begins a new group with what the backup knows; what happened since is forgotten. No \
                        controller of the old group may ever run again.";
            agree(what, confirm)?;
            let told = offline::restore(&from, &dir, &id, &address)?;
            say(&format!("restored {told}\n{}", next(&id)))
        }
        What::ForceNewCluster { dir, confirm } => {
            let told = offline::describe(&dir)?;
            let what = format!(
                "{}: {told}\nThis makes it the only controller of its group. What only the others knew is forgotten. \
                 No \
                 other controller of the old group may ever run again.",
                dir.display()
            );
            agree(&what, confirm)?;
            let told = offline::force_new_cluster(&dir)?;
            say(&format!("done: {told}\n{}", next("it")))
        }
    }
}

fn next(id: &str) -> String {
    format!(
        "Next: start {id}; wipe the other controllers' directories, set controllerJoin=true in their files, start \
         them, \
         and run `mqadmin addController` for each"
    )
}

/// What has to be typed: it says what it means.
const SENTENCE: &str = "the other controllers are gone";

fn agree(what: &str, confirm: Option<String>) -> anyhow::Result<()> {
    let typed = match confirm {
        Some(it) => it,
        None => {
            let mut out = std::io::stdout().lock();
            write!(out, "{what}\nType `{SENTENCE}` to go on: ")
                .and_then(|()| out.flush())
                .context("cannot write to stdout")?;
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).context("cannot read what was typed")?;
            line
        }
    };
    if typed.trim() != SENTENCE {
        bail!("nothing was changed: `{SENTENCE}` was not typed");
    }
    Ok(())
}
