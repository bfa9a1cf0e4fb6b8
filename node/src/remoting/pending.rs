//! Requests of ours that wait for an answer on one connection, matched by opaque.

use super::CallError;
use parking_lot::Mutex;
use proto::Command;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) struct Pending {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    state: Mutex<State>,
}

struct State {
    /// `None` once the connection has closed: nothing can be expected any more.
    waiting: Option<HashMap<i32, oneshot::Sender<Command>>>,
    next_opaque: i32,
}

/// One expectation; dropping it forgets the request, so that a late answer is dropped too.
struct Expectation {
    shared: Arc<Shared>,
    opaque: i32,
}

impl Pending {
    pub(super) fn new(address: String) -> Pending {
        let state = State { waiting: Some(HashMap::new()), next_opaque: 0 };
        Pending { shared: Arc::new(Shared { address, state: Mutex::new(state) }) }
    }

    /// Gives the request an opaque of its own. The future is of its answer; the time runs from now, polled or not.
    pub(super) fn expect(
        &self,
        request: &mut Command,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<Command, CallError>> + Send + 'static + use<>, CallError> {
        let (answer, answered) = oneshot::channel();
        let code = request.code;
        request.opaque = self.insert(answer).ok_or_else(|| self.closed_error(code))?;
        let expectation = Expectation { shared: Arc::clone(&self.shared), opaque: request.opaque };
        let deadline = Instant::now() + timeout;
        Ok(async move {
            let address = &expectation.shared.address;
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(CallError::Closed { address: address.clone(), code }),
                Err(_) => {
                    Err(CallError::Timeout { address: address.clone(), code, timeout_ms: timeout.as_millis() as u64 })
                }
            }
        })
    }

    /// `None`: the connection has closed.
    fn insert(&self, answer: oneshot::Sender<Command>) -> Option<i32> {
        let mut state = self.shared.state.lock();
        let State { waiting, next_opaque } = &mut *state;
        let waiting = waiting.as_mut()?;
        // After 2^32 requests the counter comes round; one that is still waiting keeps its number.
        while waiting.contains_key(next_opaque) {
            *next_opaque = next_opaque.wrapping_add(1);
        }
        let opaque = *next_opaque;
        *next_opaque = opaque.wrapping_add(1);
        waiting.insert(opaque, answer);
        Some(opaque)
    }

    /// Hands an answer to whoever waits for it; one that nobody expects (any more) is dropped.
    pub(super) fn answer(&self, response: Command) {
        let waiting = self.shared.state.lock().waiting.as_mut().and_then(|it| it.remove(&response.opaque));
        if let Some(waiting) = waiting {
            let _ = waiting.send(response); // it may have stopped waiting in between
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.state.lock().waiting.as_ref().is_none_or(HashMap::is_empty)
    }

    /// The connection has closed: all that wait end now with [`CallError::Closed`].
    pub(super) fn close(&self) {
        let waiting = self.shared.state.lock().waiting.take();
        drop(waiting); // outside the lock: it wakes tasks
    }

    pub(super) fn closed_error(&self, code: i32) -> CallError {
        CallError::Closed { address: self.shared.address.clone(), code }
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        if let Some(waiting) = &mut self.shared.state.lock().waiting {
            waiting.remove(&self.opaque);
        }
    }
}
