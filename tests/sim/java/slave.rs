//! A Java slave (`AutoSwitchHAClient`): every error costs five seconds, after a cut it says nothing for as long, and it
//! acknowledges what it has written, whether or not it is on disk.

use super::{Host, epochs};
use crate::net::{ConnId, Port};
use crate::packet::{Cell, Packet};
use ha::Master;
use proto::ha::{EpochEntry, MasterHandshake, SlaveHandshake, SlaveKind, TransferHeader};
use proto::{BrokerId, Epoch, Millis, Offset};

const AGAIN_MS: Millis = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Handshake,
    Transfer,
}

pub struct Following {
    pub master: Master,
    state: State,
    conn: Option<ConnId>,
    /// Not before the nameservers have told the master's HA address, and five seconds after each failure.
    connect_at: Millis,
    received_epoch: Epoch,
    reported: Offset,
    read_at: Millis,
    written_at: Millis,
    body_left: usize,
}

impl Following {
    pub fn new(master: Master, connect_at: Millis) -> Following {
        Following {
            master,
            state: State::Ready,
            conn: None,
            connect_at,
            received_epoch: -1,
            reported: 0,
            read_at: 0,
            written_at: 0,
            body_left: 0,
        }
    }

    pub fn owns(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    pub fn copies(&self) -> bool {
        self.state == State::Transfer
    }

    pub fn drop_link(&mut self, host: &mut Host<'_>) {
        if let Some(conn) = self.conn.take() {
            host.close(conn);
        }
        (self.state, self.body_left) = (State::Ready, 0);
        self.connect_at = host.now() + AGAIN_MS;
    }

    pub fn tick(&mut self, host: &mut Host<'_>) {
        let now = host.now();
        match self.conn {
            None if now >= self.connect_at => {
                if let Some(to) = host.ctx.at(&self.master.address) {
                    self.conn = Some(host.ctx.connect(host.node, to, Port::Ha));
                    self.read_at = now;
                }
            }
            None => {}
            Some(_) if now >= self.read_at + host.ctx.profile.ha_silence_ms => self.drop_link(host),
            Some(_) if self.state == State::Transfer && now >= self.written_at + host.ctx.profile.ha_heartbeat_ms => {
                self.acknowledge(host, self.reported);
            }
            Some(_) => {}
        }
    }

    pub fn connected(&mut self, host: &mut Host<'_>, me: BrokerId) {
        let Some(conn) = self.conn else { return };
        (self.state, self.read_at) = (State::Handshake, host.now());
        let it = SlaveHandshake { sync_from_last_file: false, kind: SlaveKind::Java, slave: me };
        host.send(conn, Packet::SlaveHandshake(Box::new(it)));
    }

    pub fn on_packet(&mut self, host: &mut Host<'_>, packet: Packet) {
        self.read_at = host.now();
        match (self.state, packet) {
            (State::Handshake, Packet::MasterHandshake(it)) => self.on_handshake(host, &it),
            (State::Transfer, Packet::Transfer(it)) => self.on_transfer(host, &it),
            (State::Transfer, Packet::Body(cells)) => self.on_body(host, &cells),
            _ => self.drop_link(host),
        }
    }

    fn on_handshake(&mut self, host: &mut Host<'_>, it: &MasterHandshake) {
        let (end, set) = (host.disk.end(), host.set);
        host.ctx.truth(set).java_compares(&host.disk.epochs, &host.disk.log);
        self.reported = 0;
        if host.disk.epochs.last().is_some() {
            let point = epochs::consistent_point(&host.disk.epochs, end, &it.entries, it.max_offset);
            // Without one it tries again for ever.
            let Some(point) = point else { return self.drop_link(host) };
            if point < end {
                host.say(format_args!("cuts its log from {end} to {point}"));
                host.disk.truncate(point as usize);
                host.ctx.truth(set).java_cuts(host.index, point);
            }
            host.disk.epochs = epochs::without_starts_from(&host.disk.epochs, point);
            self.reported = point;
        }
        (self.state, self.written_at) = (State::Transfer, host.now());
        if let Some(master) = host.ctx.at(&self.master.address) {
            let master = master.0 - host.ctx.profile.controllers;
            host.ctx.truth(set).compared(host.index, master, None);
        }
        self.report(host);
    }

    fn on_transfer(&mut self, host: &mut Host<'_>, it: &TransferHeader) {
        let end = host.disk.end();
        if it.body_size > 0 && end != it.offset {
            return self.drop_link(host);
        }
        if it.epoch != self.received_epoch {
            self.received_epoch = it.epoch;
            let entry = EpochEntry { epoch: it.epoch, start: it.epoch_start };
            host.disk.epochs = epochs::append(&host.disk.epochs, entry);
        }
        self.body_left = it.body_size;
        host.disk.confirm = it.confirm_offset.min(end);
    }

    fn on_body(&mut self, host: &mut Host<'_>, cells: &[Cell]) {
        if self.body_left < cells.len() {
            return self.drop_link(host);
        }
        host.disk.log.extend_from_slice(cells);
        self.body_left -= cells.len();
        if self.body_left == 0 {
            self.report(host);
        }
    }

    /// Only growth is told at once.
    fn report(&mut self, host: &mut Host<'_>) {
        if host.disk.end() > self.reported {
            self.acknowledge(host, host.disk.end());
        }
    }

    fn acknowledge(&mut self, host: &mut Host<'_>, offset: Offset) {
        let Some(conn) = self.conn else { return };
        (self.reported, self.written_at) = (offset, host.now());
        host.send(conn, Packet::Ack(offset));
    }
}
