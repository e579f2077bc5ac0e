//! The other side of the door: takes commands, does what needs text (SDP) or a choice (which shard), and tells shards and
//! the bridge what to do in numbers. One task owns all of this state; SDP and addresses never reach a shard.

mod addresses;
mod budget;
mod copies;
mod placement;
mod streams;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tracing::{info, warn};

use self::{
    addresses::candidates,
    budget::{SHARD_SLOTS_BYTES, TRANSPORT_BYTES, Terms, relay_packets},
    copies::{Copies, Place},
    placement::Placement,
    streams::{Streams, Track},
};
use crate::{
    bridge::transcode::TranscodeCounts,
    buf::pipe::relay,
    codec::Codec,
    command::{
        CloseReason, Command, Event, NegotiatedTrack, PlayAnswer, PublishAnswer, PublishTrack, Refusal, RelayCounts,
        RelayEnd, RelayTarget, RelayWay, Reply, SubscribeOffer, Wanted,
    },
    config::MediaConfig,
    driver::{
        ice_tcp,
        ingest::PublisherEnd,
        mailbox::{DownSetup, ShardCommand, ShardEvent, UpSetup},
        relay, rtmp,
        shard::{self, Counts, ShardHandle},
        workers::Workers,
    },
    ids::{Kind, RoomId, StreamId, TrackId, TransportId},
    inlet::Inlet,
    io::udp::UdpSocket,
    rtp::ext::ExtIds,
    sdp::{self, DownMedia, DownSession, DownWanted, LocalSide, Policy, RemoteSide, SdpError},
    sfu::room::CNAME,
    transport::{DtlsIdentity, Fingerprint, IceCredentials, TransportParams},
    units::time::WallClock,
};

/// Commands that may wait at the door.
const COMMANDS_MAX: usize = 1024;
/// Events that signaling may have left unread.
const EVENTS_MAX: usize = 1024;
/// How often loads are measured, and streams and copies that nobody plays any more are looked for.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// The running media side.
pub struct MediaHandle {
    pub commands: mpsc::Sender<Command>,
    /// Taken once, by signaling.
    pub events: mpsc::Receiver<Event>,
    /// Where RTMP listens, if it does.
    pub rtmp_addr: Option<SocketAddr>,
    /// Where else it does.
    pub rtmp_also_addr: Option<SocketAddr>,
    /// Where media arrives: one address for each shard, the same number for UDP and TCP.
    pub udp_addrs: Vec<SocketAddr>,
    pub counters: Counters,
    listeners: JoinSet<()>,
    workers: Workers,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl MediaHandle {
    /// Splits off what outlives the commands and events: a way to end everything.
    pub fn into_parts(self) -> (mpsc::Sender<Command>, mpsc::Receiver<Event>, MediaStop) {
        let MediaHandle { commands, events, listeners, workers, stop, stopped, .. } = self;
        (commands, events, MediaStop { listeners, _workers: workers, stop, stopped })
    }
}

/// Ends the media side.
pub struct MediaStop {
    /// Accept TCP connections: RTMP and ICE-TCP.
    listeners: JoinSet<()>,
    /// Dropped last.
    _workers: Workers,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl MediaStop {
    /// Closes every transport and waits for the shards.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        let _ = self.stopped.await;
        // Last, so that RTMP clients can be told that their streams are over.
        self.listeners.shutdown().await;
    }
}

/// The counters of all shards and of the bridge, for metrics.
#[derive(Clone, Default)]
pub struct Counters {
    shards: Vec<Arc<Mutex<Counts>>>,
    /// What the bridge's transcoders do, at this moment.
    pub transcodes: Arc<TranscodeCounts>,
}

impl Counters {
    /// What each shard last published, at most a second old.
    pub fn read(&self) -> Vec<Counts> {
        self.shards.iter().map(|c| c.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()).collect()
    }
}

/// Starts shards, RTMP and the control task. Must be called within a tokio runtime.
///
/// # Errors
/// If an address is in use or a thread cannot be started; the text names the address.
pub async fn start(config: MediaConfig) -> io::Result<MediaHandle> {
    let origin = Instant::now();
    let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let identity = Arc::new(DtlsIdentity::generate().map_err(io::Error::other)?);
    let (shard_events, from_shards) = mpsc::unbounded_channel();
    let mut shards = Vec::new();
    let mut listeners = JoinSet::new();
    let workers = Workers::start()?;
    for index in 0..config.shards.max(1) {
        let (socket, tcp) = bind_media(&config, index).await?;
        let granted = socket.receive_buffer_bytes();
        if granted < config.socket_buffer_bytes && index == 0 {
            warn!(
                granted,
                wanted = config.socket_buffer_bytes,
                "the kernel grants smaller socket buffers than wanted: packets may be lost under load; \
                 raise net.core.rmem_max and net.core.wmem_max"
            );
        }
        if index == 0 {
            let (send, receive) = (socket.uses_gso(), socket.uses_gro());
            info!(send, receive, sender = socket.has_sender(), "segmentation offload: what this kernel can do");
        }
        let handle = shard::start(index, socket, config.clone(), identity.clone(), origin, shard_events.clone())?;
        if let Some(tcp) = tcp {
            listeners.spawn(ice_tcp::serve(tcp, handle.mailbox.clone()));
        }
        shards.push(handle);
    }
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (events, events_out) = mpsc::channel(EVENTS_MAX);
    let mut rtmp_addrs = [None, None];
    for (wanted, bound) in [config.rtmp, config.rtmp_also].into_iter().zip(&mut rtmp_addrs) {
        let Some(addr) = wanted else { continue };
        let listener = TcpListener::bind(addr).await.map_err(|e| named(addr, "RTMP", e))?;
        *bound = Some(listener.local_addr()?);
        let (listener, config) = (listener.into_std()?, config.clone());
        let (commands, events) = (commands.clone(), events.clone());
        let serving = async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => rtmp::serve(listener, config, commands, events).await,
                Err(error) => warn!(%error, "RTMP cannot be served"),
            }
        };
        listeners.spawn_on(serving, workers.handle());
    }
    let (stop, stop_asked) = oneshot::channel();
    let (stopped_tell, stopped) = oneshot::channel();
    let udp_addrs = shards.iter().map(|s| s.addr).collect();
    let (internal, from_bridge) = mpsc::unbounded_channel();
    let clock = (WallClock::new(unix_us), origin);
    let streams = Streams::new(config.clone(), clock, internal, workers.handle().clone());
    let counters = Counters {
        shards: shards.iter().map(|s| s.counts.clone()).collect(),
        transcodes: streams.transcodes().clone(),
    };
    let control = Control {
        placement: Placement::new(shards.len(), config.spread_packets_per_second),
        copies: Copies::new(config.copy_linger),
        fingerprint: identity.fingerprint().to_string(),
        streams,
        config,
        shards,
        transports: HashMap::new(),
        next_transport: 1,
        backlog: VecDeque::new(),
    };
    tokio::spawn(control.run(inbox, from_shards, from_bridge, events, stop_asked, stopped_tell));
    let [rtmp_addr, rtmp_also_addr] = rtmp_addrs;
    Ok(MediaHandle {
        commands,
        events: events_out,
        rtmp_addr,
        rtmp_also_addr,
        udp_addrs,
        counters,
        listeners,
        workers,
        stop,
        stopped,
    })
}

