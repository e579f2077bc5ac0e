//! A server and a client of ours talk to each other.

mod conversation;
mod limits;

use bytes::Bytes;

use super::*;
use crate::rtmp::{
    STREAM_ID,
    chunk::{
        CHUNK_SIZE_OUT, ChunkError, MESSAGE_BYTES_MAX, UNAUTHENTICATED_MESSAGE_BYTES_MAX, write_media, write_message,
    },
    client::{ClientEvent, ClientSession, Purpose},
    message::be32,
    url::RtmpUrl,
};

/// A server and a client of ours, and the bytes between them in pieces of a given size.
struct Pair {
    now: Time,
    server: ServerSession,
    client: ClientSession,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    piece: usize,
    server_events: Vec<ServerEvent>,
    client_events: Vec<ClientEvent>,
}

impl Pair {
    fn new(purpose: Purpose, url: &str, piece: usize) -> Pair {
        let now = Time::from_millis(1);
        Pair {
            now,
            server: ServerSession::new(now),
            client: ClientSession::new(now, RtmpUrl::parse(url).unwrap(), purpose),
            to_server: Vec::new(),
            to_client: Vec::new(),
            piece,
            server_events: Vec::new(),
            client_events: Vec::new(),
        }
    }

    /// Moves bytes until none are left, or the server waits for an answer to a request.
    fn settle(&mut self) {
        loop {
            self.to_server.extend(self.client.take_output());
            self.to_client.extend(self.server.take_output());
            let before = self.to_server.len() + self.to_client.len();
            let mut unread = Vec::new();
            for mut data in std::mem::take(&mut self.to_server).chunks(self.piece) {
                while let Some(event) = self.server.handle_input(self.now, &mut data).unwrap() {
                    self.server_events.push(event);
                }
                unread.extend_from_slice(data);
            }
            self.to_server = unread;
            for mut data in std::mem::take(&mut self.to_client).chunks(self.piece) {
                while let Some(event) = self.client.handle_input(&mut data).unwrap() {
                    self.client_events.push(event);
                }
            }
            if before == self.to_server.len() {
                return;
            }
        }
    }

    fn publishing(piece: usize) -> Pair {
        let mut pair = Pair::new(Purpose::Publish, "rtmp://h/push/1001?usersig=x", piece);
        pair.settle();
        pair.server.accept_publish(pair.now);
        pair.settle();
        assert_eq!(std::mem::take(&mut pair.client_events), [ClientEvent::Started]);
        pair.server_events.clear();
        pair
    }

    fn playing(piece: usize) -> Pair {
        let mut pair = Pair::new(Purpose::Play, "rtmp://h/live/s", piece);
        pair.settle();
        pair.server.accept_play(pair.now);
        pair.settle();
        assert_eq!(std::mem::take(&mut pair.client_events), [ClientEvent::Started]);
        pair
    }

    /// Raw messages from the client's side.
    fn send(&mut self, messages: &[Message]) -> Result<Vec<ServerEvent>, RtmpError> {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| write_message(message, CHUNK_SIZE_OUT, &mut bytes));
        let (mut data, mut events) = (&bytes[..], Vec::new());
        while let Some(event) = self.server.handle_input(self.now, &mut data)? {
            events.push(event);
        }
        Ok(events)
    }
}

fn media(kind: MediaKind, timestamp_ms: u32, payload: &[u8]) -> Media {
    Media { kind, timestamp_ms, payload: Bytes::copy_from_slice(payload) }
}

fn message(kind: MessageType, payload: impl Into<Bytes>) -> Message {
    Message { kind, timestamp_ms: 0, stream_id: STREAM_ID, payload: payload.into() }
}

fn command(name: &str, args: Vec<Value>) -> Message {
    message(MessageType::COMMAND, Command::new(name, 9.0, Value::Null, args).to_bytes())
}

fn connect(app: &str) -> Message {
    let object = Value::Object(vec![("app".into(), Value::string(app))]);
    message(MessageType::COMMAND, Command::new("connect", 1.0, object, Vec::new()).to_bytes())
}

/// A server past its handshake that was told our chunk size, and nothing else.
fn greeted() -> Pair {
    let mut pair = Pair::new(Purpose::Publish, "rtmp://h/a/b", 4096);
    pair.to_server.extend(pair.client.take_output());
    pair.to_server.extend([0; 1536]);
    let bytes = std::mem::take(&mut pair.to_server);
    assert_eq!(pair.server.handle_input(pair.now, &mut &bytes[..]), Ok(None));
    let size = message(MessageType::SET_CHUNK_SIZE, (CHUNK_SIZE_OUT as u32).to_be_bytes().to_vec());
    let mut bytes = Vec::new();
    write_message(&size, 128, &mut bytes);
    assert_eq!(pair.server.handle_input(pair.now, &mut &bytes[..]), Ok(None));
    pair.server.take_output();
    pair
}

/// What the server has to say, as messages.
fn output(server: &mut ServerSession, greeted: bool) -> Vec<Message> {
    let mut reader = crate::rtmp::chunk::ChunkReader::new();
    if greeted {
        reader.set_chunk_size(CHUNK_SIZE_OUT as u32).unwrap();
    }
    let bytes = server.take_output();
    let (mut data, mut messages) = (&bytes[..], Vec::new());
    while let Some(message) = reader.read(&mut data).unwrap() {
        if message.kind == MessageType::SET_CHUNK_SIZE {
            reader.set_chunk_size(be32(&message.payload).unwrap()).unwrap();
        }
        messages.push(message);
    }
    messages
}

fn names(messages: &[Message]) -> Vec<String> {
    let commands = messages.iter().filter(|message| message.kind == MessageType::COMMAND);
    commands.map(|message| Command::parse(message.kind, &message.payload).unwrap().unwrap().name).collect()
}
