//! Relays over RTMPS: to whom they believe, and what they say of everybody else.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::{
    relay::{DEMO_APP, api, start, there_and_back, until_so},
    server::{STRICT_APP, TestServer},
    streams::Ffmpeg,
};

/// A server that believes this one's certificate.
async fn believing(there: &TestServer) -> TestServer {
    let ca = format!("rtmp.relay_ca={}", there.certificate().display());
    TestServer::start(&["demo.test_stream=false", "signaling.republish_seconds=0", &ca]).await
}

fn over_tls(url: &str) -> String {
    url.replace("rtmp://", "rtmps://")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_to_another_roomcast_and_comes_back_over_rtmps() {
    if !Ffmpeg::exists() {
        return;
    }
    let there = TestServer::start(&["demo.test_stream=false", "signaling.republish_seconds=0"]).await;
    let here = believing(&there).await;
    let running = there_and_back(&here, &there, 191, over_tls).await;
    assert!(running["url"].as_str().is_some_and(|url| url.starts_with("rtmps://127.0.0.1:")), "{running}");
}

/// What the first attempt to pull from this URL ends with.
async fn first_end(server: &TestServer, url: &str) -> (Value, String) {
    let id = start(server, json!({ "direction": "pull", "url": url, "roomID": 194, "userID": "pulled" })).await;
    let relay = until_so(server, &id, |relay| relay["lastError"].is_string()).await;
    assert_eq!(api(server, STRICT_APP, "DELETE", &format!("/{id}"), "").await.status, 204);
    println!("{url}: {} {}", relay["lastCode"], relay["lastError"]);
    (relay["lastCode"].clone(), relay["lastError"].as_str().expect("text").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_believed_or_does_not_answer_gets_a_code_of_his_own() {
    let there = TestServer::start(&["demo.test_stream=false", "rtmp.listen=0.0.0.0:0"]).await;
    let port = there.rtmp.port();
    let strangers = TestServer::start(&["demo.test_stream=false"]).await;
    let here = believing(&there).await;
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let silent_at: SocketAddr = silent.local_addr().expect("bound");
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    let (http, stranger) = (there.http, strangers.rtmp);
    for (url, code, words) in [
        (format!("rtmps://{stranger}/live/s"), 76002, "vouches"),
        (format!("rtmps://127.0.0.2:{port}/live/s"), 76003, "another name"),
        (format!("rtmps://{free}/live/s"), 76000, "connecting"),
        (format!("rtmps://{http}/live/s"), 76004, "TLS"),
        (format!("rtmp://{http}/live/s"), 76004, "not RTMP"),
        (format!("rtmps://127.0.0.1:{port}/live/{DEMO_APP}_1_nobody_main"), 76005, "refused"),
        (format!("rtmps://{silent_at}/live/s"), 76001, "handshake took too long"),
    ] {
        let (got, said) = first_end(&here, &url).await;
        assert_eq!(got, code, "{url}: {said}");
        assert!(said.contains(words), "{url}: {said}");
    }
    // One that was good, and for this name.
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("old.pem"), folder.path().join("old-key.pem"));
    let pair = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let old = params.self_signed(&pair).expect("signed").pem();
    std::fs::write(&certificate, &old).expect("written");
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    let set = [
        format!("https.certificate={}", certificate.display()),
        format!("https.private_key={}", key.display()),
        "demo.test_stream=false".to_owned(),
    ];
    let expired = TestServer::start(&set.each_ref().map(String::as_str)).await;
    let ca = format!("rtmp.relay_ca={}", certificate.display());
    let trusting = TestServer::start(&["demo.test_stream=false", &ca]).await;
    let (code, said) = first_end(&trusting, &format!("rtmps://{}/live/s", expired.rtmp)).await;
    assert_eq!((code, said.as_str()), (json!(76002), "its certificate has expired"));
    // A refusal has the same code without TLS.
    let (code, _) = first_end(&here, &format!("rtmp://127.0.0.1:{port}/live/{DEMO_APP}_1_nobody_main")).await;
    assert_eq!(code, 76005);
}
