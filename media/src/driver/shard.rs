//! One thread and all it owns: its UDP port, its transports, its rooms, its timers.
//!
//! A turn of the loop: commands, pipes, receive and forward, timers, flush; each bounded. The life of a packet is
//! [`Shard::handle_media`]: everything on its way is one call from there.

mod commands;
mod incoming;
mod outgoing;
mod pipes;

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, TryRecvError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::HashMap;
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use slab::Slab;
use tokio::sync::mpsc;
use tracing::error;

use super::{
    by_destination::ByDestination,
    handshakes::Handshakes,
    mailbox::{Bell, DownSetup, Mailbox, ShardCommand, ShardEvent},
    roaming::Roaming,
    timers::Timers,
};
use crate::{
    buf::pipe::{PipeReader, PipeWriter},
    config::MediaConfig,
    drop_reason::{DropCounts, DropReason},
    forward::{DownKey, TransportKey, UpKey},
    ids::{RoomId, StreamId, TrackId, TransportId},
    io::udp::{Packet, RecvBatch, SendBatch, UdpSocket},
    sfu::{
        room::{OWN_SSRC, Output, Room},
        up_index::UpIndex,
    },
    transport::{DtlsIdentity, Outbox, Path, Transport, Via, twcc::TwccReceiver},
    units::time::Time,
};

const UDP: Token = Token(0);
const WAKE: Token = Token(1);
/// Commands taken in one turn, so that a storm of them does not hold packets up.
const COMMANDS_PER_TURN: usize = 64;
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
