//! The others, as one client sees them: whoever publishes is a peer with a connection of his own.

use media::TransportId;
use serde_json::{Value, json};
use tracing::debug;

use super::{
    session::Session,
    wire::{self, cmd},
};
use crate::{
    code::{Code, Fault},
    hub::peer::{PeerSdp, PeerWish},
    message::{StreamInfo, TrackKind},
    name::StreamName,
};

/// What a client has one connection for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer {
    pub user: String,
    /// One stream of his, for clients whose connections hold one picture; else all of them.
    pub only: Option<StreamName>,
}

impl Peer {
    /// The number by which clients know it.
    fn tiny_id(&self) -> String {
        match self.only {
            // No userID has control characters, so nobody else has this number by his name.
            Some(StreamName::Aux) => wire::tiny_id(&format!("{}\0aux", self.user)),
            _ => wire::tiny_id(&self.user),
        }
    }
}

/// A peer who publishes.
pub(super) struct Watched {
    streams: Vec<StreamInfo>,
    wish: PeerWish,
    transport: Option<TransportId>,
    /// The client's last answer: it fits every offer of the same transport, whose m-lines never change.
    answer: Option<String>,
    /// Counts the connections to him: what is still under way for an older one concerns nobody.
    generation: u64,
}

/// Something that media had to be asked for.
pub(super) enum Done {
    Offered { peer: Peer, generation: u64, result: Result<PeerSdp, Fault> },
    Played { peer: Peer, generation: u64, result: Result<PeerSdp, Fault> },
    Changed { peer: Peer, generation: u64, result: Result<PeerSdp, Fault> },
}

impl Done {
    /// The transport that there was not before.
    pub(super) fn opened(&self) -> Option<TransportId> {
        match self {
            Done::Offered { result: Ok(sdp), .. } | Done::Played { result: Ok(sdp), .. } => Some(sdp.transport),
            _ => None,
        }
    }
}

impl Session {
    /// Somebody publishes, or publishes something else.
    pub(super) fn publishes(&mut self, user: String, stream: StreamInfo) {
        let peer = Peer { user, only: self.library.offers().then_some(stream.stream) };
        let watched = self.watched.entry(peer.clone()).or_insert_with(|| Watched {
            streams: Vec::new(),
            wish: PeerWish::ALL,
            transport: None,
            answer: None,
            generation: 0,
        });
        let before = watched.streams.iter().position(|one| one.stream == stream.stream);
        let before = before.map(|index| watched.streams.swap_remove(index));
        let is_same = before.is_some_and(|before| codecs(&before) == codecs(&stream));
        watched.streams.push(stream);
        // What changes besides its media is nothing to a connection.
        if is_same { self.say_flags(&peer) } else { self.connect(&peer) }
    }

    /// Somebody's stream is over.
    pub(super) fn stopped(&mut self, user: &str, stream: StreamName) {
        let peer = Peer { user: user.to_owned(), only: self.library.offers().then_some(stream) };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        watched.streams.retain(|one| one.stream != stream);
        if watched.streams.is_empty() { self.forget(&peer) } else { self.connect(&peer) }
    }

    pub(super) fn muted(&mut self, user: &str, stream: StreamName, kind: TrackKind, muted: bool) {
        let peer = Peer { user: user.to_owned(), only: self.library.offers().then_some(stream) };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        for one in watched.streams.iter_mut().filter(|one| one.stream == stream) {
            let track = if kind == TrackKind::Audio { &mut one.audio } else { &mut one.video };
            if let Some(track) = track {
                track.muted = muted;
            }
        }
        self.say_flags(&peer);
    }

    /// Nothing of this user is left.
    pub(super) fn forget_user(&mut self, user: &str) {
        let his: Vec<Peer> = self.watched.keys().filter(|peer| peer.user == user).cloned().collect();
        his.iter().for_each(|peer| self.forget(peer));
    }

    fn forget(&mut self, peer: &Peer) {
        let Some(watched) = self.watched.remove(peer) else { return };
        self.close(watched.transport);
        self.say(cmd::PEER_LEAVE, json!({ "srctinyid": peer.tiny_id(), "srcopenid": peer.user }));
    }

