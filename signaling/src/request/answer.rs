//! `answer`: the member's description in reply to the event `offer`.

use media::MemberId;
use serde::Serialize;

use super::Answered;
use crate::{
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    member::DownState,
    room::{Action, Output, Room},
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Of the offer that is answered.
    pub version: u64,
    pub sdp: String,
}

impl Answer {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<Answer, Fault> {
        Ok(Answer {
            version: fields.number("version", u64::MAX)?,
            sdp: fields.text("sdp", limits.sdp_bytes)?.to_owned(),
        })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, id: u64, out: &mut Vec<Output>) -> Answered {
        let down = &mut room.members.get_mut(&member).ok_or(Code::NotEntered)?.down;
        let (DownState::Offered, Some(transport)) = (down.state, down.transport) else {
            return Err(Code::StaleAnswer.into());
        };
        if self.version != down.version {
            return Err(Code::StaleAnswer.into());
        }
        down.state = DownState::Applying;
        out.push(Output::Media(Action::SubscribeAnswer { member, request: id, transport, answer: self.sdp }));
        Ok(None)
    }
}
