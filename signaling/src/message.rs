//! What the server says on the `/signal` wire, as types. Requests are in [`crate::request`]. `PROTOCOL.md` shows each message
//! by example, and a test holds the examples to the types.

use media::{Kind, codec::Codec};
use serde::{Deserialize, Serialize};

use crate::{
    code::FaultBody,
    member::{Protocol, Role},
    name::{RoomName, StreamName},
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
    Entered(Entered),
    /// To `publish`: our description.
    Published { sdp: String },
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
    pub streams: Vec<StreamInfo>,
}

/// A stream as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    pub stream: StreamName,
    pub audio: Option<TrackInfo>,
    pub video: Option<TrackInfo>,
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
