//! What was acknowledged survives the sudden end of the program.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{
    http::ask,
    program::{Running, run, stderr},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Acknowledged operations before the program is killed.
const OPERATIONS: usize = 1_000;
/// How many are under way at once.
const WORKERS: usize = 16;
const ROOMS: &str = "/api/v1/apps/1400000001/rooms";

#[test]
fn every_acknowledged_operation_is_there_after_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = Running::start(folder.path());
    let secret = secret(folder.path());
    let (http, runtime) = (running.http(), runtime());
    let (acknowledged, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (acknowledged, ended, key) = (acknowledged.clone(), ended.clone(), format!("Bearer {secret}"));
            runtime.spawn(async move {
                let mut facts = Vec::new();
                for number in 0.. {
                    let room = format!("w{worker}-{number}");
                    let body = format!("{{\"roomID\":\"{room}\",\"metadata\":\"{number}\"}}");
                    let ban = format!("{ROOMS}/{room}/bans/mallory");
                    for (method, path, body) in [("POST", ROOMS, body.as_str()), ("PUT", ban.as_str(), "{}")] {
                        // From the kill on nothing is answered any more, and what is not answered is not acknowledged.
                        let headers = [("authorization", key.as_str())];
                        let answer = tokio::spawn(asked(
                            http,
                            method,
                            path.to_owned(),
                            headers[0].1.to_owned(),
                            body.to_owned(),
                        ));
                        match answer.await {
                            Ok(Some(status)) => assert!(matches!(status, 201 | 204), "{method} {path}: {status}"),
                            _ => {
                                assert!(ended.load(Ordering::SeqCst), "refused before the end: {method} {path}");
                                return facts;
                            }
                        }
                        facts.push((room.clone(), method == "PUT"));
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                }
                facts
            })
        })
        .collect();
    while acknowledged.load(Ordering::SeqCst) < OPERATIONS {
        std::thread::sleep(Duration::from_millis(1));
    }
    ended.store(true, Ordering::SeqCst);
    running.signal("KILL");
    let facts: Vec<(String, bool)> = runtime.block_on(async {
        let mut facts = Vec::new();
        for worker in workers {
            facts.extend(worker.await.expect("the worker ends"));
        }
        facts
    });
    drop(running);
    assert!(facts.len() >= OPERATIONS, "{}", facts.len());

    let running = Running::start(folder.path());
    let http = running.http();
    let (rooms, banned) = runtime.block_on(async {
        let key = format!("Bearer {secret}");
        let (mut rooms, mut banned, mut after) = (BTreeSet::new(), BTreeSet::new(), String::new());
        loop {
            let path = format!("{ROOMS}?limit=1000&prefix=w{after}");
            let answer = ask(http, "GET", &path, &[("authorization", &key)], "").await;
            let page: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            rooms.extend(
                page["rooms"].as_array().expect("rooms").iter().map(|r| r["roomID"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        for room in facts.iter().filter(|(_, ban)| *ban).map(|(room, _)| room) {
            let answer = ask(http, "GET", &format!("{ROOMS}/{room}/bans"), &[("authorization", &key)], "").await;
            if answer.text().contains("\"mallory\"") {
                banned.insert(room.clone());
            }
        }
        (rooms, banned)
    });
    let lost: Vec<_> =
        facts.iter().filter(|(room, ban)| if *ban { !banned.contains(room) } else { !rooms.contains(room) }).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged operations are lost: {lost:?}", lost.len(), facts.len());
}

/// Puts so many lasting rooms of the demo app into a store in this folder.
fn fill_store(folder: &Path, rooms: usize) {
    use signaling::{RoomName, Store, store::Change};
    let data = folder.join("roomcast-data");
    std::fs::create_dir_all(&data).expect("a folder");
    let store = Store::open(&data).expect("a store");
    let room = |n: usize| RoomName::from_text(&format!("room-{n:05}")).expect("a name");
    let record = format!("{{\"lasting\":true,\"metadata\":\"{}\"}}", "m".repeat(200));
    let changes = (0..rooms).map(|n| Change::PutRoom((1_400_000_001, room(n)), record.clone())).collect();
    runtime().block_on(store.write_all(changes)).expect("written");
    drop(store);
    // The thread that writes closes the file a moment after its last handle is gone.
    while std::fs::File::open(data.join("store.redb")).is_ok_and(|file| file.try_lock().is_err()) {
        std::thread::yield_now();
    }
}

#[test]
fn with_10000_rooms_in_its_store_the_server_is_ready_within_5_s() {
    const ROOMS_KEPT: usize = 10_000;
    let folder = tempfile::tempdir().expect("a folder");
    fill_store(folder.path(), ROOMS_KEPT);
    let start = Instant::now();
    // The clip would be a room more than one app may have.
    let running = Running::start_with(folder.path(), &["--set", "demo.test_stream=false"]);
    let greeted = start.elapsed();
    let (http, runtime) = (running.http(), runtime());
    let ready = runtime.block_on(ask(http, "GET", "/readyz", &[], "")).status;
    let took = start.elapsed();
    let metrics = runtime.block_on(ask(http, "GET", "/metrics", &[], "")).text();
    assert_eq!(ready, 200);
    assert!(metrics.contains(&format!("roomcast_rooms {ROOMS_KEPT}\n")), "not all rooms are there");
    println!(
        "with {ROOMS_KEPT} rooms: \"is running\" after {greeted:?}, /readyz answers 200 after {took:?} (bound 5 s)"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A request over a WebSocket, and its answer.
async fn told(socket: &mut Socket, mut request: Value) -> Value {
    request["id"] = 1.into();
    socket.send(Message::text(request.to_string())).await.expect("sent");
    loop {
        let message = socket.next().await.expect("an answer").expect("an answer");
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        if message["id"] == 1 {
            return message;
        }
    }
}

const APP: u32 = 1_400_000_333;

async fn entered(http: SocketAddr, user: &str, room: &str) -> (Socket, Value) {
    let body = json!({ "sdkAppID": APP, "userID": user, "roomID": room }).to_string();
    let ticket = ask(http, "POST", "/sign", &[("authorization", "Bearer secret")], &body).await;
    let mut enter: Value = serde_json::from_slice(&ticket.body).expect("a ticket");
    enter["type"] = "enter".into();
    let mut socket = connect_async(format!("ws://{http}/signal")).await.expect("the upgrade").0;
    let answer = told(&mut socket, enter).await;
    (socket, answer)
}

#[test]
fn i3_what_keeps_order_survives_kill_9_the_moment_after_its_acknowledgment() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("[[app]]\nsdk_app_id = {APP}\nsecret = \"secret\"\nhistory_messages = 10\n");
    std::fs::write(folder.path().join("roomcast.toml"), config).expect("written");
    let start = || Running::start_with(folder.path(), &["--config", "roomcast.toml"]);
    let runtime = runtime();
    let done = async |socket: &mut Socket, request: Value| {
        let answer = told(socket, request.clone()).await;
        assert_eq!(answer["type"], "ok", "{request}: {answer}");
    };

    // Each server is killed right behind an acknowledgment, and the next one is asked whether it holds.
    let running = start();
    let http = running.http();
    let _open = runtime.block_on(async {
        let (mut owner, _) = entered(http, "owner", "hall").await;
        let (bob, _) = entered(http, "bob", "hall").await;
        let (carl, _) = entered(http, "carl", "hall").await;
        let (mut other, _) = entered(http, "owner", "gone").await;
        done(&mut owner, json!({ "type": "message", "text": "remember this" })).await;
        done(&mut owner, json!({ "type": "mute-member", "userID": "bob", "audio": true })).await;
        done(&mut owner, json!({ "type": "ban", "userID": "eve" })).await;
        done(&mut owner, json!({ "type": "kick", "userID": "carl" })).await;
        done(&mut owner, json!({ "type": "update-room", "metadata": "topic", "membersMax": 3 })).await;
        done(&mut other, json!({ "type": "dissolve" })).await;
        (owner, bob, carl)
    });
    running.signal("KILL");
    drop(running);

    let running = start();
    let http = running.http();
    let _open = runtime.block_on(async {
        let (mut owner, answer) = entered(http, "owner", "hall").await;
        assert_eq!((&answer["owner"], &answer["metadata"]), (&json!("owner"), &json!("topic")));
        assert_eq!((&answer["membersMax"], &answer["members"]), (&json!(3), &json!([])), "who was kicked is not there");
        assert_eq!(answer["history"][0]["text"], "remember this");
        let (bob, _) = entered(http, "bob", "hall").await;
        let (_, refused) = entered(http, "eve", "hall").await;
        assert_eq!(refused["code"], 73017, "{refused}");
        let (_, anew) = entered(http, "dora", "gone").await;
        assert_eq!(anew["owner"], "dora", "what was dissolved is gone: the room is another");
        let (fresh, _) = entered(http, "frida", "fresh").await;
        done(&mut owner, json!({ "type": "unban", "userID": "eve" })).await;
        (owner, bob, fresh)
    });
    running.signal("KILL");
    drop(running);

    let running = start();
    let http = running.http();
    runtime.block_on(async {
        let (mut bob, answer) = entered(http, "bob", "hall").await;
        assert_eq!(answer["owner"], "owner");
        let unmute = json!({ "type": "message", "text": "may I" });
        assert_eq!(told(&mut bob, unmute).await["type"], "ok", "only his sound was muted");
        let (_, eve) = entered(http, "eve", "hall").await;
        assert_eq!(eve["type"], "ok", "{eve}");
        let muted = &eve["members"][0];
        assert_eq!((&muted["userID"], &muted["silenced"]["audio"]), (&json!("bob"), &json!(true)));
        let (_, fresh) = entered(http, "guest", "fresh").await;
        assert_eq!(fresh["owner"], "frida", "who created the room a moment before the end owns it");
    });
}

#[test]
fn tickets_of_an_app_added_by_request_are_signed_here_or_said_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = Running::start_with(folder.path(), &["--set", "api.admin_key=admin"]);
    let put =
        ask(running.http(), "PUT", "/api/v1/apps/9", &[("authorization", "Bearer admin")], "{\"secret\":\"nine\"}");
    // The future borrows nothing of the runtime that runs it.
    assert_eq!(runtime().block_on(put).status, 204);
    let sign = ["sign", "--app", "9", "--user", "alice"];
    let refused = run(folder.path(), &sign);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("POST /api/v1/apps/9/tickets"), "{}", stderr(&refused));
    drop(running);
    let signed = run(folder.path(), &sign);
    assert!(signed.status.success(), "{}", stderr(&signed));
    let ticket: Value = serde_json::from_slice(&signed.stdout).expect("JSON");
    assert_eq!((&ticket["sdkAppID"], &ticket["userID"]), (&json!(9), &json!("alice")));
    let unknown = run(folder.path(), &["sign", "--app", "10", "--user", "alice"]);
    assert!(stderr(&unknown).contains("no app with sdkAppID 10"), "{}", stderr(&unknown));
}

#[test]
fn a_damaged_store_is_refused_at_start_with_code_and_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Running::start(folder.path()));
    let path = folder.path().join("roomcast-data/store.redb");
    let whole = std::fs::read(&path).expect("the store");
    for bytes in [&whole[..whole.len() / 2], &[][..]] {
        std::fs::write(&path, bytes).expect("written");
        let refused = run(folder.path(), &crate::program::FREE_PORTS);
        assert_eq!(refused.status.code(), Some(1));
        let text = stderr(&refused);
        assert!(text.contains("75000: ") && text.contains("store.redb") && text.contains("backup"), "{text}");
    }
    std::fs::write(&path, whole).expect("written");
    let start = Instant::now();
    drop(Running::start(folder.path()));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_second_server_in_the_same_folder_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = Running::start(folder.path());
    let refused = run(folder.path(), &crate::program::FREE_PORTS);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("75001: ") && stderr(&refused).contains("--data"), "{}", stderr(&refused));
}

