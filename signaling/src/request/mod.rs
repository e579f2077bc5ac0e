//! What a member can ask, one file per request: its fields, its permission, its effect on the room.
//!
//! Each file has a type with `read`, which takes the fields of the JSON, and `apply`, which changes the [`Room`]. `apply`
//! returns what to answer, or `None` if the answer comes later, when the media side has done its part.

pub mod answer;
pub mod enter;
pub mod heartbeat;
pub mod leave;
pub mod mute;
pub mod publish;
pub mod restart;
pub mod subscribe;
pub mod unpublish;
pub mod unsubscribe;

use media::MemberId;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    message::OkBody,
    room::{Output, Room},
};

pub use self::{
    answer::Answer, enter::Enter, heartbeat::Heartbeat, leave::Leave, mute::Mute, publish::Publish, restart::Restart,
    subscribe::Subscribe, unpublish::Unpublish, unsubscribe::Unsubscribe,
};

/// One request of a WebSocket client.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Request {
    Enter(Enter),
    Leave(Leave),
    Publish(Publish),
    Unpublish(Unpublish),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Answer(Answer),
    Mute(Mute),
    Restart(Restart),
    Heartbeat(Heartbeat),
}

impl Request {
    /// Reads the request of this `type`.
    pub fn read(map: &Map<String, Value>, limits: &Limits) -> Result<Request, Fault> {
        /// Bytes of a type's name.
        const TYPE_BYTES_MAX: usize = 32;
        let fields = &Fields(map);
        Ok(match fields.text("type", TYPE_BYTES_MAX)? {
            "enter" => Request::Enter(Enter::read(fields)?),
            "leave" => Request::Leave(Leave {}),
            "publish" => Request::Publish(Publish::read(fields, limits)?),
            "unpublish" => Request::Unpublish(Unpublish::read(fields)?),
            "subscribe" => Request::Subscribe(Subscribe::read(fields, limits)?),
            "unsubscribe" => Request::Unsubscribe(Unsubscribe::read(fields, limits)?),
            "answer" => Request::Answer(Answer::read(fields, limits)?),
            "mute" => Request::Mute(Mute::read(fields)?),
            "restart" => Request::Restart(Restart {}),
            "heartbeat" => Request::Heartbeat(Heartbeat {}),
            _ => return Err(Code::UnknownRequest.into()),
        })
    }
}

impl Room {
    /// Applies a member's request; the answer is among the outputs, at once or later.
    ///
    /// `unix_ms` is the wall clock, for the answer to `heartbeat`. `enter` is not a member's request: see [`Room::enter`].
    pub fn request(&mut self, unix_ms: u64, member: MemberId, id: u64, request: Request, out: &mut Vec<Output>) {
        let answer: Result<Option<OkBody>, Fault> = match request {
            Request::Enter(_) => Err(Code::AlreadyEntered.into()),
            Request::Leave(leave) => leave.apply(self, member, id, out),
            Request::Publish(publish) => publish.apply(self, member, id, out),
            Request::Unpublish(unpublish) => unpublish.apply(self, member, out),
            Request::Subscribe(subscribe) => subscribe.apply(self, member),
            Request::Unsubscribe(unsubscribe) => unsubscribe.apply(self, member),
            Request::Answer(answer) => answer.apply(self, member, id, out),
            Request::Mute(mute) => mute.apply(self, member, out),
            Request::Restart(restart) => restart.apply(self, member),
            Request::Heartbeat(heartbeat) => heartbeat.apply(unix_ms),
        };
        match answer {
            Ok(Some(body)) => out.push(Output::Reply { to: member, id, result: Ok(body) }),
            Err(fault) => out.push(Output::Reply { to: member, id, result: Err(fault) }),
            Ok(None) => {}
        }
        self.settle(out);
    }
}
