//! `mute`: stops or resumes forwarding of one medium of the member's own stream; everybody is told.

use media::{Kind, MemberId};
use serde::Serialize;

use super::{Answered, DONE};
use crate::{
    code::{Code, Fault},
    fields::Fields,
    message::{Event, TrackKind},
    name::StreamName,
    room::{Action, Output, Room},
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mute {
    pub stream: StreamName,
    pub kind: TrackKind,
    pub muted: bool,
}

impl Mute {
    pub fn read(fields: &Fields<'_>) -> Result<Mute, Fault> {
        /// Bytes of "audio" or "video".
        const KIND_BYTES_MAX: usize = 5;
        let kind = match fields.text("kind", KIND_BYTES_MAX) {
            Ok("audio") => TrackKind::Audio,
            Ok("video") => TrackKind::Video,
            _ => return Err(Fault::field("kind", "\"audio\" or \"video\"")),
        };
        Ok(Mute { stream: fields.stream("stream")?, kind, muted: fields.boolean("muted")? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        let m = room.members.get_mut(&member).ok_or(Code::NotEntered)?;
        let user = m.who.user.clone();
        let kind = Kind::from(self.kind);
        let silenced = if kind == Kind::Audio { m.silenced.audio } else { m.silenced.video };
        if silenced && !self.muted {
            return Err(Code::Silenced.into());
        }
        let stream = m.streams.get_mut(&self.stream).ok_or(Code::NoSuchStream)?;
        let id = stream.id;
        let track = stream.track(kind).as_mut().ok_or(Code::NoSuchStream)?;
        if track.muted != self.muted {
            track.muted = self.muted;
            if silenced {
                // Others see him muted already.
                return DONE;
            }
            out.push(Output::Media(Action::SetMuted { stream: id, kind, muted: self.muted }));
            let event = Event::Muted { user, stream: self.stream, kind: self.kind, muted: self.muted };
            out.push(Output::Broadcast { except: Some(member), event });
        }
        DONE
    }
}
