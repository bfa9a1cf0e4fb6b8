//! From the bytes of a REGISTER_BROKER to a [`Registration`]. Pure.
//!
//! The body comes in three forms: JSON `RegisterBrokerBody`; its topic wrapper alone, from peers before 3.0.11; or,
//! compressed, one zlib stream of
//! ```text
//! i32 length, DataVersion JSON
//! i32 topics, each: i32 length, "name readQueues writeQueues perm filterType {attributes}"
//! i32 length, filter servers as a JSON array
//! i32 mappings, each: i32 length, TopicQueueMappingInfo JSON          from 5.0.0 on
//! ```

use crate::route::{ConnectionId, Member, Registration};
use flate2::read::ZlibDecoder;
use proto::alias::ALIAS_OF;
use proto::body::{DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper, TopicQueueMappingInfo};
use proto::command::MAX_FRAME;
use proto::header::{HeaderError, RegisterBrokerRequest};
use proto::{Command, Millis};
use std::collections::BTreeMap;
use std::io::Read;

/// First version that wraps the topics in a RegisterBrokerBody (V3_0_11).
const WRAPPED_BODY: i32 = 37;
/// First version whose compressed body ends in static topic mappings (V5_0_0).
const MAPPINGS: i32 = 413;
const DEFAULT_TIMEOUT: Millis = 120_000;
/// Inflated bytes accepted from one frame; a stream that promises more is refused before it fills the memory.
const MAX_INFLATED: usize = 4 * MAX_FRAME;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Java's words.
    #[error("crc32 not match")]
    Crc,
    #[error("body of the registration: {0}")]
    Body(String),
}

/// What a body holds, whatever its form.
#[derive(Debug, Default)]
struct Topics {
    version: DataVersion,
    topics: BTreeMap<String, TopicConfig>,
    mappings: BTreeMap<String, TopicQueueMappingInfo>,
    filter_servers: Vec<String>,
}

impl Registration {
    pub(crate) fn decode(request: &Command, connection: ConnectionId) -> Result<Registration, RegistrationError> {
        let header: RegisterBrokerRequest = request.header()?;
        let crc = header.body_crc32.unwrap_or(0);
        if crc != 0 && crc != body_crc(&request.body) {
            return Err(RegistrationError::Crc);
        }
        let Topics { version, topics, mappings, filter_servers } = match header.compressed {
            _ if request.body.is_empty() => Topics::default(),
            Some(true) => Topics::inflate(&request.body, request.version)?,
            _ => Topics::parse(&request.body, request.version)?,
        };
        Ok(Registration {
            member: Member {
                cluster: header.cluster_name,
                address: header.broker_addr,
                broker_set: header.broker_name,
            },
            broker_id: header.broker_id,
            ha_address: header.ha_server_addr.unwrap_or_default(),
            zone: header.zone_name,
            timeout: header.heartbeat_timeout_millis.and_then(|it| it.try_into().ok()).unwrap_or(DEFAULT_TIMEOUT),
            enable_acting_master: header.enable_acting_master,
            version,
            topics,
            mappings,
            filter_servers,
            alias_of: request.ext.get(ALIAS_OF).cloned(),
            connection,
        })
    }
}

impl Topics {
    fn parse(body: &[u8], peer_version: i32) -> Result<Topics, RegistrationError> {
        let bad = |e: &dyn std::fmt::Display| RegistrationError::Body(e.to_string());
        let (wrapper, filter_servers) = if peer_version >= WRAPPED_BODY {
            let body: RegisterBrokerBody = proto::json::from_slice(body).map_err(|e| bad(&e))?;
            (body.topic_config_serialize_wrapper, body.filter_server_list)
        } else {
            (proto::json::from_slice::<TopicConfigSerializeWrapper>(body).map_err(|e| bad(&e))?, Vec::new())
        };
        Ok(Topics {
            version: wrapper.data_version,
            topics: wrapper.topic_config_table,
            mappings: wrapper.topic_queue_mapping_info_map,
            filter_servers,
        })
    }

    fn inflate(body: &[u8], peer_version: i32) -> Result<Topics, RegistrationError> {
        let mut inflated = Vec::new();
        let limit = MAX_INFLATED as u64 + 1;
        ZlibDecoder::new(body)
            .take(limit)
            .read_to_end(&mut inflated)
            .map_err(|e| RegistrationError::Body(format!("zlib: {e}")))?;
        if inflated.len() > MAX_INFLATED {
            return Err(RegistrationError::Body(format!("inflates to more than {MAX_INFLATED} bytes")));
        }
        let mut rest = Sections(&inflated);
        let mut topics = Topics { version: rest.json()?, ..Topics::default() };
        for _ in 0..rest.count()? {
            let config = topic_config(rest.section()?)?;
            topics.topics.insert(config.topic_name.clone(), config);
        }
        topics.filter_servers = rest.json()?;
        if peer_version >= MAPPINGS {
            for _ in 0..rest.count()? {
                let mapping: TopicQueueMappingInfo = rest.json()?;
                topics.mappings.insert(mapping.topic.clone(), mapping);
            }
        }
        Ok(topics)
    }
}

/// What is left of an inflated body.
struct Sections<'a>(&'a [u8]);

impl<'a> Sections<'a> {
    fn count(&mut self) -> Result<usize, RegistrationError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<4>()
            .ok_or_else(|| RegistrationError::Body(format!("a length needs 4 bytes, {} left", self.0.len())))?;
        self.0 = rest;
        let count = i32::from_be_bytes(*head);
        usize::try_from(count).map_err(|_| RegistrationError::Body(format!("negative length {count}")))
    }

    fn section(&mut self) -> Result<&'a [u8], RegistrationError> {
        let need = self.count()?;
        let (section, rest) = self
            .0
            .split_at_checked(need)
            .ok_or_else(|| RegistrationError::Body(format!("a section of {need} bytes, {} left", self.0.len())))?;
        self.0 = rest;
        Ok(section)
    }

    fn json<T: serde::de::DeserializeOwned + Default>(&mut self) -> Result<T, RegistrationError> {
        match self.section()? {
            [] => Ok(T::default()),
            json => proto::json::from_slice(json).map_err(|e| RegistrationError::Body(e.to_string())),
        }
    }
}

fn topic_config(text: &[u8]) -> Result<TopicConfig, RegistrationError> {
    let text = String::from_utf8_lossy(text);
    let bad =
        || RegistrationError::Body(format!("topic `{text}`: want name, two queue counts, permission, filter type"));
    let parts: Vec<&str> = text.splitn(6, ' ').collect();
    let [name, read, write, perm, filter, attributes @ ..] = parts.as_slice() else { return Err(bad()) };
    Ok(TopicConfig {
        topic_name: (*name).to_owned(),
        read_queue_nums: read.parse().map_err(|_| bad())?,
        write_queue_nums: write.parse().map_err(|_| bad())?,
        perm: perm.parse().map_err(|_| bad())?,
        topic_filter_type: (*filter).to_owned(),
        attributes: match attributes {
            [json] => proto::json::from_slice(json.as_bytes()).map_err(|_| bad())?,
            _ => BTreeMap::default(),
        },
        ..TopicConfig::default()
    })
}

/// CRC-32 without its top bit, as RocketMQ writes it everywhere.
fn body_crc(body: &[u8]) -> i32 {
    let mut crc = flate2::Crc::new();
    crc.update(body);
    (crc.sum() & 0x7FFF_FFFF) as i32
}

#[cfg(test)]
mod tests;
