//! Recordings as tags into a room.

use proptest::prelude::*;

use super::*;
use crate::{
    bridge::fixture::{AAC16, BASELINE_AAC44, BFRAMES, Heard, assert_steady_tone, tags},
    codec::h264::{
        NalKind,
        gaps::allow_gaps,
        inspect, nal,
        payload::{Piece, pieces},
    },
    flv::{avc_frame, avc_header},
    rtp::{
        packet::{Header, is_rtcp},
        rtcp::{self, Rtcp},
    },
};

const START: Time = Time::from_millis(60_000);

/// What the room got.
#[derive(Default)]
struct Got {
    audio: Vec<(Header, Vec<u8>)>,
    video: Vec<(Header, Vec<u8>)>,
    reports: usize,
    /// What was said of how long pictures are to be held, in units of 10 ms.
    holds: Vec<u8>,
}

impl Got {
    fn packet(&mut self, kind: Kind, packet: &[u8]) {
        if is_rtcp(packet) {
            match rtcp::packets(packet).next() {
                Some(Ok(Rtcp::Hold { tens })) => self.holds.push(tens),
                _ => self.reports += 1,
            }
            return;
        }
        let header = Header::parse(packet).unwrap();
        let track = if kind == Kind::Audio { &mut self.audio } else { &mut self.video };
        track.push((header, header.payload(packet).to_vec()));
    }

    /// Timestamps of the pictures, from the first one on.
    fn picture_times(&self) -> Vec<u32> {
        let ends = self.video.iter().filter(|(header, _)| header.marker).map(|(header, _)| header.timestamp);
        let first = self.video[0].0.timestamp;
        ends.map(|timestamp| timestamp.wrapping_sub(first)).collect()
    }
}

fn bridge() -> RtmpToRoom {
    RtmpToRoom::new(96_000, WallClock::new(1_700_000_000_000_000))
}

fn run_into(bridge: &mut RtmpToRoom, got: &mut Got, tags: &[Tag], base_ms: u32) {
    for tag in tags {
        let now = START + std::time::Duration::from_millis(u64::from(tag.timestamp_ms));
        let tag = Tag { timestamp_ms: tag.timestamp_ms.wrapping_add(base_ms), ..tag.clone() };
        bridge.handle_tag(now, &tag, &mut |kind, packet| {
            got.packet(kind, packet);
            true
        });
    }
}

fn run(flv: &[u8], base_ms: u32) -> (RtmpToRoom, Got) {
    let (mut bridge, mut got) = (bridge(), Got::default());
    run_into(&mut bridge, &mut got, &tags(flv), base_ms);
    (bridge, got)
}

fn assert_consecutive(track: &[(Header, Vec<u8>)]) {
    assert!(track.windows(2).all(|w| w[1].0.seq == w[0].0.seq.wrapping_add(1) && w[1].0.ssrc == w[0].0.ssrc));
}

#[test]
fn a_recording_becomes_numbered_packets_and_wrapping_milliseconds_do_not_show() {
    for base_ms in [0, u32::MAX - 700] {
        let (bridge, got) = run(BASELINE_AAC44, base_ms);
        assert_eq!(bridge.tracks(), (Some(Codec::Opus), Some(Codec::H264)));
        assert_consecutive(&got.video);
        assert_consecutive(&got.audio);
        let pictures = got.picture_times();
        assert_eq!(pictures.len(), 30);
        // Publishers round to milliseconds; 15 pictures a second are 6,000 units apart.
        assert!(pictures.iter().enumerate().all(|(n, t)| t.abs_diff(n as u32 * 6_000) <= 90), "{pictures:?}");
        assert!(got.audio.windows(2).all(|w| w[1].0.timestamp.wrapping_sub(w[0].0.timestamp) == 960));
        assert!(got.audio.len() > 95 && got.reports >= 4, "{} {}", got.audio.len(), got.reports);
        let keys: Vec<usize> = (0..got.video.len()).filter(|n| inspect(&got.video[*n].1).key).collect();
        let sets = keys.iter().filter(|n| {
            let kinds: Vec<NalKind> = pieces(&got.video[**n].1)
                .filter_map(|p| if let Ok(Piece::Whole(unit)) = p { Some(nal::kind(unit)) } else { None })
                .collect();
            kinds.starts_with(&[NalKind::Sps, NalKind::Pps])
        });
        assert_eq!(sets.count(), 2, "parameter sets before each of the two key frames");
    }
}

