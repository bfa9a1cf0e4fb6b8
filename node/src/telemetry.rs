//! Log output of a process.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Without `RUST_LOG`. raft-rs (target `slog`) reports every vote at INFO.
const DEFAULT_FILTER: &str = "info,slog=warn";

/// Logs to stderr: `RUST_LOG` or INFO, raft-rs (target `slog`) at WARN. `BATON_LOG_FORMAT=json` writes JSON lines.
/// A process that logs already (tests in one process) goes on as it does.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let json = std::env::var("BATON_LOG_FORMAT").is_ok_and(|it| it == "json");
    let _already = if json { lines.json().try_init() } else { lines.try_init() };
}
