//! The hub with a test in the place of media: the test holds the other end of the channels and answers the commands.

mod chat;
mod gate;
mod invariants;
mod keep;
mod limits;
mod notices;
mod order;
mod refusals;
mod resume;
mod rooms;
mod secrets;
mod streams;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use media::{
    Command, Event, Kind, StreamId, TransportId,
    codec::Codec,
    command::{NegotiatedTrack, PlayAnswer, PublishAnswer, PushGrant, StreamUrl, SubscribeOffer, UrlRefusal, Wanted},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Hub, PublishOffer, Seat, unix_ms};
use crate::{
    auth::{
        authorise::Privilege,
        issue::{TicketVersion, issue_private_map_key, issue_user_sig},
        tests::{pem, vector_key},
    },
    code::{Code, Fault},
    config::{AppConfig, SignalingConfig},
    dialect::native,
    link::{Link, Outbound, Outgoing},
    name::RoomName,
    request::{Request, Resume},
};

pub const APP: u32 = 1_400_000_001;
pub const ROOM: u32 = 1001;
/// An offer with one audio and one video line, both ways.
pub const OFFER: &str =
    "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n";

pub fn app() -> AppConfig {
    AppConfig {
        sdk_app_id: APP,
        v1_keys_pem: vec![pem(&vector_key())],
        v2_secret: Some("secret".into()),
        push_key: Some("pushkey".into()),
        ..AppConfig::default()
    }
}

pub fn now_s() -> u64 {
    unix_ms() / 1000
}

pub fn user_sig(user: &str) -> String {
    issue_user_sig(&app(), TicketVersion::V2, user, now_s(), 300).unwrap()
}

pub fn map_key(user: &str, room: &RoomName, privilege: u32) -> String {
    issue_private_map_key(&app(), TicketVersion::V2, user, room, Privilege(privilege), now_s(), 300).unwrap()
}

/// A hub, and the media side's ends of its channels.
pub struct House {
    pub hub: Hub,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    transports: u64,
}

