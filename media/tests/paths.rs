//! Paths and hostile input over real sockets: the whole media side in this process, and WebRTC clients of its own on loopback.
//! Each test prints the rule's id, the value and its bound.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use media::{
    Command, RoomId, StreamId, TransportId,
    codec::Codec,
    command::{PublishTrack, Wanted},
    config::MediaConfig,
    control::{self, Counters, MediaHandle},
    driver::shard::Counts,
    drop_reason::DropReason,
    rtp::packet::{Header, NewHeader, is_rtcp},
    sdp::{
        LocalSide,
        client::{offer_play, offer_publish, read_answer},
    },
    transport::{
        DtlsIdentity, DtlsRole, Fingerprint, IceCredentials, IceRole, Outbox, Path, Protocol, Transport,
        TransportEvent, TransportParams, Via, classify,
    },
    units::time::Time,
};
use tokio::sync::{mpsc, oneshot};

const ROOM: RoomId = RoomId(7);
const STREAM: StreamId = StreamId(1);
const OPUS_TICK: Duration = Duration::from_millis(20);

/// A running media side.
struct House {
    commands: mpsc::Sender<Command>,
    addr: SocketAddr,
    counters: Counters,
    /// Keeps the server alive.
    handle: Option<MediaHandle>,
    runtime: tokio::runtime::Runtime,
}

impl House {
    fn new() -> House {
        House::bound_to([127, 0, 0, 1].into())
    }

    fn bound_to(bind: IpAddr) -> House {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = MediaConfig { bind, first_port: 0, shards: 1, rtmp: None, ..MediaConfig::default() };
        let handle = runtime.block_on(control::start(config)).unwrap();
        House {
            commands: handle.commands.clone(),
            addr: handle.udp_addrs[0],
            counters: handle.counters.clone(),
            handle: Some(handle),
            runtime,
        }
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.runtime.block_on(async {
            self.commands.send(command(reply)).await.ok().unwrap();
            answer.await.unwrap()
        })
    }

    /// A client that publishes Opus, not connected yet.
    fn publisher(&self, stream: StreamId, reached_at: IpAddr) -> Client {
        let (proposal, identity) = (IceCredentials::random(), Arc::new(DtlsIdentity::generate().unwrap()));
        let (offer, offered) = offer_publish(&local_side(&proposal, &identity), "test", &[Codec::Opus]);
        let answer = self
            .ask(|reply| Command::Publish {
                room: ROOM,
                transport: None,
                offer,
                tracks: vec![PublishTrack { mid: String::new(), stream }],
                reached_at: Some(reached_at),
                reply,
            })
            .unwrap();
        Client::new(answer.transport, &answer.answer, proposal, identity, Some(offered[0].ssrc), reached_at)
    }

    /// A client that receives what the publisher of [`STREAM`] sends, not connected yet.
    fn viewer(&self, reached_at: IpAddr) -> Client {
        let (proposal, identity) = (IceCredentials::random(), Arc::new(DtlsIdentity::generate().unwrap()));
        let offer = offer_play(&local_side(&proposal, &identity));
        let answer = self
            .ask(|reply| Command::Play {
                room: ROOM,
                offer,
                wanted: vec![Wanted { stream: STREAM, audio: true, video: false }],
                reached_at: Some(reached_at),
                reply,
            })
            .unwrap();
        Client::new(answer.transport, &answer.answer, proposal, identity, None, reached_at)
    }

    /// The counters, not older than now.
    fn counts(&self) -> Counts {
        // They are published once a second.
        std::thread::sleep(Duration::from_millis(1_100));
        self.counters.read().remove(0)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.into_parts().2.stop());
        }
    }
}

fn local_side(credentials: &IceCredentials, identity: &DtlsIdentity) -> LocalSide {
    LocalSide {
        credentials: (credentials.ufrag.clone(), credentials.pwd.clone()),
        fingerprint: identity.fingerprint().to_string(),
        candidates: Vec::new(),
        session_id: 1,
    }
}

/// A WebRTC client on a blocking socket.
struct Client {
    id: TransportId,
    /// The answer, for tests that look into it.
    answer: String,
    socket: UdpSocket,
    server: SocketAddr,
    transport: Transport,
    identity: Arc<DtlsIdentity>,
    outbox: Outbox,
    origin: Instant,
    ssrc: Option<u32>,
    seq: u16,
    reports: u32,
    /// Sequence numbers of the Opus packets that came.
    received: Vec<u16>,
    /// When each of them came.
    received_at: Vec<Instant>,
    ended: bool,
}