/// The sound as it is heard, from the first packet on, by position on the server's line.
fn heard(bridge: &RtmpToRoom, got: &Got) -> Heard {
    let mut decoder = ropus::Decoder::new(48_000, ropus::Channels::Stereo).unwrap();
    let (mut heard, mut pcm) = (Heard::new(), vec![0; 5_760 * 2]);
    for (header, packet) in &got.audio {
        let samples = decoder.decode(packet, &mut pcm, ropus::DecodeMode::Normal).unwrap();
        let position = header.timestamp.wrapping_sub(bridge.audio.stream.timestamp_of_units(0));
        heard.lay(i64::from(position), &pcm[..samples * 2], 2);
    }
    heard
}

#[test]
fn nothing_is_transcoded_while_nobody_listens_and_the_first_listener_hears_at_once_what_all_would_have_heard() {
    let recording = tags(BASELINE_AAC44);
    let (always, all) = run(BASELINE_AAC44, 0);
    let begins = recording.iter().position(|tag| tag.timestamp_ms > 1_000).unwrap();
    let (mut bridge, mut got) = (bridge(), Got::default());
    bridge.set_listened_to(false);
    run_into(&mut bridge, &mut got, &recording[..begins], 0);
    assert_eq!((got.audio.len(), bridge.transcoding()), (0, (false, 0)));
    assert_eq!(bridge.tracks(), (Some(Codec::Opus), Some(Codec::H264)), "the room is told of the sound all the same");

    bridge.set_listened_to(true);
    let unit = |tag: &&Tag| tag.kind == TagKind::Audio && !tag.header;
    let next = begins + recording[begins..].iter().position(|tag| unit(&tag)).unwrap();
    run_into(&mut bridge, &mut got, &recording[begins..=next], 0);
    assert!(!got.audio.is_empty() && bridge.transcoding().0, "sound with the next access unit");
    assert!(got.reports > 0);
    run_into(&mut bridge, &mut got, &recording[next + 1..], 0);
    assert_consecutive(&got.audio);
    assert_eq!(bridge.transcoding().1, got.audio.len() as u64);

    let (theirs, ours) = (heard(&always, &all), heard(&bridge, &got));
    let began = START.as_micros() as i64 / 1000 + i64::from(recording[next].timestamp_ms);
    let first_ms = ours.start / 48;
    assert!((began - 120..began).contains(&first_ms), "began at {began} ms, the first sound is of {first_ms} ms");
    let offset = (ours.start - theirs.start) as usize + 1_920;
    // Milliseconds round: within half of one the same samples stand at the same place.
    let error = |lag: usize| -> f64 {
        let (a, b) = (&theirs.samples[offset + lag..], &ours.samples[1_920 + 24..]);
        let squares = a.iter().zip(b).take(24_000).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f64>() / 24_000.0
    };
    let least = (0..48).map(error).fold(f64::MAX, f64::min).sqrt();
    assert!(least < 900.0, "the sound differs by {least}");
    assert_steady_tone(&ours.samples, 1_920, 38_400);

    // And nothing again when the last listener goes.
    let made = bridge.transcoding().1;
    bridge.set_listened_to(false);
    run_into(&mut bridge, &mut got, &recording[next..], 3_000);
    assert_eq!(bridge.transcoding(), (false, made));
}

#[test]
fn the_first_packet_of_a_listener_is_as_late_as_the_latest_that_follow() {
    // Access units come in pairs, as they do behind pictures, and somebody begins to listen at any of them.
    let units: Vec<Tag> = tags(BASELINE_AAC44).into_iter().filter(|tag| tag.kind == TagKind::Audio).collect();
    for begins in 40..60 {
        let mut bridge = bridge();
        bridge.set_listened_to(false);
        let mut late = Vec::new();
        for (n, tag) in units.iter().enumerate() {
            bridge.set_listened_to(n >= begins);
            let comes_with = &units[(n + n % 2).min(units.len() - 1)];
            let now = START + std::time::Duration::from_millis(u64::from(comes_with.timestamp_ms));
            let mut times = Vec::new();
            bridge.handle_tag(now, tag, &mut |_, packet| {
                times.extend(Header::parse(packet).ok().filter(|_| !is_rtcp(packet)).map(|header| header.timestamp));
                true
            });
            let now_units = bridge.audio.stream.timestamp_of_us(now.as_micros() as i64);
            late.extend(times.iter().map(|timestamp| now_units.wrapping_sub(*timestamp) as i32 / 48));
        }
        let (first, most) = (late[0], *late[1..].iter().max().unwrap());
        assert!((most - 10..=most + 10).contains(&first), "from unit {begins} on: {first} ms late, later {most}");
    }
}

