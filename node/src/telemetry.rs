//! Log output of a process.

/// Logs to stderr: `RUST_LOG` or INFO, raft-rs (target `slog`) at WARN. `BATON_LOG_FORMAT=json` writes JSON lines.
pub fn init() {
    todo!()
}
