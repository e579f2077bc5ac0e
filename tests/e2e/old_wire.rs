//! The wire of the vendor's browser libraries, word by word: every tag of theirs is answered, taken or refused with a code.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{http::ask, refusals::offer, server::TestServer};

const DEMO_APP: u32 = 1_400_000_001;
/// The demo room: the test stream is there.
const ROOM: &str = "1001";
const STREAM_USER: &str = "teststream";
/// Longest wait for anything on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What the server says, by its numbers.
mod cmd {
    pub const SDP: u64 = 0x02;
    pub const SENT_AWAY: u64 = 0x08;
    pub const CLOSE_PEER_ACK: u64 = 0x0a;
    pub const PEER_JOIN: u64 = 0x10;
    pub const CREATE_PEER_RESULT: u64 = 0x11;
    pub const READY: u64 = 0x13;
    pub const JOINED: u64 = 0x14;
    pub const MUTE_FLAGS: u64 = 0x17;
    pub const SUBSCRIBE_ACK: u64 = 0x1a;
    pub const CONSTRAINTS: u64 = 0x20;
    pub const REFUSED: u64 = 0x7000;
}

struct Old {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Old {
    async fn connect(server: &TestServer, user: &str) -> Old {
        let ticket = server.ticket(DEMO_APP, user, ROOM);
        let query = format!("sdkAppid={DEMO_APP}&identifier={user}&userSig={}", ticket.user_sig);
        let (socket, _) = connect_async(format!("ws://{}/?{query}", server.http)).await.expect("the upgrade");
        let mut old = Old { socket };
        let ready = old.until(cmd::READY).await;
        assert_eq!(ready["content"]["openid"], user);
        assert_ne!(ready["content"]["stunport"], 0, "browsers refuse the address that clients make of it");
        old
    }

    /// In the demo room, as a client of this build.
    async fn join(server: &TestServer, user: &str, version: &str) -> Old {
        let mut old = Old::connect(server, user).await;
        old.send("on_create_room", json!({ "roomid": ROOM, "role": "user", "jsSdkVersion": version }), None).await;
        let joined = old.until(cmd::JOINED).await;
        assert_eq!((&joined["content"]["ret"], &joined["content"]["data"]["openid"]), (&json!(0), &json!(user)));
        old
    }

