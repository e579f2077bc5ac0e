//! `enter`: into a room, with tickets. The only request before which there is no member; [`crate::hub`] applies it.

use std::{fmt, net::IpAddr, time::Instant};

use serde::Serialize;

use crate::{
    auth::{
        authorise::{Credential, Presented, Privilege, Purpose},
        envelope::ENCODED_BYTES_MAX,
    },
    code::Fault,
    fields::Fields,
    member::{Newcomer, Protocol, Role},
    name::{DISPLAY_NAME_BYTES_MAX, RoomName, USER_ID_BYTES_MAX, has_control, is_user_id},
};

/// Bytes of a ticket's field. A ticket over its limit is a bad ticket and not a bad field: tickets are refused with the
/// tickets' codes.
pub(super) const TICKET_BYTES_MAX: usize = 16 * ENCODED_BYTES_MAX;

/// The field `role`.
pub(super) fn role(fields: &Fields<'_>) -> Result<Option<Role>, Fault> {
    match fields.optional_text("role", DISPLAY_NAME_BYTES_MAX)? {
        None => Ok(None),
        Some("anchor") => Ok(Some(Role::Anchor)),
        Some("audience") => Ok(Some(Role::Audience)),
        Some(_) => Err(role_fault()),
    }
}

pub(super) fn role_fault() -> Fault {
    Fault::field("role", "\"anchor\" or \"audience\"")
}

/// Who enters which room, and what he shows for it. Its `Debug` form has no ticket.
#[derive(Clone, PartialEq, Serialize)]
pub struct Enter {
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    #[serde(rename = "userID")]
    pub user: String,
    #[serde(rename = "userSig")]
    pub user_sig: String,
    #[serde(rename = "roomID")]
    pub room: RoomName,
    #[serde(rename = "privateMapKey", skip_serializing_if = "Option::is_none")]
    pub private_map_key: Option<String>,
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Enter {
    pub fn read(fields: &Fields<'_>) -> Result<Enter, Fault> {
        let user = fields.text("userID", USER_ID_BYTES_MAX)?;
        if !is_user_id(user) {
            return Err(Fault::field("userID", "without control characters"));
        }
        let name = fields.optional_text("name", DISPLAY_NAME_BYTES_MAX)?;
        if name.is_some_and(has_control) {
            return Err(Fault::field("name", "without control characters"));
        }
        let role = role(fields)?.unwrap_or(Role::Anchor);
        Ok(Enter {
            sdk_app_id: fields.number("sdkAppID", u32::MAX.into())? as u32,
            user: user.to_owned(),
            user_sig: fields.text("userSig", TICKET_BYTES_MAX)?.to_owned(),
            room: fields.room("roomID")?,
            private_map_key: fields.optional_text("privateMapKey", TICKET_BYTES_MAX)?.map(str::to_owned),
            role,
            name: name.map(str::to_owned),
        })
    }

    /// What is shown at the door.
    pub fn presented(&self) -> Presented<'_> {
        Presented {
            sdk_app_id: Some(self.sdk_app_id),
            user: &self.user,
            room: &self.room,
            credential: Credential::Ticket {
                user_sig: &self.user_sig,
                private_map_key: self.private_map_key.as_deref(),
            },
            purpose: Purpose::Member,
        }
    }

    /// The member-to-be, once his ticket was found good.
    pub fn newcomer(self, privilege: Privilege, until: Option<Instant>, reached_at: Option<IpAddr>) -> Newcomer {
        let Enter { user, name, role, .. } = self;
        Newcomer { user, name, role, protocol: Protocol::Webrtc, privilege, until, reached_at }
    }
}

impl fmt::Debug for Enter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enter")
            .field("sdk_app_id", &self.sdk_app_id)
            .field("user", &self.user)
            .field("room", &self.room)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
