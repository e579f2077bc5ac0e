//! The vendor's own example flows over real sockets: what somebody who moves from there will try first.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{http::ask, server::TestServer, streams::Ffmpeg};

const APP: u32 = 1_400_000_001;
/// Longest wait for something to become true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who is logged in to one list of rooms.
struct Phone {
    server: SocketAddr,
    list: &'static str,
    user: String,
    token: String,
}

impl Phone {
    /// Asks the sample server's own utility for a ticket, and logs in with it.
    async fn log_in(server: SocketAddr, list: &'static str, user: &str) -> Phone {
        let info = post(server, &format!("/weapp/utils/get_login_info?userID={user}"), json!({})).await;
        let (app, account, sig) = (&info["sdkAppID"], text(&info, "accType"), text(&info, "userSig"));
        let query = format!("sdkAppID={app}&accountType={account}&userSig={sig}&userID={user}");
        let login = post(server, &format!("/weapp/{list}/login?{query}"), json!({})).await;
        Phone { server, list, user: user.to_owned(), token: text(&login, "token").to_owned() }
    }

    async fn ask(&self, command: &str, mut body: Value) -> Value {
        body["userID"] = json!(self.user);
        let path = format!("/weapp/{}/{command}?userID={}&token={}", self.list, self.user, self.token);
        post(self.server, &path, body).await
    }

