//! RTMPS: the same ports as RTMP, the certificate of HTTPS.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    server::TestServer,
    streams::{Ffmpeg, until},
};

const DEMO_APP: u32 = 1_400_000_001;
const WAIT_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_pushes_and_plays_by_rtmps_on_the_port_of_rtmp_and_on_another() {
    if !Ffmpeg::exists() {
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false", "rtmp.listen_also=127.0.0.1:0"]).await;
    let also = server.server.addresses().rtmp_also.expect("it listens");
    let ticket = server.ticket(DEMO_APP, "pusher", "81");
    let push = server.push_url(&ticket).replace("rtmp://", "rtmps://");
    let _push = Ffmpeg::push_sized(&push, "160x120");
    let path = format!("live/{}_81_pusher_main", ticket.sdk_app_id);
    until(server.http, &format!("/{path}.flv"), 200).await;
    for (scheme, addr) in [("rtmps", server.rtmp), ("rtmps", also), ("rtmp", also)] {
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-read_intervals", "%+1", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]);
        probe.arg(format!("{scheme}://{addr}/{path}")).stdin(Stdio::null());
        let probed = tokio::task::spawn_blocking(move || probe.output());
        let output = timeout(WAIT_MAX, probed).await.expect("it ends").expect("no panic").expect("it runs");
        let streams = String::from_utf8_lossy(&output.stdout);
        assert!(streams.contains("h264") && streams.contains("aac"), "{scheme} {addr}: {streams}\n{output:?}");
    }
}

#[tokio::test]
async fn u17_who_says_nothing_or_begins_tls_and_stops_is_closed_after_10_s() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let began = Instant::now();
    let mut waiting = Vec::new();
    for first in [&b""[..], &[22], &[22, 3, 1, 2, 0], &[3], &[3, 0, 0]] {
        let mut stream = TcpStream::connect(server.rtmp).await.expect("the server accepts");
        stream.write_all(first).await.expect("sent");
        waiting.push((first, stream));
    }
    for (first, mut stream) in waiting {
        let mut rest = Vec::new();
        let _ = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.expect("closed");
        let seconds = began.elapsed().as_secs_f64();
        println!("U17 after {first:?}: closed after {seconds:.1} s (bound 10)");
        assert!((9.0..11.0).contains(&seconds), "{first:?}: {seconds}");
    }
}
