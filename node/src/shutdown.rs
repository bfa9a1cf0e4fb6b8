//! SIGTERM and SIGINT as one cancellation token.

use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT; a second one ends the process at once with code 130.
pub fn on_signals() -> CancellationToken {
    todo!()
}
