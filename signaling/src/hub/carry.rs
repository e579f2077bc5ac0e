//! Carrying out what a room wants done: messages into the queues of its members, commands to media, entries of the index.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use media::{Command, MemberId, Reply as MediaReply};
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::{debug, info};

use super::{
    Cell, Inner, Route,
    line::Line,
    notice::{Fact, Notice},
    unix_ms,
};
use crate::{
    code::{Code, Fault},
    message::{Event, LeaveReason, Reply, to_text},
    name::{StreamName, StreamPath},
    room::{Action, Index, Output},
};

/// How long media may take for an answer. Far above what it needs, below what a client waits.
const MEDIA_ANSWER_MAX: Duration = Duration::from_secs(8);

impl Inner {
    /// Carries out what the room behind `guard` wants; `cell` is the same room.
    pub(super) fn carry_out(self: &Arc<Self>, cell: &Arc<Mutex<Cell>>, guard: &mut Cell, mut outputs: Vec<Output>) {
        let held = self.hold_back(guard, &mut outputs);
        // Members whose queue is full leave, which makes more outputs, for fewer members each time.
        while !outputs.is_empty() {
            let mut overrun = Vec::new();
            for output in std::mem::take(&mut outputs) {
                self.carry_one(cell, guard, output, &mut overrun);
            }
            for member in overrun {
                guard.room.leave(member, LeaveReason::Disconnected, Some(Code::TooSlow), &mut outputs);
            }
        }
        if !guard.ended {
            if guard.room.is_over() {
                self.end_room(guard);
            } else if guard.room.is_empty() && !guard.vacant {
                // Kept without members; to media it is another room when somebody comes.
                self.tell(Command::CloseRoom { room: guard.room.id });
                self.by_media_room.remove(&guard.room.id);
                guard.room.renumber();
                self.by_media_room.insert(guard.room.id, Arc::downgrade(cell));
            }
            guard.vacant = guard.room.is_empty();
        }
        // What listeners were told up to here is what the answers are about.
        self.release(cell, held);
    }

    fn carry_one(
        self: &Arc<Self>,
        cell: &Arc<Mutex<Cell>>,
        guard: &mut Cell,
        output: Output,
        overrun: &mut Vec<MemberId>,
    ) {
        match output {
            Output::Reply { to, id, result } => {
                if let Err(fault) = &result {
                    debug!(code = fault.code.number(), member = %to, "request refused");
                }
                self.send(guard, to, || reply_text(id, result), overrun);
            }
            Output::Event { to, event } => self.send(guard, to, || to_text(&event).into(), overrun),
            Output::Broadcast { except, event } => {
                self.note(guard, &event);
                // One text for all: a clone of it is a count.
                let text = Utf8Bytes::from(to_text(&event));
                let limits = &self.config.limits;
                for (member, line) in guard.lines.iter_mut().filter(|(member, _)| Some(**member) != except) {
                    if line.send(text.clone(), limits).is_err() {
                        overrun.push(*member);
                    }
                }
            }
            Output::Passing { to, event } => {
                let text = Utf8Bytes::from(to_text(&event));
                let lines = guard.lines.iter().filter(|(member, _)| to.is_none_or(|to| to == **member));
                lines.for_each(|(_, line)| line.pass(text.clone()));
            }
            Output::Gone { member, code } => {
                if let (Some(line), Some(code)) = (self.take_line(guard, member), code) {
                    line.close(&code.into());
                }
            }
            Output::RecordChanged => self.announce(guard, Fact::RecordChanged(guard.room.record.clone())),
            // Its listeners hear of it when the room ends, at the end of the turn.
            Output::Dissolved => {}
            Output::Media(action) => self.act(cell, guard, action),
            Output::Index(index) => self.index(cell, index),
        }
    }

    /// Takes the line of a member who is gone.
    pub(super) fn take_line(&self, cell: &mut Cell, member: MemberId) -> Option<Line> {
        let line = cell.lines.remove(&member)?;
        if let Some(token) = &line.token {
            self.resumable.remove(token);
        }
        Some(line)
    }

    fn send(&self, guard: &mut Cell, to: MemberId, text: impl FnOnce() -> Utf8Bytes, overrun: &mut Vec<MemberId>) {
        // Members by RTMP and WHIP have no line, and nothing is said to them.
        let Some(line) = guard.lines.get_mut(&to) else { return };
        if line.send(text(), &self.config.limits).is_err() {
            overrun.push(to);
        }
    }

    /// Passes an action to media. Those with an answer get a task that brings it back into the room.
    fn act(self: &Arc<Self>, cell: &Arc<Mutex<Cell>>, guard: &Cell, action: Action) {
        let (hub, cell) = (self.clone(), cell.clone());
        let room = guard.room.id;
        match action {
            Action::Publish { member, request, transport, offer, tracks } => {
                let reached_at = guard.room.reached_at(member);
                tokio::spawn(async move {
                    let command = |reply| Command::Publish { room, transport, offer, tracks, reached_at, reply };
                    let result = hub.ask(command).await;
                    hub.with_cell(&cell, |cell, out| {
                        let result = cell.room.published(Instant::now(), member, result, out);
                        out.insert(0, Output::Reply { to: member, id: request, result });
                    });
                });
            }
            Action::Subscribe { member, transport, wanted, restart_ice } => {
                let reached_at = guard.room.reached_at(member);
                tokio::spawn(async move {
                    let command =
                        |reply| Command::Subscribe { room, transport, wanted, reached_at, restart_ice, reply };
                    let result = hub.ask(command).await;
                    hub.with_cell(&cell, |cell, out| cell.room.offered(member, result, out));
                });
            }
            Action::SubscribeAnswer { member, request, transport, answer } => {
                tokio::spawn(async move {
                    let result = hub.ask(|reply| Command::SubscribeAnswer { transport, answer, reply }).await;
                    hub.with_cell(&cell, |cell, out| cell.room.answer_applied(member, request, result, out));
                });
            }
            Action::CloseTransport(transport) => self.tell(Command::CloseTransport { transport }),
            Action::CloseStream(stream) => self.tell(Command::CloseStream { stream }),
            Action::HoldStream(stream) => self.tell(Command::HoldStream { stream }),
            Action::SetMuted { stream, kind, muted } => self.tell(Command::SetMuted { stream, kind, muted }),
        }
    }

