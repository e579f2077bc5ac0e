//! The board: the rooms as the vendor's room services list them. Who is really there, and what he sends, the hub knows; the
//! board keeps what only these services have words for: a room's title, its custom fields, avatars, viewers, heartbeats.
//!
//! Sans-IO: it is told the time, and never calls the hub.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::config::RoomServiceConfig;
use crate::name::RoomName;

/// A room of an app.
pub type Key = (u32, RoomName);

/// Which list a room is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Double,
    Multi,
    Live,
    /// The list service of the `webrtc-room` demos.
    Webrtc,
}

/// One room.
#[derive(Clone, Debug)]
pub struct Listed {
    pub kind: Kind,
    /// The creator's words about it; clients show them as its name.
    pub info: String,
    pub name: String,
    pub creator: String,
    pub custom: Map<String, Value>,
    /// Somebody was in it. Lists show no other rooms.
    pub entered: bool,
    pub pushers: BTreeMap<String, Pusher>,
    pub audiences: BTreeMap<String, Value>,
    /// Everybody who came to watch, listed or not.
    pub audience_count: u64,
    made_at: Instant,
    number: u64,
}

/// Somebody who said that he pushes.
#[derive(Clone, Debug)]
pub struct Pusher {
    pub name: String,
    pub avatar: String,
    /// The stream name of his push URL, if we made it up.
    pub push_name: Option<String>,
    seen_at: Instant,
}

/// What somebody tells of himself when he comes.
#[derive(Clone, Debug, Default)]
pub struct Newcomer {
    pub user: String,
    pub name: String,
    pub avatar: String,
    pub push_name: Option<String>,
}

/// What became of a room when somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// He was not in it.
    NotThere,
    /// Others are told.
    Changed,
    /// It is gone.
    Destroyed,
}

/// What can be done to a custom field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldChange {
    Set(Value),
    Inc,
    Dec,
}

/// All rooms.
#[derive(Debug, Default)]
pub struct Board {
    rooms: HashMap<Key, Listed>,
    /// The room for whoever asked for a push URL before he had one.
    reserved: HashMap<(u32, String), (RoomName, Instant)>,
    last_number: u64,
}

/// How long a room is kept for somebody who has a push URL and did not create it yet.
const RESERVED_FOR: Duration = Duration::from_secs(600);
/// Fields of a room's `custom`.
pub const CUSTOM_FIELDS_MAX: usize = 64;

impl Board {
    pub fn get(&self, key: &Key) -> Option<&Listed> {
        self.rooms.get(key)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.rooms.contains_key(key)
    }

    /// Rooms of one list that somebody entered, oldest first.
    pub fn list(&self, app: u32, kind: Kind) -> Vec<(RoomName, Listed)> {
        let ours = self.rooms.iter().filter(|((a, _), room)| *a == app && room.kind == kind && room.entered);
        let mut list: Vec<_> = ours.map(|((_, name), room)| (name.clone(), room.clone())).collect();
        list.sort_by_key(|(_, room)| room.number);
        list
    }

    /// Adds a room. `false` if there is one of this name.
    pub fn create(&mut self, key: Key, kind: Kind, info: &str, creator: &str, now: Instant) -> bool {
        if self.rooms.contains_key(&key) {
            return false;
        }
        self.reserved.remove(&(key.0, creator.to_owned()));
        self.last_number += 1;
        let room = Listed {
            kind,
            info: info.to_owned(),
            name: String::new(),
            creator: creator.to_owned(),
            custom: Map::new(),
            entered: false,
            pushers: BTreeMap::new(),
            audiences: BTreeMap::new(),
            audience_count: 0,
            made_at: now,
            number: self.last_number,
        };
        self.rooms.insert(key, room);
        true
    }

    pub fn rename(&mut self, key: &Key, name: &str) {
        if let Some(room) = self.rooms.get_mut(key) {
            room.name = name.to_owned();
        }
    }

    /// The room that waits for this user.
    pub fn reserved(&self, app: u32, user: &str) -> Option<RoomName> {
        self.reserved.get(&(app, user.to_owned())).map(|(room, _)| room.clone())
    }

    pub fn reserve(&mut self, app: u32, user: &str, room: RoomName, now: Instant) {
        self.reserved.insert((app, user.to_owned()), (room, now));
    }

