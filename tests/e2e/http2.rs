//! HTTP/2 on the port of HTTPS: what answers, what stays with HTTP/1.1, and its limits, by a client that keeps to the rules
//! and by one that writes frames as it likes.

use std::{net::SocketAddr, process::Command, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Version,
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use media::flv::{Tag, TagReader};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;

use crate::{
    faces::tls,
    hls,
    http::{Answer, get},
    refusals::offer,
    server::TestServer,
    streams::until,
};

const APP: u32 = 1_400_000_001;
const FLV: &str = "/live/1400000001_1001_teststream_main.flv";
const HLS: &str = "/live/1400000001_1001_teststream_main.m3u8";
/// Longest wait for anything on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A client that keeps to the rules. Clones share the connection.
#[derive(Clone)]
struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn new(server: SocketAddr) -> Client {
        let stream = tls(server, &["h2", "http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 begins");
        tokio::spawn(connection);
        Client(sender)
    }

    async fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
        let answer = self.0.clone().send_request(request);
        timeout(WAIT_MAX, answer).await.expect("an answer in time").expect("an answer")
    }

    async fn get(&self, path: &str) -> Answer {
        whole(self.open("GET", path, &[], "").await).await
    }
}

async fn whole(response: Response<Incoming>) -> Answer {
    assert_eq!(response.version(), Version::HTTP_2);
    let (parts, body) = response.into_parts();
    let body = timeout(WAIT_MAX, body.collect()).await.expect("in time").expect("the body ends").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn pages_hls_flv_and_whip_answer_over_one_http_2_connection() {
    let server = TestServer::start(&[]).await;
    until(server.http, HLS, 200).await;
    let client = Client::new(server.https).await;
    for (path, kind) in [("/", "text/html; charset=utf-8"), ("/healthz", "text/plain; charset=utf-8")] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        let head = whole(client.open("HEAD", path, &[], "").await).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}");
    }
    assert_eq!(client.get("/no/such/thing").await.status, 404);

    let flv = client.open("GET", FLV, &[], "").await;
    assert_eq!((flv.status().as_u16(), &flv.headers()["content-type"]), (200, &"video/x-flv".parse().unwrap()));
    let answer = client.get(HLS).await.text();
    let media = answer.lines().last().and_then(|line| line.strip_prefix("./")).expect("a relative address");
    let (folder, _) = media.split_once("media.m3u8").expect("the media playlist");
    let playlist = client.get(&format!("/live/{media}")).await.text();
    let (segment, part) = hls::hint(&playlist);
    // Both are held back until the part is there, beside each other.
    let (file, reload) =
        (format!("/live/{folder}{segment}.{part}.m4s"), format!("/live/{media}&_HLS_msn={segment}&_HLS_part={part}"));
    let (file, reloaded) = tokio::join!(client.get(&file), client.get(&reload));
    assert_eq!((file.status, &file.body[4..8], reloaded.status), (200, &b"moof"[..], 200));

    let ticket = server.ticket(APP, "whip", "1001");
    let bearer = format!("Bearer {}", ticket.user_sig);
    let path = format!("/whip/1001/whip?sdkappid={APP}");
    let headers = [("content-type", "application/sdp"), ("authorization", &bearer)];
    let whip = whole(client.open("POST", &path, &headers, &offer("sendonly")).await).await;
    assert_eq!(whip.status, 201, "{}", whip.text());
    let session = whip.header("location").to_owned();
    assert_eq!(whole(client.open("DELETE", &session, &[("authorization", &bearer)], "").await).await.status, 200);

    let mut body = flv.into_body();
    let (mut reader, mut tags) = (TagReader::new(), Vec::<Tag>::new());
    while tags.len() < 50 {
        let piece = timeout(WAIT_MAX, body.frame()).await.expect("in time").expect("no end").expect("no error");
        let piece = piece.into_data().expect("data");
        let mut data = &piece[..];
        tags.extend(std::iter::from_fn(|| reader.read(&mut data).expect("FLV")));
    }
}

