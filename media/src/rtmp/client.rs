//! The client's side of one connection: publishes or plays one stream on a server.
//!
//! ```text
//! Handshake -> Connecting -> Creating -> Requested -> Active -> Over
//! ```

use std::time::Duration;

use super::{
    RtmpError,
    amf0::Value,
    handshake::ClientHandshake,
    link::{Link, WINDOW_ACK_BYTES},
    message::{Aggregate, Command, Media, MediaKind, Message, MessageType, UserControl, metadata},
    server::{AUDIO_FOUR_CCS, VIDEO_FOUR_CCS},
    url::RtmpUrl,
};
use crate::units::time::Time;

/// From the first byte to the server's yes or no.
pub const SETUP_TIMEOUT: Duration = Duration::from_secs(20);

const TRANSACTION_CONNECT: f64 = 1.0;
const TRANSACTION_RELEASE: f64 = 2.0;
const TRANSACTION_FC_PUBLISH: f64 = 3.0;
const TRANSACTION_CREATE: f64 = 4.0;
const TRANSACTION_REQUEST: f64 = 5.0;
const TRANSACTION_CLOSE: f64 = 6.0;
/// What we ask a server to keep ready for a player; live servers do not care.
const BUFFER_MS: u32 = 1_000;

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Publish,
    Play,
}

/// What the server says, or sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The stream is ours: media may flow, on [`ClientSession::stream_id`].
    Started,
    /// To a player.
    Media(Media),
    /// The server said no. `code` as `NetStream.Publish.BadName`, `description` in its own words.
    Refused { code: String, description: String },
    /// The server ended the stream, with the code it gave.
    Ended { code: String },
}

/// One connection.
#[derive(Debug)]
pub struct ClientSession {
    phase: Phase,
    link: Link,
    url: RtmpUrl,
    purpose: Purpose,
    stream_id: u32,
    aggregate: Option<Aggregate>,
    started: Time,
}

#[derive(Debug)]
enum Phase {
    Handshake(ClientHandshake),
    Connecting,
    Creating,
    Requested,
    Active,
    Over,
}

impl ClientSession {
    /// Begins with a signed handshake, as players do. The first bytes are in [`take_output`](Self::take_output) at once.
    pub fn new(now: Time, url: RtmpUrl, purpose: Purpose) -> Self {
        let mut link = Link::new();
        let handshake = ClientHandshake::new(true, link.output());
        // We chose this server; what it sends is media.
        link.set_trusted(true);
        ClientSession {
            phase: Phase::Handshake(handshake),
            link,
            url,
            purpose,
            stream_id: 0,
            aggregate: None,
            started: now,
        }
    }

