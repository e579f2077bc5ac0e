//! What the server itself may do in rooms, without being a member: for its HTTP API and its store. Nothing here asks for a
//! ticket; whoever calls has judged already.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    Cell, Hub, Seat, lock,
    notice::{Fact, Notice},
    unix_ms,
};
use crate::{
    code::{Code, Fault},
    message::{Content, MemberInfo, Message},
    name::{RoomName, is_user_id},
    quality::Quality,
    room::{Output, Room, RoomChange, RoomRecord, Silence},
};

/// A room from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomView {
    pub sdk_app_id: u32,
    pub room: RoomName,
    pub record: RoomRecord,
    pub members: Vec<MemberInfo>,
}

/// How long a room that came back after a restart waits for its members.
pub const RESTORED_KEPT: Duration = Duration::from_secs(60);

impl Hub {
    /// Calls `listener` with everything that happens in any room from now on, in each room in the order in which it happened,
    /// and before the answer to the request that caused it leaves. The room is locked meanwhile: the listener must be quick,
    /// must not wait, and must not call the hub.
    pub fn listen(&self, listener: impl Fn(&Notice) + Send + Sync + 'static) {
        self.0.listeners.add(Arc::new(listener));
    }

    /// A room service has something else to say about a room, whether or not the room is there.
    pub(crate) fn list_changed(&self, sdk_app_id: u32, room: &RoomName) {
        let fact = Fact::ListChanged;
        self.0.listeners.tell(&Notice { sdk_app_id, room: room.clone(), unix_ms: unix_ms(), fact });
    }

    /// The rooms of an app, in the order of their names.
    pub fn rooms(&self, sdk_app_id: u32) -> Vec<RoomView> {
        let cells = self.0.cells();
        let mut views: Vec<RoomView> = cells.iter().filter_map(|cell| lock(cell).view(sdk_app_id)).collect();
        views.sort_by_cached_key(|view| view.room.to_string());
        views
    }

    /// One room.
    pub fn room(&self, sdk_app_id: u32, room: &RoomName) -> Option<RoomView> {
        let cell = self.0.cell(sdk_app_id, room).ok()?;
        lock(&cell).view(sdk_app_id)
    }

    /// Makes a room; its record says whether it outlives its members. Nothing is done if it exists.
    pub fn create_room(&self, sdk_app_id: u32, room: &RoomName, record: RoomRecord) -> Result<(), Fault> {
        self.0.add_room(sdk_app_id, room, |cell| cell.room.record = record.clone())?;
        let cell = self.0.cell(sdk_app_id, room)?;
        self.0.with_cell(&cell, |_, out| out.push(Output::RecordChanged));
        Ok(())
    }

    /// Brings a room back as it was before a restart. Listeners hear nothing of it: they are where it comes from. A room that
    /// would have ended with its last member is kept for [`RESTORED_KEPT`], so that its members can come back.
    pub fn restore_room(
        &self,
        sdk_app_id: u32,
        room: &RoomName,
        record: RoomRecord,
        history: Vec<Message>,
    ) -> Result<(), Fault> {
        self.0.add_room(sdk_app_id, room, |cell| {
            cell.announced = true;
            cell.room.record = record.clone();
            cell.room.restore_history(history.clone());
            cell.room.keep_until(Instant::now() + RESTORED_KEPT);
        })
    }

    /// What of a room outlives its members.
    pub fn record(&self, sdk_app_id: u32, room: &RoomName) -> Option<RoomRecord> {
        let cell = self.0.cell(sdk_app_id, room).ok()?;
        let record = lock(&cell).room.record.clone();
        Some(record)
    }

    /// Locks or unlocks a room, or changes its metadata.
    pub fn update_room(&self, sdk_app_id: u32, room: &RoomName, change: RoomChange) -> Result<(), Fault> {
        let bytes_max = self.0.config.limits.metadata_bytes;
        if change.metadata.as_ref().is_some_and(|text| text.len() > bytes_max) {
            return Err(Fault::field("metadata", &format!("a string of 0 to {bytes_max} bytes")));
        }
        self.0.in_existing(sdk_app_id, room, |room, out| {
            room.change(change, out);
            Ok(())
        })
    }

