//! Hostile clients at the way in, over real sockets. Each test prints its id, the value found and the bound.

mod logs;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use signaling::{Code, Privilege, RoomName, TicketVersion, issue_private_map_key, issue_user_sig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    http::{ask, get, open},
    refusals::offer,
    server::{STRICT_APP, TestServer},
};

const DEMO_APP: u32 = 1_400_000_001;
/// Longest wait for anything on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Milliseconds since `unix_s` began.
fn ms_since(unix_s: u64) -> i128 {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    now_ms as i128 - i128::from(unix_s) * 1000
}

async fn quiet_server(set: &[&str]) -> TestServer {
    TestServer::start(&[&["demo.test_stream=false"], set].concat()).await
}

fn user_sig(server: &TestServer, user: &str) -> String {
    issue_user_sig(server.app(DEMO_APP), TicketVersion::V2, user, unix_s(), 300).expect("a userSig")
}

fn map_key(server: &TestServer, user: &str, room: u32, bits: u32, life_s: u64) -> String {
    let (app, room) = (server.app(DEMO_APP), RoomName::Number(room));
    issue_private_map_key(app, TicketVersion::V2, user, &room, Privilege(bits), unix_s(), life_s).expect("a key")
}

async fn socket(server: SocketAddr) -> Socket {
    connect_async(format!("ws://{server}/signal")).await.expect("the upgrade").0
}

/// The next JSON message; `Err` is the close code, 0 if there was none.
async fn next(socket: &mut Socket) -> Result<Value, u16> {
    loop {
        match timeout(WAIT_MAX, socket.next()).await.expect("something within 20 s") {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(0),
        }
    }
}

/// Sends a request and waits for its answer.
async fn request(socket: &mut Socket, request: Value) -> Value {
    socket.send(Message::text(request.to_string())).await.expect("sent");
    loop {
        let message = next(socket).await.expect("an answer");
        if message["id"] == request["id"] {
            return message;
        }
    }
}

fn enter(user: &str, sig: &str, room: u32, key: Option<&str>) -> Value {
    let mut enter =
        json!({ "id": 1, "type": "enter", "sdkAppID": DEMO_APP, "userID": user, "userSig": sig, "roomID": room });
    if let Some(key) = key {
        enter["privateMapKey"] = key.into();
    }
    enter
}

/// 0 for yes.
fn code_of(reply: &Value) -> u64 {
    reply["code"].as_u64().unwrap_or_default()
}

/// A WebSocket by hand, after its upgrade; with these header lines besides.
async fn raw_socket(server: SocketAddr, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server).await.expect("the server accepts");
    let text = format!(
        "GET /signal HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(WAIT_MAX, stream.read_u8()).await.expect("within 20 s").expect("an answer"));
    }
    (stream, String::from_utf8_lossy(&head).to_ascii_lowercase())
}

/// The head of a masked text frame that says it has so many bytes; the mask is zero.
fn frame_head(bytes: u64) -> Vec<u8> {
    let mut head = vec![0x81, 0x80 | 127];
    head.extend(bytes.to_be_bytes());
    head.extend([0; 4]);
    head
}

/// Reads to the end and returns the code of the close frame, which is the last one of the server.
async fn close_code(stream: &mut TcpStream) -> u16 {
    let mut bytes = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut bytes)).await.expect("closed within 20 s");
    let mut rest = &bytes[..];
    while let [opcode, length, tail @ ..] = rest {
        let (length, tail) = match (length, tail) {
            (126, [high, low, tail @ ..]) => (usize::from(*high) << 8 | usize::from(*low), tail),
            _ => (usize::from(*length), tail),
        };
        if *opcode == 0x88 {
            return tail.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
        }
        rest = tail.get(length..).unwrap_or_default();
    }
    0
}