    /// Takes bytes from the front of `data` up to the next event. `None` says that all were taken.
    pub fn handle_input(&mut self, data: &mut &[u8]) -> Result<Option<ClientEvent>, RtmpError> {
        loop {
            match &mut self.phase {
                Phase::Handshake(handshake) => {
                    if !handshake.handle_input(data, self.link.output())? {
                        return Ok(None);
                    }
                    self.send_connect();
                    self.phase = Phase::Connecting;
                }
                Phase::Over => {
                    *data = &[];
                    return Ok(None);
                }
                _ => {
                    let event = match self.aggregate.as_mut().and_then(Iterator::next) {
                        Some(part) => self.handle_media(part)?,
                        None => match self.link.read(data)? {
                            Some(message) => self.handle_message(message)?,
                            None => return Ok(None),
                        },
                    };
                    if event.is_some() {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Bytes to send, in order; media of [`write_media`](super::chunk::write_media) may stand between two calls.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.link.take_output()
    }

    /// The message stream for [`write_media`](super::chunk::write_media); 0 before [`ClientEvent::Started`].
    pub fn stream_id(&self) -> u32 {
        self.stream_id
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due: never once the stream has begun.
    pub fn next_timeout(&self) -> Option<Time> {
        let settled = matches!(self.phase, Phase::Active | Phase::Over);
        (!settled).then_some(self.started + SETUP_TIMEOUT)
    }

    /// An error ends the connection.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), RtmpError> {
        if self.next_timeout().is_some_and(|due| now >= due) {
            return Err(RtmpError::Timeout("the server did not answer"));
        }
        Ok(())
    }

    /// Ends the stream from our side. Close once the output is flushed.
    pub fn close(&mut self) {
        if matches!(self.phase, Phase::Requested | Phase::Active) {
            if self.purpose == Purpose::Publish {
                let name = Value::string(&self.url.name);
                self.send_command(0, "FCUnpublish", TRANSACTION_CLOSE, Value::Null, vec![name]);
            }
            let stream = Value::Number(f64::from(self.stream_id));
            self.send_command(0, "deleteStream", 0.0, Value::Null, vec![stream]);
        }
        self.phase = Phase::Over;
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<ClientEvent>, RtmpError> {
        match message.kind {
            MessageType::COMMAND | MessageType::COMMAND_AMF3 => match Command::parse(message.kind, &message.payload)? {
                Some(command) => Ok(self.handle_command(&command)),
                None => Err(RtmpError::Protocol("a command without a name")),
            },
            MessageType::AGGREGATE => {
                self.aggregate = Some(Aggregate::new(&message));
                Ok(None)
            }
            MessageType::USER_CONTROL => Ok(match UserControl::parse(&message.payload) {
                Some(UserControl::StreamEof { .. }) => self.end("NetStream.Play.Stop"),
                _ => None,
            }),
            _ => self.handle_media(message),
        }
    }

    fn handle_media(&mut self, message: Message) -> Result<Option<ClientEvent>, RtmpError> {
        if self.purpose != Purpose::Play || message.payload.is_empty() {
            return Ok(None);
        }
        let (kind, payload) = match message.kind {
            MessageType::AUDIO => (MediaKind::Audio, message.payload),
            MessageType::VIDEO => (MediaKind::Video, message.payload),
            MessageType::DATA | MessageType::DATA_AMF3 => match metadata(message.kind, &message.payload)? {
                Some(payload) => (MediaKind::Data, payload),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(ClientEvent::Media(Media { kind, timestamp_ms: message.timestamp_ms, payload })))
    }

    fn handle_command(&mut self, command: &Command) -> Option<ClientEvent> {
        match command.name.as_str() {
            "_result" if command.transaction == TRANSACTION_CONNECT && matches!(self.phase, Phase::Connecting) => {
                self.link.announce_chunk_size();
                self.link.send_word(MessageType::WINDOW_ACK_SIZE, WINDOW_ACK_BYTES);
                if self.purpose == Purpose::Publish {
                    let name = Value::string(&self.url.name);
                    self.send_command(0, "releaseStream", TRANSACTION_RELEASE, Value::Null, vec![name.clone()]);
                    self.send_command(0, "FCPublish", TRANSACTION_FC_PUBLISH, Value::Null, vec![name]);
                }
                self.send_command(0, "createStream", TRANSACTION_CREATE, Value::Null, Vec::new());
                self.phase = Phase::Creating;
                None
            }
            "_result" if command.transaction == TRANSACTION_CREATE && matches!(self.phase, Phase::Creating) => {
                self.stream_id = command.args.first().and_then(Value::as_number).unwrap_or(1.0) as u32;
                self.send_request();
                self.phase = Phase::Requested;
                None
            }
            // Servers that do not know `releaseStream` or `FCPublish` may say so; nothing depends on them.
            "_error" if command.transaction == TRANSACTION_CONNECT || command.transaction == TRANSACTION_CREATE => {
                Some(self.refused(command.args.first()))
            }
            "onStatus" => self.handle_status(command.args.first()),
            "close" => self.end("NetConnection.Connect.Closed"),
            _ => None,
        }
    }

    fn handle_status(&mut self, info: Option<&Value>) -> Option<ClientEvent> {
        let level = info.and_then(|info| info.member("level")).and_then(Value::as_str).unwrap_or("");
        let code = info.and_then(|info| info.member("code")).and_then(Value::as_str).unwrap_or("");
        match code {
            _ if level == "error" => Some(self.refused(info)),
            "NetStream.Publish.Start" | "NetStream.Play.Start" if matches!(self.phase, Phase::Requested) => {
                self.phase = Phase::Active;
                Some(ClientEvent::Started)
            }
            "NetStream.Play.Stop"
            | "NetStream.Play.UnpublishNotify"
            | "NetStream.Play.Complete"
            | "NetStream.Unpublish.Success" => self.end(code),
            _ => None,
        }
    }

    fn refused(&mut self, info: Option<&Value>) -> ClientEvent {
        let text = |name| info.and_then(|info| info.member(name)).and_then(Value::as_str).unwrap_or("").to_owned();
        self.phase = Phase::Over;
        ClientEvent::Refused { code: text("code"), description: text("description") }
    }

    fn end(&mut self, code: &str) -> Option<ClientEvent> {
        if !matches!(self.phase, Phase::Active) {
            return None;
        }
        self.phase = Phase::Over;
        Some(ClientEvent::Ended { code: code.to_owned() })
    }

    fn send_connect(&mut self) {
        let codes = VIDEO_FOUR_CCS.iter().chain(&AUDIO_FOUR_CCS).map(|code| Value::string(code));
        let mut object = vec![
            ("app".into(), Value::string(&self.url.app)),
            ("flashVer".into(), Value::string("FMLE/3.0 (compatible; roomcast)")),
            ("tcUrl".into(), Value::String(self.url.tc_url())),
            // Enhanced RTMP: what we may send, or take. Other servers pass over it.
            ("fourCcList".into(), Value::StrictArray(codes.collect())),
        ];
        match self.purpose {
            Purpose::Publish => object.push(("type".into(), Value::string("nonprivate"))),
            Purpose::Play => object.extend([
                ("fpad".into(), Value::Boolean(false)),
                ("capabilities".into(), Value::Number(15.0)),
                ("audioCodecs".into(), Value::Number(4071.0)),
                ("videoCodecs".into(), Value::Number(252.0)),
                ("videoFunction".into(), Value::Number(1.0)),
            ]),
        }
        self.send_command(0, "connect", TRANSACTION_CONNECT, Value::Object(object), Vec::new());
    }

    fn send_request(&mut self) {
        let name = Value::string(&self.url.name);
        match self.purpose {
            Purpose::Publish => {
                let args = vec![name, Value::string("live")];
                self.send_command(self.stream_id, "publish", TRANSACTION_REQUEST, Value::Null, args);
            }
            Purpose::Play => {
                // -2000: what is live if there is such a stream (§7.2.2.1).
                let args = vec![name, Value::Number(-2000.0)];
                self.send_command(self.stream_id, "play", TRANSACTION_REQUEST, Value::Null, args);
                let stream_id = self.stream_id;
                self.link.send_user_control(UserControl::SetBufferLength { stream_id, buffer_ms: BUFFER_MS });
            }
        }
    }

    fn send_command(&mut self, stream_id: u32, name: &str, transaction: f64, object: Value, args: Vec<Value>) {
        self.link.send_command(stream_id, &Command::new(name, transaction, object, args));
    }
}
