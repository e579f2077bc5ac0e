//! Relays: out to another server and in from one, tried again, and never to places that an app may not reach.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    http::{Answer, ask},
    server::{STRICT_APP, STRICT_SECRET, TestServer},
    streams::{Ffmpeg, until},
};

pub const DEMO_APP: u32 = 1_400_000_001;
pub const WAIT_MAX: Duration = Duration::from_secs(30);

pub async fn api(server: &TestServer, app: u32, method: &str, path: &str, body: &str) -> Answer {
    let secret = if app == STRICT_APP {
        STRICT_SECRET.to_owned()
    } else {
        server.app(app).v2_secret.clone().expect("it has one")
    };
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    ask(server.http, method, &format!("/api/v1/apps/{app}/relays{path}"), &headers, body).await
}

pub async fn start(server: &TestServer, body: Value) -> String {
    let answer = api(server, STRICT_APP, "POST", "", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let relay: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert!(!answer.text().contains("usersig"), "the query is a secret: {}", answer.text());
    relay["relayID"].as_str().expect("an id").to_owned()
}

/// Waits until the relay is as wanted.
pub async fn until_so(server: &TestServer, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let look = async || {
        let answer = api(server, STRICT_APP, "GET", &format!("/{id}"), "").await;
        serde_json::from_str(&answer.text()).expect("JSON")
    };
    poll(look, is_so).await
}

/// Looks again and again until what is seen is as wanted: the API tells of no changes.
pub async fn poll(look: impl AsyncFn() -> Value, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let seen = look().await;
        if is_so(&seen) {
            return seen;
        }
        assert!(began.elapsed() < WAIT_MAX, "{seen}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Carries a stream from here to there, and from there back as another, until both relays are deleted. `first`: of three rooms;
/// `over`: makes of an `rtmp` address the one that is used. Returns what the API said of the relay out while it ran.
pub async fn there_and_back(here: &TestServer, there: &TestServer, first: u32, over: fn(&str) -> String) -> Value {
    let [room, other_room, back_room] = [first, first + 1, first + 2];
    let ticket = here.ticket(STRICT_APP, "pusher", &room.to_string());
    let _push = Ffmpeg::push_sized(&here.push_url(&ticket), "160x120");
    let relayed = there.ticket(DEMO_APP, "relayed", &other_room.to_string());
    let stream = format!("{STRICT_APP}_{room}_pusher_main");
    let url = over(&there.push_url(&relayed));
    let out = start(here, json!({ "direction": "push", "url": url, "stream": stream })).await;
    let name = format!("live/{DEMO_APP}_{other_room}_relayed_main");
    until(there.http, &format!("/{name}.flv"), 200).await;
    let running_out = until_so(here, &out, |relay| relay["bytesOut"].as_u64() > Some(20_000)).await;
    println!("relay out: {running_out}");
    assert_eq!((&running_out["state"], &running_out["direction"]), (&json!("running"), &json!("push")));

    let url = over(&format!("rtmp://{}/{name}", there.rtmp));
    let back = start(here, json!({ "direction": "pull", "url": url, "roomID": back_room, "userID": "pulled" })).await;
    let viewer = here.ticket(STRICT_APP, "viewer", &back_room.to_string());
    let path = format!(
        "/live/{STRICT_APP}_{back_room}_pulled_main.flv?userid=viewer&usersig={}&privatemapkey={}",
        viewer.user_sig, viewer.private_map_key
    );
    until(here.http, &path, 200).await;
    let running = until_so(here, &back, |relay| relay["bytesIn"].as_u64() > Some(20_000)).await;
    println!("relay in: {running}");
    let list: Value = serde_json::from_str(&api(here, STRICT_APP, "GET", "", "").await.text()).expect("JSON");
    assert_eq!(list["relays"].as_array().map(Vec::len), Some(2));

    assert_eq!(api(here, STRICT_APP, "DELETE", &format!("/{back}"), "").await.status, 204);
    until(here.http, &path, 404).await;
    assert_eq!(api(here, STRICT_APP, "DELETE", &format!("/{out}"), "").await.status, 204);
    until(there.http, &format!("/{name}.flv"), 404).await;
    assert_eq!(api(here, STRICT_APP, "DELETE", &format!("/{out}"), "").await.status, 404);
    running_out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_to_another_roomcast_and_comes_back_as_another() {
    if !Ffmpeg::exists() {
        return;
    }
    let quiet = ["demo.test_stream=false", "signaling.republish_seconds=0"];
    let (here, there) = (TestServer::start(&quiet).await, TestServer::start(&quiet).await);
    there_and_back(&here, &there, 91, str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_that_begins_to_listen_later_gets_the_stream() {
    if !Ffmpeg::exists() {
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let ticket = server.ticket(STRICT_APP, "pusher", "94");
    let _push = Ffmpeg::push_sized(&server.push_url(&ticket), "160x120");
    let port = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").port();
    let url = format!("rtmp://127.0.0.1:{port}/live/out");
    let stream = format!("{STRICT_APP}_94_pusher_main");
    let id = start(&server, json!({ "direction": "push", "url": url, "stream": stream })).await;
    let failed =
        until_so(&server, &id, |relay| relay["attempts"].as_u64() > Some(1) && relay["state"] == "waiting").await;
    println!("nobody listens: {failed}");
    assert!(failed["lastError"].as_str().is_some_and(|why| why.contains("connecting")), "{failed}");
    let mut listener = Command::new("ffmpeg");
    listener.args(["-v", "error", "-listen", "1", "-i", &url, "-t", "2", "-f", "framecrc", "-"]).stdin(Stdio::null());
    let played = tokio::task::spawn_blocking(move || listener.output());
    let output = timeout(WAIT_MAX, played).await.expect("it ends").expect("no panic").expect("it runs");
    let frames = String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')).count();
    println!("ffmpeg -listen 1 got {frames} frames");
    assert!(frames > 60, "{output:?}");
}

#[tokio::test]
async fn u23_relays_reach_no_private_address_unless_the_app_allows_it() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("bound").port();
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "169.254.169.254", "[fe80::1]"] {
        let body =
            json!({ "direction": "push", "url": format!("rtmp://{host}:{port}/a/b"), "stream": "x" }).to_string();
        let answer = api(&server, DEMO_APP, "POST", "", &body).await;
        println!("U23 {host}: {} (bound 4xx)", answer.status);
        assert!((400..500).contains(&answer.status), "{host}: {}", answer.text());
    }
    for host in ["localhost", "2130706433", "127.1"] {
        let body =
            json!({ "direction": "push", "url": format!("rtmp://{host}:{port}/a/b"), "stream": "x" }).to_string();
        let answer = api(&server, DEMO_APP, "POST", "", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id =
            serde_json::from_str::<Value>(&answer.text()).expect("JSON")["relayID"].as_str().expect("an id").to_owned();
        let began = Instant::now();
        let relay = loop {
            let relay: Value =
                serde_json::from_str(&api(&server, DEMO_APP, "GET", &format!("/{id}"), "").await.text()).expect("JSON");
            if relay["lastError"].is_string() {
                break relay;
            }
            assert!(began.elapsed() < WAIT_MAX, "{relay}");
        };
        println!("U23 {host}: {}", relay["lastError"]);
    }
    assert!(listener.accept().is_err(), "nobody came");
    for body in ["{}", r#"{"direction":"pull","url":"rtmpe://a/b/c"}"#, r#"{"direction":"up","url":"rtmp://a/b/c"}"#] {
        assert_eq!(api(&server, DEMO_APP, "POST", "", body).await.status, 400, "{body}");
    }
    let foreign = ask(server.http, "GET", &format!("/api/v1/apps/{DEMO_APP}/relays"), &[], "").await;
    assert_eq!(foreign.status, 401);
}
