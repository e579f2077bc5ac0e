//! What the server says on the `/signal` wire, as types. Requests are in [`crate::request`]. `PROTOCOL.md` shows each message
//! by example, and a test holds the examples to the types.

use std::fmt;

use media::{Kind, codec::Codec};
use serde::{Deserialize, Serialize};

use crate::{
    code::FaultBody,
    member::{Protocol, Role},
    name::{RoomName, StreamName},
    quality::Quality,
    room::Silence,
};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Reply {
    Ok {
        /// The request's id.
        id: u64,
        #[serde(flatten)]
        body: OkBody,
    },
    Error {
        id: u64,
        #[serde(flatten)]
        fault: FaultBody,
    },
}

/// What an `ok` carries besides its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OkBody {
    /// To `enter`.
    Entered(Box<Entered>),
    /// To `publish`: our description.
    Published { sdp: String },
    /// To `resume`.
    Resumed(Resumed),
    /// To `message`.
    Said {
        #[serde(rename = "messageID")]
        id: u64,
        /// When the room took it, in Unix milliseconds.
        time: u64,
    },
    /// To `role`: the privilege bits that he has now.
    Role { role: Role, privilege: u32 },
    /// To `heartbeat`: Unix time in milliseconds.
    Heartbeat { now: u64 },
    /// To everything else.
    Empty {},
}

/// The room as it is when somebody enters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    #[serde(rename = "roomID")]
    pub room: RoomName,
    #[serde(rename = "userID")]
    pub user: String,
    pub role: Role,
    /// The privilege bits that the ticket gave.
    pub privilege: u32,
    /// How often to send `heartbeat`.
    pub heartbeat_seconds: u32,
    /// The other members.
    pub members: Vec<MemberInfo>,
    #[serde(flatten)]
    pub info: RoomInfo,
    /// The last messages to the room, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Message>,
    /// Who speaks at the moment, the loudest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<SpeakerInfo>,
    /// How to come back after the connection was lost; absent where the server does not wait.
    #[serde(flatten)]
    pub resume: Option<ResumeOffer>,
}

/// A room's own state as members see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomInfo {
    /// Who created it, if that was a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// How many members it may have, where that is fewer than the server's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_max: Option<usize>,
    /// How many of them may publish, where that is fewer than the server's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publishers_max: Option<usize>,
}

/// How to come back.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeOffer {
    /// To be shown by `resume`. Whoever has it is this member.
    pub resume_token: String,
    /// How long after the loss of the connection the member stays.
    pub resume_seconds: u32,
}

impl fmt::Debug for ResumeOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeOffer").field("resume_seconds", &self.resume_seconds).finish_non_exhaustive()
    }
}

/// He is back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// The greatest id of a request that arrived before: those above it were lost and may be sent again.
    pub last_request: u64,
    /// How many messages that were missed follow at once.
    pub replayed: u64,
}

/// A message from somebody to the room or to one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Counts up in each room.
    #[serde(rename = "messageID")]
    pub id: u64,
    /// Who said it; absent if the server did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whom it is for; absent if for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When the room took it, in Unix milliseconds.
    pub time: u64,
    #[serde(flatten)]
    pub content: Content,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text {
        text: String,
    },
    /// Something between apps: three texts of the app's own meaning.
    Custom {
        data: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        desc: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        ext: String,
    },
}

impl Content {
    /// What counts against the limits.
    pub fn bytes(&self) -> usize {
        match self {
            Content::Text { text } => text.len(),
            Content::Custom { data, desc, ext } => data.len() + desc.len() + ext.len(),
        }
    }
}

/// A member as others see him.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberInfo {
    #[serde(rename = "userID")]
    pub user: String,
    /// What to show; the userID if he gave none.
    pub name: String,
    pub role: Role,
    pub protocol: Protocol,
    /// The app's own words about him.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// What of him others do not get, by the will of whoever runs the room.
    #[serde(default, skip_serializing_if = "Silence::is_none")]
    pub silenced: Silence,
    pub streams: Vec<StreamInfo>,
    /// What his client reports; only the app's own server is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Box<Quality>>,
}

