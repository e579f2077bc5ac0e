//! Who is logged in, the letters that wait for each, and what was said in the groups. Sans-IO: it is told the time and never
//! calls the hub; who waits gets a bell to wait on.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::{Notify, futures::OwnedNotified};

use super::elements_of;
use crate::{code::Fault, message::Message, name::RoomName};

/// Letters that wait for one user; older ones are lost.
const MAIL_MAX: usize = 256;
/// Messages that a group keeps for those who poll; who polls too seldom misses some.
const GROUP_LOG_MAX: usize = 200;
/// Groups of one user.
const GROUPS_MAX: usize = 64;
/// Who asked for nothing for this long is gone. Clients poll without a pause.
const SILENT_MAX: Duration = Duration::from_secs(300);
/// Bytes of a nickname.
const NICK_BYTES_MAX: usize = 128;

/// Why a request is refused, with the vendor's codes.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    BadRequest,
    NoSuchCommand,
    Ticket(Fault),
    NotLoggedIn,
    /// The same user logged in elsewhere.
    LoggedInElsewhere,
    TooManyLogins,
    /// Nothing came while the poll was held.
    Idle,
    BadGroup,
    NoGroup,
    NotInGroup,
    NotOwner,
    GroupExists,
    /// The same, but it is his.
    GroupIsHis,
    TooManyGroups,
    BadKey,
    TooLong,
    TooFast,
    NoSuchUser,
}

impl Why {
    pub fn code(&self) -> u32 {
        match self {
            Why::BadRequest | Why::BadGroup => 10004,
            Why::NoSuchCommand => 60002,
            Why::Ticket(fault) => fault.code.number(),
            Why::NotLoggedIn => 70402,
            Why::LoggedInElsewhere => 91101,
            Why::TooManyLogins | Why::TooManyGroups => 70500,
            Why::Idle => 60008,
            Why::NoGroup => 10010,
            Why::NotInGroup | Why::NotOwner => 10007,
            Why::GroupExists => 10021,
            Why::GroupIsHis => 10025,
            Why::BadKey => 10018,
            Why::TooLong => 80002,
            Why::TooFast => 20012,
            Why::NoSuchUser => 20003,
        }
    }

    pub fn text(&self) -> String {
        let text = match self {
            Why::BadRequest => "the request cannot be read, or lacks something",
            Why::NoSuchCommand => "there is no such service or command here",
            Why::Ticket(fault) => return fault.message.to_string(),
            Why::NotLoggedIn => "not logged in: call login",
            Why::LoggedInElsewhere => "the same user logged in elsewhere",
            Why::TooManyLogins => "as many users as may be are logged in",
            Why::Idle => "nothing came",
            Why::BadGroup => "GroupId must be a room's name",
            Why::NoGroup => "there is no such group",
            Why::NotInGroup => "not a member of the group",
            Why::NotOwner => "not the group's owner",
            Why::GroupExists => "the group exists",
            Why::GroupIsHis => "the group exists and is yours",
            Why::TooManyGroups => "a member of as many groups as may be",
            Why::BadKey => "the key is not one of apply_join_group",
            Why::TooLong => "the message is too long",
            Why::TooFast => "too many messages in a short time",
            Why::NoSuchUser => "the user is not logged in",
        };
        text.to_owned()
    }
}

/// What a poll finds.
pub enum Poll<T> {
    Ready(T),
    /// Nothing yet: ask again when the bell rings. It hears from now on.
    Wait(OwnedNotified),
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub app: u32,
    pub user: String,
    a2: String,
}

impl Login {
    /// A number for him, the same each time.
    pub fn tiny_id(&self) -> String {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let bytes = self.app.to_be_bytes().into_iter().chain(self.user.bytes());
        ((bytes.fold(0xcbf2_9ce4_8422_2325, hash) >> 12) | 1).to_string()
    }
}

struct User {
    a2: String,
    nick: String,
    mail: VecDeque<(u64, Value)>,
    last_seq: u64,
    seen_at: Instant,
    tokens: f64,
    filled_at: Instant,
    wake: Arc<Notify>,
}

struct Group {
    owner: Option<String>,
    /// By user: the key to poll with, and from where on he hears.
    members: HashMap<String, (String, u64)>,
    log: VecDeque<Value>,
    last_seq: u64,
    wake: Arc<Notify>,
}

