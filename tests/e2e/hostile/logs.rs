//! What the program's own log says, and what it keeps to itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;

/// The program with its log in a file.
struct Program {
    child: Child,
    http: SocketAddr,
}

impl Program {
    fn start(folder: &Path) -> Program {
        let config = "[http]\nmetrics_token = \"canary-token\"\n[api]\nadmin_key = \"canary-admin\"\n\
                      [[app]]\nsdk_app_id = 1400000888\nsecret = \"canary-app-secret\"\npush_key = \"canary-push-key\"\n\
                      secret_before = \"canary-before\"\nplay = \"signed\"\nhistory_messages = 5\n\
                      callback_url = \"http://127.0.0.1:9/canary-url\"\ncallback_key = \"canary-callback\"\n\
                      callback_private = true\n";
        fs::write(folder.join("roomcast.toml"), config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::create(folder.join("log.txt")).expect("a log"));
        command.args(["--config", "roomcast.toml", "--log", "debug"]);
        for set in [
            "http.listen=127.0.0.1:0",
            "https.listen=127.0.0.1:0",
            "rtmp.listen=127.0.0.1:0",
            "media.first_port=0",
            "media.bind=127.0.0.1",
            "signaling.joins_per_user_per_minute=1000",
        ] {
            command.args(["--set", set]);
        }
        let mut child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut port = None;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("http://localhost:") {
                port = rest.split('/').next().and_then(|port| port.parse::<u16>().ok()).or(port);
            }
            if line.contains("  Keys ") {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Program { child, http: SocketAddr::from(([127, 0, 0, 1], port.expect("a port in the text"))) }
    }

    /// Ends it and returns what it logged.
    fn log(mut self, folder: &Path) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        fs::read_to_string(folder.join("log.txt")).expect("a log")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn u25_ids_with_line_breaks_and_escapes_and_8_kib_do_not_reach_the_log_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program::start(folder.path());
    let long = "y".repeat(6 << 10);
    for evil in ["eve\r\nFORGED 1", "eve\u{1b}[31mFORGED", "eve\u{9b}31mFORGED", "eve\u{202e}FORGED", &long] {
        for path in [
            format!("/demo/ticket?userID={}", percent(evil)),
            format!("/whip/{}/{}", percent(evil), percent(evil)),
            format!("/live/{}.flv", percent(evil)),
            format!("/live/1400000888_1_{}_main.flv?userid={}", percent(evil), percent(evil)),
        ] {
            if path.len() < 14 << 10 {
                get(program.http, &path).await;
            }
        }
        // What has no control characters is a name and gets in; so it is logged.
        let ticket = get(program.http, &format!("/demo/ticket?userID={}", percent(evil))).await;
        let ticket: Value = serde_json::from_slice(&ticket.body).unwrap_or_default();
        let mut socket = socket(program.http).await;
        let enter = json!({ "id": 1, "type": "enter", "sdkAppID": DEMO_APP, "userID": evil,
            "userSig": ticket["userSig"].as_str().unwrap_or("guess"), "roomID": 1001 });
        socket.send(Message::text(enter.to_string())).await.expect("sent");
        let _ = next(&mut socket).await;
    }
    let log = program.log(folder.path());
    let raw = log.chars().filter(|c| c.is_control() && *c != '\n' || *c == '\u{202e}').count();
    let forged = log.lines().filter(|line| line.starts_with("FORGED")).count();
    let longest = log.split(['=', ' ']).map(|value| value.chars().count()).max().unwrap_or(0);
    println!("U25 raw control characters {raw}, forged lines {forged} (bound 0), longest value {longest} (bound 128)");
    assert!(log.contains("FORGED"), "a name without control bytes is logged, escaped: {log}");
    assert_eq!((raw, forged), (0, 0), "{log}");
    assert!(longest <= 140, "{longest}");
}

#[tokio::test]
async fn u26_no_secret_is_in_logs_errors_or_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program::start(folder.path());
    let data = folder.path().join("roomcast-data");
    let demo_secret = fs::read_to_string(data.join("demo-secret.txt")).expect("a secret").trim().to_owned();
    let mut said = String::new();
    let mut secrets = vec![demo_secret.clone(), "canary".to_owned(), "abcdefghijklmnopqrstuvwx".to_owned()];
    // Every line of every private key in the data folder, and what announces a key.
    secrets.push("PRIVATE KEY".to_owned());
    for file in fs::read_dir(&data).expect("the data folder").map(|entry| entry.expect("an entry").path()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            secrets.extend(text.lines().filter(|line| !line.starts_with('-') && line.len() >= 16).map(str::to_owned));
        }
    }
    assert!(secrets.len() >= 6, "the keys of the demo app and of HTTPS are there: {}", secrets.len());

    // A good join, with a published stream, by WebSocket and WHIP.
    let ticket = get(program.http, "/demo/ticket?roomID=1001&userID=eve").await;
    let ticket: Value = serde_json::from_slice(&ticket.body).expect("a ticket");
    let text = |name: &str| ticket[name].as_str().expect("text").to_owned();
    let (sig, key) = (text("userSig"), text("privateMapKey"));
    secrets.extend([sig.clone(), key.clone()]);
    let mut eve = socket(program.http).await;
    let entered = request(&mut eve, enter("eve", &sig, 1001, Some(&key))).await;
    // What somebody is answered with is his own secret: it must not be in a log, nor in anybody else's answer.
    secrets.push(entered["resumeToken"].as_str().expect("a token").to_owned());
    let tracks = json!([{ "mid": "0", "stream": "main" }, { "mid": "1", "stream": "main" }]);
    let published =
        request(&mut eve, json!({ "id": 2, "type": "publish", "sdp": offer("sendonly"), "tracks": tracks })).await;
    let passwords = published["sdp"].as_str().expect("an answer").lines();
    let before = secrets.len();
    secrets.extend(passwords.filter_map(|line| line.strip_prefix("a=ice-pwd:")).map(str::to_owned));
    assert!(secrets.len() > before, "the server's ICE password is in its answer");
    // Another one loses his connection and shows a token that is none.
    let mut lost = socket(program.http).await;
    let resume = json!({ "id": 1, "type": "resume", "resumeToken": "canary-resume", "seq": 0 });
    said += &request(&mut lost, resume).await.to_string();
    let bearer = format!("Bearer {sig}");
    let headers = [("content-type", "application/sdp"), ("authorization", bearer.as_str())];
    let whip = format!("/whip/1001/eve?sdkappid={DEMO_APP}&privatemapkey={key}");
    assert_eq!(ask(program.http, "POST", &whip, &headers, &offer("sendonly")).await.status, 201);

    // Refusals of every kind; what is shown are canaries.
    for bad in [
        enter("eve", "canary-sig", 1001, None),
        enter("eve", &sig, 1001, Some("canary-key")),
        enter("bob", &sig, 1001, None),
    ] {
        let mut socket = socket(program.http).await;
        said += &request(&mut socket, bad).await.to_string();
    }
    for (method, path, authorization, body) in [
        ("GET", "/live/1400000888_1_a_main.flv?txSecret=canary-tx&txTime=7FFFFFFF", "", ""),
        ("GET", "/live/1400000001_1001_a_main.flv?userid=a&usersig=canary-sig&privatemapkey=canary-key", "", ""),
        ("POST", "/whip/1001/eve?privatemapkey=canary-key&sdkappid=1400000001", "Bearer canary-sig", "v=0"),
        ("POST", "/whep/1001/eve?sdkappid=1400000001", "Bearer canary-sig", "v=0"),
        ("POST", "/sign", "Bearer canary-app-secret-wrong", "{\"sdkAppID\":1400000888,\"userID\":\"a\"}"),
        ("GET", "/metrics", "Bearer canary-metrics", ""),
        ("GET", "/api/v1/apps/1400000888/rooms", "Bearer canary-wrong", ""),
        ("PUT", "/api/v1/apps/9", "Bearer canary-wrong-admin", "{\"secret\":\"canary-nine\"}"),
        ("PUT", "/api/v1/apps/9", "Bearer canary-admin", "{\"secret\":\"canary-nine\",\"keys\":[\"canary-pem\"]}"),
        ("PUT", "/api/v1/apps/9", "Bearer canary-admin", "{\"secret\":\"canary-nine\",\"pushKey\":\"canary-push\"}"),
        ("GET", "/api/v1/apps", "Bearer canary-admin", ""),
        ("GET", "/api/v1/apps/9/rooms", "Bearer canary-nine", ""),
        ("POST", "/api/v1/apps/1400000888/rooms", "Bearer canary-app-secret", "{\"roomID\":\"r\"}"),
        ("GET", "/whip/canary-path-is-logged-nowhere", "", ""),
    ] {
        let headers = [("content-type", "application/sdp"), ("authorization", authorization)];
        said += &ask(program.http, method, path, &headers, body).await.text();
    }
    let signed = ask(
        program.http,
        "POST",
        "/sign",
        &[("authorization", "Bearer canary-app-secret")],
        "{\"sdkAppID\":1400000888,\"userID\":\"a\",\"roomID\":1}",
    )
    .await;
    assert_eq!(signed.status, 200);
    // Tickets of version 1 and 2 that this server made are secrets too.
    for version in [1, 2] {
        let body = json!({ "sdkAppID": DEMO_APP, "userID": "a", "roomID": 1, "version": version }).to_string();
        let bearer = format!("Bearer {demo_secret}");
        let ticket = ask(program.http, "POST", "/sign", &[("authorization", &bearer)], &body).await;
        let ticket: Value = serde_json::from_slice(&ticket.body).expect("a ticket");
        for name in ["userSig", "privateMapKey"] {
            let made = ticket[name].as_str().unwrap_or_else(|| panic!("{ticket}")).to_owned();
            let live = format!("/live/{DEMO_APP}_1_a_main.flv?userid=a&{}={made}", name.to_lowercase());
            said += &get(program.http, &live).await.text();
            secrets.push(made);
        }
    }
    let metrics = ask(program.http, "GET", "/metrics", &[("authorization", "Bearer canary-token")], "").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("roomcast_callbacks_total"), "{}", metrics.text());
    said += &metrics.text();

    let log = program.log(folder.path());
    assert!(log.contains("refused") && log.contains("entered"), "the log is the one of these events: {log}");
    let mut hits = Vec::new();
    for secret in &secrets {
        for (where_, text) in [("log", &log), ("answers and metrics", &said)] {
            if text.contains(secret.as_str()) {
                hits.push(format!("{secret} in the {where_}"));
            }
        }
    }
    println!(
        "U26 {} secrets in {} bytes of log and {} of answers: {} hits (bound 0)",
        secrets.len(),
        log.len(),
        said.len(),
        hits.len()
    );
    assert!(hits.is_empty(), "{hits:?}\n{log}");
}