/// A stream as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    pub stream: StreamName,
    pub audio: Option<TrackInfo>,
    pub video: Option<TrackInfo>,
    /// Its publisher sends B-frames: over WebRTC some pictures are left out, and motion is not smooth.
    #[serde(default, rename = "bFrames", skip_serializing_if = "std::ops::Not::not")]
    pub b_frames: bool,
    /// Its publisher is gone without a word, and may come back within some seconds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
}

/// One medium of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackInfo {
    /// The encoding name of SDP: `H264`, `VP8`, `VP9`, `AV1`, `opus`.
    pub codec: String,
    pub muted: bool,
}

/// What happens without being asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    MemberEntered {
        member: MemberInfo,
    },
    MemberLeft {
        #[serde(rename = "userID")]
        user: String,
        reason: LeaveReason,
    },
    /// A member's role, metadata or silence is not what it was. He is told too.
    MemberChanged {
        member: MemberInfo,
    },
    /// The room's own state is not what it was.
    RoomChanged(RoomInfo),
    Message(Message),
    StreamAdded {
        #[serde(rename = "userID")]
        user: String,
        stream: StreamInfo,
    },
    StreamChanged {
        #[serde(rename = "userID")]
        user: String,
        stream: StreamInfo,
    },
    StreamRemoved {
        #[serde(rename = "userID")]
        user: String,
        stream: StreamName,
    },
    Muted {
        #[serde(rename = "userID")]
        user: String,
        stream: StreamName,
        kind: TrackKind,
        muted: bool,
    },
    /// Who speaks from now on, the loudest first. Has no number and is not kept: it is old in a moment.
    Speakers {
        speakers: Vec<SpeakerInfo>,
    },
    Offer {
        /// Counts up with every offer of one member.
        version: u64,
        sdp: String,
        tracks: Vec<OfferedTrack>,
    },
    Transport {
        direction: Direction,
        state: TransportState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The last message before the socket closes.
    Closed(FaultBody),
}

/// One who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerInfo {
    #[serde(rename = "userID")]
    pub user: String,
    pub stream: StreamName,
    /// Loudness in decibels relative to overload: 0 is as loud as can be, speech is around -25.
    pub level: i16,
}

/// Which m-line of an offer carries what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferedTrack {
    pub mid: String,
    #[serde(rename = "userID")]
    pub user: String,
    pub stream: StreamName,
    pub kind: TrackKind,
    pub codec: String,
}

/// `audio` or `video`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    Audio,
    Video,
}

impl From<Kind> for TrackKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Audio => TrackKind::Audio,
            Kind::Video => TrackKind::Video,
        }
    }
}

impl From<TrackKind> for Kind {
    fn from(kind: TrackKind) -> Self {
        match kind {
            TrackKind::Audio => Kind::Audio,
            TrackKind::Video => Kind::Video,
        }
    }
}

/// Why a member is no longer in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaveReason {
    /// He said so.
    Left,
    /// His connection or transport ended.
    Disconnected,
    /// The same user entered again.
    Ejected,
    /// Somebody with the right to do so sent him away.
    Kicked,
    /// The same, and he may not come back.
    Banned,
    /// The room was dissolved.
    Dissolved,
    /// The media side refused him.
    Failed,
    /// His ticket is over.
    Expired,
}

/// Which of a member's two transports: what he sends, or what he receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportState {
    Connected,
    Closed,
}

impl TrackInfo {
    pub fn new(codec: Codec, muted: bool) -> TrackInfo {
        TrackInfo { codec: codec.name().to_owned(), muted }
    }
}

/// The JSON text of anything that we say.
pub fn to_text<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).expect("our messages have text keys and no failing parts")
}