type UserKey = (u32, String);
type GroupKey = (u32, RoomName);

pub struct Desk {
    logins_max: usize,
    users: HashMap<UserKey, User>,
    by_a2: HashMap<String, UserKey>,
    groups: HashMap<GroupKey, Group>,
    by_key: HashMap<String, (GroupKey, String)>,
}

impl Desk {
    pub fn new(logins_max: usize) -> Desk {
        Desk {
            logins_max,
            users: HashMap::new(),
            by_a2: HashMap::new(),
            groups: HashMap::new(),
            by_key: HashMap::new(),
        }
    }

    /// Logs somebody in. Who was logged in by this name hears of it with his next poll.
    pub fn log_in(&mut self, app: u32, user: &str, now: Instant) -> Result<(Login, String), Why> {
        let key = (app, user.to_owned());
        if !self.users.contains_key(&key) && self.users.len() >= self.logins_max {
            return Err(Why::TooManyLogins);
        }
        let a2 = random_key();
        self.by_a2.insert(a2.clone(), key.clone());
        let entry = self.users.entry(key).or_insert_with(|| User {
            a2: String::new(),
            nick: user.to_owned(),
            mail: VecDeque::new(),
            last_seq: 0,
            seen_at: now,
            tokens: f64::MAX,
            filled_at: now,
            wake: Arc::default(),
        });
        entry.a2.clone_from(&a2);
        entry.seen_at = now;
        entry.wake.notify_waiters();
        Ok((Login { app, user: user.to_owned(), a2: a2.clone() }, a2))
    }

    /// Whose key this is.
    pub fn check(&mut self, a2: Option<&str>, now: Instant) -> Result<Login, Why> {
        let a2 = a2.ok_or(Why::NotLoggedIn)?;
        let key = self.by_a2.get(a2).cloned().ok_or(Why::NotLoggedIn)?;
        match self.users.get_mut(&key) {
            Some(user) if user.a2 == a2 => {
                user.seen_at = now;
                Ok(Login { app: key.0, user: key.1, a2: a2.to_owned() })
            }
            Some(_) => {
                self.by_a2.remove(a2);
                Err(Why::LoggedInElsewhere)
            }
            None => Err(Why::NotLoggedIn),
        }
    }

    pub fn log_out(&mut self, login: &Login) {
        self.remove(&(login.app, login.user.clone()));
    }

    /// Lets go who polls no more.
    pub fn sweep(&mut self, now: Instant) {
        let silent = self.users.iter().filter(|(_, user)| now.duration_since(user.seen_at) > SILENT_MAX);
        let silent: Vec<UserKey> = silent.map(|(key, _)| key.clone()).collect();
        for key in silent {
            self.remove(&key);
        }
        let users = &self.users;
        self.by_a2.retain(|_, key| users.contains_key(key));
    }

    fn remove(&mut self, key: &UserKey) {
        let Some(user) = self.users.remove(key) else { return };
        self.by_a2.remove(&user.a2);
        user.wake.notify_waiters();
        let his: Vec<GroupKey> = self
            .groups
            .iter()
            .filter(|(group, it)| group.0 == key.0 && it.members.contains_key(&key.1))
            .map(|(group, _)| group.clone())
            .collect();
        for group in his {
            self.take_out(&group, &key.1);
        }
    }

    /// A token for one more message.
    pub fn may_send(&mut self, login: &Login, per_second: u32, burst: u32, now: Instant) -> Result<(), Why> {
        let user = self.users.get_mut(&(login.app, login.user.clone())).ok_or(Why::NotLoggedIn)?;
        let gained = now.saturating_duration_since(user.filled_at).as_secs_f64() * f64::from(per_second);
        user.tokens = (user.tokens + gained).min(f64::from(burst));
        user.filled_at = now;
        if user.tokens < 1.0 {
            return Err(Why::TooFast);
        }
        user.tokens -= 1.0;
        Ok(())
    }

    pub fn set_nick(&mut self, login: &Login, nick: &str) {
        if let Some(user) = self.users.get_mut(&(login.app, login.user.clone()))
            && nick.len() <= NICK_BYTES_MAX
        {
            nick.clone_into(&mut user.nick);
        }
    }

    pub fn nick(&self, app: u32, user: &str) -> Option<&str> {
        self.users.get(&(app, user.to_owned())).map(|user| user.nick.as_str())
    }

