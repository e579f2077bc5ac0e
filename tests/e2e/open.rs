//! Every path of the server, and what somebody gets there who shows nothing (U16, U27). A route that is not in the table fails
//! the test, so that none is forgotten; those of the HTTP API are taken from its own description.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{
    http::ask,
    refusals::offer,
    server::{STRICT_APP, TestServer},
};

/// Path as the router has it; a request to it without ticket, secret or token; the status that it gets.
const PATHS: &[(&str, &str, &str, u16)] = &[
    // The app wants a ticket of players, so these do not even say what exists.
    ("/live/{name}", "GET", "/live/1400000777_1_a_main.flv", 401),
    ("/live/{name}/{folder}/{file}", "GET", "/live/1400000777_1_a_main/0/0.m4s", 404),
    ("/whip/{room}/{user}", "POST", "/whip/1/a?sdkappid=1400000777", 401),
    ("/whep/{room}/{user}", "POST", "/whep/1/a?sdkappid=1400000777", 401),
    // The session's name is the secret.
    ("/whip/{room}/{user}/{session}", "DELETE", "/whip/1/a/0123456789abcdef0123456789abcdef", 404),
    ("/whep/{room}/{user}/{session}", "DELETE", "/whep/1/a/0123456789abcdef0123456789abcdef", 404),
    ("/sign", "POST", "/sign", 401),
    ("/metrics", "GET", "/metrics", 401),
    // A WebSocket: whoever comes may upgrade, and has to enter with a ticket within 5 s.
    ("/signal", "GET", "/signal", 426),
    // Only while the demo is on, which is for everybody.
    ("/demo/ticket", "GET", "/demo/ticket?userID=a", 404),
    // The operator's console: a password opens it.
    ("/console/api/login", "POST", "/console/api/login", 401),
    ("/console/api/logout", "POST", "/console/api/logout", 200),
    ("/console/api/state", "GET", "/console/api/state", 401),
    ("/console/api/log", "GET", "/console/api/log", 401),
    ("/console/api/config", "GET", "/console/api/config", 401),
    // The dialects of other servers. Those of /weapp say what is wrong in the body, as their clients expect it.
    ("/cloud/{function}", "POST", "/cloud/webrtc-getroomlist?sdkappid=1400000777", 401),
    ("/weapp/utils/{command}", "POST", "/weapp/utils/get_login_info", 200),
    ("/weapp/{list}/{command}", "POST", "/weapp/multi_room/get_room_list", 200),
    ("/webrtc/weapp/webrtc_room/{command}", "POST", "/webrtc/weapp/webrtc_room/get_room_list", 200),
    ("/v1/{service}/{command}", "POST", "/v1/openim/login?sdkappid=1400000777&identifier=a&usersig=x", 200),
    ("/v4/{service}/{command}", "POST", "/v4/openim/login?sdkappid=1400000777&identifier=a&usersig=x", 200),
    ("/v4/openim/jsonvideoapp", "POST", "/v4/openim/jsonvideoapp?sdkappid=1400000777&identifier=a&usersig=x", 200),
    // The page and the docs.
    ("/docs", "GET", "/docs", 307),
    ("/docs/", "GET", "/docs/", 307),
    ("/docs/{name}", "GET", "/docs/nothing", 404),
    ("/", "GET", "/", 200),
    // For everybody: nothing of any app is in them.
    ("/healthz", "GET", "/healthz", 200),
    ("/readyz", "GET", "/readyz", 200),
    ("/openapi.json", "GET", "/api/v1/openapi.json", 200),
];

async fn closed_server() -> TestServer {
    TestServer::start(&["demo.enabled=false", "http.metrics_token=token", "api.admin_key=admin"]).await
}

/// The paths of all `.route("…"` in the sources, tests left out.
fn routes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if entry.is_dir() && name != "tests" && name != "load" {
            routes(&entry, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let source = fs::read_to_string(&entry).expect("a source");
            let source = source.split("#[cfg(test)]").next().unwrap_or_default();
            let paths = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(paths.map(str::to_owned));
        }
    }
}

#[test]
fn u16_u27_every_route_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    routes(&root.join("src"), &mut found);
    routes(&root.join("signaling/src"), &mut found);
    let known: BTreeSet<String> = PATHS.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(found, known, "say in tests/e2e/open.rs what a stranger gets at a new route");
}

#[tokio::test]
async fn u16_u27_who_shows_nothing_gets_nothing_at_any_path() {
    let server = closed_server().await;
    let mut wrong = Vec::new();
    for (path, method, request, status) in PATHS {
        let body = match *path {
            "/console/api/login" => "{\"password\":\"guess\"}".to_owned(),
            "/sign" => format!("{{\"sdkAppID\":{STRICT_APP},\"userID\":\"a\"}}"),
            path if path.starts_with("/wh") && *method == "POST" => offer("sendonly"),
            _ => String::new(),
        };
        let answer = ask(server.http, method, request, &[("content-type", "application/sdp")], &body).await;
        println!("U27 {method} {path}: {} (bound {status})", answer.status);
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let refused_inside = match path {
            path if path.contains("/weapp/") => body["code"].as_i64().is_some_and(|code| code != 0),
            path if path.starts_with("/v") => [&body["ErrorCode"], &body["RspHead"]["ErrorCode"]]
                .iter()
                .any(|code| code.as_i64().is_some_and(|code| code != 0)),
            _ => true,
        };
        if answer.status != *status || !refused_inside {
            wrong.push(format!("{method} {request}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn u16_u27_every_operation_of_the_api_refuses_strangers_in_the_same_words() {
    let server = closed_server().await;
    let described = ask(server.http, "GET", "/api/v1/openapi.json", &[], "").await;
    let described: Value = serde_json::from_slice(&described.body).expect("JSON");
    let secret = server.app(STRICT_APP).v2_secret.clone().expect("a secret");
    let create = format!("/api/v1/apps/{STRICT_APP}/rooms");
    let bearer = format!("Bearer {secret}");
    let made = ask(server.http, "POST", &create, &[("authorization", &bearer)], "{\"roomID\":\"lobby\"}").await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (mut asked, mut refusals) = (0, BTreeSet::new());
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            for (app, room) in [(STRICT_APP, "lobby"), (STRICT_APP, "absent"), (5, "lobby")] {
                let path = path.replace("{sdkAppID}", &app.to_string()).replace("{roomID}", room);
                let path = path.replace("{userID}", "alice");
                // An app's secret opens its own doors only, and never the operator's.
                let others =
                    if operation["security"][0].get("admin").is_some() || app == 5 { secret.as_str() } else { "x" };
                for shown in ["", "Bearer ", "Bearer wrong", &format!("Bearer {others}"), &format!("Basic {secret}")] {
                    let headers = [("authorization", shown)];
                    let answer = ask(server.http, &method.to_uppercase(), &path, &headers, "{}").await;
                    assert_eq!(answer.status, 401, "{method} {path} {shown}");
                    refusals.insert(answer.text());
                    asked += 1;
                }
            }
        }
    }
    println!("U16 {asked} requests to the API without its secret: 401 in {} form (bound 1)", refusals.len());
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(asked > 250, "{asked}");
}
