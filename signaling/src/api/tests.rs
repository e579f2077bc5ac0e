//! The API against a hub whose media side takes every command and answers none.

use axum::{
    body::to_bytes,
    http::{Method, Request},
};
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::{callback::CallbackConfig, config::SignalingConfig, hub::Hub, name::RoomName, relay::RELAYS_PER_APP};

const APP: u32 = 1_400_000_001;
const OTHER: u32 = 1_400_000_002;
const SECRET: &str = "secret of one";
const OTHER_SECRET: &str = "secret of the other";
const ADMIN: &str = "key of the operator";

#[tokio::test]
async fn nobody_learns_anything_without_the_secret() {
    let house = House::new();
    house.expect(201, "POST", "/apps/1400000001/rooms", SECRET, json!({ "roomID": "lobby" })).await;
    let mut refusals = Vec::new();
    for (operation, _) in operations() {
        for app in [APP, OTHER, 5] {
            for room in ["lobby", "absent"] {
                let path = fill(operation.path, app, room);
                // The other app's secret is a good secret, for the other app.
                let wrong = if app == OTHER { SECRET } else { OTHER_SECRET };
                for key in [None, Some(""), Some("wrong"), Some(wrong)] {
                    let answer = house.ask(operation.method.clone(), &path, key, &json!({}).to_string()).await;
                    refusals.push((answer.status, answer.body.to_string()));
                }
            }
        }
    }
    assert!(refusals.len() > 400, "{}", refusals.len());
    assert_eq!(refusals[0].0, 401);
    assert!(refusals[0].1.contains("71010"), "{}", refusals[0].1);
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "refusals differ: {refusals:?}");
    assert_eq!(house.get("/apps/x/rooms", SECRET).await.status, 401);
    // An app's secret is not the operator's key, and no key opens what has none.
    assert_eq!(house.get("/apps", SECRET).await.status, 401);
    assert_eq!(house.get("/apps", ADMIN).await.status, 200);
    let without = House::with(Store::in_memory(), ApiConfig::default());
    for key in ["", ADMIN] {
        assert_eq!(without.get("/apps", key).await.status, 401, "{key:?}");
    }
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let house = House::new();
    let answer = house.ask(Method::GET, "/openapi.json", None, "").await;
    assert_eq!(answer.status, 200);
    let mut described = 0;
    for (path, methods) in answer.body["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described += 1;
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            let path = fill(path.strip_prefix(PREFIX).unwrap(), APP, "lobby");
            let method = method.to_ascii_uppercase().parse().unwrap();
            assert_eq!(house.ask(method, &path, None, "").await.status, 401, "{path}");
        }
    }
    let listed = operations();
    for (operation, _) in &listed {
        let path = &answer.body["paths"][format!("{PREFIX}{}", operation.path)];
        assert!(path[operation.method.as_str().to_ascii_lowercase()].is_object(), "{operation:?}");
    }
    assert_eq!(described, listed.len());
    let absent = house.get("/nothing", SECRET).await;
    assert_eq!((absent.status, absent.code()), (404, 72011));
    let method = house.ask(Method::PUT, "/apps/1400000001/rooms", Some(SECRET), "").await;
    assert_eq!((method.status, method.code()), (405, 72012));
}