impl Client {
    fn new(
        id: TransportId,
        answer: &str,
        proposal: IceCredentials,
        identity: Arc<DtlsIdentity>,
        ssrc: Option<u32>,
        reached_at: IpAddr,
    ) -> Client {
        let negotiated = read_answer(answer).unwrap();
        let server =
            negotiated.candidates.iter().find(|c| !c.tcp && c.addr.ip() == reached_at).expect("a candidate").addr;
        let fingerprint: Fingerprint = negotiated.remote.fingerprint.parse().unwrap();
        let params = TransportParams {
            remote: Some(IceCredentials { ufrag: negotiated.remote.ufrag, pwd: negotiated.remote.pwd }),
            remote_fingerprint: Some(fingerprint),
            dtls_role: DtlsRole::Client,
            ice_role: IceRole::Controlling { remote_candidate: server },
            ..TransportParams::server(proposal)
        };
        let origin = Instant::now();
        Client {
            id,
            answer: answer.to_owned(),
            socket: socket_like(server),
            server,
            transport: Transport::new(Time::from_micros(1), identity.clone(), params),
            identity,
            outbox: Outbox::default(),
            origin,
            ssrc,
            seq: 0,
            reports: 0,
            received: Vec::new(),
            received_at: Vec::new(),
            ended: false,
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(1 + self.origin.elapsed().as_micros() as u64)
    }

    fn path(&self) -> Path {
        let any: IpAddr = if self.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { [0u16; 8].into() };
        Path { remote: self.server, local_ip: any, via: Via::Udp }
    }

    /// Takes what comes until `until`, and does what is due.
    fn run(&mut self, until: Instant) {
        let mut datagram = [0; 2048];
        loop {
            let now = self.now();
            if let Some(TransportEvent::Closed(_)) = self.transport.handle_timeout(now, &mut self.outbox) {
                self.ended = true;
            }
            self.flush();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.socket.set_read_timeout(Some(left.min(Duration::from_millis(5)))).unwrap();
            match self.socket.recv(&mut datagram) {
                Ok(len) => self.take(&mut datagram[..len]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn take(&mut self, datagram: &mut [u8]) {
        let (now, path) = (self.now(), self.path());
        match classify(datagram[0]) {
            Protocol::Stun => drop(self.transport.handle_stun(now, path, datagram, &mut self.outbox)),
            Protocol::Dtls => {
                let event = self.transport.handle_dtls(now, path, datagram, &mut self.outbox);
                self.ended |= matches!(event, Ok(Some(TransportEvent::Closed(_))));
            }
            Protocol::Rtp if is_rtcp(datagram) => drop(self.transport.unprotect_rtcp(now, path, datagram)),
            Protocol::Rtp => {
                if let Ok(len) = self.transport.unprotect_rtp(now, path, datagram) {
                    let header = Header::parse(&datagram[..len]).unwrap();
                    self.received.push(header.seq);
                    self.received_at.push(Instant::now());
                }
            }
            Protocol::Unknown => panic!("a datagram of no protocol"),
        }
        self.flush();
    }

    fn flush(&mut self) {
        for (_, datagram) in self.outbox.datagrams.drain(..) {
            let _ = self.socket.send(&datagram);
        }
    }

    fn connect(&mut self, within: Duration) -> bool {
        let end = Instant::now() + within;
        while !self.transport.is_connected() && Instant::now() < end {
            self.run((Instant::now() + Duration::from_millis(5)).min(end));
        }
        self.transport.is_connected()
    }

    /// The next Opus packet, sealed.
    fn opus(&mut self) -> Vec<u8> {
        self.seq = self.seq.wrapping_add(1);
        let (seq, ssrc) = (self.seq, self.ssrc.expect("a publisher"));
        let mut header = [0; 12];
        let new = NewHeader { marker: false, payload_type: 111, seq, timestamp: u32::from(seq) * 960, ssrc, ext: &[] };
        new.write(&mut header).unwrap();
        let mut out = [0; 200];
        let len = self.transport.protect_rtp(&header, &[0x78; 100], &mut out).unwrap();
        out[..len].to_vec()
    }

    fn send_opus(&mut self) {
        let packet = self.opus();
        self.socket.send(&packet).unwrap();
    }

    /// A receiver report as Chromium writes it: from SSRC 1.
    fn report(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(self.transport.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 1], &mut out));
        self.reports += 1;
        out
    }

    fn send_report(&mut self) {
        let report = self.report();
        self.socket.send(&report).unwrap();
    }

    /// Another port, as a NAT gives that forgot the old one. What goes to the old one is lost.
    fn rebind(&mut self) {
        self.socket = socket_like(self.server);
    }

    /// Packets between the first and the last that came which did not.
    fn lost(&self) -> usize {
        let (Some(first), Some(last)) = (self.received.first(), self.received.last()) else { return 0 };
        usize::from(last.wrapping_sub(*first)) + 1 - self.received.len()
    }
}

fn socket_like(server: SocketAddr) -> UdpSocket {
    let local: SocketAddr =
        if server.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { ([0, 0, 0, 0, 0, 0, 0, 1u16], 0).into() };
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// A publisher and viewers, connected, media flowing.
fn call(house: &House, viewers: usize, reached_at: IpAddr) -> (Client, Vec<Client>) {
    let mut publisher = house.publisher(STREAM, reached_at);
    assert!(publisher.connect(Duration::from_secs(5)), "the publisher connects");
    let mut watching: Vec<Client> = (0..viewers).map(|_| house.viewer(reached_at)).collect();
    for viewer in &mut watching {
        assert!(viewer.connect(Duration::from_secs(5)), "the viewer connects");
        viewer.send_report();
    }
    flow(&mut publisher, &mut watching, Duration::from_millis(200));
    assert!(watching.iter().all(|viewer| !viewer.received.is_empty()), "media flows");
    (publisher, watching)
}

/// The publisher sends for this long, the viewers receive.
fn flow(publisher: &mut Client, viewers: &mut [Client], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        publisher.send_opus();
        let next = Instant::now() + OPUS_TICK;
        publisher.run(Instant::now() + Duration::from_millis(2));
        for viewer in viewers.iter_mut() {
            viewer.run(Instant::now() + Duration::from_millis(1));
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

#[test]
fn one_server_carries_ipv4_and_ipv6_in_one_room() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("skipped: this machine has no IPv6");
    }
    let house = House::bound_to([0u16; 8].into());
    let v6: IpAddr = [0, 0, 0, 0, 0, 0, 0, 1u16].into();
    let (mut publisher, mut viewers) = call(&house, 1, v6);
    let mut v4 = house.viewer(loopback());
    assert!(v4.connect(Duration::from_secs(5)), "IPv4 beside IPv6");
    viewers.push(v4);
    flow(&mut publisher, &mut viewers, Duration::from_millis(300));
    for viewer in &viewers {
        assert!(
            viewer.received.len() >= 5 && viewer.lost() == 0,
            "{} packets to {}",
            viewer.received.len(),
            viewer.server
        );
    }
    assert!(publisher.answer.contains(" ::1 ") && viewers[1].answer.contains(" 127.0.0.1 "));
}

#[test]
fn f5_a_rebound_publisher_is_followed_within_a_second() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 2, loopback());
    let before = viewers[0].received.len();
    publisher.rebind();
    let moved = Instant::now();
    flow(&mut publisher, &mut viewers, Duration::from_millis(1_500));
    let gap = viewers[0].received_at[before] - moved;
    println!("F5 publisher's NAT rebinds, media only: gap {gap:?}, bound 1 s");
    assert!(gap < Duration::from_secs(1));
    assert_eq!(house.counts().paths_moved, 1);
}

#[test]
fn f5_a_rebound_viewer_is_followed_by_its_reports() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 3, loopback());
    flow(&mut publisher, &mut viewers, Duration::from_millis(300));
    let before = viewers[1].received.len();
    viewers[1].rebind();
    let moved = Instant::now();
    // Every other viewer reports from the same SSRC.
    for _ in 0..6 {
        viewers.iter_mut().for_each(Client::send_report);
        flow(&mut publisher, &mut viewers, Duration::from_millis(150));
    }
    let gap = viewers[1].received_at[before] - moved;
    println!("F5 viewer's NAT rebinds, reports only: gap {gap:?}, bound 1 s");
    assert!(gap < Duration::from_secs(1));
    assert_eq!((viewers[0].lost(), viewers[2].lost()), (0, 0));
    assert_eq!(house.counts().paths_moved, 1);
}

