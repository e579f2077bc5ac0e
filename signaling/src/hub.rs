//! The hub: all apps and their rooms, and the door to media.
//!
//! Each room stands behind a mutex that is held only for as long as the room computes; nothing is awaited under it. What a
//! room wants done ([`crate::room::Output`]) is carried out while its lock is still held, so that two messages of one room
//! reach a member in the order in which they happened; sending is putting into a bounded queue.

mod carry;
mod control;
mod events;
mod gate;
mod keep;
mod letter;
mod line;
pub mod notice;
mod old_name;
pub(crate) mod peer;
pub(crate) mod push_name;
mod relay;
mod resume;
mod rights;
mod session;
mod url;
mod waiting;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dashmap::{DashMap, mapref::entry::Entry};
use media::{Command, Event, MemberId, RoomId, StreamId, TransportId};
use tokio::sync::mpsc;
use tracing::info;

pub(crate) use self::carry::reply_text;
use self::line::Line;
pub use self::session::{PlayOffer, PublishOffer, SessionKind, SessionOpened, Trickle, Trickled};
pub use self::{
    control::RoomView,
    notice::{Fact, Notice, Play, PushOrigin},
    url::HlsGrant,
};
use self::{gate::Gate, rights::instant_of};
use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    config::{ConfigError, SignalingConfig},
    link::Link,
    member::{Newcomer, Protocol, Role},
    message::{LeaveReason, OkBody},
    name::{RoomName, StreamName, StreamPath, is_user_id},
    request::{Enter, Request, SwitchRole},
    room::{Clock, Ids, Output, Room},
    store::Store,
};

/// How often rooms are asked what time has changed.
const TICK: Duration = Duration::from_secs(5);

/// An app's room by name.
type RoomKey = (u32, RoomName);

/// The hub. Clones are the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    config: SignalingConfig,
    gate: Gate,
    commands: mpsc::Sender<Command>,
    ids: Arc<Ids>,
    rooms: DashMap<RoomKey, Arc<Mutex<Cell>>>,
    rooms_of_app: DashMap<u32, AtomicUsize>,
    /// The rooms of streams and transports, for what media says of them.
    by_stream: DashMap<StreamId, Weak<Mutex<Cell>>>,
    by_transport: DashMap<TransportId, Route>,
    /// Rooms by the number that media knows them by.
    by_media_room: DashMap<RoomId, Weak<Mutex<Cell>>>,
    /// Streams by full name, as URLs say them.
    by_path: DashMap<String, (StreamPath, StreamId)>,
    old_names: old_name::OldNames,
    sessions: DashMap<String, session::Session>,
    push_names: push_name::PushNames,
    waiting: waiting::WaitingSessions,
    /// The members who may come back, by what they show then.
    resumable: DashMap<String, Comeback>,
    connections: Mutex<HashMap<IpAddr, usize>>,
    listeners: notice::Listeners,
    post: letter::Post,
    /// Where those who push by URL came from, by the full name of their stream.
    origins: DashMap<String, notice::PushOrigin>,
    /// Where rooms are kept; answers wait for it.
    store: OnceLock<Store>,
    /// The server is going down: nobody enters any more.
    closing: AtomicBool,
}

/// A room and the lines to its members. Members without one came by RTMP or WHIP.
struct Cell {
    key: RoomKey,
    room: Room,
    lines: HashMap<MemberId, Line>,
    /// Nobody is in it, and media forgot it.
    vacant: bool,
    /// Listeners know of it: somebody got in.
    announced: bool,
    /// Out of the map: whoever still holds it has to look again.
    ended: bool,
}

/// Where a transport belongs.
struct Route {
    cell: Weak<Mutex<Cell>>,
    /// The WHIP or WHEP session that ends with it.
    session: Option<String>,
}

/// Who comes back with a token.
struct Comeback {
    cell: Weak<Mutex<Cell>>,
    member: MemberId,
}

/// A WebSocket member's place in his room, as one of his connections sees it.
#[derive(Clone)]
pub struct Seat {
    cell: Arc<Mutex<Cell>>,
    member: MemberId,
    /// Of the member's line: with a newer connection this seat is taken.
    generation: u64,
    remote: Option<IpAddr>,
}

/// What there is at the moment, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub rooms: usize,
    pub members: usize,
    pub streams: usize,
    pub transports: usize,
    /// WHIP and WHEP sessions.
    pub sessions: usize,
}

