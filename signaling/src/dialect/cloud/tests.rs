//! The functions over HTTP, by an app's own server.

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use tower::ServiceExt;

use super::*;
use crate::{
    config::{PlayPolicy, SignalingConfig},
    hub::tests::{APP, House},
};

struct Owner {
    house: House,
    routes: Router,
}

impl Owner {
    fn new() -> Owner {
        Owner::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut SignalingConfig)) -> Owner {
        let house = House::with(change);
        Owner { routes: routes(&house.hub).with_state(house.hub.clone()), house }
    }

    async fn call_as(&self, secret: &str, function: &str, event: Value) -> (u16, Value) {
        let request = Request::builder().method("POST").uri(format!("/cloud/{function}?sdkAppID={APP}"));
        let request = request.header("authorization", format!("Bearer {secret}")).header("host", "live.example");
        let request = request.body(Body::from(event.to_string())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
    }

    async fn call(&self, function: &str, event: Value) -> Value {
        let (status, answer) = self.call_as("secret", function, event).await;
        assert_eq!(status, 200, "{function}: {answer}");
        answer
    }
}

#[tokio::test]
async fn the_older_functions_answer_with_documents() {
    let owner = Owner::new();
    let made = owner.call("webrtc-create-room", json!({ "userID": "a", "roomName": "talk" })).await;
    let room = made["roomID"].as_str().unwrap().to_owned();
    assert!(room.len() == 8 && room.bytes().all(|b| b.is_ascii_digit()), "{room}");
    assert_eq!((&made["creator"], &made["members"], &made["privateMapKey"]), (&json!("a"), &json!(["a"]), &json!("")));
    assert!(made["createTime"].as_str().unwrap().ends_with('Z'));

    for user in ["b", "b", "c", "d", "e"] {
        let entered = owner.call("webrtc-enter-room", json!({ "userID": user, "roomID": room, "roomName": "" })).await;
        assert_eq!(entered["signInfo"]["userID"], user);
    }
    let info = owner.call("webrtc-get-room-info", json!({ "roomID": room })).await;
    assert_eq!(info["roomInfo"]["members"], json!(["a", "b", "c", "d"]), "the fifth is let in and not listed");
    assert_eq!(info["data"].as_array().unwrap().len(), 1);

    // The tickets open the room of that number, over our own wire.
    let sign = owner.call("webrtc-sig-api", json!({ "userID": "b", "roomID": room, "x": 1 })).await;
    assert_eq!((&sign["x"], &sign["sdkAppID"]), (&json!(1), &json!(APP)));
    let mut page = owner.house.client();
    let number: u32 = room.parse().unwrap();
    let shown =
        json!({ "userID": "b", "userSig": sign["userSig"], "roomID": number, "privateMapKey": sign["privateMapKey"] });
    let entered = page.enter_with(shown).await;
    assert_eq!(entered["type"], "ok", "{entered}");
    assert!(entered["metadata"].as_str().unwrap().contains("talk"));

    for (user, res) in [("b", "updated"), ("c", "updated"), ("d", "updated"), ("a", "removed")] {
        let quit = owner.call("webrtc-quit-room", json!({ "userID": user, "roomID": room })).await;
        assert_eq!(quit["res"]["stats"][res], 1, "{quit}");
    }
    assert_eq!(
        owner.call("webrtc-get-room-info", json!({ "roomID": room })).await,
        json!({ "data": [], "roomInfo": null })
    );
    // Entering makes a room that is not there.
    let entered = owner.call("webrtc-enter-room", json!({ "userID": "z", "roomID": "77", "roomName": "new" })).await;
    assert_eq!((&entered["roomInfo"]["creator"], &entered["roomInfo"]["roomName"]), (&json!("z"), &json!("new")));
}

