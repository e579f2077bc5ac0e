//! Hostile RTMP clients over real sockets. Each test prints its id, the value found and the bound.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use media::flv::{Tag, TagKind};
use signaling::auth::url::{tx_secret, tx_time};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    hostile::outer_address,
    http::get,
    server::{STRICT_APP, STRICT_PUSH_KEY, TestServer},
    streams::{HttpPlayer, Player, until},
    takeover::{RtmpPlayer, RtmpPublisher},
};

const DEMO_APP: u32 = 1_400_000_001;
const WAIT_MAX: Duration = Duration::from_secs(30);
const PACKET_BYTES: usize = 1_536;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u17_a_thousand_half_open_handshakes_are_closed_after_10_s_and_harm_no_publisher() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let began = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(server.rtmp).await.expect("the server accepts");
        stream.write_all(&[3]).await.expect("sent");
        waiting.push(stream);
    }
    let opened = began.elapsed();
    let ticket = server.ticket(DEMO_APP, "honest", "95");
    let honest = Instant::now();
    assert_eq!(RtmpPublisher::ask(server.rtmp, &server.push_url(&ticket)).await, None);
    println!(
        "U17 an honest publish beside 1000 half-open handshakes: {:.3} s (bound 1)",
        honest.elapsed().as_secs_f64()
    );
    // A byte a second keeps nobody open.
    for round in 0..3u8 {
        for stream in &mut waiting {
            let _ = stream.write_all(&[round]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for stream in &mut waiting {
        let mut rest = Vec::new();
        let _ = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.expect("closed");
    }
    let all = began.elapsed();
    println!("U17 all closed {:.1} s after the last was opened (bound 10)", (all - opened).as_secs_f64());
    assert!(all - opened < Duration::from_secs(12), "{all:?}");
}

/// Shakes hands, sends these bytes and waits until the server closes. How long that took.
async fn closed_after(server: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(server).await.expect("the server accepts");
    let hello = [&[3][..], &[0; PACKET_BYTES]].concat();
    stream.write_all(&hello).await.expect("sent");
    let mut answer = vec![0; 1 + 2 * PACKET_BYTES];
    stream.read_exact(&mut answer).await.expect("answered");
    stream.write_all(&answer[1..=PACKET_BYTES]).await.expect("sent");
    let began = Instant::now();
    let _ = stream.write_all(bytes).await;
    let mut rest = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.expect("closed");
    began.elapsed()
}

/// A message in one chunk, or its start.
fn chunk(chunk_stream: u8, kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    let [_, l0, l1, l2] = length.to_be_bytes();
    [&[chunk_stream, 0, 0, 0, l0, l1, l2, kind, 0, 0, 0, 0][..], body].concat()
}

#[tokio::test]
async fn u18_and_u19_chunks_and_values_beyond_their_bounds_close_the_connection_at_once() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let chunk_size = |size: u32| chunk(2, 1, 4, &size.to_be_bytes());
    let string = |text: &str| [&[2, 0, text.len() as u8][..], text.as_bytes()].concat();
    let connect = |value: &[u8]| {
        let body = [&string("connect")[..], &[0; 9], value].concat();
        // In chunks of 128 bytes, the default.
        let mut parts = body.chunks(128);
        let mut out = chunk(3, 20, body.len() as u32, parts.next().unwrap_or_default());
        parts.for_each(|part| out.extend([&[0xc3][..], part].concat()));
        out
    };
    let nested = |depth: usize| connect(&b"\x03\x00\x01a".repeat(depth));
    let changed = [&chunk(4, 9, 200, &[0; 128])[..], &[0x44, 0, 0, 0, 0, 1, 44, 9], &[0; 100]].concat();
    let streams: Vec<u8> = (3..36).flat_map(|stream| chunk(stream, 9, 200, &[0; 128])).collect();
    let cases: [(&str, Vec<u8>); 9] = [
        ("U18 chunk size 0", chunk_size(0)),
        ("U18 chunk size 1", chunk_size(1)),
        ("U18 chunk size 2^31-1", chunk_size(0x7fff_ffff)),
        ("U18 a message of 16 MiB", chunk(4, 9, 0xff_ffff, &[])),
        ("U18 a length that changes within a message", changed),
        ("U18 33 chunk streams with open messages", streams),
        ("U19 AMF of depth 33", nested(33)),
        ("U19 AMF of depth 12,000", nested(12_000)),
        ("U19 an AMF count of 2^32-1", connect(b"\x0a\xff\xff\xff\xff")),
    ];
    for (what, bytes) in cases {
        let took = closed_after(server.rtmp, &bytes).await;
        println!("{what}: closed after {:.2} s (bound: at once)", took.as_secs_f64());
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
    }
    assert_eq!(get(server.http, "/healthz").await.status, 200);
}

#[tokio::test]
async fn u20_a_signed_url_that_is_wrong_in_any_way_is_refused_by_its_code() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let name = format!("{STRICT_APP}_96_cam_main");
    let signed = |name: &str, until_s: u64| {
        format!("?txSecret={}&txTime={}", tx_secret(STRICT_PUSH_KEY, name, until_s), tx_time(until_s))
    };
    let wrong = "?txSecret=00000000000000000000000000000000&txTime=7FFFFFFF".to_owned();
    let other = signed(&format!("{STRICT_APP}_96_other_main"), now_s + 60);
    let cases = [
        ("wrong", wrong),
        ("expired", signed(&name, now_s - 60)),
        ("another stream's", other),
        ("absent", String::new()),
    ];
    for (what, query) in cases {
        let refused = RtmpPublisher::ask(server.rtmp, &format!("rtmp://{}/live/{name}{query}", server.rtmp)).await;
        println!("U20 {what}: {refused:?} (bound NetStream.Publish.Unauthorized)");
        assert_eq!(refused.as_deref(), Some("NetStream.Publish.Unauthorized"), "{what}");
    }
    let good = format!("rtmp://{}/live/{name}{}", server.rtmp, signed(&name, now_s + 60));
    assert_eq!(RtmpPublisher::ask(server.rtmp, &good).await, None);
}