impl Hub {
    /// Starts the hub on the current tokio runtime. It ends when `events` closes or its last clone is dropped.
    pub fn start(
        config: SignalingConfig,
        commands: mpsc::Sender<Command>,
        events: mpsc::Receiver<Event>,
    ) -> Result<Hub, ConfigError> {
        let inner = Arc::new(Inner {
            gate: Gate::new(&config)?,
            commands,
            ids: Arc::default(),
            rooms: DashMap::new(),
            rooms_of_app: config.apps.iter().map(|app| (app.sdk_app_id, AtomicUsize::new(0))).collect(),
            by_stream: DashMap::new(),
            by_transport: DashMap::new(),
            by_media_room: DashMap::new(),
            by_path: DashMap::new(),
            old_names: old_name::OldNames::default(),
            sessions: DashMap::new(),
            push_names: push_name::PushNames::new(),
            waiting: waiting::WaitingSessions::default(),
            resumable: DashMap::new(),
            connections: Mutex::default(),
            listeners: notice::Listeners::default(),
            post: letter::Post::default(),
            origins: DashMap::new(),
            store: OnceLock::new(),
            closing: AtomicBool::new(false),
            config,
        });
        tokio::spawn(events::run(Arc::downgrade(&inner), events));
        tokio::spawn(tick(Arc::downgrade(&inner)));
        Ok(Hub(inner))
    }

    /// The settings it was started with.
    pub fn config(&self) -> &SignalingConfig {
        &self.0.config
    }

    /// Adds a member that the server itself feeds, and his stream *main*. What is pushed into the stream (see
    /// [`Command::OpenIngest`]) is then seen by all. He leaves when the stream ends; nobody can take his name.
    pub fn add_test_stream(&self, sdk_app_id: u32, room: &str, user: &str) -> Result<(RoomId, StreamId), Fault> {
        let room = RoomName::from_text(room).ok_or(Code::NotFound)?;
        if !is_user_id(user) {
            return Err(Fault::field("userID", "a name without control characters"));
        }
        let who = Newcomer {
            user: user.to_owned(),
            name: None,
            role: Role::Anchor,
            protocol: Protocol::Test,
            privilege: Privilege::ALL,
            until: None,
            reached_at: None,
        };
        let ids = self.0.in_room(&(sdk_app_id, room), |cell, out| {
            let stream = cell.room.push(Instant::now(), who, StreamName::Main, out)?;
            Ok((cell.room.id, stream))
        });
        ids.map(|(ids, _)| ids)
    }

    /// Lets a WebSocket client into a room. The answer is in his queue before anything that happens there, and what it says
    /// of the room is durable.
    pub async fn enter(
        &self,
        id: u64,
        enter: Enter,
        link: &Link,
        remote: Option<IpAddr>,
        reached_at: Option<IpAddr>,
    ) -> Result<Seat, Fault> {
        let grant = self.0.authorise(remote, &enter.presented(), Privilege::JOIN)?;
        let key = (grant.sdk_app_id, enter.room.clone());
        let until = grant.ends_at_s.and_then(instant_of);
        let who = enter.newcomer(grant.privilege, until, reached_at);
        let ((member, owns), cell) = self.0.in_room(&key, |cell, out| {
            let member = cell.room.enter(who, out)?;
            Ok((member, out.iter().any(|output| matches!(output, Output::RecordChanged))))
        })?;
        let entering = Entering { hub: self, cell: &cell, member: Some(member) };
        self.0.watch_rights(&cell, until);
        if owns && let Some(store) = self.0.store.get() {
            store.submit(Vec::new()).durable().await?;
        }
        // His link is added only now that what his coming caused is said: an earlier stay of his own that ended, say. What
        // happens between the two locks he misses as events and finds in the answer.
        let cell_of_seat = Arc::downgrade(&cell);
        self.0.with_cell(&cell, |cell, out| {
            let mut entered = cell.room.entered(member).ok_or(Code::LoggedInElsewhere)?;
            let token = self.0.offer_resume(&cell_of_seat, member, &mut entered);
            let mut line = Line::new(link.clone(), token);
            line.last_request = id;
            // The first word, before which nothing has a number.
            let greeted = line.greet(reply_text(id, Ok(OkBody::Entered(Box::new(entered)))));
            cell.lines.insert(member, line);
            if greeted.is_err() {
                cell.room.leave(member, LeaveReason::Disconnected, None, out);
                return Err(Code::TooSlow.into());
            }
            Ok::<_, Fault>(())
        })?;
        entering.done();
        Ok(Seat { cell, member, generation: 0, remote })
    }

