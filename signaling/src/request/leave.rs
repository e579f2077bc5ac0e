//! `leave`: out of the room; the connection stays and can enter another.

use media::MemberId;
use serde::Serialize;

use super::Answered;
use crate::{
    message::{LeaveReason, OkBody},
    room::{Output, Room},
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leave {}

impl Leave {
    pub(super) fn apply(self, room: &mut Room, member: MemberId, id: u64, out: &mut Vec<Output>) -> Answered {
        // Answered here and not by the caller: once he is gone nothing reaches him.
        out.push(Output::Reply { to: member, id, result: Ok(OkBody::Empty {}) });
        room.leave(member, LeaveReason::Left, None, out);
        Ok(None)
    }
}