    /// The newest room of this list that a user created or is in.
    pub fn room_of(&self, app: u32, kind: Kind, user: &str) -> Option<RoomName> {
        let his = |room: &Listed| room.creator == user && !room.entered || room.pushers.contains_key(user);
        let ours = self.rooms.iter().filter(|((a, _), room)| *a == app && room.kind == kind && his(room));
        ours.max_by_key(|(_, room)| room.number).map(|((_, name), _)| name.clone())
    }

    /// Somebody is in. `others`: publishers who never said a word to this service. `false` if the room is full.
    pub fn enter(&mut self, key: &Key, who: Newcomer, others: &[String], max: usize, now: Instant) -> bool {
        let Some(room) = self.rooms.get_mut(key) else { return false };
        let unknown = others.iter().filter(|user| **user != who.user && !room.pushers.contains_key(*user)).count();
        if !room.pushers.contains_key(&who.user) && room.pushers.len() + unknown >= max {
            return false;
        }
        room.entered = true;
        let Newcomer { user, name, avatar, push_name } = who;
        room.pushers.insert(user, Pusher { name, avatar, push_name, seen_at: now });
        true
    }

    /// Somebody goes. In a live room everybody goes with the creator; the other kinds end with the last pusher.
    pub fn leave(&mut self, key: &Key, user: &str) -> Left {
        let Some(room) = self.rooms.get_mut(key) else { return Left::NotThere };
        if room.pushers.remove(user).is_none() {
            return Left::NotThere;
        }
        let over = match room.kind {
            Kind::Live => room.creator == user,
            Kind::Double | Kind::Multi | Kind::Webrtc => false,
        };
        if over || room.pushers.is_empty() {
            self.rooms.remove(key);
            return Left::Destroyed;
        }
        Left::Changed
    }

    pub fn destroy(&mut self, key: &Key) -> bool {
        self.rooms.remove(key).is_some()
    }

    /// A sign of life. `false` if he is not in the room.
    pub fn beat(&mut self, key: &Key, user: &str, now: Instant) -> bool {
        let pusher = self.rooms.get_mut(key).and_then(|room| room.pushers.get_mut(user));
        pusher.map(|pusher| pusher.seen_at = now).is_some()
    }

    /// Who gave no sign of life for too long, and the rooms that nobody entered, which are gone with this.
    pub fn overdue(&mut self, config: &RoomServiceConfig, now: Instant) -> (Vec<(Key, String)>, Vec<Key>) {
        self.reserved.retain(|_, (_, at)| now.duration_since(*at) < RESERVED_FOR);
        let idle = |room: &Listed| !room.entered && now.duration_since(room.made_at) > config.idle_within;
        let idle: Vec<Key> = self.rooms.iter().filter(|(_, room)| idle(room)).map(|(key, _)| key.clone()).collect();
        for key in &idle {
            self.rooms.remove(key);
        }
        let silent = self.rooms.iter().flat_map(|(key, room)| {
            let silent = room.pushers.iter().filter(|(_, p)| now.duration_since(p.seen_at) > config.heartbeat_within);
            silent.map(|(user, _)| (key.clone(), user.clone()))
        });
        (silent.collect(), idle)
    }

    /// Changes a custom field and answers with all of them. A field that is not there counts as 0.
    ///
    /// # Errors
    /// `None`: there is no such room, or it has [`CUSTOM_FIELDS_MAX`] other fields.
    pub fn change_field(&mut self, key: &Key, field: &str, change: FieldChange) -> Option<Map<String, Value>> {
        let room = self.rooms.get_mut(key)?;
        if !room.custom.contains_key(field) && room.custom.len() >= CUSTOM_FIELDS_MAX {
            return None;
        }
        let value = room.custom.entry(field).or_insert_with(|| 0.into());
        let number = value.as_i64().unwrap_or(0);
        *value = match change {
            FieldChange::Set(value) => value,
            FieldChange::Inc => number.saturating_add(1).into(),
            FieldChange::Dec => number.saturating_sub(1).into(),
        };
        Some(room.custom.clone())
    }

    /// Somebody watches. `Some(false)`: counted, but the list is full; `None`: there is no such room.
    pub fn watch(&mut self, key: &Key, user: &str, info: Value, max: usize) -> Option<bool> {
        let room = self.rooms.get_mut(key)?;
        if let Some(known) = room.audiences.get_mut(user) {
            *known = info;
            return Some(true);
        }
        room.audience_count += 1;
        let fits = room.audiences.len() < max;
        if fits {
            room.audiences.insert(user.to_owned(), info);
        }
        Some(fits)
    }