#[test]
fn sound_from_before_a_pause_is_not_played_when_somebody_listens_after_it() {
    let recording: Vec<Tag> = tags(AAC16);
    let (mut bridge, mut got) = (bridge(), Got::default());
    bridge.set_listened_to(false);
    run_into(&mut bridge, &mut got, &recording[..20], 0);
    bridge.set_listened_to(true);
    let late = |tag: &Tag| Tag { timestamp_ms: tag.timestamp_ms + 5_000, ..tag.clone() };
    let rest: Vec<Tag> = recording[20..].iter().map(late).collect();
    run_into(&mut bridge, &mut got, &rest, 0);
    let first_ms = heard(&bridge, &got).start / 48 - START.as_micros() as i64 / 1000;
    assert!(first_ms > 5_000, "{first_ms}");
}

#[test]
fn viewers_are_told_to_hold_pictures_until_their_sound_is_there() {
    // Everything comes at its time: an Opus frame and what a browser keeps.
    assert_eq!(run(BASELINE_AAC44, 0).1.holds, [11]);
    // The same with sound that comes 100 ms late.
    let (mut bridge, mut got) = (bridge(), Got::default());
    let mut order: Vec<(u64, Tag)> = (tags(BASELINE_AAC44).into_iter())
        .map(|tag| (u64::from(tag.timestamp_ms) + if tag.kind == TagKind::Audio { 100 } else { 0 }, tag))
        .collect();
    order.sort_by_key(|(at, _)| *at);
    for (at, tag) in order {
        let now = START + std::time::Duration::from_millis(at);
        bridge.handle_tag(now, &tag, &mut |kind, packet| {
            got.packet(kind, packet);
            true
        });
    }
    assert_eq!(got.holds, [21]);
    assert!(run(BFRAMES, 0).1.holds.is_empty(), "no sound, nothing to wait for");
}

#[test]
fn audio_alone_and_video_alone_are_normal() {
    let (bridge, got) = run(AAC16, 0);
    assert_eq!(bridge.tracks(), (Some(Codec::Opus), None));
    assert!(got.audio.len() > 70 && got.video.is_empty());
    let (bridge, got) = run(BFRAMES, 0);
    assert_eq!(bridge.tracks(), (None, Some(Codec::H264)));
    assert!(got.audio.is_empty() && !got.video.is_empty());
}

#[test]
fn b_frames_that_nobody_refers_to_are_left_out_and_the_rest_is_in_order() {
    let (bridge, got) = run(BFRAMES, 0);
    assert!(bridge.video.b_frames_seen);
    let pictures = got.picture_times();
    assert!((10..=14).contains(&pictures.len()), "{pictures:?}");
    // Shown 67 ms after they are decoded, three pictures apart; the last may be nearer.
    assert!(pictures.windows(2).take(9).all(|w| (w[1] - w[0]).abs_diff(18_000) <= 180), "{pictures:?}");
    assert_consecutive(&got.video);
}

/// A picture of one slice: first_mb_in_slice 0, then its type.
fn slice(header: u8, b: bool, fill: u8) -> Vec<u8> {
    vec![0, 0, 0, 4, header, if b { 0xa8 } else { 0xe0 }, fill, fill]
}

/// The bytes of each picture that was sent, in order.
fn bytes_of_pictures(got: &Got) -> Vec<Vec<u8>> {
    got.video
        .chunk_by(|a, b| a.0.timestamp == b.0.timestamp)
        .map(|of_one| of_one.iter().flat_map(|p| p.1.clone()).collect())
        .collect()
}