#[tokio::test]
async fn websockets_and_who_knows_no_http_2_get_http_1_1_on_the_same_port() {
    let server = TestServer::start(&[]).await;
    let stream = tls(server.https, &["http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (_, answer) = client_async("wss://localhost/signal", stream).await.expect("the upgrade");
    assert_eq!((answer.status().as_u16(), answer.version()), (101, Version::HTTP_11));
    // Over HTTP/2 one cannot ask for one, and is told so.
    let refused = Client::new(server.https).await.get("/signal").await;
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    let url = format!("https://{}/healthz", server.https);
    for (version, arguments) in [("2", vec!["--http2"]), ("1.1", vec!["--http1.1"]), ("1.1", vec!["--no-alpn"])] {
        let mut command = Command::new("curl");
        command.args(["-sk", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", &url]).args(arguments);
        let Ok(output) = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic") else {
            return eprintln!("not run: there is no curl here");
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{version} 200"));
    }
}

#[tokio::test]
async fn a_head_over_http_2_that_is_too_large_is_answered_with_431() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let client = Client::new(server.https).await;
    for (bytes, status) in [(20_000, 431), (8_000, 200)] {
        let text = "x".repeat(bytes);
        assert_eq!(client.open("GET", "/healthz", &[("x-large", &text)], "").await.status(), status, "{bytes}");
    }
}

#[tokio::test]
async fn requests_over_http_2_count_among_the_connections_and_their_places_come_back() {
    let server = TestServer::start(&["http.connections_max=4"]).await;
    until(server.http, FLV, 200).await;
    // The connection is one, each player another.
    let client = Client::new(server.https).await;
    let deadline = Instant::now() + WAIT_MAX;
    let mut players = Vec::new();
    // Those of `until` may not be gone yet.
    while players.len() < 3 {
        let answer = client.open("GET", FLV, &[], "").await;
        if answer.status() == 200 {
            players.push(answer);
        }
        assert!(Instant::now() < deadline, "there are three places");
    }
    let refused = client.get("/healthz").await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("http.connections_max"), "{}", refused.text());
    players.pop();
    while client.get("/healthz").await.status != 200 {
        assert!(Instant::now() < deadline, "no place came back");
    }
    // With the connection all of them are free.
    drop((players, client));
    loop {
        let answer = timeout(WAIT_MAX, get_if_let_in(server.http)).await.expect("in time");
        if answer.is_some_and(|text| text.contains("roomcast_http_connections 1\n")) {
            return;
        }
        assert!(Instant::now() < deadline, "places are lost");
    }
}

/// The metrics, if there is a place for the one who asks.
async fn get_if_let_in(server: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

/// A client that writes frames as it likes (RFC 9113 §4.1).
struct Raw {
    stream: TlsStream<TcpStream>,
    next_stream: u32,
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Kind, stream, payload.
type Frame = (u8, u32, Vec<u8>);

impl Raw {
    async fn new(server: SocketAddr) -> Raw {
        Raw::with(server, &[]).await
    }

    /// With these settings (RFC 9113 §6.5.1).
    async fn with(server: SocketAddr, settings: &[u8]) -> Raw {
        let mut stream = tls(server, &["h2"]).await;
        let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, settings)].concat();
        stream.write_all(&hello).await.expect("sent");
        let mut raw = Raw { stream, next_stream: 1 };
        raw.until(|(kind, ..)| *kind == SETTINGS).await;
        raw.send(&frame(SETTINGS, ACK, 0, &[])).await;
        raw
    }

    /// The frame that asks for a path, and its stream.
    fn ask(&mut self, path: &str) -> (Vec<u8>, u32) {
        let stream = self.next_stream;
        self.next_stream += 2;
        // RFC 7541: GET and https by their numbers, the path and the host as they are.
        let mut block = vec![0x82, 0x87];
        for (name, value) in [(0x04, path), (0x01, "localhost")] {
            block.push(name);
            match value.len() {
                short @ ..127 => block.push(short as u8),
                long => block.extend([127, (long - 127) as u8 & 0x7f | 0x80, ((long - 127) >> 7) as u8]),
            }
            block.extend_from_slice(value.as_bytes());
        }
        (frame(HEADERS, END_STREAM | END_HEADERS, stream, &block), stream)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// None when the server has closed the connection.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Frame {
        let wanted = async {
            loop {
                let frame = self.next().await.expect("the connection stands");
                if fits(&frame) {
                    return frame;
                }
            }
        };
        timeout(WAIT_MAX, wanted).await.expect("the frame comes")
    }

    /// Ready when the server has closed the connection; the reason, if it gave one.
    async fn closed(&mut self) -> Option<u32> {
        let mut reason = None;
        let end = async {
            while let Some((kind, _, payload)) = self.next().await {
                if kind == GOAWAY {
                    reason = Some(number_at(&payload, 4));
                }
            }
        };
        timeout(WAIT_MAX, end).await.expect("it is closed");
        reason
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn number_at(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"))
}

#[tokio::test]
async fn more_requests_at_once_than_a_connection_may_have_are_refused_and_a_free_place_is_used_again() {
    let server = TestServer::start(&["http.streams_max=2"]).await;
    until(server.http, FLV, 200).await;
    let mut raw = Raw::new(server.https).await;
    let asked: Vec<(Vec<u8>, u32)> = (0..3).map(|_| raw.ask(FLV)).collect();
    let bytes: Vec<u8> = asked.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    raw.send(&bytes).await;
    let third = asked[2].1;
    let (kind, _, payload) = raw.until(|(_, stream, _)| *stream == third).await;
    assert_eq!((kind, number_at(&payload, 0)), (RST_STREAM, REFUSED_STREAM));
    raw.send(&frame(RST_STREAM, 0, asked[0].1, &8u32.to_be_bytes())).await;
    let (bytes, fourth) = raw.ask("/healthz");
    raw.send(&bytes).await;
    let (kind, ..) = raw.until(|(_, stream, _)| *stream == fourth).await;
    assert_eq!(kind, HEADERS, "it is answered");
}

#[tokio::test]
async fn requests_that_are_taken_back_before_they_are_looked_at_end_the_connection_over_the_limit() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    for (count, stands) in [(20, true), (21, false)] {
        let mut raw = Raw::new(server.https).await;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let (asked, stream) = raw.ask("/healthz");
            bytes.extend(asked);
            bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        let (asked, last) = raw.ask("/healthz");
        bytes.extend(asked);
        // In one write: the server has all of it before it answers any.
        raw.send(&bytes).await;
        match stands {
            true => assert_eq!(raw.until(|(_, stream, _)| *stream == last).await.0, HEADERS),
            false => assert_eq!(raw.closed().await, Some(ENHANCE_YOUR_CALM)),
        }
    }
    assert_eq!(get(server.http, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_head_in_pieces_without_end_and_noise_end_the_connection() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let mut endless = Raw::new(server.https).await;
    let (mut bytes, stream) = endless.ask("/healthz");
    // Not its end: CONTINUATION frames follow, each with a header of a kilobyte.
    bytes[4] = END_STREAM;
    for _ in 0..1000 {
        bytes.extend(frame(CONTINUATION, 0, stream, &[&[0, 1, b'x', 127, 0x81, 7][..], &[b'y'; 1024]].concat()));
    }
    // It may be closed before all of it is taken.
    let _ = endless.stream.write_all(&bytes).await;
    endless.closed().await;
    let mut noise = Raw::new(server.https).await;
    noise.send(&[0xff; 64]).await;
    noise.closed().await;
    assert_eq!(Client::new(server.https).await.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn who_goes_on_taking_back_what_he_asks_is_sent_away() {
    let server = TestServer::start(&[]).await;
    let begun = hls::begin(server.http, HLS).await;
    let (segment, _) = hls::hint(&get(server.http, &begun.playlist).await.text());
    // Held back, so that it is not answered before it is taken back.
    let path = format!("{}&_HLS_msn={}", begun.playlist, segment + 2);
    let mut raw = Raw::new(server.https).await;
    let mut rounds = 0u64;
    let sent_away = async {
        loop {
            // So few at once that they are looked at; the answer to the ping says that they were.
            let mut bytes = Vec::new();
            for _ in 0..10 {
                let (asked, stream) = raw.ask(&path);
                bytes.extend(asked);
                bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
            }
            rounds += 1;
            bytes.extend(frame(PING, 0, 0, &rounds.to_be_bytes()));
            if raw.stream.write_all(&bytes).await.is_err() {
                return;
            }
            loop {
                match raw.next().await {
                    Some((PING, _, payload)) if payload == rounds.to_be_bytes() => break,
                    Some(_) => {}
                    None => return,
                }
            }
        }
    };
    timeout(WAIT_MAX, sent_away).await.expect("the connection is closed");
    assert!(rounds > 10, "so many may be taken back: {rounds} times ten");
}

#[tokio::test]
async fn an_http_2_connection_without_a_request_is_closed_after_the_time_for_a_head() {
    let server = TestServer::start(&["demo.test_stream=false", "http.head_timeout_seconds=1"]).await;
    // Not a word; a greeting; a head that never ends; and one request that was answered.
    let silent = tls(server.https, &["h2"]).await;
    let greeted = Raw::new(server.https).await;
    let mut begun = Raw::new(server.https).await;
    let (mut bytes, _) = begun.ask("/healthz");
    bytes[4] = 0;
    begun.send(&bytes).await;
    let mut served = Raw::new(server.https).await;
    let (bytes, stream) = served.ask("/healthz");
    served.send(&bytes).await;
    served.until(|(_, on, _)| *on == stream).await;
    let silent = Raw { stream: silent, next_stream: 1 };
    for mut raw in [silent, greeted, begun, served] {
        let start = Instant::now();
        raw.closed().await;
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn who_takes_nothing_of_any_answer_over_http_2_is_closed_after_10_s() {
    let server = TestServer::start(&[]).await;
    until(server.http, FLV, 200).await;
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing may be sent of a body, or a thousand bytes of each.
    let start = Instant::now();
    for window in [0u32, 1000] {
        let mut raw = Raw::with(server.https, &[&[0, 4][..], &window.to_be_bytes()].concat()).await;
        let (bytes, stream) = raw.ask(FLV);
        raw.send(&bytes).await;
        assert_eq!(raw.until(|(_, on, _)| *on == stream).await.0, HEADERS);
        raw.closed().await;
    }
    let seconds = start.elapsed().as_secs_f64() / 2.0;
    assert!((9.0..14.0).contains(&seconds), "{seconds} s each");
}

#[tokio::test]
async fn a_stop_ends_what_is_open_over_http_2() {
    let server = TestServer::start(&[]).await;
    until(server.http, FLV, 200).await;
    let client = Client::new(server.https).await;
    let mut player = client.open("GET", FLV, &[], "").await.into_body();
    let start = Instant::now();
    server.server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let end = async { while player.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    timeout(WAIT_MAX, end).await.expect("the player's stream ends");
}
