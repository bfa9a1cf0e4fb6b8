//! Each target takes any bytes, must not panic, and checks what must be true of whatever it could read: that it reads
//! the same again when it is written, and that it does not depend on how the bytes came in.
//!
//! Used by the fuzzers in this folder and, without any of them, by tests/fuzz.

use bytes::BytesMut;
use proto::command::ExtFields;
use proto::ha::{MasterPacket, SlavePacket, encode_ack};
use proto::header::*;
use proto::message::{self, Record};
use proto::{Command, Decoded};
use std::collections::BTreeMap;

/// Frames of the remoting protocol, whole and in pieces.
pub fn remoting(data: &[u8]) {
    let whole = frames(&[data]);
    let cut = data.iter().map(|it| *it as usize).sum::<usize>() % (data.len() + 1);
    assert_eq!(frames(&[&data[..cut], &data[cut..]]), whole, "frames depend on how the bytes came in");
    for mut command in whole.into_iter().flatten() {
        is_read_again(&command, Command::encode);
        // In the binary form an empty text is a missing one.
        command.ext.retain(|key, value| !key.is_empty() && !value.is_empty());
        command.remark.take_if(|it| it.is_empty());
        is_read_again(&command, Command::encode_binary);
    }
}

fn is_read_again(command: &Command, encode: fn(&Command, &mut BytesMut)) {
    let mut bytes = BytesMut::new();
    encode(command, &mut bytes);
    let again = Command::decode(&mut bytes).expect("our own frame").expect("a whole one");
    assert!(bytes.is_empty(), "a frame and {} bytes more", bytes.len());
    assert_eq!((again.code, again.opaque, &again.ext), (command.code, command.opaque, &command.ext));
    assert_eq!((again.flag, &again.remark, &again.body), (command.flag, &command.remark, &command.body));
}

/// All frames, and `None` for what ends the connection.
fn frames(parts: &[&[u8]]) -> Vec<Option<Command>> {
    let (mut buf, mut found) = (BytesMut::new(), Vec::new());
    for part in parts {
        buf.extend_from_slice(part);
        loop {
            match Command::decode(&mut buf) {
                Ok(Some(command)) => found.push(Some(command)),
                Ok(None) => break,
                Err(_) => {
                    found.push(None);
                    return found;
                }
            }
        }
    }
    found
}

/// Every typed header, of fields in lines `name=value`.
pub fn headers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut command = Command::request(0);
    for (key, value) in text.lines().filter_map(|it| it.split_once('=')) {
        command.ext.insert(key.into(), value.into());
    }
    READ_ALL.iter().for_each(|it| (it.1)(&command.ext));
}

/// A header that can be read is the same when it is written and read again.
fn header<H: Header + PartialEq + std::fmt::Debug>(ext: &ExtFields) {
    if let Ok(read) = H::read(ext) {
        let mut written = ExtFields::default();
        read.write(&mut written);
        assert_eq!(H::read(&written).as_ref(), Ok(&read));
    }
}

macro_rules! each_header {
    ($($name:ident),* $(,)?) => {
        /// By name: tests/fuzz compares the names with those in proto.
        pub const READ_ALL: &[(&str, fn(&ExtFields))] = &[$((stringify!($name), header::<$name>)),*];
    };
}

