//! What relays need of rooms: a member for what is pulled in, and streams by name.

use std::time::Instant;

use media::{Command, RoomId, StreamId};

use super::Hub;
use crate::{
    auth::authorise::Privilege,
    code::Fault,
    member::{Newcomer, Protocol, Role},
    name::{RoomName, StreamName, StreamPath},
};

impl Hub {
    /// The stream of this full name, or of this older one, if it is one of this app's.
    pub(crate) fn stream_named(&self, app: u32, name: &str) -> Option<StreamId> {
        let named = self.0.by_path.get(name).map(|entry| (entry.0.clone(), Some(entry.1)));
        let (path, stream) = named.or_else(|| self.0.old_name(name))?;
        stream.filter(|_| path.sdk_app_id == app)
    }

    /// Lets what is pulled from another server into a room, as an RTMP publisher; the stream that he had goes on.
    pub(crate) fn enter_pulled(&self, app: u32, room: &RoomName, user: &str) -> Result<(RoomId, StreamId), Fault> {
        let who = Newcomer {
            user: user.to_owned(),
            name: None,
            role: Role::Anchor,
            protocol: Protocol::Rtmp,
            privilege: Privilege::ALL,
            until: None,
            reached_at: None,
        };
        let ids = self.0.in_room(&(app, room.clone()), |cell, out| {
            let stream = cell.room.push(Instant::now(), who, StreamName::Main, out)?;
            Ok((cell.room.id, stream))
        });
        ids.map(|(ids, _)| ids)
    }

    /// An attempt to pull ended: the stream waits for the next one, if it ever carried anything.
    pub(crate) fn pull_broke(&self, stream: StreamId) {
        let cell = self.0.by_stream.get(&stream).and_then(|cell| cell.upgrade());
        if let Some(cell) = cell {
            self.0.with_cell(&cell, |cell, out| cell.room.stream_lost(stream, out));
        }
    }

    /// Nothing more is pulled: the member leaves.
    pub(crate) fn end_pulled(&self, app: u32, room: &RoomName, user: &str) {
        let path = StreamPath { sdk_app_id: app, room: room.clone(), user: user.to_owned(), stream: StreamName::Main };
        let Some(stream) = self.stream_named(app, &path.to_string()) else { return };
        let cell = self.0.by_stream.get(&stream).and_then(|cell| cell.upgrade());
        if let Some(cell) = cell {
            self.0.with_cell(&cell, |cell, out| cell.room.end_pulled_stream(stream, out));
        }
    }

    /// False if media is gone.
    pub(crate) async fn tell_media(&self, command: Command) -> bool {
        self.0.commands.send(command).await.is_ok()
    }
}