    /// Asks media something and waits for the answer.
    pub(super) async fn ask<T>(&self, command: impl FnOnce(MediaReply<T>) -> Command) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(MEDIA_ANSWER_MAX, asked).await {
            Ok(Some(answer)) => answer.map_err(Fault::from),
            Ok(None) | Err(_) => Err(Code::MediaUnavailable.into()),
        }
    }

    /// Tells media something that has no answer and must not be lost. The order of such commands holds while media keeps up;
    /// beyond that they wait in tasks of their own, and none of them depends on another.
    pub(super) fn tell(&self, command: Command) {
        if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            tokio::spawn(async move {
                // It fails only when media is gone, and then there is nothing left to close.
                let _ = commands.send(command).await;
            });
        }
    }

    fn index(&self, cell: &Arc<Mutex<Cell>>, index: Index) {
        match index {
            Index::StreamOpened { stream, path } => {
                self.by_stream.insert(stream, Arc::downgrade(cell));
                self.old_names.insert(&path, stream);
                self.by_path.insert(path.to_string(), (path, stream));
            }
            Index::StreamClosed { stream, path } => {
                self.by_stream.remove(&stream);
                self.old_names.remove(&path, stream);
                // Two pairs of room and user can make the same full name; only the entry of this stream may go.
                self.by_path.remove_if(&path.to_string(), |_, (_, id)| *id == stream);
            }
            Index::TransportOpened(transport) => {
                self.by_transport.insert(transport, Route { cell: Arc::downgrade(cell), session: None });
            }
            Index::TransportClosed(transport) => {
                if let Some((_, Route { session: Some(session), .. })) = self.by_transport.remove(&transport) {
                    self.sessions.remove(&session);
                }
            }
        }
    }

    fn end_room(&self, guard: &mut Cell) {
        guard.ended = true;
        // The entry is this room: another of the same name is made only when it is gone.
        self.rooms.remove(&guard.key);
        self.by_media_room.remove(&guard.room.id);
        if let Some(count) = self.rooms_of_app.get(&guard.key.0) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if !guard.vacant {
            self.tell(Command::CloseRoom { room: guard.room.id });
        }
        if guard.announced {
            self.tell_listeners(guard, Fact::RoomDissolved);
        }
        info!(app = guard.key.0, room = %guard.key.1, id = %guard.room.id, "room closed");
    }

    /// Logs what happened, and tells whoever listens.
    fn note(&self, guard: &mut Cell, event: &Event) {
        let (app, room) = (guard.key.0, &guard.key.1);
        let fact = match event {
            Event::MemberEntered { member } => {
                info!(app, %room, user = %member.user, protocol = ?member.protocol, "member entered");
                Fact::MemberEntered { member: member.clone() }
            }
            Event::MemberLeft { user, reason } => {
                info!(app, %room, %user, ?reason, "member left");
                Fact::MemberLeft { user: user.clone(), reason: *reason }
            }
            Event::StreamAdded { user, stream } => {
                let codec = |track: &Option<crate::message::TrackInfo>| track.as_ref().map(|t| t.codec.clone());
                let (audio, video) = (codec(&stream.audio), codec(&stream.video));
                info!(app, %room, %user, stream = %stream.stream, ?audio, ?video, "stream added");
                let origin = self.origins.get(&path_of(guard, user, stream.stream)).map(|origin| origin.clone());
                Fact::PublishStarted { user: user.clone(), stream: stream.clone(), origin }
            }
            Event::StreamChanged { user, stream } => {
                Fact::PublishChanged { user: user.clone(), stream: stream.clone() }
            }
            Event::StreamRemoved { user, stream } => {
                info!(app, %room, %user, %stream, "stream removed");
                self.origins.remove(&path_of(guard, user, *stream));
                Fact::PublishStopped { user: user.clone(), stream: *stream }
            }
            Event::Message(message) => Fact::MessageSent(message.clone()),
            _ => return,
        };
        self.announce(guard, fact);
    }

    /// Tells listeners, who hear of the room itself first.
    pub(super) fn announce(&self, guard: &mut Cell, fact: Fact) {
        if !guard.announced {
            guard.announced = true;
            self.tell_listeners(guard, Fact::RoomCreated);
        }
        self.tell_listeners(guard, fact);
    }

    fn tell_listeners(&self, guard: &Cell, fact: Fact) {
        let (sdk_app_id, room) = guard.key.clone();
        self.listeners.tell(&Notice { sdk_app_id, room, unix_ms: unix_ms(), fact });
    }
}

/// The text of an answer.
pub(crate) fn reply_text(id: u64, result: Result<crate::message::OkBody, Fault>) -> Utf8Bytes {
    let reply = match result {
        Ok(body) => Reply::Ok { id, body },
        Err(fault) => Reply::Error { id, fault: fault.body() },
    };
    to_text(&reply).into()
}

/// The full name of a stream of this room.
fn path_of(cell: &Cell, user: &str, stream: StreamName) -> String {
    StreamPath { sdk_app_id: cell.key.0, room: cell.key.1.clone(), user: user.to_owned(), stream }.to_string()
}
