//! Streams as publishers send them, packaged on virtual time, read back as players read them.

use shiguredo_mp4::{TrackKind, demux::Fmp4SegmentDemuxer};

use super::{packager::HLS_BYTES_MAX, *};
use crate::{
    bridge::{
        enhanced_tests::frame,
        fixture::{AAC16, BASELINE_AAC44, BFRAMES, tags},
    },
    codec::{Codec, h265::config::tests::RECORD},
    flv::{Tag, TagKind, video_frame, video_header},
    units::time::Time,
};
use std::{collections::BTreeMap, time::Duration};

const SETTINGS: Settings = Settings { segment: Duration::from_secs(4), part: Duration::from_millis(250), window: 3 };
/// A playlist that is long enough for updates.
const LONG: Settings = Settings { window: 12, ..SETTINGS };

/// A recording again and again, without a seam in its timestamps.
fn looped(file: &[u8], round_ms: u32, rounds: u32) -> Vec<Tag> {
    let one = tags(file);
    let frames = (0..rounds).flat_map(|round| {
        let frames = one.iter().filter(|tag| !tag.header).cloned();
        frames.map(move |tag| Tag { timestamp_ms: tag.timestamp_ms + round * round_ms, ..tag }).collect::<Vec<_>>()
    });
    let mut all: Vec<Tag> = one.iter().filter(|tag| tag.header).cloned().chain(frames).collect();
    all.sort_by_key(|tag| (!tag.header, tag.timestamp_ms));
    all
}

fn push_all(packager: &mut Packager, tags: &[Tag]) {
    for tag in tags {
        packager.push(Time::from_millis(50_000 + u64::from(tag.timestamp_ms)), tag);
    }
}

/// A media playlist as a player understands it: what it must say, and that it keeps to its own promises.
#[derive(Debug, Default)]
struct Playlist {
    target: f64,
    part_target: f64,
    skip_until: Option<f64>,
    first: u64,
    /// Number, duration.
    segments: Vec<(u64, f64)>,
    /// Segment, part, duration, independent.
    parts: Vec<(u64, u32, f64, bool)>,
    maps: Vec<String>,
    discontinuities: usize,
    hint: Option<String>,
    ended: bool,
}

impl Playlist {
    fn read(text: &str) -> Playlist {
        let mut list = Playlist::default();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#EXTM3U"));
        let mut duration = None;
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let attribute = |name: &str| {
                let at = value.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                at.map(|value| value.trim_matches('"').to_owned())
            };
            match tag {
                "#EXT-X-VERSION" => assert_eq!(value, "6"),
                "#EXT-X-TARGETDURATION" => list.target = value.parse().unwrap(),
                "#EXT-X-SERVER-CONTROL" => {
                    assert_eq!(attribute("CAN-BLOCK-RELOAD").as_deref(), Some("YES"));
                    let back: f64 = attribute("PART-HOLD-BACK").unwrap().parse().unwrap();
                    assert!(back >= 0.5);
                    list.skip_until = attribute("CAN-SKIP-UNTIL").map(|value| value.parse().unwrap());
                }
                "#EXT-X-PART-INF" => list.part_target = attribute("PART-TARGET").unwrap().parse().unwrap(),
                "#EXT-X-MEDIA-SEQUENCE" => list.first = value.parse().unwrap(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => {}
                "#EXT-X-DISCONTINUITY" => list.discontinuities += 1,
                "#EXT-X-MAP" => list.maps.push(attribute("URI").unwrap()),
                "#EXTINF" => duration = Some(value.trim_end_matches(',').parse().unwrap()),
                "#EXT-X-PART" => {
                    let Some(File::Part(segment, part)) = File::from_name(&attribute("URI").unwrap()) else {
                        panic!("{line}")
                    };
                    let independent = attribute("INDEPENDENT").as_deref() == Some("YES");
                    list.parts.push((segment, part, attribute("DURATION").unwrap().parse().unwrap(), independent));
                }
                "#EXT-X-PRELOAD-HINT" => list.hint = attribute("URI"),
                "#EXT-X-ENDLIST" => list.ended = true,
                _ if !line.starts_with('#') => {
                    let Some(File::Segment(number)) = File::from_name(line) else { panic!("{line}") };
                    list.segments.push((number, duration.take().expect("a duration before each segment")));
                }
                _ => panic!("a line that we do not know: {line}"),
            }
        }
        list.check();
        list
    }

