//! Which streams there are, what they carry, and the bridge behind each: the ingest that feeds it, the outlet that its RTMP
//! and FLV players hang on.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{BridgeEvent, budget::Terms};
use crate::{
    bridge::tag::Tag,
    buf::pipe::pipe,
    codec::Codec,
    command::Refusal,
    config::MediaConfig,
    driver::{
        egress::spawn_egress,
        ingest::{IngestHandle, IngestSink, spawn_ingest},
        mailbox::{Mailbox, ShardCommand},
        outlet::Outlet,
    },
    ids::{Kind, RoomId, StreamId, TrackId, TransportId},
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
    Ingest(IngestHandle),
}

/// One stream.
pub struct Entry {
    pub room: RoomId,
    pub shard: usize,
    pub audio: Option<Track>,
    pub video: Option<Track>,
    origin: Origin,
    outlet: Option<Arc<Outlet>>,
    idle_since: Option<Instant>,
}

impl Entry {
    pub fn origin_transport(&self) -> Option<TransportId> {
        match self.origin {
            Origin::Transport(id) => Some(id),
            Origin::Ingest(_) => None,
        }
    }

    pub fn track(&self, kind: Kind) -> Option<&Track> {
        match kind {
            Kind::Audio => self.audio.as_ref(),
            Kind::Video => self.video.as_ref(),
        }
    }

    fn close(&mut self) {
        if let Some(outlet) = self.outlet.take() {
            outlet.close();
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
    entries: HashMap<StreamId, Entry>,
}

impl Streams {
    pub fn new(config: MediaConfig, clock: (WallClock, Instant), events: mpsc::UnboundedSender<BridgeEvent>) -> Self {
        Streams { config, clock, events, entries: HashMap::new() }
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

    /// What a publisher's transport carries from now on. A stream whose tracks changed loses its players, who have to come
    /// again for what it carries now; one that stays as it was keeps them. Returns the tracks that ended, which is also what
    /// happens to one that goes on in another way.
    pub fn set_of_transport(
        &mut self,
        transport: TransportId,
        room: RoomId,
        shard: usize,
        tracks: &[(TrackId, Track)],
    ) -> Vec<TrackId> {
        let named = |stream: StreamId, kind: Kind| {
            tracks.iter().find(|(id, _)| *id == TrackId { stream, kind }).map(|(_, track)| track.clone())
        };
        let gone: Vec<StreamId> = (self.entries.iter())
            .filter(|(stream, e)| {
                let same = e.audio == named(**stream, Kind::Audio) && e.video == named(**stream, Kind::Video);
                e.origin_transport() == Some(transport) && !same
            })
            .map(|(stream, _)| *stream)
            .collect();
        let mut ended = Vec::new();
        for stream in gone {
            let Some(entry) = self.remove(stream) else { continue };
            for kind in [Kind::Audio, Kind::Video] {
                let before = entry.track(kind).map(|track| (track.codec, track.payload_type));
                let after = named(stream, kind).map(|track| (track.codec, track.payload_type));
                if before.is_some() && before != after {
                    ended.push(TrackId { stream, kind });
                }
            }
        }
        for (TrackId { stream, .. }, _) in tracks {
            self.entries.entry(*stream).or_insert_with(|| Entry {
                room,
                shard,
                audio: named(*stream, Kind::Audio),
                video: named(*stream, Kind::Video),
                origin: Origin::Transport(transport),
                outlet: None,
                idle_since: None,
            });
        }
        ended
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
                Origin::Transport(_) => {
                    let kinds = [Kind::Audio, Kind::Video].into_iter().filter(|kind| entry.track(*kind).is_some());
                    kinds.for_each(|kind| terms.add_ring(&self.config, kind));
                    if entry.outlet.is_some() {
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

    /// Opens a stream that is fed with tags.
    pub fn open_ingest(
        &mut self,
        room: RoomId,
        shard: usize,
        stream: StreamId,
        mailbox: &Mailbox,
    ) -> Result<mpsc::Sender<Tag>, Refusal> {
        if self.entries.contains_key(&stream) {
            return Err(Refusal::Busy);
        }
        let bell = mailbox.bell().clone();
        let (writer, reader) = pipe(INGEST_PIPE_PACKETS, move || {
            // A shard that has ended reads nothing any more.
            let _ = bell.ring();
        });
        if !mailbox.send(ShardCommand::AddPipeStream { room, stream, pipe: reader }) {
            return Err(Refusal::ShuttingDown);
        }
        let outlet = Outlet::new();
        let (tracks, ended) = (self.events.clone(), self.events.clone());
        let sink = IngestSink {
            pipe: writer,
            outlet: outlet.clone(),
            on_tracks: Box::new(move |audio, video| {
                let _ = tracks.send(BridgeEvent::Tracks { stream, audio, video });
            }),
            on_end: Box::new(move || {
                let _ = ended.send(BridgeEvent::Ended { stream });
            }),
            clock: self.clock,
        };
        let (tags, handle) = spawn_ingest(&self.config, sink);
        let origin = Origin::Ingest(handle);
        let entry = Entry { room, shard, audio: None, video: None, origin, outlet: Some(outlet), idle_since: None };
        self.entries.insert(stream, entry);
        Ok(tags)
    }

    /// Attaches a player. A WebRTC stream is assembled and transcoded from its first player on.
    pub fn attach(&mut self, stream: StreamId, mailbox: &Mailbox) -> Result<mpsc::Receiver<Tag>, Refusal> {
        let entry = self.entries.get_mut(&stream).ok_or(Refusal::NotFound)?;
        entry.idle_since = None;
        if let Some(outlet) = &entry.outlet {
            return Ok(outlet.attach());
        }
        let (writer, reader) = pipe(EGRESS_PIPE_PACKETS, || {});
        let outlet = Outlet::new();
        let video = entry.video.as_ref().map(|t| t.codec);
        spawn_egress(&self.config, reader, entry.audio.is_some(), video, outlet.clone());
        if !mailbox.send(ShardCommand::Tap { room: entry.room, stream, pipe: writer }) {
            return Err(Refusal::ShuttingDown);
        }
        let player = outlet.attach();
        entry.outlet = Some(outlet);
        Ok(player)
    }

    /// Ends the assembling of WebRTC streams that nobody has played for a while.
    pub fn tidy(&mut self) {
        let now = Instant::now();
        for (stream, entry) in &mut self.entries {
            let Some(outlet) = entry.outlet.as_ref().filter(|_| matches!(entry.origin, Origin::Transport(_))) else {
                continue;
            };
            if outlet.players() > 0 {
                entry.idle_since = None;
            } else if now.duration_since(*entry.idle_since.get_or_insert(now)) >= IDLE_OUTLET {
                outlet.close();
                entry.outlet = None;
                entry.idle_since = None;
                tracing::debug!(%stream, "nobody plays the stream any more");
            }
        }
    }
}

/// How a bridged stream's codec is described to subscribers.
fn bridged_fmtp(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        Codec::Opus => "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
        _ => "",
    }
}
