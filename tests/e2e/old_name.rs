//! Streams by the vendor's older names: `{bizid}_` and an MD5.

use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use signaling::auth::url::{tx_secret, tx_time};
use tokio::time::timeout;

use crate::{
    http::get,
    server::{STRICT_APP, STRICT_PUSH_KEY, TestServer},
    streams::{Ffmpeg, until},
};

const DEMO_APP: u32 = 1_400_000_001;
/// MD5 of `10001_alice_main`.
const ALICE_MAIN: &str = "dc55e56030c21f8471e668eff3d4dd58";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The codecs that ffprobe finds there.
async fn codecs(url: String) -> String {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-read_intervals", "%+1", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]);
    probe.arg(&url).stdin(Stdio::null());
    let probed = tokio::task::spawn_blocking(move || probe.output());
    let output = timeout(WAIT_MAX, probed).await.expect("it ends").expect("no panic").expect("it runs");
    let mut codecs: Vec<&str> = std::str::from_utf8(&output.stdout).expect("text").split_whitespace().collect();
    codecs.sort_unstable();
    // ffprobe lists what HLS has twice.
    codecs.dedup();
    codecs.join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_plays_by_its_older_name_over_rtmp_flv_and_hls() {
    if !Ffmpeg::exists() {
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let (http, rtmp) = (server.http, server.rtmp);
    let _open = Ffmpeg::push_sized(&server.push_url(&server.ticket(DEMO_APP, "alice", "10001")), "160x120");
    // This app has no bizid: its number stands there.
    let open = format!("live/{DEMO_APP}_{ALICE_MAIN}");
    until(http, &format!("/{open}.flv"), 200).await;
    let until_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 60;
    let old = format!("8888_{ALICE_MAIN}");
    let signature = format!("txSecret={}&txTime={}", tx_secret(STRICT_PUSH_KEY, &old, until_s), tx_time(until_s));
    // And this one is pushed to by its older name.
    let push = format!("rtmp://{rtmp}/live/{old}?roomid=10001&userid=alice&{signature}");
    let _strict = Ffmpeg::push_sized(&push, "160x120");
    until(http, &format!("/live/{old}.flv?{signature}"), 200).await;
    for url in [
        format!("rtmp://{rtmp}/{open}"),
        format!("http://{http}/{open}.flv"),
        format!("http://{http}/{open}.m3u8"),
        format!("rtmp://{rtmp}/live/{old}?{signature}"),
        format!("http://{http}/live/{old}.flv?{signature}"),
        format!("http://{http}/live/{old}.m3u8?{signature}"),
    ] {
        assert_eq!(codecs(url.clone()).await, "aac h264", "{url}");
    }
    for path in [format!("/live/{old}.flv"), format!("/live/8888_{}.flv", ALICE_MAIN.replace('d', "e"))] {
        let refused = get(http, &path).await;
        assert_eq!((refused.status, refused.code()), (401, Some(71000)), "{path}");
    }
    let full = format!("{STRICT_APP}_10001_alice_main");
    let wrong = get(http, &format!("/live/{full}.flv?{signature}")).await;
    assert_eq!(wrong.code(), Some(71005), "a signature is for one name");
    let unknown = get(http, &format!("/live/8889_{ALICE_MAIN}.flv")).await;
    assert_eq!((unknown.status, unknown.code()), (404, Some(73004)));
}