    /// RFC 8216bis §4.4.3.1, §4.4.3.7, §4.4.3.8, §4.4.4.9, §6.2.1.
    fn check(&self) {
        for (at, (number, duration)) in self.segments.iter().enumerate() {
            assert_eq!(*number, self.first + at as u64);
            assert!(duration.round() <= self.target, "{duration} s in segment {number}");
        }
        assert!(self.skip_until.is_none_or(|until| until >= 6.0 * self.target));
        for (segment, part, duration, _) in &self.parts {
            assert!(*duration <= self.part_target + 1e-6, "{duration} s in {segment}.{part}, {}", self.part_target);
        }
        for (number, duration) in &self.segments {
            let parts: Vec<f64> = self.parts.iter().filter(|part| part.0 == *number).map(|part| part.2).collect();
            let sum: f64 = parts.iter().sum();
            assert!(parts.is_empty() || (sum - duration).abs() < 1e-4, "segment {number}: {sum} {duration}");
        }
        let numbered: Vec<(u64, u32)> = self.parts.iter().map(|part| (part.0, part.1)).collect();
        assert!(numbered.windows(2).all(|two| two[1] == (two[0].0, two[0].1 + 1) || two[1] == (two[0].0 + 1, 0)));
        assert!(!self.maps.is_empty());
    }
}

fn bytes(found: Found) -> Vec<u8> {
    let Found::Here(pieces) = found else { panic!("not there: {found:?}") };
    pieces.concat()
}

/// Samples by track: decoding time in seconds, key, bytes.
type Samples = BTreeMap<u32, Vec<(f64, bool, Vec<u8>)>>;

fn samples(init: &[u8], media: &[u8]) -> (Vec<TrackKind>, Samples) {
    let mut demuxer = Fmp4SegmentDemuxer::new();
    demuxer.handle_init_segment(init).unwrap();
    let kinds = demuxer.tracks().unwrap().iter().map(|track| track.kind).collect();
    let mut all = Samples::new();
    let mut rest = media;
    while !rest.is_empty() {
        // moof, then mdat.
        let len = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let fragment = len(0) + len(len(0));
        let (one, more) = rest.split_at(fragment);
        for sample in demuxer.handle_media_segment(one).unwrap() {
            let at = sample.data_offset as usize;
            all.entry(sample.track.track_id).or_default().push((
                sample.timestamp as f64 / f64::from(sample.track.timescale.get()),
                sample.keyframe,
                one[at..at + sample.data_size].to_vec(),
            ));
        }
        rest = more;
    }
    (kinds, all)
}

fn whole(packager: &Packager, list: &Playlist) -> Vec<u8> {
    list.segments.iter().flat_map(|(number, _)| bytes(packager.file(File::Segment(*number)))).collect()
}

/// Frames of one kind as their bodies.
fn bodies(tags: &[Tag], kind: TagKind) -> Vec<Vec<u8>> {
    let skipped = if kind == TagKind::Video { 5 } else { 2 };
    let frames = tags.iter().filter(|tag| tag.kind == kind && !tag.header && tag.payload.len() > skipped + 4);
    frames.map(|tag| tag.payload[skipped..].to_vec()).collect()
}

