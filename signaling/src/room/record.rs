//! What of a room outlives its members, and a restart where there is a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{code::Fault, config::Limits, fields::Fields};

/// What is known of a room besides who is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomRecord {
    /// The user who created it, and may do in it what moderators may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Nobody new gets in but the owner and moderators.
    pub locked: bool,
    /// The app's own words about the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Who may not enter, and until when in Unix milliseconds; `None` is for as long as the room exists.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bans: BTreeMap<String, Option<u64>>,
    /// Whom the owner, a moderator or the server muted. Holds when they come back.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub silenced: BTreeMap<String, Silence>,
    /// How many members it may have, where that is fewer than the server's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members_max: Option<usize>,
    /// How many of them may publish, where that is fewer than the server's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishers_max: Option<usize>,
    /// The server made the room: it stays without members, and who enters it need not be allowed to create rooms.
    pub lasting: bool,
}

/// Which of a member's media others do not get, whatever he wants himself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    pub audio: bool,
    pub video: bool,
    /// His messages.
    pub messages: bool,
}

/// A change of a room's own state. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Empty text removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// 0 removes it: the server's limit holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members_max: Option<usize>,
    /// 0 removes it: the server's limit holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishers_max: Option<usize>,
}

impl RoomChange {
    /// Reads what of a room is to be set.
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<RoomChange, Fault> {
        let number =
            |name, max: usize| Ok::<_, Fault>(fields.optional_number(name, max as u64)?.map(|number| number as usize));
        Ok(RoomChange {
            locked: fields.optional_boolean("locked")?,
            metadata: fields.optional_text_or_empty("metadata", limits.metadata_bytes)?.map(str::to_owned),
            members_max: number("membersMax", limits.members_per_room)?,
            publishers_max: number("publishersMax", limits.publishers_per_room)?,
        })
    }

    /// Makes it true of a room.
    pub fn apply(self, record: &mut RoomRecord) {
        if let Some(locked) = self.locked {
            record.locked = locked;
        }
        if let Some(metadata) = self.metadata {
            record.metadata = Some(metadata).filter(|text| !text.is_empty());
        }
        // Who is in stays in, also where there are more of them now than there may be.
        if let Some(max) = self.members_max {
            record.members_max = Some(max).filter(|max| *max > 0);
        }
        if let Some(max) = self.publishers_max {
            record.publishers_max = Some(max).filter(|max| *max > 0);
        }
    }
}

impl Silence {
    pub const NONE: Silence = Silence { audio: false, video: false, messages: false };

    pub fn is_none(&self) -> bool {
        *self == Silence::NONE
    }
}

impl RoomRecord {
    /// Whether this user may not enter now.
    pub fn is_banned(&self, user: &str, unix_ms: u64) -> bool {
        self.bans.get(user).is_some_and(|until| until.is_none_or(|until| unix_ms < until))
    }

    /// Forgets bans that are over; whether there were any.
    pub fn drop_expired(&mut self, unix_ms: u64) -> bool {
        let before = self.bans.len();
        self.bans.retain(|_, until| until.is_none_or(|until| unix_ms < until));
        self.bans.len() < before
    }

    /// The room is kept though nobody is in it.
    pub fn outlives_members(&self) -> bool {
        self.lasting || !self.bans.is_empty()
    }
}