#[test]
fn u3_a_check_that_does_not_nominate_moves_nothing_and_one_that_is_forged_neither() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 1, loopback());
    // A copy of an authentic report, and rubbish in its form, from another address, while the viewer is silent.
    let seen = viewers[0].report();
    viewers[0].socket.send(&seen).unwrap();
    flow(&mut publisher, &mut viewers, Duration::from_millis(400));
    let spoofer = socket_like(house.addr);
    let mut forged = viewers[0].report();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..20 {
        spoofer.send(&seen).unwrap();
        spoofer.send(&forged).unwrap();
        flow(&mut publisher, &mut viewers, Duration::from_millis(30));
    }
    spoofer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(spoofer.recv(&mut [0; 2048]).is_err(), "nothing is sent to the spoofed address");
    assert_eq!((viewers[0].lost(), house.counts().paths_moved), (0, 0));
}

#[test]
fn u1_u2_what_is_not_authentic_gets_no_byte_back() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 1, loopback());
    let stranger = socket_like(house.addr);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut sent = 0;
    for len in 0..=40 {
        for first in (0..=255u8).step_by(3) {
            let mut datagram = vec![0; len];
            for byte in &mut datagram {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (random >> 56) as u8;
            }
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            stranger.send(&datagram).unwrap();
            sent += 1;
        }
        flow(&mut publisher, &mut viewers, Duration::from_millis(1));
    }
    // Binding requests: bare, for an unknown fragment, and for a known one under another password.
    let ufrag = publisher.answer.split("a=ice-ufrag:").nth(1).unwrap().split_whitespace().next().unwrap();
    for username in [None, Some("nobody:me".to_owned()), Some(format!("{ufrag}:me"))] {
        stranger.send(&binding_request(username.as_deref())).unwrap();
        sent += 1;
    }
    // A handshake from an address that was never checked.
    stranger.send(&client_hello(1)).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let back = stranger.recv(&mut [0; 2048]).is_ok();
    println!("U1 U2 {} datagrams: bytes back {}, bound 0", sent + 1, u8::from(back));
    assert!(!back);
    flow(&mut publisher, &mut viewers, Duration::from_millis(100));
    assert_eq!(viewers[0].lost(), 0);
    assert!(house.counts().drops.get(DropReason::StunAuth) >= 3);
}

