//! What of a room outlives its members, and a restart where there is a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomChange {
    pub locked: Option<bool>,
    /// Empty text removes it.
    pub metadata: Option<String>,
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