    /// Puts a letter into somebody's box. `false`: he is not logged in.
    pub fn deliver(&mut self, app: u32, to: &str, mut letter: Value) -> bool {
        let Some(user) = self.users.get_mut(&(app, to.to_owned())) else { return false };
        user.last_seq += 1;
        letter["NoticeSeq"] = user.last_seq.into();
        user.mail.push_back((user.last_seq, letter));
        if user.mail.len() > MAIL_MAX {
            user.mail.pop_front();
        }
        user.wake.notify_waiters();
        true
    }

    /// The letters behind `seen`; those before are done with.
    pub fn mail(&mut self, login: &Login, seen: u64, now: Instant) -> Result<Poll<Vec<Value>>, Why> {
        let user = self.users.get_mut(&(login.app, login.user.clone())).ok_or(Why::NotLoggedIn)?;
        if user.a2 != login.a2 {
            return Err(Why::LoggedInElsewhere);
        }
        user.seen_at = now;
        user.mail.retain(|(seq, _)| *seq > seen);
        match user.mail.is_empty() {
            true => Ok(Poll::Wait(user.wake.clone().notified_owned())),
            false => Ok(Poll::Ready(user.mail.iter().map(|(_, letter)| letter.clone()).collect())),
        }
    }

    pub fn create_group(&mut self, login: &Login, group: &RoomName) -> Result<(), Why> {
        let key = (login.app, group.clone());
        match self.groups.get_mut(&key) {
            Some(known) if known.owner.as_deref() == Some(&login.user) => return Err(Why::GroupIsHis),
            Some(known) if known.owner.is_some() => return Err(Why::GroupExists),
            // It was a room's so far.
            Some(known) => known.owner = Some(login.user.clone()),
            None => drop(self.groups.insert(key, Group::new(Some(login.user.clone())))),
        }
        self.join_group(login, group).map(|_| ())
    }

    /// A member, and the key by which he polls. A group that nobody created is that of the room.
    pub fn join_group(&mut self, login: &Login, group: &RoomName) -> Result<String, Why> {
        if self.groups_of(login).len() >= GROUPS_MAX {
            return Err(Why::TooManyGroups);
        }
        let key = (login.app, group.clone());
        let it = self.groups.entry(key.clone()).or_insert_with(|| Group::new(None));
        if let Some((old, _)) = it.members.get(&login.user) {
            // The library joins what it created, and comes back after an error: it needs the key again.
            return Ok(old.clone());
        }
        let random = random_key();
        it.members.insert(login.user.clone(), (random.clone(), it.last_seq + 1));
        self.by_key.insert(random.clone(), (key, login.user.clone()));
        Ok(random)
    }

    pub fn quit_group(&mut self, login: &Login, group: &RoomName) -> Result<(), Why> {
        let key = (login.app, group.clone());
        let it = self.groups.get(&key).ok_or(Why::NoGroup)?;
        if !it.members.contains_key(&login.user) {
            return Err(Why::NotInGroup);
        }
        self.take_out(&key, &login.user);
        Ok(())
    }

    pub fn destroy_group(&mut self, login: &Login, group: &RoomName) -> Result<(), Why> {
        let key = (login.app, group.clone());
        let it = self.groups.get_mut(&key).ok_or(Why::NoGroup)?;
        if it.owner.as_deref() != Some(&login.user) {
            return Err(Why::NotOwner);
        }
        it.owner = None;
        it.dismiss(group, 0);
        Ok(())
    }

    pub fn groups_of(&self, login: &Login) -> Vec<String> {
        let his = self.groups.iter().filter(|((app, _), it)| *app == login.app && it.members.contains_key(&login.user));
        his.map(|((_, group), _)| group.to_string()).collect()
    }

    /// What was said in a group from `from` on.
    pub fn group_mail(&mut self, key: &str, from: u64, now: Instant) -> Result<Poll<Vec<Value>>, Why> {
        let (group, user) = self.by_key.get(key).cloned().ok_or(Why::BadKey)?;
        let it = self.groups.get(&group).ok_or(Why::BadKey)?;
        let joined = it.members.get(&user).map(|(_, joined)| *joined).ok_or(Why::BadKey)?;
        if let Some(user) = self.users.get_mut(&(group.0, user)) {
            user.seen_at = now;
        }
        let from = from.max(joined);
        let said: Vec<Value> = it.log.iter().filter(|one| one["MsgSeq"].as_u64() >= Some(from)).cloned().collect();
        if said.is_empty() { Ok(Poll::Wait(it.wake.clone().notified_owned())) } else { Ok(Poll::Ready(said)) }
    }