#[test]
fn every_frame_of_a_publisher_is_in_the_segments_once_and_in_time() {
    let sent = looped(BASELINE_AAC44, 2_000, 6);
    let mut packager = Packager::new(SETTINGS);
    push_all(&mut packager, &sent);
    packager.end();
    let list = Playlist::read(&packager.media(false).text);
    assert!(list.ended && list.hint.is_none() && list.parts.is_empty());
    let init = bytes(packager.file(File::Init(0)));
    let (kinds, got) = samples(&init, &whole(&packager, &list));
    assert_eq!(kinds, [TrackKind::Video, TrackKind::Audio]);
    let media = |track: u32| got[&track].iter().map(|sample| sample.2.clone()).collect::<Vec<_>>();
    assert_eq!(media(1), bodies(&sent, TagKind::Video));
    // What was heard before the first picture is left out, and so is what the loop has too much of: a round of sound is a
    // little longer than one of pictures.
    let (sounds, heard) = (bodies(&sent, TagKind::Audio), media(2));
    assert!(sounds.windows(80).any(|unbroken| unbroken == &heard[..80]));
    assert!(heard.len() * 100 >= sounds.len() * 95, "{} of {}", heard.len(), sounds.len());
    for (track, longest) in [(1, 0.6), (2, 0.1)] {
        let times: Vec<f64> = got[&track].iter().map(|sample| sample.0).collect();
        assert!(times.windows(2).all(|two| two[1] > two[0] && two[1] - two[0] < longest), "track {track}: {times:?}");
    }
    let (video, audio) = (&got[&1], &got[&2]);
    assert!((video[0].0 - audio[0].0).abs() < 0.05 && (video.last().unwrap().0 - audio.last().unwrap().0).abs() < 0.6);
    assert!(packager.multivariant("x/media.m3u8").unwrap().contains("CODECS=\"avc1."));
}

#[test]
fn h265_is_carried_with_its_record_and_the_times_at_which_it_is_shown() {
    let mut sent = vec![Tag { header: true, ..Tag::new(TagKind::Video, 0, video_header(Codec::H265, &RECORD)) }];
    for n in 0..60u32 {
        // Each picture is shown two pictures later than it is decoded.
        let key = n % 15 == 0;
        let unit = [if key { 19 << 1 } else { 1 << 1 }, 1, n as u8, 0x80];
        let payload = [&[if key { 0x91 } else { 0xa1 }][..], b"hvc1", &[0, 0, 80, 0, 0, 0, 4], &unit].concat();
        sent.push(Tag::new(TagKind::Video, n * 40, payload.into()));
    }
    let mut packager = Packager::new(SETTINGS);
    push_all(&mut packager, &sent);
    packager.end();
    let list = Playlist::read(&packager.media(false).text);
    let init = bytes(packager.file(File::Init(0)));
    let (kinds, got) = samples(&init, &whole(&packager, &list));
    assert_eq!(kinds, [TrackKind::Video]);
    assert_eq!(got[&1].len(), 60);
    assert!(got[&1].iter().enumerate().all(|(n, (_, key, data))| *key == (n % 15 == 0) && data[6] == n as u8));
    let has = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(has(&init, b"hvc1") && has(&init, &[&b"hvcC"[..], &RECORD].concat()), "the record, byte by byte");
    let playlist = packager.multivariant("x/media.m3u8").unwrap();
    assert!(playlist.contains("CODECS=\"hvc1.1.6.L63.90\"") && playlist.contains("RESOLUTION=640x360"), "{playlist}");
}

