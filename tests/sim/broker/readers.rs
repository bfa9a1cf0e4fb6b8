//! What consumers get of a simulated broker: what is confirmed, of a master and of a slave (`rpc/pull.rs`,
//! `rpc/offsets.rs`).

use super::{Broker, Process};
use crate::ctx::{Ctx, NodeId};
use crate::mutants::Mutant;
use crate::packet::Packet;
use broker::verdict::{Link, Pace, Replica, Standing, verdict};
use proto::Offset;
use proto::code::response;
use store::GetStatus;

/// Of one answer.
const MOST: usize = 64;

impl Broker {
    pub(super) fn on_pull(&mut self, ctx: &mut Ctx, from: NodeId, at: Offset) {
        let Some(it) = &self.process else { return };
        let replica = match it.leading {
            Some(_) => Replica::Master(it.metadata.queues(), self.tenure(ctx)),
            None => Replica::Slave(self.pace(it)),
        };
        let standing = Standing::of(replica);
        let end = match ctx.is(Mutant::ShowsUnconfirmed) {
            true => self.disk.whole_end() as Offset,
            false => self.queue_end(),
        };
        let status = match at.cmp(&end) {
            std::cmp::Ordering::Less => GetStatus::Found,
            std::cmp::Ordering::Equal => GetStatus::OffsetOverflowOne,
            std::cmp::Ordering::Greater => GetStatus::OffsetOverflowBadly,
        };
        let to = self.disk.whole_end_below((at + MOST as Offset).min(end)).max(at as usize);
        let next = if status == GetStatus::Found { to as Offset } else { end };
        let answer = verdict(standing, status, at, next);
        let cells = match answer.code {
            response::SUCCESS => self.disk.log[at as usize..to].to_vec(),
            _ => Vec::new(),
        };
        let moved = answer.code == response::PULL_OFFSET_MOVED;
        let master = it.leading.is_some();
        ctx.datagram(self.node, from, Packet::Pulled { at, cells, next: answer.next, moved, master });
    }

    /// Its queues have what its log has.
    fn pace(&self, it: &Process) -> Pace {
        let link = if self.is_connected() { Link::Up } else { Link::Down };
        Pace::of(it.me, it.metadata.set(), link, 0)
    }

    pub(super) fn on_query(&mut self, ctx: &mut Ctx, from: NodeId) {
        let Some(it) = &self.process else { return };
        let (offset, master) = (it.metadata.committed(), it.leading.is_some());
        if master && it.metadata.has_true_offsets() {
            ctx.truth(self.set).offset_told(self.index, offset.unwrap_or(0), self.queue_end());
        }
        ctx.datagram(self.node, from, Packet::Committed { offset, master });
    }
}
