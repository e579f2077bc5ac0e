//! A member of a room: who he is, what he publishes, and what he has been offered.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use media::{Kind, MemberId, StreamId, TransportId, codec::Codec};
use serde::{Deserialize, Serialize};

use crate::{
    auth::authorise::Privilege,
    message::{MemberInfo, StreamInfo, TrackInfo},
    name::StreamName,
    quality::Quality,
    room::{Allowance, Silence},
};

/// What a member may do by what he is; his ticket may allow less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Publishes and subscribes.
    #[default]
    Anchor,
    /// Subscribes only.
    Audience,
}

/// By which way a member came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The `/signal` WebSocket.
    Webrtc,
    Rtmp,
    Whip,
    /// A stream that the server itself feeds. Nobody else can take its name.
    Test,
}

/// Who is about to enter; his ticket was judged already.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub user: String,
    /// What to show to others instead of the userID.
    pub name: Option<String>,
    pub role: Role,
    pub protocol: Protocol,
    pub privilege: Privilege,
    /// When that ends, and he leaves; `None` if it does not.
    pub until: Option<Instant>,
    /// The address by which he reached us.
    pub reached_at: Option<IpAddr>,
}

/// A user while in a room.
#[derive(Debug)]
pub struct Member {
    pub id: MemberId,
    pub who: Newcomer,
    pub up: Up,
    pub streams: BTreeMap<StreamName, Stream>,
    pub down: Down,
    /// The app's own words about him.
    pub metadata: Option<String>,
    /// What of him others do not get, by the will of whoever runs the room.
    pub silenced: Silence,
    /// His connection is lost; he may come back until then.
    pub away_until: Option<Instant>,
    /// The newest report of his client.
    pub quality: Option<Box<Quality>>,
    /// How many messages he may still send; `None` before the first.
    pub allowance: Option<Allowance>,
}

/// The transport on which a member publishes. RTMP publishers have none.
#[derive(Debug, Default)]
pub struct Up {
    pub transport: Option<TransportId>,
    /// The media side is at work on an offer; a second has to wait.
    pub busy: bool,
    /// The streams of that offer that are new.
    pub pending: BTreeMap<StreamName, StreamId>,
}

/// What a member publishes under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    pub id: StreamId,
    /// `None` while the stream has no such medium.
    pub audio: Option<Track>,
    pub video: Option<Track>,
    pub opened_at: Instant,
    /// Its pictures come in another order than they are shown; of such a stream WebRTC gets some only.
    pub b_frames: bool,
    /// Since when the stream waits for its publisher.
    pub lost_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    pub codec: Codec,
    pub muted: bool,
}

/// The transport on which a member receives, and the negotiation of what it carries.
///
/// ```text
///          changed                offer came            answer            applied
///   Idle ----------> Offering ---------------> Offered --------> Applying --------> Idle
/// ```
///
/// One offer is under way at a time. What changes meanwhile only sets `changed` or `restart`; the next offer
/// carries all of it.
#[derive(Debug, Default)]
pub struct Down {
    pub transport: Option<TransportId>,
    /// What the member subscribes to. Streams leave it when they end.
    pub wanted: BTreeMap<StreamId, Media>,
    /// Of the newest offer.
    pub version: u64,
    pub state: DownState,
    /// What is wanted differs from the newest offer.
    pub changed: bool,
    /// The member asked for an ICE restart.
    pub restart: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DownState {
    #[default]
    Idle,
    /// The media side writes an offer.
    Offering,
    /// The member has the offer.
    Offered,
    /// The media side reads the answer.
    Applying,
}

/// Which media of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    pub audio: bool,
    pub video: bool,
}

impl Member {
    pub fn new(id: MemberId, who: Newcomer) -> Member {
        Member {
            id,
            who,
            up: Up::default(),
            streams: BTreeMap::new(),
            down: Down::default(),
            metadata: None,
            quality: None,
            silenced: Silence::NONE,
            away_until: None,
            allowance: None,
        }
    }

    /// Whether he counts as a publisher: he has a stream, or is about to.
    pub fn is_publisher(&self) -> bool {
        !self.streams.is_empty() || self.up.busy
    }

    pub fn info(&self) -> MemberInfo {
        MemberInfo {
            user: self.who.user.clone(),
            name: self.who.name.clone().unwrap_or_else(|| self.who.user.clone()),
            role: self.who.role,
            protocol: self.who.protocol,
            metadata: self.metadata.clone(),
            silenced: self.silenced,
            streams: self
                .streams
                .iter()
                .filter(|(_, s)| s.is_announced())
                .map(|(name, s)| s.info(*name, self.silenced))
                .collect(),
            quality: None,
        }
    }
}

impl Stream {
    /// A stream of which it is not known yet what it carries.
    pub fn new(id: StreamId, opened_at: Instant) -> Stream {
        Stream { id, audio: None, video: None, opened_at, b_frames: false, lost_at: None }
    }

    /// Others know of it: it carries something.
    pub fn is_announced(&self) -> bool {
        self.audio.is_some() || self.video.is_some()
    }

    pub fn track(&mut self, kind: Kind) -> &mut Option<Track> {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }

    /// As others see it, when so much of its member is silenced.
    pub fn info(&self, name: StreamName, silenced: Silence) -> StreamInfo {
        let info = |track: Option<Track>, silenced| track.map(|t| TrackInfo::new(t.codec, t.muted || silenced));
        StreamInfo {
            stream: name,
            audio: info(self.audio, silenced.audio),
            video: info(self.video, silenced.video),
            b_frames: self.b_frames,
            waiting: self.lost_at.is_some(),
        }
    }
}
