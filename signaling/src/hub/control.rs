//! What the server itself may do in rooms, without being a member: for its HTTP API and its store. Nothing here asks for a
//! ticket; whoever calls has judged already.

use std::sync::{Arc, Mutex};

use super::{Cell, Hub, lock, notice::Notice};
use crate::{
    code::{Code, Fault},
    message::{LeaveReason, MemberInfo},
    name::RoomName,
};

/// A room from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomView {
    pub sdk_app_id: u32,
    pub room: RoomName,
    pub members: Vec<MemberInfo>,
}

impl Hub {
    /// Calls `listener` with everything that happens in any room from now on, in each room in the order in which it happened,
    /// and before the answer to the request that caused it leaves. The room is locked meanwhile: the listener must be quick,
    /// must not wait, and must not call the hub.
    pub fn listen(&self, listener: impl Fn(&Notice) + Send + Sync + 'static) {
        self.0.listeners.add(Arc::new(listener));
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
        let view = lock(&cell).view(sdk_app_id);
        view
    }

    /// Sends a member away. He may come back.
    pub fn kick(&self, sdk_app_id: u32, room: &RoomName, user: &str) -> Result<(), Fault> {
        let cell = self.0.cell(sdk_app_id, room)?;
        self.0.with_cell(&cell, |cell, out| {
            let member = cell.room.member_of(user).ok_or(Code::NoSuchMember)?;
            cell.room.leave(member, LeaveReason::Kicked, Some(Code::Kicked), out);
            Ok(())
        })
    }

    /// Ends a room: everybody is sent away.
    pub fn dissolve(&self, sdk_app_id: u32, room: &RoomName) -> Result<(), Fault> {
        let cell = self.0.cell(sdk_app_id, room)?;
        self.0.with_cell(&cell, |cell, out| cell.room.dissolve(out));
        Ok(())
    }
}

impl super::Inner {
    fn cell(&self, sdk_app_id: u32, room: &RoomName) -> Result<Arc<Mutex<Cell>>, Code> {
        let cell = self.rooms.get(&(sdk_app_id, room.clone()));
        cell.map(|cell| cell.clone()).ok_or(Code::NoSuchRoom)
    }
}

impl Cell {
    fn view(&self, sdk_app_id: u32) -> Option<RoomView> {
        let ours = self.key.0 == sdk_app_id && self.announced && !self.ended;
        ours.then(|| RoomView {
            sdk_app_id,
            room: self.key.1.clone(),
            members: self.room.members.values().map(crate::member::Member::info).collect(),
        })
    }
}
