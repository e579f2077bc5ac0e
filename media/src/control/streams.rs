//! Which streams there are, what they carry, and the bridge behind each: the ingest that feeds it, the outlet that its RTMP
//! and FLV players hang on.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{BridgeEvent, budget::Terms};
use crate::{
    bridge::transcode::TranscodeCounts,
    buf::pipe::{pipe, relay},
    codec::Codec,
    command::Refusal,
    config::MediaConfig,
    driver::{
        egress::spawn_egress,
        feed::Feed,
        ingest::{Ingest, IngestSink},
        mailbox::{Mailbox, ShardCommand},
    },
    ids::{Kind, RoomId, StreamId, TrackId, TransportId},
    inlet::Inlet,
    outlet::Player,
    units::time::WallClock,
};

/// Packets that may wait on their way into a room: a group of pictures at 5 Mbit/s.
const INGEST_PIPE_PACKETS: usize = 1024;
/// Packets that may wait on their way out of a room.
const EGRESS_PIPE_PACKETS: usize = 1024;
/// A stream that nobody plays is assembled and transcoded for this much longer: players that reconnect start at once.
const IDLE_OUTLET: Duration = Duration::from_secs(10);

/// What one track of a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub mid: String,
    pub codec: Codec,
    /// Of the publisher; 0 for the bridge's.
    pub payload_type: u8,
    pub fmtp: String,
}

/// What a stream comes by.
pub enum Origin {
    Transport(TransportId),
    /// It stays while it has no publisher.
    Ingest(Ingest),
    /// The publisher's transport is gone.
    Nobody,
}

/// One stream.
pub struct Entry {
    pub room: RoomId,
    pub shard: usize,
    pub audio: Option<Track>,
    pub video: Option<Track>,
    origin: Origin,
    /// To RTMP and FLV players. It outlives publishers.
    feed: Option<Arc<Feed>>,
    idle_since: Option<Instant>,
}

impl Entry {
    pub fn origin_transport(&self) -> Option<TransportId> {
        match self.origin {
            Origin::Transport(id) => Some(id),
            Origin::Ingest(_) | Origin::Nobody => None,
        }
    }

    pub fn track(&self, kind: Kind) -> Option<&Track> {
        match kind {
            Kind::Audio => self.audio.as_ref(),
            Kind::Video => self.video.as_ref(),
        }
    }

    fn close(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.outlet().close();
        }
        if let Origin::Ingest(ingest) = &self.origin {
            ingest.stop();
        }
    }
}

/// All streams of the server.
pub struct Streams {
    config: MediaConfig,
    clock: (WallClock, Instant),
    events: mpsc::UnboundedSender<BridgeEvent>,
    counts: Arc<TranscodeCounts>,
    /// What waits for media is theirs to do.
    workers: Handle,
    entries: HashMap<StreamId, Entry>,
}

impl Streams {
    pub fn new(
        config: MediaConfig,
        clock: (WallClock, Instant),
        events: mpsc::UnboundedSender<BridgeEvent>,
        workers: Handle,
    ) -> Self {
        Streams { config, clock, events, counts: Arc::default(), workers, entries: HashMap::new() }
    }

    pub fn workers(&self) -> &Handle {
        &self.workers
    }

    /// What the transcoders of all streams do.
    pub fn transcodes(&self) -> &Arc<TranscodeCounts> {
        &self.counts
    }

    pub fn get(&self, stream: StreamId) -> Option<&Entry> {
        self.entries.get(&stream)
    }

    /// Takes a stream out; its players end, its publisher is told.
    pub fn remove(&mut self, stream: StreamId) -> Option<Entry> {
        let mut entry = self.entries.remove(&stream)?;
        entry.close();
        Some(entry)
    }

    pub fn remove_of_transport(&mut self, transport: TransportId) -> Vec<StreamId> {
        self.remove_where(|e| e.origin_transport() == Some(transport))
    }

    /// A transport is gone; what it published stays.
    pub fn hold_of_transport(&mut self, transport: TransportId) {
        for entry in self.entries.values_mut().filter(|e| e.origin_transport() == Some(transport)) {
            entry.origin = Origin::Nobody;
        }
    }

    /// Whether H.264 serves a room best: somebody plays in it by URL, publishes by RTMP, and so plays likewise, or this transport
    /// sends it already.
    pub fn wants_h264(&self, room: RoomId, transport: Option<TransportId>) -> bool {
        self.entries.values().filter(|entry| entry.room == room).any(|entry| match &entry.origin {
            Origin::Ingest(_) => true,
            _ if entry.feed.as_ref().is_some_and(|feed| feed.outlet().players() > 0) => true,
            Origin::Transport(id) => {
                Some(*id) == transport && entry.video.as_ref().is_some_and(|track| track.codec == Codec::H264)
            }
            Origin::Nobody => false,
        })
    }

