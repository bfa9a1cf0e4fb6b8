//! Packets of the autoswitch HA connection (port `haListenPort`), as Java speaks them. Big-endian, no framing besides
//! the state field.
//!
//! ```text
//! slave → master
//!   handshake  0      4                  6               8          16
//!              1 i32  from_last_file i16 learner i16     slave i64
//!   ack        0      4                  12
//!              2 i32  max_offset i64
//! master → slave
//!   handshake  0      4              8               16              20
//!              1 i32  body_size i32  max_offset i64  last_epoch i32  {epoch i32, start i64} …
//!   transfer   0      4              8           16         20               28                  36
//!              2 i32  body_size i32  offset i64  epoch i32  epoch_start i64  confirm_offset i64  log bytes …
//! ```
//! A decoder is given everything that has arrived; it takes one packet (of a transfer: its header, the body is
//! streamed) or says how many bytes it has to see. Lengths are bounded before anything is allocated.

use crate::{BrokerId, Decoded, Epoch, Offset};

/// `HAConnectionState` ordinals that travel.
const HANDSHAKE: i32 = 1;
const TRANSFER: i32 = 2;

pub const SLAVE_HANDSHAKE_SIZE: usize = 16;
pub const ACK_SIZE: usize = 12;
pub const MASTER_HANDSHAKE_HEADER_SIZE: usize = 20;
pub const EPOCH_ENTRY_SIZE: usize = 12;
pub const TRANSFER_HEADER_SIZE: usize = 36;

/// Most entries a handshake may carry: one election per second for eighteen hours.
pub const MAX_EPOCH_ENTRIES: usize = 65_536;
/// Largest transfer body: Java's receive buffer is 4 MiB and its batches stay below it; ours as well.
pub const MAX_TRANSFER_BODY: usize = 4 * 1024 * 1024;

/// One term of one master: everything from `start` up to the next entry's `start` was written in `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: Epoch,
    pub start: Offset,
}

/// A packet that cannot be one. The connection it came from must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaPacketError {
    #[error("HA state {0}: want 1 (handshake) or 2 (transfer)")]
    State(i32),
    #[error("HA handshake body of {0} bytes: want a multiple of 12, at most \
        {max}", max = MAX_EPOCH_ENTRIES * EPOCH_ENTRY_SIZE)]
    HandshakeSize(i32),
    #[error("HA transfer body of {0} bytes: want 0 to {max}", max = MAX_TRANSFER_BODY)]
    TransferSize(i32),
    #[error("HA handshake from replica {0}: ids start at 1")]
    SlaveId(BrokerId),
    #[error("HA acknowledgement of offset {0}: offsets start at 0")]
    AckOffset(Offset),
}

/// Opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlaveHandshake {
    /// An empty slave wants to start with the master's last file instead of its first.
    pub sync_from_last_file: bool,
    pub kind: SlaveKind,
    pub slave: BrokerId,
}

/// What a slave says about joining the SyncStateSet. Java compares the field with 1, so that our 2 is a plain slave to
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlaveKind {
    /// Joins when it has the log.
    Java = 0,
    /// Never joins: `asyncLearner=true`, of either make.
    Learner = 1,
    /// Joins when it has the log and has confirmed the master's topics and groups (S13).
    Baton = 2,
}

impl SlaveHandshake {
    pub fn encode(&self) -> [u8; SLAVE_HANDSHAKE_SIZE] {
        let mut out = [0; SLAVE_HANDSHAKE_SIZE];
        out[..4].copy_from_slice(&HANDSHAKE.to_be_bytes());
        out[4..6].copy_from_slice(&i16::from(self.sync_from_last_file).to_be_bytes());
        out[6..8].copy_from_slice(&(self.kind as i16).to_be_bytes());
        out[8..].copy_from_slice(&self.slave.to_be_bytes());
        out
    }
}

/// Acknowledgement and heartbeat of a slave: where its log ends.
pub fn encode_ack(max_offset: Offset) -> [u8; ACK_SIZE] {
    let mut out = [0; ACK_SIZE];
    out[..4].copy_from_slice(&TRANSFER.to_be_bytes());
    out[4..].copy_from_slice(&max_offset.to_be_bytes());
    out
}

/// What a slave sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlavePacket {
    Handshake(SlaveHandshake),
    Ack(Offset),
}

impl SlavePacket {
    /// Takes one packet off the front of `buf`. A handshake is taken only when all of its 16 bytes are in.
    pub fn decode(buf: &[u8]) -> Result<Decoded<SlavePacket>, HaPacketError> {
        let Some(state) = i32_at(buf, 0) else { return Ok(Decoded::NeedMore(4)) };
        match state {
            HANDSHAKE => Self::decode_handshake(buf),
            TRANSFER => match i64_at(buf, 4) {
                None => Ok(Decoded::NeedMore(ACK_SIZE)),
                Some(offset) if offset < 0 => Err(HaPacketError::AckOffset(offset)),
                Some(offset) => Ok(Decoded::Complete(SlavePacket::Ack(offset), ACK_SIZE)),
            },
            other => Err(HaPacketError::State(other)),
        }
    }