#[tokio::test]
async fn rooms_are_made_changed_listed_and_dissolved() {
    let house = House::new();
    let body = json!({ "roomID": "lobby", "owner": "alice", "metadata": "hi" });
    let made = house.expect(201, "POST", "/apps/1400000001/rooms", SECRET, body.clone()).await;
    assert_eq!((made["roomID"].as_str(), made["owner"].as_str()), (Some("lobby"), Some("alice")));
    assert_eq!((made["lasting"].as_bool(), made["memberCount"].as_u64()), (Some(true), Some(0)));
    assert_eq!(house.expect(409, "POST", "/apps/1400000001/rooms", SECRET, body).await["code"], 73018);
    let lobby = "/apps/1400000001/rooms/lobby";
    house.expect(204, "PATCH", lobby, SECRET, json!({ "locked": true, "metadata": "" })).await;
    let room = house.get(lobby, SECRET).await.body;
    assert_eq!((room["locked"].as_bool(), room["metadata"].is_null()), (Some(true), true));
    assert_eq!(room["members"], json!([]));
    // A number and its text are one room; names with odd characters are written in percent.
    house.expect(201, "POST", "/apps/1400000001/rooms", SECRET, json!({ "roomID": 1001 })).await;
    assert_eq!(house.get("/apps/1400000001/rooms/1001", SECRET).await.body["roomID"], 1001);
    house.expect(201, "POST", "/apps/1400000001/rooms", SECRET, json!({ "roomID": "a/b ü" })).await;
    assert_eq!(house.get("/apps/1400000001/rooms/a%2Fb%20%C3%BC", SECRET).await.body["roomID"], "a/b ü");
    house.expect(204, "DELETE", lobby, SECRET, json!({})).await;
    assert_eq!(house.expect(404, "GET", lobby, SECRET, json!({})).await["code"], 73013);
    assert_eq!(house.expect(404, "DELETE", lobby, SECRET, json!({})).await["code"], 73013);
    // Another app's room of the same name is another room.
    assert_eq!(house.get("/apps/1400000002/rooms", OTHER_SECRET).await.body["rooms"], json!([]));
}

#[tokio::test]
async fn the_table_of_rooms_pages_and_filters() {
    let house = House::new();
    for number in 0..25 {
        let body = json!({ "roomID": format!("r{number:02}"), "locked": number % 5 == 0 });
        house.expect(201, "POST", "/apps/1400000001/rooms", SECRET, body).await;
    }
    house.hub.add_test_stream(APP, "r07", "bot").unwrap();
    let rooms = "/apps/1400000001/rooms";
    let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = house.get(&format!("{rooms}?limit=10{after}"), SECRET).await.body;
        seen.extend(names(&page));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!((pages, seen.len()), (3, 25));
    assert!(seen.is_sorted(), "{seen:?}");
    let filtered = async |query: &str| names(&house.get(&format!("{rooms}?{query}"), SECRET).await.body);
    assert_eq!(filtered("prefix=r1").await.len(), 10);
    assert_eq!(filtered("state=locked").await, ["r00", "r05", "r10", "r15", "r20"]);
    assert_eq!(filtered("state=occupied").await, ["r07"]);
    assert_eq!(filtered("state=empty&prefix=r0").await.len(), 9);
    assert_eq!(filtered("userID=bot").await, ["r07"]);
    // The limit of a page, and what is no limit.
    assert_eq!(house.get(&format!("{rooms}?limit=1000"), SECRET).await.status, 200);
    for bad in ["limit=1001", "limit=0", "limit=x", "limit=-1", "state=asleep"] {
        assert_eq!(house.get(&format!("{rooms}?{bad}"), SECRET).await.code(), 72002, "{bad}");
    }
}