    /// Applies a member's request; the answer goes into his queue, at once or later.
    pub fn request(&self, seat: &Seat, id: u64, request: Request) {
        match request {
            Request::SwitchRole(switch) => self.switch_role(seat, id, &switch),
            Request::Say(say) => self.say(seat, id, say),
            request => {
                self.0.with_seat(seat, |cell, out| {
                    cell.count_request(seat.member, id);
                    cell.room.request(seat.member, id, request, out);
                });
            }
        }
    }

    /// Answers a member's request that could not be read.
    pub fn refuse(&self, seat: &Seat, id: u64, fault: Fault) {
        self.0.with_seat(seat, |cell, out| {
            cell.count_request(seat.member, id);
            out.push(Output::Reply { to: seat.member, id, result: Err(fault) });
        });
    }

    /// A WebSocket was closed, by its client or by us with a code, and its member leaves.
    pub fn disconnect(&self, seat: &Seat, code: Option<Code>) {
        self.0.with_seat(seat, |cell, out| cell.room.leave(seat.member, LeaveReason::Disconnected, code, out));
    }

    /// Judges the ticket that a member shows with a new role, and gives him what it allows.
    fn switch_role(&self, seat: &Seat, id: u64, switch: &SwitchRole) {
        let who = self.0.with_seat(seat, |cell, _| {
            cell.count_request(seat.member, id);
            let user = cell.room.members.get(&seat.member)?.who.user.clone();
            Some((cell.key.clone(), user))
        });
        let Some((key, user)) = who.flatten() else { return };
        let granted = match switch.presented(key.0, &user, &key.1) {
            None => Ok(None),
            Some(shown) => self.0.authorise(seat.remote, &shown, Privilege::JOIN).map(Some),
        };
        let granted = granted.map(|grant| grant.map(|grant| (grant.privilege, grant.ends_at_s.and_then(instant_of))));
        if let Ok(Some((_, until))) = granted {
            self.0.watch_rights(&seat.cell, until);
        }
        self.0.with_seat(seat, |cell, out| {
            let result = match granted {
                Ok(granted) => cell.room.switch_role(seat.member, switch.role, granted, out),
                Err(code) => Err(code.into()),
            };
            out.push(Output::Reply { to: seat.member, id, result });
        });
    }

    /// Tells every connected member that the server goes down, closes their connections, and lets nobody in any more.
    pub fn shut_down(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        for cell in self.0.cells() {
            for line in lock(&cell).lines.values() {
                line.close(&Code::ShuttingDown.into());
            }
        }
    }

    pub fn counts(&self) -> Counts {
        let cells = self.0.cells();
        Counts {
            rooms: cells.len(),
            members: cells.iter().map(|cell| lock(cell).room.members_len()).sum(),
            streams: self.0.by_stream.len(),
            transports: self.0.by_transport.len(),
            sessions: self.0.sessions.len(),
        }
    }

    /// Counts a WebSocket of this address until the returned guard is dropped. Loopback is not counted.
    pub fn count_connection(&self, remote: Option<IpAddr>) -> Result<ConnectionGuard, Code> {
        let counted = remote.map(|ip| ip.to_canonical()).filter(|ip| !ip.is_loopback());
        if let Some(ip) = counted {
            let mut connections = lock(&self.0.connections);
            let count = connections.entry(ip).or_default();
            if *count >= self.0.config.limits.connections_per_ip {
                return Err(Code::TooManyConnections);
            }
            *count += 1;
        }
        Ok(ConnectionGuard { hub: self.clone(), counted })
    }
}

/// A member on his way in, whose answer waits for the store. If his connection ends meanwhile he does not stay behind.
struct Entering<'a> {
    hub: &'a Hub,
    cell: &'a Arc<Mutex<Cell>>,
    member: Option<MemberId>,
}

impl Entering<'_> {
    fn done(mut self) {
        self.member = None;
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.member {
            self.hub.0.with_cell(self.cell, |cell, out| {
                cell.room.leave(member, LeaveReason::Disconnected, None, out);
            });
        }
    }
}