fn named(addr: SocketAddr, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} cannot listen on {addr}: {error}"))
}

/// Binds the UDP socket of a shard, and TCP on the same number where it is free.
async fn bind_media(config: &MediaConfig, index: usize) -> io::Result<(UdpSocket, Option<TcpListener>)> {
    let port = if config.first_port == 0 { 0 } else { config.first_port + index as u16 };
    let mut wanted = SocketAddr::new(config.bind, port);
    let mut bound = UdpSocket::bind(wanted, config.socket_buffer_bytes);
    if bound.as_ref().is_err_and(|error| config.bind == Ipv6Addr::UNSPECIFIED && lacks_ipv6(error)) {
        wanted.set_ip(Ipv4Addr::UNSPECIFIED.into());
        bound = UdpSocket::bind(wanted, config.socket_buffer_bytes);
    }
    let socket = bound.map_err(|e| named(wanted, "media (UDP)", e))?;
    let tcp_addr = SocketAddr::new(wanted.ip(), socket.local_addr().port());
    let tcp = TcpListener::bind(tcp_addr).await;
    if let Err(error) = &tcp {
        warn!(%tcp_addr, %error, "media over TCP is off: the port is taken");
    }
    Ok((socket, tcp.ok()))
}

/// Whether binding failed because the kernel has no IPv6, or has it switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// What threads of the bridge tell control.
pub(crate) enum BridgeEvent {
    Tracks { stream: StreamId, audio: Option<Codec>, video: Option<Codec> },
    BFrames { stream: StreamId },
    Ended { stream: StreamId, publisher: u64, end: PublisherEnd },
}

struct Control {
    config: MediaConfig,
    fingerprint: String,
    shards: Vec<ShardHandle>,
    placement: Placement,
    copies: Copies,
    transports: HashMap<TransportId, Peer>,
    streams: Streams,
    next_transport: u64,
    /// Events that signaling has not taken yet.
    backlog: VecDeque<Event>,
}