#[test]
fn u4_joins_succeed_under_a_flood_of_client_hellos() {
    const JOINS: usize = 100;
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 1, loopback());
    let flood = Flood::start(house.addr, 1_000, |n| client_hello(n as u8));
    let (mut joined, mut slowest) = (0, Duration::ZERO);
    let begun = Instant::now();
    for _ in 0..JOINS {
        let started = Instant::now();
        let mut joiner = house.viewer(loopback());
        joined += usize::from(joiner.connect(Duration::from_secs(5)));
        slowest = slowest.max(started.elapsed());
        joiner.transport.close(joiner.now(), &mut joiner.outbox);
        joiner.flush();
        flow(&mut publisher, &mut viewers, Duration::from_millis(1));
    }
    let (sent, took) = (flood.stop(), begun.elapsed());
    println!("U4 {joined} of {JOINS} joins in {took:?}, slowest {slowest:?}, under {sent} spoofed ClientHellos");
    assert_eq!(joined, JOINS);
    assert_eq!(viewers[0].lost(), 0);
}

#[test]
fn u6_dtls_from_a_checked_address_delays_nobody_and_has_a_bound() {
    const DATAGRAMS: usize = 20_000;
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 2, loopback());
    let hostile = viewers.pop().unwrap();
    let begun = Instant::now();
    for n in 0..DATAGRAMS {
        hostile.socket.send(&client_hello(n as u8)).unwrap();
        if n % 500 == 0 {
            flow(&mut publisher, &mut viewers, Duration::from_millis(5));
        }
    }
    let took = begun.elapsed();
    flow(&mut publisher, &mut viewers, Duration::from_millis(300));
    let full = house.counts().drops.get(DropReason::HandshakesFull);
    println!(
        "U6 {DATAGRAMS} DTLS datagrams in {took:?}: {} packets lost, {full} datagrams too many",
        viewers[0].lost()
    );
    assert_eq!(viewers[0].lost(), 0);
    assert!(!viewers[0].ended && !publisher.ended);
    let mut joiner = house.viewer(loopback());
    assert!(joiner.connect(Duration::from_secs(5)), "others still join");
}

#[test]
fn u8_a_live_call_survives_a_flood_of_unauthenticated_srtp() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 1, loopback());
    let ssrc = publisher.ssrc.unwrap();
    let flood = Flood::start(house.addr, 50_000, move |n| {
        let mut packet = vec![0x5A; 1_100];
        packet[..2].copy_from_slice(&[0x80, 111]);
        packet[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        // Half of it under the live SSRC.
        packet[8..12].copy_from_slice(&if n % 2 == 0 { ssrc } else { n as u32 }.to_be_bytes());
        packet
    });
    let begun = Instant::now();
    flow(&mut publisher, &mut viewers, Duration::from_secs(3));
    let sent = flood.stop();
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    flow(&mut publisher, &mut viewers, Duration::from_millis(200));
    println!("U8 {rate:.0} pps of forged SRTP for 3 s: {} lost of {}", viewers[0].lost(), viewers[0].received.len());
    assert!(viewers[0].received.len() > 100 && !viewers[0].ended && !publisher.ended);
    assert_eq!(viewers[0].lost(), 0);
    let counts = house.counts();
    assert_eq!((counts.paths_moved, counts.transports, counts.up_tracks), (0, 2, 1));
    assert!(counts.drops.get(DropReason::UnknownPath) > 0);
}

