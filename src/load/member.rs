//! One member of a room, by the WebSocket protocol of `signaling/PROTOCOL.md`.

use std::{cell::RefCell, net::IpAddr, rc::Rc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use media::sdp::client::{ClientNegotiated, Offered, answer_receive, offer_publish, read_answer};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, interval_at, timeout},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::{
    LoadError,
    board::{JOIN_TIMEOUT, Seat},
    http::Url,
    listener::Listener,
    peer::{Peer, Proposal},
    pool::Pool,
    publish::Sent,
    publish_rtc::{self, CODECS, Feedback, Outs},
    reel::Reel,
    rooms::Tickets,
};

/// Heartbeats; the protocol asks for one every 15 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// What our requests are numbered with, by what they are.
const ENTER: u64 = 1;
const PUBLISH: u64 = 2;
const ANY: u64 = 3;
/// `NoSuchStream`: who has just left cannot be subscribed to, and that is no failure.
const NO_SUCH_STREAM: u64 = 73_004;
/// `StaleAnswer`: a newer offer is on its way.
const STALE_ANSWER: u64 = 73_008;

/// Who comes, and with what.
pub struct Member {
    pub signal: Url,
    pub tickets: Rc<Tickets>,
    pub room: u32,
    pub user: String,
    /// What to publish, and where to count it.
    pub media: Option<(Rc<Reel>, Rc<Sent>)>,
    pub number: usize,
    pub verifies: bool,
    pub pool: Rc<Pool>,
}

/// What a member has to do with the server.
struct Stay<'a> {
    member: &'a Member,
    seat: &'a Rc<Seat>,
    socket: WebSocketStream<TcpStream>,
    reached: IpAddr,
    /// Our offer, until it is answered.
    offered: Option<(Proposal, Vec<Offered>)>,
    up: Option<Rc<Peer>>,
    down: Option<Rc<Peer>>,
    listener: Rc<RefCell<Listener>>,
}

/// Enters, publishes if there is something to, subscribes to everybody, until told to stop.
pub async fn stay(seat: &Rc<Seat>, member: &Member, mut stopped: watch::Receiver<bool>) -> Result<(), LoadError> {
    let entry = member.tickets.entry(member.room, &member.user).await?;
    let failed = |what: &str, error: String| LoadError::new(format!("{}: {what}{error}", member.signal.authority()));
    // An address of its own, as members in their houses have: servers limit how many connections come from one.
    let stream = member.signal.connect(Some(member.pool.address())).await;
    let stream = stream.map_err(|error| failed("", error.to_string()))?;
    let reached = stream.peer_addr().map_err(|error| failed("", error.to_string()))?.ip();
    let url = format!("ws://{}{}", member.signal.authority(), member.signal.path());
    let opened = timeout(JOIN_TIMEOUT, client_async(url, stream)).await;
    let opened = opened.map_err(|_| failed("", "no answer in time".to_owned()))?;
    let (socket, _) = opened.map_err(|error| failed("no WebSocket: ", error.to_string()))?;
    let listener = Listener::new(seat.clone(), member.media.is_none(), member.verifies);
    let listener = Rc::new(RefCell::new(listener));
    let mut stay = Stay { member, seat, socket, reached, offered: None, up: None, down: None, listener };
    let enter = json!({
        "id": ENTER, "type": "enter", "sdkAppID": entry.sdk_app_id, "userID": member.user, "userSig": entry.user_sig,
        "roomID": member.room, "privateMapKey": entry.private_map_key,
    });
    let outcome = async {
        stay.send(enter).await?;
        stay.converse(&mut stopped).await
    }
    .await;
    for peer in stay.up.iter().chain(&stay.down) {
        peer.close();
    }
    if outcome.is_ok() {
        // Who says goodbye leaves at once; who does not is missed after a while.
        let _ = stay.send(json!({"id": ANY, "type": "leave"})).await;
    }
    let _ = timeout(Duration::from_secs(1), stay.socket.close(None)).await;
    outcome
}

