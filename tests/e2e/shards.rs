//! The whole server with two shards: one stream, viewers on both.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::timeout;

use crate::{http::ask, server::TestServer};

/// Longest wait for anything on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(30);
const TWO_SHARDS: [&str; 2] = ["media.shards=2", "media.spread_packets_per_second=0"];

/// The sum of a family over all shards.
async fn metric(server: &TestServer, name: &str) -> u64 {
    let text = ask(server.http, "GET", "/metrics", &[], "").await.text().to_owned();
    let samples = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn until(server: &TestServer, name: &str, is_so: impl Fn(u64) -> bool) {
    let start = Instant::now();
    loop {
        let value = metric(server, name).await;
        if is_so(value) {
            return;
        }
        assert!(start.elapsed() < WAIT_MAX, "{name} is {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_on_both_shards_get_all_of_the_test_stream_and_the_copies_go_after_them() {
    let server = TestServer::start(&[&TWO_SHARDS[..], &["media.copy_linger_seconds=0"]].concat()).await;
    until(&server, "roomcast_packets_received_total", |packets| packets > 0).await;
    let ticket = server.ticket(1_400_000_001, "loader", "1001");
    let whep = format!("http://{}/whep/1001/loader?sdkappid={}&play=teststream", server.http, ticket.sdk_app_id);
    let mut player = Command::new(env!("CARGO_BIN_EXE_roomcast-load"));
    player.args(["play", "--whep", &whep, "--viewers", "6", "--seconds", "3", "--json"]);
    player.env("ROOMCAST_LOAD_TOKEN", &ticket.user_sig).stdin(Stdio::null());
    let played = tokio::task::spawn_blocking(move || player.output());
    let output = timeout(WAIT_MAX, played).await.expect("the players end").expect("no panic").expect("they run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let line = String::from_utf8_lossy(&output.stdout);
    let result: Value = serde_json::from_str(line.lines().last().expect("a line")).expect("JSON");
    assert_eq!(result["lost"], 0, "{line}");
    assert!(result["packets"].as_u64().is_some_and(|packets| packets > 600), "{line}");
    until(&server, "roomcast_relayed_packets_total", |packets| packets > 0).await;
    for name in ["roomcast_copies", "roomcast_down_tracks", "roomcast_transports"] {
        until(&server, name, |left| left == 0).await;
    }
    // The stream itself stays, on its own shard.
    assert_eq!(metric(&server, "roomcast_up_tracks").await, 2);
}