/// One transport, as text knows it.
struct Peer {
    room: RoomId,
    shard: usize,
    local: LocalSide,
    /// The other side's half as last told to the shard.
    remote: Option<RemoteSide>,
    /// What we offer to a subscriber; `None` for those who offer.
    down: Option<DownSession>,
    /// What it watches.
    watched: Vec<TrackId>,
}

/// What a transport is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Publish,
    Watch,
}

impl Control {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut shard_events: mpsc::UnboundedReceiver<ShardEvent>,
        mut bridge_events: mpsc::UnboundedReceiver<BridgeEvent>,
        events: mpsc::Sender<Event>,
        mut stop: oneshot::Receiver<()>,
        stopped: oneshot::Sender<()>,
    ) {
        let mut tidy = tokio::time::interval(TIDY_INTERVAL);
        loop {
            // What is told first is told first: nothing new is done while signaling has not taken what happened. Commands
            // are the exception, since signaling may wait for one of them before it reads on.
            tokio::select! {
                biased;
                _ = &mut stop => break,
                permit = events.reserve(), if !self.backlog.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.backlog.pop_front() { permit.send(event) },
                    Err(_) => break,
                },
                Some(event) = shard_events.recv() => self.handle_shard_event(event),
                Some(event) = bridge_events.recv() => self.handle_bridge_event(event),
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => break,
                },
                _ = tidy.tick() => self.tidy(),
            }
        }
        self.streams.close_all();
        let mut shards = std::mem::take(&mut self.shards);
        let joined = tokio::task::spawn_blocking(move || shards.iter_mut().for_each(ShardHandle::stop));
        let _ = joined.await;
        let _ = stopped.send(());
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Publish { room, transport, offer, tracks, reached_at, reply } => {
                let _ = reply.send(self.publish(room, transport, &offer, &tracks, reached_at));
            }
            Command::Subscribe { room, transport, wanted, reached_at, restart_ice, reply } => {
                let _ = reply.send(self.subscribe(room, transport, &wanted, reached_at, restart_ice));
            }
            Command::SubscribeAnswer { transport, answer, reply } => {
                let _ = reply.send(self.subscribe_answer(transport, &answer));
            }
            Command::Play { room, offer, wanted, reached_at, reply } => {
                let _ = reply.send(self.play(room, &offer, &wanted, reached_at));
            }
            Command::RestartIce { transport, fragment, reached_at, reply } => {
                let _ = reply.send(self.answer_restart(transport, &fragment, reached_at));
            }
            Command::CloseTransport { transport } => {
                if let Some(peer) = self.remove_transport(transport) {
                    self.shards[peer.shard].mailbox.send(ShardCommand::RemoveTransport { id: transport });
                }
            }
            Command::CloseStream { stream } => {
                self.remove_stream(stream);
            }
            Command::HoldStream { stream } => {
                if let Some((room, shard)) = self.streams.hold(stream) {
                    self.shards[shard].mailbox.send(ShardCommand::HoldStream { room, stream });
                }
            }
            Command::SetMuted { stream, kind, muted } => {
                if let Some(entry) = self.streams.get(stream) {
                    let track = TrackId { stream, kind };
                    let room = entry.room;
                    // The copies too: their viewers go on at a key frame, like those of the original.
                    for shard in self.copies.shards_with(track).chain([entry.shard]) {
                        self.shards[shard].mailbox.send(ShardCommand::SetMuted { room, track, muted });
                    }
                }
            }
            Command::CloseRoom { room } => {
                self.remove_room(room);
            }
            Command::OpenIngest { room, stream, reply } => {
                let _ = reply.send(self.open_ingest(room, stream));
            }
            Command::Relay { way, target, counts, reply } => self.relay(way, target, counts, reply),
            Command::Attach { stream, reply } => {
                let mailbox = self.streams.get(stream).map(|e| self.shards[e.shard].mailbox.clone());
                let attached = mailbox.ok_or(Refusal::NotFound).and_then(|m| self.streams.attach(stream, &m));
                let _ = reply.send(attached);
            }
        }
    }

    /// Begins one attempt of a relay; its task ends with it, or when nobody wants it any more.
    fn relay(&mut self, way: RelayWay, target: RelayTarget, counts: Arc<RelayCounts>, mut reply: Reply<RelayEnd>) {
        let attached = match way {
            RelayWay::Push { stream } => {
                let mailbox = self.streams.get(stream).map(|e| self.shards[e.shard].mailbox.clone());
                let tags = mailbox.ok_or(Refusal::NotFound).and_then(|m| self.streams.attach(stream, &m));
                tags.map(|tags| {
                    Box::pin(relay::push(target, tags, counts)) as Pin<Box<dyn Future<Output = RelayEnd> + Send>>
                })
            }
            RelayWay::Pull { room, stream } => {
                let tags = self.open_ingest(room, stream);
                tags.map(|tags| {
                    Box::pin(relay::pull(target, tags, counts)) as Pin<Box<dyn Future<Output = RelayEnd> + Send>>
                })
            }
        };
        match attached {
            Ok(attempt) => drop(self.streams.workers().spawn(async move {
                tokio::select! {
                    end = attempt => drop(reply.send(Ok(end))),
                    () = reply.closed() => {}
                }
            })),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn handle_shard_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Connected { id } => self.backlog.push_back(Event::TransportConnected { transport: id }),
            ShardEvent::Closed { id, reason } => {
                self.streams.hold_of_transport(id);
                if self.remove_transport(id).is_some() {
                    info!(transport = %id, ?reason, "transport ended");
                    self.backlog.push_back(Event::TransportClosed { transport: id, reason });
                }
            }
            ShardEvent::Speakers { room, speakers } => {
                // Who spoke before is of no interest while signaling has no time to hear it.
                self.backlog.retain(|event| !matches!(event, Event::Speakers { room: of, .. } if *of == room));
                self.backlog.push_back(Event::Speakers { room, speakers });
            }
            ShardEvent::RoomDiscarded { room } => {
                // A room is one, whichever of its shards failed.
                let (transports, streams) = self.remove_room(room);
                for transport in transports {
                    self.backlog.push_back(Event::TransportClosed { transport, reason: CloseReason::Internal });
                }
                for stream in streams {
                    self.backlog.push_back(Event::StreamEnded { stream });
                }
            }
        }
    }

    fn handle_bridge_event(&mut self, event: BridgeEvent) {
        match event {
            BridgeEvent::Tracks { stream, audio, video } => {
                if self.streams.set_tracks(stream, audio, video) {
                    self.backlog.push_back(Event::StreamTracks { stream, audio, video });
                }
            }
            BridgeEvent::BFrames { stream } => self.backlog.push_back(Event::BFrames { stream }),
            // Another publisher may have taken the stream over meanwhile: the end of the one before him is no news.
            BridgeEvent::Ended { stream, publisher, .. } if !self.streams.is_publisher(stream, publisher) => {}
            BridgeEvent::Ended { stream, end: PublisherEnd::Lost, .. } => {
                self.backlog.push_back(Event::StreamLost { stream });
            }
            BridgeEvent::Ended { stream, end: PublisherEnd::Over, .. } => {
                if self.remove_stream(stream) {
                    self.backlog.push_back(Event::StreamEnded { stream });
                }
            }
        }
    }

    /// Forgets a transport and the streams that came by it; the shard knows already, or is told by the caller.
    fn remove_transport(&mut self, id: TransportId) -> Option<Peer> {
        let peer = self.transports.remove(&id)?;
        self.placement.left(peer.shard);
        for stream in self.streams.remove_of_transport(id) {
            self.remove_copies_of(stream);
        }
        Some(peer)
    }

    /// Ends a stream on every shard; false if there is none.
    fn remove_stream(&mut self, stream: StreamId) -> bool {
        let Some(entry) = self.streams.remove(stream) else { return false };
        self.shards[entry.shard].mailbox.send(ShardCommand::RemoveStream { room: entry.room, stream });
        self.remove_copies_of(stream);
        true
    }

    fn remove_copies_of(&mut self, stream: StreamId) {
        let gone = self.copies.remove_stream(stream);
        self.tell_removed(gone);
    }

    fn tell_removed(&self, copies: Vec<(RoomId, Place)>) {
        for (room, (track, shard)) in copies {
            self.shards[shard].mailbox.send(ShardCommand::RemoveCopy { room, track });
        }
    }

    /// Ends everything in a room, on every shard. Returns what was there.
    fn remove_room(&mut self, room: RoomId) -> (Vec<TransportId>, Vec<StreamId>) {
        let transports: Vec<TransportId> =
            self.transports.iter().filter(|(_, peer)| peer.room == room).map(|(id, _)| *id).collect();
        let known = self.placement.forget(room);
        if known {
            // Where the room is not, this does nothing.
            self.shards.iter().for_each(|shard| {
                shard.mailbox.send(ShardCommand::CloseRoom { room });
            });
        }
        let streams = self.streams.remove_of_room(room);
        self.copies.remove_room(room);
        for id in &transports {
            self.remove_transport(*id);
        }
        (transports, streams)
    }

    fn tidy(&mut self) {
        let now = Instant::now();
        self.streams.tidy();
        let counts =
            |shard: &ShardHandle| shard.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).packets_out;
        self.placement.measure(now, self.shards.iter().map(counts));
        if !self.copies.is_empty() {
            let peers = self.transports.values();
            let watched: HashSet<Place> =
                peers.flat_map(|peer| peer.watched.iter().map(|track| (*track, peer.shard))).collect();
            let gone = self.copies.tidy(now, &watched);
            self.tell_removed(gone);
        }
    }

    /// What is held, in the terms of the budget.
    fn memory(&self) -> Terms {
        let mut terms = Terms {
            slots: self.shards.len() as u64 * SHARD_SLOTS_BYTES,
            transports: self.transports.len() as u64 * TRANSPORT_BYTES,
            ..Terms::default()
        };
        self.streams.count_memory(&mut terms);
        self.copies.tracks().for_each(|track| terms.add_copy(&self.config, track.kind));
        terms
    }

    fn open_ingest(&mut self, room: RoomId, stream: StreamId) -> Result<Inlet, Refusal> {
        let mut more = Terms::default();
        if self.streams.get(stream).is_none() {
            Streams::count_ingest(&self.config, &mut more);
            self.memory().admit(&self.config, &more)?;
        }
        let shard = self.placement.home(room);
        let mailbox = self.shards[shard].mailbox.clone();
        for (kind, codec) in [(Kind::Audio, Codec::Opus), (Kind::Video, Codec::H264)] {
            let before = self.streams.get(stream).and_then(|e| e.track(kind));
            if before.is_some_and(|track| track.codec != codec) {
                let gone = self.copies.remove_track(TrackId { stream, kind });
                self.tell_removed(gone);
            }
        }
        let tags = self.streams.open_ingest(room, shard, stream, &mailbox)?;
        self.set_copies_source(stream, false);
        Ok(tags)
    }

    /// Tells the copies of a stream whether its publisher can be asked for key frames.
    fn set_copies_source(&self, stream: StreamId, can_ask: bool) {
        let Some(room) = self.streams.get(stream).map(|e| e.room) else { return };
        let track = TrackId { stream, kind: Kind::Video };
        for shard in self.copies.shards_with(track) {
            self.shards[shard].mailbox.send(ShardCommand::SetCopySource { room, track, can_ask });
        }
    }

    /// Says to a subscriber's shard what it gets. What comes from other shards is copied there first.
    fn set_downs(&mut self, id: TransportId, downs: Vec<DownSetup>) {
        let Some(peer) = self.transports.get_mut(&id) else { return };
        peer.watched = downs.iter().map(|down| down.track).collect();
        for &track in &peer.watched {
            let Some(entry) = self.streams.get(track.stream) else { continue };
            let Some(codec) = entry.track(track.kind).map(|t| t.codec) else { continue };
            if entry.shard == peer.shard || !self.copies.watch(entry.room, (track, peer.shard)) {
                continue;
            }
            let (from, to) = (&self.shards[entry.shard].mailbox, &self.shards[peer.shard].mailbox);
            let (reader_bell, writer_bell) = (to.bell().clone(), from.bell().clone());
            // A shard that has ended neither reads nor writes any more.
            let wake_reader = move || drop(reader_bell.ring());
            let wake_writer = move || drop(writer_bell.ring());
            let (writer, reader) = relay(relay_packets(track.kind), wake_reader, wake_writer);
            let (room, can_ask) = (entry.room, entry.origin_transport().is_some());
            to.send(ShardCommand::AddCopy { room, track, codec, can_ask, pipe: reader });
            from.send(ShardCommand::Relay { room, track, pipe: writer });
        }
        self.shards[peer.shard].mailbox.send(ShardCommand::SetDowns { id, downs });
    }

    /// The shard for a new transport. Publishers are on the shard of their room; whoever watches goes where there is least
    /// to do, as long as there is memory for copies.
    fn shard_for(&mut self, room: RoomId, purpose: Purpose) -> usize {
        if purpose == Purpose::Publish || self.shards.len() == 1 {
            return self.placement.home(room);
        }
        let mut more = Terms::default();
        more.add_copy(&self.config, Kind::Audio);
        more.add_copy(&self.config, Kind::Video);
        if self.memory().admit(&self.config, &more).is_err() {
            return self.placement.home(room);
        }
        let present = self.copies.shards_of(room);
        self.placement.viewer(room, &present)
    }

    fn draw_transport(
        &mut self,
        room: RoomId,
        purpose: Purpose,
        reached_at: Option<IpAddr>,
    ) -> Result<(TransportId, Peer), Refusal> {
        if self.transports.len() >= self.config.transports_max {
            return Err(Refusal::Limit("transports_max"));
        }
        let shard = self.shard_for(room, purpose);
        let credentials = IceCredentials::random();
        let local = LocalSide {
            credentials: (credentials.ufrag, credentials.pwd),
            fingerprint: self.fingerprint.clone(),
            candidates: candidates(&self.config, self.shards[shard].addr, reached_at),
            session_id: rand::random::<u64>() >> 2,
        };
        let id = TransportId(self.next_transport);
        self.next_transport += 1;
        Ok((id, Peer { room, shard, local, remote: None, down: None, watched: Vec::new() }))
    }

    /// Tells the shard of a transport and remembers it.
    fn add_transport(&mut self, id: TransportId, peer: Peer) {
        let (ufrag, pwd) = peer.local.credentials.clone();
        let params = TransportParams {
            connect_timeout: self.config.connect_timeout,
            consent_timeout: self.config.consent_timeout,
            ..TransportParams::server(IceCredentials { ufrag, pwd })
        };
        self.shards[peer.shard].mailbox.send(ShardCommand::AddTransport { id, room: peer.room, params });
        self.placement.joined(Instant::now(), peer.shard);
        self.transports.insert(id, peer);
    }

    /// New credentials and candidates for an ICE restart; those before hold until the client uses the new ones.
    fn restart_ice(&mut self, id: TransportId, reached_at: Option<IpAddr>) {
        let Some(peer) = self.transports.get_mut(&id) else { return };
        let credentials = IceCredentials::random();
        peer.local.credentials = (credentials.ufrag.clone(), credentials.pwd.clone());
        peer.local.candidates = candidates(&self.config, self.shards[peer.shard].addr, reached_at);
        if let Some(down) = &mut peer.down {
            down.set_local(peer.local.clone());
        }
        self.shards[peer.shard].mailbox.send(ShardCommand::RestartIce { id, credentials });
    }

    /// An ICE restart that a client without renegotiation asks for. Keys and tracks stay.
    fn answer_restart(
        &mut self,
        id: TransportId,
        fragment: &str,
        reached_at: Option<IpAddr>,
    ) -> Result<String, Refusal> {
        let (ufrag, pwd) = sdp::fragment::read_credentials(fragment).map_err(refusal_of)?;
        let remote = self.transports.get(&id).and_then(|peer| peer.remote.clone()).ok_or(Refusal::NotFound)?;
        self.restart_ice(id, reached_at);
        self.set_remote(id, RemoteSide { ufrag, pwd, ..remote })?;
        Ok(sdp::fragment::write(&self.transports[&id].local))
    }

    /// Tells the shard the other side's half, if it is new.
    fn set_remote(&mut self, id: TransportId, remote: RemoteSide) -> Result<(), Refusal> {
        let Some(peer) = self.transports.get_mut(&id) else { return Err(Refusal::NotFound) };
        if peer.remote.as_ref() == Some(&remote) {
            return Ok(());
        }
        let fingerprint: Fingerprint =
            remote.fingerprint.parse().map_err(|_| Refusal::BadSdp("a=fingerprint cannot be read".into()))?;
        let credentials = IceCredentials { ufrag: remote.ufrag.clone(), pwd: remote.pwd.clone() };
        peer.remote = Some(remote);
        self.shards[peer.shard].mailbox.send(ShardCommand::SetRemote { id, credentials, fingerprint });
        Ok(())
    }

    /// What a publisher is to send, most wanted first: the operator's order, but H.264 before all where somebody is who came by
    /// RTMP or plays by URL, or who sends it already; if it may be sent at all.
    fn video_codecs(&self, room: RoomId, transport: Option<TransportId>) -> Vec<Codec> {
        let mut codecs = self.config.video_codecs.clone();
        if self.streams.wants_h264(room, transport) {
            // Stable: the others keep their order.
            codecs.sort_by_key(|codec| *codec != Codec::H264);
        }
        codecs
    }

    fn publish(
        &mut self,
        room: RoomId,
        transport: Option<TransportId>,
        offer: &str,
        tracks: &[PublishTrack],
        reached_at: Option<IpAddr>,
    ) -> Result<PublishAnswer, Refusal> {
        let (id, new_peer) = match transport {
            Some(id) => (id, None),
            None => {
                let (id, peer) = self.draw_transport(room, Purpose::Publish, reached_at)?;
                (id, Some(peer))
            }
        };
        let known = self.transports.get(&id);
        let local = new_peer.as_ref().or(known).map(|p| p.local.clone()).ok_or(Refusal::NotFound)?;
        let policy = Policy { video_codecs: self.video_codecs(room, transport), ..Policy::default() };
        let mut negotiated = sdp::answer_publish(offer, &local, &policy).map_err(refusal_of)?;
        let before = known.and_then(|peer| peer.remote.as_ref());
        if before.is_some_and(|b| (&b.ufrag, &b.pwd) != (&negotiated.remote.ufrag, &negotiated.remote.pwd)) {
            // RFC 8839 §4.4.1.1.1: an offer with other credentials asks for an ICE restart, and gets others in return.
            self.restart_ice(id, reached_at);
            negotiated = sdp::answer_publish(offer, &self.transports[&id].local, &policy).map_err(refusal_of)?;
        }
        let mut ups = Vec::new();
        let mut ext = ExtIds::default();
        let mut published: Vec<(TrackId, Track)> = Vec::new();
        for media in negotiated.media.iter().filter(|m| m.active) {
            let by_mid = tracks.iter().find(|t| t.mid == media.mid);
            let Some(stream) = by_mid.or(tracks.iter().find(|t| t.mid.is_empty())).map(|t| t.stream) else { continue };
            let track = TrackId { stream, kind: media.kind };
            if ups.iter().any(|up: &UpSetup| up.track == track) {
                return Err(Refusal::BadSdp(format!("a stream has one {} track, the offer has two", media.kind)));
            }
            ext = merge(ext, media.ext);
            let (codec, fmtp) = (media.format.codec, media.format.fmtp.clone());
            let payload_type = media.format.payload_type;
            published.push((track, Track { mid: media.mid.clone(), codec, payload_type, fmtp }));
            ups.push(UpSetup {
                track,
                mid: media.mid.clone(),
                codec,
                payload_type: media.format.payload_type,
                rtx_payload_type: media.format.rtx_payload_type,
                ssrc: media.ssrc,
                rtx_ssrc: media.rtx_ssrc,
                nack: media.format.feedback.nack,
            });
        }
        let mut more = Terms::default();
        if new_peer.is_some() {
            more.transports += TRANSPORT_BYTES;
        }
        for (TrackId { stream, kind }, _) in &published {
            if self.streams.get(*stream).is_none_or(|e| e.track(*kind).is_none()) {
                more.add_ring(&self.config, *kind);
            }
        }
        if more != Terms::default() {
            self.memory().admit(&self.config, &more)?;
        }
        if let Some(peer) = new_peer {
            self.add_transport(id, peer);
        }
        self.set_remote(id, negotiated.remote)?;
        let peer = &self.transports[&id];
        self.shards[peer.shard].mailbox.send(ShardCommand::SetUps { id, ext, ups });
        let mailbox = self.shards[peer.shard].mailbox.clone();
        let (ended, changed) = self.streams.set_of_transport(id, peer.room, peer.shard, &published);
        for track in ended {
            let gone = self.copies.remove_track(track);
            self.tell_removed(gone);
        }
        for stream in changed {
            self.set_copies_source(stream, true);
            self.streams.serve_players(stream, &mailbox)?;
        }
        let tracks = published.into_iter().map(|(track, t)| negotiated_track(t.mid, track, t.codec)).collect();
        Ok(PublishAnswer { transport: id, answer: negotiated.answer, tracks })
    }

    /// The tracks of what somebody wants, as the offer describes them.
    fn wanted_tracks(&self, wanted: &[Wanted]) -> Vec<DownWanted> {
        let mut tracks = Vec::new();
        for (index, want) in wanted.iter().enumerate() {
            let Some(entry) = self.streams.get(want.stream) else { continue };
            let audio = entry.audio.as_ref().filter(|_| want.audio).map(|t| (Kind::Audio, t));
            let video = entry.video.as_ref().filter(|_| want.video).map(|t| (Kind::Video, t));
            for (kind, track) in [audio, video].into_iter().flatten() {
                tracks.push(DownWanted {
                    key: TrackId { stream: want.stream, kind },
                    codec: track.codec,
                    fmtp: track.fmtp.clone(),
                    stream_label: want.stream.to_string(),
                    ssrc_mark: Some(ssrc_mark(kind, index)),
                });
            }
        }
        tracks
    }

    fn subscribe(
        &mut self,
        room: RoomId,
        transport: Option<TransportId>,
        wanted: &[Wanted],
        reached_at: Option<IpAddr>,
        restart_ice: bool,
    ) -> Result<SubscribeOffer, Refusal> {
        let id = match transport {
            Some(id) => {
                if restart_ice {
                    self.restart_ice(id, reached_at);
                }
                id
            }
            None => {
                let (id, mut peer) = self.draw_transport(room, Purpose::Watch, reached_at)?;
                peer.down = Some(DownSession::new(peer.local.clone(), CNAME));
                self.add_transport(id, peer);
                id
            }
        };
        let tracks = self.wanted_tracks(wanted);
        let peer = self.transports.get_mut(&id).ok_or(Refusal::NotFound)?;
        let down = peer.down.as_mut().ok_or(Refusal::NotFound)?;
        let media = down.set_wanted(tracks);
        let offer = down.offer();
        // What is not wanted any more stops now, not when the answer comes.
        let downs = media.iter().filter(|m| m.accepted).map(|m| down_setup(m, self.config.viewer_reports)).collect();
        self.set_downs(id, downs);
        let tracks = media.into_iter().map(|m| negotiated_track(m.mid, m.track, m.codec)).collect();
        Ok(SubscribeOffer { transport: id, offer, tracks })
    }

    fn subscribe_answer(&mut self, id: TransportId, answer: &str) -> Result<(), Refusal> {
        let peer = self.transports.get_mut(&id).ok_or(Refusal::NotFound)?;
        let down = peer.down.as_mut().ok_or(Refusal::NotFound)?;
        let (remote, media) = down.apply_answer(answer).map_err(refusal_of)?;
        let downs = media.iter().filter(|m| m.accepted).map(|m| down_setup(m, self.config.viewer_reports)).collect();
        self.set_remote(id, remote)?;
        self.set_downs(id, downs);
        Ok(())
    }

    fn play(
        &mut self,
        room: RoomId,
        offer: &str,
        wanted: &[Wanted],
        reached_at: Option<IpAddr>,
    ) -> Result<PlayAnswer, Refusal> {
        let tracks = self.wanted_tracks(wanted);
        if tracks.is_empty() {
            return Err(Refusal::NotFound);
        }
        let (id, peer) = self.draw_transport(room, Purpose::Watch, reached_at)?;
        let negotiated = sdp::answer_play(offer, &peer.local, tracks).map_err(refusal_of)?;
        let downs =
            negotiated.media.iter().filter(|m| m.accepted).map(|m| down_setup(m, self.config.viewer_reports)).collect();
        self.add_transport(id, peer);
        self.set_remote(id, negotiated.remote)?;
        self.set_downs(id, downs);
        let accepted = negotiated.media.into_iter().filter(|m| m.accepted);
        let tracks = accepted.map(|m| negotiated_track(m.mid, m.track, m.codec)).collect();
        Ok(PlayAnswer { transport: id, answer: negotiated.answer, tracks })
    }
}