    /// Asks until the answer is this.
    async fn until(&self, command: &str, body: Value, what: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let asked = async {
            loop {
                last = self.ask(command, body.clone()).await;
                if what(&last) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(PATIENCE, asked).await.is_ok();
        assert!(in_time, "{command}: {last}");
        last
    }
}

async fn post(server: SocketAddr, path: &str, body: Value) -> Value {
    let json = [("content-type", "application/json")];
    let answer = ask(server, "POST", path, &json, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_else(|| panic!("{field}: {json}"))
}

fn users(room: &Value) -> Vec<&str> {
    room["pushers"].as_array().into_iter().flatten().map(|pusher| text(pusher, "userID")).collect()
}

#[tokio::test]
async fn sign_login_create_push_enter_play_leave_and_the_room_is_gone() {
    if Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_err() {
        eprintln!("not run: there is no ffmpeg here");
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let alice = Phone::log_in(server.http, "multi_room", "alice").await;
    let room = alice.ask("create_room", json!({ "roomInfo": "first lesson" })).await;
    let room = json!({ "roomID": text(&room, "roomID") });
    let url = alice.ask("get_push_url", room.clone()).await;
    let url = text(&url, "pushURL");
    assert!(url.starts_with(&format!("rtmp://{}/live/{APP}_", server.rtmp)), "{url}");
    let mut ffmpeg = Ffmpeg::push(url);

    // Others know her as soon as she pushes; what she says of herself comes on top.
    let bob = Phone::log_in(server.http, "multi_room", "bob").await;
    bob.until("get_pushers", room.clone(), |answer| users(answer) == ["alice"]).await;
    let mut me = json!({ "roomID": room["roomID"], "userName": "Alice", "userAvatar": "a.png", "pushURL": url });
    assert_eq!(alice.ask("add_pusher", me.clone()).await["code"], 0);
    assert_eq!(alice.ask("pusher_heartbeat", room.clone()).await["code"], 0);
    let list = bob.ask("get_room_list", json!({ "cnt": 20, "index": 0 })).await;
    assert_eq!((text(&list["rooms"][0], "roomInfo"), users(&list["rooms"][0])), ("first lesson", vec!["alice"]));
    let seen = bob.ask("get_pushers", room.clone()).await;
    assert_eq!((text(&seen["pushers"][0], "userName"), text(&seen, "roomCreator")), ("Alice", "alice"));

    // Bob comes with a stream of his own, and plays hers by both of the URLs that he is told.
    let url = bob.ask("get_push_url", room.clone()).await;
    let mut of_bob = Ffmpeg::push(text(&url, "pushURL"));
    alice.until("get_pushers", room.clone(), |answer| users(answer) == ["alice", "bob"]).await;
    me["pushURL"] = url["pushURL"].clone();
    assert_eq!(bob.ask("add_pusher", me).await["code"], 0);
    for url in [text(&seen["pushers"][0], "accelerateURL"), text(&seen, "mixedPlayURL")] {
        let (frames, tone) = played(url).await;
        assert!(frames >= 15, "{url}: {frames} different pictures");
        assert!(tone > 0.5, "{url}: {tone} of the sound is the tone");
    }

    assert_eq!(alice.ask("delete_pusher", room.clone()).await["code"], 0);
    let exit = async {
        while !ffmpeg.has_ended() {
            sleep(Duration::from_millis(20)).await
        }
    };
    assert!(timeout(PATIENCE, exit).await.is_ok(), "the server ends the stream of who left");
    assert_eq!(users(&bob.ask("get_pushers", room.clone()).await), ["bob"]);
    let started = Instant::now();
    assert_eq!(bob.ask("delete_pusher", room.clone()).await["code"], 0);
    assert_eq!(bob.ask("get_pushers", room).await["code"], 3, "after {:?}", started.elapsed());
    assert_eq!(bob.ask("get_room_list", json!({ "cnt": 20, "index": 0 })).await["rooms"], json!([]));
    of_bob.end();
}

#[tokio::test]
async fn in_a_live_room_viewers_are_listed_and_all_is_over_when_its_creator_falls_silent() {
    if Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_err() {
        eprintln!("not run: there is no ffmpeg here");
        return;
    }
    let settings = ["demo.test_stream=false", "weapp.heartbeat_timeout_seconds=5"];
    let server = TestServer::start(&settings).await;
    let alice = Phone::log_in(server.http, "live_room", "alice").await;
    assert_eq!(alice.ask("get_room_list", json!({ "cnt": 20, "index": 0 })).await["rooms"], json!([]));
    let room = alice.ask("create_room", json!({ "roomInfo": "show" })).await;
    let room = json!({ "roomID": text(&room, "roomID") });
    let url = alice.ask("get_push_url", room.clone()).await;
    let url = text(&url, "pushURL").to_owned();
    let mut ffmpeg = Ffmpeg::push(&url);
    // Her stream is there before anybody is told of it.
    alice.until("get_pushers", room.clone(), |answer| users(answer) == ["alice"]).await;
    let me = json!({ "roomID": room["roomID"], "userName": "Alice", "userAvatar": "", "pushURL": url });
    assert_eq!(alice.ask("add_pusher", me).await["code"], 0);
    assert_eq!(alice.ask("pusher_heartbeat", room.clone()).await["code"], 0);

    let bob = Phone::log_in(server.http, "live_room", "bob").await;
    let list = bob.ask("get_room_list", json!({ "cnt": 20, "index": 0 })).await;
    assert_eq!((text(&list["rooms"][0], "roomInfo"), users(&list["rooms"][0])), ("show", vec!["alice"]));
    let watch = json!({ "roomID": room["roomID"], "userInfo": "{}" });
    assert_eq!(bob.ask("add_audience", watch).await["code"], 0);
    assert_eq!(alice.ask("get_audiences", room.clone()).await["audiences"][0]["userID"], "bob");
    let seen = bob.until("get_pushers", room.clone(), |answer| users(answer) == ["alice"]).await;
    let (frames, tone) = played(text(&seen, "mixedPlayURL")).await;
    assert!(frames >= 15 && tone > 0.5, "{frames} different pictures, {tone} of the sound is the tone");

    // Her phone is switched off: nothing is said, and no heartbeat comes.
    ffmpeg.end();
    bob.until("get_pushers", room.clone(), |answer| answer["code"] == 3).await;
    assert_eq!(bob.ask("get_room_list", json!({ "cnt": 20, "index": 0 })).await["rooms"], json!([]));
}

/// Plays two seconds: how many different pictures there were, and how much of the sound is the tone of 1 kHz.
async fn played(url: &str) -> (usize, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let (pictures, sound) = (folder.path().join("pictures"), folder.path().join("sound"));
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-i", url]);
    command.args("-map 0:v -t 2 -vf scale=32:18 -pix_fmt gray -f rawvideo".split(' ')).arg(&pictures);
    command.args("-map 0:a -t 2 -ac 1 -ar 8000 -f s16le".split(' ')).arg(&sound);
    command.stdin(Stdio::null());
    let status = timeout(PATIENCE, tokio::task::spawn_blocking(move || command.status())).await;
    let status = status.expect("ffmpeg comes to its end").expect("the thread ends").expect("ffmpeg runs");
    assert!(status.success(), "{url}");
    let pictures = std::fs::read(&pictures).expect("pictures");
    let mut different: Vec<&[u8]> = pictures.chunks_exact(32 * 18).collect();
    different.dedup();
    let sound = std::fs::read(&sound).expect("sound");
    let samples: Vec<f64> = sound.chunks_exact(2).map(|two| f64::from(i16::from_le_bytes([two[0], two[1]]))).collect();
    (different.len(), share_of_1_khz(&samples))
}

/// The power at 1 kHz against all of it; 1 for a pure tone. Sampled at 8 kHz.
fn share_of_1_khz(samples: &[f64]) -> f64 {
    let step = 2.0 * std::f64::consts::PI * 1000.0 / 8000.0;
    let (mut real, mut imaginary, mut total) = (0.0, 0.0, f64::EPSILON);
    for (index, sample) in samples.iter().enumerate() {
        let angle = step * index as f64;
        real += sample * angle.cos();
        imaginary += sample * angle.sin();
        total += sample * sample;
    }
    2.0 * (real * real + imaginary * imaginary) / (samples.len().max(1) as f64 * total)
}
