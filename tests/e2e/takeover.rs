//! Publishers who are killed and come back, by the same protocol or by the other: whoever plays goes on.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use media::{
    flv::{Tag, TagKind},
    rtmp::{
        chunk::write_media,
        client::{ClientEvent, ClientSession, Purpose},
        url::RtmpUrl,
    },
    units::time::Time,
};
use roomcast::ticket::Ticket;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    server::TestServer,
    streams::{Ffmpeg, HttpPlayer, Player, until},
};

const DEMO_APP: u32 = 1_400_000_001;
/// Longest wait for the next piece of a live stream on a busy machine.
const PIECE_MAX: Duration = Duration::from_secs(90);
/// How long the publisher is away.
const AWAY: Duration = Duration::from_secs(5);

/// A player by RTMP.
pub struct RtmpPlayer {
    stream: TcpStream,
    session: ClientSession,
    began: Instant,
    input: Vec<u8>,
}

impl RtmpPlayer {
    pub async fn new(server: SocketAddr, path: &str) -> RtmpPlayer {
        let url = RtmpUrl::parse(&format!("rtmp://{server}/{path}")).expect("an address");
        let stream = TcpStream::connect(server).await.expect("the server accepts");
        let session = ClientSession::new(Time::ZERO, url, Purpose::Play);
        RtmpPlayer { stream, session, began: Instant::now(), input: Vec::new() }
    }
}

impl RtmpPlayer {
    /// Reads to the end, and returns how many bytes that were.
    pub async fn rest(mut self) -> usize {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.stream.read_to_end(&mut rest).await;
        rest.len()
    }
}

impl Player for RtmpPlayer {
    async fn next(&mut self) -> Option<Tag> {
        loop {
            let mut data = &self.input[..];
            let event = self.session.handle_input(&mut data).expect("RTMP");
            let taken = self.input.len() - data.len();
            self.input.drain(..taken);
            self.stream.write_all(&self.session.take_output()).await.expect("sent");
            match event {
                Some(ClientEvent::Media(media)) => return Some(Tag::from(media)),
                Some(ClientEvent::Started) => {}
                Some(ClientEvent::Refused { .. } | ClientEvent::Ended { .. }) => return None,
                None => {
                    let read = self.stream.read_buf(&mut self.input).await.expect("read");
                    if read == 0 {
                        return None;
                    }
                }
            }
            assert!(self.began.elapsed() < Duration::from_secs(300), "a test ends");
        }
    }

    fn flags(&self) -> u8 {
        5
    }
}

/// What a player has seen so far.
#[derive(Default)]
struct Seen {
    last_ms: [Option<u32>; 2],
    last_record: Vec<u8>,
    records: usize,
}

impl Seen {
    /// Plays until `more` pictures came, behind a new sequence header if `fresh`. Time never runs backwards, and never jumps.
    async fn goes_on(&mut self, player: &mut impl Player, more: usize, fresh: bool) {
        let (mut pictures, mut sounds) = (0, 0);
        let records = self.records + usize::from(fresh);
        while pictures < more || sounds < more || self.records < records {
            let tag = timeout(PIECE_MAX, player.next()).await.expect("the stream goes on").expect("and does not end");
            if tag.kind == TagKind::Script || tag.payload.len() < 6 {
                continue;
            }
            if tag.header {
                if tag.kind == TagKind::Video && tag.payload != self.last_record {
                    (self.last_record, self.records) = (tag.payload.to_vec(), self.records + 1);
                }
                continue;
            }
            let video = tag.kind == TagKind::Video;
            let last_ms = &mut self.last_ms[usize::from(video)];
            if let Some(last_ms) = *last_ms {
                let step_ms = tag.timestamp_ms.wrapping_sub(last_ms) as i32;
                assert!((0..2_000).contains(&step_ms), "{:?}: {last_ms} -> {}", tag.kind, tag.timestamp_ms);
            }
            *last_ms = Some(tag.timestamp_ms);
            if self.records >= records {
                *(if video { &mut pictures } else { &mut sounds }) += 1;
            }
        }
    }
}

struct Load(Child);