    async fn send(&mut self, tag: &str, data: Value, peer: Option<&str>) {
        let mut message = json!({ "tag_key": tag, "data": data, "openid": "", "tinyid": "", "version": "2.6" });
        if let Some(peer) = peer {
            message["srctinyid"] = peer.into();
        }
        self.socket.send(Message::text(message.to_string())).await.expect("sent");
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(WAIT_MAX, self.socket.next()).await.expect("something within 20 s") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message of this kind.
    async fn until(&mut self, cmd: u64) -> Value {
        loop {
            let message = self.next().await.expect("the channel is open");
            if message["cmd"] == cmd {
                return message;
            }
        }
    }
}

async fn members(server: &TestServer) -> Value {
    let bearer = format!("Bearer {}", server.app(DEMO_APP).v2_secret.as_ref().expect("a secret"));
    let path = format!("/api/v1/apps/{DEMO_APP}/rooms/{ROOM}/members");
    let answer = ask(server.http, "GET", &path, &[("authorization", &bearer)], "").await;
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn who_offers_to_receive_is_answered_with_the_labels_and_marks_that_he_knows() {
    let server = TestServer::start(&[]).await;
    let mut old = Old::join(&server, "anna", "0").await;
    let peer = old.until(cmd::PEER_JOIN).await;
    assert_eq!((&peer["content"]["srcopenid"], &peer["content"]["remoteoffer"]), (&json!(STREAM_USER), &Value::Null));
    let tiny_id = peer["content"]["srctinyid"].as_str().expect("a number in text").to_owned();
    for attempt in ["the first time", "after the client closed its connection by itself"] {
        old.send("on_peer_sdp", json!({ "type": "offer", "sdp": offer("recvonly") }), Some(&tiny_id)).await;
        let answer = old.until(cmd::SDP).await;
        assert_eq!(
            (&answer["srctinyid"], &answer["content"]["type"]),
            (&json!(tiny_id), &json!("answer")),
            "{attempt}"
        );
        let sdp = answer["content"]["sdp"].as_str().expect("a description");
        assert!(sdp.contains("a=msid:5Y2wZK8nANNAoVw6dSAHVjNxrD1ObBM2kBPV "), "{attempt}: {sdp}");
        let marks: Vec<u32> = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a=ssrc:")?.split_once(" cname:")?.0.parse().ok())
            .map(|ssrc: u32| ssrc >> 16 & 0xff)
            .collect();
        assert!(!marks.is_empty() && matches!(marks[0], 1 | 2), "{attempt}: {marks:?}");
    }
}

#[tokio::test]
async fn every_tag_is_answered_or_taken_or_refused_with_its_code() {
    /// What comes of a tag.
    enum Then {
        /// This message, and of its content these fields.
        Told(u64, Value),
        Refused(u64),
        Nothing,
    }
    use Then::{Nothing, Refused, Told};

    let server = TestServer::start(&[]).await;
    let mut old = Old::join(&server, "anna", "4602").await;
    let peer = old.until(cmd::PEER_JOIN).await["content"]["srctinyid"].as_str().expect("a number").to_owned();
    let peer = peer.as_str();
    let description = |kind: &str, sdp: &str| json!({ "type": kind, "sdp": sdp });
    let table = [
        // Joining again changes nothing.
        ("on_create_room", json!({ "roomid": ROOM }), None, Nothing),
        ("on_peer_sdp", description("offer", "v=0\r\nnonsense"), Some("0"), Refused(74000)),
        ("on_peer_sdp", description("offer", "v=0\r\nnonsense"), Some(peer), Refused(74000)),
        ("on_peer_sdp", description("offer", &offer("recvonly")), Some("1"), Refused(73004)),
        ("on_peer_sdp", description("answer", "v=0\r\nnonsense"), Some("1"), Nothing),
        (
            "on_peer_sdp",
            description("offer", &offer("sendonly")),
            Some("0"),
            Told(cmd::SDP, json!({ "type": "answer" })),
        ),
        (
            "on_update_peer_sdp",
            description("offer", &offer("sendonly")),
            Some("0"),
            Told(cmd::SDP, json!({ "type": "answer" })),
        ),
        (
            "on_reexchange_sdp",
            description("offer", &offer("sendonly")),
            Some("0"),
            Told(cmd::SDP, json!({ "type": "answer" })),
        ),
        ("on_peer_candidate", json!({ "candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host" }), Some("0"), Nothing),
        ("on_create_peer", json!({ "srctinyid": peer }), None, Told(cmd::CREATE_PEER_RESULT, json!({ "ret": 0 }))),
        ("on_create_peer", json!({ "srctinyid": "1" }), None, Told(cmd::CREATE_PEER_RESULT, json!({ "ret": 73004 }))),
        ("on_media_change", json!({ "mediatype": 2 }), None, Nothing),
        ("on_media_change", json!({ "mediatype": 1 }), None, Nothing),
        ("on_media_change", json!({ "mediatype": 4 }), None, Nothing),
        ("on_media_change", json!({ "mediatype": 3 }), None, Nothing),
        ("on_change_av_state", json!({ "srctinyid": 0, "userid": "anna", "flag": 5 }), None, Nothing),
        ("on_subscribe", json!({ "srctinyid": "1" }), None, Told(cmd::SUBSCRIBE_ACK, json!({ "errCode": 73004 }))),
        ("on_recreate_down_peerc", json!({ "srctinyid": "1" }), None, Refused(73004)),
        (
            "on_recreate_down_peerc",
            json!({ "srctinyid": peer }),
            None,
            Told(cmd::PEER_JOIN, json!({ "srctinyid": peer })),
        ),
        ("on_ice_broken", json!({ "srctinyid": peer, "iceConnectionState": "disconnected" }), None, Nothing),
        (
            "on_ice_broken",
            json!({ "srctinyid": peer, "iceConnectionState": "failed" }),
            None,
            Told(cmd::PEER_JOIN, json!({ "srctinyid": peer })),
        ),
        ("on_ice_complete", json!({}), None, Nothing),
        (
            "on_spear_role_change",
            json!({ "role": "user" }),
            None,
            Told(cmd::CONSTRAINTS, json!({ "width": 640, "height": 368, "frameRate": 20 })),
        ),
        (
            "on_spear_role_change",
            json!({ "role": "wp1280" }),
            None,
            Told(cmd::CONSTRAINTS, json!({ "width": 1280, "height": 720 })),
        ),
        ("on_spear_role_change", json!({ "role": "miniwhite" }), None, Refused(72002)),
        ("on_spear_role_change", json!({ "role": "anchor" }), None, Nothing),
        ("on_constraints_config", json!({ "EncVideoCodec": "H264" }), None, Nothing),
        ("on_quality_report", json!({ "WebRTCQualityReq": { "uint32_delay": 7 } }), None, Nothing),
        ("on_quality_report", json!({}), None, Nothing),
        ("on_rebuild_session", json!({ "sids": [0] }), None, Nothing),
        ("init_end_report", json!({}), None, Nothing),
        ("on_start_webrtc", json!({ "srctinyid": 0 }), None, Nothing),
        ("on_get_user_media", json!(""), None, Nothing),
        ("on_test_ws_broken", json!({}), None, Nothing),
        ("on_get_max_timems", json!({}), None, Refused(72001)),
        ("join", json!({ "roomId": ROOM }), None, Refused(72001)),
        ("on_close_peer", json!(""), None, Told(cmd::CLOSE_PEER_ACK, json!({ "ret": 1 }))),
        // Nothing is left to end: that is said too.
        ("on_close_peer", json!(""), None, Told(cmd::CLOSE_PEER_ACK, json!({ "ret": 1 }))),
        ("on_change_av_state", json!({ "srctinyid": 0, "userid": "anna", "flag": 1 }), None, Refused(73004)),
    ];
    for (tag, data, about, then) in table {
        let what = format!("{tag} {data}");
        old.send(tag, data, about).await;
        match then {
            Told(number, fields) => {
                let told = old.until(number).await;
                for (name, value) in fields.as_object().expect("an object") {
                    assert_eq!(&told["content"][name], value, "{what}: {told}");
                }
            }
            Refused(code) => {
                let told = old.until(cmd::REFUSED).await;
                assert_eq!(
                    (&told["content"]["errorCode"], &told["content"]["tag_key"]),
                    (&json!(code), &json!(tag)),
                    "{what}"
                );
            }
            Nothing => {
                // Whatever would be said of it is said before the answer to the next.
                old.send("no_such_tag", json!({}), None).await;
                loop {
                    let told = old.next().await.unwrap_or_else(|| panic!("{what} ended the channel"));
                    if told["cmd"] == cmd::REFUSED {
                        assert_eq!(told["content"]["tag_key"], "no_such_tag", "{what}: {told}");
                        break;
                    }
                    assert!(
                        [cmd::PEER_JOIN, cmd::MUTE_FLAGS].iter().any(|known| told["cmd"] == *known),
                        "{what}: {told}"
                    );
                }
            }
        }
    }
    let known = members(&server).await;
    let anna = known["members"].as_array().expect("a list").iter().find(|one| one["userID"] == "anna").expect("anna");
    assert_eq!((&anna["quality"]["rttMs"], &anna["quality"]["reports"]), (&json!(7), &json!(1)), "{anna}");
    assert!(anna["quality"]["time"].as_u64().is_some_and(|time| time > 1_500_000_000_000), "{anna}");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_ends_the_channel_and_the_member() {
    let server = TestServer::start(&[]).await;
    for broken in [
        "",
        "[]",
        "{}",
        r#"{"tag_key":5}"#,
        r#"{"tag_key":"on_peer_sdp","data":{}}"#,
        r#"{"tag_key":"on_media_change","data":{"mediatype":5}}"#,
    ] {
        let mut old = Old::join(&server, "bert", "0").await;
        old.socket.send(Message::text(broken)).await.expect("sent");
        while old.next().await.is_some() {}
    }
    // Before joining everything but joining is refused.
    let mut old = Old::connect(&server, "carl").await;
    for (tag, data) in [
        ("on_peer_sdp", json!({ "type": "offer", "sdp": offer("sendonly") })),
        ("on_close_peer", json!("")),
        ("on_media_change", json!({ "mediatype": 2 })),
    ] {
        old.send(tag, data, Some("0")).await;
        assert_eq!(old.until(cmd::REFUSED).await["content"]["errorCode"], 72004, "{tag}");
    }
    old.send("on_create_room", json!({ "roomid": ROOM, "userSig": "" }), None).await;
    assert_eq!(old.until(cmd::JOINED).await["content"]["ret"], 0, "the ticket is that of the channel");
    let mut second = Old::join(&server, "carl", "0").await;
    let away = old.until(cmd::SENT_AWAY).await;
    assert_eq!((&away["content"]["type"], &away["content"]["code"]), (&json!("kick"), &json!(73010)));
    assert!(second.until(cmd::PEER_JOIN).await["content"]["srctinyid"].is_string());
}

#[tokio::test]
async fn connections_to_peers_count_among_the_players_of_a_room_and_end_with_their_client() {
    let server = TestServer::start(&["signaling.players_per_room=1"]).await;
    let offered = json!({ "type": "offer", "sdp": offer("recvonly") });
    let mut first = Old::join(&server, "anna", "0").await;
    let peer = first.until(cmd::PEER_JOIN).await["content"]["srctinyid"].as_str().expect("a number").to_owned();
    let mut second = Old::join(&server, "bert", "0").await;
    second.until(cmd::PEER_JOIN).await;
    first.send("on_peer_sdp", offered.clone(), Some(&peer)).await;
    first.until(cmd::SDP).await;
    second.send("on_peer_sdp", offered.clone(), Some(&peer)).await;
    assert_eq!(second.until(cmd::REFUSED).await["content"]["errorCode"], 73003);
    // A new offer takes the place of the old one, so that it needs no second place.
    first.send("on_peer_sdp", offered.clone(), Some(&peer)).await;
    first.until(cmd::SDP).await;
    first.socket.close(None).await.expect("closed");
    while first.next().await.is_some() {}
    // His place is free in a moment.
    let asked = async {
        loop {
            second.send("on_peer_sdp", offered.clone(), Some(&peer)).await;
            loop {
                let told = second.next().await.expect("the channel is open");
                match told["cmd"].as_u64() {
                    Some(cmd::SDP) => return,
                    Some(cmd::REFUSED) => break,
                    _ => {}
                }
            }
        }
    };
    timeout(WAIT_MAX, asked).await.expect("a place comes back");
}
