//! One client from join to leave, over as many sockets as it takes.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use media::TransportId;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info};

use super::{
    Caller, ready,
    wire::{self, Join, Said, cmd},
};
use crate::{
    code::{Code, Fault},
    connection::Bucket,
    hub::{
        Hub, Seat,
        peer::{PeerOffer, PeerWish},
    },
    link::{Link, Outbound, Outgoing},
    message::{Entered, Event, MemberInfo, OkBody, Reply, StreamInfo, TrackKind},
    name::StreamName,
    request::{Enter, Mute, Publish, Request, Unpublish, publish::TrackOf},
};

/// A write that takes longer means that the client does not read.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// How a socket came to its end.
enum End {
    /// It broke; the client may come back on another.
    Lost,
    /// He left, or is sent away: all is said.
    Over,
}

/// What an answer of the hub is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Publish,
    Unpublish,
    Other,
}

/// Somebody who publishes.
struct Watched {
    streams: Vec<StreamInfo>,
    wish: PeerWish,
    transport: Option<TransportId>,
    /// The client's last answer: it fits every offer of the same transport, whose m-lines never change.
    answer: Option<String>,
    /// Counts the connections to him: what is still under way for an older one concerns nobody.
    generation: u64,
}

/// Something that media had to be asked for.
enum Done {
    Offered { user: String, generation: u64, result: Result<PeerOffer, Fault> },
    Changed { user: String, generation: u64, result: Result<PeerOffer, Fault> },
}

pub(super) struct Session {
    hub: Hub,
    caller: Caller,
    link: Link,
    outbound: Outbound,
    seat: Option<Seat>,
    /// Greater with every request.
    last_id: u64,
    asked: HashMap<u64, Asked>,
    watched: BTreeMap<String, Watched>,
    jobs: JoinSet<Done>,
    /// What the present turn has to say.
    out: Vec<String>,
    bucket: Bucket,
}

impl Session {
    pub(super) fn new(hub: Hub, caller: Caller) -> Session {
        let (link, outbound) = Link::new();
        Session {
            hub,
            caller,
            link,
            outbound,
            seat: None,
            last_id: 0,
            asked: HashMap::new(),
            watched: BTreeMap::new(),
            jobs: JoinSet::new(),
            out: Vec::new(),
            bucket: Bucket::new(),
        }
    }

    /// Serves the client to his end.
    pub(super) async fn run(mut self, mut socket: WebSocket) {
        loop {
            match self.serve(&mut socket).await {
                End::Over => break,
                End::Lost => {}
            }
            drop(socket);
            match self.wait_for_socket().await {
                Some(back) => socket = back,
                None => break,
            }
            info!(app = self.caller.app, user = %self.caller.user, "channel is back");
            if write(&mut socket, ready(&self.caller, true)).await.is_err() {
                break;
            }
        }
        self.end().await;
    }

    /// The client may come back within the grace time; his media go on meanwhile.
    async fn wait_for_socket(&mut self) -> Option<WebSocket> {
        let grace = self.hub.config().resume_within;
        if self.seat.is_none() || grace.is_zero() {
            return None;
        }
        let (sender, mut receiver) = oneshot::channel();
        self.hub.waiting_sessions().put(self.caller.app, &self.caller.user, sender);
        match timeout(grace, &mut receiver).await {
            Ok(socket) => socket.ok(),
            Err(_) => {
                receiver.close();
                // Somebody may have been handed over in this moment.
                receiver.try_recv().ok()
            }
        }
    }

