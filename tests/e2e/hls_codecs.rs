//! What publishers send, as HLS: every codec that players of it know, and each medium alone, decoded by ffmpeg. Its FLV of today
//! knows no enhanced tags, so what it encodes is pushed by us.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use media::flv::{Tag, TagKind, aac_frame, aac_header, avc_frame, avc_header};
use shiguredo_mp4::{Encode, TrackKind, boxes::SampleEntry, demux::Fmp4SegmentDemuxer};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    hls,
    http::get,
    server::TestServer,
    streams::{Ffmpeg, until},
    takeover::RtmpPublisher,
};

const APP: u32 = 1_400_000_001;
/// Longest run of ffmpeg, encoding or playing, on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(120);

const PICTURES: &str = "-f lavfi -i testsrc2=size=320x180:rate=15";
const SOUND: &str = "-f lavfi -i sine=frequency=1000:sample_rate=48000";
const H264: &str = "-c:v libx264 -preset ultrafast -tune zerolatency";
const H265: &str = "-c:v libx265 -preset ultrafast -tune zerolatency -tag:v hvc1 -x265-params log-level=error";
const AV1: &str = "-c:v libaom-av1 -usage realtime -cpu-used 8 -lag-in-frames 0";
const AAC: &str = "-c:a aac -b:a 64k";
const OPUS: &str = "-c:a libopus -b:a 64k";

