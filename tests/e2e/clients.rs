//! RTMP as other people's programs speak it: librtmp (rtmpdump, and GStreamer's rtmpsink), GStreamer's rtmp2. Each test is left out,
//! and says so, where its program is not installed.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use media::flv::{Tag, TagKind, TagReader};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    server::TestServer,
    streams::{Ffmpeg, HttpPlayer, Player, until},
};

const DEMO_APP: u32 = 1_400_000_001;
/// Longest wait for what a program says or gets, on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Whether these words start a program that is content.
fn runs(words: &str) -> bool {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let status = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Ends with its test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `gst-launch-1.0` with these words, and `location=` at the end of them.
fn gstreamer(pipeline: &str, location: &str) -> Running {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(pipeline.split_whitespace()).arg(format!("location={location}"));
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("GStreamer starts"))
}

#[tokio::test]
async fn librtmp_plays_from_a_key_frame_on() {
    if Command::new("rtmpdump").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return eprintln!("not run: there is no rtmpdump here");
    }
    let server = TestServer::start(&[]).await;
    let url = format!("rtmp://{}/live/{DEMO_APP}_1001_teststream_main", server.rtmp);
    let dump = spawn_blocking(move || {
        let mut command = Command::new("rtmpdump");
        command.args(["-q", "--live", "-o", "-", "-r", &url]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running(command.spawn().expect("rtmpdump starts"));
        let mut output = running.0.stdout.take().expect("a pipe");
        let (mut reader, mut tags, mut piece) = (TagReader::new(), Vec::<Tag>::new(), vec![0; 16 << 10]);
        let count = |tags: &[Tag], kind| tags.iter().filter(|tag| tag.kind == kind).count();
        while count(&tags, TagKind::Video) <= 20 || count(&tags, TagKind::Audio) <= 20 {
            let read = output.read(&mut piece).expect("read");
            assert!(read > 0, "rtmpdump ended after {} tags", tags.len());
            let mut data = &piece[..read];
            tags.extend(std::iter::from_fn(|| reader.read(&mut data).expect("FLV")));
        }
        tags
    });
    let tags = timeout(WAIT_MAX, dump).await.expect("rtmpdump plays").expect("no panic");
    let first = tags.iter().find(|tag| tag.kind == TagKind::Video && !tag.header);
    assert!(first.is_some_and(|tag| tag.key));
    for kind in [TagKind::Audio, TagKind::Video] {
        assert!(tags.iter().any(|tag| tag.kind == kind && tag.header), "{kind:?} has a header");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_pushes_by_both_of_its_elements_and_plays() {
    for (room, sink) in [("101", "rtmp2sink"), ("102", "rtmpsink")] {
        let needed = ["flvmux", "x264enc", "voaacenc", "rtmp2src", sink];
        if !needed.iter().all(|element| runs(&format!("gst-inspect-1.0 {element}"))) {
            return eprintln!("not run: there is no GStreamer with {needed:?} here");
        }
        let server = TestServer::start(&["demo.test_stream=false"]).await;
        let push = server.push_url(&server.ticket(DEMO_APP, "gst", room));
        let pipeline = format!(
            "flvmux name=m streamable=true \
             videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=15/1 ! \
             x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse ! m. \
             audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse ! m. \
             m. ! {sink}"
        );
        let _pushing = gstreamer(&pipeline, &push);
        let path = format!("live/{DEMO_APP}_{room}_gst_main");
        let mut player = HttpPlayer::new(until(server.http, &format!("/{path}.flv"), 200).await.into_body());
        let (mut pictures, mut sounds) = (0, 0);
        while pictures < 30 || sounds < 60 {
            let tag = timeout(WAIT_MAX, player.next()).await.expect("the stream goes on").expect("and does not end");
            pictures += usize::from(tag.kind == TagKind::Video && !tag.header);
            sounds += usize::from(tag.kind == TagKind::Audio && !tag.header);
        }
        println!("{sink}: {pictures} pictures, {sounds} pieces of sound");

        let location = format!("rtmp://{}/{path}", server.rtmp);
        let played = spawn_blocking(move || {
            let source = format!("location={location}");
            let pipeline = "! flvdemux name=d d.video ! h264parse ! identity eos-after=30 ! fakesink";
            let mut command = Command::new("gst-launch-1.0");
            command.args(["-q", "rtmp2src", &source]).args(pipeline.split_whitespace());
            command.stdin(Stdio::null()).stdout(Stdio::null()).status()
        });
        let status = timeout(WAIT_MAX, played).await.expect("GStreamer plays to its end").expect("no panic");
        assert!(status.is_ok_and(|status| status.success()), "rtmp2src plays 30 pictures");
    }
}

/// Plays so much over HTTP-FLV.
async fn plays(server: &TestServer, path: &str, least: (usize, usize)) {
    let mut player = HttpPlayer::new(until(server.http, &format!("/{path}.flv"), 200).await.into_body());
    let (mut pictures, mut sounds) = (0, 0);
    while pictures < least.0 || sounds < least.1 {
        let tag = timeout(WAIT_MAX, player.next()).await.expect("the stream goes on").expect("and does not end");
        pictures += usize::from(tag.kind == TagKind::Video && !tag.header);
        sounds += usize::from(tag.kind == TagKind::Audio && !tag.header);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_pushes_whatever_its_flags_are() {
    if !Ffmpeg::exists() {
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let both = "-f lavfi -i testsrc2=size=160x120:rate=15 -f lavfi -i sine=sample_rate=44100 -t 60 -c:v libx264 \
                -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 15 -b:v 100k -c:a aac -b:a 48k";
    let sound = "-f lavfi -i sine=sample_rate=16000 -t 60 -c:a aac -b:a 32k";
    let picture = "-f lavfi -i testsrc2=size=160x120:rate=15 -t 60 -c:v libx264 -preset ultrafast -tune zerolatency \
                   -pix_fmt yuv420p -g 15 -b:v 100k";
    for (number, (encoding, flags, least)) in [
        (both, "-flvflags aac_seq_header_detect", (20, 20)),
        (both, "-flvflags no_sequence_end+no_metadata", (20, 20)),
        (both, "-flvflags no_duration_filesize -rtmp_flashver FMLE/3.0 -rtmp_tcurl rtmp://elsewhere/push", (20, 20)),
        (
            both,
            "-flvflags add_keyframe_index -rtmp_buffer 10 -rtmp_conn B:1 -rtmp_conn S:hello -rtmp_live live",
            (20, 20),
        ),
        // Without it each picture and each sound waits for the buffer to fill.
        (both, "-flush_packets 0 -rtmp_flush_interval 30", (20, 20)),
        (sound, "-flvflags no_metadata", (0, 20)),
        (picture, "-flvflags no_metadata", (20, 0)),
    ]
    .into_iter()
    .enumerate()
    {
        let room = (300 + number).to_string();
        let url = server.push_url(&server.ticket(DEMO_APP, "ffmpeg", &room));
        let _push = Ffmpeg::run(&format!("{encoding} -f flv {flags}"), &url);
        plays(&server, &format!("live/{DEMO_APP}_{room}_ffmpeg_main"), least).await;
        println!("ffmpeg {flags}: plays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_that_sends_nothing_that_is_carried_reads_so_and_who_sends_half_is_taken() {
    if !Ffmpeg::exists() {
        return;
    }
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    for (room, encoding, names) in [
        ("311", "-c:v flv -c:a libmp3lame", "H.263 and MP3"),
        ("312", "-vn -c:a pcm_s16le", "PCM LE"),
        ("313", "-c:v flashsv -an", "Screen"),
    ] {
        let url = server.push_url(&server.ticket(DEMO_APP, "old", room));
        let mut command = Command::new("ffmpeg");
        let inputs = "-hide_banner -loglevel error -re -f lavfi -i testsrc2=size=160x120:rate=25 \
                      -f lavfi -i sine=sample_rate=44100 -t 60";
        command.args(inputs.split_whitespace()).args(encoding.split_whitespace()).args(["-f", "flv", &url]);
        let pushed = spawn_blocking(move || command.stdin(Stdio::null()).output());
        let output = timeout(WAIT_MAX, pushed).await.expect("it is ended").expect("no panic").expect("it runs");
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{encoding}: {}", says.lines().next().unwrap_or_default());
        assert!(!output.status.success());
        assert!(says.contains(&format!("74001: {names} cannot go into a room")), "{says}");
        // Nobody waits for him to come back.
        until(server.http, &format!("/live/{DEMO_APP}_{room}_old_main.flv"), 404).await;
    }
    let url = server.push_url(&server.ticket(DEMO_APP, "half", "314"));
    let half = "-f lavfi -i testsrc2=size=160x120:rate=15 -f lavfi -i sine=sample_rate=44100 -t 60 -c:v libx264 -preset ultrafast \
                -tune zerolatency -pix_fmt yuv420p -g 15 -c:a libmp3lame -f flv";
    let _push = Ffmpeg::run(half, &url);
    plays(&server, &format!("live/{DEMO_APP}_314_half_main"), (150, 0)).await;
}
