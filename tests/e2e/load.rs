//! The load tool by the words that scripts use: they and the names in its JSON stay as they are.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::server::TestServer;

const APP: u32 = 1_400_000_001;
/// What scripts read of every run.
const FIGURES: [&str; 8] = [
    "packets",
    "lost",
    "server_cpu_us_per_packet",
    "rss_per_viewer_kb",
    "join_ms_p99",
    "first_frame_ms_p95",
    "delay_ms_p50",
    "delay_ms_p99",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_words_and_the_json_of_the_load_tool_are_those_that_scripts_use() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let (http, rtmp) = (server.http, server.rtmp);
    let eye = server.ticket(APP, "eye", "1001").user_sig;
    let token = server.ticket(APP, "by-whip", "1001").user_sig;
    let usersig = server.ticket(APP, "by-rtmp", "1001").user_sig;
    let whip = format!("http://{http}/whip/1001/by-whip?sdkappid={APP}");
    let push = format!("rtmp://{rtmp}/push/1001?sdkappid={APP}&userid=by-rtmp&usersig={usersig}");

    tokio::task::spawn_blocking(move || {
        // Longer than the players need on any machine; ended below.
        let whip = ["publish", "--whip", &whip, "--token", &token, "--seconds", "120", "--video-kbps", "600"];
        let long = ["publish", "--rtmp", &push, "--seconds", "120"];
        let publishers = [publish(&whip), publish(&long)];
        let pid = std::process::id().to_string();
        let whep = format!("http://{http}/whep/1001/eye?sdkappid={APP}&play=by-");
        let live = format!("{APP}_1001_by-");
        let common = ["--viewers", "2", "--seconds", "2", "--pid", &pid, "--json"];
        let from = |source: &str| {
            let (whep, flv) = (format!("{whep}{source}"), format!("http://{http}/live/{live}{source}_main.flv"));
            let rtmp = format!("rtmp://{rtmp}/live/{live}{source}_main");
            let players = [
                play(&[&["--whep", &whep, "--token", &eye][..], &common].concat()),
                play(&[&["--rtmp", &rtmp][..], &common].concat()),
                play(&[&["--flv", &flv][..], &common].concat()),
            ];
            players.map(|player| (source.to_owned(), player))
        };
        for (source, player) in from("whip").into_iter().chain(from("rtmp")) {
            let output = player.wait_with_output().expect("it ends");
            let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
            let protocol = report["protocol"].as_str().expect("a protocol");
            assert!(output.status.success(), "{protocol} of {source}: {report}");
            // Nothing can be lost over TCP; everything else is known.
            for name in FIGURES.iter().filter(|name| **name != "lost" || protocol == "whep") {
                assert!(report[name].as_f64().is_some_and(|n| n >= 0.0), "{name} by {protocol} of {source}: {report}");
            }
            assert!(report.get("lost").is_some_and(|lost| lost.is_null() || lost == 0), "{report}");
            // What is measured begins when all are in.
            let seconds = report["seconds"].as_f64().expect("a length");
            assert!((1.9..4.0).contains(&seconds) && report["viewers"] == 2, "{report}");
        }
        for mut publisher in publishers {
            publisher.kill().and_then(|()| publisher.wait()).expect("it was still there");
        }
        // By itself it ends after the seconds that were asked for, counted from the server's consent.
        let output = tool(&["publish", "--rtmp", &push, "--seconds", "1", "--json"]).output().expect("it ends");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        assert!(output.status.success() && report["packets"].as_u64().is_some_and(|n| n > 25), "{report}");
        assert!(report["seconds"].as_f64().is_some_and(|seconds| (0.9..4.0).contains(&seconds)), "{report}");
    })
    .await
    .expect("the tool does what it should");
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast-load"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROOMCAST_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Answers when the server takes what is published.
fn publish(arguments: &[&str]) -> Child {
    let mut child = tool(arguments).spawn().expect("the tool starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let told: Vec<String> =
        lines.by_ref().map_while(Result::ok).take_while(|line| !line.contains("publishing")).collect();
    assert!(child.try_wait().expect("its state is known").is_none(), "the tool ended: {told:?}");
    // It must not wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn play(arguments: &[&str]) -> Child {
    let mut command = tool(&[&["play"], arguments].concat());
    command.stderr(Stdio::null()).spawn().expect("the tool starts")
}