#[test]
fn vp8_vp9_and_av1_are_carried_with_opus_and_a_new_size_begins_anew() {
    for (codec, record, name, codecs) in [
        (Codec::Vp8, &[][..], b"vp08", "vp08.00.31.08,Opus"),
        (Codec::Vp9, &[1, 0, 0, 0, 0, 21, 0x82, 1, 1, 1, 0, 0], b"vp09", "vp09.00.21.08,Opus"),
        (Codec::Av1, &[0x81, 5, 12, 0], b"av01", "av01.0.05M.08,Opus"),
    ] {
        let mut sent = vec![Tag {
            header: true,
            ..Tag::new(TagKind::Audio, 0, b"\x90OpusOpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0"[..].into())
        }];
        if !record.is_empty() {
            sent.push(Tag { header: true, ..Tag::new(TagKind::Video, 0, video_header(codec, record)) });
        }
        let pictures: Vec<Vec<u8>> = (0..60).map(|n| frame(codec, n % 15 == 0, 50 + n)).collect();
        for (n, picture) in pictures.iter().enumerate() {
            let at_ms = n as u32 * 40;
            sent.push(Tag::new(TagKind::Video, at_ms, video_frame(codec, n % 15 == 0, picture)));
            // 20 ms each, by the byte behind the FourCC.
            let sound = |at_ms| Tag::new(TagKind::Audio, at_ms, b"\x91Opus\xf8abc"[..].into());
            sent.extend([sound(at_ms), sound(at_ms + 20)]);
        }
        let mut packager = Packager::new(SETTINGS);
        push_all(&mut packager, &sent);
        let init = bytes(packager.file(File::Init(0)));
        let has = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(has(&init, name) && has(&init, b"dOps"), "{codec}");
        assert!(record.is_empty() || has(&init, record), "{codec}: the record that came");
        let playlist = packager.multivariant("x/media.m3u8").unwrap();
        assert!(
            playlist.contains(&format!("CODECS=\"{codecs}\"")) && playlist.contains("RESOLUTION=640x360"),
            "{playlist}"
        );
        if codec == Codec::Vp8 {
            // Another encoder, or the same with less to spend.
            let mut small = frame(codec, true, 50);
            small[6..10].copy_from_slice(&[0x40, 1, 0xb4, 0]);
            push_all(&mut packager, &[Tag::new(TagKind::Video, 2_400, video_frame(codec, true, &small))]);
            push_all(&mut packager, &[Tag::new(TagKind::Video, 2_440, video_frame(codec, false, &pictures[1]))]);
            assert!(packager.multivariant("x/media.m3u8").unwrap().contains("RESOLUTION=320x180"));
        }
        packager.end();
        let list = Playlist::read(&packager.media(false).text);
        let (kinds, got) = samples(&init, &bytes(packager.file(File::Segment(list.segments[0].0))));
        assert_eq!(kinds, [TrackKind::Video, TrackKind::Audio]);
        assert!(got[&1].len() > 10 && got[&2].len() > 20, "{codec}");
        assert!(got[&1].iter().zip(&pictures).all(|((_, _, data), picture)| data == picture));
        assert!(got[&2].iter().all(|(_, _, data)| data == b"\xf8abc"));
        assert!(got[&2].windows(2).all(|two| (two[1].0 - two[0].0 - 0.02).abs() < 0.001), "{codec}");
    }
}

#[test]
fn segments_begin_with_a_key_frame_and_parts_say_whether_they_do() {
    let mut packager = Packager::new(SETTINGS);
    let sent = looped(BASELINE_AAC44, 2_000, 8);
    push_all(&mut packager, &sent);
    let list = Playlist::read(&packager.media(false).text);
    assert!(list.segments.len() >= 5 && list.parts.len() > 20, "{list:?}");
    let init = bytes(packager.file(File::Init(0)));
    for (number, duration) in &list.segments {
        let (_, got) = samples(&init, &bytes(packager.file(File::Segment(*number))));
        // The first is short, so that there is one to begin with; what follows it begins where it ended.
        assert!(got[&1][0].1 || *number == 1, "segment {number} of {duration} s");
    }
    for (segment, part, _, independent) in &list.parts {
        let (_, got) = samples(&init, &bytes(packager.file(File::Part(*segment, *part))));
        let key = got.get(&1).is_some_and(|video| video[0].1);
        assert_eq!(key, *independent, "{segment}.{part}");
        assert!(*part > 0 || key || *segment == 1);
    }
    // Parts that are not the last of their segment are about as long as was asked for.
    let usual: Vec<f64> = list.parts.windows(2).filter(|two| two[0].0 == two[1].0).map(|two| two[0].2).collect();
    let mean = usual.iter().sum::<f64>() / usual.len() as f64;
    assert!(mean > 0.15, "{usual:?}");
}

