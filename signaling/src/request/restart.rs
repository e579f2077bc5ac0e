//! `restart`: an ICE restart of the *down* connection, where the server offers. The event `offer` follows. For *up* the client
//! restarts by itself, with the offer of its next `publish`.

use media::MemberId;
use serde::Serialize;

use super::{Answered, DONE};
use crate::{code::Code, room::Room};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Restart {}

impl Restart {
    /// Without a *down* connection there is nothing to do, and that is no error: a client need not know which he has when his
    /// network changes.
    pub(super) fn apply(self, room: &mut Room, member: MemberId) -> Answered {
        let down = &mut room.members.get_mut(&member).ok_or(Code::NotEntered)?.down;
        down.restart = down.transport.is_some();
        DONE
    }
}