#[test]
fn sighup_reads_the_apps_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roomcast.toml");
    let write = |secret: &str| {
        std::fs::write(&file, format!("[[app]]\nsdk_app_id = 7\nsecret = \"{secret}\"\n")).expect("written");
    };
    write("first");
    let running = Running::start_with(folder.path(), &["--config", "roomcast.toml"]);
    let (http, runtime) = (running.http(), runtime());
    let status = |secret: &str| {
        let key = format!("Bearer {secret}");
        runtime.block_on(ask(http, "GET", "/api/v1/apps/7/rooms", &[("authorization", &key)], "")).status
    };
    assert_eq!((status("first"), status("second")), (200, 401));
    write("second");
    running.signal("HUP");
    let deadline = Instant::now() + Duration::from_secs(10);
    while status("second") != 200 {
        assert!(Instant::now() < deadline, "the new secret is never taken");
    }
    assert_eq!(status("first"), 401);
    // A file that cannot be used changes nothing.
    std::fs::write(&file, "nonsense").expect("written");
    running.signal("HUP");
    assert_eq!(status("second"), 200);
}

/// The status, or nothing if there was no answer.
async fn asked(http: SocketAddr, method: &'static str, path: String, key: String, body: String) -> Option<u16> {
    Some(ask(http, method, &path, &[("authorization", &key)], &body).await.status)
}

fn secret(folder: &Path) -> String {
    let path = folder.join("roomcast-data/demo-secret.txt");
    std::fs::read_to_string(path).expect("the demo app has a secret").trim().to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
