//! Processes and hosts: how they start, end, lose power and go on.

use super::World;
use crate::controller::Controller;
use crate::ctx::NodeId;

impl World {
    pub(super) fn start(&mut self, node: NodeId) {
        let waits = |it: &Controller| it.ended || it.is_out && it.directory.is_none();
        if self.ctx.net.hosts[node.0].life.is_some() || self.controllers.get(node.0).is_some_and(waits) {
            return;
        }
        if !self.ctx.net.hosts[node.0].powered {
            self.ctx.net.hosts[node.0].powered = true;
            // The host answers for the connections of its former life.
            self.ctx.hang_up(node);
        }
        self.lives += 1;
        self.ctx.net.hosts[node.0].life = Some(self.lives);
        self.paused[node.0] = false;
        self.inboxes[node.0].clear();
        match self.broker_index(node) {
            Some(index) => self.brokers[index].start(&mut self.ctx, self.lives),
            None => self.controllers[node.0].start(&mut self.ctx),
        }
    }

    /// kill -9.
    pub(super) fn stop(&mut self, node: NodeId) {
        self.ctx.hang_up(node);
        self.drop_process(node);
    }

    fn drop_process(&mut self, node: NodeId) {
        self.ctx.net.hosts[node.0].life = None;
        self.fuses[node.0] = None;
        self.paused[node.0] = false;
        self.inboxes[node.0].clear();
        match self.broker_index(node) {
            Some(index) => {
                self.brokers[index].stop();
                self.ctx.truth(self.brokers[index].set).process_is(index, None);
            }
            None => self.controllers[node.0].process = None,
        }
    }

    pub(super) fn power_off(&mut self, node: NodeId, kept_percent: u64) {
        self.ctx.go_dark(node);
        self.drop_process(node);
        self.ctx.net.hosts[node.0].powered = false;
        match self.broker_index(node) {
            Some(index) => {
                let disk = &mut self.brokers[index].disk;
                let kept = (disk.log.len() - disk.flushed) * kept_percent as usize / 100;
                disk.lose_memory(disk.flushed + kept);
            }
            None => self.controllers[node.0].lose_memory(),
        }
    }

    pub(super) fn go_on(&mut self, node: NodeId) {
        if !std::mem::replace(&mut self.paused[node.0], false) {
            return;
        }
        self.ctx.say(node, format_args!("goes on"));
        let life = self.ctx.net.hosts[node.0].life;
        for what in std::mem::take(&mut self.inboxes[node.0]) {
            // What is in it may end it.
            if self.ctx.net.hosts[node.0].life == life && life.is_some() {
                self.give(node, what);
            }
        }
    }
}