#[test]
fn what_comes_next_is_awaited_and_what_never_comes_is_not() {
    let mut packager = Packager::new(SETTINGS);
    assert_eq!(
        (packager.has(0, Some(0)), packager.has(2, None), packager.has(3, None)),
        (Some(false), Some(false), None)
    );
    assert_eq!(packager.file(File::Part(0, 0)), Found::Soon);
    push_all(&mut packager, &looped(BASELINE_AAC44, 2_000, 2));
    let list = Playlist::read(&packager.media(false).text);
    let Some(File::Part(segment, part)) = File::from_name(list.hint.as_deref().unwrap()) else { panic!("no hint") };
    assert_eq!(packager.file(File::Part(segment, part)), Found::Soon);
    assert_eq!(packager.file(File::Part(segment, part + 1)), Found::Never);
    assert_eq!(packager.file(File::Segment(segment)), Found::Soon);
    assert_eq!(packager.file(File::Segment(segment + 2)), Found::Never);
    assert_eq!(packager.file(File::Init(9)), Found::Never);
    assert_eq!(packager.has(segment, Some(part)), Some(false));
    assert_eq!(packager.has(segment, Some(part - 1)), Some(true));
    assert_eq!(packager.has(segment - 1, Some(99)), Some(true));
    assert_eq!((packager.has(segment + 2, None), packager.has(segment + 3, None)), (Some(false), None));
}

#[test]
fn a_new_picture_size_is_a_discontinuity_with_an_initialization_segment_of_its_own() {
    let mut sent = looped(BASELINE_AAC44, 2_000, 1);
    let (before, second) = (sent.len(), tags(BFRAMES));
    sent.extend(second.into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 2_000, ..tag }));
    let mut packager = Packager::new(SETTINGS);
    push_all(&mut packager, &sent[..before]);
    assert!(packager.multivariant("m").unwrap().contains("RESOLUTION=160x120"));
    push_all(&mut packager, &sent[before..]);
    assert!(packager.multivariant("m").unwrap().contains("RESOLUTION=128x"));
    packager.end();
    let list = Playlist::read(&packager.media(false).text);
    assert_eq!((list.maps.len(), list.discontinuities), (2, 1));
    let last = list.segments.last().unwrap().0;
    let init = bytes(packager.file(File::from_name(&list.maps[1]).unwrap()));
    let (_, got) = samples(&init, &bytes(packager.file(File::Segment(last))));
    assert!(got[&1][0].1);
}

#[test]
fn sound_alone_has_segments_of_two_seconds_and_one_track() {
    let sent: Vec<Tag> = looped(AAC16, 2_000, 6).into_iter().filter(|tag| tag.kind == TagKind::Audio).collect();
    let mut packager = Packager::new(SETTINGS);
    push_all(&mut packager, &sent);
    let list = Playlist::read(&packager.media(false).text);
    assert!(list.segments.len() >= 4);
    assert!(list.segments.iter().skip(1).all(|(_, duration)| (1.7..2.2).contains(duration)), "{:?}", list.segments);
    assert!(list.parts.iter().all(|part| part.3));
    let (kinds, got) = samples(&bytes(packager.file(File::Init(0))), &whole(&packager, &list));
    assert_eq!((kinds, got.len()), (vec![TrackKind::Audio], 1));
    assert!(got.contains_key(&1));
    let text = packager.multivariant("m").unwrap();
    assert!(text.contains("CODECS=\"mp4a.40.2\"") && !text.contains("RESOLUTION"));
}

#[test]
fn a_publisher_without_key_frames_gets_segments_all_the_same() {
    let mut sent = looped(BASELINE_AAC44, 2_000, 10);
    let mut keys = 0;
    sent.retain(|tag| {
        keys += usize::from(tag.kind == TagKind::Video && tag.key && !tag.header);
        !(tag.kind == TagKind::Video && tag.key && !tag.header && keys > 1)
    });
    let mut packager = Packager::new(SETTINGS);
    push_all(&mut packager, &sent);
    let list = Playlist::read(&packager.media(false).text);
    assert!(list.segments.len() >= 3 && list.segments.iter().skip(1).all(|(_, duration)| *duration > 3.0), "{list:?}");
}