    /// A member's message to a group; its number and time.
    pub fn say_in_group(
        &mut self,
        login: &Login,
        group: &RoomName,
        elements: &[Value],
        unix_s: u64,
    ) -> Result<(u64, u64), Why> {
        let nick = self.nick(login.app, &login.user).unwrap_or(&login.user).to_owned();
        let it = self.groups.get_mut(&(login.app, group.clone())).ok_or(Why::NoGroup)?;
        if !it.members.contains_key(&login.user) {
            return Err(Why::NotInGroup);
        }
        Ok((it.say(group, &login.user, &nick, elements, unix_s), unix_s))
    }

    /// What a member by another wire said in the room.
    pub fn cross(&mut self, app: u32, room: &RoomName, message: &Message, unix_s: u64) {
        let Some(it) = self.groups.get_mut(&(app, room.clone())) else { return };
        let elements = elements_of(message, it.owner.is_none());
        let from = message.from.as_deref().unwrap_or("@TIM#SYSTEM");
        it.say(room, from, from, &elements, unix_s);
    }

    /// A system notice to everybody in a group.
    pub fn notify_group(&mut self, app: u32, room: &RoomName, kind: u32, field: &str, unix_s: u64) {
        if let Some(it) = self.groups.get_mut(&(app, room.clone())) {
            it.notify(room, kind, field, unix_s);
        }
    }

    /// The room of this name ended.
    pub fn room_ended(&mut self, app: u32, room: &RoomName, unix_s: u64) {
        if let Some(it) = self.groups.get_mut(&(app, room.clone()))
            && it.owner.is_none()
        {
            it.dismiss(room, unix_s);
        }
    }

    fn take_out(&mut self, group: &GroupKey, user: &str) {
        let Some(it) = self.groups.get_mut(group) else { return };
        if let Some((key, _)) = it.members.remove(user) {
            self.by_key.remove(&key);
        }
        it.wake.notify_waiters();
        if it.members.is_empty() {
            self.groups.remove(group);
        }
    }
}

impl Group {
    fn new(owner: Option<String>) -> Group {
        Group { owner, members: HashMap::new(), log: VecDeque::new(), last_seq: 0, wake: Arc::default() }
    }

    fn add(&mut self, mut one: Value) -> u64 {
        self.last_seq += 1;
        one["MsgSeq"] = self.last_seq.into();
        self.log.push_back(one);
        if self.log.len() > GROUP_LOG_MAX {
            self.log.pop_front();
        }
        self.wake.notify_waiters();
        self.last_seq
    }

    fn say(&mut self, group: &RoomName, from: &str, nick: &str, elements: &[Value], unix_s: u64) -> u64 {
        self.add(json!({
            "Event": 3,
            "From_Account": from,
            "ToGroupId": group.to_string(),
            "MsgRandom": self.last_seq + 1,
            "MsgTimeStamp": unix_s,
            "MsgPriority": 2,
            "IsPlaceMsg": 0,
            "MsgBody": elements,
            "GroupInfo": {
                "GroupName": group.to_string(),
                "GroupType": "AVChatRoom",
                "From_AccountNick": nick,
                "From_AccountHeadurl": "",
            },
        }))
    }

    fn notify(&mut self, group: &RoomName, kind: u32, field: &str, unix_s: u64) -> u64 {
        self.add(json!({
            "Event": 5,
            "From_Account": "@TIM#SYSTEM",
            "ToGroupId": group.to_string(),
            "MsgTimeStamp": unix_s,
            "IsPlaceMsg": 0,
            "MsgBody": {
                "ReportType": kind,
                "GroupId": group.to_string(),
                "GroupName": group.to_string(),
                "Operator_Account": "",
                "UserDefinedField": field,
            },
            "GroupInfo": { "GroupName": group.to_string(), "GroupType": "AVChatRoom" },
        }))
    }

    fn dismiss(&mut self, group: &RoomName, unix_s: u64) {
        self.notify(group, 5, "", unix_s);
    }
}

/// A key that cannot be guessed.
fn random_key() -> String {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works once the process runs");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
