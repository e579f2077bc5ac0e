//! One thread and all it owns: its UDP port, its transports, its rooms, its timers.
//!
//! A turn of the loop: commands, pipes, receive and forward, timers, flush; each bounded. The life of a packet is
//! [`Shard::handle_media`]: everything on its way is one call from there.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, TryRecvError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use foldhash::HashMap;
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use slab::Slab;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::{
    by_destination::ByDestination,
    handshakes::Handshakes,
    mailbox::{Bell, DownSetup, Mailbox, ShardCommand, ShardEvent, UpSetup, tracks_of},
    roaming::Roaming,
    timers::Timers,
};
use crate::{
    bridge::packetize::AUDIO_LEVEL_ID,
    buf::{
        pipe::{PipeReader, PipeWriter},
        slot::Slot,
    },
    codec::Codec,
    command::CloseReason,
    config::MediaConfig,
    drop_reason::{DropCounts, DropReason},
    forward::{DownKey, Forward, TransportKey, UpKey},
    ids::{Kind, RoomId, StreamId, TrackId, TransportId},
    io::udp::{Origin, Packet, RecvBatch, SendBatch, UdpSocket},
    rtp::{
        ext,
        packet::{self, Header},
        rtcp::{self, Rtcp},
    },
    sfu::{
        down_track::DownSpec,
        room::{OWN_SSRC, Output, Room},
        up_index::{UpEntry, UpIndex},
        up_track::{Source, UpSpec},
    },
    transport::{self, DtlsIdentity, Outbox, Path, Protocol, Transport, TransportEvent, Via, stun, twcc::TwccReceiver},
    units::time::Time,
};

const UDP: Token = Token(0);
const WAKE: Token = Token(1);
/// Commands taken in one turn, so that a storm of them does not hold packets up.
const COMMANDS_PER_TURN: usize = 64;
/// Receive calls in one turn.
const RECEIVES_PER_TURN: usize = 16;
/// Packets taken out of one pipe in one turn.
const PIPE_PACKETS_PER_TURN: usize = 256;
/// Destinations whose packets are handed to the kernel together: so few that a system call for them costs little beside them,
/// and with more viewers this part of those that were served before, up to what one call takes.
const SLICE_MIN: usize = 8;
const SLICE_MAX: usize = 64;
const SLICE_SHARE: usize = 4;
/// Time between two publications of the counters.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);

/// What a shard has done so far, and how much it holds now.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub datagrams_in: u64,
    /// Datagrams as the kernel handed them over: a run of them from one peer is one.
    pub messages_in: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub retransmissions: u64,
    /// What viewers report of what was sent to them (transport-cc): packets and bytes that arrived, packets that did not, and
    /// packets among those that were found later and count as arrived as well.
    pub viewer_arrived: u64,
    pub viewer_arrived_bytes: u64,
    pub viewer_lost: u64,
    pub viewer_found: u64,
    /// Sends as the kernel counts them: a run of packets to one destination is one.
    pub runs_out: u64,
    /// System calls that sent.
    pub send_calls: u64,
    pub send_refused: u64,
    /// Clients that were followed to a new address by their media.
    pub paths_moved: u64,
    pub drops: DropCounts,
    pub transports: usize,
    pub rooms: usize,
    pub up_tracks: usize,
    pub down_tracks: usize,
    /// Up tracks beside those above that are copies of another shard's.
    pub copies: usize,
    /// RTP packets that came from another shard, beside [`packets_in`](Self::packets_in).
    pub packets_relayed: u64,
    pub gso: bool,
    pub gro: bool,
}

/// A running shard, as control sees it.
pub struct ShardHandle {
    pub mailbox: Mailbox,
    pub addr: SocketAddr,
    pub counts: Arc<Mutex<Counts>>,
    thread: Option<JoinHandle<()>>,
}

