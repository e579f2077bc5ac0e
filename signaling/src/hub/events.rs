//! What media says, brought to the room it is about.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use media::{
    Command, Event, StreamId, TransportId,
    command::{PushGrant, UrlRefusal},
};
use tokio::sync::mpsc;

use super::{Cell, Inner};
use crate::code::Fault;

/// Handles events until media or the hub is gone.
pub(super) async fn run(hub: Weak<Inner>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let Some(hub) = hub.upgrade() else { return };
        hub.handle(event);
    }
}

impl Inner {
    fn handle(self: &Arc<Self>, event: Event) {
        match event {
            Event::TransportConnected { transport } => {
                if let Some(cell) = self.cell_of_transport(transport) {
                    self.with_cell(&cell, |cell, out| cell.room.transport_connected(transport, out));
                }
            }
            Event::TransportClosed { transport, reason } => {
                if let Some(cell) = self.cell_of_transport(transport) {
                    self.with_cell(&cell, |cell, out| cell.room.transport_closed(transport, reason, out));
                }
            }
            Event::StreamTracks { stream, audio, video } => {
                match self.cell_of_stream(stream) {
                    Some(cell) => {
                        let now = Instant::now();
                        self.with_cell(&cell, |cell, out| cell.room.stream_tracks(now, stream, audio, video, out));
                    }
                    // It ended here while somebody was about to go on with it there.
                    None => self.tell(Command::CloseStream { stream }),
                }
            }
            Event::BFrames { stream } => {
                if let Some(cell) = self.cell_of_stream(stream) {
                    self.with_cell(&cell, |cell, out| cell.room.b_frames_seen(stream, out));
                }
            }
            Event::StreamLost { stream } => {
                if let Some(cell) = self.cell_of_stream(stream) {
                    self.with_cell(&cell, |cell, out| cell.room.stream_lost(stream, out));
                }
            }
            Event::Speakers { room, speakers } => {
                let cell = self.by_media_room.get(&room).and_then(|cell| cell.upgrade());
                if let Some(cell) = cell {
                    self.with_cell(&cell, |cell, out| {
                        // A room that stood empty meanwhile is another one to media.
                        if cell.room.id == room {
                            cell.room.speak(speakers, out);
                        }
                    });
                }
            }
            Event::StreamEnded { stream } => self.stream_ended(stream),
            Event::PushRequested { url, reply } => {
                let granted = self.push(&url);
                let stream = granted.as_ref().ok().map(|grant: &PushGrant| grant.stream);
                // Nobody is there to be told: the connection ended while we thought, and the stream with it.
                if reply.send(granted.map_err(refusal)).is_err()
                    && let Some(stream) = stream
                {
                    self.stream_ended(stream);
                }
            }
            Event::PlayRequested { url, reply } => {
                // A player who is gone by now needs no answer.
                let _ = reply.send(self.play_rtmp(&url).map_err(refusal));
            }
        }
    }

    fn stream_ended(self: &Arc<Self>, stream: StreamId) {
        if let Some(cell) = self.cell_of_stream(stream) {
            self.with_cell(&cell, |cell, out| cell.room.stream_ended(stream, out));
        }
    }

    fn cell_of_transport(&self, transport: TransportId) -> Option<Arc<Mutex<Cell>>> {
        self.by_transport.get(&transport)?.cell.upgrade()
    }

    fn cell_of_stream(&self, stream: StreamId) -> Option<Arc<Mutex<Cell>>> {
        self.by_stream.get(&stream)?.upgrade()
    }
}

fn refusal(fault: Fault) -> UrlRefusal {
    UrlRefusal { code: fault.code.number(), text: fault.message.into_owned() }
}
