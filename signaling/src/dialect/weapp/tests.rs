//! The room services over HTTP against a hub whose media side is the test.

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request},
};
use media::{Event, StreamId, codec::Codec};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Weapp, router, urls::name_of};
use crate::{
    auth::url::Query,
    config::{PlayPolicy, SignalingConfig},
    hub::tests::{APP, House, app, user_sig},
};

/// The services and who speaks to them.
struct Service {
    house: House,
    weapp: Weapp,
    routes: Router,
}

/// Somebody who is logged in to one list.
struct Phone {
    user: String,
    list: &'static str,
    token: String,
}

impl Service {
    fn new() -> Service {
        Service::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut SignalingConfig)) -> Service {
        let house = House::with(change);
        let weapp = Weapp::new(&house.hub);
        Service { routes: router(weapp.clone()), house, weapp }
    }

    async fn post(&self, path: &str, body: &str) -> Value {
        let request = Request::builder().method(Method::POST).uri(path).header("host", "live.example");
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
    }

    async fn log_in(&self, list: &'static str, user: &str, more: &str) -> Phone {
        let sig = user_sig(user);
        let path = format!("/weapp/{list}/login?sdkAppID={APP}&accountType=36862&userID={user}&userSig={sig}{more}");
        let answer = self.post(&path, "{}").await;
        assert_eq!((answer["code"].as_i64(), answer["userID"].as_str()), (Some(0), Some(user)), "{answer}");
        Phone { user: user.to_owned(), list, token: answer["token"].as_str().unwrap().to_owned() }
    }

    async fn phone(&self, list: &'static str, user: &str) -> Phone {
        self.log_in(list, user, "").await
    }

    /// An MLVB client.
    async fn anchor(&self, user: &str) -> Phone {
        self.log_in("live_room", user, "&platform=WeChat").await
    }

    async fn ask(&self, phone: &Phone, command: &str, body: Value) -> Value {
        let Phone { user, list, token } = phone;
        let mut body = body;
        body["userID"] = body.get("userID").cloned().unwrap_or_else(|| json!(user));
        self.post(&format!("/weapp/{list}/{command}?userID={user}&token={token}"), &body.to_string()).await
    }

    /// Asks and insists on success.
    async fn done(&self, phone: &Phone, command: &str, body: Value) -> Value {
        let answer = self.ask(phone, command, body).await;
        assert_eq!(answer["code"], 0, "{command}: {answer}");
        answer
    }

    async fn code(&self, phone: &Phone, command: &str, body: Value) -> i64 {
        self.ask(phone, command, body).await["code"].as_i64().unwrap()
    }

    /// Pushes by a URL from here, with sound and picture.
    async fn push(&self, url: &str) -> Result<StreamId, u32> {
        let query = url.split_once('?').unwrap().1;
        let grant = self.house.push("live", name_of(url), query).await.map_err(|refusal| refusal.code)?;
        let (audio, video) = (Some(Codec::Opus), Some(Codec::H264));
        self.house.event(Event::StreamTracks { stream: grant.stream, audio, video }).await;
        self.house.settled().await;
        Ok(grant.stream)
    }

    async fn push_url(&self, phone: &Phone, room: Option<&str>) -> String {
        let answer = self.done(phone, "get_push_url", json!({ "roomID": room })).await;
        answer["pushURL"].as_str().unwrap().to_owned()
    }

    async fn ended(&self, stream: StreamId) {
        self.house.event(Event::StreamEnded { stream }).await;
        self.house.settled().await;
    }

    fn in_seconds(&self, seconds: u64) {
        self.weapp.sweep(Instant::now() + Duration::from_secs(seconds));
    }
}

fn pusher(user: &str, room: &str, url: &str) -> Value {
    json!({ "roomID": room, "userName": format!("{user}'s name"), "userAvatar": "a.png", "pushURL": url })
}