/// One counted WebSocket.
pub struct ConnectionGuard {
    hub: Hub,
    counted: Option<IpAddr>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Some(ip) = self.counted else { return };
        let mut connections = lock(&self.hub.0.connections);
        if let Some(count) = connections.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&ip);
            }
        }
    }
}

impl Inner {
    /// Does something in a room, which is made if it does not exist. It ends again if nobody is in it afterwards.
    fn in_room<T>(
        self: &Arc<Self>,
        key: &RoomKey,
        f: impl FnOnce(&mut Cell, &mut Vec<Output>) -> Result<T, Fault>,
    ) -> Result<(T, Arc<Mutex<Cell>>), Fault> {
        loop {
            let cell = self.cell_or_new(key)?;
            let mut guard = lock(&cell);
            if guard.ended {
                // Its last member left between our look into the map and the lock.
                continue;
            }
            let mut out = Vec::new();
            guard.room.turn(clock());
            let result = f(&mut guard, &mut out);
            self.carry_out(&cell, &mut guard, out);
            drop(guard);
            return result.map(|result| (result, cell));
        }
    }

    /// Does something in a room that somebody still knows of. Ended rooms have no members, so there it does little.
    fn with_cell<T>(self: &Arc<Self>, cell: &Arc<Mutex<Cell>>, f: impl FnOnce(&mut Cell, &mut Vec<Output>) -> T) -> T {
        let mut guard = lock(cell);
        let mut out = Vec::new();
        guard.room.turn(clock());
        let result = f(&mut guard, &mut out);
        self.carry_out(cell, &mut guard, out);
        result
    }

    /// Does something on behalf of a member's connection, unless it is not his connection any more.
    fn with_seat<T>(self: &Arc<Self>, seat: &Seat, f: impl FnOnce(&mut Cell, &mut Vec<Output>) -> T) -> Option<T> {
        self.with_cell(&seat.cell, |cell, out| {
            let line = cell.lines.get(&seat.member);
            line.is_some_and(|line| line.generation == seat.generation).then(|| f(cell, out))
        })
    }

    fn cell_or_new(&self, key: &RoomKey) -> Result<Arc<Mutex<Cell>>, Fault> {
        match self.rooms.entry(key.clone()) {
            Entry::Occupied(cell) => Ok(cell.get().clone()),
            Entry::Vacant(place) => {
                let count = self.rooms_of_app.get(&key.0).ok_or(Code::UnknownApp)?;
                let limits = Arc::new(self.config.limits.clone());
                if count.fetch_add(1, Ordering::Relaxed) >= limits.rooms_per_app {
                    count.fetch_sub(1, Ordering::Relaxed);
                    return Err(Code::TooManyRooms.into());
                }
                let history = self.history_messages(key.0);
                let (heartbeat_s, ids) = (self.config.heartbeat_s, self.ids.clone());
                let room = Room::new(key.0, key.1.clone(), heartbeat_s, history, limits, ids, clock());
                info!(app = key.0, room = %key.1, id = %room.id, "room opened");
                let (key, lines) = (key.clone(), HashMap::new());
                let id = room.id;
                let cell = Cell { key, room, lines, vacant: false, announced: false, ended: false };
                let cell = Arc::new(Mutex::new(cell));
                self.by_media_room.insert(id, Arc::downgrade(&cell));
                Ok(place.insert(cell).clone())
            }
        }
    }

    /// All rooms; taken out of the map first, since a room must not be locked while the map is.
    fn cells(&self) -> Vec<Arc<Mutex<Cell>>> {
        self.rooms.iter().map(|cell| cell.clone()).collect()
    }
}

/// Locks. A panic under the lock is contained to the turn in which it happened, as the media side does it with its rooms.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn clock() -> Clock {
    Clock { now: Instant::now(), unix_ms: unix_ms() }
}

impl Cell {
    /// Remembers that this request arrived.
    fn count_request(&mut self, member: MemberId, id: u64) {
        if let Some(line) = self.lines.get_mut(&member) {
            line.last_request = line.last_request.max(id);
        }
    }
}

async fn tick(hub: Weak<Inner>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        for cell in hub.cells() {
            let next_end = hub.with_cell(&cell, |cell, out| {
                cell.room.tick(Instant::now(), out);
                cell.room.next_rights_end()
            });
            hub.watch_rights(&cell, next_end);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