impl Stay<'_> {
    async fn converse(&mut self, stopped: &mut watch::Receiver<bool>) -> Result<(), LoadError> {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
        let overdue = tokio::time::sleep(JOIN_TIMEOUT);
        tokio::pin!(overdue);
        let mut sending: Option<tokio::task::JoinHandle<Result<(), LoadError>>> = None;
        let outcome = loop {
            let (up, down) = (self.up.clone(), self.down.clone());
            tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Err(error) = self.take(&text, &mut sending).await {
                            break Err(error);
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => break Err(LoadError::new("the server closed the connection")),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Err(LoadError::new(format!("/signal: {error}"))),
                },
                _ = heartbeat.tick() => self.send(json!({"id": ANY, "type": "heartbeat"})).await?,
                () = &mut overdue, if self.seat.is_waiting() && self.member.media.is_some() => {
                    break Err(LoadError::new("could not publish in time"));
                }
                error = ended(up) => break Err(error),
                error = ended(down) => break Err(error),
                ended = async { match &mut sending { Some(task) => task.await, None => std::future::pending().await } } => {
                    sending = None;
                    if let Ok(Err(error)) = ended {
                        break Err(error);
                    }
                }
                _ = stopped.wait_for(|stopped| *stopped) => break Ok(()),
            }
        };
        if let Some(task) = sending {
            task.abort();
        }
        outcome
    }

    /// Takes one message of the server.
    async fn take(
        &mut self,
        text: &str,
        sending: &mut Option<tokio::task::JoinHandle<Result<(), LoadError>>>,
    ) -> Result<(), LoadError> {
        let message: Value =
            serde_json::from_str(text).map_err(|error| LoadError::new(format!("/signal: not JSON: {error}")))?;
        let of = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = message.get("id").and_then(Value::as_u64);
        match of("type") {
            "ok" if id == Some(ENTER) => {
                self.publish().await?;
                let members = message.get("members").and_then(Value::as_array).into_iter().flatten();
                let streams = members.flat_map(|member| {
                    let user = member.get("userID").cloned().unwrap_or_default();
                    let streams = member.get("streams").and_then(Value::as_array).into_iter().flatten();
                    streams.map(move |stream| (user.clone(), stream.get("stream").cloned().unwrap_or_default()))
                });
                let wanted: Vec<Value> =
                    streams.map(|(user, stream)| json!({"userID": user, "stream": stream})).collect();
                self.subscribe(wanted).await
            }
            "ok" if id == Some(PUBLISH) => {
                *sending = self.published(of("sdp"))?;
                Ok(())
            }
            "ok" => Ok(()),
            "error" => {
                let code = message.get("code").and_then(Value::as_u64).unwrap_or_default();
                match code {
                    NO_SUCH_STREAM | STALE_ANSWER => Ok(()),
                    _ => Err(LoadError::new(format!("the server refused with {code}: {}", of("message")))),
                }
            }
            "stream-added" => {
                let stream = message.pointer("/stream/stream").cloned().unwrap_or_default();
                let user = message.get("userID").cloned().unwrap_or_default();
                self.subscribe(vec![json!({"userID": user, "stream": stream})]).await
            }
            "offer" => {
                let version = message.get("version").and_then(Value::as_u64).unwrap_or_default();
                self.answer(of("sdp"), version).await
            }
            "closed" => Err(LoadError::new(format!("the server closed: {}", of("message")))),
            _ => Ok(()),
        }
    }

    async fn publish(&mut self) -> Result<(), LoadError> {
        if self.member.media.is_none() {
            return Ok(());
        }
        let proposal = Proposal::new(&self.member.pool);
        let (sdp, offered) = offer_publish(&proposal.local, "roomcast-load", &CODECS);
        let tracks: Vec<Value> =
            (0..offered.len()).map(|mid| json!({"mid": mid.to_string(), "stream": "main"})).collect();
        self.offered = Some((proposal, offered));
        self.send(json!({"id": PUBLISH, "type": "publish", "sdp": sdp, "tracks": tracks})).await
    }

    /// The server took our offer: connect, then send.
    fn published(&mut self, answer: &str) -> Result<Option<tokio::task::JoinHandle<Result<(), LoadError>>>, LoadError> {
        let (Some((proposal, offered)), Some((reel, sent))) = (self.offered.take(), self.member.media.clone()) else {
            return Ok(None);
        };
        let negotiated =
            read_answer(answer).map_err(|error| LoadError::new(format!("the server's answer: {error}")))?;
        let feedback = Rc::new(RefCell::new(Feedback::new(sent.clone(), &offered)));
        let pool = self.member.pool.clone();
        let peer = Peer::open(&pool, proposal, &negotiated, self.reached, feedback.clone())?;
        self.up = Some(peer.clone());
        let outs = Outs::new(&negotiated, &offered);
        let cursor = publish_rtc::cursor(&reel, self.member.number);
        let seat = self.seat.clone();
        Ok(Some(tokio::task::spawn_local(async move {
            timeout(JOIN_TIMEOUT, peer.connected()).await.map_err(|_| LoadError::new("no connection"))??;
            seat.join();
            publish_rtc::send(&sent, &pool, &peer, outs, cursor, &feedback, None).await
        })))
    }

    async fn subscribe(&mut self, streams: Vec<Value>) -> Result<(), LoadError> {
        if streams.is_empty() {
            return Ok(());
        }
        self.send(json!({"id": ANY, "type": "subscribe", "streams": streams})).await
    }

    async fn answer(&mut self, offer: &str, version: u64) -> Result<(), LoadError> {
        let proposal = match &self.down {
            // The credentials of the first answer stay those of the transport.
            Some(peer) => Proposal::again(peer),
            None => Proposal::new(&self.member.pool),
        };
        let (answer, negotiated) = answer_receive(offer, &proposal.local, version)
            .map_err(|error| LoadError::new(format!("the server's offer: {error}")))?;
        let ClientNegotiated { media, .. } = &negotiated;
        self.listener.borrow_mut().expect(media);
        self.send(json!({"id": ANY, "type": "answer", "version": version, "sdp": answer})).await?;
        if self.down.is_none() {
            let peer = Peer::open(&self.member.pool, proposal, &negotiated, self.reached, self.listener.clone())?;
            self.down = Some(peer);
        }
        Ok(())
    }

    async fn send(&mut self, message: Value) -> Result<(), LoadError> {
        let sent = timeout(JOIN_TIMEOUT, self.socket.send(Message::text(message.to_string()))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LoadError::new(format!("/signal: {error}"))),
            Err(_) => Err(LoadError::new("/signal: the server does not read")),
        }
    }
}

/// Ends when the transport does; never without one.
async fn ended(peer: Option<Rc<Peer>>) -> LoadError {
    match peer {
        Some(peer) => peer.ended().await,
        None => std::future::pending().await,
    }
}
