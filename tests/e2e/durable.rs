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

use crate::{
    http::ask,
    program::{Running, run, stderr},
};

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
