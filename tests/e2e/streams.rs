//! Streams by URL: FLV over HTTP and WebSocket, and a push by ffmpeg that comes out again.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use media::flv::{Tag, TagKind, TagReader};
use tokio::time::timeout;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    http::{ask, open},
    refusals::offer,
    server::TestServer,
};

const TEST_STREAM: &str = "/live/1400000001_1001_teststream_main.flv";
/// Longest wait for the next piece of a live stream on a busy machine.
const PIECE_MAX: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_test_stream_plays_over_http_from_a_key_frame_on() {
    let server = TestServer::start(&[]).await;
    let response = open(server.http, "GET", TEST_STREAM, &[], "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "video/x-flv");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let mut player = HttpPlayer::new(response.into_body());
    assert_starts_well(&mut player, 100).await;
}

#[tokio::test]
async fn the_test_stream_plays_over_websocket() {
    let server = TestServer::start(&[]).await;
    let (socket, _) = connect_async(format!("ws://{}{TEST_STREAM}", server.http)).await.expect("the upgrade");
    let mut player = WebSocketPlayer { socket, parser: Parser::default() };
    assert_starts_well(&mut player, 100).await;
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_not_found() {
    let server = TestServer::start(&[]).await;
    for path in ["/live/1400000001_1001_nobody_main.flv", "/live/nonsense.flv", "/live/.flv", "/live/a_b_c_d.flv"] {
        let answer = ask(server.http, "GET", path, &[], "").await;
        assert!(matches!(answer.status, 401 | 404), "{path}: {}", answer.status);
        assert!(answer.code().is_some(), "{path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    }
    assert_eq!(ask(server.http, "GET", "/live/1400000001_1001_teststream_main.mp4", &[], "").await.status, 404);
}

#[tokio::test]
async fn pages_of_other_sites_may_play_and_ask_before() {
    let server = TestServer::start(&[]).await;
    let head = ask(server.http, "HEAD", TEST_STREAM, &[], "").await;
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, "video/x-flv", 0));
    let asked = [("origin", "https://elsewhere.example"), ("access-control-request-method", "GET")];
    let options = ask(server.http, "OPTIONS", TEST_STREAM, &asked, "").await;
    assert_eq!(options.status, 204);
    assert_eq!(options.header("access-control-allow-origin"), "*");
    assert!(options.header("access-control-allow-methods").contains("GET"));
    let post = ask(server.http, "POST", TEST_STREAM, &[], "").await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn only_listed_pages_may_play_where_pages_are_listed() {
    let server = TestServer::start(&["signaling.origins=https://mine.example"]).await;
    for (origin, allowed) in [("https://mine.example", "https://mine.example"), ("https://other.example", "")] {
        let head = ask(server.http, "HEAD", TEST_STREAM, &[("origin", origin)], "").await;
        assert_eq!(head.header("access-control-allow-origin"), allowed, "{origin}");
        assert_eq!(head.header("vary"), "origin");
    }
}

/// A sample of `/metrics`, with its labels.
async fn sample(server: &TestServer, name: &str) -> u64 {
    let text = ask(server.http, "GET", "/metrics", &[], "").await.text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_is_transcoded_while_somebody_listens_and_only_then() {
    let server = TestServer::start(&["media.shards=1"]).await;
    let (running, made) = ("roomcast_transcodes{to=\"opus\"}", "roomcast_transcoded_frames_total{to=\"opus\"}");
    let until = |name: &'static str, enough: fn(u64) -> bool| {
        let server = &server;
        timeout(PIECE_MAX, async move { while !enough(sample(server, name).await) {} })
    };
    until("roomcast_packets_received_total{shard=\"0\"}", |packets| packets > 50).await.expect("the test stream");
    // Its FLV player hears the AAC as it is.
    let mut player = HttpPlayer::new(open(server.http, "GET", TEST_STREAM, &[], "").await.into_body());
    assert_starts_well(&mut player, 60).await;
    assert_eq!((sample(&server, running).await, sample(&server, made).await), (0, 0));

    let ticket = server.ticket(1_400_000_001, "listener", "1001");
    let whep = format!("http://{}/whep/1001/listener?sdkappid=1400000001&play=teststream", server.http);
    let mut listener = Command::new(env!("CARGO_BIN_EXE_roomcast-load"));
    listener.args(["play", "--whep", &whep, "--viewers", "1", "--seconds", "3"]);
    listener.env("ROOMCAST_LOAD_TOKEN", &ticket.user_sig).stdin(Stdio::null()).stdout(Stdio::null());
    let mut listener = listener.spawn().expect("roomcast-load");
    until(running, |transcoders| transcoders == 1).await.expect("sound for him");
    until(made, |packets| packets > 20).await.expect("more of it");
    listener.wait().expect("he leaves");
    until(running, |transcoders| transcoders == 0).await.expect("silence again");
}

/// Which codec a publisher by WHIP is answered who could send H.264 as well as VP8.
async fn codec_for(server: &TestServer, room: &str, user: &str) -> &'static str {
    let offer = offer("sendonly").replace("SAVPF 102 103", "SAVPF 102 103 96") + "a=rtpmap:96 VP8/90000\r\n";
    let ticket = server.ticket(1_400_000_001, user, room);
    let bearer = format!("Bearer {}", ticket.user_sig);
    let headers = [("content-type", "application/sdp"), ("authorization", bearer.as_str())];
    let path = format!("/whip/{room}/{user}?sdkappid=1400000001");
    let answer = ask(server.http, "POST", &path, &headers, &offer).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    match (answer.text().contains("H264/90000"), answer.text().contains("VP8/90000")) {
        (true, false) => "H264",
        (false, true) => "VP8",
        _ => panic!("one codec: {}", answer.text()),
    }
}

#[tokio::test]
async fn publishers_are_asked_for_h264_where_rtmp_is_and_for_what_the_operator_likes_elsewhere() {
    let server = TestServer::start(&["media.video_codecs=VP8,H264"]).await;
    until(server.http, TEST_STREAM, 200).await;
    assert_eq!(codec_for(&server, "1001", "beside-the-test-stream").await, "H264");
    assert_eq!(codec_for(&server, "55", "first").await, "VP8");
    assert_eq!(codec_for(&server, "55", "second").await, "VP8");
    let player = until(server.http, "/live/1400000001_55_first_main.flv", 200).await;
    assert_eq!(codec_for(&server, "55", "third").await, "H264");
    drop(player);
}

#[tokio::test]
async fn what_ffmpeg_pushes_comes_out_as_flv_and_the_player_ends_with_it() {
    if !Ffmpeg::exists() {
        return;
    }
    // Killed, it says no goodbye: the server would wait for it to come back.
    let server = TestServer::start(&["demo.test_stream=false", "signaling.republish_seconds=0"]).await;
    let ticket = server.ticket(1_400_000_001, "pusher", "77");
    let mut ffmpeg = Ffmpeg::push(&server.push_url(&ticket));
    let path = "/live/1400000001_77_pusher_main.flv";
    let response = until(server.http, path, 200).await;
    let mut player = HttpPlayer::new(response.into_body());
    assert_starts_well(&mut player, 60).await;
    ffmpeg.end();
    let ended = timeout(PIECE_MAX, async { while player.next().await.is_some() {} });
    assert!(ended.await.is_ok(), "the player does not notice that the stream is over");
    until(server.http, path, 404).await;
}

/// Asks until the answer has this status: ffmpeg takes a moment to start, and the room a moment to learn of an end.
pub async fn until(server: SocketAddr, path: &str, status: u16) -> hyper::Response<Incoming> {
    let answer = timeout(PIECE_MAX, async {
        loop {
            let response = open(server, "GET", path, &[], "").await;
            if response.status() == status {
                return response;
            }
        }
    });
    answer.await.unwrap_or_else(|_| panic!("{path} never answers with {status}"))
}

/// Metadata and sequence headers come first, then a key frame, and time never runs backwards.
async fn assert_starts_well(player: &mut impl Player, tags: usize) {
    let (mut audio_header, mut video_header, mut audio, mut video) = (false, false, 0, 0);
    let mut last_ms = 0;
    for index in 0..tags {
        let tag = timeout(PIECE_MAX, player.next()).await.expect("the stream goes on").expect("and does not end");
        match (tag.kind, tag.header) {
            (TagKind::Script, _) => {}
            (TagKind::Audio, true) => audio_header = true,
            (TagKind::Video, true) => video_header = true,
            (TagKind::Audio, false) => {
                assert!(audio_header, "sound before its header at tag {index}");
                audio += 1;
            }
            (TagKind::Video, false) => {
                assert!(video_header, "a picture before its header at tag {index}");
                assert!(tag.key || video > 0, "the first picture is no key frame");
                video += 1;
            }
        }
        if !tag.header {
            assert!(
                tag.timestamp_ms >= last_ms,
                "time runs backwards at tag {index}: {last_ms} -> {}",
                tag.timestamp_ms
            );
            last_ms = tag.timestamp_ms;
        }
    }
    assert!(audio > 0 && video > 0, "{audio} frames of sound, {video} pictures");
    assert_eq!(player.flags(), 5, "the file header promises sound and picture");
}

pub trait Player {
    async fn next(&mut self) -> Option<Tag>;
    /// The flags of the file header: 1 picture, 4 sound.
    fn flags(&self) -> u8;
}

/// Turns pieces of the file into tags.
#[derive(Default)]
struct Parser {
    reader: TagReader,
    rest: Bytes,
    flags: Option<u8>,
}

impl Parser {
    fn tag(&mut self) -> Option<Tag> {
        let mut data = &self.rest[..];
        let tag = self.reader.read(&mut data).expect("well-formed FLV");
        self.rest = self.rest.slice(self.rest.len() - data.len()..);
        tag
    }

    fn add(&mut self, piece: Bytes) {
        assert!(self.rest.is_empty());
        self.flags.get_or_insert_with(|| piece[4]);
        self.rest = piece;
    }
}

pub struct HttpPlayer {
    body: Incoming,
    parser: Parser,
}

impl HttpPlayer {
    pub fn new(body: Incoming) -> Self {
        HttpPlayer { body, parser: Parser::default() }
    }
}

impl Player for HttpPlayer {
    async fn next(&mut self) -> Option<Tag> {
        loop {
            if let Some(tag) = self.parser.tag() {
                return Some(tag);
            }
            let frame = self.body.frame().await?.ok()?;
            self.parser.add(frame.into_data().unwrap_or_default());
        }
    }

    fn flags(&self) -> u8 {
        self.parser.flags.unwrap_or(0)
    }
}

struct WebSocketPlayer<S> {
    socket: S,
    parser: Parser,
}

impl<S> Player for WebSocketPlayer<S>
where
    S: futures_util::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    async fn next(&mut self) -> Option<Tag> {
        loop {
            if let Some(tag) = self.parser.tag() {
                return Some(tag);
            }
            if let Message::Binary(piece) = self.socket.next().await?.ok()? {
                self.parser.add(piece);
            }
        }
    }

    fn flags(&self) -> u8 {
        self.parser.flags.unwrap_or(0)
    }
}

pub struct Ffmpeg(Child);

impl Ffmpeg {
    /// Whether there is one here.
    pub fn exists() -> bool {
        let exists = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok();
        if !exists {
            eprintln!("not run: there is no ffmpeg here");
        }
        exists
    }

    /// A small picture and a tone, for as long as it is let.
    pub fn push(url: &str) -> Ffmpeg {
        Ffmpeg::push_sized(url, "320x180")
    }

    pub fn push_sized(url: &str, size: &str) -> Ffmpeg {
        let arguments = format!(
            "-f lavfi -i testsrc2=size={size}:rate=15 -f lavfi -i sine=frequency=1000:sample_rate=48000 -t 60 \
             -c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline -pix_fmt yuv420p -g 15 \
             -b:v 200k -c:a aac -b:a 48k -f flv"
        );
        Ffmpeg::run(&arguments, url)
    }

    /// Any ffmpeg, in the time of its input.
    pub fn run(arguments: &str, url: &str) -> Ffmpeg {
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-loglevel", "error", "-re"]);
        command.args(arguments.split_whitespace()).arg(url).stdin(Stdio::null()).stdout(Stdio::null());
        Ffmpeg(command.spawn().expect("ffmpeg starts"))
    }

    /// Kills it: it says no goodbye.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("ffmpeg is our child").is_some()
    }

    pub fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.end();
    }
}
