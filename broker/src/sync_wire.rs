//! BATON_METADATA_SYNC (31001): how a Baton slave keeps up with its master's topics, groups and consumer offsets (S13).
//!
//! A long poll: the slave says what it has applied and persisted, which acknowledges it; the master answers at once
//! with what is newer, or after `waitMills` with nothing. A Java master answers 3 (not supported).

use crate::meta::topics::TopicFile;
use proto::body::{DelayOffsetTable, SubscriptionGroupWrapper};
use proto::command::ExtFields;
use proto::header::{Header, HeaderError, Member};
use proto::{BrokerId, Epoch, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What somebody has of a master's metadata. Settings and offsets count for themselves within one master epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncVersion {
    /// 0 and −1 are no master's: such a slave gets everything.
    pub master_epoch: Epoch,
    pub settings: u64,
    pub offsets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    pub broker_id: BrokerId,
    pub has: SyncVersion,
    pub wait: Millis,
}

/// Header of the answer: what the slave has once it has applied the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncResponse {
    pub version: SyncVersion,
}

/// Body of the answer. What is absent has not changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<TopicFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<SubscriptionGroupWrapper>,
    /// `topic@group` → queue → offset.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<String, BTreeMap<i32, i64>>,
    /// `offsets` replaces the slave's table instead of adding to it.
    pub whole_offsets: bool,
    /// How far each delay level is delivered; always the whole table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delays: Option<DelayOffsetTable>,
}

const REQUEST: &str = "MetadataSyncRequest";
const RESPONSE: &str = "MetadataSyncResponse";
const BROKER_ID: &str = "brokerId";
const WAIT: &str = "waitMills";

impl SyncVersion {
    fn get(ext: &ExtFields, header: &'static str) -> Result<Self, HeaderError> {
        let master_epoch = Member::get(ext, header, "masterEpoch")?;
        let settings: i64 = Member::get(ext, header, "settingsVersion")?;
        let offsets: i64 = Member::get(ext, header, "offsetsVersion")?;
        Ok(SyncVersion { master_epoch, settings: settings.max(0) as u64, offsets: offsets.max(0) as u64 })
    }

    fn put(&self, ext: &mut ExtFields) {
        self.master_epoch.put(ext, "masterEpoch");
        (self.settings as i64).put(ext, "settingsVersion");
        (self.offsets as i64).put(ext, "offsetsVersion");
    }
}

impl Header for SyncRequest {
    fn read(ext: &ExtFields) -> Result<Self, HeaderError> {
        let wait: i64 = Member::get(ext, REQUEST, WAIT)?;
        Ok(SyncRequest {
            broker_id: Member::get(ext, REQUEST, BROKER_ID)?,
            has: SyncVersion::get(ext, REQUEST)?,
            wait: wait.max(0) as Millis,
        })
    }

    fn write(&self, ext: &mut ExtFields) {
        self.broker_id.put(ext, BROKER_ID);
        self.has.put(ext);
        (self.wait as i64).put(ext, WAIT);
    }
}

impl Header for SyncResponse {
    fn read(ext: &ExtFields) -> Result<Self, HeaderError> {
        Ok(SyncResponse { version: SyncVersion::get(ext, RESPONSE)? })
    }

    fn write(&self, ext: &mut ExtFields) {
        self.version.put(ext);
    }
}
