//! One client from join to leave, over as many sockets as it takes.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info};

use super::{
    Caller,
    peers::{Done, Peer, Watched},
    ready,
    wire::{self, Join, Library, Said, cmd},
};
use crate::{
    code::{Code, Fault},
    connection::Bucket,
    hub::{Hub, Seat},
    link::{Link, Outbound, Outgoing},
    member::Role,
    message::{Entered, Event, MemberInfo, OkBody, Reply, TrackKind},
    name::StreamName,
    quality::Quality,
    request::{Enter, Mute, Publish, Request, SwitchRole, Unpublish, publish::TrackOf},
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
    Mute,
    Role,
}

impl Asked {
    /// What the client calls it.
    fn tag(self) -> &'static str {
        match self {
            Asked::Publish => "on_peer_sdp",
            Asked::Unpublish => "on_close_peer",
            Asked::Mute => "on_change_av_state",
            Asked::Role => "on_spear_role_change",
        }
    }
}

pub(super) struct Session {
    pub(super) hub: Hub,
    pub(super) caller: Caller,
    link: Link,
    outbound: Outbound,
    pub(super) seat: Option<Seat>,
    pub(super) library: Library,
    /// What he sends is this stream of his.
    own: StreamName,
    /// Shown on joining, and again with another role.
    private_map_key: Option<String>,
    /// Greater with every request.
    last_id: u64,
    asked: HashMap<u64, Asked>,
    pub(super) watched: BTreeMap<Peer, Watched>,
    pub(super) jobs: JoinSet<Done>,
    /// What the present turn has to say.
    pub(super) out: Vec<String>,
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
            library: Library::UNKNOWN,
            own: StreamName::Main,
            private_map_key: None,
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
            Said::Offer { sdp } => {
                let lines = crate::offer::media_lines(&sdp);
                let tracks = lines.into_iter().filter(|line| line.kind.is_some());
                let tracks = tracks.map(|line| TrackOf { mid: line.mid, stream: self.own }).collect();
                self.request(Asked::Publish, Request::Publish(Publish { sdp, tracks }));
            }
            Said::ClosePeer => self.request(Asked::Unpublish, Request::Unpublish(Unpublish { stream: self.own })),
            Said::Mute { audio, video } => {
                self.mute(TrackKind::Audio, audio);
                self.mute(TrackKind::Video, video);
            }
            Said::MuteOne { kind, muted } => self.mute(kind, muted),
            Said::PeerOffer { peer, sdp } => self.play(&peer, sdp),
            Said::Answer { peer, sdp } => self.answered(&peer, sdp),
            Said::CreatePeer { peer } => self.create_peer(&peer),
            Said::Subscribe { peer, wish } => self.subscribe(&peer, wish),
            Said::Recreate { peer } => match self.peer_of(&peer) {
                Some(peer) => self.connect(&peer),
                None => self.refuse("on_recreate_down_peerc", Code::NoSuchStream.into()),
            },
            Said::SpearRole(role) => self.change_role(&role),
            Said::Quality(quality) => self.report(*quality),
            Said::Rebuild | Said::Nothing => {}
            Said::Unknown(tag) => self.refuse(&tag, Code::UnknownRequest.into()),
        }
    }

    fn mute(&mut self, kind: TrackKind, muted: bool) {
        self.request(Asked::Mute, Request::Mute(Mute { stream: self.own, kind, muted }));
    }

    fn report(&mut self, mut quality: Quality) {
        quality.from.retain_mut(|one| match self.peer_of(&one.user) {
            Some(peer) => {
                one.user = peer.user;
                true
            }
            None => false,
        });
        if let Some(seat) = &self.seat {
            self.hub.report(seat, quality);
        }
    }

    /// An encoding profile is answered with its size, which the client asks of its camera; the other two roles are those of
    /// members.
    fn change_role(&mut self, role: &str) {
        const TAG: &str = "on_spear_role_change";
        let role = match role {
            "anchor" => Role::Anchor,
            "audience" => Role::Audience,
            profile => {
                return match wire::profile(profile) {
                    Some((width, height, rate)) => self.say(
                        cmd::CHANGE_CONSTRAINTS,
                        json!({ "width": width, "height": height, "frameRate": rate, "role": profile }),
                    ),
                    None => self.refuse(TAG, Fault::field("role", "user, wp1280, anchor or audience")),
                };
            }
        };
        let (user_sig, private_map_key) = (Some(self.caller.user_sig.clone()), self.private_map_key.clone());
        self.request(Asked::Role, Request::SwitchRole(SwitchRole { role, user_sig, private_map_key }));
    }

    async fn join(&mut self, join: Join) {
        if self.seat.is_some() {
            return;
        }
        self.last_id += 1;
        self.library = join.library;
        self.own = if join.aux { StreamName::Aux } else { StreamName::Main };
        self.private_map_key.clone_from(&join.private_map_key);
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
        let Some(seat) = &self.seat else { return self.refuse(asked.tag(), Code::NotEntered.into()) };
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
            Event::MemberLeft { user, .. } => self.forget_user(&user),
            Event::StreamAdded { user, stream } | Event::StreamChanged { user, stream } => self.publishes(user, stream),
            Event::StreamRemoved { user, stream } => self.stopped(&user, stream),
            Event::Muted { user, stream, kind, muted } => self.muted(&user, stream, kind, muted),
            Event::Closed(fault) => {
                let kind = match fault.code {
                    code if code == Code::LoggedInElsewhere.number() => "kick",
                    code if [Code::Kicked, Code::Banned, Code::RoomDissolved].iter().any(|c| c.number() == code) => {
                        // The older library has one word for both.
                        if self.library.is_web_rtc_api() { "kick" } else { "banned" }
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
                (Some(Asked::Publish), OkBody::Published { sdp }) => self.out.push(wire::answer(None, &sdp)),
                (Some(Asked::Unpublish), _) => self.say(cmd::CLOSE_PEER_ACK, json!({ "ret": 1 })),
                _ => {}
            },
            Reply::Error { id, fault } => match self.asked.remove(&id) {
                // What was not published is unpublished.
                Some(Asked::Unpublish) => self.say(cmd::CLOSE_PEER_ACK, json!({ "ret": 1 })),
                Some(asked) => {
                    debug!(?asked, code = fault.code, user = %self.caller.user, "refused");
                    self.out.push(wire::refused(asked.tag(), fault.code, &fault.message));
                }
                None => {}
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

    pub(super) fn refuse(&mut self, tag: &str, fault: Fault) {
        self.out.push(wire::refused(tag, fault.code.number(), &fault.message));
    }

    pub(super) fn say(&mut self, cmd: u32, content: Value) {
        self.out.push(wire::message(cmd, content));
    }

    /// He is gone: so is what was his.
    async fn end(mut self) {
        self.close_all();
        while let Some(done) = self.jobs.join_next().await {
            if let Ok(done) = done {
                self.close(done.opened());
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

async fn write(socket: &mut WebSocket, text: String) -> Result<(), ()> {
    match timeout(WRITE_MAX, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