#[tokio::test]
async fn members_are_listed_muted_kicked_and_banned() {
    let house = House::new();
    house.hub.add_test_stream(APP, "lobby", "bot").unwrap();
    let lobby = "/apps/1400000001/rooms/lobby";
    let members = house.get(&format!("{lobby}/members"), SECRET).await.body;
    assert_eq!((members["members"][0]["userID"].as_str(), members["next"].is_null()), (Some("bot"), true));
    let silenced = async || house.get(lobby, SECRET).await.body["members"][0]["silenced"].clone();
    house.expect(204, "PUT", &format!("{lobby}/members/bot/mute"), SECRET, json!({ "video": true })).await;
    assert_eq!(silenced().await, json!({ "audio": true, "video": true, "messages": false }));
    house.expect(204, "DELETE", &format!("{lobby}/members/bot/mute"), SECRET, json!({})).await;
    assert!(silenced().await.is_null());
    let kicked = house.expect(404, "POST", &format!("{lobby}/members/nobody/kick"), SECRET, json!({})).await;
    assert_eq!(kicked["code"], 73014);
    house.expect(204, "PUT", &format!("{lobby}/bans/mallory"), SECRET, json!({})).await;
    house.expect(204, "PUT", &format!("{lobby}/bans/eve"), SECRET, json!({ "seconds": 60 })).await;
    let bans = house.get(&format!("{lobby}/bans"), SECRET).await.body;
    assert_eq!((bans["bans"][0]["userID"].as_str(), bans["bans"][1]["until"].is_null()), (Some("eve"), true));
    house.expect(204, "DELETE", &format!("{lobby}/bans/eve"), SECRET, json!({})).await;
    assert_eq!(house.expect(404, "DELETE", &format!("{lobby}/bans/eve"), SECRET, json!({})).await["code"], 73023);
    house.expect(204, "POST", &format!("{lobby}/members/bot/kick"), SECRET, json!({})).await;
    assert_eq!(house.get(lobby, SECRET).await.body["memberCount"], 0, "the ban keeps the room");
    let said = house.expect(200, "POST", &format!("{lobby}/messages"), SECRET, json!({ "text": "hello" })).await;
    assert_eq!(said["messageID"], 1);
    assert_eq!(house.expect(400, "POST", &format!("{lobby}/messages"), SECRET, json!({})).await["field"], "text");
}

#[tokio::test]
async fn tickets_are_issued() {
    let house = House::new();
    let body = json!({ "userID": "alice", "roomID": 1001, "expire": 60 });
    let ticket = house.expect(200, "POST", "/apps/1400000001/tickets", SECRET, body).await;
    assert_eq!((ticket["sdkAppID"].as_u64(), ticket["roomID"].as_u64()), (Some(APP.into()), Some(1001)));
    assert!(ticket["userSig"].as_str().unwrap().len() > 50 && ticket["privateMapKey"].as_str().unwrap().len() > 50);
    let refused = house.expect(400, "POST", "/apps/1400000001/tickets", SECRET, json!({ "userID": "a\n" })).await;
    assert_eq!(refused["field"], "userID");
}

