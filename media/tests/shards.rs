//! Two shards and one room, over real sockets: whoever watches on the other shard than the publisher's cannot tell.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use media::{
    Kind, Refusal, RoomId, StreamId, TransportId,
    codec::Codec,
    command::{Command, PublishTrack, Wanted},
    config::MediaConfig,
    control::{self, MediaHandle},
    driver::shard::Counts,
    forward::rtp_header,
    rtp::{
        ext,
        packet::{Header, is_rtcp},
        rtcp::{self, Rtcp, SenderInfo},
    },
    sdp::{
        LocalSide,
        client::{ClientNegotiated, Offered, offer_play, offer_publish, read_answer},
    },
    transport::{
        DtlsIdentity, DtlsRole, IceCredentials, IceRole, Outbox, Path, Protocol, Transport, TransportParams, Via,
        classify, twcc::TwccReceiver,
    },
    units::time::{Ntp, Time},
};
use tokio::{runtime::Runtime, sync::oneshot};

/// Longest wait for anything on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(20);
const ROOM: RoomId = RoomId(1);
const STREAM: StreamId = StreamId(1);
const VIEWERS: usize = 8;
const PACKETS_PER_FRAME: u32 = 4;
/// Long enough that a busy machine does not make one request into two.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(800);

/// A media side with two shards, and everybody who talks to it.
struct Rig {
    runtime: Runtime,
    media: MediaHandle,
    identity: Arc<DtlsIdentity>,
    origin: Instant,
}

impl Rig {
    fn start(config: MediaConfig) -> Rig {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = MediaConfig {
            shards: 2,
            bind: Ipv4Addr::LOCALHOST.into(),
            first_port: 0,
            rtmp: None,
            key_frame_interval: KEY_FRAME_INTERVAL,
            spread_packets_per_second: 0,
            ..config
        };
        let media = runtime.block_on(control::start(config)).unwrap();
        Rig { runtime, media, identity: Arc::new(DtlsIdentity::generate().unwrap()), origin: Instant::now() }
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply));
        answer.blocking_recv().unwrap()
    }

    fn tell(&self, command: Command) {
        self.media.commands.blocking_send(command).ok().unwrap();
    }

    fn local(&self, credentials: &IceCredentials) -> LocalSide {
        LocalSide {
            credentials: (credentials.ufrag.clone(), credentials.pwd.clone()),
            fingerprint: self.identity.fingerprint().to_string(),
            candidates: Vec::new(),
            session_id: 1,
        }
    }

    fn publish(&self, stream: StreamId) -> Result<(Client, Vec<Offered>), Refusal> {
        let credentials = IceCredentials::random();
        let (offer, offered) = offer_publish(&self.local(&credentials), "test", &[Codec::Opus, Codec::Vp8]);
        let tracks = vec![PublishTrack { mid: String::new(), stream }];
        let answer =
            self.ask(|reply| Command::Publish { room: ROOM, transport: None, offer, tracks, reached_at: None, reply })?;
        Ok((Client::new(self, answer.transport, credentials, &answer.answer), offered))
    }

    fn play(&self) -> Client {
        let credentials = IceCredentials::random();
        let offer = offer_play(&self.local(&credentials));
        let wanted = vec![Wanted { stream: STREAM, audio: true, video: true }];
        let play = |reply| Command::Play { room: ROOM, offer, wanted, reached_at: None, reply };
        let answer = self.ask(play).unwrap();
        Client::new(self, answer.transport, credentials, &answer.answer)
    }

    fn close(&self, client: &Client) {
        self.tell(Command::CloseTransport { transport: client.id });
    }

    fn counts(&self) -> Vec<Counts> {
        self.media.counters.read()
    }

    /// Waits until what both shards count together is so; they publish once a second.
    fn until_counts(&self, clients: &mut [&mut Client], what: &str, is_so: impl Fn(&[Counts]) -> bool) {
        run(clients, what, |_| is_so(&self.counts()));
    }

    fn stop(self) {
        let (_, _, stop) = self.media.into_parts();
        self.runtime.block_on(stop.stop());
    }
}

/// What one side has seen.
#[derive(Default)]
struct Seen {
    /// By SSRC: sequence number, timestamp and what the payload ends with.
    packets: HashMap<u32, Vec<(u16, u32, u32)>>,
    reports: HashMap<u32, (Ntp, u32)>,
    key_requests: usize,
    /// Bytes on the wire of each packet, by SSRC.
    sizes: HashMap<u32, Vec<usize>>,
    /// The transport-wide numbers, as they came.
    numbers: Vec<u16>,
}

