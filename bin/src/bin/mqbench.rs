//! `mqbench`: load, failover measurement, and the demonstration cluster.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    admin::mqbench(std::env::args_os().collect()).await
}