#[tokio::test]
async fn bodies_are_one_json_object_within_the_limit() {
    let config = ApiConfig { body_bytes: 1024, ..api_config() };
    let house = House::with(Store::in_memory(), config);
    let rooms = "/apps/1400000001/rooms";
    let of = |bytes: usize| {
        let short = r#"{"roomID":"r","x":""}"#;
        short.replace(r#""x":""#, &format!(r#""x":"{}"#, "x".repeat(bytes - short.len())))
    };
    assert_eq!(of(1024).len(), 1024);
    assert_eq!(house.ask(Method::POST, rooms, Some(SECRET), &of(1024)).await.status, 201);
    assert_eq!(house.ask(Method::POST, rooms, Some(SECRET), &of(1025)).await.code(), 72003);
    for bad in ["[]", "{", "{} {}", r#"{"roomID":"a","roomID":"b"}"#, "\u{1}"] {
        assert_eq!(house.ask(Method::POST, rooms, Some(SECRET), bad).await.code(), 72000, "{bad:?}");
    }
}

#[tokio::test]
async fn apps_are_added_rotated_and_removed_at_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::with(Store::open(folder.path()).unwrap(), api_config());
    let app = "/apps/7";
    house.expect(204, "PUT", app, ADMIN, json!({ "name": "seven", "secret": "first" })).await;
    assert_eq!(house.get("/apps/7/rooms", "first").await.status, 200);
    house.expect(204, "PUT", app, ADMIN, json!({ "secret": "second", "secretsBefore": ["first"] })).await;
    assert_eq!(house.get("/apps/7/rooms", "second").await.status, 200);
    assert_eq!(house.get("/apps/7/rooms", "first").await.status, 401, "an old secret is for tickets only");
    house.expect(201, "POST", "/apps/7/rooms", "second", json!({ "roomID": "lobby" })).await;

    // After a restart it is there, with its room.
    let house = house.again(folder.path());
    assert_eq!(house.get("/apps/7/rooms/lobby", "second").await.status, 200);
    let apps = house.get("/apps", ADMIN).await.body;
    let listed: Vec<_> = apps["apps"].as_array().unwrap().iter().map(|app| app["sdkAppID"].as_u64().unwrap()).collect();
    assert_eq!(listed, [u64::from(APP), OTHER.into(), 7]);
    assert!(!apps.to_string().contains("second"), "{apps}");

    let configured = house.expect(409, "PUT", "/apps/1400000001", ADMIN, json!({ "secret": "x" })).await;
    assert_eq!(configured["code"], 75010);
    for (body, code) in [
        (json!({}), 72002),
        (json!({ "secret": "s", "keys": ["no key"] }), 72002),
        (json!({ "secret": "s", "play": "signed" }), 72002),
        (json!({ "secret": "s", "callbackURL": "http://127.0.0.1/" }), 75011),
        (json!({ "secret": "s", "callbackURL": "http://169.254.169.254/latest" }), 75011),
        (json!({ "secret": "s", "callbackURL": "nonsense" }), 75011),
    ] {
        assert_eq!(house.expect(400, "PUT", "/apps/8", ADMIN, body.clone()).await["code"], code, "{body}");
    }
    house
        .expect(
            204,
            "PUT",
            "/apps/8",
            ADMIN,
            json!({
                "secret": "s", "callbackURL": "http://127.0.0.1/", "callbackPrivate": true
            }),
        )
        .await;
    house.expect(204, "DELETE", app, ADMIN, json!({})).await;
    assert_eq!(house.get("/apps/7/rooms", "second").await.status, 401);
    house.expect(401, "DELETE", app, ADMIN, json!({})).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::with(Store::open(folder.path()).unwrap(), api_config());
    let rooms = "/apps/1400000001/rooms";
    for room in ["kept", "gone"] {
        house.expect(201, "POST", rooms, SECRET, json!({ "roomID": room, "metadata": "m" })).await;
    }
    house.expect(204, "PUT", &format!("{rooms}/kept/bans/mallory"), SECRET, json!({})).await;
    house.expect(204, "PATCH", &format!("{rooms}/kept"), SECRET, json!({ "locked": true })).await;
    house.expect(204, "DELETE", &format!("{rooms}/gone"), SECRET, json!({})).await;
    for text in ["one", "two", "three"] {
        house.expect(200, "POST", &format!("{rooms}/kept/messages"), SECRET, json!({ "text": text })).await;
    }
    let house = house.again(folder.path());
    let kept = house.get(&format!("{rooms}/kept"), SECRET).await.body;
    assert_eq!((kept["locked"].as_bool(), kept["metadata"].as_str()), (Some(true), Some("m")));
    assert_eq!(house.get(&format!("{rooms}/kept/bans"), SECRET).await.body["bans"][0]["userID"], "mallory");
    assert_eq!(house.get(&format!("{rooms}/gone"), SECRET).await.status, 404);
    let key = (APP, RoomName::from_text("kept").unwrap());
    let history = house.api.0.store.read().history[&key].clone();
    assert_eq!(history.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3], "the app keeps two");
    // The count goes on where it was.
    let said = house.expect(200, "POST", &format!("{rooms}/kept/messages"), SECRET, json!({ "text": "four" })).await;
    assert_eq!(said["messageID"], 4);
}