    fn decode_handshake(buf: &[u8]) -> Result<Decoded<SlavePacket>, HaPacketError> {
        let Some(slave) = i64_at(buf, 8) else { return Ok(Decoded::NeedMore(SLAVE_HANDSHAKE_SIZE)) };
        if slave < 1 {
            return Err(HaPacketError::SlaveId(slave));
        }
        let kind = match buf[6..8] {
            [0, 1] => SlaveKind::Learner,
            [0, 2] => SlaveKind::Baton,
            _ => SlaveKind::Java,
        };
        let it = SlaveHandshake { sync_from_last_file: buf[4..6] != [0, 0], kind, slave };
        Ok(Decoded::Complete(SlavePacket::Handshake(it), SLAVE_HANDSHAKE_SIZE))
    }
}

/// The master's answer to a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterHandshake {
    pub max_offset: Offset,
    pub last_epoch: Epoch,
    pub entries: Vec<EpochEntry>,
}

impl MasterHandshake {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(MASTER_HANDSHAKE_HEADER_SIZE + self.entries.len() * EPOCH_ENTRY_SIZE);
        out.extend_from_slice(&HANDSHAKE.to_be_bytes());
        out.extend_from_slice(&((self.entries.len() * EPOCH_ENTRY_SIZE) as i32).to_be_bytes());
        out.extend_from_slice(&self.max_offset.to_be_bytes());
        out.extend_from_slice(&self.last_epoch.to_be_bytes());
        for it in &self.entries {
            out.extend_from_slice(&it.epoch.to_be_bytes());
            out.extend_from_slice(&it.start.to_be_bytes());
        }
    }
}

/// Precedes log bytes; with `body_size` 0 a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferHeader {
    pub body_size: usize,
    /// Where the first body byte belongs; of a heartbeat: the next offset, −1 from an empty Java master.
    pub offset: Offset,
    /// The epoch the bytes were written in, and where it starts.
    pub epoch: Epoch,
    pub epoch_start: Offset,
    pub confirm_offset: Offset,
}

impl TransferHeader {
    pub fn encode(&self) -> [u8; TRANSFER_HEADER_SIZE] {
        let mut out = [0; TRANSFER_HEADER_SIZE];
        out[..4].copy_from_slice(&TRANSFER.to_be_bytes());
        out[4..8].copy_from_slice(&(self.body_size as i32).to_be_bytes());
        out[8..16].copy_from_slice(&self.offset.to_be_bytes());
        out[16..20].copy_from_slice(&self.epoch.to_be_bytes());
        out[20..28].copy_from_slice(&self.epoch_start.to_be_bytes());
        out[28..].copy_from_slice(&self.confirm_offset.to_be_bytes());
        out
    }
}

/// What a master sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterPacket {
    Handshake(MasterHandshake),
    /// The header only: `body_size` bytes of log follow.
    Transfer(TransferHeader),
}

impl MasterPacket {
    pub fn decode(buf: &[u8]) -> Result<Decoded<MasterPacket>, HaPacketError> {
        let (Some(state), Some(size)) = (i32_at(buf, 0), i32_at(buf, 4)) else { return Ok(Decoded::NeedMore(8)) };
        match state {
            HANDSHAKE => Self::decode_handshake(buf, size),
            TRANSFER => Self::decode_transfer(buf, size),
            other => Err(HaPacketError::State(other)),
        }
    }

    fn decode_handshake(buf: &[u8], size: i32) -> Result<Decoded<MasterPacket>, HaPacketError> {
        let body = usize::try_from(size).ok().filter(|it| *it <= MAX_EPOCH_ENTRIES * EPOCH_ENTRY_SIZE);
        let body = body.filter(|it| it % EPOCH_ENTRY_SIZE == 0).ok_or(HaPacketError::HandshakeSize(size))?;
        let used = MASTER_HANDSHAKE_HEADER_SIZE + body;
        if buf.len() < used {
            return Ok(Decoded::NeedMore(used));
        }
        let (Some(max_offset), Some(last_epoch)) = (i64_at(buf, 8), i32_at(buf, 16)) else {
            return Ok(Decoded::NeedMore(used));
        };
        let entries = buf[MASTER_HANDSHAKE_HEADER_SIZE..used].chunks_exact(EPOCH_ENTRY_SIZE);
        let entries =
            entries.filter_map(|it| Some(EpochEntry { epoch: i32_at(it, 0)?, start: i64_at(it, 4)? })).collect();
        Ok(Decoded::Complete(MasterPacket::Handshake(MasterHandshake { max_offset, last_epoch, entries }), used))
    }

    fn decode_transfer(buf: &[u8], size: i32) -> Result<Decoded<MasterPacket>, HaPacketError> {
        let body_size = usize::try_from(size).ok().filter(|it| *it <= MAX_TRANSFER_BODY);
        let body_size = body_size.ok_or(HaPacketError::TransferSize(size))?;
        let fields = (i64_at(buf, 8), i32_at(buf, 16), i64_at(buf, 20), i64_at(buf, 28));
        let (Some(offset), Some(epoch), Some(epoch_start), Some(confirm_offset)) = fields else {
            return Ok(Decoded::NeedMore(TRANSFER_HEADER_SIZE));
        };
        let header = TransferHeader { body_size, offset, epoch, epoch_start, confirm_offset };
        Ok(Decoded::Complete(MasterPacket::Transfer(header), TRANSFER_HEADER_SIZE))
    }
}

fn i32_at(buf: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(buf.get(at..at + 4)?.try_into().ok()?))
}

fn i64_at(buf: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(buf.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