impl Load {
    fn start(ticket: &Ticket, arguments: &[&str]) -> Load {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast-load"));
        command.args(arguments).env("ROOMCAST_LOAD_TOKEN", &ticket.user_sig).stdin(Stdio::null());
        Load(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_plays_goes_on_when_the_publisher_is_killed_and_comes_back_by_either_protocol() {
    if !Ffmpeg::exists() {
        return;
    }
    // Long, for publishers that take their time to begin on a busy machine.
    let server = TestServer::start(&["demo.test_stream=false", "signaling.republish_seconds=120"]).await;
    let ticket = server.ticket(DEMO_APP, "pusher", "78");
    let (push, app) = (server.push_url(&ticket), ticket.sdk_app_id);
    let whip = format!("http://{}/whip/78/pusher?sdkappid={app}&privatemapkey={}", server.http, ticket.private_map_key);
    let mut first = Ffmpeg::push(&push);
    let path = format!("{app}_78_pusher_main");
    let flv = until(server.http, &format!("/live/{path}.flv"), 200).await;
    let mut flv = (HttpPlayer::new(flv.into_body()), Seen::default());
    let mut rtmp = (RtmpPlayer::new(server.rtmp, &format!("live/{path}")).await, Seen::default());
    flv.1.goes_on(&mut flv.0, 20, true).await;
    rtmp.1.goes_on(&mut rtmp.0, 20, true).await;
    let viewer = server.ticket(DEMO_APP, "viewer", "78");
    let whep = format!("http://{}/whep/78/viewer?sdkappid={app}&play=pusher", server.http);
    let arguments = ["play", "--whep", &whep, "--viewers", "2", "--seconds", "18", "--verify", "1", "--json"];
    let mut watching = Load::start(&viewer, &arguments);
    flv.1.goes_on(&mut flv.0, 20, false).await;

    first.end();
    sleep(AWAY).await;
    let mut second = Ffmpeg::push_sized(&push, "160x120");
    flv.1.goes_on(&mut flv.0, 20, true).await;
    rtmp.1.goes_on(&mut rtmp.0, 20, true).await;
    println!("killed and back by RTMP after 5 s: RTMP and FLV players go on");

    second.end();
    let mut page = Load::start(&ticket, &["publish", "--whip", &whip, "--seconds", "60"]);
    flv.1.goes_on(&mut flv.0, 20, true).await;
    rtmp.1.goes_on(&mut rtmp.0, 20, true).await;
    println!("killed and back by WebRTC: RTMP and FLV players go on");

    page.kill();
    let _third = Ffmpeg::push(&push);
    flv.1.goes_on(&mut flv.0, 20, true).await;
    rtmp.1.goes_on(&mut rtmp.0, 20, true).await;
    println!("killed and back by RTMP: RTMP and FLV players go on");

    let watched = tokio::task::spawn_blocking(move || {
        let (stdout, stderr) = (watching.0.stdout.take(), watching.0.stderr.take());
        let read = |pipe: &mut dyn std::io::Read| {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text);
            text
        };
        (read(&mut stdout.expect("piped")), read(&mut stderr.expect("piped")))
    });
    let (line, stderr) = timeout(Duration::from_secs(120), watched).await.expect("they end").expect("no panic");
    let result: Value = serde_json::from_str(line.lines().last().expect("a line")).expect("JSON");
    println!("WHEP players over all of it: {line}");
    for (name, value) in [("lost", 0), ("broken", 0), ("viewers_failed", 0), ("joins", 2)] {
        assert_eq!(result[name], Value::from(value), "{name}: {line}\n{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u21_a_second_publisher_of_a_live_stream_is_refused_unless_it_is_the_same_member() {
    if !Ffmpeg::exists() {
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let ticket = server.ticket(DEMO_APP, "pusher", "79");
    let _first = Ffmpeg::push_sized(&server.push_url(&ticket), "160x120");
    let path = format!("/live/{}_79_pusher_main.flv", ticket.sdk_app_id);
    let mut player = HttpPlayer::new(until(server.http, &path, 200).await.into_body());
    let mut seen = Seen::default();
    seen.goes_on(&mut player, 10, true).await;

    let mallory = server.ticket(DEMO_APP, "mallory", "79");
    let stolen = server.push_url(&mallory).replace("userid=mallory", "userid=pusher");
    let refused = RtmpPublisher::ask(server.rtmp, &stolen).await;
    println!("U21 another member's push: {refused:?} (bound NetStream.Publish.Unauthorized)");
    assert_eq!(refused.as_deref(), Some("NetStream.Publish.Unauthorized"));
    seen.goes_on(&mut player, 10, false).await;

    // The same member, while the old connection still stands: one of another size, so that the writers can be told apart.
    let _second = Ffmpeg::push_sized(&server.push_url(&ticket), "320x180");
    seen.goes_on(&mut player, 40, true).await;
    println!("U21 sequence headers of the two writers: {} (bound 2: they never alternate)", seen.records);
    assert_eq!(seen.records, 2);
}

/// A publisher by RTMP who is let in.
pub struct RtmpPublisher {
    stream: TcpStream,
    session: ClientSession,
}

impl RtmpPublisher {
    /// Asks to publish and returns the code of a refusal.
    pub async fn ask(server: SocketAddr, url: &str) -> Option<String> {
        RtmpPublisher::open(server, url).await.err()
    }

    pub async fn open(server: SocketAddr, url: &str) -> Result<RtmpPublisher, String> {
        let url = RtmpUrl::parse(url).expect("an address");
        let mut stream = TcpStream::connect(server).await.expect("the server accepts");
        let mut session = ClientSession::new(Time::ZERO, url, Purpose::Publish);
        let mut input = Vec::new();
        loop {
            let mut data = &input[..];
            let event = session.handle_input(&mut data).expect("RTMP");
            let taken = input.len() - data.len();
            input.drain(..taken);
            stream.write_all(&session.take_output()).await.expect("sent");
            match event {
                Some(ClientEvent::Refused { code, .. }) => return Err(code),
                Some(ClientEvent::Started) => return Ok(RtmpPublisher { stream, session }),
                Some(_) => {}
                None => assert!(stream.read_buf(&mut input).await.expect("read") > 0, "a word before the end"),
            }
        }
    }

    pub async fn send(&mut self, tag: &Tag) {
        let bytes = write_media(self.session.stream_id(), tag.media_kind(), tag.timestamp_ms, &tag.payload);
        self.stream.write_all(&bytes).await.expect("the server takes it");
    }
}