#[tokio::test]
async fn keys_of_the_configuration_are_rotated_without_a_restart() {
    let house = House::new();
    house.expect(201, "POST", "/apps/1400000001/rooms", SECRET, json!({ "roomID": "lobby" })).await;
    let mut apps = apps();
    apps[0].v2_secret = Some("new".into());
    house.api.reload(apps.clone()).unwrap();
    assert_eq!(house.get("/apps/1400000001/rooms", SECRET).await.status, 401);
    assert_eq!(house.get("/apps/1400000001/rooms/lobby", "new").await.status, 200);
    apps[0].v2_secret = None;
    assert!(house.api.reload(apps).is_err(), "an app without keys is refused");
    assert_eq!(house.get("/apps/1400000001/rooms/lobby", "new").await.status, 200, "and nothing changes");
}

#[tokio::test]
async fn what_happens_in_rooms_reaches_the_apps_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, mut bodies) = mpsc::unbounded_channel();
    let hook = axum::routing::post(move |body: String| {
        let _ = sender.send(body);
        async {}
    });
    tokio::spawn(axum::serve(listener, Router::new().route("/hook", hook)).into_future());
    let house = House::new();
    let app = json!({ "secret": "nine", "callbackURL": url, "callbackPrivate": true });
    house.expect(204, "PUT", "/apps/9", ADMIN, app).await;
    house.hub.add_test_stream(9, "lobby", "bot").unwrap();
    house.expect(204, "POST", "/apps/9/rooms/lobby/members/bot/kick", "nine", json!({})).await;
    for event in ["room-created", "member-entered", "member-left", "room-dissolved"] {
        let body: Value = serde_json::from_str(&bodies.recv().await.unwrap()).unwrap();
        assert_eq!((body["event"].as_str(), body["roomID"].as_str()), (Some(event), Some("lobby")), "{body}");
        assert_eq!(body["sdkAppID"], 9);
    }
}

#[tokio::test]
async fn an_app_has_as_many_relays_as_it_may_and_its_neighbours_do_not_see_them() {
    let house = House::new();
    let relays = "/apps/1400000001/relays";
    let body = |number: usize| json!({ "direction": "push", "url": "rtmps://example.com/a/b?k=HUSH", "stream": format!("s{number}") });
    for number in 1..=RELAYS_PER_APP {
        let answer = house.expect(201, "POST", relays, SECRET, body(number)).await;
        assert_eq!(
            (&answer["relayID"], &answer["url"]),
            (&json!(format!("r{number}")), &json!("rtmps://example.com:443/a/b"))
        );
    }
    let refused = house.expect(503, "POST", relays, SECRET, body(0)).await;
    assert_eq!(refused["code"], 74002);
    house.expect(404, "GET", "/apps/1400000002/relays/r1", OTHER_SECRET, json!({})).await;
    house.expect(404, "DELETE", "/apps/1400000002/relays/r1", OTHER_SECRET, json!({})).await;
    for id in ["r01", "r+1", "1", "r", "r101", "r18446744073709551616"] {
        house.expect(404, "GET", &format!("{relays}/{id}"), SECRET, json!({})).await;
    }
    house.expect(204, "DELETE", &format!("{relays}/r1"), SECRET, json!({})).await;
    house.expect(404, "DELETE", &format!("{relays}/r1"), SECRET, json!({})).await;
    assert_eq!(house.expect(201, "POST", relays, SECRET, body(0)).await["relayID"], "r101");
    for bad in
        [json!({ "stream": "" }), json!({ "url": "rtmpe://example.com/a/b" }), json!({ "url": "rtmp://10.0.0.1/a/b" })]
    {
        let mut body = body(1);
        body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert_eq!(house.expect(400, "POST", relays, SECRET, body).await["code"], 72002, "{bad}");
    }
}

