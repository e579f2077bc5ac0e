//! What comes to a shard's socket: STUN, handshakes, media, reports.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::warn;

use super::{super::mailbox::ShardEvent, Entry, Shard};
use crate::{
    buf::slot::Slot,
    drop_reason::DropReason,
    forward::TransportKey,
    io::udp::RecvBatch,
    rtp::{
        ext,
        packet::{self, Header},
        rtcp::{self, Rtcp},
    },
    transport::{self, Path, Protocol, TransportEvent, Via, stun},
    units::time::Time,
};

/// Receive calls in one turn.
const RECEIVES_PER_TURN: usize = 16;

impl Shard {
    /// Takes datagrams until there are none or the turn's share is used up; true in the second case.
    pub(super) fn receive(&mut self, batch: &mut RecvBatch) -> bool {
        for _ in 0..RECEIVES_PER_TURN {
            let n = match self.socket.receive(batch) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(error) => {
                    warn!(%error, "receiving failed");
                    return false;
                }
            };
            self.counts.messages_in += n as u64;
            let now = self.now();
            while let Some((origin, slot)) = batch.next() {
                let path = Path { remote: origin.remote, local_ip: origin.local_ip, via: Via::Udp };
                self.handle_datagram(now, path, slot);
            }
            // The last of it is sent when nothing more is there: what arrives while this is sealed joins its runs.
            self.drain_output();
        }
        true
    }

    pub(super) fn handle_datagram(&mut self, now: Time, path: Path, slot: &mut Slot) {
        self.counts.datagrams_in += 1;
        self.counts.bytes_in += slot.len() as u64;
        let Some(&first) = slot.data().first() else { return self.drop(DropReason::TooLong) };
        let result = match transport::classify(first) {
            Protocol::Stun => self.handle_stun(now, path, slot.data()),
            Protocol::Dtls => self.postpone_dtls(path, slot.data()),
            Protocol::Rtp => self.handle_media(now, path, slot),
            Protocol::Unknown => Err(DropReason::UnknownProtocol),
        };
        if let Err(reason) = result {
            self.drop(reason);
        }
    }

    fn drop(&mut self, reason: DropReason) {
        self.counts.drops.count(reason);
    }

    fn handle_stun(&mut self, now: Time, path: Path, data: &[u8]) -> Result<(), DropReason> {
        let by_name = stun::peek_local_ufrag(data).and_then(|ufrag| self.by_ufrag.get(ufrag));
        let key = *by_name.or_else(|| self.by_path.get(&(path.remote, path.via))).ok_or(DropReason::StunAuth)?;
        let entry = &mut self.transports[key.0 as usize];
        if let Some(validated) = entry.transport.handle_stun(now, path, data, &mut self.outbox)? {
            self.route(key, validated);
        }
        self.arm(key);
        Ok(())
    }

    /// Makes a path of a transport's lead to it.
    fn route(&mut self, key: TransportKey, new: Path) {
        if let Some(old) = self.by_path.insert((new.remote, new.via), key)
            && old != key
            && let Some(old) = self.transports.get_mut(old.0 as usize)
        {
            old.paths.retain(|p| *p != new);
        }
        let Entry { paths, transport, .. } = &mut self.transports[key.0 as usize];
        // The transport keeps a bounded number of paths; the ones it gave up lead here no longer.
        paths.retain(|path| {
            let keep = *path != new && transport.is_valid_path(*path);
            if !keep && *path != new {
                self.by_path.remove(&(path.remote, path.via));
            }
            keep
        });
        paths.push(new);
    }

    /// Puts a handshake's datagram behind the media of this turn. What is not from a checked path never waits.
    fn postpone_dtls(&mut self, path: Path, data: &[u8]) -> Result<(), DropReason> {
        if !self.by_path.contains_key(&(path.remote, path.via)) {
            return Err(DropReason::UnknownPath);
        }
        self.handshakes.push(path, data)
    }

    /// Goes on with handshakes that wait, a few in a turn, when its media has left. True if more are waiting.
    pub(super) fn shake_hands(&mut self) -> bool {
        if self.handshakes.is_empty() {
            return false;
        }
        for _ in 0..self.config.handshakes_per_turn {
            let Some((path, datagram)) = self.handshakes.pop() else { break };
            if let Err(reason) = self.handle_dtls(self.now(), path, &datagram) {
                self.drop(reason);
            }
        }
        self.flush();
        !self.handshakes.is_empty()
    }

    fn handle_dtls(&mut self, now: Time, path: Path, data: &[u8]) -> Result<(), DropReason> {
        let key = *self.by_path.get(&(path.remote, path.via)).ok_or(DropReason::UnknownPath)?;
        let entry = &mut self.transports[key.0 as usize];
        let event = entry.transport.handle_dtls(now, path, data, &mut self.outbox)?;
        self.handle_transport_event(now, key, event);
        Ok(())
    }

    pub(super) fn handle_transport_event(&mut self, now: Time, key: TransportKey, event: Option<TransportEvent>) {
        match event {
            None => self.arm(key),
            Some(TransportEvent::Connected) => {
                let entry = &self.transports[key.0 as usize];
                let _ = self.events.send(ShardEvent::Connected { id: entry.id });
                let room = &mut self.rooms[entry.room as usize].room;
                for (_, down) in &entry.downs {
                    room.start(now, *down, &mut self.output);
                }
                self.touch(self.transports[key.0 as usize].room);
                self.drain_output();
                self.arm(key);
            }
            Some(TransportEvent::Closed(reason)) => {
                let id = self.transports[key.0 as usize].id;
                self.hold_ups(key);
                self.remove_transport(key);
                let _ = self.events.send(ShardEvent::Closed { id, reason });
            }
        }
    }

    /// The life of a packet: found by its path, decrypted, counted, parsed once and swapped into the ring of its up track,
    /// and turned into a [`Forward`] for each down track. What the forwards leave as is [`flush`](Self::flush).
    fn handle_media(&mut self, now: Time, path: Path, slot: &mut Slot) -> Result<(), DropReason> {
        let known = self.by_path.get(&(path.remote, path.via)).copied();
        let key = known.or_else(|| self.find_roaming(now, path, slot.data())).ok_or(DropReason::UnknownPath)?;
        let entry = &mut self.transports[key.0 as usize];
        if packet::is_rtcp(slot.data()) {
            let len = entry.transport.unprotect_rtcp(now, path, slot.data_mut())?;
            slot.set_len(len);
            return self.in_room(key, |shard| shard.handle_rtcp(now, key, slot.data()));
        }
        let len = entry.transport.unprotect_rtp(now, path, slot.data_mut())?;
        slot.set_len(len);
        self.counts.packets_in += 1;
        let header = Header::parse(slot.data())?;
        if let Some(id) = entry.ups.ext().transport_cc
            && let Some(seq) = ext::find(slot.data(), &header, id).and_then(ext::transport_cc)
        {
            entry.twcc.on_packet(now, seq);
        }
        let level = entry.ups.ext().audio_level.and_then(|id| ext::find(slot.data(), &header, id));
        let level = level.and_then(ext::audio_level);
        let resolved = entry.ups.resolve(&header, slot.data()).ok_or(DropReason::UnknownSsrc)?;
        let arm_twcc = !entry.twcc_armed && entry.twcc.next_timeout().is_some();
        let room = entry.room;
        if resolved.learned
            && let Some(up) = self.rooms[room as usize].room.up_mut(resolved.key)
        {
            up.set_ssrc(resolved.rtx, header.ssrc);
        }
        self.in_room(key, |shard| {
            let room = &mut shard.rooms[room as usize].room;
            if let Some(level) = level {
                room.hear(now, resolved.key, level.dbov);
            }
            room.handle_rtp(now, resolved.key, resolved.rtx, slot, &mut shard.output);
            Ok(())
        })?;
        self.touch(room);
        if arm_twcc {
            self.arm(key);
        }
        Ok(())
    }

    /// The transport that a packet from an unknown address is from, if the packet proves it; its path has then moved there.
    /// See [`super::roaming`].
    #[cold]
    fn find_roaming(&mut self, now: Time, path: Path, packet: &[u8]) -> Option<TransportKey> {
        if path.via != Via::Udp || !self.roaming.take(now, path.remote.ip()) {
            return None;
        }
        let rtcp = packet::is_rtcp(packet);
        let mut candidates: Vec<(bool, TransportKey)> = self
            .transports
            .iter()
            .filter(|(_, entry)| entry.transport.may_recognise(now, packet, rtcp))
            .map(|(i, e)| (e.transport.remote_ip() == Some(path.remote.ip()), TransportKey(i as u32)))
            .collect();
        self.roaming.choose(&mut candidates);
        let (_, key) = candidates.into_iter().find(|(_, key)| {
            let transport = &self.transports[key.0 as usize].transport;
            Slot::copy_of(packet).is_some_and(|mut copy| transport.recognises(copy.data_mut(), rtcp))
        })?;
        self.transports[key.0 as usize].transport.adopt_path(now, path);
        self.route(key, path);
        self.counts.paths_moved += 1;
        Some(key)
    }

    /// Runs something that touches a room. A panic in there is a broken invariant of ours: the room is discarded, the
    /// others never hear of it.
    fn in_room<T>(
        &mut self,
        key: TransportKey,
        run: impl FnOnce(&mut Self) -> Result<T, DropReason>,
    ) -> Result<T, DropReason> {
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(result) => result,
            Err(_) => {
                if let Some(entry) = self.transports.get(key.0 as usize) {
                    self.discard_room(entry.room);
                }
                Err(DropReason::Malformed)
            }
        }
    }

    fn handle_rtcp(&mut self, now: Time, key: TransportKey, compound: &[u8]) -> Result<(), DropReason> {
        let Shard { transports, rooms, counts, output, .. } = self;
        let entry = &mut transports[key.0 as usize];
        let room = &mut rooms[entry.room as usize].room;
        let downs = &entry.downs;
        let down_of = |ssrc: u32| downs.iter().find(|(setup, _)| setup.ssrc == ssrc).map(|(_, key)| *key);
        for packet in rtcp::packets(compound) {
            match packet? {
                Rtcp::SenderReport(report) => {
                    if let Some(up) = entry.ups.by_ssrc(report.ssrc) {
                        room.handle_sender_report(now, up, &report);
                    }
                    for block in report.reports {
                        if let Some(down) = down_of(block.ssrc) {
                            room.handle_report_block(now, down, &block);
                        }
                    }
                }
                Rtcp::ReceiverReport(report) => {
                    for block in report.reports {
                        if let Some(down) = down_of(block.ssrc) {
                            room.handle_report_block(now, down, &block);
                        }
                    }
                }
                Rtcp::TransportFeedback { fci, .. } => {
                    let reported = entry.transport.handle_report(now, fci)?;
                    counts.viewer_arrived += reported.arrived;
                    counts.viewer_arrived_bytes += reported.arrived_bytes;
                    counts.viewer_lost += reported.lost;
                    counts.viewer_found += reported.found;
                }
                Rtcp::Nack(nack) => {
                    if let Some(down) = down_of(nack.media) {
                        room.handle_nack(now, down, nack.seqs(), output);
                    }
                }
                Rtcp::Pli { media, .. } => {
                    if let Some(down) = down_of(media) {
                        room.handle_key_request(now, down, output);
                    }
                }
                Rtcp::Fir(fir) => {
                    for (ssrc, _) in fir.entries() {
                        if let Some(down) = down_of(ssrc) {
                            room.handle_key_request(now, down, output);
                        }
                    }
                }
                _ => {}
            }
        }
        let room = entry.room;
        self.touch(room);
        self.drain_output();
        Ok(())
    }
}