#[tokio::test]
async fn u20_who_guesses_signatures_is_locked_out_even_with_a_good_one() {
    let Some(outer) = outer_address() else { return println!("U20 this machine has loopback only: not shown") };
    let listen = format!("rtmp.listen={outer}:0");
    let server = TestServer::start(&["demo.test_stream=false", &listen, "signaling.failed_auths_per_minute=20"]).await;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let name = format!("{STRICT_APP}_97_cam_main");
    let url =
        |secret: &str| format!("rtmp://{}/live/{name}?txSecret={secret}&txTime={}", server.rtmp, tx_time(now_s + 60));
    for guess in 0..20 {
        let refused = RtmpPublisher::ask(server.rtmp, &url(&format!("{guess:032x}"))).await;
        assert_eq!(refused.as_deref(), Some("NetStream.Publish.Unauthorized"), "guess {guess}");
    }
    let good = tx_secret(STRICT_PUSH_KEY, &name, now_s + 60);
    let refused = RtmpPublisher::ask(server.rtmp, &url(&good)).await;
    println!("U20 a good signature after 20 guesses: {refused:?} (bound refused)");
    assert!(refused.is_some());
}

/// Pictures of 40 kB, 25 a second, one in 25 a key frame; until the future is dropped.
async fn publish_8_mbit(server: &TestServer) {
    let ticket = server.ticket(DEMO_APP, "big", "98");
    let mut publisher = RtmpPublisher::open(server.rtmp, &server.push_url(&ticket)).await.expect("let in");
    // 640x360, constrained baseline.
    let record: [u8; 37] = [
        1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 22, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0, 0, 3,
        0, 1, 0, 0, 3, 0, 0x32, 0xf, 1, 0, 4, 0x68, 0xcb, 0x83, 0xcb,
    ];
    publisher.send(&Tag::new(TagKind::Video, 0, [&[0x17, 0, 0, 0, 0], &record[..]].concat().into())).await;
    let mut pace = interval(Duration::from_millis(40));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0u32.. {
        pace.tick().await;
        let (head, nal) = if n % 25 == 0 { (0x17, 0x65) } else { (0x27, 0x41) };
        let mut payload = vec![0xaa; 40_000];
        payload[..10].copy_from_slice(&[head, 1, 0, 0, 0, 0, 0, 0x9c, 0x37, nal]);
        publisher.send(&Tag::new(TagKind::Video, n * 40, payload.into())).await;
    }
}