#[tokio::test]
async fn u10_pages_of_other_origins_get_403_before_the_upgrade() {
    let server = quiet_server(&["signaling.origins=https://good.example"]).await;
    for (origin, status) in [
        ("Origin: https://evil.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
        ("Origin: https://good.example.evil.example\r\n", "403"),
        ("Origin: http://good.example\r\n", "403"),
        ("Origin: https://good.example\r\n", "101"),
        ("", "101"),
    ] {
        let (_, head) = raw_socket(server.http, origin).await;
        println!("U10 {:<45} {} (bound {status})", origin.trim(), &head[9..12]);
        assert_eq!(&head[9..12], status, "{origin}");
        assert_eq!(head.contains("sec-websocket-accept"), status == "101", "{origin}");
    }
}

#[tokio::test]
async fn u11_who_does_not_enter_is_closed_after_5_s_and_gone_2_s_later_though_he_never_answers() {
    let server = quiet_server(&[]).await;
    let start = Instant::now();
    let (mut stream, _) = raw_socket(server.http, "").await;
    let code = close_code(&mut stream).await;
    let gone = start.elapsed().as_secs_f64();
    println!("U11 close code {code} (bound 4401), socket gone after {gone:.2} s (bound 7)");
    assert_eq!(code, 4401);
    assert!((4.9..7.0).contains(&gone), "{gone}");
}

#[tokio::test]
async fn u12_too_long_frames_are_1009_and_nothing_is_compressed() {
    let server = quiet_server(&[]).await;
    for (declared, sent) in [(300 << 10, 0), (1 << 40, 0), (u64::MAX >> 1, 0), ((64 << 10) + 1, (64 << 10) + 1)] {
        let (mut stream, _) = raw_socket(server.http, "").await;
        stream.write_all(&frame_head(declared)).await.expect("sent");
        stream.write_all(&vec![b' '; sent]).await.expect("sent");
        let start = Instant::now();
        let code = close_code(&mut stream).await;
        println!("U12 before enter: {declared} declared, {sent} sent: {code} (bound 1009), {:?}", start.elapsed());
        assert_eq!(code, 1009, "{declared}");
    }
    let mut socket = socket(server.http).await;
    assert_eq!(code_of(&request(&mut socket, enter("eve", &user_sig(&server, "eve"), 1, None)).await), 0);
    let padding = |bytes: usize| format!("{{\"id\":2,\"type\":\"heartbeat\"{}}}", " ".repeat(bytes - 27));
    assert_eq!(padding(256 << 10).len(), 256 << 10);
    socket.send(Message::text(padding(256 << 10))).await.expect("sent");
    assert_eq!(next(&mut socket).await.expect("an answer")["type"], "ok");
    let _ = socket.send(Message::text(padding((256 << 10) + 1))).await;
    let code = loop {
        if let Err(code) = next(&mut socket).await {
            break code;
        }
    };
    println!("U12 after enter: 262144 bytes are read, 262145 are {code} (bound 1009)");
    assert_eq!(code, 1009);
    let (_, head) = raw_socket(server.http, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
    assert!(head.contains(" 101 ") && !head.contains("sec-websocket-extensions"), "{head}");
}

#[tokio::test]
async fn u13_what_is_no_message_ends_the_connection_with_its_code() {
    let server = quiet_server(&[]).await;
    let deep = format!("{{\"id\":1,\"a\":{}1{}}}", "[".repeat(32), "]".repeat(32));
    for (what, text) in
        [("null", "null"), ("depth 33", &deep), ("a key twice", r#"{"id":1,"id":1,"type":"leave"}"#), ("nothing", "")]
    {
        let mut socket = socket(server.http).await;
        socket.send(Message::text(text)).await.expect("sent");
        let closed = next(&mut socket).await.expect("the event closed");
        let code = next(&mut socket).await.expect_err("a close frame");
        println!("U13 {what}: {} {code} (bound 4400)", code_of(&closed));
        assert_eq!((code_of(&closed), code), (u64::from(Code::BadMessage.number()), 4400), "{what}");
    }
    let (mut stream, _) = raw_socket(server.http, "").await;
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]).await.expect("sent");
    let code = close_code(&mut stream).await;
    println!("U13 bad UTF-8: {code} (bound 1007 or 4400)");
    assert!([1007, 4400].contains(&code), "{code}");

    let large = "x".repeat(17 << 10);
    let status = ask(server.http, "GET", "/signal", &[("x-large", &large)], "").await.status;
    println!("U13 a head of 17 KiB: {status} (bound 431)");
    assert_eq!(status, 431);
}

#[tokio::test]
async fn u13_a_head_that_trickles_is_408_within_10_s() {
    let server = quiet_server(&[]).await;
    let mut stream = TcpStream::connect(server.http).await.expect("the server accepts");
    let start = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        for byte in b"GET /signal HTTP/1.1\r\nHost: a\r\n".iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut answer) => {}
        () = trickle => {}
    }
    let (text, took) = (String::from_utf8_lossy(&answer).into_owned(), start.elapsed().as_secs_f64());
    println!("U13 a head of 1 B/s: {} after {took:.2} s (bound 408, 10)", text.get(9..12).unwrap_or("nothing"));
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(took < 10.0, "{took}");
}

