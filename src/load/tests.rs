//! Players and publishers against a small server of media's own parts, over real sockets of this machine.

use std::{
    cell::Cell,
    net::Ipv4Addr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use media::{
    bridge::rtmp_to_room::RtmpToRoom,
    codec::Codec,
    ids::{Kind, StreamId, TrackId},
    rtp::{
        packet::{Header, NewHeader, is_rtcp},
        rtcp::{self, Rtcp, SenderInfo},
    },
    sdp::{Candidate, DownMedia, DownWanted, LocalSide, Policy, answer_play, answer_publish},
    transport::{
        DtlsIdentity, IceCredentials, Outbox, Path, Protocol, Transport, TransportEvent, TransportParams, Via, classify,
    },
    units::time::{Time, WallClock},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::watch,
};

use super::{
    board::{Board, Seat},
    cli::MediaArgs,
    http::Url,
    play_rtc,
    pool::{Pool, Sharing},
    publish::{self, Goal, Sent},
    source::Source,
};

mod ours;

const SHARED: Sharing = Sharing { own_sockets: false, gro: true };
const OWN: Sharing = Sharing { own_sockets: true, gro: false };

/// Of so many video packets the last is not sent. The first key frame has fewer.
const DROPPED_OF: u64 = 40;

/// What the server saw.
#[derive(Default)]
struct Seen {
    dropped: Cell<u64>,
    received: Cell<u64>,
    requests: Cell<u64>,
    reports: Cell<u64>,
    deleted: Cell<u64>,
}

#[test]
fn a_player_counts_exactly_what_the_server_did_not_send() {
    for (verifies, sharing) in [(true, SHARED), (false, OWN)] {
        on_one_thread(async move {
            let (seen, url) = serve().await;
            let board = Board::new();
            let seat = Seat::new(board.clone());
            let (stop, stopped) = watch::channel(false);
            let pool = Pool::new(sharing).unwrap();
            let play = tokio::task::spawn_local(async move {
                play_rtc::play(&seat, &pool, &url, Some("token"), verifies, stopped).await
            });
            until(|| seen.dropped.get() >= 3 && seen.reports.get() >= 1 && board.packets.get() > 150).await;
            stop.send(true).unwrap();
            play.await.unwrap().unwrap();
            assert_eq!((board.pictured.get(), board.joined.get(), seen.deleted.get()), (1, 1, 1));
            // The newest gap shows only when the packet behind it comes.
            let lost = board.lost();
            assert!(seen.dropped.get() - lost <= 1, "{lost} of {}", seen.dropped.get());
            assert_eq!(board.broken.get(), 0);
            // Who does not verify opens what comes until there is a picture, and no more.
            assert_eq!(board.verified.get() == board.packets.get(), verifies);
            if verifies {
                let delay_ms = board.delays.borrow().percentile_ms(50.0).expect("pictures say when they were sent");
                assert!(delay_ms < 500.0, "{delay_ms}");
            }
        });
    }
}

#[test]
fn a_publisher_sends_both_tracks_and_counts_requests() {
    on_one_thread(async {
        let (seen, url) = serve().await;
        let sent = Rc::new(Sent::default());
        // A picture comes as one burst, and a socket of the system's default size has to hold a key frame.
        let media = MediaArgs { video_kbps: Some(500), ..MediaArgs::default() };
        let pool = Pool::new(SHARED).unwrap();
        let goal = Goal::Whip { url, token: None };
        let work = publish::publish(&sent, &pool, &goal, &media, Duration::from_secs(2), std::future::pending());
        work.await.unwrap();
        // 500 kbit/s of video and 50 Opus packets a second.
        assert!(sent.packets.get() > 150, "{}", sent.packets.get());
        // The last ones may still be on their way.
        until(|| sent.packets.get().abs_diff(seen.received.get()) < 20).await;
        assert_eq!(sent.key_frame_requests.get(), Some(seen.requests.get()));
        assert!(seen.requests.get() > 0 && seen.deleted.get() == 1);
    });
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    on_one_thread(async {
        let (_, url) = serve().await;
        let url = url.join("/nothing").unwrap();
        let (_stop, stopped) = watch::channel(false);
        let seat = Seat::new(Board::new());
        let pool = Pool::new(SHARED).unwrap();
        let error = play_rtc::play(&seat, &pool, &url, None, false, stopped).await.unwrap_err();
        assert_eq!(error.to_string(), "the server refused with 404 Not Found: no such stream");
    });
}

fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work);
}

