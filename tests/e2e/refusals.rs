//! One table for every way in: what a bad ticket is answered with, over WebSocket, WHIP, WHEP, RTMP and FLV.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt, StreamExt};
use media::{
    rtmp::{
        client::{ClientEvent, ClientSession, Purpose},
        url::RtmpUrl,
    },
    units::time::Time,
};
use serde_json::{Value, json};
use signaling::{AppConfig, Code, Privilege, RoomName, TicketVersion, issue_private_map_key, issue_user_sig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    http::ask,
    server::{STRICT_APP, TestServer},
};

const DEMO_APP: u32 = 1_400_000_001;
/// The demo room: the test stream is there, so that there is something to play.
const ROOM: &str = "1001";
const STREAM: &str = "1400000001_1001_teststream_main";
/// Longest wait for any answer on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What somebody shows at the door.
#[derive(Clone)]
struct Shown {
    sdk_app_id: u32,
    user: String,
    user_sig: String,
    private_map_key: Option<String>,
}

/// One way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    WebSocket,
    Whip,
    Whep,
    RtmpPush,
    RtmpPlay,
    Flv,
}

const WAYS: [Way; 6] = [Way::WebSocket, Way::Whip, Way::Whep, Way::RtmpPush, Way::RtmpPlay, Way::Flv];