#[tokio::test]
async fn an_app_added_here_says_where_its_relays_may_go_and_how_its_streams_are_called() {
    let house = House::new();
    let relay = json!({ "direction": "push", "url": "rtmp://127.0.0.1/a/b", "stream": "s" });
    house.expect(204, "PUT", "/apps/9", ADMIN, json!({ "secret": "nine" })).await;
    assert_eq!(house.expect(400, "POST", "/apps/9/relays", "nine", relay.clone()).await["field"], "url");
    let app = |bizid: &str| json!({ "secret": "nine", "relayPrivate": true, "bizid": bizid });
    house.expect(204, "PUT", "/apps/9", ADMIN, app("8888")).await;
    house.expect(201, "POST", "/apps/9/relays", "nine", relay).await;
    let bizid_of = || house.hub.apps().iter().find(|app| app.sdk_app_id == 9).map(AppConfig::bizid);
    assert_eq!(bizid_of().as_deref(), Some("8888"));
    for bad in ["a/b", "a_b", &"8".repeat(33)] {
        assert_eq!(house.expect(400, "PUT", "/apps/9", ADMIN, app(bad)).await["code"], 72002, "{bad}");
    }
    house.expect(204, "PUT", "/apps/9", ADMIN, app(&"8".repeat(32))).await;
    house.expect(204, "PUT", "/apps/9", ADMIN, json!({ "secret": "nine" })).await;
    assert_eq!(bizid_of().as_deref(), Some("9"));
}

struct House {
    api: Api,
    hub: Hub,
    router: Router,
}

struct Answered {
    status: u16,
    body: Value,
}

impl Answered {
    fn code(&self) -> u64 {
        self.body["code"].as_u64().unwrap_or(0)
    }
}

impl House {
    fn new() -> House {
        House::with(Store::in_memory(), api_config())
    }

    fn with(store: Store, config: ApiConfig) -> House {
        let (commands, mut taken) = mpsc::channel(64);
        let (_events, events) = mpsc::channel(1);
        tokio::spawn(async move { while taken.recv().await.is_some() {} });
        let signaling = SignalingConfig { apps: apps(), ..SignalingConfig::default() };
        let hub = Hub::start(signaling, commands, events).unwrap();
        let callbacks = Callbacks::new(CallbackConfig::default(), &[]);
        let api = Api::start(hub.clone(), store, callbacks, config).unwrap();
        House { router: router(api.clone()), api, hub }
    }

    /// The same after a restart.
    fn again(self, folder: &std::path::Path) -> House {
        drop(self);
        // The thread that writes closes the file a moment after its last handle is gone.
        loop {
            match Store::open(folder) {
                Ok(store) => return House::with(store, api_config()),
                Err(error) => assert_eq!(error.code(), Code::StoreInUse),
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, key: Option<&str>, body: &str) -> Answered {
        let mut request = Request::builder().method(method).uri(format!("{PREFIX}{path}"));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answered { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    async fn get(&self, path: &str, key: &str) -> Answered {
        self.ask(Method::GET, path, Some(key), "").await
    }

    async fn expect(&self, status: u16, method: &str, path: &str, key: &str, body: Value) -> Value {
        let answer = self.ask(method.parse().unwrap(), path, Some(key), &body.to_string()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer.body
    }
}

fn apps() -> Vec<AppConfig> {
    let app = |sdk_app_id, secret: &str| AppConfig {
        sdk_app_id,
        v2_secret: Some(secret.into()),
        history_messages: 2,
        ..AppConfig::default()
    };
    vec![app(APP, SECRET), app(OTHER, OTHER_SECRET)]
}

fn api_config() -> ApiConfig {
    ApiConfig { admin_key: Some(ADMIN.into()), ..ApiConfig::default() }
}

fn fill(path: &str, app: u32, room: &str) -> String {
    path.replace("{sdkAppID}", &app.to_string()).replace("{roomID}", room).replace("{userID}", "alice")
}

fn names(page: &Value) -> Vec<String> {
    page["rooms"].as_array().unwrap().iter().map(|room| room["roomID"].as_str().unwrap().to_owned()).collect()
}
