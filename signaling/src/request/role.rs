//! `role`: becomes anchor or audience, or shows a new ticket. [`crate::hub`] judges the ticket, the room does the rest.

use std::{fmt, time::Instant};

use media::MemberId;
use serde::Serialize;

use super::enter::TICKET_BYTES_MAX;
use crate::{
    auth::authorise::{Credential, Presented, Privilege, Purpose},
    code::{Code, Fault},
    fields::Fields,
    member::Role,
    message::{Event, OkBody},
    name::RoomName,
    room::{Output, Room},
};

/// Its `Debug` form has no ticket.
#[derive(Clone, PartialEq, Serialize)]
pub struct SwitchRole {
    pub role: Role,
    /// Needed to become anchor. With it come the privileges that the member has from then on.
    #[serde(rename = "userSig", skip_serializing_if = "Option::is_none")]
    pub user_sig: Option<String>,
    #[serde(rename = "privateMapKey", skip_serializing_if = "Option::is_none")]
    pub private_map_key: Option<String>,
}

impl SwitchRole {
    pub fn read(fields: &Fields<'_>) -> Result<SwitchRole, Fault> {
        let role = super::enter::role(fields)?.ok_or_else(super::enter::role_fault)?;
        let ticket = |name| Ok::<_, Fault>(fields.optional_text(name, TICKET_BYTES_MAX)?.map(str::to_owned));
        Ok(SwitchRole { role, user_sig: ticket("userSig")?, private_map_key: ticket("privateMapKey")? })
    }

    /// What is shown; `None` if nothing needs to be judged.
    pub fn presented<'a>(&'a self, sdk_app_id: u32, user: &'a str, room: &'a RoomName) -> Option<Presented<'a>> {
        let credential = match (&self.user_sig, &self.private_map_key, self.role) {
            (Some(user_sig), key, _) => Credential::Ticket { user_sig, private_map_key: key.as_deref() },
            (None, None, Role::Audience) => return None,
            // To become anchor a ticket is needed, and a privateMapKey alone is none.
            (None, _, _) => Credential::None,
        };
        Some(Presented { sdk_app_id: Some(sdk_app_id), user, room, credential, purpose: Purpose::Member })
    }
}

impl fmt::Debug for SwitchRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchRole").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Room {
    /// Makes a member anchor or audience, with the privileges that his new ticket gave and their end; without one he keeps what
    /// he has.
    /// What he may not do any more ends at once.
    pub fn switch_role(
        &mut self,
        member: MemberId,
        role: Role,
        granted: Option<(Privilege, Option<Instant>)>,
        out: &mut Vec<Output>,
    ) -> Result<OkBody, Fault> {
        let m = self.members.get_mut(&member).ok_or(Code::NotEntered)?;
        if m.up.busy {
            return Err(Code::PublishPending.into());
        }
        let (privilege, until) = granted.unwrap_or((m.who.privilege, m.who.until));
        let sends = Privilege::SEND_AUDIO.0 | Privilege::SEND_VIDEO.0 | Privilege::SEND_AUX.0;
        if role == Role::Anchor && m.who.role == Role::Audience && privilege.0 & sends == 0 {
            return Err(Code::PrivilegeMissing.into());
        }
        m.who.until = until;
        let before = std::mem::replace(&mut m.who.role, role);
        if before != role {
            let event = Event::MemberChanged { member: m.info() };
            if role == Role::Audience {
                self.close_up(member, out);
            }
            // After his streams have ended, so that nobody sees an audience member who publishes.
            let event = match self.members.get(&member) {
                Some(m) => Event::MemberChanged { member: m.info() },
                None => event,
            };
            out.push(Output::Broadcast { except: Some(member), event });
        }
        self.set_privilege(member, privilege, out);
        Ok(OkBody::Role { role, privilege: privilege.0 })
    }
}