fn users(answer: &Value) -> Vec<&str> {
    answer["pushers"].as_array().unwrap().iter().map(|pusher| pusher["userID"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn two_phones_and_a_page_meet_in_a_room_and_it_ends_with_the_last() {
    let service = Service::new();
    let (alice, bob) = (service.phone("multi_room", "alice").await, service.phone("multi_room", "bob").await);
    let room = service.done(&alice, "create_room", json!({ "roomInfo": "lesson" })).await;
    let room = room["roomID"].as_str().unwrap();
    assert!(room.starts_with("room_") && room.len() == 18, "{room}");
    assert_eq!(service.done(&alice, "get_room_list", json!({ "cnt": 20, "index": 0 })).await["rooms"], json!([]));

    let url = service.push_url(&alice, Some(room)).await;
    assert!(url.starts_with(&format!("rtmp://live.example/live/{APP}_{room}_alice_")), "{url}");
    let query = Query::parse(url.split_once('?').unwrap().1);
    assert_eq!((query.value("txsecret").unwrap().len(), query.value("txtime").unwrap().len()), (32, 8));
    let stream = service.push(&url).await.unwrap();

    // The page is in the same room, and sees her.
    let mut page = service.house.client();
    let entered = page.enter_with(json!({ "userID": "page", "userSig": user_sig("page"), "roomID": room })).await;
    assert_eq!(entered["members"][0]["userID"], "alice", "{entered}");
    assert_eq!(entered["members"][0]["streams"][0]["video"]["codec"], "H264");

    service.done(&alice, "add_pusher", pusher("alice", room, &url)).await;
    let seen = service.done(&bob, "get_pushers", json!({ "roomID": room })).await;
    assert_eq!(
        (users(&seen), &seen["roomInfo"], &seen["roomCreator"]),
        (vec!["alice"], &json!("lesson"), &json!("alice"))
    );
    let (name, one) = (name_of(&url), &seen["pushers"][0]);
    assert_eq!(one["accelerateURL"], format!("rtmp://live.example/live/{name}"));
    assert_eq!((&one["userName"], &one["userAvatar"]), (&json!("alice's name"), &json!("a.png")));
    assert_eq!(seen["mixedPlayURL"], format!("http://live.example/live/{name}.flv"));
    assert_eq!(seen["custom"], "{}");
    assert_eq!(service.house.play(name, "").await, Ok(stream), "the accelerateURL plays");

    let url = service.push_url(&bob, Some(room)).await;
    let of_bob = service.push(&url).await.unwrap();
    // He is known by what he does before he says so.
    assert_eq!(users(&service.done(&alice, "get_pushers", json!({ "roomID": room })).await), ["alice", "bob"]);
    service.done(&bob, "add_pusher", pusher("bob", room, &url)).await;
    let list = service.done(&bob, "get_room_list", json!({ "cnt": "20", "index": 0 })).await;
    assert_eq!((list["rooms"].as_array().unwrap().len(), users(&list["rooms"][0])), (1, vec!["alice", "bob"]));

    page.drain();
    service.done(&alice, "delete_pusher", json!({ "roomID": room })).await;
    assert_eq!(
        (page.next().await["type"].clone(), page.next().await["userID"].clone()),
        (json!("stream-removed"), json!("alice"))
    );
    assert_eq!(users(&service.done(&bob, "get_pushers", json!({ "roomID": room })).await), ["bob"]);
    assert_eq!(service.push(&format!("{url}x")).await, Err(71005), "a changed signature");
    service.done(&bob, "delete_pusher", json!({ "roomID": room })).await;
    assert_eq!(service.code(&bob, "get_pushers", json!({ "roomID": room })).await, 3);
    assert!(service.push(&url).await.is_err(), "nobody pushes into it any more");
    service.ended(of_bob).await;
}

#[tokio::test]
async fn every_command_answers_with_its_documented_codes() {
    let service = Service::new();
    let alice = service.phone("live_room", "alice").await;
    let bob = service.phone("live_room", "bob").await;
    let room = json!({ "roomID": "r1" });
    let merged = |params: Value| json!({ "roomID": "r1", "mergeParams": params });
    let field = |operation: &str| json!({ "roomID": "r1", "fieldName": "likes", "operation": operation, "value": 5 });
    let url = "rtmp://elsewhere.example/live/1_2?txSecret=3";
    let with = |without: &str| {
        let mut body = pusher("alice", "r1", url);
        body.as_object_mut().unwrap().remove(without);
        body
    };
    // Of one room's life, in order: who, command, body, code.
    let table = [
        (&alice, "nonsense", json!({}), -1),
        (&alice, "get_push_url", json!({ "userID": 5 }), 1),
        (&alice, "get_push_url", json!({ "userID": "bob" }), 7),
        (&alice, "get_push_url", json!({ "roomID": "" }), 0),
        (&alice, "create_room", json!({}), 1),
        (&alice, "create_room", json!({ "roomInfo": "x".repeat(1025) }), 10),
        (&alice, "create_room", json!({ "roomInfo": "x".repeat(1024), "roomID": "r1" }), 0),
        (&alice, "create_room", json!({ "roomInfo": "", "roomID": "r1" }), 11),
        (&alice, "get_pushers", json!({}), 1),
        (&alice, "get_pushers", room.clone(), 3),
        (&alice, "get_room_list", json!({ "cnt": 1 }), 1),
        (&alice, "get_room_list", json!({ "cnt": 1, "index": 0 }), 0),
        (&alice, "add_pusher", with("roomID"), 1),
        (&alice, "add_pusher", with("userName"), 1),
        (&alice, "add_pusher", with("userAvatar"), 1),
        (&alice, "add_pusher", with("pushURL"), 1),
        (&alice, "pusher_heartbeat", room.clone(), 5),
        (&alice, "add_pusher", with(""), 0),
        (&alice, "add_pusher", with(""), 0),
        (&alice, "pusher_heartbeat", room.clone(), 0),
        (&bob, "pusher_heartbeat", room.clone(), 5),
        (&bob, "pusher_heartbeat", json!({ "roomID": "r1", "userID": "alice" }), 7),
        (&bob, "destroy_room", room.clone(), 3),
        (&bob, "delete_pusher", room.clone(), 5),
        (&bob, "delete_pusher", json!({ "roomID": "r1", "userID": "alice" }), 7),
        (&alice, "get_custom_info", room.clone(), 0),
        (&alice, "get_custom_info", json!({ "roomID": "r2" }), 3),
        (&alice, "set_custom_field", json!({ "roomID": "r1" }), 1),
        (&alice, "set_custom_field", field("double"), 1),
        (&alice, "set_custom_field", json!({ "roomID": "r1", "fieldName": "likes", "operation": "set" }), 1),
        (&alice, "set_custom_field", json!({ "roomID": "r2", "fieldName": "a", "operation": "inc" }), 3),
        (&alice, "set_custom_field", field("set"), 0),
        (&alice, "set_custom_field", field("inc"), 0),
        (&alice, "set_custom_field", field("dec"), 0),
        (&alice, "merge_stream", room.clone(), 1),
        (&alice, "merge_stream", merged(json!("{")), 10),
        (&alice, "merge_stream", merged(json!(5)), 10),
        (&alice, "merge_stream", merged(json!("{\"timestamp\":1}")), 0),
        (&alice, "merge_stream", merged(json!({ "timestamp": 1 })), 0),
        (&alice, "destroy_room", json!({}), 1),
        (&alice, "delete_pusher", json!({}), 1),
        (&alice, "pusher_heartbeat", json!({}), 1),
        (&alice, "get_custom_info", json!({}), 1),
        (&alice, "merge_stream", json!({ "mergeParams": {} }), 1),
        (&bob, "add_audience", json!({}), 1),
        (&bob, "get_audiences", json!({}), 1),
        (&bob, "delete_audience", json!({}), 1),
        (&bob, "add_audience", json!({ "roomID": "r1", "userInfo": "{}" }), 0),
        (&bob, "add_audience", json!({ "roomID": "r2" }), 3),
        (&bob, "get_audiences", room.clone(), 0),
        (&bob, "delete_audience", room.clone(), 0),
        (&bob, "add_pusher", pusher("bob", "r1", url), 0),
        // In a live room all goes with its creator.
        (&alice, "delete_pusher", room.clone(), 0),
        (&bob, "pusher_heartbeat", room.clone(), 5),
        (&bob, "add_pusher", pusher("bob", "r9", url), 0),
        (&bob, "destroy_room", json!({ "roomID": "r9" }), 0),
        (&bob, "destroy_room", json!({ "roomID": "r9" }), 3),
        (&alice, "logout", json!({}), 0),
        (&alice, "logout", json!({}), 7),
    ];
    for (step, (phone, command, body, code)) in table.into_iter().enumerate() {
        let answer = service.ask(phone, command, body.clone()).await;
        assert_eq!(answer["code"], code, "step {step}: {command} {body}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()), "{command}");
    }
    for command in ["merge_stream", "add_audience", "get_custom_info"] {
        let carol = service.phone("double_room", "carol").await;
        assert_eq!(service.code(&carol, command, json!({})).await, -1, "{command} is of live_room only");
    }
}

#[tokio::test]
async fn a_login_wants_all_it_needs_and_a_good_ticket() {
    let service = Service::new();
    let (sig, of_bob) = (user_sig("alice"), user_sig("bob"));
    for (query, code) in [
        (format!("sdkAppID={APP}&accountType=1&userID=alice&userSig={sig}"), 0),
        (format!("accountType=1&userID=alice&userSig={sig}"), 7),
        (format!("sdkAppID={APP}&userID=alice&userSig={sig}"), 7),
        (format!("sdkAppID={APP}&accountType=1&userSig={sig}"), 1),
        (format!("sdkAppID={APP}&accountType=1&userID=alice"), 7),
        (format!("sdkAppID=5&accountType=1&userID=alice&userSig={sig}"), 7),
        (format!("sdkAppID=x&accountType=1&userID=alice&userSig={sig}"), 7),
        (format!("sdkAppID={APP}&accountType=1&userID=alice&userSig={of_bob}"), 7),
        // MLVB: the phone libraries send no account type, and other codes come back.
        (format!("sdkAppID={APP}&userID=alice&userSig={sig}&platform=Android"), 0),
        (format!("sdkAppID={APP}&userID=alice&platform=Android"), 201_001),
        (format!("sdkAppID={APP}&userID=alice&userSig={of_bob}&platform=iOS"), 202_001),
    ] {
        let answer = service.post(&format!("/weapp/live_room/login?{query}"), "").await;
        assert_eq!(answer["code"], code, "{query}: {answer}");
        assert_eq!(answer["token"].is_string(), code == 0, "{query}");
    }
    let none = service.post("/weapp/live_room/get_room_list?userID=alice", "{}").await;
    assert_eq!(none["code"], 7);
    assert!(none["message"].as_str().unwrap().contains("authorised, 4:"), "{none}");
    for (token, sub) in [("x", 2), (&*format!("{}*1*", "0".repeat(32)), 3)] {
        let answer = service.post(&format!("/weapp/live_room/logout?userID=alice&token={token}"), "{}").await;
        assert!(answer["message"].as_str().unwrap().contains(&format!("authorised, {sub}:")), "{answer}");
    }
    let alice = service.phone("live_room", "alice").await;
    let path = format!("/weapp/live_room/get_pushers?userID=alice&token={}", alice.token);
    assert_eq!(service.post(&path, "[1]").await["code"], 1);
    assert_eq!(service.post(&path, "{\"roomID\":").await["code"], 1);
    assert_eq!(service.post("/weapp/other_room/login", "{}").await["code"], -1);
}

#[tokio::test]
async fn who_is_silent_is_gone_in_20_s_unless_his_stream_is_there() {
    let service = Service::new();
    let (alice, bob) = (service.phone("double_room", "alice").await, service.phone("double_room", "bob").await);
    let url = service.push_url(&alice, Some("r")).await;
    let stream = service.push(&url).await.unwrap();
    service.done(&alice, "add_pusher", pusher("alice", "r", &url)).await;
    let url = service.push_url(&bob, Some("r")).await;
    let of_bob = service.push(&url).await.unwrap();
    service.done(&bob, "add_pusher", pusher("bob", "r", &url)).await;
    let carol = service.phone("double_room", "carol").await;
    assert_eq!(service.code(&carol, "add_pusher", pusher("carol", "r", "rtmp://h/live/x?y")).await, 5001);

    service.in_seconds(21);
    assert_eq!(users(&service.done(&carol, "get_pushers", json!({ "roomID": "r" })).await), ["alice", "bob"]);
    service.ended(of_bob).await;
    // A phone that lost its network comes back in a moment: its place is kept until the heartbeat is overdue.
    assert_eq!(users(&service.done(&carol, "get_pushers", json!({ "roomID": "r" })).await), ["alice", "bob"]);
    service.in_seconds(20 + 20);
    assert_eq!(users(&service.done(&carol, "get_pushers", json!({ "roomID": "r" })).await), ["alice", "bob"]);
    service.in_seconds(21 + 21);
    assert_eq!(users(&service.done(&carol, "get_pushers", json!({ "roomID": "r" })).await), ["alice"]);
    service.ended(stream).await;
    service.in_seconds(42 + 21);
    assert_eq!(service.code(&carol, "get_pushers", json!({ "roomID": "r" })).await, 3, "the room went with the last");
    service.done(&carol, "create_room", json!({ "roomID": "idle", "roomInfo": "" })).await;
    service.in_seconds(29);
    assert_eq!(service.code(&carol, "create_room", json!({ "roomID": "idle", "roomInfo": "" })).await, 11);
    service.in_seconds(31);
    assert_eq!(service.code(&carol, "create_room", json!({ "roomID": "idle", "roomInfo": "" })).await, 0);
}

#[tokio::test]
async fn an_app_that_wants_private_map_keys_is_not_served_since_these_clients_have_none() {
    let required = crate::PrivateMapKeyPolicy::Required;
    let service = Service::with(|config| config.apps = vec![crate::AppConfig { private_map_key: required, ..app() }]);
    let sig = user_sig("alice");
    let path = format!("/weapp/live_room/login?sdkAppID={APP}&accountType=1&userID=alice&userSig={sig}");
    let answer = service.post(&path, "{}").await;
    assert_eq!(answer["code"], 7);
    assert!(answer["message"].as_str().unwrap().starts_with("71001"), "{answer}");
}

#[tokio::test]
async fn who_asks_for_a_push_url_before_he_has_a_room_gets_into_the_right_one() {
    let service = Service::new();
    let alice = service.phone("live_room", "alice").await;
    // The URL first, the room after it: the room is the one that the URL leads to.
    let url = service.push_url(&alice, None).await;
    let stream = service.push(&url).await.unwrap();
    let made = service.done(&alice, "create_room", json!({ "roomInfo": "" })).await;
    let room = made["roomID"].as_str().unwrap();
    assert!(name_of(&url).contains(room), "{url} {room}");
    service.done(&alice, "add_pusher", pusher("alice", room, &url)).await;
    assert_eq!(service.house.play(name_of(&url), "").await, Ok(stream));
    // The URL first, and then into somebody else's room: the stream is cut, and comes back into that room by the same URL.
    let bob = service.phone("live_room", "bob").await;
    let url = service.push_url(&bob, None).await;
    let before = service.push(&url).await.unwrap();
    service.done(&bob, "add_pusher", pusher("bob", room, &url)).await;
    assert!(service.house.play(name_of(&url), "").await.is_err(), "cut off");
    let after = service.push(&url).await.unwrap();
    assert!(before != after);
    assert_eq!(service.house.play(name_of(&url), "").await, Ok(after));
    assert_eq!(users(&service.done(&bob, "get_pushers", json!({ "roomID": room })).await), ["alice", "bob"]);
}

#[tokio::test]
async fn rooms_that_no_list_knows_are_shown_in_multi_room_with_what_plays() {
    let service = Service::new();
    service.house.pushed("obs").await;
    let alice = service.phone("multi_room", "alice").await;
    let list = service.done(&alice, "get_room_list", json!({ "cnt": 9, "index": 0 })).await;
    assert_eq!((users(&list["rooms"][0]), &list["rooms"][0]["roomID"]), (vec!["obs"], &json!("1001")));
    let seen = service.done(&alice, "get_pushers", json!({ "roomID": 1001 })).await;
    assert_eq!(seen["pushers"][0]["accelerateURL"], format!("rtmp://live.example/live/{APP}_1001_obs_main"));
    assert_eq!(service.code(&alice, "pusher_heartbeat", json!({ "roomID": 1001 })).await, 5);
}

#[tokio::test]
async fn where_playing_is_not_open_urls_are_signed_with_the_apps_key() {
    let signed = |config: &mut SignalingConfig| {
        let bizid = Some("8888".to_owned());
        config.apps = vec![crate::AppConfig { play: PlayPolicy::Signed, bizid, ..app() }];
    };
    let service = Service::with(signed);
    let alice = service.phone("live_room", "alice").await;
    let url = service.push_url(&alice, Some("r")).await;
    assert!(url.contains("/live/8888_r_alice_") && url.contains("?bizid=8888&txSecret="), "{url}");
    let query = Query::parse(url.split_once('?').unwrap().1);
    let time = query.value("txtime").unwrap();
    let expected = crate::auth::url::tx_secret("pushkey", name_of(&url), u64::from_str_radix(time, 16).unwrap());
    assert_eq!(query.value("txsecret"), Some(&*expected));
    let stream = service.push(&url).await.unwrap();
    service.done(&alice, "add_pusher", pusher("alice", "r", &url)).await;
    let seen = service.done(&alice, "get_pushers", json!({ "roomID": "r" })).await;
    let play = seen["pushers"][0]["accelerateURL"].as_str().unwrap();
    let (name, query) = (name_of(play), play.split_once('?').unwrap().1);
    assert_eq!(service.house.play(name, query).await, Ok(stream));
    assert_eq!(service.house.play(name, "").await.unwrap_err().code, 71000);
    let bad = query.replace("txSecret=", "txSecret=0");
    assert_eq!(service.house.play(name, &bad).await.unwrap_err().code, 71005);
}

#[tokio::test]
async fn mlvb_clients_get_their_own_fields_and_codes() {
    let service = Service::new();
    let (alice, bob) = (service.anchor("alice").await, service.anchor("bob").await);
    let urls = service.done(&alice, "get_anchor_url", json!({ "roomID": "m1" })).await;
    let push = urls["pushURL"].as_str().unwrap().to_owned();
    assert_eq!(name_of(&push), name_of(urls["accelerateURL"].as_str().unwrap()));
    service.push(&push).await.unwrap();
    // As a phone creates a room: with its push URL, so that it is in at once.
    let body = json!({ "roomID": "m1", "roomName": "show", "userName": "A", "userAvatar": "", "pushURL": push });
    let made = service.done(&alice, "create_room", body.clone()).await;
    assert!(made["timestamp"].as_u64().is_some_and(|ms| ms > 1_500_000_000_000), "{made}");
    let table = [
        (&alice, "nonsense", json!({}), 200_100),
        (&alice, "create_room", body, 203_002),
        (&alice, "create_room", json!({}), 201_000),
        (&alice, "create_room", json!({ "roomInfo": "x".repeat(1025) }), 203_009),
        (&alice, "get_anchor_url", json!({ "userID": "bob" }), 201_003),
        (&alice, "get_anchor_url", json!({ "userID": 1 }), 201_002),
        (&alice, "get_anchors", json!({}), 201_004),
        (&alice, "get_anchors", json!({ "roomID": "absent" }), 203_001),
        (&alice, "get_room_list", json!({ "index": 0 }), 201_005),
        (&bob, "anchor_heartbeat", json!({ "roomID": "m1" }), 203_010),
        (&bob, "destroy_room", json!({ "roomID": "m1" }), 203_003),
        (&bob, "delete_anchor", json!({ "roomID": "m1" }), 203_010),
        (&bob, "add_anchor", json!({ "roomID": "m1" }), 203_008),
        (&alice, "merge_stream", json!({ "roomID": "m1" }), 201_006),
        (&alice, "merge_stream", json!({ "roomID": "m1", "mergeParams": "{" }), 207_002),
        (&alice, "set_custom_field", json!({ "roomID": "m1" }), 201_007),
        (&alice, "set_custom_field", json!({ "roomID": "m1", "fieldName": "a", "operation": "x" }), 201_008),
        (&alice, "set_custom_field", json!({ "roomID": "m1", "fieldName": "a", "operation": "set" }), 201_009),
        (&alice, "set_custom_field", json!({ "roomID": "m1", "fieldName": "a", "operation": "set", "value": "b" }), 0),
        (&bob, "add_audience", json!({ "roomID": "m1", "userInfo": "b" }), 0),
    ];
    for (step, (phone, command, body, code)) in table.into_iter().enumerate() {
        assert_eq!(service.code(phone, command, body).await, code, "step {step}: {command}");
    }
    assert_eq!(service.done(&bob, "get_custom_Info", json!({ "roomID": "m1" })).await["custom"], "{\"a\":\"b\"}");
    let merged = service.done(&alice, "merge_stream", json!({ "roomID": "m1", "mergeParams": {} })).await;
    assert_eq!(merged["merge_code"], 0);
    assert!(merged["merge_msg"].as_str().unwrap().contains("does not mix"), "{merged}");

    let list = service.done(&bob, "get_room_list", json!({ "cnt": 9, "index": 0 })).await;
    let room = &list["rooms"][0];
    assert_eq!((&room["roomName"], &room["audienceCount"], users(room)), (&json!("show"), &json!(1), vec!["alice"]));
    assert_eq!(room["audiences"], json!([{ "userID": "bob", "userInfo": "b" }]));
    // The heartbeat tells of changes, to whoever says what he knows.
    let known = service.done(&alice, "get_anchors", json!({ "roomID": "m1" })).await["roomStatusCode"].clone();
    let same = service.done(&alice, "anchor_heartbeat", json!({ "roomID": "m1", "roomStatusCode": known })).await;
    assert!(same.get("pushers").is_none() && same["roomStatusCode"] == known, "{same}");
    let url = service.done(&bob, "get_anchor_url", json!({ "roomID": "m1" })).await["pushURL"].clone();
    service.push(url.as_str().unwrap()).await.unwrap();
    let news = service.done(&alice, "anchor_heartbeat", json!({ "roomID": "m1", "roomStatusCode": known })).await;
    assert_eq!(users(&news), ["alice", "bob"]);
    service.done(&alice, "destroy_room", json!({ "roomID": "m1" })).await;
    assert_eq!(service.code(&bob, "get_anchors", json!({ "roomID": "m1" })).await, 203_001);
}

#[tokio::test]
async fn each_list_has_its_own_limits_at_them_all_is_well_and_over_them_it_is_refused() {
    let url = "rtmp://elsewhere.example/live/1_2?txSecret=3";
    for (list, max) in [("double_room", 2), ("multi_room", 4), ("live_room", 4)] {
        let service = Service::new();
        for number in 0..=max {
            let user = format!("user{number}");
            let phone = service.phone(list, &user).await;
            let code = service.code(&phone, "add_pusher", pusher(&user, "r", url)).await;
            assert_eq!(code, if number < max { 0 } else { 5001 }, "{list} {number}");
        }
        // Who is in already may say so again.
        let first = service.phone(list, "user0").await;
        assert_eq!(service.code(&first, "add_pusher", pusher("user0", "r", url)).await, 0);
    }
    // MLVB has the limits of live_room, and its own words.
    let service = Service::new();
    for number in 0..=4 {
        let user = format!("user{number}");
        let anchor = service.anchor(&user).await;
        let code = service.code(&anchor, "add_anchor", pusher(&user, "r", url)).await;
        assert_eq!(code, if number < 4 { 0 } else { 203_007 }, "{number}");
    }
    for number in 0..=30 {
        let user = format!("viewer{number}");
        let (viewer, is_mlvb) = match number % 2 {
            0 => (service.anchor(&user).await, true),
            _ => (service.phone("live_room", &user).await, false),
        };
        let code = service.code(&viewer, "add_audience", json!({ "roomID": "r" })).await;
        let full = if is_mlvb { 205_001 } else { 1 };
        assert_eq!(code, if number < 30 { 0 } else { full }, "{number}");
        if number == 30 {
            let one = service.phone("live_room", "one").await;
            assert_eq!(service.code(&one, "add_audience", json!({ "roomID": "r" })).await, 1);
            // Who is listed already may say so again, and a place that is free is given.
            let listed = service.anchor("viewer0").await;
            assert_eq!(service.code(&listed, "add_audience", json!({ "roomID": "r" })).await, 0);
            service.done(&listed, "delete_audience", json!({ "roomID": "r" })).await;
            assert_eq!(service.code(&one, "add_audience", json!({ "roomID": "r" })).await, 0);
        }
    }
}

#[tokio::test]
async fn the_rest_of_mlvb_answers_with_its_codes_too() {
    let service = Service::new();
    let (alice, bob) = (service.anchor("alice").await, service.anchor("bob").await);
    let room = json!({ "roomID": "m2" });
    let field = |operation: &str| json!({ "roomID": "m2", "fieldName": "n", "operation": operation });
    let url = "rtmp://elsewhere.example/live/1_2?txSecret=3";
    let of_bob = json!({ "roomID": "m2", "userID": "bob" });
    let table = [
        // As the mini-program creates a room: it comes later, with its URL.
        (&alice, "create_room", json!({ "roomID": "m2", "roomInfo": "x".repeat(1024) }), 0),
        (&alice, "create_room", json!({ "roomInfo": "another" }), 0),
        (&alice, "get_anchor_url", json!({}), 0),
        (&alice, "get_anchors", room.clone(), 203_001),
        (&alice, "add_anchor", pusher("alice", "m2", url), 0),
        (&alice, "get_anchors", room.clone(), 0),
        (&alice, "anchor_heartbeat", room.clone(), 0),
        (&alice, "anchor_heartbeat", json!({}), 201_004),
        (&bob, "add_anchor", json!({ "pushURL": url }), 201_004),
        (&bob, "add_anchor", json!({ "roomID": "m2", "pushURL": url, "userID": "alice" }), 201_003),
        (&bob, "add_anchor", pusher("bob", "m2", url), 0),
        (&bob, "delete_anchor", json!({}), 201_004),
        (&bob, "delete_anchor", json!({ "roomID": "m2", "userID": "alice" }), 201_003),
        (&alice, "delete_anchor", of_bob, 0),
        (&bob, "anchor_heartbeat", room.clone(), 203_010),
        (&alice, "get_room_list", json!({ "cnt": 5 }), 201_005),
        (&alice, "get_room_list", json!({ "cnt": 5, "index": 0 }), 0),
        (&bob, "add_audience", json!({}), 201_004),
        (&bob, "add_audience", json!({ "roomID": "absent" }), 203_001),
        (&bob, "add_audience", room.clone(), 0),
        (&bob, "get_audiences", json!({}), 201_004),
        (&bob, "get_audiences", room.clone(), 0),
        (&bob, "delete_audience", json!({}), 201_004),
        (&bob, "delete_audience", room.clone(), 0),
        (&alice, "set_custom_field", field("inc"), 0),
        (&alice, "set_custom_field", field("dec"), 0),
        (&alice, "set_custom_field", json!({ "roomID": "absent", "fieldName": "n", "operation": "inc" }), 203_001),
        (&alice, "get_custom_Info", room.clone(), 0),
        (&alice, "get_custom_Info", json!({ "roomID": "absent" }), 203_001),
        (&alice, "merge_stream", json!({ "roomID": "m2", "mergeParams": "{}" }), 0),
        (&alice, "destroy_room", json!({}), 201_004),
        (&alice, "destroy_room", room.clone(), 0),
        (&alice, "destroy_room", room.clone(), 203_003),
        (&alice, "logout", json!({}), 0),
        (&alice, "get_anchors", room.clone(), 7),
    ];
    for (step, (phone, command, body, code)) in table.into_iter().enumerate() {
        let answer = service.ask(phone, command, body.clone()).await;
        assert_eq!(answer["code"], code, "step {step}: {command} {body}: {answer}");
        assert_eq!(answer["timestamp"].is_u64(), code == 0, "step {step}: {command}");
    }
    let path = format!("/weapp/live_room/get_anchors?userID=bob&token={}", bob.token);
    assert_eq!(service.post(&path, "{\"roomID\":").await["code"], 200_101);
}

#[tokio::test]
async fn the_list_of_the_webrtc_room_demos_counts_hands_out_keys_and_needs_the_demo() {
    let service = Service::with(|config| config.demo = true);
    let path = |command: &str| format!("/webrtc/weapp/webrtc_room/{command}");
    let info = service.post(&path("get_login_info"), "{\"userID\":\"alice1\"}").await;
    assert_eq!(
        (&info["userID"], &info["sdkAppID"], info["userSig"].is_string()),
        (&json!("alice1"), &json!(APP), true)
    );
    let body = json!({ "userID": "alice1", "nickName": "A", "roomInfo": "talk" }).to_string();
    let made = service.post(&path("create_room"), &body).await;
    let room = made["roomID"].as_u64().filter(|room| *room < 1 << 31).expect("a number");
    // The key opens the room.
    let mut page = service.house.client();
    let (sig, key) = (user_sig("alice1"), made["privateMapKey"].clone());
    let fields = json!({ "userID": "alice1", "userSig": sig, "roomID": room, "privateMapKey": key });
    assert_eq!(page.enter_with(fields).await["type"], "ok");
    let of = |user: &str, room: u64| json!({ "userID": user, "roomID": room });
    let table = [
        ("get_login_info", json!({ "userID": "a b" }), 7),
        ("create_room", json!({ "userID": "bob1" }), 2),
        ("create_room", json!({ "userID": "1bob", "roomInfo": "" }), 7),
        ("create_room", json!({ "userID": "bob1", "roomInfo": "x".repeat(1025) }), 11),
        ("enter_room", json!({ "userID": "bob1" }), 2),
        ("enter_room", of("bob1", 1), 3),
        ("enter_room", of("bob1", room), 0),
        ("enter_room", of("bob2", room), 0),
        ("enter_room", of("bob3", room), 0),
        ("enter_room", of("bob4", room), 5001),
        ("heartbeat", json!({ "userID": "bob1" }), 2),
        ("heartbeat", json!({ "roomID": room }), 2),
        ("quit_room", json!({ "userID": "bob1" }), 2),
        ("get_room_members", json!({}), 2),
        ("get_room_list", json!({ "count": 1 }), 2),
        ("create_room", json!({ "userID": "bob1", "roomInfo": "x".repeat(1024) }), 0),
        ("create_room", json!({ "userID": "b123", "roomInfo": "" }), 0),
        ("create_room", json!({ "userID": "b12", "roomInfo": "" }), 7),
        ("create_room", json!({ "userID": "b".repeat(24), "roomInfo": "" }), 0),
        ("create_room", json!({ "userID": "b".repeat(25), "roomInfo": "" }), 7),
        ("report", json!({}), 0),
        ("heartbeat", of("bob1", room), 0),
        ("heartbeat", of("bob4", room), 5),
        ("quit_room", of("bob4", room), 5),
        ("quit_room", of("bob2", room), 0),
        ("get_room_list", json!({ "index": 0 }), 2),
        ("get_room_members", json!({ "roomID": 1 }), 3),
        ("nonsense", json!({}), -1),
    ];
    for (command, body, code) in table {
        assert_eq!(service.post(&path(command), &body.to_string()).await["code"], code, "{command} {body}");
    }
    let list = service.post(&path("get_room_list"), "{\"index\":0,\"count\":10,\"roomType\":\"trtc\"}").await;
    assert_eq!(list["rooms"][0]["roomID"], room);
    let members = service.post(&path("get_room_members"), &json!({ "roomID": room }).to_string()).await;
    let names: Vec<_> = members["members"].as_array().unwrap().iter().map(|m| m["userID"].clone()).collect();
    assert_eq!(names, ["alice1", "bob1", "bob3"]);
    assert_eq!(members["members"][0]["nickName"], "A");
    // Who sends no heartbeat for 20 s is not in it.
    service.in_seconds(19);
    assert_eq!(service.post(&path("get_room_members"), &json!({ "roomID": room }).to_string()).await["code"], 0);
    service.in_seconds(21);
    assert_eq!(service.post(&path("get_room_members"), &json!({ "roomID": room }).to_string()).await["code"], 3);

    let strict = Service::new();
    assert_eq!(strict.post(&path("get_login_info"), "{}").await["code"], -1);
}

#[tokio::test]
async fn the_sample_servers_utilities_answer_and_hand_out_nothing_without_the_demo() {
    let service = Service::with(|config| config.demo = true);
    let get = async |service: &Service, command: &str| service.post(&format!("/weapp/utils/{command}"), "").await;
    let info = get(&service, "get_login_info?userIDPrefix=weixin&code=0123").await;
    assert!(info["userID"].as_str().unwrap().starts_with("weixin_"), "{info}");
    let path = format!(
        "/weapp/double_room/login?sdkAppID={}&accountType={}&userID={}&userSig={}",
        info["sdkAppID"],
        info["accType"].as_str().unwrap(),
        info["userID"].as_str().unwrap(),
        info["userSig"].as_str().unwrap()
    );
    assert_eq!(service.post(&path, "{}").await["code"], 0);
    let urls = get(&service, "get_test_pushurl").await;
    let stream = service.push(urls["url_push"].as_str().unwrap()).await.unwrap();
    assert_eq!(service.house.play(name_of(urls["url_play_acc"].as_str().unwrap()), "").await, Ok(stream));
    assert!(urls["url_play_flv"].as_str().unwrap().ends_with(".flv"));
    assert!(urls["url_play_hls"].as_str().unwrap().ends_with(".m3u8"));
    for command in ["report", "check_config", "get_test_rtmpaccurl"] {
        assert_eq!(get(&service, command).await["code"], 0, "{command}");
    }
    for command in ["logfilelist", "getlogfile", "nonsense"] {
        assert_eq!(get(&service, command).await["code"], -1, "{command}");
    }
    let strict = Service::new();
    for command in ["get_login_info?userID=a", "get_test_pushurl", "get_test_rtmpaccurl"] {
        assert_eq!(get(&strict, command).await["code"], -1, "{command}");
    }
}
