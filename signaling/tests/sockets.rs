//! The router over real sockets: what only shows there, such as close codes, headers and what comes before the first message.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use media::{
    Command, Event, TransportId,
    codec::Codec,
    command::{NegotiatedTrack, PublishAnswer},
};
use serde_json::{Value, json};
use signaling::{AppConfig, Hub, SignalingConfig, TicketVersion, issue_user_sig, router};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n";

fn app() -> AppConfig {
    AppConfig { v2_secret: Some("secret".into()), ..AppConfig::default() }
}

struct Server {
    address: SocketAddr,
    hub: Hub,
    /// Kept so that the hub's event loop goes on.
    _events: mpsc::Sender<Event>,
}

/// Serves, and publishes whatever is offered as Opus.
async fn server(change: impl FnOnce(&mut SignalingConfig)) -> Server {
    let mut config = SignalingConfig { apps: vec![app()], demo: true, ..SignalingConfig::default() };
    change(&mut config);
    let (commands, mut received) = mpsc::channel(64);
    let (_events, events) = mpsc::channel(64);
    let hub = Hub::start(config, commands, events).unwrap();
    tokio::spawn(async move {
        let mut drawn = 0;
        while let Some(command) = received.recv().await {
            match command {
                Command::Publish { tracks, reply, .. } => {
                    drawn += 1;
                    let stream = tracks[0].stream;
                    let codec = Codec::Opus;
                    let tracks = vec![NegotiatedTrack { mid: "0".into(), stream, kind: codec.kind(), codec }];
                    let transport = TransportId(drawn);
                    let _ = reply.send(Ok(PublishAnswer { transport, answer: "v=0 answer".into(), tracks }));
                }
                Command::RestartIce { reply, .. } => drop(reply.send(Ok("a=ice-ufrag:ours".into()))),
                _ => {}
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router(hub.clone()).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Server { address, hub, _events }
}

impl Server {
    async fn socket(&self) -> Socket {
        connect_async(format!("ws://{}/signal", self.address)).await.unwrap().0
    }

    /// One HTTP exchange: status, head in lower case, body.
    async fn http(&self, request: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            self.address
        );
        tcp.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn user_sig(user: &str) -> String {
    issue_user_sig(&app(), TicketVersion::V2, user, now_s(), 300).unwrap()
}

fn enter(user: &str) -> Message {
    let app = app().sdk_app_id;
    let sig = user_sig(user);
    Message::text(
        json!({"id": 1, "type": "enter", "sdkAppID": app, "userID": user, "userSig": sig, "roomID": 1}).to_string(),
    )
}

/// The next text message.
async fn next(socket: &mut Socket) -> Value {
    match tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap().unwrap().unwrap() {
        Message::Text(text) => {
            let mut message: Value = serde_json::from_str(&text).unwrap();
            // What a message is does not depend on its number.
            message.as_object_mut().unwrap().remove("seq");
            message
        }
        other => panic!("{other:?}"),
    }
}

/// The code of the event `closed` and of the close frame behind it.
async fn closed(socket: &mut Socket) -> (u64, u16) {
    let event = next(socket).await;
    assert_eq!(event["type"], "closed", "{event}");
    match tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap() {
        Some(Ok(Message::Close(Some(frame)))) => (event["code"].as_u64().unwrap(), frame.code.into()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_does_not_enter_in_time_is_closed_whatever_else_he_sends() {
    let server = server(|config| config.limits.enter_within = Duration::from_millis(200)).await;
    let mut silent = server.socket().await;
    let mut chatty = server.socket().await;
    chatty.send(Message::text(r#"{"id":1,"type":"heartbeat"}"#)).await.unwrap();
    assert_eq!(next(&mut chatty).await["code"], 72004);
    assert_eq!(closed(&mut silent).await, (72006, 4401));
    assert_eq!(closed(&mut chatty).await, (72006, 4401));
}

#[tokio::test]
async fn a_member_silent_for_too_long_is_closed_and_leaves() {
    let server = server(|config| config.dead_after = Duration::from_millis(300)).await;
    let mut alice = server.socket().await;
    alice.send(enter("alice")).await.unwrap();
    assert_eq!(next(&mut alice).await["type"], "ok");
    assert_eq!(closed(&mut alice).await, (72007, 4408));
    assert_eq!(server.hub.counts().members, 0);
}

#[tokio::test]
async fn what_cannot_be_read_closes_the_connection() {
    let server = server(|_| {}).await;
    let deep = format!(r#"{{"id":1,"type":"x","a":{}{}}}"#, "[".repeat(32), "]".repeat(32));
    for text in ["null", "[]", r#"{"id":1,"id":2}"#, deep.as_str()] {
        let mut socket = server.socket().await;
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(closed(&mut socket).await, (72000, 4400), "{text}");
    }
    let mut socket = server.socket().await;
    socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(closed(&mut socket).await, (72000, 4400));
}

#[tokio::test]
async fn a_message_has_64_kib_before_enter_and_256_kib_after() {
    let server = server(|_| {}).await;
    let padded = |len: usize| {
        let text = r#"{"id":2,"type":"heartbeat","pad":""}"#;
        Message::text(text.replace(r#""pad":"""#, &format!(r#""pad":"{}""#, "x".repeat(len - text.len()))))
    };
    let mut early = server.socket().await;
    early.send(padded(64 << 10)).await.unwrap();
    assert_eq!(next(&mut early).await["code"], 72004);
    early.send(padded((64 << 10) + 1)).await.unwrap();
    assert_eq!(closed(&mut early).await, (72003, 1009));
    let mut late = server.socket().await;
    late.send(enter("alice")).await.unwrap();
    assert_eq!(next(&mut late).await["type"], "ok");
    late.send(padded(256 << 10)).await.unwrap();
    assert_eq!(next(&mut late).await["type"], "ok");
    late.send(padded((256 << 10) + 1)).await.unwrap();
    assert_eq!(closed(&mut late).await, (72003, 1009));
    assert_eq!(server.hub.counts().members, 0);
}

#[tokio::test]
async fn u12_a_frame_that_announces_too_much_is_refused_by_its_head_alone() {
    let server = server(|_| {}).await;
    // A masked text frame's head that announces this many bytes (RFC 6455 §5.2).
    let head = |len: u64| [&[0x81, 0x80 | 127][..], &len.to_be_bytes(), &[0; 4]].concat();
    for (enters, most) in [(false, 64 << 10), (true, 256 << 10)] {
        for (len, refused) in [(most, false), (most + 1, true), (1 << 40, true)] {
            let mut socket = server.socket().await;
            if enters {
                socket.send(enter("alice")).await.unwrap();
                assert_eq!(next(&mut socket).await["type"], "ok");
            }
            // Nothing of the message itself is ever sent.
            let MaybeTlsStream::Plain(tcp) = socket.get_mut() else { panic!() };
            tcp.write_all(&head(len)).await.unwrap();
            if refused {
                assert_eq!(closed(&mut socket).await, (72003, 1009), "{len} bytes, entered: {enters}");
                continue;
            }
            let waiting = tokio::time::timeout(Duration::from_millis(100), socket.next()).await;
            assert!(waiting.is_err(), "{len} bytes are waited for, entered: {enters}: {waiting:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so_and_compression_is_not_negotiated() {
    let server = server(|_| {}).await;
    let (status, head, _) = server.http("GET /signal", "", "").await;
    assert_eq!(status, 426, "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let (status, ..) = server.http("GET /signal", &format!("{upgrade}Sec-WebSocket-Version: 7\r\n"), "").await;
    assert_eq!(status, 400);
    let mut request = format!("ws://{}/signal", server.address).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Extensions", "permessage-deflate".parse().unwrap());
    let (_, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers().get("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn a_closed_socket_is_a_member_gone_and_leave_keeps_the_socket() {
    let server = server(|_| {}).await;
    let (mut alice, mut bob) = (server.socket().await, server.socket().await);
    alice.send(enter("alice")).await.unwrap();
    assert_eq!(next(&mut alice).await["type"], "ok");
    bob.send(enter("bob")).await.unwrap();
    assert_eq!(next(&mut bob).await["members"][0]["userID"], "alice");
    assert_eq!(next(&mut alice).await["type"], "member-entered");
    bob.send(Message::text(r#"{"id":2,"type":"leave"}"#)).await.unwrap();
    assert_eq!(next(&mut bob).await, json!({"id": 2, "type": "ok"}));
    assert_eq!(next(&mut alice).await["reason"], "left");
    bob.send(enter("bob")).await.unwrap();
    assert_eq!(next(&mut bob).await["type"], "ok");
    assert_eq!(next(&mut alice).await["type"], "member-entered");
    bob.close(None).await.unwrap();
    assert_eq!(next(&mut alice).await["reason"], "disconnected");
}

#[tokio::test]
async fn a_socket_that_breaks_is_resumed_on_another_and_nobody_is_told() {
    let server = server(|_| {}).await;
    let (mut alice, mut bob) = (server.socket().await, server.socket().await);
    alice.send(enter("alice")).await.unwrap();
    assert_eq!(next(&mut alice).await["type"], "ok");
    bob.send(enter("bob")).await.unwrap();
    let entered = next(&mut bob).await;
    assert_eq!(entered["resumeSeconds"], 15);
    assert_eq!(next(&mut alice).await["type"], "member-entered");
    drop(bob);
    for n in 0..3 {
        alice.send(Message::text(format!(r#"{{"id":{},"type":"message","text":"{n}"}}"#, n + 2))).await.unwrap();
        assert_eq!(next(&mut alice).await["messageID"], n + 1);
    }
    let mut again = server.socket().await;
    let resume = json!({"id": 7, "type": "resume", "resumeToken": entered["resumeToken"], "seq": 0});
    again.send(Message::text(resume.to_string())).await.unwrap();
    assert_eq!(next(&mut again).await, json!({"id": 7, "type": "ok", "lastRequest": 1, "replayed": 3}));
    for n in 0..3 {
        let Message::Text(text) = again.next().await.unwrap().unwrap() else { panic!() };
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&message["seq"], &message["text"]), (&json!(n + 1), &json!(n.to_string())));
    }
    // Once more, while the old socket still stands: it is told why it closes.
    let mut third = server.socket().await;
    let resume = json!({"id": 8, "type": "resume", "resumeToken": entered["resumeToken"], "seq": 3});
    third.send(Message::text(resume.to_string())).await.unwrap();
    assert_eq!(next(&mut third).await["replayed"], 0);
    assert_eq!(closed(&mut again).await, (73026, 4409));
    alice.send(Message::text(r#"{"id":9,"type":"heartbeat"}"#)).await.unwrap();
    assert_eq!(next(&mut alice).await["id"], 9, "nothing else was said to her");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_before_the_upgrade() {
    let server = server(|config| config.origins = vec!["https://good.example".into()]).await;
    let from = |origin: &'static str| {
        let mut request = format!("ws://{}/signal", server.address).into_client_request().unwrap();
        request.headers_mut().insert("Origin", origin.parse().unwrap());
        connect_async(request)
    };
    assert!(from("https://good.example").await.is_ok());
    match from("https://evil.example").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{:?}", other.map(|_| ())),
    }
    let (_, head, _) = server.http("OPTIONS /whip/1/a", "Origin: https://evil.example\r\n", "").await;
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    let (_, head, _) = server.http("OPTIONS /whip/1/a", "Origin: https://good.example\r\n", "").await;
    assert!(head.contains("access-control-allow-origin: https://good.example"), "{head}");
}

#[tokio::test]
async fn whip_over_http_from_post_to_delete() {
    let server = server(|_| {}).await;
    let bearer = format!("Authorization: Bearer {}\r\n", user_sig("cam 1"));
    let headers = format!("{bearer}Content-Type: application/sdp\r\n");
    let (status, head, body) = server.http("POST /whip/1001/cam%201", &headers, OFFER).await;
    assert_eq!((status, body.as_str()), (201, "v=0 answer"), "{head}");
    assert!(head.contains("content-type: application/sdp"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let value =
        |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("{head}")).to_owned();
    let (location, etag) = (value("location: "), value("etag: "));
    assert!(location.starts_with("/whip/1001/cam%201/"), "{location}");
    assert_eq!(server.hub.counts().members, 1);

    let fragment = "Content-Type: application/trickle-ice-sdpfrag\r\n";
    let patch = format!("PATCH {location}");
    assert_eq!(server.http(&patch, fragment, "a=candidate:1").await.0, 204);
    assert_eq!(server.http(&patch, &format!("{fragment}If-Match: {etag}\r\n"), "a=candidate:1").await.0, 204);
    assert_eq!(server.http(&patch, &format!("{fragment}If-Match: \"other\"\r\n"), "").await.0, 412);
    let (status, head, body) = server.http(&patch, &format!("{fragment}If-Match: *\r\n"), "a=ice-ufrag:x").await;
    assert_eq!((status, body.as_str()), (200, "a=ice-ufrag:ours"), "{head}");
    assert!(head.contains("content-type: application/trickle-ice-sdpfrag"), "{head}");
    assert!(head.lines().any(|line| line.starts_with("etag: ") && !line.ends_with(&etag)), "{head}");
    assert_eq!(server.http(&patch, "Content-Type: text/plain\r\n", "x").await.0, 415);
    assert_eq!(server.http(&format!("GET {location}"), "", "").await.0, 405);

    assert_eq!(server.http(&format!("DELETE {location}"), "", "").await.0, 200);
    assert_eq!(server.hub.counts(), Default::default());
    assert_eq!(server.http(&format!("DELETE {location}"), "", "").await.0, 404);
}

#[tokio::test]
async fn whip_refuses_with_a_status_and_a_code() {
    let server = server(|_| {}).await;
    let sdp = "Content-Type: application/sdp\r\n";
    let bearer = |ticket: &str| format!("{sdp}Authorization: Bearer {ticket}\r\n");
    let code = |body: &str| serde_json::from_str::<Value>(body).unwrap()["code"].as_u64().unwrap();
    for (request, headers, body, status, expected) in [
        ("POST /whip/1/eve", sdp.to_owned(), OFFER, 401, 71000),
        ("POST /whip/1/eve", bearer("rubbish"), OFFER, 401, 70003),
        ("POST /whip/1/eve", bearer(&user_sig("alice")), OFFER, 401, 70003),
        ("POST /whep/1/eve", bearer(&user_sig("eve")), OFFER, 404, 73004),
        ("POST /whip/1/eve", bearer(&user_sig("eve")), "", 400, 74000),
        ("POST /whip/1/eve?stream=third", bearer(&user_sig("eve")), OFFER, 400, 72002),
        ("POST /whip/1/%0Aeve", bearer(&user_sig("eve")), OFFER, 400, 72002),
        ("POST /whip/1/eve", "Content-Type: text/plain\r\n".into(), OFFER, 415, 72013),
        ("PUT /whip/1/eve", String::new(), "", 405, 72012),
        ("DELETE /whip/1/eve/0123", String::new(), "", 404, 72014),
    ] {
        let (got, head, text) = server.http(request, &headers, body).await;
        assert_eq!((got, code(&text)), (status, expected), "{request}");
        assert_eq!(got == 401, head.contains("www-authenticate: Bearer"), "{head}");
    }
    let big = "x".repeat((128 << 10) + 1);
    let (status, _, text) = server.http("POST /whip/1/eve", &bearer(&user_sig("eve")), &big).await;
    assert_eq!((status, code(&text)), (413, 72003));
    assert_eq!(server.hub.counts().rooms, 0);
}

#[tokio::test]
async fn the_demo_hands_out_tickets_that_are_good_and_only_while_it_is_on() {
    let server = server(|_| {}).await;
    let (status, head, body) = server.http("GET /demo/ticket?roomID=lobby&userID=alice", "", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: no-store"), "{head}");
    let ticket: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&ticket["roomID"], &ticket["rtmpPort"]), (&json!("lobby"), &json!(1935)));
    let mut request = ticket.clone();
    (request["id"], request["type"]) = (1.into(), "enter".into());
    let mut socket = server.socket().await;
    socket.send(Message::text(request.to_string())).await.unwrap();
    assert_eq!(next(&mut socket).await["roomID"], "lobby");
    assert_eq!(server.http("GET /demo/ticket?userID=", "", "").await.0, 400);
    let off = self::server(|config| config.demo = false).await;
    assert_eq!(off.http("GET /demo/ticket?userID=alice", "", "").await.0, 404);
}
