//! Relays outlive the server: it is killed, comes back, and carries on what it was told to carry.

use std::{fs, net::SocketAddr, path::Path, time::Instant};

use serde_json::{Value, json};

use crate::{
    http::ask,
    program::{LOG, Running, STOP_MAX},
    relay::{DEMO_APP, WAIT_MAX, poll},
    server::TestServer,
    streams::{Ffmpeg, until},
};

const APP: u32 = 1_400_000_334;
const SECRET: &str = "the secret of this app";
const QUIET: [&str; 8] = [
    "--config",
    "roomcast.toml",
    "--set",
    "demo.enabled=false",
    "--set",
    "server.log=debug",
    "--set",
    "api.admin_key=operator",
];

/// The program in this folder, with one app whose relays may go anywhere.
fn begin(folder: &Path) -> Running {
    let config = format!("[[app]]\nsdk_app_id = {APP}\nsecret = \"{SECRET}\"\nrelay_private = true\n");
    fs::write(folder.join("roomcast.toml"), config).expect("written");
    Running::start_with(folder, &QUIET)
}

/// What the API answers, and its JSON if it has any.
async fn relays(http: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {SECRET}");
    let path = format!("/api/v1/apps/{APP}/relays{path}");
    let answer = ask(http, method, &path, &[("authorization", &bearer)], body).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

async fn new_relay(http: SocketAddr, body: Value) -> String {
    let (status, relay) = relays(http, "POST", "", &body.to_string()).await;
    assert_eq!(status, 201, "{relay}");
    relay["relayID"].as_str().expect("an id").to_owned()
}

async fn ids(http: SocketAddr) -> Vec<String> {
    let (_, list) = relays(http, "GET", "", "").await;
    let list = list["relays"].as_array().expect("a list");
    list.iter().map(|relay| relay["relayID"].as_str().expect("an id").to_owned()).collect()
}

async fn until_so(http: SocketAddr, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    poll(async || relays(http, "GET", &format!("/{id}"), "").await.1, is_so).await
}

async fn push_to(here: &Running, user: &str, room: &str) -> Ffmpeg {
    let body = json!({ "sdkAppID": APP, "userID": user, "roomID": room }).to_string();
    let bearer = format!("Bearer {SECRET}");
    let ticket = ask(here.http(), "POST", "/sign", &[("authorization", &bearer)], &body).await;
    let ticket: Value = serde_json::from_slice(&ticket.body).expect("a ticket");
    let sig = ticket["userSig"].as_str().expect("a userSig");
    let url = format!("rtmp://{}/push/{room}?sdkappid={APP}&userid={user}&usersig={sig}", here.rtmp());
    Ffmpeg::push_sized(&url, "160x120")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_go_on_after_kill_9_and_an_orderly_end_and_those_that_were_ended_do_not() {
    if !Ffmpeg::exists() {
        return;
    }
    let there = TestServer::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let here = begin(folder.path());
    let ticket = there.ticket(DEMO_APP, "relayed", "292");
    let stream = format!("{APP}_hall_pusher_main");
    let push = json!({ "direction": "push", "url": there.push_url(&ticket), "stream": stream });
    let live = format!("rtmp://{}/live/{DEMO_APP}_1001_teststream_main?key=HUSHHUSH", there.rtmp);
    let pull = |user| json!({ "direction": "pull", "url": live, "roomID": "hall", "userID": user });
    let carried = format!("/live/{DEMO_APP}_292_relayed_main.flv");
    let pulled = format!("/live/{APP}_hall_pulled_main.flv");
    let ended = format!("/live/{APP}_hall_ended_main.flv");

    let out = new_relay(here.http(), push).await;
    let back = new_relay(here.http(), pull("pulled")).await;
    let over = new_relay(here.http(), pull("ended")).await;
    let waiting = until_so(here.http(), &out, |relay| relay["state"] == "waiting").await;
    assert_eq!((&waiting["lastCode"], &waiting["attempts"]), (&json!(73004), &json!(0)), "{waiting}");
    let pusher = push_to(&here, "pusher", "hall").await;
    until(there.http, &carried, 200).await;
    until(here.http(), &pulled, 200).await;
    until(here.http(), &ended, 200).await;
    assert_eq!(relays(here.http(), "DELETE", &format!("/{over}"), "").await.0, 204);
    here.signal("KILL");
    drop((here, pusher));

    let here = begin(folder.path());
    assert_eq!(ids(here.http()).await, [&out[..], &back], "what was ended stays ended");
    until(here.http(), &pulled, 200).await;
    let waiting = until_so(here.http(), &out, |relay| relay["state"] == "waiting").await;
    assert_eq!((&waiting["lastCode"], &waiting["stream"]), (&json!(73004), &json!(stream)), "{waiting}");
    let pusher = push_to(&here, "pusher", "hall").await;
    let running = until_so(here.http(), &out, |relay| relay["bytesOut"].as_u64() > Some(20_000)).await;
    println!("after the restart: {running}");
    assert_eq!((&running["state"], &running["attempts"]), (&json!("running"), &json!(1)), "no attempt was in vain");
    until(there.http, &carried, 200).await;
    assert_eq!(crate::http::ask(here.http(), "GET", &ended, &[], "").await.status, 404);
    // The number of the one that was ended is not given away again.
    assert_eq!(new_relay(here.http(), pull("late")).await, "r4");
    assert_eq!(relays(here.http(), "GET", &format!("/{over}"), "").await.0, 404);
    for id in [&out, &back] {
        assert_eq!(relays(here.http(), "DELETE", &format!("/{id}"), "").await.0, 204);
    }
    // In order this time.
    here.signal("TERM");
    assert_eq!(here.ends_within(STOP_MAX), Some(0));
    drop(pusher);

    let here = begin(folder.path());
    assert_eq!(ids(here.http()).await, ["r4"]);
    drop(here);
    let log = fs::read_to_string(folder.path().join(LOG)).expect("a log");
    assert!(log.contains("relay begins"), "{log}");
    for secret in [&ticket.user_sig[..], &ticket.private_map_key, "HUSHHUSH"] {
        assert!(!log.contains(secret), "a secret of a URL is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_end_for_good_with_an_app_that_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = begin(folder.path());
    let operator = [("authorization", "Bearer operator")];
    let app = async |here: &Running, method: &str| {
        ask(here.http(), method, "/api/v1/apps/77", &operator, "{\"secret\":\"of 77\"}").await.status
    };
    let relays = async |here: &Running, method: &str, body: &str| {
        let path = "/api/v1/apps/77/relays";
        let answer = ask(here.http(), method, path, &[("authorization", "Bearer of 77")], body).await;
        (answer.status, serde_json::from_slice::<Value>(&answer.body).expect("JSON"))
    };
    assert_eq!(app(&here, "PUT").await, 204);
    let body = json!({ "direction": "push", "url": "rtmp://example.invalid/a/b", "stream": "77_1_a_main" });
    assert_eq!(relays(&here, "POST", &body.to_string()).await.0, 201);
    here.signal("KILL");
    drop(here);
    let here = begin(folder.path());
    assert_eq!(relays(&here, "GET", "").await.1["relays"].as_array().map(Vec::len), Some(1));
    assert_eq!(app(&here, "DELETE").await, 204);
    assert_eq!(app(&here, "PUT").await, 204);
    assert_eq!(relays(&here, "GET", "").await.1, json!({ "relays": [] }), "the app is another");
    here.signal("KILL");
    drop(here);
    let here = begin(folder.path());
    assert_eq!(relays(&here, "GET", "").await.1, json!({ "relays": [] }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_of_an_app_that_leaves_the_configuration_wait_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roomcast.toml");
    let here = begin(folder.path());
    let body = json!({ "direction": "push", "url": "rtmps://example.invalid/a/b", "stream": "of-a-stream" });
    let id = new_relay(here.http(), body).await;
    let with = fs::read_to_string(&file).expect("the configuration");
    let without = with.replace(&APP.to_string(), "77").replace(SECRET, "another");
    let reload = async |text: &str, status: u16| {
        fs::write(&file, text).expect("written");
        here.signal("HUP");
        let began = Instant::now();
        while relays(here.http(), "GET", "", "").await.0 != status {
            assert!(began.elapsed() < WAIT_MAX, "the configuration is never read");
        }
    };
    reload(&without, 401).await;
    let bearer = [("authorization", "Bearer another")];
    let others = ask(here.http(), "GET", "/api/v1/apps/77/relays", &bearer, "").await;
    assert_eq!(others.text(), "{\"relays\":[]}", "they are nobody else's");
    reload(&with, 200).await;
    assert_eq!(ids(here.http()).await, [&id[..]]);
    let log = fs::read_to_string(folder.path().join(LOG)).expect("a log");
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((lines("relay begins"), lines("relay ends")), (2, 1), "it did not run meanwhile: {log}");
}