    /// Begins a connection for what a peer publishes now. One of before is over with it: libraries build their own anew when
    /// they are told of a peer again.
    pub(super) fn connect(&mut self, peer: &Peer) {
        let (Some(seat), Some(watched)) = (self.seat.clone(), self.watched.get_mut(peer)) else { return };
        watched.generation += 1;
        watched.answer = None;
        watched.wish = PeerWish::ALL;
        let (generation, old) = (watched.generation, watched.transport.take());
        self.close(old);
        // `WebRTCAPI` forgets its old connection without ending it, so that it is told of an end.
        if generation > 1 && self.library.is_web_rtc_api() {
            self.say(cmd::PEER_LEAVE, json!({ "srctinyid": peer.tiny_id(), "srcopenid": peer.user }));
        }
        if self.library.offers() {
            return self.introduce(peer, Value::Null);
        }
        let (hub, peer) = (self.hub.clone(), peer.clone());
        self.jobs.spawn(async move {
            let result = hub.offer_peer(&seat, &peer.user, None, PeerWish::ALL).await;
            Done::Offered { peer, generation, result }
        });
    }

    /// `0x10`: the client shall have a connection to this peer.
    fn introduce(&mut self, peer: &Peer, offer: Value) {
        // `WebRTCAPI` keeps the first offer of a peer for ever; this is what makes it take another while it has no connection.
        if !offer.is_null() && self.library.is_web_rtc_api() {
            let content = json!({ "srctinyid": peer.tiny_id(), "state": 0, "newSdp": offer });
            self.say(cmd::UPDATE_REMOTE_SDP, content);
        }
        let content = json!({
            "srctinyid": peer.tiny_id(),
            "srcopenid": peer.user,
            "remoteoffer": offer,
            "videoability": [],
        });
        self.say(cmd::PEER_JOIN, content);
        self.say_flags(peer);
    }

    /// `on_create_peer`: the client wants to hear of a peer before it offers.
    pub(super) fn create_peer(&mut self, tiny_id: &str) {
        let content = match self.peer_of(tiny_id) {
            Some(peer) => json!({
                "ret": 0,
                "error": "",
                "data": { "srctinyid": tiny_id, "srcopenid": peer.user, "videoability": [] },
            }),
            None => {
                let code = Code::NoSuchStream;
                json!({ "ret": code.number(), "error": code.message(), "data": { "srctinyid": tiny_id } })
            }
        };
        self.say(cmd::CREATE_PEER_RESULT, content);
    }

    /// The client offers to receive a peer. It may do so again after it closed its connection by itself.
    pub(super) fn play(&mut self, tiny_id: &str, offer: String) {
        const TAG: &str = "on_peer_sdp";
        let Some(peer) = self.peer_of(tiny_id) else { return self.refuse(TAG, Code::NoSuchStream.into()) };
        let Some(seat) = self.seat.clone() else { return self.refuse(TAG, Code::NotEntered.into()) };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        watched.generation += 1;
        let (generation, old) = (watched.generation, watched.transport.take());
        self.close(old);
        let hub = self.hub.clone();
        self.jobs.spawn(async move {
            let result = hub.play_peer(&seat, &peer.user, peer.only, offer).await;
            Done::Played { peer, generation, result }
        });
    }