/// How the vendor's browser library tells tracks apart: sound has 1, the picture of the first stream 2 (it knows one stream for
/// each connection), that of any other 7 (a screen).
fn ssrc_mark(kind: Kind, index: usize) -> u8 {
    match (kind, index) {
        (Kind::Audio, _) => 1,
        (Kind::Video, 0) => 2,
        (Kind::Video, _) => 7,
    }
}

fn negotiated_track(mid: String, track: TrackId, codec: Codec) -> NegotiatedTrack {
    NegotiatedTrack { mid, stream: track.stream, kind: track.kind, codec }
}

/// `viewer_reports`: see [`MediaConfig::viewer_reports`].
fn down_setup(media: &DownMedia, viewer_reports: bool) -> DownSetup {
    DownSetup {
        track: media.track,
        ssrc: media.ssrc,
        payload_type: media.payload_type,
        rtx: media.rtx_payload_type.zip(media.rtx_ssrc),
        transport_cc: media.ext.transport_cc.filter(|id| viewer_reports && (1..=14).contains(id)),
        playout_delay: media.ext.playout_delay.filter(|id| (1..=14).contains(id)),
    }
}

/// The numbers of both; within one BUNDLE they cannot contradict one another (RFC 8843 §9.1).
fn merge(a: ExtIds, b: ExtIds) -> ExtIds {
    ExtIds {
        mid: a.mid.or(b.mid),
        rid: a.rid.or(b.rid),
        repaired_rid: a.repaired_rid.or(b.repaired_rid),
        transport_cc: a.transport_cc.or(b.transport_cc),
        audio_level: a.audio_level.or(b.audio_level),
        video_orientation: a.video_orientation.or(b.video_orientation),
        abs_send_time: a.abs_send_time.or(b.abs_send_time),
        abs_capture_time: a.abs_capture_time.or(b.abs_capture_time),
        playout_delay: a.playout_delay.or(b.playout_delay),
    }
}

fn refusal_of(error: SdpError) -> Refusal {
    match error {
        SdpError::NoCodec { kind, .. } => Refusal::NoCodec(kind),
        other => Refusal::BadSdp(other.to_string()),
    }
}
