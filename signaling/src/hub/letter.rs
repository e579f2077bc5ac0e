//! Letters from a member to one user whom his room cannot reach: another wire may know him.

use std::sync::{Arc, OnceLock};

use super::{Hub, Seat, unix_ms};
use crate::{
    code::{Code, Fault},
    message::{Message, OkBody},
    name::RoomName,
    request::message::Say,
    room::Output,
};

/// Takes a letter of a member of this room to its receiver; false if he is not known there. The room is locked meanwhile: it must
/// be quick, must not wait, and must not call the hub.
type Postman = Arc<dyn Fn(u32, &RoomName, &Message) -> bool + Send + Sync>;

/// Who takes letters further, if anybody.
#[derive(Default)]
pub(super) struct Post(OnceLock<Postman>);

impl Hub {
    /// From now on this one is asked where rooms know no way. There is one at most; a second is not heard.
    pub(crate) fn employ(&self, postman: impl Fn(u32, &RoomName, &Message) -> bool + Send + Sync + 'static) {
        let _ = self.0.post.0.set(Arc::new(postman));
    }

    /// A member's message, to all or to one. What a room has against it besides the receiver holds for letters too.
    pub(super) fn say(&self, seat: &Seat, id: u64, say: Say) {
        self.0.with_seat(seat, |cell, out| {
            cell.count_request(seat.member, id);
            let (to, content) = (say.to.clone(), say.content.clone());
            let said = cell.room.say(seat.member, say.to, say.content, out).or_else(|fault| {
                let unknown = [Code::NoSuchMember, Code::Unreachable].contains(&fault.code);
                let from = cell.room.members.get(&seat.member).map(|member| member.who.user.clone());
                let (Some(postman), true) = (self.0.post.0.get(), unknown) else { return Err(fault) };
                let message = Message { id: cell.room.next_message_id(), from, to, time: unix_ms(), content };
                let (app, room) = &cell.key;
                if postman(*app, room, &message) { Ok((message.id, message.time)) } else { Err::<_, Fault>(fault) }
            });
            let result = said.map(|(id, time)| OkBody::Said { id, time });
            out.push(Output::Reply { to: seat.member, id, result });
        });
    }
}