#[tokio::test]
async fn u14_every_bad_user_sig_is_the_same_code_over_the_socket() {
    let server = quiet_server(&[]).await;
    let app = server.app(DEMO_APP);
    let stranger = signaling::AppConfig { v2_secret: Some("x".into()), v1_keys_pem: Vec::new(), ..app.clone() };
    let sig = |app: &signaling::AppConfig, version, user: &str, from_s, life_s| {
        issue_user_sig(app, version, user, from_s, life_s).expect("a userSig")
    };
    let now_s = unix_s();
    let mut checked = 0;
    for (what, ticket) in [
        ("of a stranger", sig(&stranger, TicketVersion::V2, "eve", now_s, 300)),
        ("of another user", sig(app, TicketVersion::V1, "bob", now_s, 300)),
        ("of the future", sig(app, TicketVersion::V1, "eve", now_s + 120, 300)),
        ("of over-long life", sig(app, TicketVersion::V2, "eve", now_s, 500 * 24 * 3600)),
        ("a privateMapKey", map_key(&server, "eve", 1, 255, 300)),
        ("16 KiB of letters", "A".repeat(16 << 10)),
        ("one letter", "A".to_owned()),
    ] {
        let mut socket = socket(server.http).await;
        let reply = request(&mut socket, enter("eve", &ticket, 1, None)).await;
        assert_eq!(code_of(&reply), u64::from(Code::UserSigInvalid.number()), "{what}: {reply}");
        checked += 1;
    }
    println!("U14 {checked} bad userSigs: 70003 each (bound: one code); what they cost: signaling/tests/cost.rs");
}

#[tokio::test]
async fn u15_each_missing_bit_refuses_its_action_and_expiry_ends_a_player() {
    let server = TestServer::start(&["signaling.joins_per_user_per_minute=1000"]).await;
    let missing = u64::from(Code::PrivilegeMissing.number());
    let lines = |stream: &str, mid: &str, direction: &str| {
        // Of the two lines only the one that is named sends.
        let other = if mid == "0" { "1" } else { "0" };
        let sdp = offer(direction);
        let (audio, video) = sdp.split_at(sdp.find("m=video").expect("a video line"));
        let off = |part: &str| part.replace("a=sendonly", "a=inactive");
        let sdp = if other == "1" { format!("{audio}{}", off(video)) } else { format!("{}{video}", off(audio)) };
        json!({ "id": 2, "type": "publish", "sdp": sdp, "tracks": [{ "mid": mid, "stream": stream }] })
    };
    let watch = |stream: &str, audio: bool| {
        let wanted = json!([{ "userID": "teststream", "stream": stream, "audio": audio, "video": !audio }]);
        json!({ "id": 2, "type": "subscribe", "streams": wanted })
    };
    for (bit, what, action) in [
        (1, "create", None),
        (2, "enter", None),
        (4, "send audio", Some(lines("main", "0", "sendonly"))),
        (8, "receive audio", Some(watch("main", true))),
        (16, "send video", Some(lines("main", "1", "sendonly"))),
        (32, "receive video", Some(watch("main", false))),
        (64, "send aux", Some(lines("aux", "1", "sendonly"))),
        (128, "receive aux", Some(watch("aux", false))),
    ] {
        let room = if bit == 1 { 2000 } else { 1001 };
        let code = async |bits| {
            let mut socket = socket(server.http).await;
            let (sig, key) = (user_sig(&server, "eve"), map_key(&server, "eve", room, bits, 300));
            let entered = request(&mut socket, enter("eve", &sig, room, Some(&key))).await;
            match &action {
                Some(action) if code_of(&entered) == 0 => code_of(&request(&mut socket, action.clone()).await),
                _ => code_of(&entered),
            }
        };
        let (without, with) = (code(255 - bit).await, code(255).await);
        println!("U15 without the bit to {what}: {without} (bound {missing}); with it: {with}");
        assert_eq!(without, missing, "{what}");
        assert_ne!(with, missing, "{what}");
    }

    let (life_s, user) = (2, "viewer");
    let expires_at_s = unix_s() + life_s;
    let (sig, key) = (user_sig(&server, user), map_key(&server, user, 1001, 255, life_s));
    let path = format!("/live/1400000001_1001_teststream_main.flv?userid={user}&usersig={sig}&privatemapkey={key}");
    let response = open(server.http, "GET", &path, &[], "").await;
    assert_eq!(response.status(), 200);
    let bytes = timeout(WAIT_MAX, response.into_body().collect()).await.expect("it ends").expect("a body").to_bytes();
    let late_ms = ms_since(expires_at_s);
    println!("U15 FLV of an expired privateMapKey ends: {late_ms} ms after, {} bytes (bound 1000 ms)", bytes.len());
    assert!((-100..=1000).contains(&late_ms) && bytes.len() > 1000, "{late_ms}");
}

