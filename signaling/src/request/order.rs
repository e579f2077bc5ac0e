//! Requests by which the owner and moderators keep order: `kick`, `ban`, `unban`, `mute-member`, `update-room`, `dissolve`.

use media::MemberId;
use serde::Serialize;

use super::{Answered, DONE};
use crate::{
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    message::OkBody,
    name::{USER_ID_BYTES_MAX, is_user_id},
    room::{Output, Room, RoomChange, Silence},
};

/// The longest ban that is given in seconds: ten years. Longer ones are without end.
const BAN_SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;

/// Sends a member away. He may come back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kick {
    #[serde(rename = "userID")]
    pub user: String,
}

/// Sends a user away, if he is there, and keeps him out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ban {
    #[serde(rename = "userID")]
    pub user: String,
    /// For how long; without, for as long as the room exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// Lets a banned user in again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unban {
    #[serde(rename = "userID")]
    pub user: String,
}

/// Sets which of a member's media the others do not get. What is not named stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MuteMember {
    #[serde(rename = "userID")]
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<bool>,
}

/// Changes the room's own state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpdateRoom {
    #[serde(flatten)]
    pub change: RoomChange,
}

/// Ends the room for everybody.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dissolve {}

fn user(fields: &Fields<'_>) -> Result<String, Fault> {
    let user = fields.text("userID", USER_ID_BYTES_MAX)?;
    match is_user_id(user) {
        true => Ok(user.to_owned()),
        false => Err(Fault::field("userID", "without control characters")),
    }
}

impl Kick {
    pub fn read(fields: &Fields<'_>) -> Result<Kick, Fault> {
        Ok(Kick { user: user(fields)? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, id: u64, out: &mut Vec<Output>) -> Answered {
        room.require_power_over(member, &self.user)?;
        // Answered first: somebody may send himself away.
        let own = room.member_of(&self.user) == Some(member);
        if own {
            out.push(Output::Reply { to: member, id, result: Ok(OkBody::Empty {}) });
        }
        room.kick(&self.user, out)?;
        Ok((!own).then_some(OkBody::Empty {}))
    }
}

impl Ban {
    pub fn read(fields: &Fields<'_>) -> Result<Ban, Fault> {
        Ok(Ban { user: user(fields)?, seconds: fields.optional_number("seconds", BAN_SECONDS_MAX)? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, unix_ms: u64, out: &mut Vec<Output>) -> Answered {
        room.require_power_over(member, &self.user)?;
        if room.member_of(&self.user) == Some(member) {
            return Err(Fault::field("userID", "another user"));
        }
        room.ban(&self.user, self.seconds.map(|s| unix_ms + s * 1000), out)?;
        DONE
    }
}

impl Unban {
    pub fn read(fields: &Fields<'_>) -> Result<Unban, Fault> {
        Ok(Unban { user: user(fields)? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        room.require_moderator(member)?;
        room.unban(&self.user, out)?;
        DONE
    }
}

impl MuteMember {
    pub fn read(fields: &Fields<'_>) -> Result<MuteMember, Fault> {
        let flag = |name| fields.optional_boolean(name);
        Ok(MuteMember {
            user: user(fields)?,
            audio: flag("audio")?,
            video: flag("video")?,
            messages: flag("messages")?,
        })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        room.require_power_over(member, &self.user)?;
        let now = room.silence_of(&self.user);
        let silence = Silence {
            audio: self.audio.unwrap_or(now.audio),
            video: self.video.unwrap_or(now.video),
            messages: self.messages.unwrap_or(now.messages),
        };
        room.silence(&self.user, silence, out)?;
        DONE
    }
}

impl UpdateRoom {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<UpdateRoom, Fault> {
        Ok(UpdateRoom { change: RoomChange::read(fields, limits)? })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        room.require_moderator(member)?;
        room.change(self.change, out);
        DONE
    }
}

impl Dissolve {
    pub(super) fn apply(self, room: &mut Room, member: MemberId, id: u64, out: &mut Vec<Output>) -> Answered {
        room.require_moderator(member)?;
        out.push(Output::Reply { to: member, id, result: Ok(OkBody::Empty {}) });
        room.dissolve(out);
        Ok(None)
    }
}

/// Sets the member's own metadata; everybody is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetMetadata {
    /// Empty text removes it.
    pub metadata: String,
}

impl SetMetadata {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<SetMetadata, Fault> {
        let bytes_max = limits.metadata_bytes;
        let metadata = fields.optional_text_or_empty("metadata", bytes_max)?;
        let metadata =
            metadata.ok_or_else(|| Fault::field("metadata", &format!("a string of 0 to {bytes_max} bytes")))?;
        Ok(SetMetadata { metadata: metadata.to_owned() })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        let m = room.members.get_mut(&member).ok_or(Code::NotEntered)?;
        let metadata = Some(self.metadata).filter(|text| !text.is_empty());
        if m.metadata != metadata {
            m.metadata = metadata;
            let event = crate::message::Event::MemberChanged { member: m.info() };
            out.push(Output::Broadcast { except: Some(member), event });
        }
        DONE
    }
}