impl ShardHandle {
    /// Ends the thread and waits for it.
    pub fn stop(&mut self) {
        self.mailbox.send(ShardCommand::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a shard on a bound socket. `origin` is the process's [`Time::ZERO`].
pub fn start(
    index: usize,
    socket: UdpSocket,
    config: MediaConfig,
    identity: Arc<DtlsIdentity>,
    origin: Instant,
    events: mpsc::UnboundedSender<ShardEvent>,
) -> io::Result<ShardHandle> {
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), UDP, Interest::READABLE)?;
    let (mailbox, commands) = Mailbox::new(Bell::new(Waker::new(poll.registry(), WAKE)?));
    let counts = Arc::new(Mutex::new(Counts::default()));
    let addr = socket.local_addr();
    let shard = Shard {
        socket,
        identity,
        origin,
        events,
        transports: Slab::new(),
        by_id: HashMap::default(),
        by_ufrag: HashMap::default(),
        by_path: HashMap::default(),
        rooms: Slab::new(),
        room_by_id: HashMap::default(),
        pipes: Vec::new(),
        relays: Vec::new(),
        bell: mailbox.bell().clone(),
        roaming: Roaming::new(config.roaming_tries_per_second, config.roaming_candidates_max),
        handshakes: Handshakes::new(config.handshakes_waiting_max),
        config,
        tcp: HashMap::default(),
        timers: Timers::new(),
        touched: Vec::new(),
        dirty: Vec::new(),
        output: Output::default(),
        sorted: ByDestination::default(),
        outbox: Outbox::default(),
        send: SendBatch::new(),
        scratch: Vec::new(),
        counts: Counts::default(),
        published: counts.clone(),
        publish_at: Time::ZERO,
    };
    let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || shard.run(poll, commands))?;
    Ok(ShardHandle { mailbox, addr, counts, thread: Some(thread) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum TimerKey {
    Transport(u32),
    Room(u32),
}

/// A transport and what it carries.
struct Entry {
    id: TransportId,
    room: u32,
    ufrag: String,
    /// Of before an ICE restart.
    previous_ufrag: Option<String>,
    transport: Transport,
    ups: UpIndex,
    downs: Vec<(DownSetup, DownKey)>,
    twcc: TwccReceiver,
    /// Whether the transport's timer already covers the feedback that is pending.
    twcc_armed: bool,
    /// What is to leave by this transport at the end of the turn, sealed.
    queue: Vec<Packet>,
    paths: Vec<Path>,
}

struct RoomSlot {
    id: RoomId,
    room: Room,
    touched: bool,
}

struct PipeSource {
    room: u32,
    stream: StreamId,
    pipe: PipeReader,
    /// Both the same for a copy of one track.
    audio: UpKey,
    video: UpKey,
    /// A copy of another shard's track.
    copy: bool,
}

/// A track of ours that is copied on another shard.
struct RelaySource {
    room: u32,
    track: TrackId,
    pipe: PipeWriter,
}

struct Shard {
    socket: UdpSocket,
    config: MediaConfig,
    identity: Arc<DtlsIdentity>,
    origin: Instant,
    events: mpsc::UnboundedSender<ShardEvent>,
    transports: Slab<Entry>,
    by_id: HashMap<TransportId, TransportKey>,
    by_ufrag: HashMap<String, TransportKey>,
    by_path: HashMap<(SocketAddr, Via), TransportKey>,
    rooms: Slab<RoomSlot>,
    room_by_id: HashMap<RoomId, u32>,
    pipes: Vec<PipeSource>,
    /// Looked at each turn: what they wrote is announced, what their readers wish is done.
    relays: Vec<RelaySource>,
    bell: Bell,
    roaming: Roaming,
    /// Datagrams of DTLS that wait for the media of the turn.
    handshakes: Handshakes,
    tcp: HashMap<u64, mpsc::Sender<Bytes>>,
    timers: Timers<TimerKey>,
    /// Rooms whose deadline may have moved in this turn.
    touched: Vec<u32>,
    /// Transports with something in their queue.
    dirty: Vec<TransportKey>,
    output: Output,
    sorted: ByDestination,
    outbox: Outbox,
    send: SendBatch,
    scratch: Vec<u8>,
    counts: Counts,
    published: Arc<Mutex<Counts>>,
    publish_at: Time,
}

impl Shard {
    fn run(mut self, mut poll: Poll, commands: Receiver<ShardCommand>) {
        let mut events = Events::with_capacity(16);
        let mut batch = RecvBatch::new(self.socket.uses_gro());
        let mut more = false;
        loop {
            let now = self.now();
            let wait = if more {
                Duration::ZERO
            } else {
                self.timers.next_due().map_or(COUNTS_INTERVAL, |at| at.since(now)).min(COUNTS_INTERVAL)
            };
            if let Err(error) = poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!(%error, "polling failed; the shard ends");
                return;
            }
            more = false;
            self.bell.hush();
            let now = self.now();
            for taken in 0.. {
                if taken == COMMANDS_PER_TURN {
                    more = true;
                    break;
                }
                match commands.try_recv() {
                    Ok(ShardCommand::Stop) | Err(TryRecvError::Disconnected) => return self.stop(now),
                    Ok(command) => self.handle_command(now, command),
                    Err(TryRecvError::Empty) => break,
                }
            }
            more |= self.drain_pipes(now);
            self.grant_key_wishes(now);
            more |= self.receive(&mut batch);
            self.handle_timers(self.now());
            self.flush();
            more |= self.shake_hands();
            self.publish_counts();
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    fn stop(&mut self, now: Time) {
        for (_, entry) in &mut self.transports {
            entry.transport.close(now, &mut self.outbox);
        }
        self.flush();
    }

    // ---- in ----------------------------------------------------------------------------------------------------

    /// Takes datagrams until there are none or the turn's share is used up; true in the second case.
    fn receive(&mut self, batch: &mut RecvBatch) -> bool {
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

    fn handle_datagram(&mut self, now: Time, path: Path, slot: &mut Slot) {
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
    fn shake_hands(&mut self) -> bool {
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

    fn handle_transport_event(&mut self, now: Time, key: TransportKey, event: Option<TransportEvent>) {
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

    /// Moves what is waiting in the pipes into their rooms; true if something may be left.
    fn drain_pipes(&mut self, now: Time) -> bool {
        let (mut more, mut ended) = (false, false);
        let mut broken = Vec::new();
        let pipes = std::mem::take(&mut self.pipes);
        for source in &pipes {
            // Read before the packets are, so that none is left behind.
            let closed = source.pipe.is_closed();
            match catch_unwind(AssertUnwindSafe(|| self.drain_pipe(now, source))) {
                Ok(left) => {
                    more |= left;
                    ended |= source.copy && closed && !left;
                }
                Err(_) => broken.push(source.room),
            }
        }
        // Nothing in this loop adds a pipe.
        self.pipes = pipes;
        broken.into_iter().for_each(|room| self.discard_room(room));
        self.drain_output();
        if ended {
            self.remove_ended_copies();
        }
        more
    }

    /// Moves what is waiting in one pipe; true if something may be left.
    fn drain_pipe(&mut self, now: Time, source: &PipeSource) -> bool {
        let Some(slot) = self.rooms.get_mut(source.room as usize) else { return false };
        source.pipe.set_sound_wanted(slot.room.is_wanted(source.audio));
        let caught_up = source.pipe.is_caught_up();
        let mut taken = 0;
        while taken < PIPE_PACKETS_PER_TURN {
            let Some((kind, mut packet)) = source.pipe.read() else { break };
            taken += 1;
            let up = if kind == Kind::Audio { source.audio } else { source.video };
            if kind == Kind::Audio
                && !source.copy
                && let Some(level) = piped_level(packet.data())
            {
                slot.room.hear(now, up, level.dbov);
            }
            if slot.room.handle_piped(now, up, &mut packet, &mut self.output) {
                let counts = &mut self.counts;
                *(if source.copy { &mut counts.packets_relayed } else { &mut counts.packets_in }) += 1;
            }
            source.pipe.recycle(packet);
        }
        let left = taken == PIPE_PACKETS_PER_TURN;
        if source.copy && caught_up && !left && slot.room.up(source.video).is_some_and(|up| up.filling) {
            slot.room.end_filling(now, source.video, &mut self.output);
        }
        if taken > 0 {
            self.touch(source.room);
        }
        left
    }

    /// Copies whose origin is gone go with the last packet.
    fn remove_ended_copies(&mut self) {
        let over: Vec<(u32, UpKey)> =
            (self.pipes.iter()).filter(|p| p.copy && p.pipe.is_closed()).map(|p| (p.room, p.video)).collect();
        for (room, up) in over {
            self.unpublish(room, up);
            self.remove_room_if_empty(room);
        }
    }

    /// Passes on what the viewers of our tracks on other shards wish for.
    fn grant_key_wishes(&mut self, now: Time) {
        let mut touched = false;
        for relay in &self.relays {
            if relay.pipe.take_key_wanted()
                && let Some(slot) = self.rooms.get_mut(relay.room as usize)
            {
                slot.room.want_key_frame(now, relay.track, &mut self.output);
                if !slot.touched {
                    slot.touched = true;
                    self.touched.push(relay.room);
                }
                touched = true;
            }
        }
        if touched {
            self.drain_output();
        }
    }

    /// Tells the other shards of what was written for them, each at most once.
    fn announce_relays(&self) {
        self.relays.iter().for_each(|relay| relay.pipe.announce());
    }

    // ---- commands ----------------------------------------------------------------------------------------------

    fn handle_command(&mut self, now: Time, command: ShardCommand) {
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
            let DownSetup { track, ssrc, payload_type, rtx, transport_cc } = setup.clone();
            let spec = DownSpec { track, transport: key, ssrc, payload_type, rtx, transport_cc };
            if let Some(down) = room.subscribe(spec) {
                entry.downs.push((setup, down));
                if connected {
                    room.start(now, down, &mut self.output);
                }
            }
        }
        self.touch(room_key);
    }

    fn unpublish(&mut self, room: u32, up: UpKey) {
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
    fn hold_ups(&mut self, key: TransportKey) {
        let entry = &mut self.transports[key.0 as usize];
        let ups = std::mem::take(&mut entry.ups);
        let room = &mut self.rooms[entry.room as usize].room;
        ups.iter().for_each(|up| room.hold(up.key));
    }

    fn remove_transport(&mut self, key: TransportKey) {
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

    fn remove_room_if_empty(&mut self, room: u32) {
        let empty = self.rooms.get(room as usize).is_some_and(|slot| slot.room.is_empty())
            && !self.transports.iter().any(|(_, e)| e.room == room)
            && !self.pipes.iter().any(|p| p.room == room);
        if empty && let Some(slot) = self.rooms.try_remove(room as usize) {
            self.room_by_id.remove(&slot.id);
            self.timers.set(TimerKey::Room(room), None);
        }
    }

    fn discard_room(&mut self, room: u32) {
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

    // ---- timers ------------------------------------------------------------------------------------------------

    fn arm(&mut self, key: TransportKey) {
        let entry = &mut self.transports[key.0 as usize];
        let twcc = entry.twcc.next_timeout();
        entry.twcc_armed = twcc.is_some();
        let next = [entry.transport.next_timeout(), twcc].into_iter().flatten().min();
        self.timers.set(TimerKey::Transport(key.0), next);
    }

    fn touch(&mut self, room: u32) {
        if let Some(slot) = self.rooms.get_mut(room as usize).filter(|slot| !slot.touched) {
            slot.touched = true;
            self.touched.push(room);
        }
    }

    fn handle_timers(&mut self, now: Time) {
        while let Some(key) = self.timers.pop_due(now) {
            match key {
                TimerKey::Transport(index) => {
                    let Some(entry) = self.transports.get_mut(index as usize) else { continue };
                    let key = TransportKey(index);
                    if entry.twcc.next_timeout().is_some_and(|at| at <= now) {
                        let media = entry.ups.iter().find_map(|e| e.ssrc).unwrap_or(0);
                        let mut feedback = Vec::new();
                        while self.transports[index as usize].twcc.poll_feedback(now, OWN_SSRC, media, &mut feedback) {
                            self.send_rtcp(key, &feedback);
                            feedback.clear();
                        }
                    }
                    let event = self.transports[index as usize].transport.handle_timeout(now, &mut self.outbox);
                    self.handle_transport_event(now, key, event);
                }
                TimerKey::Room(index) => {
                    let Some(slot) = self.rooms.get_mut(index as usize) else { continue };
                    slot.room.handle_timeout(now, &mut self.output);
                    if let Some(speakers) = self.output.speakers.take() {
                        let _ = self.events.send(ShardEvent::Speakers { room: slot.id, speakers });
                    }
                    self.touch(index);
                    self.drain_output();
                }
            }
        }
        while let Some(room) = self.touched.pop() {
            if let Some(slot) = self.rooms.get_mut(room as usize) {
                slot.touched = false;
                let next = slot.room.next_timeout();
                self.timers.set(TimerKey::Room(room), Some(next));
            }
        }
    }

    // ---- out ---------------------------------------------------------------------------------------------------

    /// Seals what the rooms decided, each packet in one pass from its ring slot into the send buffer, transport by
    /// transport, so that what goes to one destination lies together and goes as one run.
    fn drain_output(&mut self) {
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

    fn send_rtcp(&mut self, to: TransportKey, packet: &[u8]) {
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
    fn flush(&mut self) {
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

    fn publish_counts(&mut self) {
        let now = self.now();
        if now < self.publish_at {
            return;
        }
        self.publish_at = now + COUNTS_INTERVAL;
        self.counts.transports = self.transports.len();
        self.counts.rooms = self.rooms.len();
        self.counts.copies = self.pipes.iter().filter(|p| p.copy).count();
        let ups: usize = self.rooms.iter().map(|(_, slot)| slot.room.ups().count()).sum();
        self.counts.up_tracks = ups.saturating_sub(self.counts.copies);
        // A copy that nobody watches any more has closed its pipe from the other end.
        self.relays.retain(|relay| !relay.pipe.is_closed());
        self.counts.down_tracks = self.rooms.iter().map(|(_, slot)| slot.room.downs_len()).sum();
        (self.counts.gso, self.counts.gro) = (self.socket.uses_gso(), self.socket.uses_gro());
        let mut counts = self.counts.clone();
        for reason in DropReason::ALL {
            counts.drops.add(*reason, self.output.drops.get(*reason));
        }
        *self.published.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = counts;
    }
}

/// How loud a packet of the bridge says that it is.
fn piped_level(packet: &[u8]) -> Option<ext::AudioLevel> {
    let header = Header::parse(packet).ok().filter(|_| !packet::is_rtcp(packet))?;
    ext::find(packet, &header, AUDIO_LEVEL_ID).and_then(ext::audio_level)
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