    pub fn unwatch(&mut self, key: &Key, user: &str) {
        if let Some(room) = self.rooms.get_mut(key) {
            room.audiences.remove(user);
            room.audience_count = room.audience_count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str) -> Newcomer {
        Newcomer { user: user.to_owned(), ..Newcomer::default() }
    }

    fn key() -> Key {
        (1, RoomName::Text("r".into()))
    }

    fn with(kind: Kind, users: &[&str]) -> (Board, Instant) {
        let (mut board, now) = (Board::default(), Instant::now());
        assert!(board.create(key(), kind, "title", users[0], now));
        for user in users {
            assert!(board.enter(&key(), who(user), &[], 4, now));
        }
        (board, now)
    }

    #[test]
    fn a_room_holds_as_many_as_it_may_and_those_who_only_push_count() {
        let (mut board, now) = with(Kind::Multi, &["a", "b"]);
        assert!(!board.enter(&key(), who("c"), &[], 2, now));
        assert!(board.enter(&key(), who("b"), &[], 2, now), "who is in may say it again");
        let others = ["a".to_owned(), "x".to_owned()];
        assert!(!board.enter(&key(), who("c"), &others, 3, now));
        assert!(board.enter(&key(), who("x"), &others, 3, now));
    }

    #[test]
    fn a_live_room_ends_with_its_creator_and_the_others_with_the_last_pusher() {
        let (mut live, _) = with(Kind::Live, &["a", "b"]);
        assert_eq!((live.leave(&key(), "b"), live.leave(&key(), "b")), (Left::Changed, Left::NotThere));
        assert_eq!(live.leave(&key(), "a"), Left::Destroyed);
        let (mut live, _) = with(Kind::Live, &["a", "b"]);
        assert_eq!(live.leave(&key(), "a"), Left::Destroyed);
        let (mut multi, _) = with(Kind::Multi, &["a", "b"]);
        assert_eq!((multi.leave(&key(), "a"), multi.leave(&key(), "b")), (Left::Changed, Left::Destroyed));
    }

    #[test]
    fn who_is_silent_for_more_than_20_s_is_overdue_and_an_empty_room_is_gone_after_30() {
        let config = RoomServiceConfig::default();
        let (mut board, now) = with(Kind::Multi, &["a", "b"]);
        board.create((1, RoomName::Number(2)), Kind::Multi, "", "a", now);
        let later = |s| now + Duration::from_secs(s);
        board.beat(&key(), "b", later(10));
        assert_eq!(board.overdue(&config, later(20)), (vec![], vec![]));
        assert_eq!(board.overdue(&config, later(21)), (vec![(key(), "a".to_owned())], vec![]));
        assert!(board.overdue(&config, later(30)).1.is_empty());
        assert_eq!(board.overdue(&config, later(31)).1, [(1, RoomName::Number(2))]);
    }

    #[test]
    fn a_room_that_nobody_entered_is_not_listed() {
        let (mut board, now) = (Board::default(), Instant::now());
        board.create(key(), Kind::Live, "", "a", now);
        assert!(board.list(1, Kind::Live).is_empty());
        board.enter(&key(), who("a"), &[], 4, now);
        assert_eq!(board.list(1, Kind::Live).len(), 1);
        assert!(board.list(1, Kind::Multi).is_empty() && board.list(2, Kind::Live).is_empty());
    }

    #[test]
    fn a_room_has_64_custom_fields_at_most() {
        let (mut board, _) = with(Kind::Live, &["a"]);
        for field in 0..CUSTOM_FIELDS_MAX {
            assert!(board.change_field(&key(), &field.to_string(), FieldChange::Inc).is_some());
        }
        assert!(board.change_field(&key(), "one more", FieldChange::Inc).is_none());
        let custom = board.change_field(&key(), "0", FieldChange::Dec).unwrap();
        assert_eq!((&custom["0"], &custom["1"]), (&Value::from(0), &Value::from(1)));
    }

    #[test]
    fn viewers_beyond_the_list_are_counted() {
        let (mut board, _) = with(Kind::Live, &["a"]);
        let watch = |board: &mut Board, user: &str| board.watch(&key(), user, Value::Null, 1);
        assert_eq!((watch(&mut board, "x"), watch(&mut board, "x")), (Some(true), Some(true)));
        assert_eq!(watch(&mut board, "y"), Some(false));
        assert_eq!(board.get(&key()).unwrap().audience_count, 2);
        board.unwatch(&key(), "x");
        assert_eq!(board.get(&key()).unwrap().audience_count, 1);
    }
}
