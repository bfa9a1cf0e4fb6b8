//! Clients of a set: each sends one message at a time and waits for it.

use super::{Deferred, World};
use crate::ctx::{NodeId, Timer};
use crate::faults::Profile;
use crate::packet::{Packet, Sent, SetId};

const PATIENCE_US: u64 = 1_000_000;

pub(super) struct Client {
    pub(super) set: SetId,
    /// Which of the set's replicas it believes to be master.
    guess: usize,
    /// For an answer about this message, sent at that time.
    waits: Option<(u32, u64)>,
}

impl Client {
    pub(super) fn new(set: SetId) -> Client {
        Client { set, guess: 0, waits: None }
    }

    fn looks_elsewhere(&mut self, profile: &Profile) {
        self.guess = (self.guess + 1) % profile.replicas;
    }
}

impl World {
    pub(super) fn on_client(&mut self, node: NodeId, what: Deferred) {
        let index = node.0 - self.ctx.profile.controllers - self.brokers.len();
        if let Some(at) = index.checked_sub(self.clients.len()) {
            match what {
                Deferred::Timer(_) => self.consumers[at].on_timer(&mut self.ctx),
                Deferred::Datagram(_, packet) => self.consumers[at].on_packet(&mut self.ctx, packet),
                Deferred::Incoming(..) | Deferred::Ask(_) => {}
            }
            return;
        }
        match what {
            Deferred::Timer(_) => self.client_works(node, index),
            Deferred::Datagram(_, Packet::Sent { message, result }) => {
                let client = &mut self.clients[index];
                if let Some((_, asked_at)) = client.waits.take_if(|it| it.0 == message) {
                    match result {
                        Sent::Acknowledged => {
                            // An answer that was on its way when the blow fell says nothing about what follows it.
                            let since = self.last_blow.or(self.calm_since);
                            self.acknowledged_since[client.set.0] |= since.is_some_and(|since| asked_at >= since);
                            self.ctx.truth(client.set).heard.push(message);
                        }
                        Sent::Refused | Sent::Unknown => client.looks_elsewhere(&self.ctx.profile),
                    }
                }
            }
            _ => {}
        }
    }

    fn client_works(&mut self, node: NodeId, index: usize) {
        let now = self.ctx.now;
        let count = self.clients.len() as u32;
        let client = &mut self.clients[index];
        if client.waits.is_some_and(|it| now >= it.1 + PATIENCE_US) {
            client.waits = None;
            client.looks_elsewhere(&self.ctx.profile);
        }
        if client.waits.is_none() && self.ends_at.is_none() {
            // Which client sent a message can be told from its number.
            self.sent += 1;
            let message = self.sent * count + index as u32;
            client.waits = Some((message, now));
            let to = self.ctx.broker(self.ctx.profile.brokers_of(client.set).start + client.guess);
            self.ctx.datagram(node, to, Packet::Send(message));
        }
        let pause = self.ctx.profile.client_pause_us;
        let after = self.ctx.rng.between(pause / 2, pause * 2);
        self.ctx.timer(node, after, Timer::Client);
    }
}
