//! What a room wants done.

use std::sync::atomic::{AtomicU64, Ordering};

use media::{
    Kind, MemberId, RoomId, StreamId, TransportId,
    command::{PublishTrack, Wanted},
};

use crate::{
    code::{Code, Fault},
    message::{Event, OkBody},
    name::StreamPath,
};

/// What a room wants done.
#[derive(Debug)]
pub enum Output {
    /// The answer to one request of a member.
    Reply {
        to: MemberId,
        id: u64,
        result: Result<OkBody, Fault>,
    },
    Event {
        to: MemberId,
        event: Event,
    },
    /// To every member, but for one who knows already.
    Broadcast {
        except: Option<MemberId>,
        event: Event,
    },
    /// To every connected member, or one, without a number and not kept for who is away: what is old in a moment.
    Passing {
        to: Option<MemberId>,
        event: Event,
    },
    /// A member is no longer in the room. With a code, he is told so and his connection closes.
    Gone {
        member: MemberId,
        code: Option<Code>,
    },
    /// What outlives the members is not what it was.
    RecordChanged,
    /// The room ends with this turn, by somebody's will: nothing of it is kept.
    Dissolved,
    Media(Action),
    Index(Index),
}

/// What a room asks of media. Those with an answer come back through the function named.
#[derive(Debug)]
pub enum Action {
    /// Answered to [`super::Room::published`].
    Publish {
        member: MemberId,
        request: u64,
        transport: Option<TransportId>,
        offer: String,
        tracks: Vec<PublishTrack>,
    },
    /// Answered to [`super::Room::offered`].
    Subscribe {
        member: MemberId,
        transport: Option<TransportId>,
        wanted: Vec<Wanted>,
        restart_ice: bool,
    },
    /// Answered to [`super::Room::answer_applied`].
    SubscribeAnswer {
        member: MemberId,
        request: u64,
        transport: TransportId,
        answer: String,
    },
    CloseTransport(TransportId),
    CloseStream(StreamId),
    HoldStream(StreamId),
    SetMuted {
        stream: StreamId,
        kind: Kind,
        muted: bool,
    },
}

/// What the hub should know to find a room by what media says of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Index {
    StreamOpened { stream: StreamId, path: StreamPath },
    StreamClosed { stream: StreamId, path: StreamPath },
    TransportOpened(TransportId),
    TransportClosed(TransportId),
}

/// Draws the numbers by which media knows things. Shared by all rooms, so that none is ever given twice.
#[derive(Debug, Default)]
pub struct Ids(AtomicU64);

impl Ids {
    pub fn room(&self) -> RoomId {
        RoomId(self.draw())
    }

    pub(super) fn member(&self) -> MemberId {
        MemberId(self.draw())
    }

    pub(crate) fn stream(&self) -> StreamId {
        StreamId(self.draw())
    }

    fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
