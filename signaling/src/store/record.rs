//! What is kept: one type for each kind of fact, and the change that makes or ends it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    config::{AppConfig, PlayPolicy, PrivateMapKeyPolicy},
    name::RoomName,
};

/// A room of an app.
pub type RoomKey = (u32, RoomName);

/// An app that was added at run time. Its `Debug` form shows no key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppRecord {
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    pub name: String,
    /// PEM texts, see [`crate::AppConfig::v1_keys_pem`].
    pub keys: Vec<String>,
    pub secret: String,
    /// See [`crate::AppConfig::v2_secrets_before`].
    pub secrets_before: Vec<String>,
    /// Whether members must show a privateMapKey.
    pub private_map_key_required: bool,
    /// `open`, `ticket` or `signed`.
    pub play: String,
    pub push_key: String,
    pub callback_url: String,
    pub callback_key: String,
    pub callback_private: bool,
    pub relay_private: bool,
    /// See [`crate::AppConfig::bizid`]; empty for none.
    pub bizid: String,
    pub history_messages: u64,
}

impl AppRecord {
    /// As the rest of the server knows apps.
    pub fn to_config(&self) -> AppConfig {
        let record = self;
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let id = record.sdk_app_id;
        AppConfig {
            sdk_app_id: id,
            name: text(&record.name).unwrap_or_else(|| format!("app {id}")),
            v1_keys_pem: record.keys.clone(),
            v2_secret: text(&record.secret),
            v2_secrets_before: record.secrets_before.clone(),
            private_map_key: match record.private_map_key_required {
                true => PrivateMapKeyPolicy::Required,
                false => PrivateMapKeyPolicy::Optional,
            },
            play: match record.play.as_str() {
                "ticket" => PlayPolicy::Ticket,
                "signed" => PlayPolicy::Signed,
                _ => PlayPolicy::Open,
            },
            push_key: text(&record.push_key),
            callback_url: text(&record.callback_url),
            callback_key: text(&record.callback_key),
            callback_private: record.callback_private,
            relay_private: record.relay_private,
            bizid: text(&record.bizid),
            history_messages: record.history_messages as usize,
            ..AppConfig::default()
        }
    }
}

impl fmt::Debug for AppRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppRecord")
            .field("sdk_app_id", &self.sdk_app_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A relay that was begun by request. Its `Debug` form shows no URL.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelayRecord {
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    /// With its query, which may carry secrets.
    pub url: String,
    /// The full name of the stream that goes out; empty for one that comes in.
    pub stream: String,
    /// As whom it comes in, and where; empty for one that goes out.
    #[serde(rename = "roomID")]
    pub room: String,
    #[serde(rename = "userID")]
    pub user: String,
}

impl fmt::Debug for RelayRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayRecord").field("sdk_app_id", &self.sdk_app_id).finish_non_exhaustive()
    }
}

/// A message that newcomers may be shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// Counts up within the room.
    pub number: u64,
    /// The message as it went out.
    pub json: String,
}

/// One thing that becomes true.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Adds an app, or replaces it.
    PutApp(AppRecord),
    RemoveApp(u32),
    /// Adds a relay under a number that no relay had before, or replaces it.
    PutRelay(u64, RelayRecord),
    RemoveRelay(u64),
    /// What is known of a room whether or not somebody is in it, as JSON: the room's own business. Replaces what was known.
    PutRoom(RoomKey, String),
    /// Ends a room, with its history.
    RemoveRoom(RoomKey),
    /// Adds a line to a room's history and forgets all but the newest `keep`.
    AddLine {
        room: RoomKey,
        line: HistoryLine,
        keep: usize,
    },
}

/// Everything that is kept, as it is served: the file is read at start only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub apps: BTreeMap<u32, AppRecord>,
    pub relays: BTreeMap<u64, RelayRecord>,
    /// The greatest number that a relay ever had: numbers are not used again.
    pub last_relay: u64,
    pub rooms: BTreeMap<RoomKey, String>,
    pub history: BTreeMap<RoomKey, Vec<HistoryLine>>,
}

impl Facts {
    /// Makes it true in memory. The file is written first, by [`super::file`].
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutApp(app) => drop(self.apps.insert(app.sdk_app_id, app)),
            Change::RemoveApp(id) => drop(self.apps.remove(&id)),
            Change::PutRelay(number, relay) => {
                self.last_relay = self.last_relay.max(number);
                self.relays.insert(number, relay);
            }
            Change::RemoveRelay(number) => drop(self.relays.remove(&number)),
            Change::PutRoom(room, record) => drop(self.rooms.insert(room, record)),
            Change::RemoveRoom(room) => {
                self.rooms.remove(&room);
                self.history.remove(&room);
            }
            Change::AddLine { room, line, keep } => {
                let lines = self.history.entry(room).or_default();
                lines.push(line);
                lines.drain(..lines.len().saturating_sub(keep));
            }
        }
    }
}