impl House {
    pub fn new() -> House {
        House::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut SignalingConfig)) -> House {
        let mut config = SignalingConfig { apps: vec![app()], ..SignalingConfig::default() };
        change(&mut config);
        let (command_sender, commands) = mpsc::channel(64);
        let (events, event_receiver) = mpsc::channel(64);
        let hub = Hub::start(config, command_sender, event_receiver).unwrap();
        House { hub, commands, events, transports: 0 }
    }

    pub fn client(&self) -> Client {
        let (link, outbound) = Link::new();
        Client {
            hub: self.hub.clone(),
            link,
            outbound,
            seat: None,
            id: 0,
            seq: 0,
            missed: VecDeque::new(),
            token: None,
        }
    }

    /// A client who has entered the room.
    pub async fn member(&self, user: &str) -> Client {
        let mut client = self.client();
        let reply = client.enter(user).await;
        assert_eq!(reply["type"], "ok", "{reply}");
        client
    }

    pub async fn command(&mut self) -> Command {
        timeout(Duration::from_secs(5), self.commands.recv()).await.expect("a command within 5 s").unwrap()
    }

    pub fn no_command(&mut self) -> bool {
        self.commands.try_recv().is_err()
    }

    pub async fn event(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }

    fn transport(&mut self) -> TransportId {
        self.transports += 1;
        TransportId(self.transports)
    }

    /// Answers the next publish with Opus and H.264 for what it names; returns the transport and its streams.
    pub async fn answer_publish(&mut self) -> (TransportId, Vec<StreamId>) {
        let Command::Publish { transport, tracks, reply, .. } = self.command().await else { panic!("not a publish") };
        let transport = transport.unwrap_or_else(|| self.transport());
        let mut streams: Vec<StreamId> = tracks.iter().map(|track| track.stream).collect();
        streams.dedup();
        let carried =
            |mid: &str, stream, codec: Codec| NegotiatedTrack { mid: mid.into(), stream, kind: codec.kind(), codec };
        let tracks = match tracks.as_slice() {
            // WHIP names one stream for every line.
            [one] if one.mid.is_empty() => {
                vec![carried("0", one.stream, Codec::Opus), carried("1", one.stream, Codec::H264)]
            }
            tracks => tracks
                .iter()
                .map(|t| carried(&t.mid, t.stream, if t.mid == "0" { Codec::Opus } else { Codec::H264 }))
                .collect(),
        };
        reply.send(Ok(PublishAnswer { transport, answer: "v=0 answer".into(), tracks })).ok().unwrap();
        (transport, streams)
    }

    /// Answers the next subscribe with an offer of all that is wanted.
    pub async fn answer_subscribe(&mut self) -> (TransportId, Vec<Wanted>) {
        let Command::Subscribe { transport, wanted, reply, .. } = self.command().await else {
            panic!("not a subscribe")
        };
        let transport = transport.unwrap_or_else(|| self.transport());
        let tracks = wanted.iter().map(|wanted| NegotiatedTrack {
            mid: wanted.stream.0.to_string(),
            stream: wanted.stream,
            kind: Kind::Video,
            codec: Codec::H264,
        });
        let offer = SubscribeOffer { transport, offer: "v=0 offer".into(), tracks: tracks.collect() };
        reply.send(Ok(offer)).ok().unwrap();
        (transport, wanted)
    }

    pub async fn answer_answer(&mut self) {
        let Command::SubscribeAnswer { reply, .. } = self.command().await else { panic!("not an answer") };
        reply.send(Ok(())).unwrap();
    }

    pub async fn answer_play(&mut self) -> (TransportId, Vec<Wanted>) {
        let Command::Play { wanted, reply, .. } = self.command().await else { panic!("not a play") };
        let transport = self.transport();
        let answer = PlayAnswer { transport, answer: "v=0 played".into(), tracks: Vec::new() };
        reply.send(Ok(answer)).ok().unwrap();
        (transport, wanted)
    }

    /// Returns when the hub has handled every event so far: events are handled in order, and this one is answered.
    pub async fn settled(&self) {
        let _ = self.play("", "").await;
    }

    pub async fn push(&self, app: &str, name: &str, query: &str) -> Result<PushGrant, UrlRefusal> {
        let (reply, answer) = oneshot::channel();
        self.event(Event::PushRequested { url: url(app, name, query), reply }).await;
        answer.await.unwrap()
    }

    pub async fn play(&self, name: &str, query: &str) -> Result<StreamId, UrlRefusal> {
        let (reply, answer) = oneshot::channel();
        self.event(Event::PlayRequested { url: url("live", name, query), reply }).await;
        answer.await.unwrap().map(|grant| grant.stream)
    }

    /// Pushes as this user into the room, with both media.
    pub async fn pushed(&self, user: &str) -> StreamId {
        let query = format!("userid={user}&usersig={}", user_sig(user));
        let grant = self.push("push", &ROOM.to_string(), &query).await.unwrap();
        self.event(Event::StreamTracks { stream: grant.stream, audio: Some(Codec::Opus), video: Some(Codec::H264) })
            .await;
        self.settled().await;
        grant.stream
    }
}

fn url(app: &str, name: &str, query: &str) -> StreamUrl {
    let remote = SocketAddr::from(([127, 0, 0, 1], 50_000));
    let (host, local) = ("push.example.com".into(), Some([192, 0, 2, 7].into()));
    StreamUrl { app: app.into(), name: name.into(), query: query.into(), remote, host, local }
}

/// What a WHIP or WHEP client asks.
pub fn offer(user: &str, query: &str) -> PublishOffer {
    PublishOffer {
        room: RoomName::Number(ROOM),
        user: user.into(),
        query: query.into(),
        user_sig: Some(user_sig(user)),
        sdp: OFFER.into(),
        remote: None,
        reached_at: None,
    }
}

/// The far end of one WebSocket.
pub struct Client {
    hub: Hub,
    pub link: Link,
    outbound: Outbound,
    pub seat: Option<Seat>,
    id: u64,
    /// Of the last message that arrived. Each must have the next number.
    pub seq: u64,
    missed: VecDeque<(u64, Utf8Bytes)>,
    pub token: Option<String>,
}

impl Client {
    pub async fn enter(&mut self, user: &str) -> Value {
        self.enter_with(json!({ "userID": user, "userSig": user_sig(user) })).await
    }

