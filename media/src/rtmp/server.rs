//! The server's side of one connection: it publishes or plays one stream, after somebody else said yes.
//!
//! ```text
//! Handshake -> Setup -> PublishAsked -> Publishing -> Setup ...
//!                    \-> PlayAsked   -> Playing    -> Setup ...
//! any of them -> Closing, in which input is thrown away and only output counts
//! ```

use std::time::Duration;

use super::{
    RtmpError, STREAM_ID,
    amf0::Value,
    handshake::ServerHandshake,
    link::{Link, WINDOW_ACK_BYTES},
    message::{Aggregate, Command, Media, MediaKind, Message, MessageType, UserControl, metadata},
    url::{PATH_BYTES_MAX, StreamPath},
};
use crate::units::time::Time;

/// From accept to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From accept, or from the end of a stream, to the next `publish` or `play`. Phones on bad networks need six round trips.
pub const SETUP_TIMEOUT: Duration = Duration::from_secs(20);
/// A publisher that sends nothing for this long is gone.
pub const PUBLISHER_TIMEOUT: Duration = Duration::from_secs(30);
/// A player that sends nothing for this long is asked whether it is there.
pub const PING_AFTER: Duration = Duration::from_secs(30);
/// And this long it may take to answer, with whatever bytes.
pub const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// Commands on one connection: ten for a stream, the rest for pausing. More is a flood.
pub const COMMANDS_MAX: u32 = 1_000;

/// Codecs that we take, by the FourCC of Enhanced RTMP v2.
pub(super) const VIDEO_FOUR_CCS: [&str; 5] = ["avc1", "hvc1", "av01", "vp09", "vp08"];
pub(super) const AUDIO_FOUR_CCS: [&str; 2] = ["mp4a", "Opus"];
/// `FourCcInfoMask.CanForward`.
const CAN_FORWARD: f64 = 4.0;
/// `CapsExMask`: ModEx, and neither reconnect requests nor multitrack.
const CAPS_EX: f64 = 4.0;

/// What the client wants, or sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerEvent {
    /// Answer with [`ServerSession::accept_publish`] or [`ServerSession::refuse`]; no input is read until then.
    PublishRequested(StreamPath),
    /// Answer with [`ServerSession::accept_play`] or [`ServerSession::refuse`]; no input is read until then.
    PlayRequested(StreamPath),
    /// From the publisher. Data is `onMetaData` only.
    Media(Media),
    /// The publisher or the player ended its stream; the connection may begin another.
    StreamClosed,
}

/// Which words a refusal has besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The name is wrong or in use: `NetStream.Publish.BadName`; of a play `NetStream.Play.Failed`.
    BadName,
    /// Not with this ticket: `NetStream.Publish.Unauthorized`; of a play `NetStream.Play.Failed`.
    Unauthorized,
    /// Of a publisher whose media came already, none of it in a codec that is carried: `NetStream.Publish.Rejected`.
    Codec,
}

/// One connection.
#[derive(Debug)]
pub struct ServerSession {
    phase: Phase,
    link: Link,
    /// `app` and `tcUrl` of `connect`.
    connected: Option<(String, String)>,
    aggregate: Option<Aggregate>,
    commands_left: u32,
    paused: bool,
    /// When the connection or the present wait for a stream began.
    waiting_since: Time,
    last_input: Time,
    pinged_at: Option<Time>,
}

#[derive(Debug)]
enum Phase {
    Handshake(ServerHandshake),
    Setup,
    PublishAsked,
    Publishing,
    PlayAsked,
    Playing,
    Closing,
}

impl ServerSession {
    pub fn new(now: Time) -> Self {
        ServerSession {
            phase: Phase::Handshake(ServerHandshake::new()),
            link: Link::new(),
            connected: None,
            aggregate: None,
            commands_left: COMMANDS_MAX,
            paused: false,
            waiting_since: now,
            last_input: now,
            pinged_at: None,
        }
    }

