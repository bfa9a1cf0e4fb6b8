//! What stands in this replica's small files, as bytes: their readers without the files, for whoever has to feed them
//! anything.

use crate::epochs::EpochHistory;
use crate::identity::IdentityFile;
use crate::role::Promise;
use crate::{epoch_file, promise_file};
use proto::BrokerId;

/// `epochFileCheckpoint`.
pub fn epochs(text: &str) -> Result<EpochHistory, String> {
    epoch_file::decode(text)
}

/// The same back to text.
pub fn epochs_text(history: &EpochHistory) -> String {
    epoch_file::encode(history)
}

/// `epochPromise`: the newest whole promise in it.
pub fn promise(text: &str) -> Option<Promise> {
    promise_file::newest(text).map(|it| it.1)
}

/// `brokerIdentity` of this broker set.
pub fn identity(text: &str, cluster: &str, broker_set: &str) -> Result<BrokerId, String> {
    let file = IdentityFile::new("brokerIdentity".into(), cluster, broker_set);
    file.parse_identity(text).map_err(|error| error.to_string())
}