#[test]
fn b_frames_that_others_refer_to_are_left_out_too_and_decoders_are_told_from_the_next_key_frame_on() {
    let (mut bridge, mut got) = run(BFRAMES, 0);
    got.video.clear();
    let frames = [
        (40, true, slice(0x65, false, 1)),
        (160, false, slice(0x41, false, 4)),
        (40, false, slice(0x41, true, 2)),
        (0, false, slice(0x01, true, 3)),
        (160, false, slice(0x41, false, 8)),
        (280, true, slice(0x65, false, 9)),
    ];
    for (n, (composition_ms, key, nals)) in frames.into_iter().enumerate() {
        let tag = Tag::new(TagKind::Video, 10_000 + n as u32 * 40, avc_frame(key, composition_ms, &nals));
        run_into(&mut bridge, &mut got, &[tag], 0);
    }
    let pictures = bytes_of_pictures(&got);
    let ends: Vec<u8> = pictures.iter().map(|bytes| *bytes.last().unwrap()).collect();
    assert_eq!(ends, [1, 4, 8, 9]);
    assert!(got.picture_times().is_sorted());
    assert_consecutive(&got.video);
    let has = |picture: &[u8], sps: &[u8]| picture.windows(sps.len()).any(|window| window == sps);
    let sps = bridge.video.sets.sps[0].to_vec();
    let allowed = allow_gaps(&sps).unwrap();
    assert!(has(&pictures[0], &sps) && has(&pictures[3], &allowed) && sps != allowed);
}

#[cfg(feature = "reencode")]
mod coded_anew {
    use super::*;

    fn later(ms: u32) -> Vec<Tag> {
        let of_video = tags(BFRAMES).into_iter().filter(|tag| !tag.is_end());
        of_video.map(|tag| Tag { timestamp_ms: tag.timestamp_ms + ms, ..tag }).collect()
    }

    /// After the first group of pictures, by which B-frames are known.
    fn known() -> (RtmpToRoom, Got) {
        let (mut bridge, mut got) = (bridge(), Got::default());
        bridge.set_reencode_b_frames(true);
        run_into(&mut bridge, &mut got, &later(0), 0);
        assert!((10..=14).contains(&got.picture_times().len()), "left out up to the next key frame");
        got.video.clear();
        (bridge, got)
    }

    #[test]
    fn b_frames_are_coded_anew_from_the_next_key_frame_on() {
        let (mut bridge, mut got) = known();
        run_into(&mut bridge, &mut got, &later(2_000), 0);
        run_into(&mut bridge, &mut got, &[Tag::end(4_000)], 0);
        let times = got.picture_times();
        assert_eq!(times.len(), 30);
        assert!(times.iter().enumerate().all(|(n, t)| t.abs_diff(n as u32 * 6_000) <= 90), "{times:?}");
        assert_consecutive(&got.video);
        assert!(!bridge.has_b_frames(), "none is left out");
        // The first is shown 67 ms after it is decoded, as it says.
        let shown = got.video[0].0.timestamp.wrapping_sub(bridge.video.stream.timestamp_of_us(0));
        let began = START.as_micros() as u32 / 1000 + 2_067;
        assert!((shown / 90).abs_diff(began) <= 1, "{} {began}", shown / 90);
    }

    #[test]
    fn after_a_picture_that_cannot_be_decoded_b_frames_are_left_out_until_the_next_publisher() {
        let (mut bridge, mut got) = known();
        let tags = later(2_000);
        run_into(&mut bridge, &mut got, &tags[..tags.len() - 9], 0);
        assert!(!bridge.has_b_frames());
        let rubbish = Tag::new(TagKind::Video, 3_500, avc_frame(false, 0, &[0, 0, 0, 5, 0x41, 0xff, 0xff, 0xff, 0xff]));
        run_into(&mut bridge, &mut got, &[rubbish], 0);
        assert!(bridge.has_b_frames());
        got.video.clear();
        run_into(&mut bridge, &mut got, &tags[tags.len() - 9..], 0);
        assert!(got.video.is_empty(), "nothing that refers to pictures which the room did not get");
        run_into(&mut bridge, &mut got, &later(4_000), 0);
        assert!((10..=14).contains(&got.picture_times().len()));
        assert_consecutive(&got.video);
        bridge.begin_publisher();
        assert!(!bridge.has_b_frames() && bridge.video.reencoding.is_on());
    }

