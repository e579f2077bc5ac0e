//! Stream names that this server makes up for publishers who know no room: `{bizid}_{room}_{user}_{4 hex}`, as the vendor's
//! room services hand them out in push URLs. What a name means is kept here, since nothing can be read from it for sure.

use std::{
    net::IpAddr,
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use dashmap::{DashMap, mapref::entry::Entry};

use super::{Hub, Inner, session::random_name};
use crate::{
    auth::{
        authorise::{Grant, Privilege, UrlSignature},
        url::{self, Query},
    },
    code::Code,
    message::LeaveReason,
    name::{RoomName, StreamName, StreamPath},
};

/// Names that are remembered at once. A name is forgotten with its expiry, or when its user leaves by the room service.
pub const PUSH_NAMES_MAX: usize = 100_000;

/// The names and what signs those of apps that have no key of their own.
pub(super) struct PushNames {
    names: DashMap<String, Named>,
    /// Good as long as this process, like the names themselves.
    key: String,
}

struct Named {
    path: StreamPath,
    expires_at_s: u64,
}

/// A name with the signature that opens the door for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedName {
    pub name: String,
    pub tx_secret: String,
    pub tx_time: String,
}

impl PushNames {
    pub(super) fn new() -> PushNames {
        PushNames { names: DashMap::new(), key: random_name() }
    }

    /// Whose stream it is.
    pub(super) fn path(&self, name: &str) -> Option<StreamPath> {
        self.names.get(name).map(|named| named.path.clone())
    }
}

impl Hub {
    /// Makes up a name for a user's main stream in a room, good until then (Unix seconds).
    ///
    /// # Errors
    /// [`Code::MediaLimit`]: [`PUSH_NAMES_MAX`] names are in use.
    pub(crate) fn name_push(&self, bizid: &str, path: StreamPath, expires_at_s: u64) -> Result<SignedName, Code> {
        let names = &self.0.push_names.names;
        if names.len() >= PUSH_NAMES_MAX {
            let now_s = unix_s();
            names.retain(|_, named| named.expires_at_s >= now_s);
            if names.len() >= PUSH_NAMES_MAX {
                return Err(Code::MediaLimit);
            }
        }
        let sdk_app_id = path.sdk_app_id;
        loop {
            let name = format!("{bizid}_{}_{}_{}", path.room, path.user, &random_name()[..4]);
            if let Entry::Vacant(place) = names.entry(name.clone()) {
                place.insert(Named { path, expires_at_s });
                return Ok(self.sign_name(sdk_app_id, &name, expires_at_s));
            }
        }
    }

    /// Signs a name, to push or to play it.
    pub(crate) fn sign_name(&self, sdk_app_id: u32, name: &str, expires_at_s: u64) -> SignedName {
        let key = self.0.url_key(sdk_app_id);
        SignedName {
            name: name.to_owned(),
            tx_secret: url::tx_secret(&key, name, expires_at_s),
            tx_time: url::tx_time(expires_at_s),
        }
    }

    /// Whose stream a made-up name is.
    pub(crate) fn named_push(&self, name: &str) -> Option<StreamPath> {
        self.0.push_names.path(name)
    }

    /// The stream of this name belongs into another room. Who pushes it already is cut off: his software comes back with the
    /// same URL, and then into that room.
    pub(crate) fn move_push(&self, name: &str, room: &RoomName) {
        let before = self.0.push_names.names.get_mut(name).map(|mut named| {
            let before = named.path.clone();
            named.path.room = room.clone();
            before
        });
        if let Some(before) = before.filter(|before| before.room != *room) {
            self.end_stay(before.sdk_app_id, &before.room, &before.user);
        }
    }

    /// Forgets the names of a user in a room; with them nobody gets in any more.
    pub(crate) fn forget_pushes(&self, sdk_app_id: u32, room: &RoomName, user: Option<&str>) {
        self.0.push_names.names.retain(|_, named| {
            let path = &named.path;
            path.sdk_app_id != sdk_app_id || path.room != *room || user.is_some_and(|user| path.user != user)
        });
    }

    /// Takes a member out of a room as if he had left by himself. Nothing happens if he is not in it.
    pub(crate) fn end_stay(&self, sdk_app_id: u32, room: &RoomName, user: &str) {
        let Some(cell) = self.0.rooms.get(&(sdk_app_id, room.clone())).map(|cell| cell.clone()) else { return };
        self.0.with_cell(&cell, |cell, out| {
            if let Some(member) = cell.room.member_of(user) {
                cell.room.leave(member, LeaveReason::Left, None, out);
            }
        });
    }

    /// Whether a user has this stream in a room now.
    pub(crate) fn has_stream(&self, path: &StreamPath) -> bool {
        self.0.by_path.contains_key(&path.to_string())
    }
}

impl Inner {
    /// Judges the signature of a made-up name.
    pub(super) fn authorise_named(
        &self,
        remote: Option<IpAddr>,
        path: &StreamPath,
        name: &str,
        query: &Query,
    ) -> Result<Grant, Code> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(Code::ShuttingDown);
        }
        self.may_try(remote)?;
        let (Some(secret), Some(time)) = (query.value("txsecret"), query.value("txtime")) else {
            return Err(Code::TicketMissing);
        };
        let signature = UrlSignature { stream: name, secret, time };
        if let Err(code) = url::verify(&self.url_key(path.sdk_app_id), &signature, unix_s()) {
            self.guessed_wrong(remote);
            return Err(code);
        }
        Ok(Grant { sdk_app_id: path.sdk_app_id, privilege: Privilege::ALL, ends_at_s: None, once: None })
    }

    /// What signs URLs of this app.
    fn url_key(&self, sdk_app_id: u32) -> String {
        let apps = self.apps();
        let app = apps.iter().find(|app| app.sdk_app_id == sdk_app_id);
        let key = app.and_then(|app| app.push_key.clone()).filter(|key| !key.is_empty());
        key.unwrap_or_else(|| self.push_names.key.clone())
    }
}

/// The main stream of a user in a room.
pub(crate) fn main_stream(sdk_app_id: u32, room: &RoomName, user: &str) -> StreamPath {
    StreamPath { sdk_app_id, room: room.clone(), user: user.to_owned(), stream: StreamName::Main }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
