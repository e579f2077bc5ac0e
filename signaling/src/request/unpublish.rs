//! `unpublish`: ends one of the member's streams. The transport stays for the other, or for the next `publish`.

use media::MemberId;
use serde::Serialize;

use super::{Answered, DONE};
use crate::{
    code::{Code, Fault},
    fields::Fields,
    name::StreamName,
    room::{Output, Room},
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unpublish {
    pub stream: StreamName,
}

impl Unpublish {
    pub fn read(fields: &Fields<'_>) -> Result<Unpublish, Fault> {
        Ok(Unpublish { stream: fields.stream("stream")? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        let m = room.members.get(&member).ok_or(Code::NotEntered)?;
        if m.up.busy {
            // Media may be about to give this very stream new tracks.
            return Err(Code::PublishPending.into());
        }
        if !m.streams.contains_key(&self.stream) {
            return Err(Code::NoSuchStream.into());
        }
        room.end_stream(member, self.stream, true, out);
        DONE
    }
}