#[test]
fn timestamps_that_jump_and_wrap_leave_no_trace_in_time() {
    for jump in [0u32, 4_000_000_000, u32::MAX - 2_000] {
        let sent = looped(BASELINE_AAC44, 2_000, 4);
        let mut packager = Packager::new(SETTINGS);
        for tag in &sent {
            let now = Time::from_millis(50_000 + u64::from(tag.timestamp_ms));
            let moved = if tag.timestamp_ms >= 4_000 { jump } else { 100_000 };
            packager.push(now, &Tag { timestamp_ms: tag.timestamp_ms.wrapping_add(moved), ..tag.clone() });
        }
        packager.end();
        let list = Playlist::read(&packager.media(false).text);
        let (_, got) = samples(&bytes(packager.file(File::Init(0))), &whole(&packager, &list));
        for (track, times) in got {
            let times: Vec<f64> = times.iter().map(|sample| sample.0).collect();
            assert!(times.windows(2).all(|two| two[1] > two[0] && two[1] - two[0] < 0.7), "{jump}, track {track}");
            assert!((times.last().unwrap() - times[0] - 8.0).abs() < 1.0, "{jump}, track {track}");
        }
    }
}

#[test]
fn old_segments_go_but_as_many_times_the_longest_as_was_asked_for_stay_named() {
    for settings in [SETTINGS, LONG] {
        let mut packager = Packager::new(settings);
        let window = f64::from(settings.window);
        let mut named = 0.0f64;
        for tag in &looped(BASELINE_AAC44, 2_000, 60) {
            let changed = packager.push(Time::from_millis(50_000 + u64::from(tag.timestamp_ms)), tag);
            if changed && tag.timestamp_ms > settings.window * 4_000 + 8_000 {
                let list = Playlist::read(&packager.media(false).text);
                let all: f64 = list.segments.iter().map(|segment| segment.1).sum();
                assert!(all >= window * list.target - 4.0, "{all}");
                named = named.max(all);
                // What was named a moment ago is still there.
                assert!(matches!(packager.file(File::Segment(list.first - 1)), Found::Here(_)));
                assert_eq!(packager.file(File::Segment(list.first - 4)), Found::Never);
            }
        }
        assert!(named > 0.0 && named < window * 4.0 + 5.0, "{named}");
    }
}

/// A playlist's text as what a player remembers of each segment: the lines of it, its address last.
fn remembered(text: &str) -> Vec<Vec<&str>> {
    let mut segments = vec![Vec::new()];
    let is_header = |line: &str| {
        let header =
            ["#EXTM3U", "#EXT-X-VERSION", "#EXT-X-TARGET", "#EXT-X-SERVER", "#EXT-X-PART-INF", "#EXT-X-MEDIA-SEQ"];
        header.iter().any(|tag| line.starts_with(tag)) || line.starts_with("#EXT-X-DISCONTINUITY-SEQ")
    };
    for line in text.lines().filter(|line| !is_header(line)) {
        segments.last_mut().expect("one is begun").push(line);
        if !line.starts_with('#') {
            segments.push(Vec::new());
        }
    }
    segments
}

