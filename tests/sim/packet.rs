//! What travels between the simulated processes: the requests of RocketMQ and ours, decoded.

use broker::{SyncBody, SyncVersion};
use controller::liveness::Heartbeat;
use controller::raft::Hello;
use ha::role::View;
use proto::ha::{MasterHandshake, SlaveHandshake, TransferHeader};
use proto::header::HoldWritesRequest;
use proto::{BrokerId, Epoch, Millis, Offset};
use raft::eraftpb::Message;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A broker set; requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetId(pub usize);

/// By their number.
const SET_NAMES: [&str; 2] = ["a", "b"];

impl SetId {
    pub fn name(self) -> &'static str {
        SET_NAMES[self.0]
    }

    pub fn named(name: &str) -> Option<SetId> {
        SET_NAMES.iter().position(|it| *it == name).map(SetId)
    }
}

/// One unit of a commit log, which counts as one byte to the cores: a message is several of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub message: u32,
    pub part: u8,
    pub parts: u8,
    /// Of the master that wrote it: the same message written twice is not the same bytes.
    pub epoch: u16,
}

#[derive(Clone, Debug)]
pub enum Packet {
    Call {
        id: u64,
        /// The broker set that it is about.
        set: SetId,
        request: Request,
    },
    Reply {
        id: u64,
        reply: Reply,
    },
    /// 1008.
    Notify(Box<View>),
    SlaveHandshake(Box<SlaveHandshake>),
    Ack(Offset),
    MasterHandshake(Box<MasterHandshake>),
    Transfer(TransferHeader),
    Body(Vec<Cell>),
    /// Between controllers: a stream opens with who opens it; without a message that is all.
    Raft {
        to: u64,
        hello: Arc<Hello>,
        message: Option<Box<Message>>,
    },
    /// The sender has good reason never to hear that directory again.
    Banned {
        directory: u64,
        why: String,
    },
    /// Who am I, asks a controller with this name and an empty disk, in this life.
    Join {
        name: String,
        life: Option<u32>,
    },
    Joined {
        life: Option<u32>,
        raft_id: u64,
    },
    /// 31001 between brokers.
    Sync(Sync),
    /// A client's message, and what became of it.
    Send(u32),
    Sent {
        message: u32,
        result: Sent,
    },
    /// A consumer reads.
    Pull {
        at: Offset,
    },
    Pulled {
        at: Offset,
        cells: Vec<Cell>,
        /// Where to go on.
        next: Offset,
        /// The offset was none of the queue's.
        moved: bool,
        master: bool,
    },
    /// How far its group has come, and what the broker knows of that.
    Commit {
        offset: Offset,
    },
    Query,
    Committed {
        offset: Option<Offset>,
        master: bool,
    },
    /// An operator creates a topic.
    Create {
        topic: u32,
    },
}

/// How a slave keeps up with its master's topics, groups and offsets.
#[derive(Clone, Debug)]
pub enum Sync {
    Ask { slave: BrokerId, has: SyncVersion },
    Answer { version: SyncVersion, body: Box<SyncBody> },
    Refused,
}

#[derive(Clone, Debug)]
pub enum Request {
    Metadata,
    NextId,
    ApplyId {
        id: BrokerId,
        check_code: String,
    },
    Register {
        id: BrokerId,
        address: String,
        /// Only Baton's processes name themselves.
        boot_id: Option<String>,
        unclean: bool,
    },
    Elect {
        id: BrokerId,
    },
    Poll,
    Alter {
        master: BrokerId,
        epoch: Epoch,
        set: BTreeSet<BrokerId>,
        set_epoch: i32,
        /// A new version of the same set is wanted: it ends all doubt about earlier proposals.
        fence: bool,
    },
    Heartbeat(Box<Heartbeat>),
    Witness {
        id: BrokerId,
    },
    /// An operator moves mastership.
    Switchover,
    /// `electMaster`, without an id and with one.
    ElectBest,
    Designate {
        id: BrokerId,
    },
    Clean {
        ids: BTreeSet<BrokerId>,
    },
    Hold(Box<HoldWritesRequest>),
    Release(Epoch),
}

#[derive(Clone, Debug)]
pub enum Reply {
    Metadata {
        leading: bool,
        leader: Option<usize>,
    },
    Id(BrokerId),
    Done,
    View(Box<View>),
    Unregistered,
    NotLeader,
    Failed,
    /// A refusal that the controllers evaluated.
    Refused,
    Altered {
        set: BTreeSet<BrokerId>,
        epoch: i32,
    },
    Heartbeat {
        lease: Option<Millis>,
        registered: bool,
        epoch: Option<Epoch>,
        set_epoch: Option<i32>,
    },
    Witness(Option<Millis>),
    Held(Result<Offset, String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Acknowledged,
    /// Nothing was stored.
    Refused,
    /// It may have been stored.
    Unknown,
}
