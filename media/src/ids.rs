//! Numbers by which media knows things. Signaling draws rooms and streams, media draws transports; none is ever reused
//! within a process, so a late command for something that is gone finds nothing instead of a stranger.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// The users who may hear one another. Drawn by signaling.
    RoomId,
    "room-"
);
id!(
    /// A user while in a room. Drawn by signaling.
    MemberId,
    "member-"
);
id!(
    /// What a member publishes under one name: at most one audio and one video track. Drawn by signaling.
    StreamId,
    "stream-"
);
id!(
    /// The secured path to one remote endpoint. Drawn by media.
    TransportId,
    "transport-"
);

/// Which medium a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Audio,
    Video,
}

impl Kind {
    /// The word that SDP and our JSON use.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Video => "video",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One medium of one stream: the name of an up track, and of every down track that copies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId {
    pub stream: StreamId,
    pub kind: Kind,
}