each_header!(
    AddWritePermOfBrokerResponse,
    AlterSyncStateSetRequest,
    AlterSyncStateSetResponse,
    ApplyBrokerIdRequest,
    ApplyBrokerIdResponse,
    BatonControllersRequest,
    BatonExplainRequest,
    BatonHistoryRequest,
    BatonWitnessRequest,
    BatonWitnessResponse,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    CheckTransactionStateRequest,
    CleanBrokerDataRequest,
    ConsumerSendMsgBackRequest,
    CreateTopicRequest,
    DeleteKvConfigRequest,
    DeleteSubscriptionGroupRequest,
    DeleteTopicInNamesrvRequest,
    DeleteTopicRequest,
    DrainRequest,
    ElectMasterRequest,
    ElectMasterResponse,
    EndTransactionRequest,
    ExchangeHaInfo,
    GetAllSubscriptionGroupRequest,
    GetAllSubscriptionGroupResponse,
    GetAllTopicConfigRequest,
    GetAllTopicConfigResponse,
    GetBrokerConfigResponse,
    GetBrokerMemberGroupRequest,
    GetConsumeStatsRequest,
    GetConsumerConnectionListRequest,
    GetConsumerListByGroupRequest,
    GetEarliestMsgStoretimeResponse,
    GetKvConfigRequest,
    GetKvConfigResponse,
    GetKvListByNamespaceRequest,
    GetMaxOffsetRequest,
    GetMetadataInfoResponse,
    GetMinOffsetRequest,
    GetNextBrokerIdRequest,
    GetNextBrokerIdResponse,
    GetProducerConnectionListRequest,
    GetReplicaInfoRequest,
    GetReplicaInfoResponse,
    GetRouteInfoRequest,
    GetSubscriptionGroupConfigRequest,
    GetTopicConfigRequest,
    GetTopicStatsInfoRequest,
    GetTopicsByClusterRequest,
    HeartbeatResponse,
    HoldWritesRequest,
    HoldWritesResponse,
    NotifyBrokerRoleChangedRequest,
    NotifyConsumerIdsChangedRequest,
    NotifyMinBrokerIdChangeRequest,
    OffsetResponse,
    PauseRequest,
    PullMessageRequest,
    PullMessageResponse,
    PutKvConfigRequest,
    QueryConsumerOffsetRequest,
    QueryDataVersionRequest,
    QueryDataVersionResponse,
    QueryMessageRequest,
    QueryMessageResponse,
    QueryTopicConsumeByWhoRequest,
    QueryTopicsByConsumerRequest,
    RegisterBrokerRequest,
    RegisterBrokerResponse,
    RegisterBrokerToControllerRequest,
    RegisterBrokerToControllerResponse,
    RegisterTopicRequest,
    ReleaseWritesRequest,
    ResetMasterFlushOffsetRequest,
    SearchOffsetRequest,
    SendMessageRequest,
    SendMessageResponse,
    SwitchoverRequest,
    SwitchoverResponse,
    UnregisterBrokerRequest,
    UnregisterClientRequest,
    UpdateConsumerOffsetRequest,
    ViewMessageRequest,
    WipeWritePermOfBrokerResponse,
    WritePermOfBrokerRequest,
);

/// Both directions of a replication link.
pub fn ha_packets(data: &[u8]) {
    packets(data, SlavePacket::decode, |packet| match packet {
        SlavePacket::Handshake(it) => it.encode().to_vec(),
        SlavePacket::Ack(offset) => encode_ack(*offset).to_vec(),
    });
    packets(data, MasterPacket::decode, |packet| match packet {
        MasterPacket::Transfer(it) => it.encode().to_vec(),
        MasterPacket::Handshake(it) => {
            let mut out = Vec::new();
            it.encode(&mut out);
            out
        }
    });
}

fn packets<T: PartialEq + std::fmt::Debug, E>(
    mut data: &[u8],
    decode: fn(&[u8]) -> Result<Decoded<T>, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    while let Ok(Decoded::Complete(packet, used)) = decode(data) {
        assert!((1..=data.len()).contains(&used), "{used} of {} bytes", data.len());
        for shorter in 0..used.min(64) {
            match decode(&data[..shorter]) {
                Ok(Decoded::NeedMore(need)) => assert!(need > shorter, "needs {need}, has {shorter}"),
                Ok(Decoded::Complete(it, _)) => panic!("{it:?} of {shorter} bytes, {packet:?} of {used}"),
                Err(_) => panic!("{shorter} bytes are an error, {used} are {packet:?}"),
            }
        }
        let bytes = encode(&packet);
        match decode(&bytes) {
            Ok(Decoded::Complete(again, all)) => assert_eq!((&again, all), (&packet, bytes.len())),
            _ => panic!("{packet:?} is not read again"),
        }
        data = &data[used..];
    }
}

