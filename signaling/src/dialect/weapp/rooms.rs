//! What the room services have in common: the operations on rooms behind their commands. The board says what a service was
//! told, the hub who is really there; answers are made of both.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use super::{
    Weapp,
    board::{Key, Kind, Left, Listed, Newcomer},
    call::Why,
    urls::{Urls, name_of},
};
use crate::{
    hub::{RoomView, push_name::main_stream},
    message::MemberInfo,
    name::{RoomName, StreamName},
};

/// A pusher as answers show him.
#[derive(Clone, Debug, PartialEq)]
pub struct PusherView {
    pub user: String,
    name: String,
    avatar: String,
    accelerate_url: String,
}

impl PusherView {
    pub fn json(&self) -> Value {
        json!({
            "userID": self.user,
            "userName": self.name,
            "userAvatar": self.avatar,
            "accelerateURL": self.accelerate_url,
        })
    }
}

/// A room as answers show it.
#[derive(Clone, Debug)]
pub struct RoomAnswer {
    pub room: RoomName,
    pub info: String,
    pub name: String,
    creator: String,
    mixed_play_url: String,
    custom: Map<String, Value>,
    pub pushers: Vec<PusherView>,
    audiences: Vec<Value>,
    audience_count: u64,
}

impl RoomAnswer {
    /// With the fields that every service has.
    pub fn json(&self) -> Value {
        json!({
            "roomID": self.room.to_string(),
            "roomInfo": self.info,
            "roomCreator": self.creator,
            "mixedPlayURL": self.mixed_play_url,
            "custom": custom_text(&self.custom),
            "pushers": self.pushers.iter().map(PusherView::json).collect::<Vec<_>>(),
        })
    }

    /// With the viewers of a live room.
    pub fn with_audiences(&self, mut json: Value, listed: bool) -> Value {
        json["audienceCount"] = self.audience_count.into();
        if listed {
            json["audiences"] = self.audiences.clone().into();
        }
        json
    }

    /// A number that changes with who is in it.
    pub fn status_code(&self) -> u32 {
        // FNV-1a: the same in every process, which a seeded hash is not.
        let bytes = self.pushers.iter().flat_map(|pusher| pusher.user.bytes().chain([0]));
        bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) & 0x7fff_ffff
    }
}

/// Custom fields travel as text of JSON.
pub fn custom_text(custom: &Map<String, Value>) -> String {
    Value::Object(custom.clone()).to_string()
}

impl Weapp {
    pub(super) fn members_max(&self, kind: Kind) -> usize {
        match kind {
            Kind::Double => self.config().double_members,
            Kind::Multi => self.config().multi_members,
            Kind::Live | Kind::Webrtc => self.config().live_members,
        }
    }

    /// Makes a room on the list. Without a name it gets one: that which its creator's push URL already has, or a fresh one.
    pub(super) fn create_room(
        &self,
        app: u32,
        kind: Kind,
        name: Option<RoomName>,
        info: &str,
        creator: &str,
    ) -> Result<RoomName, Why> {
        if info.len() > self.config().room_info_bytes {
            return Err(Why::InfoTooLong);
        }
        let mut board = self.board();
        let now = Instant::now();
        if let Some(name) = name {
            let is_new = board.create((app, name.clone()), kind, info, creator, now);
            return if is_new { Ok(name) } else { Err(Why::Exists(name)) };
        }
        if let Some(name) = board.reserved(app, creator)
            && board.create((app, name.clone()), kind, info, creator, now)
        {
            return Ok(name);
        }
        loop {
            let name = if kind == Kind::Webrtc { random_number() } else { random_id("room") };
            if board.create((app, name.clone()), kind, info, creator, now) {
                return Ok(name);
            }
        }
    }

    /// A push URL. Who names no room pushes into the one that he created or is in, or else into one that waits for him.
    pub(super) fn push_url(
        &self,
        app: u32,
        kind: Kind,
        room: Option<RoomName>,
        user: &str,
        urls: &Urls,
    ) -> Result<String, Why> {
        let room = room.unwrap_or_else(|| {
            let mut board = self.board();
            let his = board.room_of(app, kind, user).or_else(|| board.reserved(app, user));
            his.unwrap_or_else(|| {
                let room = random_id("room");
                board.reserve(app, user, room.clone(), Instant::now());
                room
            })
        });
        urls.push(self, app, &room, user)
    }

