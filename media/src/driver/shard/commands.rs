//! What control tells a shard to do: transports, tracks and rooms come and go.

use tracing::{error, warn};

use super::{
    super::mailbox::{DownSetup, ShardCommand, ShardEvent, UpSetup, tracks_of},
    Entry, PipeSource, RelaySource, RoomSlot, Shard, TimerKey,
};
use crate::{
    buf::{pipe::PipeReader, slot::Slot},
    codec::Codec,
    command::CloseReason,
    config::MediaConfig,
    forward::{TransportKey, UpKey},
    ids::{Kind, RoomId, StreamId, TrackId, TransportId},
    rtp::ext,
    sfu::{
        down_track::DownSpec,
        room::Room,
        up_index::{UpEntry, UpIndex},
        up_track::{Source, UpSpec},
    },
    transport::{Path, Transport, Via, twcc::TwccReceiver},
    units::time::Time,
};

impl Shard {
    pub(super) fn handle_command(&mut self, now: Time, command: ShardCommand) {
        match command {
            ShardCommand::AddTransport { id, room, params } => {
                let room = self.room(now, room);
                let ufrag = params.local.ufrag.clone();
                let transport = Transport::new(now, self.identity.clone(), params);
                let key = TransportKey(self.transports.insert(Entry {
                    id,
                    room,
                    ufrag: ufrag.clone(),
                    previous_ufrag: None,
                    transport,
                    ups: UpIndex::default(),
                    downs: Vec::new(),
                    twcc: TwccReceiver::default(),
                    twcc_armed: false,
                    queue: Vec::new(),
                    paths: Vec::new(),
                }) as u32);
                self.by_id.insert(id, key);
                self.by_ufrag.insert(ufrag, key);
                self.arm(key);
            }
            ShardCommand::SetRemote { id, credentials, fingerprint } => {
                if let Some(&key) = self.by_id.get(&id)
                    && !self.transports[key.0 as usize].transport.set_remote(credentials, fingerprint)
                {
                    warn!(transport = %id, "the peer came back with another certificate: the transport ends");
                    self.hold_ups(key);
                    self.remove_transport(key);
                    let _ = self.events.send(ShardEvent::Closed { id, reason: CloseReason::DtlsFailed });
                }
            }
            ShardCommand::RestartIce { id, credentials } => {
                if let Some(&key) = self.by_id.get(&id) {
                    let entry = &mut self.transports[key.0 as usize];
                    let previous = std::mem::replace(&mut entry.ufrag, credentials.ufrag.clone());
                    // Checks may name the fragment before this one, but none of before that.
                    if let Some(older) = entry.previous_ufrag.replace(previous) {
                        self.by_ufrag.remove(&older);
                    }
                    self.by_ufrag.insert(credentials.ufrag.clone(), key);
                    entry.transport.restart_ice(credentials);
                }
            }
            ShardCommand::RemoveTransport { id } => {
                if let Some(&key) = self.by_id.get(&id) {
                    self.transports[key.0 as usize].transport.close(now, &mut self.outbox);
                    self.remove_transport(key);
                }
            }
            ShardCommand::SetUps { id, ext, ups } => self.set_ups(id, ext, ups),
            ShardCommand::SetDowns { id, downs } => self.set_downs(now, id, downs),
            ShardCommand::AddPipeStream { room, stream, pipe } => {
                let room = self.room(now, room);
                self.forget_publisher(room, stream);
                let [audio, video] = tracks_of(stream).map(|track| {
                    let codec = if track.kind == Kind::Audio { Codec::Opus } else { Codec::H264 };
                    self.publish(room, UpSpec { payload_type: 0, ..piped(&self.config, track, Source::Pipe, codec) })
                });
                if let Some(up) = self.rooms[room as usize].room.up_mut(video) {
                    up.key_wish = Some(pipe.key_wish());
                }
                self.pipes.push(PipeSource { room, stream, pipe, audio, video, copy: false });
            }
            ShardCommand::AddCopy { room, track, codec, can_ask, pipe } => {
                self.add_copy(now, room, track, codec, can_ask, pipe);
            }
            ShardCommand::RemoveCopy { room, track } => {
                let Some(&room) = self.room_by_id.get(&room) else { return };
                let copy = |p: &&PipeSource| p.copy && p.room == room && p.stream == track.stream;
                let ups: Vec<UpKey> = self.pipes.iter().filter(copy).map(|p| p.video).collect();
                let find = self.rooms[room as usize].room.find(track);
                if let Some(up) = find.filter(|up| ups.contains(up)) {
                    self.unpublish(room, up);
                    self.remove_room_if_empty(room);
                }
            }
            ShardCommand::Relay { room, track, pipe } => {
                let Some(&room) = self.room_by_id.get(&room) else { return pipe.close() };
                if !self.rooms[room as usize].room.relay(now, track, pipe.clone(), &mut self.output) {
                    return pipe.close();
                }
                self.relays.push(RelaySource { room, track, pipe });
            }
            ShardCommand::HoldStream { room, stream } => {
                let Some(&room) = self.room_by_id.get(&room) else { return };
                self.forget_publisher(room, stream);
                let room = &mut self.rooms[room as usize].room;
                let keys: Vec<UpKey> = room.tracks_of(stream).map(|(_, key)| key).collect();
                keys.into_iter().for_each(|up| room.hold(up));
            }
            ShardCommand::SetCopySource { room, track, can_ask } => {
                let Some(&room) = self.room_by_id.get(&room) else { return };
                let room = &mut self.rooms[room as usize].room;
                if let Some(up) = room.find(track).and_then(|up| room.up_mut(up)) {
                    up.spec.source = if can_ask { Source::Relay } else { Source::Pipe };
                }
            }
            ShardCommand::RemoveStream { room, stream } => {
                let Some(&room) = self.room_by_id.get(&room) else { return };
                self.pipes.retain(|p| p.stream != stream);
                let keys: Vec<UpKey> = self.rooms[room as usize].room.tracks_of(stream).map(|(_, key)| key).collect();
                keys.into_iter().for_each(|up| self.unpublish(room, up));
                for (_, entry) in self.transports.iter_mut().filter(|(_, e)| e.room == room) {
                    tracks_of(stream).into_iter().for_each(|track| entry.ups.remove(track));
                }
                self.remove_room_if_empty(room);
            }
            ShardCommand::Tap { room, stream, pipe } => {
                let Some(&room) = self.room_by_id.get(&room) else { return pipe.close() };
                let mut any = false;
                for track in tracks_of(stream) {
                    any |= self.rooms[room as usize].room.tap(now, track, pipe.clone(), &mut self.output);
                }
                if !any {
                    pipe.close();
                }
                self.touch(room);
            }
            ShardCommand::SetMuted { room, track, muted } => {
                if let Some(&room) = self.room_by_id.get(&room) {
                    self.rooms[room as usize].room.set_muted(now, track, muted, &mut self.output);
                    self.touch(room);
                }
            }
            ShardCommand::CloseRoom { room } => {
                if let Some(&room) = self.room_by_id.get(&room) {
                    self.close_room(now, room);
                }
            }
            ShardCommand::TcpOpened { connection, sender } => {
                self.tcp.insert(connection, sender);
            }
            ShardCommand::TcpPacket { connection, remote, local_ip, packet } => {
                let path = Path { remote, local_ip, via: Via::Tcp(connection) };
                if let Some(mut slot) = Slot::copy_of(&packet) {
                    self.handle_datagram(now, path, &mut slot);
                }
            }
            ShardCommand::TcpClosed { connection } => {
                self.tcp.remove(&connection);
                let via = Via::Tcp(connection);
                if let Some((&path, &key)) = self.by_path.iter().find(|((_, v), _)| *v == via) {
                    self.by_path.remove(&path);
                    let entry = &mut self.transports[key.0 as usize];
                    entry.paths.retain(|p| p.via != via);
                    entry.transport.forget_via(via);
                }
            }
            ShardCommand::Stop => {}
        }
        self.drain_output();
        self.flush();
    }