/// Stored records, one after the other; message ids and batches, which are made of the same.
pub fn records(data: &[u8]) {
    let mut rest = data;
    while let Ok(record) = Record::decode(rest) {
        assert!(record.size <= rest.len() && record.size >= message::MIN_SIZE, "{} bytes", record.size);
        assert_eq!(message::store_timestamp(rest), Some(record.store_timestamp));
        let _ = message::check(rest);
        let mut patched = rest[..record.size].to_vec();
        message::patch(&mut patched, 7, 8, 9);
        let again = Record::decode(&patched).expect("a patched record is one");
        assert_eq!((again.queue_offset, again.physical_offset, again.store_timestamp), (7, 8, 9));
        let id = message::offset_message_id(&record.store_host, record.physical_offset);
        assert!(message::parse_offset_message_id(&id).is_some(), "{id}");
        rest = &rest[record.size..];
    }
    let _ = message::parse_offset_message_id(&String::from_utf8_lossy(data));
    if let Ok(batch) = proto::batch::decode(&bytes::Bytes::copy_from_slice(data)) {
        let bytes = proto::batch::encode(&batch).expect("what was read can be written");
        assert_eq!(proto::batch::decode(&bytes.into()).expect("our own batch"), batch);
    }
}

/// Size of a log file in [`log`].
pub const LOG_FILE: usize = 16 * 1024;

/// A store that opens on this log, or says why not. The first byte says whether the process before ended in order.
/// What recovery keeps can be read, and another start finds the same (S12).
pub fn log(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else { return };
    let folder = tempfile::Builder::new().prefix("baton-fuzz-").tempdir().expect("a folder");
    let log = folder.path().join("commitlog");
    std::fs::create_dir_all(&log).expect("a folder");
    for (i, part) in bytes.chunks(LOG_FILE).take(3).enumerate() {
        let mut file = part.to_vec();
        file.resize(LOG_FILE, 0);
        std::fs::write(log.join(format!("{:020}", i * LOG_FILE)), file).expect("a file");
    }
    if how & 1 != 0 {
        std::fs::write(folder.path().join("abort"), "").expect("a file");
    }
    let config = store::StoreConfig {
        root: folder.path().into(),
        commit_log: log,
        commit_log_file_size: LOG_FILE as u64,
        consume_queue_file_size: 2_000,
        flush: store::FlushDiskType::AsyncFlush,
        max_message_size: 4096,
        file_reserved_hours: 72,
        delay_levels: store::DelayLevels::default(),
        replicated: how & 2 != 0,
    };
    let Ok((first, _)) = store::Store::open(config.clone()) else { return };
    let kept = contents(&first);
    first.shutdown().expect("a store that opened can be closed");
    drop(first);
    let (second, recovery) = store::Store::open(config).expect("what recovery left opens again");
    assert!(recovery.cut.is_empty(), "cut again: {:?}", recovery.cut);
    assert_eq!(contents(&second), kept, "the second start finds something else");
    second.shutdown().expect("a store that opened can be closed");
}

/// The log's end and each record's place and body.
fn contents(store: &store::Store) -> (i64, BTreeMap<i64, Vec<u8>>) {
    let mut records = BTreeMap::new();
    store.walk(store.min_offset(), store.max_offset(), &mut |it| {
        records.insert(it.physical_offset, it.body.to_vec());
    });
    for offset in records.keys() {
        assert!(store.record_at(*offset).is_some(), "the record at {offset} cannot be read");
    }
    (store.max_offset(), records)
}

/// Epoch history, promise and identity of a replica.
pub fn files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(history) = ha::files::epochs(&text) {
        let again = ha::files::epochs(&ha::files::epochs_text(&history)).expect("our own file");
        assert_eq!(again, history);
        assert!(history.entries().windows(2).all(|it| it[0].epoch < it[1].epoch), "{history:?}");
    }
    let _ = ha::files::promise(&text);
    if let Ok(id) = ha::files::identity(&text, "c", "broker-a") {
        assert_eq!(ha::files::identity(&format!("c#broker-a#{id}"), "c", "broker-a"), Ok(id));
    }
}

/// Configuration files of nameservers and brokers: what could be read is printed and read the same.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    settings::<namesrv::Config>(&text);
    settings::<broker::Config>(&text);
    if let Ok(it) = node::properties::parse::<broker::Config>("broker.conf", &text) {
        let config = it.config;
        let _ = (config.store(), config.ha(1, false).is_ok(), config.durability_in_words(), config.delete_hours());
    }
}

/// One struct's keys.
pub fn settings<T: serde::de::DeserializeOwned + serde::Serialize + Default>(text: &str) {
    if let Ok(read) = node::properties::parse::<T>("some.conf", text) {
        let printed = node::properties::print_with_secrets(&read.config);
        let again = node::properties::parse::<T>("printed.conf", &printed);
        let again = again.unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(node::properties::print_with_secrets(&again.config), printed);
    }
}
