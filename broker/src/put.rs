//! Appends that the broker makes of its own accord: failed messages that come back, delayed ones that are due.
//!
//! They are confirmed like any producer's message (S3), and whoever makes them lets go of the original only then.

use crate::broker::Broker;
use ha::{Ack, Admission, Refusal};
use proto::Offset;
use proto::message::Message;
use store::PutError;

#[derive(Debug, thiserror::Error)]
pub enum NotPut {
    /// Nothing was appended; it may go through later, or on another replica.
    #[error("{0}")]
    NotNow(String),
    /// It never will.
    #[error("{0}")]
    Illegal(String),
}

/// An append that may not be confirmed yet.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    admission: Admission,
    end: Offset,
}

impl Put {
    /// Whether both belong to one uninterrupted mastership: only then the later one's confirmation speaks for
    /// the earlier one.
    pub fn same_term(&self, other: &Put) -> bool {
        self.admission.term == other.admission.term
    }
}

impl Broker {
    pub fn put(&self, message: Message) -> Result<Put, NotPut> {
        let not_now = |refusal: Refusal| NotPut::NotNow(refusal.to_string());
        let admission = self.replication.admit().map_err(not_now)?;
        let (topic, bytes) = (message.topic.clone(), message.body.len());
        let appended = self.store.append(&[message]).map_err(|error| match error {
            PutError::Illegal(_) => NotPut::Illegal(error.to_string()),
            PutError::Closed(_) | PutError::NotWritable(_) | PutError::DiskFull(_) => NotPut::NotNow(error.to_string()),
        })?;
        self.statistics.put(1, bytes);
        self.metrics.put(&topic, 1, bytes);
        Ok(Put { admission, end: appended.end })
    }

    /// Whether everything up to this append, and it itself, is confirmed, within `slaveTimeout`.
    pub async fn confirmed(&self, put: Put) -> Ack {
        self.replication.acknowledged(put.admission, put.end).await
    }
}