#[tokio::test]
async fn the_newer_functions_answer_with_codes() {
    let owner = Owner::new();
    let made = owner.call("webrtcroom-create-room", json!({ "userID": "a", "roomName": "n", "roomID": 77 })).await;
    assert_eq!((&made["code"], &made["data"]["roomID"]), (&json!(0), &json!("77")));
    let of = |user: &str, room: &str| json!({ "userID": user, "roomID": room });
    for (function, event, code) in [
        ("create-room", json!({ "userID": "a" }), json!("10001")),
        ("create-room", json!({ "roomName": "n" }), json!("10001")),
        ("create-room", json!({ "userID": "a", "roomName": "x".repeat(1025) }), json!("10001")),
        ("enter-room", json!({ "userID": "b" }), json!("10001")),
        ("enter-room", of("b", "x1"), json!("10002")),
        ("enter-room", of("b", "123456789012"), json!("10002")),
        ("enter-room", of("b", "78"), json!("10002")),
        ("enter-room", of("b", "77"), json!(0)),
        ("enter-room", of("c", "77"), json!(0)),
        ("enter-room", of("d", "77"), json!(0)),
        ("enter-room", of("e", "77"), json!("10005")),
        ("enter-room", of("d", "77"), json!(0)),
        ("quit-room", of("a", "78"), json!("10002")),
        ("quit-room", of("a", "77"), json!(0)),
        ("get-room-info", json!({}), json!("10001")),
        ("get-room-info", json!({ "roomID": "78" }), json!("10002")),
        ("get-room-info", json!({ "roomID": "77" }), json!(0)),
        ("sig-api", json!({}), json!("10001")),
        ("sig-api", json!({ "userID": "a" }), json!(0)),
    ] {
        let answer = owner.call(&format!("webrtcroom-{function}"), event.clone()).await;
        assert_eq!(answer["code"], code, "{function} {event}: {answer}");
    }
    for number in 100..112 {
        owner.call("webrtc-create-room", json!({ "userID": "a", "roomName": "n", "roomID": number.to_string() })).await;
    }
    let list =
        |skip: u64, limit: Option<u64>| owner.call("webrtcroom-get-room-list", json!({ "skip": skip, "limit": limit }));
    assert_eq!(list(0, None).await["data"]["data"].as_array().unwrap().len(), 10);
    assert_eq!(list(10, None).await["data"]["data"].as_array().unwrap().len(), 3);
    assert_eq!(list(0, Some(2)).await["data"]["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_functions_of_live_rooms_answer_with_urls_that_open_the_door() {
    let owner = Owner::new();
    let made = owner.call("liveroom-create-room", json!({ "userID": "a", "roomName": "show" })).await;
    assert_eq!((&made["code"], &made["message"]), (&json!(0), &json!("success")), "{made}");
    let data = &made["data"];
    let room = data["roomID"].as_str().unwrap();
    assert!(room.len() == 8 && room.bytes().all(|byte| byte.is_ascii_digit()), "{room}");
    assert_eq!((&data["creator"], &data["members"], &data["roomName"]), (&json!("a"), &json!(["a"]), &json!("show")));
    assert!(data["createTime"].as_str().unwrap().ends_with('Z'));
    let name = data["streamID"].as_str().unwrap();
    assert_eq!((name, &data["liveAppID"]), (&*format!("{APP}_{room}_a_main"), &json!(APP.to_string())));
    let urls: Vec<String> = ["rtmp://live.example/live/", "http://live.example/live/", "http://live.example/live/"]
        .iter()
        .zip(["", ".flv", ".m3u8"])
        .map(|(base, end)| format!("{base}{name}{end}"))
        .collect();
    assert_eq!(data["playUrl"], json!(urls));
    let (path, query) = data["pushUrl"].as_str().unwrap().split_once('?').unwrap();
    assert_eq!(path, format!("rtmp://live.example/push/{room}"));
    let grant = owner.house.push("push", room, query).await.unwrap();
    let (audio, video) = (None, Some(media::codec::Codec::H264));
    owner.house.event(media::Event::StreamTracks { stream: grant.stream, audio, video }).await;
    owner.house.settled().await;
    assert_eq!(owner.house.play(name, "").await, Ok(grant.stream), "the play URL plays");
    // What members of the room are told of it has no ticket in it.
    let record = owner.house.hub.record(APP, &RoomName::from_text(room).unwrap()).unwrap();
    assert!(!record.metadata.unwrap().contains("usersig"));
}

#[tokio::test]
async fn every_function_of_live_rooms_answers_with_its_codes() {
    let owner = Owner::with(|config| config.room_service.audiences = 3);
    let of = |user: &str, room: &str| json!({ "userID": user, "roomID": room });
    let nothing = json!(null);
    for (step, (function, event, code, what)) in [
        ("create-room", json!({ "userID": "a" }), json!("10001"), "/data"),
        ("create-room", json!({ "roomName": "n" }), json!("10001"), "/data"),
        ("create-room", json!({ "userID": "a", "roomName": "x".repeat(1025) }), json!("10001"), "/data"),
        ("create-room", json!({ "userID": "a", "roomName": "x".repeat(1024) }), json!(0), "/data/pushUrl"),
        ("create-room", json!({ "userID": "a", "roomName": "n", "roomID": "x" }), json!("10002"), "/data"),
        ("create-room", json!({ "userID": "a", "roomName": "n", "roomID": "77" }), json!(0), "/data/pushUrl"),
        ("enter-room", json!({ "roomID": "77" }), json!("10001"), "/data"),
        ("enter-room", json!({ "userID": "b" }), nothing.clone(), "/data"),
        ("enter-room", of("b", "x1"), json!("10002"), "/data"),
        ("enter-room", of("b", "123456789012"), json!("10002"), "/data"),
        ("enter-room", of("b", "77"), nothing.clone(), "/data/roomInfo/playUrl"),
        ("enter-room", of("b", "77"), nothing.clone(), "/data/roomInfo/playUrl"),
        ("enter-room", of("c", "77"), nothing.clone(), "/data/roomInfo/playUrl"),
        ("enter-room", of("d", "77"), json!("10005"), "/data"),
        // As there: who is in already is not let in twice when it is full.
        ("enter-room", of("c", "77"), json!("10005"), "/data"),
        ("enter-room", of("d", "78"), nothing.clone(), "/data/roomInfo/pushUrl"),
        ("enter-room", json!({ "userID": "d", "roomName": "mine" }), nothing.clone(), "/data/roomInfo/pushUrl"),
        ("get-room-info", of("a", "77"), json!(0), "/data/streamID"),
        ("get-room-info", of("a", "79"), json!(0), "/data/isCreator"),
        ("get-room-info", json!({}), json!(0), "/data/isCreator"),
        ("get-room-list", json!({}), json!(0), "/data/3/streamID"),
        ("get-room-list", json!({ "skip": 2, "limit": 1 }), json!(0), "/data/0/streamID"),
        ("quit-room", json!({ "userID": "b" }), json!(10001), "/data"),
        ("quit-room", of("b", "79"), json!(10002), "/data"),
        ("quit-room", of("b", "77"), json!(0), "/data/status"),
        // The creator takes the room with him.
        ("quit-room", of("a", "77"), json!(0), "/data/status"),
        ("quit-room", of("c", "77"), json!(10002), "/data"),
        ("quit-room", of("d", "78"), json!(0), "/data/status"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = owner.call(&format!("liveroom-{function}"), event.clone()).await;
        assert_eq!(answer.get("code").unwrap_or(&nothing), &code, "step {step}: {function} {event}: {answer}");
        assert!(answer.pointer(what).is_some(), "step {step}: {function} {event}: {answer}");
    }
    // A room of one collection is none of the other.
    owner.call("webrtc-create-room", json!({ "userID": "a", "roomName": "n", "roomID": "90" })).await;
    assert_eq!(owner.call("liveroom-quit-room", of("a", "90")).await["code"], 10002);
    assert_eq!(owner.call("liveroom-enter-room", of("a", "90")).await["code"], "10002");
    assert!(
        owner.call("liveroom-create-room", json!({ "userID": "a", "roomName": "n", "roomID": "90" })).await["data"]["roomID"]
            != "90"
    );
}

#[tokio::test]
async fn where_play_needs_a_ticket_the_play_urls_of_live_rooms_have_one() {
    let owner = Owner::with(|config| config.apps[0].play = PlayPolicy::Ticket);
    let made = owner.call("liveroom-create-room", json!({ "userID": "a", "roomName": "show" })).await;
    let room = made["data"]["roomID"].as_str().unwrap().to_owned();
    let query = |url: &Value| url.as_str().unwrap().split_once('?').unwrap().1.to_owned();
    let grant = owner.house.push("push", &room, &query(&made["data"]["pushUrl"])).await.unwrap();
    let entered = owner.call("liveroom-enter-room", json!({ "userID": "b", "roomID": room })).await;
    let info = &entered["data"]["roomInfo"];
    assert_eq!(entered["message"], "enter success");
    let played = owner.house.play(info["streamID"].as_str().unwrap(), &query(&info["playUrl"][0])).await;
    assert_eq!(played, Ok(grant.stream));
    assert!(owner.house.play(info["streamID"].as_str().unwrap(), "").await.is_err());
}

#[tokio::test]
async fn nobody_calls_without_the_apps_secret_and_there_are_eleven_functions() {
    let owner = Owner::new();
    for function in ["webrtc-create-room", "webrtcroom-sig-api", "nonsense"] {
        let (status, answer) = owner.call_as("wrong", function, json!({ "userID": "a" })).await;
        assert_eq!((status, &answer["code"]), (401, &json!(71010)), "{function}");
    }
    for function in ["webrtc-drop-room", "webrtcroom", "other-create-room", "liveroom-sig-api", "liveroom"] {
        assert_eq!(owner.call_as("secret", function, json!({})).await.0, 404, "{function}");
    }
}

#[test]
fn dates_are_written_as_json_writes_them() {
    for (unix_ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_544_000_000_123, "2018-12-05T08:53:20.123Z"),
        (1_582_934_400_000, "2020-02-29T00:00:00.000Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(date_of(unix_ms), text);
    }
}