    /// Somebody says that he pushes. A room that is not on the list gets onto it.
    pub(super) fn enter(&self, key: &Key, kind: Kind, info: &str, who: Newcomer, push_url: &str) -> Result<(), Why> {
        let name = name_of(push_url);
        let named = self.hub().named_push(name).filter(|path| path.sdk_app_id == key.0 && path.user == who.user);
        let who = Newcomer { push_name: named.map(|_| name.to_owned()), ..who };
        let others = self.publishers(key);
        let (push_name, user) = (who.push_name.clone(), who.user.clone());
        {
            let mut board = self.board();
            if !board.contains(key) {
                if info.len() > self.config().room_info_bytes {
                    return Err(Why::InfoTooLong);
                }
                board.create(key.clone(), kind, info, &user, Instant::now());
            }
            if !board.enter(key, who, &others, self.members_max(kind), Instant::now()) {
                return Err(Why::Full);
            }
        }
        if let Some(name) = push_name {
            self.hub().move_push(&name, &key.1);
        }
        self.hub().list_changed(key.0, &key.1);
        Ok(())
    }

    /// Somebody stops, or the creator sends him away.
    pub(super) fn delete_pusher(&self, key: &Key, asker: &str, user: &str) -> Result<(), Why> {
        if asker != user && self.board().get(key).is_none_or(|room| room.creator != asker) {
            return Err(Why::NotYou);
        }
        let left = match self.take_out(key, user) {
            // He pushes, but never said so.
            Left::NotThere if self.publishers(key).iter().any(|one| one == user) => {
                self.hub().forget_pushes(key.0, &key.1, Some(user));
                self.hub().end_stay(key.0, &key.1, user);
                Left::Changed
            }
            left => left,
        };
        match left {
            Left::NotThere => Err(Why::NotMember),
            Left::Changed => Ok(()),
            Left::Destroyed => {
                self.after_destroy(key);
                Ok(())
            }
        }
    }

    /// The creator ends his room, and everybody in it leaves.
    pub(super) fn destroy_room(&self, key: &Key, asker: &str) -> Result<(), Why> {
        {
            let mut board = self.board();
            if board.get(key).is_none_or(|room| room.creator != asker) {
                return Err(Why::NotOwner);
            }
            board.destroy(key);
        }
        self.hub().list_changed(key.0, &key.1);
        self.after_destroy(key);
        Ok(())
    }

    /// The room is off the list: who pushes into it goes. With them the room itself is gone, unless others are in it who know
    /// nothing of the list.
    fn after_destroy(&self, key: &Key) {
        self.hub().forget_pushes(key.0, &key.1, None);
        let view = self.hub().room(key.0, &key.1);
        let pushers =
            view.iter().flat_map(|view| &view.members).filter(|m| m.protocol == crate::member::Protocol::Rtmp);
        for member in pushers {
            self.hub().end_stay(key.0, &key.1, &member.user);
        }
    }

    pub(super) fn has_publishers(&self, key: &Key) -> bool {
        !self.publishers(key).is_empty()
    }

    /// Who really publishes in a room.
    pub(super) fn publishers(&self, key: &Key) -> Vec<String> {
        let view = self.hub().room(key.0, &key.1);
        view.iter().flat_map(publishing).map(|member| member.user.clone()).collect()
    }

    /// Rooms of a list: those that somebody entered. Rooms of `/signal`, WHIP and RTMP that no list knows are at the end of
    /// `multi_room`.
    pub(super) fn list(&self, app: u32, kind: Kind, index: usize, count: usize, urls: &Urls) -> Vec<RoomAnswer> {
        let (mut listed, mut known) = (Vec::new(), Vec::new());
        {
            let board = self.board();
            listed.extend(board.list(app, kind).into_iter().map(|(room, listed)| (room, Some(listed))));
            if kind == Kind::Multi {
                for view in self.0.unlisted(app) {
                    known.push(view);
                }
                known.retain(|room| !board.contains(&(app, room.clone())));
            }
        }
        listed.extend(known.into_iter().map(|room| (room, None)));
        let page = listed.into_iter().skip(index).take(count.min(self.hub().config().api.page_max));
        page.map(|(room, listed)| self.show(app, room, listed, urls)).collect()
    }