/// What is sent: name, ffmpeg's words for picture and sound (empty: there is none), and what must come out: the playlist's
/// `CODECS`, and the streams as ffprobe names them.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const AV1_BARE: &str = "AV1, bare record";
/// Enhanced RTMP's first byte and name, and what every record of AV1 has.
const AV1_BARE_BYTES: usize = 5 + 4;
const AVC_OUT: &str = "h264,avc1,320,180";
const AAC_OUT: &str = "aac,mp4a";
const OPUS_OUT: &str = "opus,Opus";
const TABLE: [Row; 8] = [
    ("H.264 and AAC", H264, AAC, &["avc1.", "mp4a.40.2"], &[AVC_OUT, AAC_OUT]),
    ("H.264 alone", H264, "", &["avc1."], &[AVC_OUT]),
    ("AAC alone", "", AAC, &["mp4a.40.2"], &[AAC_OUT]),
    ("H.264 and Opus", H264, OPUS, &["avc1.", "Opus"], &[AVC_OUT, OPUS_OUT]),
    ("Opus alone", "", OPUS, &["Opus"], &[OPUS_OUT]),
    ("H.265 and AAC", H265, AAC, &["hvc1.", "mp4a.40.2"], &["hevc,hvc1,320,180", AAC_OUT]),
    ("AV1 and AAC", AV1, AAC, &["av01.", "mp4a.40.2"], &["av1,av01,320,180", AAC_OUT]),
    // As some publishers send it: the size stands in the key frames only.
    (AV1_BARE, AV1, "", &["av01."], &["av1,av01,320,180"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_and_each_medium_alone_plays_as_hls() {
    if !Ffmpeg::exists() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start(&["demo.test_stream=false", "signaling.joins_per_user_per_minute=100"]).await;
    let mut wrong = Vec::new();
    for (index, row) in TABLE.iter().enumerate() {
        let (name, _, _, codecs, streams) = *row;
        let room = (300 + index).to_string();
        let file = folder.path().join(format!("{room}.mp4"));
        let Some(tags) = encoded(row, &file).await else {
            println!("{name:16} not run: this ffmpeg has no such encoder");
            continue;
        };
        let publisher = RtmpPublisher::open(server.rtmp, &server.push_url(&server.ticket(APP, "cam", &room))).await;
        let _publishing = publish(publisher.expect("let in"), tags);
        let path = format!("/live/{APP}_{room}_cam_main.m3u8");
        until(server.http, &path, 200).await;
        let begun = hls::begin(server.http, &path).await;
        let multivariant = get(server.http, &path).await.text();
        // Until there is a segment to begin with.
        assert_eq!(get(server.http, &begun.playlist).await.status, 200, "{name}");
        let url = format!("http://{}{path}", server.http);
        let probed = ffprobe(&url).await;
        let (seen, played) = (String::from_utf8_lossy(&probed.stdout).into_owned(), played(&url).await);
        // A program's streams are named twice.
        let seen: BTreeSet<&str> =
            seen.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty()).collect();
        let complaints = String::from_utf8_lossy(&played.stderr).into_owned();
        let frames = String::from_utf8_lossy(&played.stdout).lines().filter(|line| line.contains(',')).count();
        println!("{name:16} {seen:?}, {frames} frames decoded");
        let right = codecs.iter().all(|codec| multivariant.contains(codec))
            && multivariant.contains("RESOLUTION=320x180") != row.1.is_empty()
            && streams.iter().all(|stream| seen.contains(stream))
            && seen.len() == streams.len()
            && played.status.success()
            && complaints.is_empty()
            && frames > 25;
        if !right {
            wrong.push(format!("{name}: {seen:?}, {frames} frames, {complaints}\n{multivariant}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn run(program: &'static str, arguments: Vec<String>) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = timeout(RUN_MAX, spawn_blocking(move || command.output())).await;
    output.unwrap_or_else(|_| panic!("{program} does not end")).expect("no panic").expect("it runs")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

async fn ffprobe(url: &str) -> Output {
    let arguments = "-v error -show_entries stream=codec_name,codec_tag_string,width,height -of csv=p=0";
    run("ffprobe", words(&format!("{arguments} {url}"))).await
}

/// Two seconds of it, decoded.
async fn played(url: &str) -> Output {
    run("ffmpeg", words(&format!("-v error -i {url} -t 2 -f framecrc -"))).await
}

/// Half a minute of the row as tags; `None` if there is no such encoder here.
async fn encoded((name, video, audio, ..): &Row, file: &Path) -> Option<Vec<Tag>> {
    let input = |source: &'static str, codec: &str| if codec.is_empty() { "" } else { source };
    let sources = format!("{} {}", input(PICTURES, video), input(SOUND, audio));
    let form = "-pix_fmt yuv420p -g 15 -bf 0 -t 30 -f mp4 -movflags frag_keyframe+delay_moov+default_base_moof";
    let mut arguments = words(&format!("-v error -y {sources} {video} {audio} {form}"));
    arguments.push(file.display().to_string());
    let output = run("ffmpeg", arguments).await;
    if String::from_utf8_lossy(&output.stderr).contains("Unknown encoder") {
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut tags = tags(&std::fs::read(file).expect("ffmpeg wrote it"));
    if *name == AV1_BARE {
        tags[0].payload.truncate(AV1_BARE_BYTES);
    }
    Some(tags)
}

/// Sends them in their time.
fn publish(mut publisher: RtmpPublisher, tags: Vec<Tag>) -> Publishing {
    Publishing(tokio::spawn(async move {
        let began = Instant::now();
        for tag in tags {
            sleep_until(began + Duration::from_millis(tag.timestamp_ms.into())).await;
            publisher.send(&tag).await;
        }
    }))
}

/// Ends with its row.
struct Publishing(JoinHandle<()>);

impl Drop for Publishing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The samples of fragmented MP4 as a publisher's tags.
fn tags(file: &[u8]) -> Vec<Tag> {
    let length = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    let boxes = std::iter::successors(Some(0), |at| Some(at + length(*at)).filter(|at| *at < file.len()));
    let boxes: Vec<(usize, &[u8])> = boxes.map(|at| (at, &file[at + 4..at + 8])).collect();
    let mut demuxer = Fmp4SegmentDemuxer::new();
    let first = boxes.iter().find(|(_, name)| name == b"moof").expect("a fragment").0;
    demuxer.handle_init_segment(&file[..first]).expect("ftyp and moov");
    let (mut tags, mut entries) = (Vec::new(), HashMap::new());
    for (at, _) in boxes.iter().filter(|(_, name)| name == b"moof") {
        let fragment = &file[*at..*at + length(*at) + length(at + length(*at))];
        for sample in demuxer.handle_media_segment(fragment).expect("samples") {
            let data = &fragment[sample.data_offset as usize..][..sample.data_size];
            let ms = (sample.timestamp * 1000 / u64::from(sample.track.timescale.get())) as u32;
            let kind = if sample.track.kind == TrackKind::Video { TagKind::Video } else { TagKind::Audio };
            // Said where it changes.
            if let Some(entry) = sample.sample_entry {
                entries.insert(sample.track.track_id, entry.clone());
            }
            let (header, frame) = bodies(&entries[&sample.track.track_id], sample.keyframe, data);
            if !tags.iter().any(|tag: &Tag| tag.kind == kind) {
                tags.push(Tag::new(kind, 0, header));
            }
            tags.push(Tag::new(kind, ms, frame));
        }
    }
    tags.sort_by_key(|tag| (!tag.header, tag.timestamp_ms));
    tags
}

/// A sequence header, and the body for one frame.
fn bodies(entry: &SampleEntry, key: bool, data: &[u8]) -> (bytes::Bytes, bytes::Bytes) {
    let content = |whole: Vec<u8>| whole[8..].to_vec();
    // Enhanced RTMP: sequence start, and coded frames without a composition time.
    let video = |name: &[u8; 4], record: Vec<u8>| {
        let frame = 0x80 | if key { 1 } else { 2 } << 4 | 3;
        ([&[0x90], &name[..], &record].concat().into(), [&[frame], &name[..], data].concat().into())
    };
    match entry {
        SampleEntry::Avc1(avc) => {
            (avc_header(&content(avc.avcc_box.encode_to_vec().expect("avcC"))), avc_frame(key, 0, data))
        }
        SampleEntry::Hvc1(hevc) => video(b"hvc1", content(hevc.hvcc_box.encode_to_vec().expect("hvcC"))),
        SampleEntry::Av01(av1) => video(b"av01", content(av1.av1c_box.encode_to_vec().expect("av1C"))),
        SampleEntry::Mp4a(aac) => {
            let specific = aac.esds_box.es.dec_config_descr.dec_specific_info.as_ref().expect("AAC says what it is");
            (aac_header(&specific.payload), aac_frame(data))
        }
        SampleEntry::Opus(opus) => {
            // RFC 7845 §5.1.
            let dops = &opus.dops_box;
            let mut head = b"\x90OpusOpusHead\x01".to_vec();
            head.push(dops.output_channel_count);
            head.extend(dops.pre_skip.to_le_bytes());
            head.extend(dops.input_sample_rate.to_le_bytes());
            head.extend([0, 0, 0]);
            (head.into(), [b"\x91Opus", data].concat().into())
        }
        other => panic!("{other:?}"),
    }
}
