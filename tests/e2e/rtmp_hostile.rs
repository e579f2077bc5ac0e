//! Hostile RTMP clients over real sockets. Each test prints its id, the value found and the bound.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use signaling::auth::url::{tx_secret, tx_time};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    http::get,
    server::{STRICT_APP, STRICT_PUSH_KEY, TestServer},
    takeover::RtmpPublisher,
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
