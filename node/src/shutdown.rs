//! SIGTERM and SIGINT as one cancellation token.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a shell expects of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT; a second one ends the process at once with code 130.
pub fn on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => {
            tokio::spawn(watch(terminate, interrupt, stop.clone()));
        }
        (Err(e), _) | (_, Err(e)) => {
            warn!(error = %e, "signals cannot be caught: a SIGTERM will end the process without clean-up")
        }
    }
    stop
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    next(&mut terminate, &mut interrupt).await;
    info!("stopping");
    stop.cancel();
    next(&mut terminate, &mut interrupt).await;
    std::process::exit(INTERRUPTED);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