    /// Keeps what a member's client reports, in the place of what it reported before.
    pub(crate) fn report(&self, seat: &Seat, quality: Quality) {
        self.0.with_seat(seat, |cell, _| {
            let member = cell.room.members.get_mut(&seat.member)?;
            let reports = member.quality.as_ref().map_or(0, |before| before.reports) + 1;
            member.quality = Some(Box::new(Quality { time: unix_ms(), reports, ..quality }));
            Some(())
        });
    }

    /// Sends a member away. He may come back.
    pub fn kick(&self, sdk_app_id: u32, room: &RoomName, user: &str) -> Result<(), Fault> {
        self.0.in_existing(sdk_app_id, room, |room, out| room.kick(user, out))
    }

    /// Sends a user away, if he is there, and keeps him out until then, in Unix milliseconds; without, for as long as the
    /// room exists. A room with a ban stays when its last member leaves.
    pub fn ban(&self, sdk_app_id: u32, room: &RoomName, user: &str, until: Option<u64>) -> Result<(), Fault> {
        if !is_user_id(user) {
            return Err(Fault::field("userID", "1 to 128 bytes without control characters"));
        }
        self.0.in_existing(sdk_app_id, room, |room, out| room.ban(user, until, out))
    }

    /// Lets a banned user in again.
    pub fn unban(&self, sdk_app_id: u32, room: &RoomName, user: &str) -> Result<(), Fault> {
        self.0.in_existing(sdk_app_id, room, |room, out| room.unban(user, out))
    }

    /// Sets which of a member's media the others do not get. It holds when he comes back.
    pub fn silence(&self, sdk_app_id: u32, room: &RoomName, user: &str, silence: Silence) -> Result<(), Fault> {
        self.0.in_existing(sdk_app_id, room, |room, out| room.silence(user, silence, out))
    }

    /// Says something to the room, or to one member. `from` is what receivers are told; without, the server says it. Returns
    /// the message's number and its time in Unix milliseconds.
    pub fn send_message(
        &self,
        sdk_app_id: u32,
        room: &RoomName,
        from: Option<&str>,
        to: Option<&str>,
        content: Content,
    ) -> Result<(u64, u64), Fault> {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        self.0.in_existing(sdk_app_id, room, |room, out| room.announce(from, to, content, out))
    }

    /// Ends a room: everybody is sent away, and its bans and everything else of it are forgotten.
    pub fn dissolve(&self, sdk_app_id: u32, room: &RoomName) -> Result<(), Fault> {
        self.0.in_existing(sdk_app_id, room, |room, out| {
            room.dissolve(out);
            Ok(())
        })
    }
}

impl super::Inner {
    fn cell(&self, sdk_app_id: u32, room: &RoomName) -> Result<Arc<Mutex<Cell>>, Code> {
        let cell = self.rooms.get(&(sdk_app_id, room.clone()));
        cell.map(|cell| cell.clone()).ok_or(Code::NoSuchRoom)
    }
}

impl super::Inner {
    fn in_existing<T>(
        self: &Arc<Self>,
        sdk_app_id: u32,
        room: &RoomName,
        f: impl FnOnce(&mut Room, &mut Vec<Output>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let cell = self.cell(sdk_app_id, room)?;
        self.with_cell(&cell, |cell, out| match cell.ended {
            true => Err(Code::NoSuchRoom.into()),
            false => f(&mut cell.room, out),
        })
    }

    /// Adds a room that does not exist; `set` says what it is like before anybody can see it.
    fn add_room(self: &Arc<Self>, sdk_app_id: u32, room: &RoomName, set: impl Fn(&mut Cell)) -> Result<(), Fault> {
        let key = (sdk_app_id, room.clone());
        if self.rooms.contains_key(&key) {
            return Err(Code::RoomExists.into());
        }
        let cell = self.cell_or_new(&key)?;
        let mut cell = lock(&cell);
        // Somebody was faster: it is his room.
        if !cell.room.is_empty() || cell.announced {
            return Err(Code::RoomExists.into());
        }
        cell.vacant = true;
        set(&mut cell);
        Ok(())
    }
}

impl Cell {
    fn view(&self, sdk_app_id: u32) -> Option<RoomView> {
        let ours = self.key.0 == sdk_app_id && self.announced && !self.ended;
        ours.then(|| RoomView {
            sdk_app_id,
            room: self.key.1.clone(),
            record: self.room.record.clone(),
            members: self
                .room
                .members
                .values()
                .map(|member| MemberInfo { quality: member.quality.clone(), ..member.info() })
                .collect(),
        })
    }
}