    #[test]
    fn a_key_frame_is_made_when_it_is_asked_for() {
        let (mut bridge, mut got) = known();
        assert!(!bridge.makes_keys(), "nothing is coded yet");
        bridge.want_key();
        let tags = later(2_000);
        let half = tags.len() / 2;
        run_into(&mut bridge, &mut got, &tags[..half], 0);
        assert!(bridge.makes_keys());
        let keys = |got: &Got| -> Vec<u32> {
            let pictures = got.video.chunk_by(|a, b| a.0.timestamp == b.0.timestamp);
            let keys = pictures.filter(|of_one| of_one.iter().any(|(_, payload)| inspect(payload).key));
            keys.map(|of_one| of_one[0].0.timestamp).collect()
        };
        assert_eq!(keys(&got).len(), 1, "the publisher's own");
        let before = got.picture_times().len();
        bridge.want_key();
        run_into(&mut bridge, &mut got, &tags[half..], 0);
        let keys = keys(&got);
        assert_eq!(keys.len(), 2, "one for the asking");
        let mut times: Vec<u32> = got.video.iter().map(|(header, _)| header.timestamp).collect();
        times.dedup();
        assert_eq!(keys[1], times[before], "the very next picture");
        bridge.begin_publisher();
        assert!(!bridge.makes_keys(), "he may send no B-frames");
    }

    #[test]
    fn what_finds_no_place_on_the_way_to_the_room_is_followed_by_a_key_frame() {
        let (mut bridge, mut got) = known();
        let (mut pictures, mut refused) = (0, false);
        for tag in later(2_000) {
            let now = START + std::time::Duration::from_millis(u64::from(tag.timestamp_ms));
            bridge.handle_tag(now, &tag, &mut |kind, packet| {
                pictures += usize::from(!is_rtcp(packet) && Header::parse(packet).unwrap().marker);
                let refuses = pictures == 10 && !std::mem::replace(&mut refused, pictures == 10);
                if !refuses {
                    got.packet(kind, packet);
                }
                !refuses
            });
        }
        assert!(refused);
        assert_consecutive(&got.video);
        let of_idr = got
            .video
            .chunk_by(|a, b| a.0.timestamp == b.0.timestamp)
            .filter(|of_one| of_one.iter().any(|(_, payload)| inspect(payload).key));
        assert_eq!(of_idr.count(), 2);
        assert!(got.picture_times().len() >= 26);
    }
}

#[test]
fn a_new_sequence_header_in_mid_stream_changes_what_goes_before_key_frames() {
    let (mut bridge, mut got) = run(BASELINE_AAC44, 0);
    let sps_of = |got: &Got| {
        got.video.iter().rev().flat_map(|(_, payload)| pieces(payload)).find_map(|piece| match piece {
            Ok(Piece::Whole(unit)) if nal::kind(unit) == NalKind::Sps => Some(unit.to_vec()),
            _ => None,
        })
    };
    let before = sps_of(&got).unwrap();
    let later: Vec<Tag> =
        tags(BFRAMES).into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 2_000, ..tag }).collect();
    run_into(&mut bridge, &mut got, &later, 0);
    assert_ne!(sps_of(&got).unwrap(), before);
    assert_consecutive(&got.video);
}

#[test]
fn a_new_audio_configuration_in_mid_stream_goes_on_in_time() {
    let (mut bridge, mut got) = run(BASELINE_AAC44, 0);
    let later: Vec<Tag> =
        tags(AAC16).into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 2_000, ..tag }).collect();
    run_into(&mut bridge, &mut got, &later, 0);
    assert_consecutive(&got.audio);
    let first = got.audio[0].0.timestamp;
    let times: Vec<u32> = got.audio.iter().map(|(header, _)| header.timestamp.wrapping_sub(first)).collect();
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 960 && w[1] - w[0] < 48 * 150), "{times:?}");
    assert!(*times.last().unwrap() > 48 * 3_300);
}