    /// One room. `None` if neither the list nor the hub knows it, or nobody ever entered it.
    pub(super) fn room_answer(&self, key: &Key, urls: &Urls) -> Option<RoomAnswer> {
        let listed = self.board().get(key).cloned();
        let known = listed.as_ref().is_some_and(|room| room.entered) || self.has_publishers(key);
        known.then(|| self.show(key.0, key.1.clone(), listed, urls))
    }

    fn show(&self, app: u32, room: RoomName, listed: Option<Listed>, urls: &Urls) -> RoomAnswer {
        let view = self.hub().room(app, &room);
        let record = view.as_ref().map(|view| view.record.clone()).unwrap_or_default();
        // Who said it comes first, and who only does it is added: they are one list by user.
        let mut pushers: BTreeMap<String, PusherView> = BTreeMap::new();
        let url = |user: &str, name: Option<&str>, stream| match name {
            Some(name) => urls.play(self, app, name),
            None => {
                let path = crate::name::StreamPath { stream, ..main_stream(app, &room, user) };
                urls.play(self, app, &path.to_string())
            }
        };
        for (user, pusher) in listed.iter().flat_map(|listed| &listed.pushers) {
            let view = PusherView {
                user: user.clone(),
                name: pusher.name.clone(),
                avatar: pusher.avatar.clone(),
                accelerate_url: url(user, pusher.push_name.as_deref(), StreamName::Main),
            };
            pushers.insert(user.clone(), view);
        }
        for member in view.iter().flat_map(publishing) {
            let stream = member.streams.first().map_or(StreamName::Main, |stream| stream.stream);
            pushers.entry(member.user.clone()).or_insert_with(|| PusherView {
                user: member.user.clone(),
                name: member.name.clone(),
                avatar: String::new(),
                accelerate_url: url(&member.user, None, stream),
            });
        }
        let creator = listed.as_ref().map(|listed| listed.creator.clone()).or(record.owner).unwrap_or_default();
        let of_creator = listed.as_ref().and_then(|listed| listed.pushers.get(&creator));
        let mixed = match of_creator.and_then(|pusher| pusher.push_name.clone()) {
            Some(name) => name,
            // Without a word from the creator, whoever is first.
            None => {
                let first = pushers.keys().find(|user| **user == creator).or(pushers.keys().next());
                main_stream(app, &room, first.map_or(creator.as_str(), String::as_str)).to_string()
            }
        };
        let audiences = listed.iter().flat_map(|listed| &listed.audiences);
        let audiences = audiences.map(|(user, info)| json!({ "userID": user, "userInfo": info })).collect();
        RoomAnswer {
            info: listed.as_ref().map_or_else(|| room.to_string(), |listed| listed.info.clone()),
            name: listed.as_ref().map(|listed| listed.name.clone()).unwrap_or_default(),
            creator,
            mixed_play_url: urls.play_flv(self, app, &mixed),
            custom: listed.as_ref().map(|listed| listed.custom.clone()).unwrap_or_default(),
            pushers: pushers.into_values().collect(),
            audiences,
            audience_count: listed.as_ref().map_or(0, |listed| listed.audience_count),
            room,
        }
    }
}

impl super::Inner {
    /// Rooms of the hub in which somebody publishes.
    fn unlisted(&self, app: u32) -> Vec<RoomName> {
        let rooms = self.hub.rooms(app);
        rooms.into_iter().filter(|view| publishing(view).next().is_some()).map(|view| view.room).collect()
    }
}

fn publishing(view: &RoomView) -> impl Iterator<Item = &MemberInfo> {
    view.members.iter().filter(|member| !member.streams.is_empty())
}

/// `room_` or `user_`, 8 hexadecimal digits, `_`, 4 more.
pub fn random_id(kind: &str) -> RoomName {
    RoomName::Text(random_text(kind))
}

/// The same as text.
pub fn random_text(kind: &str) -> String {
    let bytes = random::<6>();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}_{}_{}", &hex[..8], &hex[8..])
}

/// A number that fits the signed 32 bits of old clients.
fn random_number() -> RoomName {
    let number = u32::from_be_bytes(random::<4>()) & 0x7fff_ffff;
    RoomName::Number(number.max(1))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works once the process runs");
    bytes
}

pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
