//! What a member can ask, one file per request: its fields, its permission, its effect on the room.
//!
//! Each file has a type with `read`, which takes the fields of the JSON, and `apply`, which changes the [`Room`]. `apply`
//! returns what to answer, or `None` if the answer comes later, when the media side has done its part.

pub mod answer;
pub mod enter;
pub mod heartbeat;
pub mod leave;
pub mod message;
pub mod mute;
pub mod order;
pub mod publish;
pub mod restart;
pub mod resume;
pub mod role;
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
    answer::Answer,
    enter::Enter,
    heartbeat::Heartbeat,
    leave::Leave,
    message::Say,
    mute::Mute,
    order::{Ban, Dissolve, Kick, MuteMember, SetMetadata, Unban, UpdateRoom},
    publish::Publish,
    restart::Restart,
    resume::Resume,
    role::SwitchRole,
    subscribe::Subscribe,
    unpublish::Unpublish,
    unsubscribe::Unsubscribe,
};

/// What a request comes to: an answer, or none yet, or a refusal.
pub(crate) type Answered = Result<Option<OkBody>, Fault>;

/// It is done, and there is nothing else to say.
pub(crate) const DONE: Answered = Ok(Some(OkBody::Empty {}));

/// One request of a WebSocket client.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
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
    Resume(Resume),
    #[serde(rename = "message")]
    Say(Say),
    #[serde(rename = "role")]
    SwitchRole(SwitchRole),
    SetMetadata(SetMetadata),
    UpdateRoom(UpdateRoom),
    Kick(Kick),
    Ban(Ban),
    Unban(Unban),
    MuteMember(MuteMember),
    Dissolve(Dissolve),
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
            "resume" => Request::Resume(Resume::read(fields)?),
            "message" => Request::Say(Say::read(fields, limits)?),
            "role" => Request::SwitchRole(SwitchRole::read(fields)?),
            "set-metadata" => Request::SetMetadata(SetMetadata::read(fields, limits)?),
            "update-room" => Request::UpdateRoom(UpdateRoom::read(fields, limits)?),
            "kick" => Request::Kick(Kick::read(fields)?),
            "ban" => Request::Ban(Ban::read(fields)?),
            "unban" => Request::Unban(Unban::read(fields)?),
            "mute-member" => Request::MuteMember(MuteMember::read(fields)?),
            "dissolve" => Request::Dissolve(Dissolve {}),
            _ => return Err(Code::UnknownRequest.into()),
        })
    }
}

impl Room {
    /// Applies a member's request; the answer is among the outputs, at once or later.
    ///
    /// `enter` and `resume` are not a member's requests: see [`Room::enter`] and [`Room::came_back`]. The ticket of a `role` has to
    /// be judged before: see [`Room::switch_role`].
    pub fn request(&mut self, member: MemberId, id: u64, request: Request, out: &mut Vec<Output>) {
        let unix_ms = self.clock().unix_ms;
        let answer: Answered = match request {
            Request::Enter(_) | Request::Resume(_) => Err(Code::AlreadyEntered.into()),
            Request::SwitchRole(_) => Err(Code::TicketMissing.into()),
            Request::Leave(leave) => leave.apply(self, member, id, out),
            Request::Publish(publish) => publish.apply(self, member, id, out),
            Request::Unpublish(unpublish) => unpublish.apply(self, member, out),
            Request::Subscribe(subscribe) => subscribe.apply(self, member),
            Request::Unsubscribe(unsubscribe) => unsubscribe.apply(self, member),
            Request::Answer(answer) => answer.apply(self, member, id, out),
            Request::Mute(mute) => mute.apply(self, member, out),
            Request::Restart(restart) => restart.apply(self, member),
            Request::Heartbeat(heartbeat) => heartbeat.apply(unix_ms),
            Request::Say(say) => say.apply(self, member, out),
            Request::SetMetadata(set) => set.apply(self, member, out),
            Request::UpdateRoom(update) => update.apply(self, member, out),
            Request::Kick(kick) => kick.apply(self, member, id, out),
            Request::Ban(ban) => ban.apply(self, member, unix_ms, out),
            Request::Unban(unban) => unban.apply(self, member, out),
            Request::MuteMember(mute) => mute.apply(self, member, out),
            Request::Dissolve(dissolve) => dissolve.apply(self, member, id, out),
        };
        match answer {
            Ok(Some(body)) => out.push(Output::Reply { to: member, id, result: Ok(body) }),
            Err(fault) => out.push(Output::Reply { to: member, id, result: Err(fault) }),
            Ok(None) => {}
        }
        self.settle(out);
    }
}
