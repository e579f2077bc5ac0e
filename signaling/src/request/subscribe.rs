//! `subscribe`: adds streams to what the member receives, or changes which of their media. The event `offer` follows.

use media::{Kind, MemberId, StreamId};
use serde::Serialize;

use super::{Answered, DONE};
use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    member::Media,
    name::{StreamName, USER_ID_BYTES_MAX},
    room::Room,
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscribe {
    pub streams: Vec<WantedStream>,
}

/// A stream by its owner, and which of its media.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WantedStream {
    #[serde(rename = "userID")]
    pub user: String,
    pub stream: StreamName,
    pub audio: bool,
    pub video: bool,
}

impl Subscribe {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<Subscribe, Fault> {
        let wanted = |item: Fields<'_>| {
            Ok(WantedStream {
                user: item.text("userID", USER_ID_BYTES_MAX)?.to_owned(),
                stream: item.stream("stream")?,
                audio: item.optional_boolean("audio")?.unwrap_or(true),
                video: item.optional_boolean("video")?.unwrap_or(true),
            })
        };
        let list = fields.objects("streams", limits.subscriptions_per_member)?;
        Ok(Subscribe { streams: list.into_iter().map(wanted).collect::<Result<_, Fault>>()? })
    }

    /// All or nothing: if one stream of the list cannot be had, nothing changes.
    pub(super) fn apply(self, room: &mut Room, member: MemberId) -> Answered {
        let m = room.members.get(&member).ok_or(Code::NotEntered)?;
        let mut found: Vec<(StreamId, Media)> = Vec::with_capacity(self.streams.len());
        for wanted in &self.streams {
            for (kind, is_wanted) in [(Kind::Audio, wanted.audio), (Kind::Video, wanted.video)] {
                if is_wanted {
                    m.who.privilege.require(Privilege::to_receive(wanted.stream, kind))?;
                }
            }
            let stream = room.stream_of(&wanted.user, wanted.stream).filter(|s| s.is_announced());
            let stream = stream.ok_or(Code::NoSuchStream)?;
            found.push((stream.id, Media { audio: wanted.audio, video: wanted.video }));
        }
        let mut all = m.down.wanted.clone();
        all.extend(found);
        if all.len() > room.limits.subscriptions_per_member {
            return Err(Code::TooManySubscriptions.into());
        }
        let m = room.members.get_mut(&member).ok_or(Code::NotEntered)?;
        m.down.changed |= all != m.down.wanted;
        m.down.wanted = all;
        DONE
    }
}