/// Plays until told to stop, and returns the longest wait for a picture. Not one may be missing.
async fn watch_every_picture(mut player: HttpPlayer, mut stopped: oneshot::Receiver<()>) -> Duration {
    let (mut last, mut last_ms, mut longest) = (Instant::now(), None, Duration::ZERO);
    loop {
        let tag = tokio::select! {
            tag = timeout(WAIT_MAX, player.next()) => tag.expect("the stream goes on").expect("and does not end"),
            _ = &mut stopped => return longest,
        };
        if tag.kind != TagKind::Video || tag.header {
            continue;
        }
        if let Some(last_ms) = last_ms.replace(tag.timestamp_ms) {
            assert_eq!(tag.timestamp_ms - last_ms, 40, "no picture is lost");
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_five_hundred_stalled_players_are_let_go_after_10_s_and_disturb_nobody() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let path = format!("live/{DEMO_APP}_98_big_main");
    let publishing = publish_8_mbit(&server);
    let hostile = async {
        let honest = HttpPlayer::new(until(server.http, &format!("/{path}.flv"), 200).await.into_body());
        let (stop, stopped) = oneshot::channel();
        let honest = tokio::spawn(watch_every_picture(honest, stopped));
        // First those of whom the metrics do not tell when they are gone.
        let mut by_rtmp = Vec::new();
        for _ in 0..200 {
            let mut player = RtmpPlayer::new(server.rtmp, &path).await;
            assert!(player.next().await.is_some());
            by_rtmp.push(player);
        }
        let mut stalled = Vec::new();
        for n in 0..300 {
            let upgrade = match n % 3 {
                0 => {
                    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                }
                _ => "",
            };
            let mut stream = TcpStream::connect(server.http).await.expect("the server accepts");
            let request = format!("GET /{path}.flv HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            stalled.push(stream);
        }
        let all = Instant::now();
        let gone = async {
            let mut tick = interval(Duration::from_millis(500));
            while !get(server.http, "/metrics").await.text().contains("\nroomcast_flv_players 1\n") {
                tick.tick().await;
            }
        };
        timeout(3 * WAIT_MAX, gone).await.expect("stalled players are let go");
        let gone_after = all.elapsed();
        let (mut most_http, mut most_rtmp) = (0, 0);
        for mut stream in stalled {
            let mut rest = Vec::new();
            let _ = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.expect("closed");
            most_http = most_http.max(rest.len());
        }
        for player in by_rtmp {
            let rest = timeout(WAIT_MAX, player.rest()).await.expect("closed");
            most_rtmp = most_rtmp.max(rest);
        }
        drop(stop);
        let longest = honest.await.expect("the honest player sees every picture");
        println!(
            "F14 500 stalled players: gone {:.1} s after the last came (bound: 10 s after they stalled), at most {} kB (HTTP) and {} kB (RTMP) were on their \
             way to one (bound 4096), the honest one's longest wait {} ms",
            gone_after.as_secs_f64(),
            most_http / 1000,
            most_rtmp / 1000,
            longest.as_millis()
        );
        assert!(most_http.max(most_rtmp) <= 4 << 20, "{most_http} {most_rtmp}");
    };
    tokio::select! {
        () = publishing => {}
        () = hostile => {}
    }
}