    /// What media was asked for is there.
    pub(super) fn done(&mut self, done: Done) {
        let opened = done.opened();
        match done {
            Done::Offered { peer, generation, result } => {
                let Some(watched) = self.watched.get_mut(&peer).filter(|one| one.generation == generation) else {
                    return self.close(opened);
                };
                match result {
                    Ok(offer) => {
                        watched.transport = opened;
                        self.introduce(&peer, description(&offer));
                    }
                    Err(fault) => debug!(code = fault.code.number(), user = %peer.user, "not shown to a member"),
                }
            }
            Done::Played { peer, generation, result } => {
                let Some(watched) = self.watched.get_mut(&peer).filter(|one| one.generation == generation) else {
                    return self.close(opened);
                };
                match result {
                    Ok(answer) => {
                        watched.transport = opened;
                        self.out.push(wire::answer(Some(&peer.tiny_id()), &labelled(&answer)));
                    }
                    Err(fault) => self.refuse("on_peer_sdp", fault),
                }
            }
            Done::Changed { peer, generation, result } => {
                let known = self.watched.get(&peer).is_some_and(|watched| watched.generation == generation);
                if !known {
                    return;
                }
                let tiny_id = peer.tiny_id();
                if let Ok(offer) = &result {
                    let content = json!({ "srctinyid": tiny_id, "state": 0, "newSdp": description(offer) });
                    self.say(cmd::UPDATE_REMOTE_SDP, content);
                }
                let error = result.err().map_or(0, |fault| fault.code.number());
                self.say(cmd::SUBSCRIBE_ACK, json!({ "srctinyid": tiny_id, "errCode": error }));
            }
        }
    }

    /// The client's answer to our offer of a peer.
    pub(super) fn answered(&mut self, tiny_id: &str, sdp: String) {
        let Some(peer) = self.peer_of(tiny_id) else { return };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        let Some(transport) = watched.transport else { return };
        watched.answer = Some(sdp.clone());
        let hub = self.hub.clone();
        tokio::spawn(async move {
            if let Err(fault) = hub.answer_peer(transport, sdp).await {
                debug!(code = fault.code.number(), user = %peer.user, "an answer is of no use");
            }
        });
    }

    /// Changes which media of a peer he gets, over the connection that there is.
    pub(super) fn subscribe(&mut self, tiny_id: &str, wish: PeerWish) {
        let refused = |code: Code| json!({ "srctinyid": tiny_id, "errCode": code.number() });
        let Some(peer) = self.peer_of(tiny_id) else {
            return self.say(cmd::SUBSCRIBE_ACK, refused(Code::NoSuchStream));
        };
        let Some(seat) = self.seat.clone() else { return };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        let (Some(transport), Some(answer)) = (watched.transport, watched.answer.clone()) else { return };
        watched.wish = wish;
        let (hub, generation) = (self.hub.clone(), watched.generation);
        self.jobs.spawn(async move {
            let changed = async {
                let offer = hub.offer_peer(&seat, &peer.user, Some(transport), wish).await?;
                // He does not answer this one.
                hub.answer_peer(transport, answer).await?;
                Ok(offer)
            };
            let result = changed.await;
            Done::Changed { peer, generation, result }
        });
    }

    pub(super) fn peer_of(&self, tiny_id: &str) -> Option<Peer> {
        self.watched.keys().find(|peer| peer.tiny_id() == tiny_id).cloned()
    }

    pub(super) fn close(&self, transport: Option<TransportId>) {
        if let (Some(seat), Some(transport)) = (&self.seat, transport) {
            self.hub.close_peer(seat, transport);
        }
    }

    fn say_flags(&mut self, peer: &Peer) {
        let Some(watched) = self.watched.get(peer) else { return };
        let flag = wire::flags(&watched.streams);
        let one = json!({ "srctinyid": peer.tiny_id(), "userid": peer.user, "flag": flag });
        self.say(cmd::MUTE_STATE, json!({ "userlist": [one] }));
    }

    /// What was opened for others goes with him.
    pub(super) fn close_all(&mut self) {
        for watched in std::mem::take(&mut self.watched).into_values() {
            self.close(watched.transport);
        }
    }
}

/// Of what kind a stream's media are.
fn codecs(stream: &StreamInfo) -> (Option<&str>, Option<&str>) {
    let audio = stream.audio.as_ref().map(|track| track.codec.as_str());
    (audio, stream.video.as_ref().map(|track| track.codec.as_str()))
}

fn labelled(sdp: &PeerSdp) -> String {
    wire::relabel(&sdp.sdp, sdp.main.as_deref(), sdp.aux.as_deref())
}

fn description(offer: &PeerSdp) -> Value {
    json!({ "type": "offer", "sdp": labelled(offer) })
}
