//! A consumer of a set's one queue: it reads what brokers show it, of the master and now and then of a slave, commits
//! how far it has come, starts anew from there, and now and then an operator beside it creates a topic.

use crate::ctx::{Ctx, NodeId, Timer};
use crate::packet::{Packet, SetId};
use proto::Offset;

const PATIENCE_US: u64 = 1_000_000;
const COMMIT_US: u64 = 400_000;
const CREATE_US: u64 = 1_500_000;
/// Not more often than a client sends so many messages.
const CREATE_PAUSES: u64 = 60;

#[derive(Debug)]
pub struct Consumer {
    node: NodeId,
    set: SetId,
    /// Whom it believes to be master.
    guess: usize,
    /// Where it goes on; none: where its group has come to, which the master knows.
    position: Option<Offset>,
    /// When it asked, and whether it asked whom it believes to be master.
    asked: Option<(u64, bool)>,
    commit_at: u64,
    create_at: u64,
    topics: u32,
}

impl Consumer {
    pub fn new(node: NodeId, set: SetId) -> Consumer {
        Consumer { node, set, guess: 0, position: None, asked: None, commit_at: 0, create_at: 0, topics: 0 }
    }

    pub fn on_timer(&mut self, ctx: &mut Ctx) {
        let now = ctx.now;
        if let Some((_, master)) = self.asked.take_if(|it| now >= it.0 + PATIENCE_US) {
            self.guess += usize::from(master);
        }
        if self.asked.is_none() {
            self.ask(ctx);
        }
        let pause = ctx.profile.client_pause_us;
        let after = ctx.rng.between(pause, pause * 4);
        ctx.timer(self.node, after, Timer::Client);
    }

    fn ask(&mut self, ctx: &mut Ctx) {
        let now = ctx.now;
        if ctx.rng.chance(2) {
            self.position = None;
        }
        let brokers = ctx.profile.brokers_of(self.set);
        let count = brokers.len();
        let elsewhere = if ctx.rng.chance(100) { ctx.rng.below(count as u64) as usize } else { 0 };
        let master = ctx.broker(brokers.start + self.guess % count);
        let reader = ctx.broker(brokers.start + (self.guess + elsewhere) % count);
        self.asked = Some((now, self.position.is_none() || reader == master));
        let Some(at) = self.position else { return ctx.datagram(self.node, master, Packet::Query) };
        ctx.datagram(self.node, reader, Packet::Pull { at });
        if now >= self.commit_at {
            self.commit_at = now + COMMIT_US;
            ctx.datagram(self.node, master, Packet::Commit { offset: at });
        }
        if now >= self.create_at {
            self.create_at = now + ctx.rng.below(2 * CREATE_US.max(CREATE_PAUSES * ctx.profile.client_pause_us));
            self.topics += 1;
            ctx.datagram(self.node, master, Packet::Create { topic: self.topics });
        }
    }

    pub fn on_packet(&mut self, ctx: &mut Ctx, packet: Packet) {
        let master = match packet {
            Packet::Pulled { at, cells, next, moved, master } if self.position == Some(at) => {
                let truth = ctx.truth(self.set);
                match moved {
                    true => truth.consumer_moved(at, next),
                    false => truth.consumed(at, &cells),
                }
                self.position = Some(next);
                master
            }
            Packet::Committed { offset, master: true } if self.position.is_none() => {
                self.position = Some(offset.unwrap_or(0));
                true
            }
            Packet::Committed { master, .. } => master,
            _ => return,
        };
        let asked_master = self.asked.take().is_some_and(|it| it.1);
        self.guess += usize::from(asked_master && !master);
    }
}