type IsLost = fn(u16) -> bool;

struct Client {
    id: TransportId,
    socket: UdpSocket,
    transport: Transport,
    path: Path,
    origin: Instant,
    outbox: Outbox,
    negotiated: ClientNegotiated,
    seen: Seen,
    /// Reports arrivals, but for those that it says yes to.
    reporter: Option<(TwccReceiver, IsLost)>,
}

impl Client {
    fn new(rig: &Rig, id: TransportId, credentials: IceCredentials, answer: &str) -> Client {
        let negotiated = read_answer(answer).unwrap();
        let remote = negotiated.candidates.iter().find(|c| !c.tcp).unwrap().addr;
        let theirs = &negotiated.remote;
        let params = TransportParams {
            remote: Some(IceCredentials { ufrag: theirs.ufrag.clone(), pwd: theirs.pwd.clone() }),
            remote_fingerprint: Some(theirs.fingerprint.parse().unwrap()),
            dtls_role: DtlsRole::Client,
            ice_role: IceRole::Controlling { remote_candidate: remote },
            ..TransportParams::server(credentials)
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(remote).unwrap();
        socket.set_read_timeout(Some(Duration::from_micros(300))).unwrap();
        let path = Path { remote, local_ip: Ipv4Addr::LOCALHOST.into(), via: Via::Udp };
        let now = Time::from_micros(rig.origin.elapsed().as_micros() as u64);
        let transport = Transport::new(now, rig.identity.clone(), params);
        let (outbox, seen) = (Outbox::default(), Seen::default());
        Client { id, socket, transport, path, origin: rig.origin, outbox, negotiated, seen, reporter: None }
    }

    fn remote(&self) -> SocketAddr {
        self.path.remote
    }

    fn now(&self) -> Time {
        Time::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    /// Takes what has come, waiting for a moment, and does what is due.
    fn turn(&mut self) {
        let mut datagram = [0; 2048];
        loop {
            let len = match self.socket.recv(&mut datagram) {
                Ok(len) => len,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            };
            self.take(&mut datagram[..len]);
        }
        self.transport.handle_timeout(self.now(), &mut self.outbox);
        self.flush();
        let (mut report, now) = (Vec::new(), self.now());
        while self.reporter.as_mut().is_some_and(|(reporter, _)| reporter.poll_feedback(now, 1, 2, &mut report)) {
            self.send_rtcp(&report);
            report.clear();
        }
    }

    fn take(&mut self, datagram: &mut [u8]) {
        let now = self.now();
        match classify(datagram[0]) {
            Protocol::Stun => {
                let _ = self.transport.handle_stun(now, self.path, datagram, &mut self.outbox);
            }
            Protocol::Dtls => {
                let _ = self.transport.handle_dtls(now, self.path, datagram, &mut self.outbox);
            }
            Protocol::Rtp if is_rtcp(datagram) => {
                let Ok(len) = self.transport.unprotect_rtcp(now, self.path, datagram) else { return };
                for packet in rtcp::packets(&datagram[..len]).flatten() {
                    match packet {
                        Rtcp::Pli { .. } => self.seen.key_requests += 1,
                        Rtcp::SenderReport(report) => {
                            self.seen.reports.insert(report.ssrc, (report.ntp, report.rtp_timestamp));
                        }
                        _ => {}
                    }
                }
            }
            _ => {
                let Ok(len) = self.transport.unprotect_rtp(now, self.path, datagram) else { return };
                let header = Header::parse(&datagram[..len]).unwrap();
                let payload = header.payload(&datagram[..len]);
                let number = u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap());
                self.seen.packets.entry(header.ssrc).or_default().push((header.seq, header.timestamp, number));
                self.seen.sizes.entry(header.ssrc).or_default().push(len);
                let id = self.negotiated.media.iter().find_map(|m| m.ext.transport_cc);
                if let Some(number) = id.and_then(|id| ext::find(datagram, &header, id)).and_then(ext::transport_cc) {
                    self.seen.numbers.push(number);
                    if let Some((reporter, lost)) = &mut self.reporter
                        && !lost(number)
                    {
                        reporter.on_packet(now, number);
                    }
                }
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        for (_, datagram) in self.outbox.datagrams.drain(..) {
            // A port that is closed by now refuses; the test that waits for something says what is missing.
            let _ = self.socket.send(&datagram);
        }
    }

    fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    fn send_rtcp(&mut self, plain: &[u8]) {
        let mut sealed = Vec::new();
        assert!(self.transport.protect_rtcp(plain, &mut sealed));
        self.socket.send(&sealed).unwrap();
    }

    fn media(&self, kind: Kind) -> (u32, u8) {
        let media = self.negotiated.media.iter().find(|m| m.kind == kind).unwrap();
        (media.ssrc.unwrap_or(0), media.format.payload_type)
    }

    /// The packets of a viewer's track.
    fn got(&self, kind: Kind) -> &[(u16, u32, u32)] {
        self.seen.packets.get(&self.media(kind).0).map_or(&[], Vec::as_slice)
    }

    fn has(&self, kind: Kind, number: u32) -> bool {
        self.got(kind).last().is_some_and(|(_, _, last)| *last == number)
    }

    fn ask_for_key_frame(&mut self) {
        let mut pli = Vec::new();
        rtcp::write_pli(&mut pli, 1, self.media(Kind::Video).0);
        self.send_rtcp(&pli);
    }
}

/// Lets everybody take turns until something is so.
fn run(clients: &mut [&mut Client], what: &str, mut is_so: impl FnMut(&mut [&mut Client]) -> bool) {
    let start = Instant::now();
    while !is_so(clients) {
        assert!(start.elapsed() < WAIT_MAX, "still not so: {what}");
        clients.iter_mut().for_each(|client| client.turn());
    }
}

fn run_for(clients: &mut [&mut Client], time: Duration) {
    let start = Instant::now();
    run(clients, "time passes", |_| start.elapsed() >= time);
}

/// The tracks of a publisher as it sends them.
struct Source {
    offered: Vec<Offered>,
    /// The next packet of each.
    audio: u32,
    video: u32,
    frame: u32,
    /// By how much the packets of a picture are longer than the first; the last is shorter in any case.
    longer: [usize; PACKETS_PER_FRAME as usize],
}

impl Source {
    fn new(offered: Vec<Offered>) -> Source {
        Source { offered, audio: 0, video: 0, frame: 0, longer: [0; PACKETS_PER_FRAME as usize] }
    }

    fn ssrc(&self, kind: Kind) -> u32 {
        self.offered.iter().find(|o| o.kind == kind).unwrap().ssrc
    }

    /// One picture in a few packets, and a packet of sound.
    fn send(&mut self, client: &mut Client, key: bool) {
        let mut sealed = [0; 1500];
        for part in 0..PACKETS_PER_FRAME {
            // A VP8 descriptor (RFC 7741 §4.2), and in the first packet the frame's header.
            let mut payload = vec![if part == 0 { 0x10 } else { 0 }, u8::from(!key), 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
            payload.resize(700 + self.longer[part as usize], 0x55);
            payload.extend_from_slice(&self.video.to_be_bytes());
            let last = part + 1 == PACKETS_PER_FRAME;
            let (_, payload_type) = client.media(Kind::Video);
            let seq = (65_500 + self.video) as u16;
            let header = rtp_header(last, payload_type, seq, self.frame * 3000, self.ssrc(Kind::Video));
            let len = client.transport.protect_rtp(&header, &payload, &mut sealed).unwrap();
            client.socket.send(&sealed[..len]).unwrap();
            self.video += 1;
        }
        let mut payload = vec![0x78; 60];
        payload.extend_from_slice(&self.audio.to_be_bytes());
        let (_, payload_type) = client.media(Kind::Audio);
        let header = rtp_header(false, payload_type, self.audio as u16, self.audio * 960, self.ssrc(Kind::Audio));
        let len = client.transport.protect_rtp(&header, &payload, &mut sealed).unwrap();
        client.socket.send(&sealed[..len]).unwrap();
        self.audio += 1;
        self.frame += 1;
    }

    /// Says when the newest picture was taken.
    fn report(&self, client: &mut Client, ntp: Ntp) {
        let info = SenderInfo {
            ssrc: self.ssrc(Kind::Video),
            ntp,
            rtp_timestamp: self.frame.wrapping_sub(1) * 3000,
            packets: self.video,
            bytes: 0,
        };
        let mut report = Vec::new();
        rtcp::write_sender_report(&mut report, &info, &[]);
        client.send_rtcp(&report);
    }
}

/// The publisher first, then the viewers.
fn all<'a>(publisher: &'a mut Client, viewers: &'a mut [Client]) -> Vec<&'a mut Client> {
    std::iter::once(publisher).chain(viewers).collect()
}

fn total(counts: &[Counts], of: impl Fn(&Counts) -> usize) -> usize {
    counts.iter().map(of).sum()
}

#[test]
fn what_viewers_report_is_counted_and_a_picture_that_a_browser_cut_is_evened_out() {
    let rig = Rig::start(MediaConfig::default());
    let (mut publisher, offered) = rig.publish(STREAM).unwrap();
    let mut source = Source::new(offered);
    source.longer = [0, 12, 12, 13];
    let mut viewers: Vec<Client> = (0..2).map(|_| rig.play()).collect();
    // Every tenth packet is as good as lost to the first viewer, and none to the other.
    viewers[0].reporter = Some((TwccReceiver::new(), |number| number % 10 == 5));
    viewers[1].reporter = Some((TwccReceiver::new(), |_| false));
    run(&mut all(&mut publisher, &mut viewers), "a key frame is asked for", |c| c[0].seen.key_requests > 0);
    for n in 0..100 {
        source.send(&mut publisher, n == 0);
        let (video, audio) = (source.video - 1, source.audio - 1);
        run(&mut all(&mut publisher, &mut viewers), "what was sent arrives", |clients| {
            clients[1..].iter().all(|c| c.has(Kind::Video, video) && c.has(Kind::Audio, audio))
        });
    }
    for viewer in &viewers {
        let numbers = &viewer.seen.numbers;
        assert_eq!(numbers.len(), 100 * (PACKETS_PER_FRAME as usize + 1), "sound and picture are numbered together");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
        assert!(viewer.got(Kind::Video).iter().zip(0..).all(|((.., number), n)| *number == n), "nothing else changed");
        let sizes = &viewer.seen.sizes[&viewer.media(Kind::Video).0];
        for picture in sizes.chunks(PACKETS_PER_FRAME as usize).skip(2) {
            assert!(picture[1..].iter().all(|size| *size == picture[0]) || !rig.counts()[0].gso, "{picture:?}");
        }
    }
    let sent = 2 * 100 * (PACKETS_PER_FRAME as usize + 1);
    rig.until_counts(&mut all(&mut publisher, &mut viewers), "the reports arrive", |counts| {
        let (arrived, lost) = (total(counts, |c| c.viewer_arrived as usize), total(counts, |c| c.viewer_lost as usize));
        arrived + lost == sent && lost == sent / 2 / 10
    });
    let bytes = total(&rig.counts(), |c| c.viewer_arrived_bytes as usize);
    assert!((sent * 4 / 5 * 700..sent * 800).contains(&bytes), "{bytes}");
    rig.stop();
}

#[test]
fn viewers_on_both_shards_get_every_packet_and_everything_goes_with_the_publisher() {
    let rig = Rig::start(MediaConfig::default());
    let (mut publisher, offered) = rig.publish(STREAM).unwrap();
    let mut source = Source::new(offered);
    let mut viewers: Vec<Client> = (0..VIEWERS).map(|_| rig.play()).collect();
    let addrs = rig.media.udp_addrs.clone();
    for addr in &addrs {
        let on_it = viewers.iter().filter(|viewer| viewer.remote() == *addr).count();
        assert!(on_it.abs_diff(VIEWERS / 2) <= 1, "{on_it} viewers on the shard at {addr}");
    }
    run(&mut all(&mut publisher, &mut viewers), "all connect", |clients| clients.iter().all(|c| c.is_connected()));
    run(&mut all(&mut publisher, &mut viewers), "a key frame is asked for", |c| c[0].seen.key_requests > 0);

    // Every packet from the first key frame on, to everybody, in order and under numbers without a hole.
    let ntp = Ntp::from_unix_micros(1_700_000_000_000_000);
    for n in 0..150 {
        source.send(&mut publisher, n % 50 == 0);
        if n == 0 {
            source.report(&mut publisher, ntp);
        }
        if n % 10 == 0 {
            let newest = source.video - 1;
            let arrived = |clients: &mut [&mut Client]| clients[1..].iter().all(|c| c.has(Kind::Video, newest));
            run(&mut all(&mut publisher, &mut viewers), "what was sent arrives", arrived);
        }
    }
    let (video, audio) = (source.video - 1, source.audio - 1);
    run(&mut all(&mut publisher, &mut viewers), "all of it arrives", |clients| {
        clients[1..].iter().all(|c| c.has(Kind::Video, video) && c.has(Kind::Audio, audio))
    });
    for viewer in &viewers {
        for (kind, sent) in [(Kind::Video, source.video), (Kind::Audio, source.audio)] {
            let got = viewer.got(kind);
            assert_eq!(got.len(), sent as usize, "{kind}");
            assert!(got.iter().zip(0..).all(|((.., number), n)| *number == n), "{kind}");
            assert!(got.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "{kind}");
        }
    }

    // The publisher's clock, in each viewer's own timestamps.
    let told = |c: &Client| c.seen.reports.contains_key(&c.media(Kind::Video).0);
    run(&mut all(&mut publisher, &mut viewers), "the time is told", |c| c[1..].iter().all(|c| told(c)));
    for viewer in &viewers {
        let (at, rtp) = viewer.seen.reports[&viewer.media(Kind::Video).0];
        let first = viewer.got(Kind::Video)[0].1;
        let elapsed_us = at.as_micros() as i64 - ntp.as_micros() as i64;
        let told_us = i64::from(rtp.wrapping_sub(first) as i32) * 1000 / 90;
        assert!((elapsed_us - told_us).abs() < 20_000, "{elapsed_us} us by the clock, {told_us} us by the timestamps");
    }

    // What eight wish for on two shards costs the publisher one request.
    run_for(&mut all(&mut publisher, &mut viewers), KEY_FRAME_INTERVAL * 5 / 4);
    let before = publisher.seen.key_requests;
    viewers.iter_mut().for_each(Client::ask_for_key_frame);
    let asked = |clients: &mut [&mut Client]| clients[0].seen.key_requests > before;
    run(&mut all(&mut publisher, &mut viewers), "the wish arrives", asked);
    run_for(&mut all(&mut publisher, &mut viewers), KEY_FRAME_INTERVAL / 4);
    assert_eq!(publisher.seen.key_requests, before + 1);
    source.send(&mut publisher, true);
    let newest = source.video - 1;
    run(&mut all(&mut publisher, &mut viewers), "the key frame arrives", |clients| {
        clients[1..].iter().all(|c| c.has(Kind::Video, newest))
    });
    run_for(&mut all(&mut publisher, &mut viewers), KEY_FRAME_INTERVAL * 5 / 4);
    assert_eq!(publisher.seen.key_requests, before + 1, "what was granted is not asked for again");

    // Muted at the source: nobody gets anything; then all go on at a key frame, without a hole.
    let mute = |muted| rig.tell(Command::SetMuted { stream: STREAM, kind: Kind::Video, muted });
    mute(true);
    let pictures = |viewers: &[Client]| viewers.iter().map(|v| v.got(Kind::Video).len()).sum::<usize>();
    let mut before = pictures(&viewers);
    for quiet in 0.. {
        let sound = source.audio;
        source.send(&mut publisher, false);
        run(&mut all(&mut publisher, &mut viewers), "the sound goes on", |clients| {
            clients[1..].iter().all(|c| c.has(Kind::Audio, sound))
        });
        // Until the shards have heard of it a few may still pass.
        if std::mem::replace(&mut before, pictures(&viewers)) == before && quiet > 5 {
            break;
        }
        assert!(quiet < 1000, "pictures in spite of the mute");
    }
    let (muted_until, mut granted) = (source.video, publisher.seen.key_requests);
    mute(false);
    run(&mut all(&mut publisher, &mut viewers), "the picture goes on", |clients| {
        if clients[0].seen.key_requests > granted {
            granted = clients[0].seen.key_requests;
            source.send(clients[0], false);
            source.send(clients[0], true);
        }
        source.video > muted_until && clients[1..].iter().all(|c| c.has(Kind::Video, source.video - 1))
    });
    for viewer in &viewers {
        let got = viewer.got(Kind::Video);
        assert!(got.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
        let first = got.iter().find(|(.., number)| *number >= muted_until).unwrap().2;
        assert_eq!((first - muted_until) % (2 * PACKETS_PER_FRAME), PACKETS_PER_FRAME, "a key frame comes first");
    }

    let counts = rig.counts();
    assert!(counts.iter().all(|c| c.drops.get(media::drop_reason::DropReason::PipeFull) == 0));
    rig.until_counts(&mut all(&mut publisher, &mut viewers), "the copies are counted", |counts| {
        total(counts, |c| c.copies) == 2 && total(counts, |c| c.up_tracks) == 2
    });
    assert!(rig.counts().iter().any(|c| c.packets_relayed > 0));

    // The publisher leaves: the original and its copies go; then the viewers, and nothing is left on either shard.
    rig.close(&publisher);
    rig.until_counts(&mut viewers.iter_mut().collect::<Vec<_>>(), "the tracks go", |counts| {
        let tracks = total(counts, |c| c.up_tracks + c.copies + c.down_tracks);
        tracks == 0 && total(counts, |c| c.transports) == VIEWERS
    });
    viewers.iter().for_each(|viewer| rig.close(viewer));
    rig.until_counts(&mut [&mut publisher], "nothing is left", |counts| {
        total(counts, |c| c.transports + c.rooms + c.up_tracks + c.down_tracks + c.copies) == 0
    });
    rig.stop();
}

#[test]
fn a_copy_goes_after_its_last_viewer_and_comes_back_with_the_next() {
    let rig = Rig::start(MediaConfig { copy_linger: Duration::ZERO, ..MediaConfig::default() });
    let (mut publisher, offered) = rig.publish(STREAM).unwrap();
    let mut source = Source::new(offered);
    let home = publisher.remote();
    let mut requests = 0;
    for again in [false, true] {
        let mut viewers = vec![rig.play(), rig.play()];
        let away = viewers.iter().position(|viewer| viewer.remote() != home).expect("one on the other shard");
        let mut away = viewers.swap_remove(away);
        run(&mut [&mut publisher, &mut away], "both connect", |c| c.iter().all(|c| c.is_connected()));
        if again {
            // The kept picture comes without a new one being asked for.
            let kept = source.video - 1;
            run(&mut [&mut publisher, &mut away], "the kept picture", |c| c[1].has(Kind::Video, kept));
            assert_eq!(publisher.seen.key_requests, requests);
        } else {
            run(&mut [&mut publisher, &mut away], "the newcomer's wish", |c| c[0].seen.key_requests > requests);
        }
        source.send(&mut publisher, true);
        let newest = source.video - 1;
        run(&mut [&mut publisher, &mut away], "a picture", |c| c[1].has(Kind::Video, newest));
        let numbers = away.got(Kind::Video);
        assert!(numbers.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "{numbers:?}");
        run_for(&mut [&mut publisher, &mut away], KEY_FRAME_INTERVAL * 5 / 4);
        requests = publisher.seen.key_requests;
        rig.close(&away);
        viewers.iter().for_each(|viewer| rig.close(viewer));
        rig.until_counts(&mut [&mut publisher], "only the publisher is left", |counts| {
            let others = total(counts, |c| c.copies + c.down_tracks);
            others == 0 && total(counts, |c| c.up_tracks) == 2 && total(counts, |c| c.rooms) == 1
        });
    }
    rig.tell(Command::CloseRoom { room: ROOM });
    rig.until_counts(&mut [&mut publisher], "nothing is left", |counts| {
        total(counts, |c| c.transports + c.rooms + c.up_tracks) == 0
    });
    rig.stop();
}

#[test]
fn nobody_can_start_to_publish_when_the_memory_is_spent_and_who_leaves_makes_room() {
    let rig = Rig::start(MediaConfig { memory_max_bytes: 12 << 20, ..MediaConfig::default() });
    let mut published = Vec::new();
    let refusal = loop {
        match rig.publish(StreamId(published.len() as u64)) {
            Ok((client, _)) => published.push(client),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, Refusal::Limit("memory_max_bytes"));
    assert!(published.len() > 1, "{} publishers", published.len());
    let ingest = rig.ask(|reply| Command::OpenIngest { room: ROOM, stream: StreamId(1000), reply });
    assert_eq!(ingest.unwrap_err(), Refusal::Limit("memory_max_bytes"));
    rig.close(&published[0]);
    assert!(rig.publish(StreamId(1001)).is_ok());
    assert!(rig.publish(StreamId(1002)).is_err());
    rig.stop();
}