#[test]
fn u9_replayed_media_reaches_nobody() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 1, loopback());
    let packet = publisher.opus();
    for _ in 0..50 {
        publisher.socket.send(&packet).unwrap();
    }
    // The same bytes by another member's checked path.
    for _ in 0..50 {
        viewers[0].socket.send(&packet).unwrap();
    }
    flow(&mut publisher, &mut viewers, Duration::from_millis(200));
    let mut once = viewers[0].received.clone();
    once.dedup();
    assert_eq!(once.len(), viewers[0].received.len());
    assert_eq!(viewers[0].lost(), 0);
    let drops = house.counts().drops;
    println!(
        "U9 {} replays dropped, {} of another session",
        drops.get(DropReason::SrtpReplay),
        drops.get(DropReason::SrtpAuth)
    );
    assert_eq!((drops.get(DropReason::SrtpReplay), drops.get(DropReason::SrtpAuth)), (49, 50));
}

#[test]
fn an_offer_with_other_credentials_restarts_ice_and_media_goes_on() {
    let house = House::new();
    let (mut publisher, mut viewers) = call(&house, 1, loopback());
    let renewed = IceCredentials::random();
    let (offer, offered) = offer_publish(&local_side(&renewed, &publisher.identity), "test", &[Codec::Opus]);
    let offer = offer.replace(&offered[0].ssrc.to_string(), &publisher.ssrc.unwrap().to_string());
    let restarted = house
        .ask(|reply| Command::Publish {
            room: ROOM,
            transport: Some(publisher.id),
            offer,
            tracks: vec![PublishTrack { mid: String::new(), stream: STREAM }],
            reached_at: Some(loopback()),
            reply,
        })
        .unwrap();
    let (old, new) = (read_answer(&publisher.answer).unwrap().remote, read_answer(&restarted.answer).unwrap().remote);
    assert_ne!((&old.ufrag, &old.pwd), (&new.ufrag, &new.pwd), "RFC 8839 §4.4.1.1.1");
    assert_eq!(old.fingerprint, new.fingerprint);
    // Media flows on the old path until a check with the new credentials comes, from wherever.
    flow(&mut publisher, &mut viewers, Duration::from_millis(100));
    publisher.rebind();
    publisher.transport.restart_ice(renewed);
    let fingerprint: Fingerprint = new.fingerprint.parse().unwrap();
    assert!(publisher.transport.set_remote(IceCredentials { ufrag: new.ufrag, pwd: new.pwd }, fingerprint));
    let received = viewers[0].received.len();
    flow(&mut publisher, &mut viewers, Duration::from_millis(1_200));
    assert!(viewers[0].received.len() > received + 10, "media goes on from the new address");
}

/// Sends at a steady rate from other addresses than the clients'.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Flood {
    fn start(to: SocketAddr, per_second: u64, make: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Flood {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let sockets: Vec<UdpSocket> = (0..8).map(|_| socket_like(to)).collect();
            let begun = Instant::now();
            let mut n = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = (begun.elapsed().as_secs_f64() * per_second as f64) as u64;
                let end = due.min(n + 200);
                while n < end {
                    let _ = sockets[n as usize % sockets.len()].send(&make(n));
                    n += 1;
                }
                count.store(n, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Flood { stop, sent, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// A STUN binding request without MESSAGE-INTEGRITY (RFC 8489 §5).
fn binding_request(username: Option<&str>) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    if let Some(name) = username {
        message.extend_from_slice(&6u16.to_be_bytes());
        message.extend_from_slice(&(name.len() as u16).to_be_bytes());
        message.extend_from_slice(name.as_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
        // An integrity that is made up.
        message.extend_from_slice(&[0, 8, 0, 20]);
        message.extend_from_slice(&[7; 20]);
    }
    let len = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    message
}

/// A small DTLS 1.2 ClientHello (RFC 6347 §4.2.2).
fn client_hello(n: u8) -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend_from_slice(&[n; 32]);
    body.extend_from_slice(&[0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
    let len = (body.len() as u32).to_be_bytes();
    let mut message = vec![1, len[1], len[2], len[3], 0, 0, 0, 0, 0, len[1], len[2], len[3]];
    message.extend_from_slice(&body);
    let mut record = vec![22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(&(message.len() as u16).to_be_bytes());
    record.extend_from_slice(&message);
    record
}
