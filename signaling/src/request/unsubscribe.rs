//! `unsubscribe`: takes streams from what the member receives. The event `offer` follows. Streams that he does not receive,
//! or that ended meanwhile, are no error.

use media::MemberId;
use serde::Serialize;

use super::{Answered, DONE};
use crate::{
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    name::{StreamName, USER_ID_BYTES_MAX},
    room::Room,
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unsubscribe {
    pub streams: Vec<UnwantedStream>,
}

/// A stream by its owner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnwantedStream {
    #[serde(rename = "userID")]
    pub user: String,
    pub stream: StreamName,
}

impl Unsubscribe {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<Unsubscribe, Fault> {
        let unwanted = |item: Fields<'_>| {
            Ok(UnwantedStream {
                user: item.text("userID", USER_ID_BYTES_MAX)?.to_owned(),
                stream: item.stream("stream")?,
            })
        };
        let list = fields.objects("streams", limits.subscriptions_per_member)?;
        Ok(Unsubscribe { streams: list.into_iter().map(unwanted).collect::<Result<_, Fault>>()? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId) -> Answered {
        let ids: Vec<_> = self.streams.iter().filter_map(|s| room.stream_of(&s.user, s.stream)).map(|s| s.id).collect();
        let down = &mut room.members.get_mut(&member).ok_or(Code::NotEntered)?.down;
        for id in ids {
            down.changed |= down.wanted.remove(&id).is_some();
        }
        DONE
    }
}
