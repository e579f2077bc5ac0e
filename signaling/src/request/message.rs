//! `message`: says something to the room or to one member. The answer is sent when it is in the queues of whom it is for.

use media::MemberId;
use serde::Serialize;

use super::Answered;
use crate::{
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    message::{Content, OkBody},
    name::USER_ID_BYTES_MAX,
    room::{Output, Room},
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Say {
    /// One member; without, everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(flatten)]
    pub content: Content,
}

impl Say {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<Say, Fault> {
        let to = fields.optional_text("to", USER_ID_BYTES_MAX)?.map(str::to_owned);
        // What is too big for its receiver gets a code of its own, so here a text may have as much as any message.
        let bytes_max = limits.message_bytes;
        let text = |name| fields.optional_text_or_empty(name, bytes_max);
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let content = match (text("text")?, text("data")?) {
            (Some(text), None) if !text.is_empty() => Content::Text { text: text.to_owned() },
            (None, Some(data)) => {
                Content::Custom { data: data.to_owned(), desc: owned(text("desc")?), ext: owned(text("ext")?) }
            }
            _ => return Err(Fault::field("text", "there and not empty, or else data")),
        };
        if content.bytes() > limits.chat_bytes_to_one.max(limits.chat_bytes_to_room) {
            return Err(Code::ContentTooBig.into());
        }
        Ok(Say { to, content })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, out: &mut Vec<Output>) -> Answered {
        let (id, time) = room.say(member, self.to, self.content, out)?;
        Ok(Some(OkBody::Said { id, time }))
    }
}