    /// Cuts the publisher of a stream. Whether its shard has to cut him too is returned, with the room and the shard.
    pub fn hold(&mut self, stream: StreamId) -> Option<(RoomId, usize)> {
        let entry = self.entries.get_mut(&stream)?;
        match &entry.origin {
            Origin::Ingest(ingest) => {
                ingest.detach();
                None
            }
            Origin::Transport(_) => {
                entry.origin = Origin::Nobody;
                Some((entry.room, entry.shard))
            }
            Origin::Nobody => None,
        }
    }

    /// Whether this publisher, by [`Ingest::attach`], is the present one of the stream.
    pub fn is_publisher(&self, stream: StreamId, number: u64) -> bool {
        let origin = self.entries.get(&stream).map(|e| &e.origin);
        matches!(origin, Some(Origin::Ingest(ingest)) if ingest.is_publisher(number))
    }

    pub fn remove_of_room(&mut self, room: RoomId) -> Vec<StreamId> {
        self.remove_where(|e| e.room == room)
    }

    pub fn close_all(&mut self) {
        self.remove_where(|_| true);
    }

    fn remove_where(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<StreamId> {
        let streams: Vec<StreamId> = self.entries.iter().filter(|(_, e)| gone(e)).map(|(id, _)| *id).collect();
        for stream in &streams {
            self.remove(*stream);
        }
        streams
    }

    /// What a publisher's transport carries from now on. Streams that had another publisher are his now; their players stay,
    /// see [`Streams::serve_players`]. Returns the tracks that ended, which is also what happens to one that goes on in
    /// another codec, and to one of the same transport that goes on in another way.
    pub fn set_of_transport(
        &mut self,
        transport: TransportId,
        room: RoomId,
        shard: usize,
        tracks: &[(TrackId, Track)],
    ) -> (Vec<TrackId>, Vec<StreamId>) {
        let named = |stream: StreamId, kind: Kind| {
            tracks.iter().find(|(id, _)| *id == TrackId { stream, kind }).map(|(_, track)| track.clone())
        };
        let (mut ended, mut changed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (&stream, entry) in &mut self.entries {
            let own = entry.origin_transport() == Some(transport);
            let (audio, video) = (named(stream, Kind::Audio), named(stream, Kind::Video));
            let is_named = audio.is_some() || video.is_some();
            if !(own || is_named) || (own && entry.audio == audio && entry.video == video) {
                continue;
            }
            for (kind, after) in [(Kind::Audio, &audio), (Kind::Video, &video)] {
                // Of another publisher only the codec matters: his numbers follow on those before.
                let says = |track: &Track| (track.codec, if own { track.payload_type } else { 0 });
                let before = entry.track(kind).map(says);
                if before.is_some() && before != after.as_ref().map(says) {
                    ended.push(TrackId { stream, kind });
                }
            }
            if !is_named {
                gone.push(stream);
                continue;
            }
            if let Origin::Ingest(ingest) = &entry.origin {
                ingest.stop();
            }
            (entry.audio, entry.video, entry.origin) = (audio, video, Origin::Transport(transport));
            changed.push(stream);
        }
        gone.into_iter().for_each(|stream| drop(self.remove(stream)));
        for (TrackId { stream, .. }, _) in tracks {
            self.entries.entry(*stream).or_insert_with(|| Entry {
                room,
                shard,
                audio: named(*stream, Kind::Audio),
                video: named(*stream, Kind::Video),
                origin: Origin::Transport(transport),
                feed: None,
                idle_since: None,
            });
        }
        (ended, changed)
    }

    /// Notes what a bridged stream carries; false if it is gone.
    pub fn set_tracks(&mut self, stream: StreamId, audio: Option<Codec>, video: Option<Codec>) -> bool {
        let Some(entry) = self.entries.get_mut(&stream) else { return false };
        let track =
            |codec: Codec| Track { mid: String::new(), codec, payload_type: 0, fmtp: bridged_fmtp(codec).into() };
        entry.audio = audio.map(track);
        entry.video = video.map(track);
        true
    }

    /// What the rings of all streams, and the pipes of the bridge, may come to hold.
    pub fn count_memory(&self, terms: &mut Terms) {
        for entry in self.entries.values() {
            match entry.origin {
                Origin::Transport(_) | Origin::Nobody => {
                    let kinds = [Kind::Audio, Kind::Video].into_iter().filter(|kind| entry.track(*kind).is_some());
                    kinds.for_each(|kind| terms.add_ring(&self.config, kind));
                    if entry.feed.is_some() {
                        terms.add_pipe(EGRESS_PIPE_PACKETS);
                    }
                }
                Origin::Ingest(_) => Self::count_ingest(&self.config, terms),
            }
        }
    }

    /// What one more ingest may come to hold.
    pub fn count_ingest(config: &MediaConfig, terms: &mut Terms) {
        terms.add_ring(config, Kind::Audio);
        terms.add_ring(config, Kind::Video);
        terms.add_pipe(INGEST_PIPE_PACKETS);
    }

    /// Opens a stream that is fed with tags, or gives one that exists such a publisher.
    pub fn open_ingest(
        &mut self,
        room: RoomId,
        shard: usize,
        stream: StreamId,
        mailbox: &Mailbox,
    ) -> Result<Inlet, Refusal> {
        if let Some(Entry { origin: Origin::Ingest(ingest), .. }) = self.entries.get(&stream) {
            return Ok(ingest.attach());
        }
        let bell = mailbox.bell().clone();
        let ring = move || {
            // A shard that has ended reads nothing any more.
            let _ = bell.ring();
        };
        let (writer, reader) = relay(INGEST_PIPE_PACKETS, ring, || {});
        if !mailbox.send(ShardCommand::AddPipeStream { room, stream, pipe: reader }) {
            return Err(Refusal::ShuttingDown);
        }
        let entry = self.entries.entry(stream).or_insert_with(|| Entry {
            room,
            shard,
            audio: None,
            video: None,
            origin: Origin::Nobody,
            feed: None,
            idle_since: None,
        });
        let feed = entry.feed.get_or_insert_with(|| new_feed(&self.config, &self.workers)).clone();
        let (tracks, b_frames, ended) = (self.events.clone(), self.events.clone(), self.events.clone());
        let sink = IngestSink {
            pipe: writer,
            feed,
            on_tracks: Box::new(move |audio, video| {
                let _ = tracks.send(BridgeEvent::Tracks { stream, audio, video });
            }),
            on_b_frames: Box::new(move || {
                let _ = b_frames.send(BridgeEvent::BFrames { stream });
            }),
            on_end: Box::new(move |publisher, end| {
                let _ = ended.send(BridgeEvent::Ended { stream, publisher, end });
            }),
            counts: self.counts.to_opus.clone(),
            clock: self.clock,
        };
        let ingest = Ingest::new(&self.config, sink);
        let inlet = ingest.attach();
        entry.origin = Origin::Ingest(ingest);
        Ok(inlet)
    }

    /// Attaches a player. A WebRTC stream is assembled and transcoded from its first player on.
    pub fn attach(&mut self, stream: StreamId, mailbox: &Mailbox) -> Result<Player, Refusal> {
        let entry = self.entries.get_mut(&stream).ok_or(Refusal::NotFound)?;
        entry.idle_since = None;
        if entry.feed.is_none() {
            entry.feed = Some(new_feed(&self.config, &self.workers));
            self.serve_players(stream, mailbox)?;
        }
        let entry = self.entries.get(&stream).ok_or(Refusal::NotFound)?;
        entry.feed.as_ref().map(|feed| feed.outlet().attach()).ok_or(Refusal::NotFound)
    }

    /// Has a WebRTC stream assembled and transcoded for its players as it is now, if it has had any.
    pub fn serve_players(&mut self, stream: StreamId, mailbox: &Mailbox) -> Result<(), Refusal> {
        let Some(entry) = self.entries.get(&stream) else { return Ok(()) };
        let (Some(feed), Origin::Transport(_)) = (&entry.feed, &entry.origin) else { return Ok(()) };
        let (writer, reader) = pipe(EGRESS_PIPE_PACKETS, || {});
        let video = entry.video.as_ref().map(|t| t.codec);
        spawn_egress(&self.config, reader, entry.audio.is_some(), video, feed.clone(), self.counts.to_aac.clone());
        match mailbox.send(ShardCommand::Tap { room: entry.room, stream, pipe: writer }) {
            true => Ok(()),
            false => Err(Refusal::ShuttingDown),
        }
    }

    /// Ends the assembling of WebRTC streams that nobody has played for a while.
    pub fn tidy(&mut self) {
        let now = Instant::now();
        for (stream, entry) in &mut self.entries {
            let Some(feed) = entry.feed.as_ref().filter(|_| matches!(entry.origin, Origin::Transport(_))) else {
                continue;
            };
            if feed.outlet().players() > 0 {
                entry.idle_since = None;
            } else if now.duration_since(*entry.idle_since.get_or_insert(now)) >= IDLE_OUTLET {
                feed.outlet().close();
                entry.feed = None;
                entry.idle_since = None;
                tracing::debug!(%stream, "nobody plays the stream any more");
            }
        }
    }
}

/// A feed whose players get what the operator decided.
fn new_feed(config: &MediaConfig, workers: &Handle) -> Arc<Feed> {
    let feed = Feed::new(config.player_merge);
    feed.outlet().set_start(config.player_start);
    workers.spawn(feed.outlet().clone().fan_out());
    feed
}

/// How a bridged stream's codec is described to subscribers.
fn bridged_fmtp(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        Codec::Vp9 => "profile-id=0",
        Codec::Av1 => "level-idx=5;profile=0;tier=0",
        Codec::H265 => "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
        Codec::Opus => "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
        _ => "",
    }
}
