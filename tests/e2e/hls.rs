//! HLS over HTTP: the playlists, their files, who may have them, and ffmpeg as a player.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use media::hls::File;
use tokio::time::timeout;

use crate::{
    http::{Answer, ask, get},
    server::{STRICT_APP, TestServer},
};

const TEST_STREAM: &str = "/live/1400000001_1001_teststream_main.m3u8";
/// Longest wait for the next part on a busy machine.
const PART_MAX: Duration = Duration::from_secs(20);

/// What a multivariant playlist leads to.
pub struct Begun {
    /// Where the files are; ends with a slash.
    pub folder: String,
    /// The media playlist, with the word of one player.
    pub playlist: String,
    answer: Answer,
}

/// A player that has not asked for the media playlist yet.
pub async fn begin(server: SocketAddr, path: &str) -> Begun {
    let answer = timeout(PART_MAX, get(server, path)).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let media = text.lines().last().and_then(|line| line.strip_prefix("./")).expect("a relative address");
    let (folder, _) = media.split_once("media.m3u8?player=").expect("the media playlist, with a player's word");
    Begun { folder: format!("/live/{folder}"), playlist: format!("/live/{media}"), answer }
}

/// What the newest preload hint of a playlist names.
pub fn hint(text: &str) -> (u64, u32) {
    let name = text.lines().find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")).expect("a hint");
    match File::from_name(name.trim_end_matches('"')) {
        Some(File::Part(segment, part)) => (segment, part),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_test_stream_is_hls_and_a_player_is_told_of_each_part_when_it_is_there() {
    let server = TestServer::start(&[]).await;
    let Begun { folder, playlist: address, answer } = begin(server.http, TEST_STREAM).await;
    assert_eq!(answer.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.text().contains("CODECS=\"avc1.") && answer.text().contains("mp4a.40.2"), "{}", answer.text());
    let mut playlist = get(server.http, &address).await.text();
    let init = ask(server.http, "GET", &format!("{folder}init-0.mp4"), &[("origin", "https://a.example")], "").await;
    assert_eq!((init.status, init.header("content-type")), (200, "video/mp4"));
    assert_eq!(init.header("access-control-allow-origin"), "*");
    assert_eq!(&init.body[4..8], b"ftyp");
    for _ in 0..6 {
        let (segment, part) = hint(&playlist);
        let file = format!("{folder}{segment}.{part}.m4s");
        let reload = format!("{address}&_HLS_msn={segment}&_HLS_part={part}");
        // Both are held back until the part is there.
        let both = async { tokio::join!(get(server.http, &file), get(server.http, &reload)) };
        let (media, reloaded) = timeout(PART_MAX, both).await.expect("the part comes");
        assert_eq!((media.status, reloaded.status), (200, 200), "{file}");
        assert_eq!(&media.body[4..8], b"moof");
        playlist = reloaded.text();
        assert!(hint(&playlist) > (segment, part), "{playlist}");
        assert!(playlist.contains(&format!("{segment}.{part}.m4s")) || hint(&playlist).0 > segment, "{playlist}");
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_a_code() {
    let server = TestServer::start(&[]).await;
    let Begun { folder, playlist, .. } = begin(server.http, TEST_STREAM).await;
    let (segment, _) = hint(&get(server.http, &playlist).await.text());
    let other = begin(server.http, &format!("{TEST_STREAM}?userid=x")).await.playlist;
    assert_ne!(playlist, other, "each player has a word of his own");
    for (path, status) in [
        (format!("{playlist}&_HLS_msn={}", segment + 9), 400),
        (format!("{playlist}&_HLS_part=1"), 400),
        (format!("{playlist}&_HLS_msn=x"), 400),
        (format!("{playlist}&_HLS_skip=NO"), 400),
        (format!("{folder}media.m3u8"), 404),
        (format!("{folder}media.m3u8?player="), 404),
        (format!("{playlist}0"), 404),
        (playlist.replace("teststream", "nobody").replace("player=", "player=1"), 404),
        (format!("{folder}99999.m4s"), 404),
        (format!("{folder}nothing.txt"), 404),
        (playlist.replace("-0-", "-9999999999-"), 404),
        ("/live/1400000001_1001_nobody_main.m3u8".to_owned(), 404),
    ] {
        let answer = get(server.http, &path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.code().is_some(), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    }
    let options = ask(server.http, "OPTIONS", &format!("{folder}media.m3u8"), &[], "").await;
    assert_eq!(options.status, 204);
    assert_eq!(ask(server.http, "POST", &format!("{folder}media.m3u8"), &[], "").await.status, 405);
    let metrics = get(server.http, "/metrics").await.text();
    assert!(metrics.contains("roomcast_hls_streams 1\n"), "{metrics}");
    assert!(metrics.contains("roomcast_hls_players 1\n"), "{metrics}");
    assert!(metrics.contains("roomcast_hls_plays_total{result=\"refused\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_player_who_asks_for_an_update_is_spared_what_he_knows() {
    let server = TestServer::start(&["hls.segment_seconds=1", "hls.window_segments=8"]).await;
    let Begun { playlist: address, .. } = begin(server.http, TEST_STREAM).await;
    let mut playlist = get(server.http, &address).await.text();
    assert!(playlist.contains(",CAN-SKIP-UNTIL=6.000\n"), "{playlist}");
    let updated = async {
        loop {
            let (segment, part) = hint(&playlist);
            let skip = if segment % 2 == 0 { "YES" } else { "v2" };
            let path = format!("{address}&_HLS_msn={segment}&_HLS_part={part}&_HLS_skip={skip}");
            playlist = get(server.http, &path).await.text();
            if playlist.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=") && skip == "v2" {
                return playlist;
            }
        }
    };
    let update = timeout(2 * PART_MAX, updated).await.expect("after some segments there is something to skip");
    assert!(update.contains("#EXT-X-VERSION:9\n") && !update.contains("#EXT-X-MAP"), "{update}");
    // Without being asked, nothing is left out.
    let whole = get(server.http, &address).await.text();
    assert!(whole.contains("#EXT-X-VERSION:6\n") && whole.contains("#EXT-X-MAP"), "{whole}");
    let metrics = get(server.http, "/metrics").await.text();
    let updates = metrics.lines().find_map(|line| line.strip_prefix("roomcast_hls_playlists_total{kind=\"update\"} "));
    assert!(updates.is_some_and(|count| count != "0"), "{metrics}");
}

#[tokio::test]
async fn where_play_needs_a_ticket_hls_needs_it_too() {
    let server = TestServer::start(&[]).await;
    let name = format!("/live/{STRICT_APP}_5_camera_main.m3u8");
    assert_eq!(get(server.http, &name).await.status, 401);
}

#[tokio::test]
async fn more_streams_than_hls_may_package_are_refused_by_the_limits_name() {
    let server = TestServer::start(&["hls.streams_max=0"]).await;
    let answer = get(server.http, TEST_STREAM).await;
    // Until the stream is there, it is not found.
    let answer = match answer.status {
        404 => timeout(PART_MAX, until_known(server.http)).await.expect("the test stream begins"),
        _ => answer,
    };
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("hls.streams_max"), "{}", answer.text());
}

#[tokio::test]
async fn more_hls_players_than_there_may_be_are_refused_by_the_limits_name() {
    let server = TestServer::start(&["hls.players_max=2"]).await;
    let stream = begin(server.http, TEST_STREAM).await;
    let mut players = vec![stream.playlist];
    for _ in 0..2 {
        players.push(begin(server.http, TEST_STREAM).await.playlist);
    }
    // Who only asks whether he could is no player.
    for player in &players {
        assert_eq!(ask(server.http, "HEAD", player, &[], "").await.status, 200);
    }
    let mut answers = Vec::new();
    for player in &players {
        answers.push(get(server.http, player).await);
    }
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 503]);
    assert!(answers[2].text().contains("hls.players_max"), "{}", answers[2].text());
    assert_eq!(get(server.http, &players[0]).await.status, 200, "who plays goes on");
    let metrics = get(server.http, "/metrics").await.text();
    assert!(metrics.contains("roomcast_hls_players 2\n"), "{metrics}");
}

async fn until_known(server: SocketAddr) -> Answer {
    loop {
        let answer = get(server, TEST_STREAM).await;
        if answer.status != 404 {
            return answer;
        }
    }
}

#[tokio::test]
async fn ffmpeg_plays_hls_without_an_error() {
    let server = TestServer::start(&[]).await;
    begin(server.http, TEST_STREAM).await;
    let url = format!("http://{}{TEST_STREAM}", server.http);
    let play = tokio::task::spawn_blocking(move || {
        Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "warning", "-nostdin", "-i", &url, "-t", "3", "-f", "framecrc", "-"])
            .stdin(Stdio::null())
            .output()
    });
    let Ok(output) = timeout(Duration::from_secs(60), play).await.expect("ffmpeg ends").expect("it is run") else {
        eprintln!("not run: there is no ffmpeg here");
        return;
    };
    let (frames, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaints}");
    let of_stream = |number: &str| frames.lines().filter(|line| line.starts_with(number)).count();
    assert!(of_stream("0,") >= 70 && of_stream("1,") >= 130, "{frames}\n{complaints}");
    assert!(!complaints.to_lowercase().contains("error"), "{complaints}");
}