async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited for too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server whose every address sends the clip to players, and takes what publishers send.
async fn serve() -> (Rc<Seen>, Url) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = Url::parse(&format!("http://{}/stream", listener.local_addr().unwrap())).unwrap();
    let seen = Rc::new(Seen::default());
    let answering = seen.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the client closed within a request");
                request.extend_from_slice(&buffer[..read]);
            }
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let (status, body) = if head.starts_with("DELETE /resource ") {
                answering.deleted.set(answering.deleted.get() + 1);
                ("200 OK", String::new())
            } else if head.starts_with("POST /stream ") {
                ("201 Created\r\nlocation: /resource", open(&answering, body).await)
            } else {
                ("404 Not Found", "no such stream".to_owned())
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (seen, url)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// Answers an offer and starts the other end of the session.
async fn open(seen: &Rc<Seen>, offer: &str) -> String {
    let identity = Arc::new(DtlsIdentity::generate().unwrap());
    let credentials = IceCredentials::random();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let local = LocalSide {
        credentials: (credentials.ufrag.clone(), credentials.pwd.clone()),
        fingerprint: identity.fingerprint().to_string(),
        candidates: vec![Candidate { addr: socket.local_addr().unwrap(), tcp: false, priority: 1 }],
        session_id: 1,
    };
    let wanted = |codec: Codec| DownWanted {
        key: TrackId { stream: StreamId(1), kind: codec.kind() },
        codec,
        fmtp: String::new(),
        ssrc_mark: None,
        stream_label: "clip".to_owned(),
    };
    let (answer, remote, down) = if offer.contains("a=recvonly") {
        let played = answer_play(offer, &local, vec![wanted(Codec::Opus), wanted(Codec::H264)]).unwrap();
        (played.answer, played.remote, played.media)
    } else {
        let published = answer_publish(offer, &local, &Policy::default()).unwrap();
        (published.answer, published.remote, Vec::new())
    };
    let params = TransportParams {
        remote: Some(IceCredentials { ufrag: remote.ufrag, pwd: remote.pwd }),
        remote_fingerprint: Some(remote.fingerprint.parse().unwrap()),
        ..TransportParams::server(credentials)
    };
    let end = End {
        transport: Transport::new(Time::ZERO, identity, params),
        socket,
        seen: seen.clone(),
        down,
        peer: None,
        video_packets: 0,
    };
    tokio::task::spawn_local(end.run());
    answer
}

/// The server's end of a session.
struct End {
    transport: Transport,
    socket: UdpSocket,
    seen: Rc<Seen>,
    down: Vec<DownMedia>,
    peer: Option<u32>,
    video_packets: u64,
}

impl End {
    async fn run(mut self) {
        let began = Instant::now();
        let now = || Time::from_micros(began.elapsed().as_micros() as u64);
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mut bridge = RtmpToRoom::new(64_000, WallClock::new(unix.as_micros() as u64));
        let mut source = Source::new(publish::footage(&MediaArgs::default()).unwrap());
        source.headers().iter().for_each(|tag| bridge.handle_tag(now(), tag, &mut |_, _| true));
        let mut next = source.next_due();
        let (mut outbox, mut datagram, mut start) = (Outbox::default(), [0; 2048], None);
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut datagram) => {
                    let (len, remote) = received.unwrap();
                    let path = Path { remote, local_ip: Ipv4Addr::LOCALHOST.into(), via: Via::Udp };
                    if self.take(now(), path, &mut datagram[..len], &mut outbox) == Some(true) {
                        start = Some(began.elapsed());
                    }
                }
                _ = ticks.tick() => {
                    self.transport.handle_timeout(now(), &mut outbox);
                    self.request();
                }
            }
            for (path, datagram) in outbox.datagrams.drain(..) {
                self.socket.try_send_to(&datagram, path.remote).unwrap();
            }
            while start.is_some_and(|start| start + Duration::from_millis(next.at_ms) <= began.elapsed()) {
                let mut packets = Vec::new();
                bridge.handle_tag(now(), &next.stamped(), &mut |kind, packet| {
                    packets.push((kind, packet.to_vec()));
                    true
                });
                packets.iter().for_each(|(kind, packet)| self.send(*kind, packet));
                next = source.next_due();
            }
        }
    }

    /// True once connected.
    fn take(&mut self, now: Time, path: Path, datagram: &mut [u8], outbox: &mut Outbox) -> Option<bool> {
        match classify(*datagram.first()?) {
            Protocol::Stun => drop(self.transport.handle_stun(now, path, datagram, outbox)),
            Protocol::Dtls => {
                let event = self.transport.handle_dtls(now, path, datagram, outbox).ok()?;
                return Some(event == Some(TransportEvent::Connected));
            }
            Protocol::Rtp if is_rtcp(datagram) => {
                let len = self.transport.unprotect_rtcp(now, path, datagram).ok()?;
                for packet in rtcp::packets(&datagram[..len]).flatten() {
                    if let Rtcp::ReceiverReport(_) | Rtcp::SenderReport(_) = packet {
                        self.seen.reports.set(self.seen.reports.get() + 1);
                    }
                }
            }
            Protocol::Rtp => {
                let len = self.transport.unprotect_rtp(now, path, datagram).ok()?;
                self.peer = Some(Header::parse(&datagram[..len]).ok()?.ssrc);
                self.seen.received.set(self.seen.received.get() + 1);
            }
            Protocol::Unknown => {}
        }
        None
    }

    /// Asks a publisher for a key frame, once.
    fn request(&mut self) {
        if let (Some(peer), 0) = (self.peer, self.seen.requests.get()) {
            let (mut plain, mut sealed) = (Vec::new(), Vec::new());
            rtcp::write_pli(&mut plain, 1, peer);
            if self.transport.protect_rtcp(&plain, &mut sealed) {
                self.seen.requests.set(1);
                self.send_sealed(&sealed);
            }
        }
    }

    fn send(&mut self, kind: Kind, packet: &[u8]) {
        let Some(track) = self.down.iter().find(|m| m.track.kind == kind).cloned() else { return };
        if is_rtcp(packet) {
            for packet in rtcp::packets(packet).flatten() {
                let Rtcp::SenderReport(report) = packet else { continue };
                let (ntp, rtp_timestamp) = (report.ntp, report.rtp_timestamp);
                let info = SenderInfo { ssrc: track.ssrc, ntp, rtp_timestamp, packets: 0, bytes: 0 };
                let (mut plain, mut sealed) = (Vec::new(), Vec::new());
                rtcp::write_sender_report(&mut plain, &info, &[]);
                self.transport.protect_rtcp(&plain, &mut sealed);
                self.send_sealed(&sealed);
            }
            return;
        }
        let header = Header::parse(packet).unwrap();
        if kind == Kind::Video {
            self.video_packets += 1;
            if self.video_packets.is_multiple_of(DROPPED_OF) {
                self.seen.dropped.set(self.seen.dropped.get() + 1);
                return;
            }
        }
        let new = NewHeader {
            marker: header.marker,
            payload_type: track.payload_type,
            seq: header.seq,
            timestamp: header.timestamp,
            ssrc: track.ssrc,
            ext: &[],
        };
        let (mut bytes, mut out) = ([0; 12], [0; 2048]);
        new.write(&mut bytes).unwrap();
        // Nothing is sealed any more once the player has said goodbye.
        if let Some(len) = self.transport.protect_rtp(&bytes, header.payload(packet), &mut out) {
            self.send_sealed(&out[..len]);
        }
    }

    fn send_sealed(&self, datagram: &[u8]) {
        if let Some(path) = self.transport.path() {
            self.socket.try_send_to(datagram, path.remote).unwrap();
        }
    }
}