    /// Enters with these fields besides app and room, and returns the answer.
    pub async fn enter_with(&mut self, fields: Value) -> Value {
        let mut request = json!({ "type": "enter", "sdkAppID": APP, "roomID": ROOM });
        for (name, value) in fields.as_object().unwrap() {
            request[name] = value.clone();
        }
        self.id += 1;
        request["id"] = self.id.into();
        let message = native::read(&request.to_string(), &self.hub.config().limits).unwrap();
        let Request::Enter(enter) = message.request.unwrap() else { panic!("not enter") };
        match self.hub.enter(self.id, enter, &self.link, None, None).await {
            Ok(seat) => {
                self.seat = Some(seat);
                self.seq = 0;
                let mut entered = self.next().await;
                let fields = entered.as_object_mut().unwrap();
                self.token = fields.remove("resumeToken").map(|token| token.as_str().unwrap().to_owned());
                fields.remove("resumeSeconds");
                entered
            }
            Err(fault) => serde_json::to_value(fault.body()).unwrap(),
        }
    }

    pub fn send(&mut self, mut request: Value) {
        self.id += 1;
        request["id"] = self.id.into();
        let message = native::read(&request.to_string(), &self.hub.config().limits).unwrap();
        self.hub.request(self.seat.as_ref().unwrap(), self.id, message.request.unwrap());
    }

    /// Sends a request that cannot be read as one, and returns the refusal.
    pub async fn refused(&mut self, mut request: Value) -> Value {
        self.id += 1;
        request["id"] = self.id.into();
        let message = native::read(&request.to_string(), &self.hub.config().limits).unwrap();
        self.hub.refuse(self.seat.as_ref().unwrap(), self.id, message.request.unwrap_err());
        self.next().await
    }

    /// Sends a request and returns the next message, which is the answer where nothing else happens.
    pub async fn ask(&mut self, request: Value) -> Value {
        self.send(request);
        self.next().await
    }

    pub async fn next(&mut self) -> Value {
        if let Some((seq, text)) = self.missed.pop_front() {
            return self.numbered(seq, &text);
        }
        match timeout(Duration::from_secs(5), self.outbound.next()).await.expect("a message within 5 s").unwrap() {
            Outgoing::Text(text) => serde_json::from_str(&text).unwrap(),
            Outgoing::Numbered(seq, text) => self.numbered(seq, &text),
            Outgoing::Replay(missed) => {
                self.missed = missed.into();
                let (seq, text) = self.missed.pop_front().unwrap();
                self.numbered(seq, &text)
            }
            Outgoing::Close { code, .. } => json!({ "close": code }),
        }
    }

    fn numbered(&mut self, seq: u64, text: &str) -> Value {
        assert_eq!(seq, self.seq + 1, "no gap and no repeat: {text}");
        self.seq = seq;
        serde_json::from_str(text).unwrap()
    }

    /// Reads away whatever waits.
    pub fn drain(&mut self) {
        while self.next().now_or_never().is_some() {}
    }

    /// Loses the connection, and with it whatever was under way.
    pub fn lose(&mut self) {
        self.hub.lose(self.seat.as_ref().unwrap(), Instant::now());
        self.cut();
    }

    /// The connection is dead, but the server does not know yet.
    pub fn cut(&mut self) {
        (self.link, self.outbound) = Link::new();
        self.missed.clear();
    }

    /// Comes back on a new connection; returns the answer.
    pub async fn resume(&mut self) -> Result<Value, Fault> {
        let resume = Resume { token: self.token.clone().unwrap(), seq: self.seq };
        self.id += 1;
        self.seat = Some(self.hub.resume(self.id, &resume, &self.link, None)?);
        Ok(self.next().await)
    }

    /// The next message, which must be this event.
    pub async fn event(&mut self, name: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event["type"], name, "{event}");
        event
    }

    pub fn publish(&mut self) {
        let tracks = json!([{ "mid": "0", "stream": "main" }, { "mid": "1", "stream": "main" }]);
        self.send(json!({ "type": "publish", "sdp": OFFER, "tracks": tracks }));
    }

    pub fn disconnect(&mut self) {
        self.hub.disconnect(&self.seat.take().unwrap(), None);
    }
}

pub fn code_of(value: &Value) -> u64 {
    value["code"].as_u64().unwrap_or_else(|| panic!("a refusal: {value}"))
}

pub fn number(code: Code) -> u64 {
    code.number().into()
}
