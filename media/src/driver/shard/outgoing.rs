//! What leaves a shard: sealed transport by transport, handed to the kernel in runs.

use bytes::{BufMut, Bytes, BytesMut};
use foldhash::HashMap;
use tokio::sync::mpsc;

use super::Shard;
use crate::{
    drop_reason::DropReason,
    forward::{Forward, TransportKey},
    io::udp::{Origin, Packet},
    transport::{Path, Via},
};

/// Destinations whose packets are handed to the kernel together: so few that a system call for them costs little beside them,
/// and with more viewers this part of those that were served before, up to what one call takes.
const SLICE_MIN: usize = 8;
const SLICE_MAX: usize = 64;
const SLICE_SHARE: usize = 4;

impl Shard {
    /// Seals what the rooms decided, each packet in one pass from its ring slot into the send buffer, transport by
    /// transport, so that what goes to one destination lies together and goes as one run.
    pub(super) fn drain_output(&mut self) {
        // First, so that the other shards work while this one seals.
        self.announce_relays();
        if !self.output.forwards.is_empty() {
            let mut forwards = std::mem::take(&mut self.output.forwards);
            let mut sorted = std::mem::take(&mut self.sorted);
            sorted.sort(&forwards);
            let mut handed = 0;
            for n in 0.. {
                let Some((to, indices)) = sorted.group(n) else { break };
                let mut rest = indices.map(|index| &forwards[index]).peekable();
                while rest.peek().is_some() {
                    if self.send.is_full() {
                        self.flush();
                    }
                    self.seal(to, &mut rest);
                }
                // Not all at once: the first viewers do not wait for the last.
                if self.dirty.len() >= (handed / SLICE_SHARE).clamp(SLICE_MIN, SLICE_MAX) {
                    handed += self.dirty.len();
                    self.flush();
                }
            }
            forwards.clear();
            self.output.forwards = forwards;
            self.sorted = sorted;
        }
        if !self.output.rtcp.is_empty() {
            for (to, packet) in std::mem::take(&mut self.output.rtcp) {
                self.send_rtcp(to, &packet);
            }
        }
    }

    /// Seals forwards to one transport until the send buffer is full.
    fn seal<'a>(&mut self, to: TransportKey, forwards: &mut impl Iterator<Item = &'a Forward>) {
        // Padding evens out the packets of runs; where there are none, it is for nothing.
        let (now, even) = (self.now(), self.socket.uses_gso());
        let Shard { transports, rooms, send, counts, dirty, tcp, .. } = self;
        let Some(entry) = transports.get_mut(to.0 as usize) else {
            return forwards.for_each(|_| counts.drops.count(DropReason::NotConnected));
        };
        let Some(path) = entry.transport.path() else {
            return forwards.for_each(|_| counts.drops.count(DropReason::NotConnected));
        };
        let room = rooms.get(entry.room as usize).map(|slot| &slot.room);
        while !send.is_full()
            && let Some(forward) = forwards.next()
        {
            let up = room.and_then(|room| room.up(forward.up));
            let Some(payload) = up.and_then(|up| up.payload(forward.seq)) else {
                counts.drops.count(DropReason::NotInRing);
                continue;
            };
            let transport = &mut entry.transport;
            let sealed = send.keep(|space| transport.protect_forward(now, forward, payload, even, space));
            let Some(packet) = sealed else {
                counts.drops.count(DropReason::NotConnected);
                continue;
            };
            counts.packets_out += 1;
            counts.bytes_out += payload.len() as u64 + 12;
            counts.retransmissions += u64::from(forward.original_seq.is_some());
            match path.via {
                Via::Udp => {
                    if entry.queue.is_empty() {
                        dirty.push(to);
                    }
                    entry.queue.push(packet);
                }
                Via::Tcp(connection) => send_tcp(tcp, connection, send.bytes(packet)),
            }
        }
    }

    fn queue(&mut self, to: TransportKey, path: Path, packet: Packet) {
        match path.via {
            Via::Udp => {
                let queue = &mut self.transports[to.0 as usize].queue;
                if queue.is_empty() {
                    self.dirty.push(to);
                }
                queue.push(packet);
            }
            Via::Tcp(connection) => send_tcp(&self.tcp, connection, self.send.bytes(packet)),
        }
    }

    pub(super) fn send_rtcp(&mut self, to: TransportKey, packet: &[u8]) {
        let Some(entry) = self.transports.get_mut(to.0 as usize) else { return };
        let Some(path) = entry.transport.path().filter(|_| !packet.is_empty()) else { return };
        self.scratch.clear();
        if entry.transport.protect_rtcp(packet, &mut self.scratch) {
            if self.send.is_full() {
                self.flush();
            }
            if let Some(packet) = self.send.keep_copy(&self.scratch) {
                self.queue(to, path, packet);
            }
        }
    }

    /// Hands what was sealed to the kernel.
    pub(super) fn flush(&mut self) {
        // The last flight of a handshake goes before the media that it is the key to.
        for (path, datagram) in self.outbox.datagrams.drain(..) {
            match path.via {
                Via::Udp => {
                    if let Some(packet) = self.send.keep_copy(&datagram) {
                        self.send.address(origin_of(path), &[packet], false);
                    }
                }
                Via::Tcp(connection) => send_tcp(&self.tcp, connection, &datagram),
            }
        }
        let gso = self.socket.uses_gso();
        for key in self.dirty.drain(..) {
            let Some(entry) = self.transports.get_mut(key.0 as usize) else { continue };
            if let Some(path) = entry.transport.path() {
                self.send.address(origin_of(path), &entry.queue, gso);
            }
            entry.queue.clear();
        }
        // Also when nothing is to be sent: packets of a transport that ended meanwhile are let go.
        let sent = self.socket.send(&mut self.send);
        self.counts.runs_out += sent.runs;
        self.counts.send_calls += sent.calls;
        self.counts.send_refused += sent.refused;
    }
}

fn origin_of(path: Path) -> Origin {
    Origin { remote: path.remote, local_ip: path.local_ip }
}

/// Frames a packet for TCP (RFC 4571 §2) and queues it; a full queue drops it.
fn send_tcp(connections: &HashMap<u64, mpsc::Sender<Bytes>>, connection: u64, packet: &[u8]) {
    if let Some(sender) = connections.get(&connection) {
        let mut framed = BytesMut::with_capacity(packet.len() + 2);
        framed.put_u16(packet.len() as u16);
        framed.put_slice(packet);
        let _ = sender.try_send(framed.freeze());
    }
}
