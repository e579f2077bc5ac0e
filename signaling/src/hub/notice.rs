//! What happens in rooms, for whoever in the server wants to know: the store, the callbacks, metrics.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    message::{LeaveReason, MemberInfo, Message, StreamInfo},
    name::{RoomName, StreamName},
    room::RoomRecord,
};

/// One thing that happened in one room.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub sdk_app_id: u32,
    pub room: RoomName,
    /// When, in Unix milliseconds.
    pub unix_ms: u64,
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Somebody entered a room that did not exist, or the server made one.
    RoomCreated,
    /// The room is gone: its last member left, or it was dissolved.
    RoomDissolved,
    /// What of the room outlives its members is this from now on.
    RecordChanged(RoomRecord),
    /// A message to the whole room.
    MessageSent(Message),
    MemberEntered {
        member: MemberInfo,
    },
    MemberLeft {
        user: String,
        reason: LeaveReason,
    },
    PublishStarted {
        user: String,
        stream: StreamInfo,
        /// Of those who push by URL.
        origin: Option<PushOrigin>,
    },
    /// A stream gained or lost a medium, or its codec changed.
    PublishChanged {
        user: String,
        stream: StreamInfo,
    },
    PublishStopped {
        user: String,
        stream: StreamName,
    },
    /// Who a room service says is in the room is not what it was.
    ListChanged,
    /// Somebody plays a stream by RTMP, FLV or HLS. Of this and of its end nothing is ordered with what happens in the room.
    PlayStarted(Play),
    PlayStopped(Play),
}

/// Where a push came from.
#[derive(Clone, Debug, PartialEq)]
pub struct PushOrigin {
    pub ip: IpAddr,
    /// The server, as the publisher called it, and the address by which he came.
    pub host: String,
    pub node: Option<IpAddr>,
    /// The first segment of the URL's path.
    pub app: String,
    /// The query, without what proves who he is.
    pub param: String,
}

/// One player of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Play {
    /// Never used twice; the same in both notices.
    pub id: String,
    /// Whose stream it is.
    pub user: String,
    pub stream: StreamName,
    /// `rtmp`, `flv` or `hls`.
    pub protocol: &'static str,
    /// Who plays, if he showed a ticket.
    pub player: Option<String>,
    pub ip: Option<IpAddr>,
}

type Listener = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Who wants to know.
#[derive(Default)]
pub(super) struct Listeners(RwLock<Vec<Listener>>);

impl Listeners {
    pub(super) fn add(&self, listener: Listener) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    pub(super) fn tell(&self, notice: &Notice) {
        for listener in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(notice);
        }
    }
}