#[tokio::test]
async fn u15_a_bit_lost_on_renewal_ends_what_it_allowed() {
    let server = quiet_server(&[]).await;
    let (mut eve, mut bob) = (socket(server.http).await, socket(server.http).await);
    let sig = user_sig(&server, "eve");
    assert_eq!(code_of(&request(&mut bob, enter("bob", &user_sig(&server, "bob"), 1, None)).await), 0);
    assert_eq!(code_of(&request(&mut eve, enter("eve", &sig, 1, None)).await), 0);
    let tracks = json!([{ "mid": "0", "stream": "main" }, { "mid": "1", "stream": "main" }]);
    let publish = json!({ "id": 2, "type": "publish", "sdp": offer("sendonly"), "tracks": tracks });
    assert_eq!(code_of(&request(&mut eve, publish).await), 0);
    while next(&mut bob).await.expect("an event")["type"] != "stream-added" {}
    let key = map_key(&server, "eve", 1, 255 - 16, 300);
    let start = Instant::now();
    let role = json!({ "id": 3, "type": "role", "role": "anchor", "userSig": sig, "privateMapKey": key });
    assert_eq!(code_of(&request(&mut eve, role).await), 0);
    while next(&mut bob).await.expect("an event")["type"] != "stream-removed" {}
    println!("U15 a stream whose bit was lost on renewal ends after {:?} (bound 1 s)", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn u16_who_has_no_ticket_cannot_tell_what_exists() {
    let server = quiet_server(&[]).await;
    let ticket = server.ticket(STRICT_APP, "cam", "secret-room");
    let path = format!("/whip/secret-room/cam?sdkappid={STRICT_APP}&privatemapkey={}", ticket.private_map_key);
    let bearer = format!("Bearer {}", ticket.user_sig);
    let headers = [("content-type", "application/sdp"), ("authorization", bearer.as_str())];
    assert_eq!(ask(server.http, "POST", &path, &headers, &offer("sendonly")).await.status, 201);
    let names =
        ["secret-room_cam", "secret-room_nobody", "no-room_cam"].map(|name| format!("{STRICT_APP}_{name}_main"));
    for query in ["", "?userid=eve&usersig=guess", "?txSecret=guess&txTime=7FFFFFFF"] {
        let mut seen = Vec::new();
        for name in &names {
            let mut times = Vec::new();
            let mut answer = None;
            for _ in 0..25 {
                let start = Instant::now();
                answer = Some(get(server.http, &format!("/live/{name}.flv{query}")).await);
                times.push(start.elapsed().as_micros());
            }
            times.sort_unstable();
            let answer = answer.expect("asked");
            seen.push((answer.status, answer.text(), times[times.len() / 2]));
        }
        let times: Vec<u128> = seen.iter().map(|(_, _, time)| *time).collect();
        let difference = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
        println!("U16 {query:?}: {} for each (bound: the same), medians {times:?} µs (bound: 2000 apart)", seen[0].0);
        assert!(seen.iter().all(|(status, text, _)| (*status, text) == (seen[0].0, &seen[0].1)), "{seen:?}");
        assert_eq!(seen[0].0, 401);
        assert!(difference < 2000, "{times:?}");
    }
    // The same by /sign: an app that is not known is no different from a wrong secret, or none.
    for (app, secret) in [(STRICT_APP, "Bearer wrong"), (5, "Bearer wrong"), (STRICT_APP, "Basic x"), (5, "")] {
        let body = json!({ "sdkAppID": app, "userID": "eve" }).to_string();
        let answer = ask(server.http, "POST", "/sign", &[("authorization", secret)], &body).await;
        assert_eq!((answer.status, answer.code()), (401, Some(Code::OwnerRefused.number())), "{app} {secret}");
    }
    println!("U16 /sign without the secret: 401 71010 for known and unknown apps (bound: the same)");
}

#[tokio::test]
async fn sign_makes_tickets_that_let_in() {
    let server = quiet_server(&[]).await;
    let secret = server.app(STRICT_APP).v2_secret.clone().expect("a secret");
    let bearer = format!("Bearer {secret}");
    let sign = async |body: Value| {
        ask(server.http, "POST", "/sign", &[("authorization", bearer.as_str())], &body.to_string()).await
    };
    let answer = sign(json!({ "sdkAppID": STRICT_APP, "userID": "alice", "roomID": "lobby", "expire": 60 })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ticket: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let mut socket = socket(server.http).await;
    let mut enter = json!({ "id": 1, "type": "enter" });
    for name in ["sdkAppID", "userID", "userSig", "roomID", "privateMapKey"] {
        enter[name] = ticket[name].clone();
    }
    assert_eq!(request(&mut socket, enter).await["type"], "ok");
    assert_eq!(answer.header("access-control-allow-origin"), "", "no page of another origin may read it");
    for (body, code) in [
        (json!({ "sdkAppID": STRICT_APP, "userID": "a\nb" }), Code::BadField),
        (json!({ "sdkAppID": STRICT_APP }), Code::BadField),
        (json!({ "sdkAppID": STRICT_APP, "userID": "a", "version": 1 }), Code::BadField),
        (json!({ "sdkAppID": STRICT_APP, "userID": "a", "expire": 500u64 * 24 * 3600 }), Code::BadField),
        (json!([]), Code::BadMessage),
        (json!({ "sdkAppID": STRICT_APP, "userID": "a", "pad": "x".repeat(4096) }), Code::MessageTooBig),
    ] {
        assert_eq!(sign(body.clone()).await.code(), Some(code.number()), "{body}");
    }
}

/// An address of this machine that is not loopback: limits per address do not count loopback.
pub fn outer_address() -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().map(|interface| interface.ip()).find(|ip| ip.is_ipv4() && !ip.is_loopback())
}

#[tokio::test]
async fn u27_metrics_and_limits_by_address() {
    let Some(outer) = outer_address() else { return println!("U27 this machine has loopback only: not shown") };
    let listen = format!("http.listen={outer}:0");
    let server = quiet_server(&[&listen, "signaling.failed_auths_per_minute=20"]).await;
    let refused = get(server.http, "/metrics").await.status;
    println!("U27 /metrics from {outer} without a token: {refused} (bound 401)");
    assert_eq!(refused, 401);

    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(socket(server.http).await);
    }
    let upgrade = format!("ws://{}/signal", server.http).into_client_request().expect("a request");
    let refused = match connect_async(upgrade).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    println!("connections per address: 50 open, the 51st {refused} (bound 429)");
    assert_eq!(refused, 429);
    drop(sockets);

    let mut codes = Vec::new();
    for _ in 0..21 {
        codes.push(get(server.http, "/live/1400000777_1_a_main.flv?userid=a&usersig=guess").await.code().unwrap_or(0));
    }
    println!("refused tickets per address: {:?} 20 times, then {}", codes[0], codes[20]);
    assert!(codes[..20].iter().all(|code| *code == Code::UserSigInvalid.number()), "{codes:?}");
    assert_eq!(codes[20], Code::TooManyFailures.number());
}

#[tokio::test]
async fn u27_metrics_want_the_token_where_there_is_one() {
    let server = quiet_server(&["http.metrics_token=canary-metrics"]).await;
    for (header, status) in
        [("", 401), ("Bearer canary-metric", 401), ("canary-metrics", 401), ("Bearer canary-metrics", 200)]
    {
        let answer = ask(server.http, "GET", "/metrics", &[("authorization", header)], "").await;
        println!("U27 /metrics with {header:?}: {} (bound {status})", answer.status);
        assert_eq!(answer.status, status, "{header:?}");
    }
}
