//! One request to one master, watched for that master's replacement.

use super::{SendError, SendResult, SendStatus, Shared};
use crate::routes::{Topic, Urgency};
use crate::routing::Successor;
use node::remoting::CallError;
use proto::Command;
use proto::body::MessageQueue;
use proto::code::response;
use proto::header::SendMessageResponse;
use tokio::time::{Instant, timeout};

pub(super) enum Attempt {
    Stored(Answer),
    /// Refused with this code: not stored.
    Answered {
        code: i32,
        remark: String,
    },
    /// The request never left: not stored.
    NotSent(String),
    /// Nobody knows.
    Unknown(String),
}

/// A success, header not yet looked at.
pub(super) struct Answer {
    status: SendStatus,
    command: Command,
}

/// Sends, and waits for the answer, the deadline, or a new master while the answer is overdue.
pub(super) async fn run(
    shared: &Shared,
    topic: &Topic,
    request: Command,
    queue: &MessageQueue,
    address: &str,
    deadline: Instant,
) -> Attempt {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut call = std::pin::pin!(shared.client.call(address, request, left));
    let answer = match timeout(shared.options.silence.min(left), &mut call).await {
        Ok(answer) => answer,
        Err(_) => {
            let moved = topic.wait(Urgency::Watch, deadline, |it| {
                let route = it.route.as_deref()?;
                matches!(route.successor(&queue.broker_name, address), Successor::At(_)).then_some(())
            });
            tokio::select! {
                biased;
                answer = &mut call => answer,
                moved = moved => {
                    let why = if moved.is_some() { "another master was elected" } else { "the time is up" };
                    return Attempt::Unknown(format!("{address}: no answer, {why}"));
                }
            }
        }
    };
    match answer {
        Ok(command) => judge(shared, command, address),
        Err(e @ (CallError::Refused { .. } | CallError::Connect { .. })) => Attempt::NotSent(e.to_string()),
        Err(e) => Attempt::Unknown(e.to_string()),
    }
}

fn judge(shared: &Shared, command: Command, address: &str) -> Attempt {
    let status = match command.code {
        response::SUCCESS => SendStatus::SendOk,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        code => {
            if code == response::GO_AWAY {
                shared.client.close(address);
            }
            return Attempt::Answered { code, remark: command.remark.unwrap_or_default() };
        }
    };
    Attempt::Stored(Answer { status, command })
}

impl Answer {
    pub(super) fn result(
        self,
        msg_id: String,
        topic: &str,
        queue: MessageQueue,
        address: String,
        attempts: u32,
    ) -> Result<SendResult, SendError> {
        let header: SendMessageResponse = self.command.header().map_err(|e| SendError::Refused {
            topic: topic.to_owned(),
            address: address.clone(),
            attempts,
            code: self.command.code,
            remark: format!("stored, but the answer cannot be read: {e}"),
        })?;
        Ok(SendResult {
            status: self.status,
            msg_id: header.batch_uniq_id.unwrap_or(msg_id),
            offset_msg_id: header.msg_id,
            queue: MessageQueue { queue_id: header.queue_id, ..queue },
            queue_offset: header.queue_offset,
            transaction_id: header.transaction_id,
            address,
            attempts,
        })
    }
}