    fn room(&mut self, now: Time, id: RoomId) -> u32 {
        if let Some(&key) = self.room_by_id.get(&id) {
            return key;
        }
        let key = self.rooms.insert(RoomSlot { id, room: Room::new(now, rand::random()), touched: false }) as u32;
        self.room_by_id.insert(id, key);
        key
    }

    fn add_copy(&mut self, now: Time, room: RoomId, track: TrackId, codec: Codec, can_ask: bool, pipe: PipeReader) {
        let room = self.room(now, room);
        if let Some(stray) = self.rooms[room as usize].room.find(track) {
            self.unpublish(room, stray);
        }
        let copies = &mut self.rooms[room as usize].room;
        let source = if can_ask { Source::Relay } else { Source::Pipe };
        let up = copies.publish(piped(&self.config, track, source, codec));
        if let Some(copy) = copies.up_mut(up) {
            copy.key_wish = Some(pipe.key_wish());
            copy.filling = track.kind == Kind::Video;
        }
        self.pipes.push(PipeSource { room, stream: track.stream, pipe, audio: up, video: up, copy: true });
    }

    /// Adds an up track, or gives the one of that name to this publisher. In another codec it is another track.
    fn publish(&mut self, room: u32, spec: UpSpec) -> UpKey {
        if let Some(known) = self.rooms[room as usize].room.find(spec.id) {
            if self.rooms[room as usize].room.take_over(known, spec.clone()).is_some() {
                return known;
            }
            self.unpublish(room, known);
        }
        self.rooms[room as usize].room.publish(spec)
    }

