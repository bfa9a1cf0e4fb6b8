//! `mqadmin`: RocketMQ's operator commands.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    admin::mqadmin(std::env::args().skip(1).collect()).await
}