#[tokio::test]
async fn every_bad_ticket_is_refused_with_its_code_over_every_way_in() {
    // One user comes in by every way and in both versions, more often than a user may.
    let server = TestServer::start(&["signaling.joins_per_user_per_minute=100000"]).await;
    let good = cases(&server, TicketVersion::V2).swap_remove(0).shown;
    // The test stream can be played as soon as media has told signaling what it carries.
    let played = timeout(ANSWER_MAX, async {
        while try_way(&server, Way::Whep, &good).await == Some(Code::NoSuchStream.number()) {}
    });
    played.await.expect("the test stream begins");
    let mut table = format!("{:<44}", "");
    WAYS.iter().for_each(|way| write!(table, "{:>11}", format!("{way:?}")).expect("writing to a String"));
    let mut wrong = Vec::new();
    for version in [TicketVersion::V2, TicketVersion::V1] {
        for case in cases(&server, version) {
            let _ = write!(table, "\n{:<44}", format!("{} (version {version})", case.what));
            for way in WAYS {
                let came = try_way(&server, way, &case.shown).await;
                let _ = write!(table, "{:>11}", came.map_or_else(|| "let in".to_owned(), |code| code.to_string()));
                if came != case.expected.map(Code::number) {
                    wrong.push(format!("{} by {way:?}: {came:?}, not {:?}", case.what, case.expected));
                }
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\n\n{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

struct Case {
    what: &'static str,
    /// `None`: let in.
    expected: Option<Code>,
    shown: Shown,
}

fn cases(server: &TestServer, version: TicketVersion) -> Vec<Case> {
    let app = server.app(DEMO_APP);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let user = "mallory";
    let sig =
        |app: &AppConfig, user: &str, from_s: u64| issue_user_sig(app, version, user, from_s, 300).expect("a userSig");
    let key = |user: &str, room: &str, bits: u32, from_s: u64| {
        let room = RoomName::from_text(room).expect("a room's name");
        issue_private_map_key(app, version, user, &room, Privilege(bits), from_s, 300).expect("a privateMapKey")
    };
    let other_keys = TestKeys::new();
    let stranger = AppConfig { sdk_app_id: DEMO_APP, ..other_keys.app() };
    let good =
        Shown { sdk_app_id: DEMO_APP, user: user.to_owned(), user_sig: sig(app, user, now_s), private_map_key: None };
    let with_sig = |user_sig: String| Shown { user_sig, ..good.clone() };
    let with_key = |key: String| Shown { private_map_key: Some(key), ..good.clone() };
    let long_ago_s = now_s - 1_000;
    let strict = server.app(STRICT_APP);
    let mut cases = vec![
        ("a good userSig", None, good.clone()),
        ("a good privateMapKey beside it", None, with_key(key(user, ROOM, 255, now_s))),
        ("an expired userSig", Some(Code::UserSigExpired), with_sig(sig(app, user, long_ago_s))),
        ("a tampered userSig", Some(Code::UserSigInvalid), with_sig(tampered(&good.user_sig))),
        ("a userSig of another key", Some(Code::UserSigInvalid), with_sig(sig(&stranger, user, now_s))),
        ("somebody else's userSig", Some(Code::UserSigInvalid), with_sig(sig(app, "alice", now_s))),
        ("a userSig of the future", Some(Code::UserSigInvalid), with_sig(sig(app, user, now_s + 600))),
        ("a privateMapKey as userSig", Some(Code::UserSigInvalid), with_sig(key(user, ROOM, 255, now_s))),
        ("nonsense as userSig", Some(Code::UserSigInvalid), with_sig("nonsense".to_owned())),
        ("an expired privateMapKey", Some(Code::PrivateMapKeyExpired), with_key(key(user, ROOM, 255, long_ago_s))),
        (
            "the privateMapKey of another room",
            Some(Code::PrivateMapKeyInvalid),
            with_key(key(user, "1002", 255, now_s)),
        ),
        ("somebody else's privateMapKey", Some(Code::PrivateMapKeyInvalid), with_key(key("alice", ROOM, 255, now_s))),
        (
            "a tampered privateMapKey",
            Some(Code::PrivateMapKeyInvalid),
            with_key(tampered(&key(user, ROOM, 255, now_s))),
        ),
        (
            "a privateMapKey without the bit to enter",
            Some(Code::PrivilegeMissing),
            with_key(key(user, ROOM, 253, now_s)),
        ),
        ("a privateMapKey for entering only", Some(Code::PrivilegeMissing), with_key(key(user, ROOM, 2, now_s))),
        ("an app that is not known here", Some(Code::UnknownApp), Shown { sdk_app_id: 5, ..good.clone() }),
    ];
    if version == TicketVersion::V2 {
        // The strict app has a secret only.
        let foreign = sig(strict, user, now_s);
        cases.push(("a userSig of another app", Some(Code::UserSigInvalid), with_sig(foreign.clone())));
        let strict = Shown { sdk_app_id: STRICT_APP, user_sig: foreign, ..good.clone() };
        cases.push(("no privateMapKey where the app wants one", Some(Code::PrivateMapKeyMissing), strict));
    }
    cases.into_iter().map(|(what, expected, shown)| Case { what, expected, shown }).collect()
}

/// Keys that the server has never seen.
struct TestKeys(roomcast::data::DemoKeys);

impl TestKeys {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = roomcast::data::DataFolder::open(folder.path()).expect("a data folder");
        TestKeys(data.demo_keys().expect("keys"))
    }

    fn app(&self) -> AppConfig {
        self.0.app()
    }
}

/// Another letter in the middle.
fn tampered(ticket: &str) -> String {
    let middle = ticket.len() / 2;
    let other = if ticket.as_bytes()[middle] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &ticket[..middle], &ticket[middle + 1..])
}

/// Tries one way in; `None` says that it was let in, and what was begun is ended again.
async fn try_way(server: &TestServer, way: Way, shown: &Shown) -> Option<u32> {
    let attempt = async {
        match way {
            Way::WebSocket => websocket(server.http, shown).await,
            Way::Whip => offer_by_http(server.http, "whip", "sendonly", shown).await,
            Way::Whep => offer_by_http(server.http, "whep", "recvonly", shown).await,
            Way::RtmpPush => rtmp(server.rtmp, Purpose::Publish, &push_path(shown)).await,
            Way::RtmpPlay => rtmp(server.rtmp, Purpose::Play, &play_path(shown)).await,
            Way::Flv => {
                let answer = ask(server.http, "HEAD", &flv_path(shown), &[], "").await;
                if answer.status == 200 {
                    return None;
                }
                ask(server.http, "GET", &flv_path(shown), &[], "").await.code().or(Some(0))
            }
        }
    };
    timeout(ANSWER_MAX, attempt).await.unwrap_or(Some(0))
}

/// Enters, and then publishes, since that is what entering is for.
async fn websocket(server: SocketAddr, shown: &Shown) -> Option<u32> {
    let (mut socket, _) = connect_async(format!("ws://{server}/signal")).await.expect("the upgrade");
    let room: u32 = ROOM.parse().expect("a number");
    let mut enter = json!({ "id": 1, "type": "enter", "sdkAppID": shown.sdk_app_id, "userID": shown.user,
        "userSig": shown.user_sig, "roomID": room });
    if let Some(key) = &shown.private_map_key {
        enter["privateMapKey"] = json!(key);
    }
    let tracks = json!([{ "mid": "0", "stream": "main" }, { "mid": "1", "stream": "main" }]);
    let publish = json!({ "id": 2, "type": "publish", "sdp": offer("sendonly"), "tracks": tracks });
    for request in [enter, publish] {
        socket.send(Message::text(request.to_string())).await.expect("sent");
        loop {
            let Some(Ok(message)) = socket.next().await else { return Some(0) };
            let Ok(reply) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default()) else { continue };
            if reply["id"] == request["id"] {
                match reply["type"].as_str() {
                    Some("ok") => break,
                    _ => return reply["code"].as_u64().map(|code| code as u32).or(Some(0)),
                }
            }
        }
    }
    let _ = socket.close(None).await;
    None
}

async fn offer_by_http(server: SocketAddr, face: &str, direction: &str, shown: &Shown) -> Option<u32> {
    let mut path = format!("/{face}/{ROOM}/{}?sdkappid={}", shown.user, shown.sdk_app_id);
    if let Some(key) = &shown.private_map_key {
        path += &format!("&privatemapkey={key}");
    }
    let bearer = format!("Bearer {}", shown.user_sig);
    let headers = [("content-type", "application/sdp"), ("authorization", bearer.as_str())];
    let answer = ask(server, "POST", &path, &headers, &offer(direction)).await;
    if answer.status != 201 {
        return answer.code().or(Some(0));
    }
    let ended = ask(server, "DELETE", answer.header("location"), &headers[1..], "").await;
    assert_eq!(ended.status, 200, "the session ends: {}", ended.text());
    None
}

fn ticket_query(shown: &Shown) -> String {
    let key = shown.private_map_key.as_ref().map_or_else(String::new, |key| format!("&privatemapkey={key}"));
    format!("userid={}&usersig={}{key}", shown.user, shown.user_sig)
}

fn push_path(shown: &Shown) -> String {
    format!("push/{ROOM}?sdkappid={}&{}", shown.sdk_app_id, ticket_query(shown))
}

fn play_path(shown: &Shown) -> String {
    format!("live/{}?{}", stream_of(shown), ticket_query(shown))
}

fn flv_path(shown: &Shown) -> String {
    format!("/live/{}.flv?{}", stream_of(shown), ticket_query(shown))
}

/// The test stream, under the app that is named.
fn stream_of(shown: &Shown) -> String {
    STREAM.replace(&DEMO_APP.to_string(), &shown.sdk_app_id.to_string())
}

/// The code stands in the words of the server's refusal.
async fn rtmp(server: SocketAddr, purpose: Purpose, path: &str) -> Option<u32> {
    let url = RtmpUrl::parse(&format!("rtmp://{server}/{path}")).expect("an RTMP URL");
    let mut session = ClientSession::new(Time::ZERO, url, purpose);
    let mut stream = TcpStream::connect(server).await.expect("the server accepts");
    let mut buffer = vec![0; 16 * 1024];
    loop {
        stream.write_all(&session.take_output()).await.ok()?;
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return Some(0);
        }
        let mut data = &buffer[..read];
        match session.handle_input(&mut data) {
            Ok(Some(ClientEvent::Started | ClientEvent::Media(_))) => return None,
            Ok(Some(ClientEvent::Refused { description: text, .. } | ClientEvent::Ended { code: text })) => {
                return Some(number_in(&text));
            }
            Ok(None) => {}
            Err(_) => return Some(0),
        }
    }
}

fn number_in(text: &str) -> u32 {
    text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What a browser would offer, without its candidates.
pub fn offer(direction: &str) -> String {
    let fingerprint = (0..32).map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let common = format!(
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
    );
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{common}a=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=ssrc:1001 cname:a\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n{common}a=mid:1\r\na=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\n\
         a=rtcp-fb:102 nack pli\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=ssrc-group:FID 1002 1003\r\na=ssrc:1002 cname:a\r\n\
         a=ssrc:1003 cname:a\r\n"
    )
}