#[test]
fn after_a_full_pipe_video_waits_for_a_key_frame_and_numbers_have_no_hole() {
    let (mut bridge, mut got, mut offered) = (bridge(), Got::default(), 0);
    for tag in tags(BASELINE_AAC44) {
        let now = START + std::time::Duration::from_millis(u64::from(tag.timestamp_ms));
        bridge.handle_tag(now, &tag, &mut |kind, packet| {
            offered += usize::from(kind == Kind::Video);
            let room = kind == Kind::Audio || offered != 8;
            if room {
                got.packet(kind, packet);
            }
            room
        });
    }
    assert_consecutive(&got.video);
    let pictures = got.picture_times();
    let gap = pictures.windows(2).position(|w| w[1] - w[0] > 7_000).unwrap();
    assert!(pictures[gap + 1].abs_diff(90_000) <= 90, "{pictures:?}");
}

#[test]
fn a_picture_of_as_many_units_as_allowed_passes_and_one_more_does_not() {
    let record = tags(BASELINE_AAC44).into_iter().find(|t| t.kind == TagKind::Video && t.header).unwrap();
    for (count, passes) in [(PICTURE_NALS_MAX, true), (PICTURE_NALS_MAX + 1, false)] {
        let (mut bridge, mut got) = (bridge(), Got::default());
        let picture = avc_frame(true, 0, &[0, 0, 0, 2, 0x65, 0x88].repeat(count));
        let picture = Tag { kind: TagKind::Video, timestamp_ms: 0, payload: picture, key: true, header: false };
        run_into(&mut bridge, &mut got, &[record.clone(), picture], 0);
        assert_eq!(!got.video.is_empty(), passes);
    }
}

#[test]
fn units_that_rtp_would_read_otherwise_are_left_out() {
    let record = tags(BASELINE_AAC44).into_iter().find(|t| t.kind == TagKind::Video && t.header).unwrap();
    let (mut bridge, mut got) = (bridge(), Got::default());
    let units = [&[0, 0, 0, 4, 0x78, 0, 1, 0x65][..], &[0, 0, 0, 2, 0x60, 1], &[0, 0, 0, 2, 0x65, 0x88]].concat();
    let payload = avc_frame(true, 0, &units);
    let picture = Tag { kind: TagKind::Video, timestamp_ms: 0, payload, key: true, header: false };
    run_into(&mut bridge, &mut got, &[record, picture], 0);
    // The parameter sets together, and the slice.
    assert_eq!(got.video.len(), 2);
    assert_eq!(got.video[1].1, [0x65, 0x88]);
}

#[test]
fn parameter_sets_at_the_bound_are_taken_and_over_it_are_not() {
    for (len, taken) in [(PARAMETER_SETS_BYTES_MAX - 2, true), (PARAMETER_SETS_BYTES_MAX - 1, false)] {
        let mut record = vec![1, 66, 0xc0, 30, 0xff, 0xe1];
        record.extend_from_slice(&(len as u16).to_be_bytes());
        record.push(0x67);
        record.resize(record.len() + len - 1, 1);
        record.extend_from_slice(&[1, 0, 2, 0x68, 0xce]);
        let header =
            Tag { kind: TagKind::Video, timestamp_ms: 0, payload: avc_header(&record), key: false, header: true };
        let mut bridge = bridge();
        bridge.handle_tag(START, &header, &mut |_, _| true);
        assert_eq!(!bridge.video.sets.sps.is_empty(), taken);
    }
}

proptest! {
    #[test]
    fn no_tag_panics(bodies in prop::collection::vec((any::<bool>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..80)), 0..30)) {
        let (mut bridge, mut got) = run(BFRAMES, 0);
        let prefixes: [&[u8]; 4] = [&[0x17, 1, 0, 0, 0], &[0xaf, 0], &[0xaf, 1], &[]];
        for (n, (audio, timestamp_ms, body)) in bodies.into_iter().enumerate() {
            let kind = if audio { TagKind::Audio } else { TagKind::Video };
            let payload = [prefixes[n % 4], &body].concat().into();
            let tag = Tag { kind, timestamp_ms, payload, key: false, header: false };
            bridge.handle_tag(START, &tag, &mut |kind, packet| {
                got.packet(kind, packet);
                true
            });
        }
        assert_consecutive(&got.video);
    }
}