    /// Takes bytes from the front of `data` up to the next event. `None` says that all were taken, or that an answer is due.
    pub fn handle_input(&mut self, now: Time, data: &mut &[u8]) -> Result<Option<ServerEvent>, RtmpError> {
        if !data.is_empty() {
            self.last_input = now;
            self.pinged_at = None;
        }
        loop {
            match &mut self.phase {
                Phase::Handshake(handshake) => {
                    if !handshake.handle_input(data, self.link.output())? {
                        return Ok(None);
                    }
                    self.phase = Phase::Setup;
                }
                Phase::PublishAsked | Phase::PlayAsked => return Ok(None),
                Phase::Closing => {
                    *data = &[];
                    return Ok(None);
                }
                Phase::Setup | Phase::Publishing | Phase::Playing => {
                    let event = match self.aggregate.as_mut().and_then(Iterator::next) {
                        Some(part) => self.handle_media(part)?,
                        None => match self.link.read(data)? {
                            Some(message) => self.handle_message(now, message)?,
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

    /// Bytes to send, in order. Media of [`write_media`](super::chunk::write_media) may stand between two calls, not inside
    /// what one call gave.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.link.take_output()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. `None` while an answer to a request is.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Handshake(_) => Some(self.waiting_since + HANDSHAKE_TIMEOUT),
            Phase::Setup => Some(self.waiting_since + SETUP_TIMEOUT),
            Phase::Publishing => Some(self.last_input + PUBLISHER_TIMEOUT),
            Phase::Playing => Some(match self.pinged_at {
                Some(pinged_at) => pinged_at + PING_TIMEOUT,
                None => self.last_input + PING_AFTER,
            }),
            Phase::PublishAsked | Phase::PlayAsked | Phase::Closing => None,
        }
    }

    /// Pings a quiet player; an error ends the connection.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), RtmpError> {
        if self.next_timeout().is_none_or(|due| now < due) {
            return Ok(());
        }
        match self.phase {
            Phase::Handshake(_) => Err(RtmpError::Timeout("no handshake")),
            Phase::Setup => Err(RtmpError::Timeout("neither publish nor play")),
            Phase::Publishing => Err(RtmpError::Timeout("nothing from the publisher")),
            Phase::Playing if self.pinged_at.is_some() => Err(RtmpError::Timeout("the player answers no ping")),
            Phase::Playing => {
                self.pinged_at = Some(now);
                self.link.send_user_control(UserControl::PingRequest { timestamp_ms: now.as_millis() as u32 });
                Ok(())
            }
            Phase::PublishAsked | Phase::PlayAsked | Phase::Closing => Ok(()),
        }
    }

    /// Nothing will come of this connection any more: close it once the output is flushed.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// The player asked to pause: nothing should be sent until it asks for more.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Yes to [`ServerEvent::PublishRequested`]: media may come, in messages of any allowed length.
    pub fn accept_publish(&mut self, now: Time) {
        if !matches!(self.phase, Phase::PublishAsked) {
            return;
        }
        self.phase = Phase::Publishing;
        self.last_input = now;
        self.link.set_trusted(true);
        self.link.send_user_control(UserControl::StreamBegin { stream_id: STREAM_ID });
        self.send_status("status", "NetStream.Publish.Start", "publishing");
    }

    /// Yes to [`ServerEvent::PlayRequested`]: what follows is media.
    pub fn accept_play(&mut self, now: Time) {
        if !matches!(self.phase, Phase::PlayAsked) {
            return;
        }
        self.phase = Phase::Playing;
        self.last_input = now;
        self.pinged_at = None;
        self.paused = false;
        self.link.send_user_control(UserControl::StreamBegin { stream_id: STREAM_ID });
        self.send_status("status", "NetStream.Play.Reset", "playing and resetting");
        self.send_status("status", "NetStream.Play.Start", "playing");
        self.link
            .send_data(STREAM_ID, &[Value::string("|RtmpSampleAccess"), Value::Boolean(true), Value::Boolean(true)]);
        // As a command: in a data message, where Flash Media Server had it, ffmpeg takes it for a third stream.
        self.send_status("status", "NetStream.Data.Start", "data follows");
    }

    /// No to a request. `description` is what the client's log shows. The connection has to be closed once the output is
    /// flushed; input is thrown away from here on.
    pub fn refuse(&mut self, kind: RefusalKind, description: &str) {
        let code = match (&self.phase, kind) {
            (Phase::PublishAsked, RefusalKind::BadName | RefusalKind::Codec) => "NetStream.Publish.BadName",
            (Phase::PublishAsked, RefusalKind::Unauthorized) => "NetStream.Publish.Unauthorized",
            (Phase::PlayAsked, _) => "NetStream.Play.Failed",
            (Phase::Publishing, RefusalKind::Codec) => "NetStream.Publish.Rejected",
            _ => return,
        };
        self.send_status("error", code, description);
        self.phase = Phase::Closing;
    }

    /// The server ends the stream: tells the client in its words. Close once the output is flushed.
    pub fn end_stream(&mut self) {
        match self.phase {
            Phase::Publishing => {
                self.send_status("status", "NetStream.Unpublish.Success", "the server ended the stream")
            }
            Phase::Playing => {
                self.link.send_user_control(UserControl::StreamEof { stream_id: STREAM_ID });
                self.send_status("status", "NetStream.Play.UnpublishNotify", "the stream is over");
                self.send_status("status", "NetStream.Play.Stop", "the stream is over");
            }
            _ => {}
        }
        self.phase = Phase::Closing;
    }

    fn handle_message(&mut self, now: Time, message: Message) -> Result<Option<ServerEvent>, RtmpError> {
        match message.kind {
            MessageType::COMMAND | MessageType::COMMAND_AMF3 => self.handle_command(now, &message),
            MessageType::AGGREGATE if matches!(self.phase, Phase::Publishing) => {
                self.aggregate = Some(Aggregate::new(&message));
                Ok(None)
            }
            _ => self.handle_media(message),
        }
    }

    /// Media of a publisher; anything else, and media of others, has no meaning and is left out.
    fn handle_media(&mut self, message: Message) -> Result<Option<ServerEvent>, RtmpError> {
        if !matches!(self.phase, Phase::Publishing) || message.payload.is_empty() {
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
        Ok(Some(ServerEvent::Media(Media { kind, timestamp_ms: message.timestamp_ms, payload })))
    }

    fn handle_command(&mut self, now: Time, message: &Message) -> Result<Option<ServerEvent>, RtmpError> {
        self.commands_left = self.commands_left.checked_sub(1).ok_or(RtmpError::Protocol("too many commands"))?;
        let Some(command) = Command::parse(message.kind, &message.payload)? else {
            return Err(RtmpError::Protocol("a command without a name"));
        };
        if self.connected.is_none() && command.name != "connect" {
            return Err(RtmpError::Protocol("a command before connect"));
        }
        match command.name.as_str() {
            "connect" => self.handle_connect(&command)?,
            "releaseStream" | "_checkbw" => self.send_result(command.transaction, Value::Null, Value::Undefined),
            "getStreamLength" => self.send_result(command.transaction, Value::Null, Value::Number(0.0)),
            "createStream" => {
                self.send_result(command.transaction, Value::Null, Value::Number(f64::from(STREAM_ID)));
            }
            "FCPublish" => {
                self.send_result(command.transaction, Value::Null, Value::Undefined);
                self.send_fc_status("onFCPublish", "NetStream.Publish.Start");
            }
            "FCSubscribe" => self.send_fc_status("onFCSubscribe", "NetStream.Play.Start"),
            "publish" => return self.handle_request(&command, true),
            "play" => return self.handle_request(&command, false),
            "pause" if matches!(self.phase, Phase::Playing) => {
                self.paused = command.args.first().and_then(Value::as_bool).unwrap_or(!self.paused);
                let code = if self.paused { "NetStream.Pause.Notify" } else { "NetStream.Unpause.Notify" };
                self.send_status("status", code, "");
            }
            "FCUnpublish" => {
                self.send_fc_status("onFCUnpublish", "NetStream.Unpublish.Success");
                return Ok(self.close_stream(now));
            }
            "deleteStream" | "closeStream" => return Ok(self.close_stream(now)),
            // The rest (setBufferLength as a command, receiveAudio, seek, ...) changes nothing for a live stream.
            _ => {}
        }
        Ok(None)
    }

    fn handle_connect(&mut self, command: &Command) -> Result<(), RtmpError> {
        if self.connected.is_some() {
            return Err(RtmpError::Protocol("connect twice"));
        }
        let text = |name| command.object.member(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let (app, tc_url) = (text("app"), text("tcUrl"));
        if app.len() + tc_url.len() > 2 * PATH_BYTES_MAX {
            return Err(RtmpError::Protocol("the application name is too long"));
        }
        self.connected = Some((app, tc_url));
        // The chunk size first: everything behind it, media included, is cut by it.
        self.link.announce_chunk_size();
        self.link.send_word(MessageType::WINDOW_ACK_SIZE, WINDOW_ACK_BYTES);
        self.link.send_peer_bandwidth();
        let server = Value::Object(vec![
            ("fmsVer".into(), Value::string("FMS/3,0,1,123")),
            ("capabilities".into(), Value::Number(31.0)),
        ]);
        let mut info = vec![
            ("level".into(), Value::string("status")),
            ("code".into(), Value::string("NetConnection.Connect.Success")),
            ("description".into(), Value::string("connected")),
            // AMF0, whatever the client asked for.
            ("objectEncoding".into(), Value::Number(0.0)),
        ];
        // Enhanced RTMP: a client that names codecs by FourCC learns which of them we take. Whatever is pushed goes to players
        // as it is, so that is all that we do with them: forward.
        let asks = |name| command.object.member(name).is_some();
        if asks("fourCcList") || asks("videoFourCcInfoMap") || asks("audioFourCcInfoMap") || asks("capsEx") {
            let map = |codes: &[&str]| {
                Value::Object(codes.iter().map(|code| ((*code).to_owned(), Value::Number(CAN_FORWARD))).collect())
            };
            let codes = VIDEO_FOUR_CCS.iter().chain(&AUDIO_FOUR_CCS).map(|code| Value::string(code)).collect();
            info.push(("fourCcList".into(), Value::StrictArray(codes)));
            info.push(("videoFourCcInfoMap".into(), map(&VIDEO_FOUR_CCS)));
            info.push(("audioFourCcInfoMap".into(), map(&AUDIO_FOUR_CCS)));
            info.push(("capsEx".into(), Value::Number(CAPS_EX)));
        }
        self.send_result(command.transaction, server, Value::Object(info));
        Ok(())
    }

    fn handle_request(&mut self, command: &Command, publish: bool) -> Result<Option<ServerEvent>, RtmpError> {
        if !matches!(self.phase, Phase::Setup) {
            return Err(RtmpError::Protocol("a second stream on one connection"));
        }
        let (app, tc_url) = self.connected.as_ref().ok_or(RtmpError::Protocol("a request before connect"))?;
        let path = StreamPath::from_parts(app, tc_url, command.str_arg(0).unwrap_or(""));
        self.phase = if publish { Phase::PublishAsked } else { Phase::PlayAsked };
        let Some(path) = path else {
            self.refuse(RefusalKind::BadName, "the stream name is too long");
            return Ok(None);
        };
        Ok(Some(if publish { ServerEvent::PublishRequested(path) } else { ServerEvent::PlayRequested(path) }))
    }

    /// The client's end of its stream, told once.
    fn close_stream(&mut self, now: Time) -> Option<ServerEvent> {
        if !matches!(self.phase, Phase::Publishing | Phase::Playing) {
            return None;
        }
        self.phase = Phase::Setup;
        self.waiting_since = now;
        self.aggregate = None;
        self.link.set_trusted(false);
        Some(ServerEvent::StreamClosed)
    }

    fn send_result(&mut self, transaction: f64, object: Value, info: Value) {
        self.link.send_command(0, &Command::new("_result", transaction, object, vec![info]));
    }

    fn send_status(&mut self, level: &str, code: &str, description: &str) {
        let info = status(level, code, description);
        self.link.send_command(STREAM_ID, &Command::new("onStatus", 0.0, Value::Null, vec![info]));
    }

    /// `onFCPublish` and its like, for encoders of Flash Media Server's time.
    fn send_fc_status(&mut self, name: &str, code: &str) {
        let info = status("status", code, "");
        self.link.send_command(0, &Command::new(name, 0.0, Value::Null, vec![info]));
    }
}

fn status(level: &str, code: &str, description: &str) -> Value {
    Value::Object(vec![
        ("level".into(), Value::string(level)),
        ("code".into(), Value::string(code)),
        ("description".into(), Value::string(description)),
    ])
}

#[cfg(test)]
#[path = "server_tests/mod.rs"]
mod tests;