    async fn serve(&mut self, socket: &mut WebSocket) -> End {
        let config = self.hub.config();
        let (dead_after, enter_within) = (config.dead_after, config.limits.enter_within);
        let (per_second, burst) = (config.limits.messages_per_second, config.limits.messages_burst);
        let mut deadline = Instant::now() + if self.seat.is_some() { dead_after } else { enter_within };
        loop {
            tokio::select! {
                received = socket.recv() => match received {
                    None | Some(Err(_)) => return End::Lost,
                    Some(Ok(Message::Close(frame))) => {
                        // The library closes with 1000 when its page leaves the room; browsers with 1001 when the page goes.
                        let left = frame.is_none_or(|frame| matches!(frame.code, 1000 | 1001 | 1005));
                        return if left { End::Over } else { End::Lost };
                    }
                    Some(Ok(Message::Text(text))) => {
                        self.bucket.take(per_second, burst).await;
                        match wire::read(&text) {
                            Some(said) => self.hear(said).await,
                            None => {
                                debug!(user = %self.caller.user, "a message that cannot be read");
                                return End::Over;
                            }
                        }
                        if self.seat.is_some() {
                            deadline = Instant::now() + dead_after;
                        }
                    }
                    Some(Ok(_)) => {}
                },
                outgoing = self.outbound.next() => match outgoing {
                    Some(Outgoing::Text(text) | Outgoing::Numbered(_, text)) => self.told(&text),
                    Some(Outgoing::Replay(missed)) => missed.iter().for_each(|(_, text)| self.told(text)),
                    Some(Outgoing::Close { .. }) | None => {
                        for text in std::mem::take(&mut self.out) {
                            let _ = write(socket, text).await;
                        }
                        let bye = CloseFrame { code: 1000, reason: "".into() };
                        let _ = timeout(WRITE_MAX, socket.send(Message::Close(Some(bye)))).await;
                        return End::Over;
                    }
                },
                Some(done) = self.jobs.join_next() => {
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                () = sleep_until(deadline) => return End::Over,
            }
            for text in std::mem::take(&mut self.out) {
                if write(socket, text).await.is_err() {
                    return End::Lost;
                }
            }
        }
    }

    /// What the client says.
    async fn hear(&mut self, said: Said) {
        match said {
            Said::Join(join) => self.join(join).await,
            Said::Offer { sdp, .. } => {
                let lines = crate::offer::media_lines(&sdp);
                let tracks = lines.into_iter().filter(|line| line.kind.is_some());
                let tracks = tracks.map(|line| TrackOf { mid: line.mid, stream: StreamName::Main }).collect();
                self.request(Asked::Publish, Request::Publish(Publish { sdp, tracks }));
            }
            Said::ClosePeer => {
                self.request(Asked::Unpublish, Request::Unpublish(Unpublish { stream: StreamName::Main }))
            }
            Said::Mute { audio, video } => {
                for (kind, muted) in [(TrackKind::Audio, audio), (TrackKind::Video, video)] {
                    self.request(Asked::Other, Request::Mute(Mute { stream: StreamName::Main, kind, muted }));
                }
            }
            Said::Answer { peer, sdp } => self.answered(&peer, sdp),
            Said::Subscribe { peer, wish } => self.subscribe(&peer, wish),
            Said::Recreate { peer } => {
                if let Some(user) = self.user_of(&peer) {
                    self.connect(&user);
                }
            }
            Said::Rebuild | Said::Nothing => {}
        }
    }

    async fn join(&mut self, join: Join) {
        if self.seat.is_some() {
            return;
        }
        self.last_id += 1;
        let enter = Enter {
            sdk_app_id: self.caller.app,
            user: self.caller.user.clone(),
            user_sig: self.caller.user_sig.clone(),
            room: join.room,
            private_map_key: join.private_map_key,
            role: join.role,
            name: None,
        };
        match self.hub.enter(self.last_id, enter, &self.link, self.caller.remote, self.caller.reached_at).await {
            // The answer comes by the link.
            Ok(seat) => self.seat = Some(seat),
            Err(fault) => {
                let error = format!("{}; {}", fault.message, fault.code.advice());
                self.say(cmd::JOIN_RESULT, json!({ "ret": fault.code.number(), "error": error, "data": {} }));
            }
        }
    }

    fn request(&mut self, asked: Asked, request: Request) {
        let Some(seat) = &self.seat else { return };
        self.last_id += 1;
        self.asked.insert(self.last_id, asked);
        self.hub.request(seat, self.last_id, request);
    }

    /// What a member of `/signal` would be told.
    fn told(&mut self, text: &str) {
        if let Ok(reply) = serde_json::from_str::<Reply>(text) {
            return self.replied(reply);
        }
        let Ok(event) = serde_json::from_str::<Event>(text) else { return };
        match event {
            Event::MemberLeft { user, .. } => self.forget(&user),
            Event::StreamAdded { user, stream } | Event::StreamChanged { user, stream } => self.publishes(user, stream),
            Event::StreamRemoved { user, stream } => self.stopped(&user, stream),
            Event::Muted { user, stream, kind, muted } => {
                let Some(watched) = self.watched.get_mut(&user) else { return };
                for one in watched.streams.iter_mut().filter(|one| one.stream == stream) {
                    let track = if kind == TrackKind::Audio { &mut one.audio } else { &mut one.video };
                    if let Some(track) = track {
                        track.muted = muted;
                    }
                }
                self.say_flags(&user);
            }
            Event::Closed(fault) => {
                let kind = match fault.code {
                    code if code == Code::LoggedInElsewhere.number() => "kick",
                    code if [Code::Kicked, Code::Banned, Code::RoomDissolved].iter().any(|c| c.number() == code) => {
                        "banned"
                    }
                    _ => "timeout",
                };
                self.say(cmd::SENT_AWAY, json!({ "type": kind, "code": fault.code, "message": fault.message }));
            }
            _ => {}
        }
    }

    fn replied(&mut self, reply: Reply) {
        match reply {
            Reply::Ok { body: OkBody::Entered(entered), .. } => self.entered(*entered),
            Reply::Ok { id, body } => match (self.asked.remove(&id), body) {
                (Some(Asked::Publish), OkBody::Published { sdp }) => self.out.push(wire::uplink_answer(&sdp)),
                (Some(Asked::Unpublish), _) => self.say(cmd::CLOSE_PEER_ACK, json!({})),
                _ => {}
            },
            Reply::Error { id, fault } => match self.asked.remove(&id) {
                // What was not published is unpublished.
                Some(Asked::Unpublish) => self.say(cmd::CLOSE_PEER_ACK, json!({})),
                // The wire has no word for it: the library gives up after 10 s.
                asked => debug!(?asked, code = fault.code, user = %self.caller.user, "refused"),
            },
        }
    }

    fn entered(&mut self, entered: Entered) {
        let data = json!({
            "roomid": entered.room.to_string(),
            "tinyid": wire::tiny_id(&entered.user),
            "openid": entered.user,
            "videoability": [],
            "relayInfo": {},
        });
        self.say(cmd::JOIN_RESULT, json!({ "ret": 0, "error": "", "data": data }));
        for MemberInfo { user, streams, .. } in entered.members {
            for stream in streams {
                self.publishes(user.clone(), stream);
            }
        }
    }

    /// Somebody publishes, or publishes something else.
    fn publishes(&mut self, user: String, stream: StreamInfo) {
        let watched = self.watched.entry(user.clone()).or_insert_with(|| Watched {
            streams: Vec::new(),
            wish: PeerWish::ALL,
            transport: None,
            answer: None,
            generation: 0,
        });
        watched.streams.retain(|one| one.stream != stream.stream);
        watched.streams.push(stream);
        self.connect(&user);
    }

    fn stopped(&mut self, user: &str, stream: StreamName) {
        let Some(watched) = self.watched.get_mut(user) else { return };
        watched.streams.retain(|one| one.stream != stream);
        if watched.streams.is_empty() { self.forget(user) } else { self.connect(user) }
    }

    /// Nothing of him is left.
    fn forget(&mut self, user: &str) {
        let Some(watched) = self.watched.remove(user) else { return };
        self.close(watched.transport);
        self.say(cmd::PEER_LEAVE, json!({ "srctinyid": wire::tiny_id(user), "srcopenid": user }));
    }

    /// Begins a connection for what somebody publishes now. One of before is over with it: the library builds its own anew
    /// when it is told of a peer again.
    fn connect(&mut self, user: &str) {
        let (Some(seat), Some(watched)) = (self.seat.clone(), self.watched.get_mut(user)) else { return };
        watched.generation += 1;
        watched.answer = None;
        watched.wish = PeerWish::ALL;
        let (generation, old) = (watched.generation, watched.transport.take());
        self.close(old);
        let (hub, user) = (self.hub.clone(), user.to_owned());
        self.jobs.spawn(async move {
            let result = hub.offer_peer(&seat, &user, None, PeerWish::ALL).await;
            Done::Offered { user, generation, result }
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Offered { user, generation, result: Ok(offer) } => {
                let Some(watched) = self.watched.get_mut(&user).filter(|watched| watched.generation == generation)
                else {
                    return self.close(Some(offer.transport));
                };
                watched.transport = Some(offer.transport);
                let content = json!({
                    "srctinyid": wire::tiny_id(&user),
                    "srcopenid": user,
                    "remoteoffer": description(&offer),
                    "videoability": [],
                });
                self.say(cmd::PEER_JOIN, content);
                self.say_flags(&user);
            }
            Done::Changed { user, generation, result } => {
                let known = self.watched.get(&user).is_some_and(|watched| watched.generation == generation);
                if !known {
                    return;
                }
                let tiny_id = wire::tiny_id(&user);
                if let Ok(offer) = &result {
                    let content = json!({ "srctinyid": tiny_id, "state": 0, "newSdp": description(offer) });
                    self.say(cmd::UPDATE_REMOTE_SDP, content);
                }
                let error = result.err().map_or(0, |fault| fault.code.number());
                self.say(cmd::SUBSCRIBE_ACK, json!({ "srctinyid": tiny_id, "errCode": error }));
            }
            Done::Offered { user, result: Err(fault), .. } => {
                debug!(code = fault.code.number(), %user, "not shown to a member");
            }
        }
    }

    fn answered(&mut self, peer: &str, sdp: String) {
        let Some(user) = self.user_of(peer) else { return };
        let Some(watched) = self.watched.get_mut(&user) else { return };
        let Some(transport) = watched.transport else { return };
        watched.answer = Some(sdp.clone());
        let hub = self.hub.clone();
        tokio::spawn(async move {
            if let Err(fault) = hub.answer_peer(transport, sdp).await {
                debug!(code = fault.code.number(), %user, "an answer is of no use");
            }
        });
    }

    /// Changes which media of a peer he gets, over the connection that there is.
    fn subscribe(&mut self, peer: &str, wish: PeerWish) {
        let Some(user) = self.user_of(peer) else { return };
        let Some(seat) = self.seat.clone() else { return };
        let Some(watched) = self.watched.get_mut(&user) else { return };
        let (Some(transport), Some(answer)) = (watched.transport, watched.answer.clone()) else { return };
        watched.wish = wish;
        let (hub, generation) = (self.hub.clone(), watched.generation);
        self.jobs.spawn(async move {
            let changed = async {
                let offer = hub.offer_peer(&seat, &user, Some(transport), wish).await?;
                // He does not answer this one.
                hub.answer_peer(transport, answer).await?;
                Ok(offer)
            };
            let result = changed.await;
            Done::Changed { user, generation, result }
        });
    }

    fn user_of(&self, tiny_id: &str) -> Option<String> {
        self.watched.keys().find(|user| wire::tiny_id(user) == tiny_id).cloned()
    }

    fn close(&self, transport: Option<TransportId>) {
        if let (Some(seat), Some(transport)) = (&self.seat, transport) {
            self.hub.close_peer(seat, transport);
        }
    }

    fn say_flags(&mut self, user: &str) {
        let Some(watched) = self.watched.get(user) else { return };
        let flag = wire::flags(&watched.streams);
        let one = json!({ "srctinyid": wire::tiny_id(user), "userid": user, "flag": flag });
        self.say(cmd::MUTE_STATE, json!({ "userlist": [one] }));
    }

    fn say(&mut self, cmd: u32, content: Value) {
        self.out.push(wire::message(cmd, content));
    }

    /// He is gone: so is what was his.
    async fn end(mut self) {
        for watched in std::mem::take(&mut self.watched).into_values() {
            self.close(watched.transport);
        }
        while let Some(done) = self.jobs.join_next().await {
            if let Ok(Done::Offered { result: Ok(offer), .. }) = done {
                self.close(Some(offer.transport));
            }
        }
    }
}

impl Drop for Session {
    /// The server may drop the connection's future at any point; the member must not stay behind for ever.
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            self.hub.disconnect(seat, None);
        }
    }
}

fn description(offer: &PeerOffer) -> Value {
    let sdp = wire::relabel(&offer.sdp, offer.main.as_deref(), offer.aux.as_deref());
    json!({ "type": "offer", "sdp": sdp })
}

async fn write(socket: &mut WebSocket, text: String) -> Result<(), ()> {
    match timeout(WRITE_MAX, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