#[test]
fn an_update_and_the_playlist_before_it_are_the_whole_one() {
    // A new picture size in the middle: what is left out may say which initialization segment the rest needs.
    let mut sent = looped(BASELINE_AAC44, 2_000, 20);
    let second = looped(BFRAMES, 2_000, 30);
    sent.extend(second.into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 40_000, ..tag }));
    let mut packager = Packager::new(LONG);
    let mut known: Vec<(u32, u64, String)> = Vec::new();
    let (mut updates, mut shortest) = (0, f64::MAX);
    for tag in &sent {
        if !packager.push(Time::from_millis(50_000 + u64::from(tag.timestamp_ms)), tag) {
            continue;
        }
        let (whole, update) = (packager.media(false), packager.media(true));
        assert_eq!(whole.skipped, 0);
        let first = Playlist::read(&whole.text).first;
        // As old as a player who asks for an update may have it.
        known.retain(|(at_ms, ..)| tag.timestamp_ms.saturating_sub(*at_ms) <= 12_000);
        known.push((tag.timestamp_ms, first, whole.text.clone()));
        if update.skipped == 0 {
            assert_eq!(update, whole);
            continue;
        }
        updates += 1;
        shortest = shortest.min(update.text.len() as f64 / whole.text.len() as f64);
        assert!(update.text.contains("#EXT-X-VERSION:9\n") && whole.text.contains(",CAN-SKIP-UNTIL=24.000\n"));
        let said = format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={}", update.skipped);
        let mut rest = remembered(&update.text);
        assert_eq!(rest[0].remove(0), said);
        let (_, known_first, before) = &known[0];
        let before = remembered(before);
        // Parts of old segments are named no more, and a player forgets them.
        let is_kept = |line: &&str| !line.starts_with("#EXT-X-PART:");
        let skip = (first - known_first) as usize;
        let left_out = before.get(skip..skip + update.skipped).expect("the player knows what is left out");
        let merged: Vec<&str> = left_out.iter().flatten().copied().filter(is_kept).chain(rest.concat()).collect();
        let mut expected = remembered(&whole.text).concat();
        // The initialization segment of what comes first is said again where what said it has gone.
        if merged[0] != expected[0] {
            assert!(expected.remove(0).starts_with("#EXT-X-MAP:"), "{}", whole.text);
        }
        assert_eq!(merged, expected, "{}\n{}", whole.text, update.text);
    }
    assert!(updates > 100, "{updates}");
    println!("the shortest update has {:.0} % of the whole", shortest * 100.0);
    packager.end();
    assert_eq!(packager.media(true), packager.media(false), "what is over is said whole");
}

#[test]
fn a_playlist_that_is_too_short_for_updates_promises_none() {
    for (window, promises) in [(6, false), (7, true)] {
        let mut packager = Packager::new(Settings { window, ..SETTINGS });
        push_all(&mut packager, &looped(BASELINE_AAC44, 2_000, 40));
        let update = packager.media(true);
        assert_eq!((update.text.contains("CAN-SKIP-UNTIL"), update.skipped > 0), (promises, promises), "{window}");
    }
}

#[test]
fn memory_is_bounded_whatever_the_publisher_sends_and_however_long_playlists_may_be() {
    for settings in [SETTINGS, Settings { window: 100, ..SETTINGS }] {
        let mut packager = Packager::new(settings);
        let large = vec![0x55; 1 << 20];
        for tag in &looped(BASELINE_AAC44, 2_000, 10) {
            let mut tag = tag.clone();
            if tag.kind == TagKind::Video && !tag.header {
                let start = tag.payload[..5].to_vec();
                tag.payload = [&start[..], &large].concat().into();
            }
            packager.push(Time::from_millis(50_000 + u64::from(tag.timestamp_ms)), &tag);
            let held: usize = (0..200)
                .map(|number| match packager.file(File::Segment(number)) {
                    Found::Here(pieces) => pieces.iter().map(Bytes::len).sum(),
                    _ => 0,
                })
                .sum();
            assert!(held <= HLS_BYTES_MAX, "{held}");
        }
    }
}

#[test]
fn names_are_read_as_they_are_written_and_no_others() {
    for (name, file) in [
        ("init-3.mp4", Some(File::Init(3))),
        ("17.m4s", Some(File::Segment(17))),
        ("17.2.m4s", Some(File::Part(17, 2))),
        ("17.2.3.m4s", None),
        ("-1.m4s", None),
        ("+1.m4s", None),
        (".m4s", None),
        ("init-.mp4", None),
        ("99999999999999999999999.m4s", None),
        ("media.m3u8", None),
    ] {
        assert_eq!(File::from_name(name), file, "{name}");
    }
}