    /// Takes a stream from whoever feeds it; its tracks stay.
    fn forget_publisher(&mut self, room: u32, stream: StreamId) {
        self.pipes.retain(|p| p.copy || p.stream != stream);
        for (_, entry) in self.transports.iter_mut().filter(|(_, e)| e.room == room) {
            let old: Vec<UpEntry> = entry.ups.iter().filter(|e| e.track.stream == stream).cloned().collect();
            for old in old {
                entry.ups.remove(old.track);
                [old.ssrc, old.rtx_ssrc].into_iter().flatten().for_each(|ssrc| entry.transport.forget_ssrc(ssrc));
            }
        }
    }

    fn set_ups(&mut self, id: TransportId, ext: ext::ExtIds, setups: Vec<UpSetup>) {
        let Some(&key) = self.by_id.get(&id) else { return };
        let entry = &mut self.transports[key.0 as usize];
        let room = entry.room;
        entry.ups.set_ext(ext);
        let kept = |e: &UpEntry| setups.iter().any(|s| s.track == e.track && s.payload_type == e.payload_type);
        let gone: Vec<UpEntry> = entry.ups.iter().filter(|e| !kept(e)).cloned().collect();
        for old in gone {
            let entry = &mut self.transports[key.0 as usize];
            entry.ups.remove(old.track);
            [old.ssrc, old.rtx_ssrc].into_iter().flatten().for_each(|ssrc| entry.transport.forget_ssrc(ssrc));
            self.unpublish(room, old.key);
        }
        let mut streams: Vec<StreamId> = setups.iter().map(|setup| setup.track.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        // What another publisher fed is ours now.
        let own = |stream: &StreamId| self.transports[key.0 as usize].ups.iter().any(|e| e.track.stream == *stream);
        let taken: Vec<StreamId> = streams.into_iter().filter(|stream| !own(stream)).collect();
        for stream in &taken {
            self.forget_publisher(room, *stream);
            let known: Vec<_> = self.rooms[room as usize].room.tracks_of(*stream).collect();
            for (track, up) in known.into_iter().filter(|(track, _)| setups.iter().all(|s| s.track != *track)) {
                tracing::debug!(?track, "the stream goes on without it");
                self.unpublish(room, up);
            }
        }
        for setup in setups {
            let entry = &mut self.transports[key.0 as usize];
            if let Some(up) = entry.ups.set_ssrcs(setup.track, setup.ssrc, setup.rtx_ssrc) {
                if let Some(up) = self.rooms[room as usize].room.up_mut(up) {
                    setup.ssrc.into_iter().for_each(|ssrc| up.set_ssrc(false, ssrc));
                    setup.rtx_ssrc.into_iter().for_each(|ssrc| up.set_ssrc(true, ssrc));
                }
                continue;
            }
            let up = self.publish(
                room,
                UpSpec {
                    id: setup.track,
                    source: Source::Transport(key),
                    codec: setup.codec,
                    payload_type: setup.payload_type,
                    rtx_payload_type: setup.rtx_payload_type,
                    ssrc: setup.ssrc,
                    rtx_ssrc: setup.rtx_ssrc,
                    nack: setup.nack,
                    ring_packets: ring_packets(&self.config, setup.track.kind),
                    key_frame_interval: self.config.key_frame_interval,
                },
            );
            self.transports[key.0 as usize].ups.add(UpEntry {
                key: up,
                track: setup.track,
                mid: setup.mid,
                payload_type: setup.payload_type,
                rtx_payload_type: setup.rtx_payload_type,
                ssrc: setup.ssrc,
                rtx_ssrc: setup.rtx_ssrc,
            });
        }
    }

    fn set_downs(&mut self, now: Time, id: TransportId, setups: Vec<DownSetup>) {
        let Some(&key) = self.by_id.get(&id) else { return };
        let entry = &mut self.transports[key.0 as usize];
        let (room_key, connected) = (entry.room, entry.transport.is_connected());
        let room = &mut self.rooms[room_key as usize].room;
        entry.downs.retain(|(setup, down)| {
            let keep = setups.contains(setup);
            if !keep {
                room.unsubscribe(*down);
            }
            keep
        });
        for setup in setups {
            if entry.downs.iter().any(|(s, _)| *s == setup) {
                continue;
            }
            let DownSetup { track, ssrc, payload_type, rtx, transport_cc, playout_delay } = setup.clone();
            let spec = DownSpec { track, transport: key, ssrc, payload_type, rtx, transport_cc, playout_delay };
            if let Some(down) = room.subscribe(spec) {
                entry.downs.push((setup, down));
                if connected {
                    room.start(now, down, &mut self.output);
                }
            }
        }
        for (DownSetup { track, .. }, down) in &entry.downs {
            let sound = TrackId { kind: Kind::Audio, ..*track };
            room.set_heard(*down, entry.downs.iter().any(|(other, _)| other.track == sound));
        }
        self.touch(room_key);
    }

    pub(super) fn unpublish(&mut self, room: u32, up: UpKey) {
        // Its number may be given to another track: no pipe may lead there any more.
        self.pipes.retain(|p| !(p.copy && p.room == room && p.video == up));
        for (transport, down) in self.rooms[room as usize].room.unpublish(up) {
            if let Some(entry) = self.transports.get_mut(transport.0 as usize) {
                entry.downs.retain(|(_, d)| *d != down);
            }
        }
        self.relays.retain(|relay| !relay.pipe.is_closed());
    }

    /// A publisher's transport ended by itself: what it published stays.
    pub(super) fn hold_ups(&mut self, key: TransportKey) {
        let entry = &mut self.transports[key.0 as usize];
        let ups = std::mem::take(&mut entry.ups);
        let room = &mut self.rooms[entry.room as usize].room;
        ups.iter().for_each(|up| room.hold(up.key));
    }

    pub(super) fn remove_transport(&mut self, key: TransportKey) {
        let entry = self.transports.remove(key.0 as usize);
        self.by_id.remove(&entry.id);
        self.by_ufrag.remove(&entry.ufrag);
        entry.previous_ufrag.as_ref().map(|previous| self.by_ufrag.remove(previous));
        for path in &entry.paths {
            if self.by_path.get(&(path.remote, path.via)) == Some(&key) {
                self.by_path.remove(&(path.remote, path.via));
            }
        }
        self.timers.set(TimerKey::Transport(key.0), None);
        self.dirty.retain(|d| *d != key);
        for up in entry.ups.iter() {
            self.unpublish(entry.room, up.key);
        }
        if let Some(slot) = self.rooms.get_mut(entry.room as usize) {
            entry.downs.iter().for_each(|(_, down)| slot.room.unsubscribe(*down));
        }
        self.remove_room_if_empty(entry.room);
    }

    fn close_room(&mut self, now: Time, room: u32) {
        let members: Vec<TransportKey> =
            self.transports.iter().filter(|(_, e)| e.room == room).map(|(i, _)| TransportKey(i as u32)).collect();
        for key in members {
            self.transports[key.0 as usize].transport.close(now, &mut self.outbox);
            self.remove_transport(key);
        }
        self.pipes.retain(|p| p.room != room);
        self.relays.retain(|relay| {
            let keep = relay.room != room;
            if !keep {
                relay.pipe.close();
            }
            keep
        });
        if let Some(slot) = self.rooms.try_remove(room as usize) {
            self.room_by_id.remove(&slot.id);
            self.timers.set(TimerKey::Room(room), None);
        }
    }

    pub(super) fn remove_room_if_empty(&mut self, room: u32) {
        let empty = self.rooms.get(room as usize).is_some_and(|slot| slot.room.is_empty())
            && !self.transports.iter().any(|(_, e)| e.room == room)
            && !self.pipes.iter().any(|p| p.room == room);
        if empty && let Some(slot) = self.rooms.try_remove(room as usize) {
            self.room_by_id.remove(&slot.id);
            self.timers.set(TimerKey::Room(room), None);
        }
    }

    pub(super) fn discard_room(&mut self, room: u32) {
        let Some(slot) = self.rooms.get(room as usize) else { return };
        let id = slot.id;
        error!(room = %id, "a broken invariant: the room is discarded, its members have to enter again");
        self.output.forwards.clear();
        self.output.rtcp.clear();
        let ids: Vec<TransportId> = self.transports.iter().filter(|(_, e)| e.room == room).map(|(_, e)| e.id).collect();
        self.close_room(self.now(), room);
        for id in ids {
            let _ = self.events.send(ShardEvent::Closed { id, reason: CloseReason::Internal });
        }
        let _ = self.events.send(ShardEvent::RoomDiscarded { room: id });
    }
}

/// An up track whose packets come by a pipe, from the bridge or from the publisher's shard.
fn piped(config: &MediaConfig, id: TrackId, source: Source, codec: Codec) -> UpSpec {
    UpSpec {
        id,
        source,
        codec,
        payload_type: codec.bridged_payload_type(),
        rtx_payload_type: None,
        ssrc: None,
        rtx_ssrc: None,
        // What the publisher lost is asked for by its own shard, and comes by the pipe when it is there.
        nack: false,
        ring_packets: ring_packets(config, id.kind),
        key_frame_interval: config.key_frame_interval,
    }
}

fn ring_packets(config: &MediaConfig, kind: Kind) -> usize {
    match kind {
        Kind::Audio => config.audio_ring_packets,
        Kind::Video => config.video_ring_packets,
    }
}
