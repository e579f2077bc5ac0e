//! Both directions in a row, on virtual time: a publisher's tags into a room, the room's packets over a poor way out again.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    aac_codec::{AAC_FRAME_SAMPLES, aac_encoder},
    fixture::{BASELINE_AAC44, BFRAMES, Heard, assert_steady_tone, tags},
    room_to_flv::RoomToFlv,
    rtmp_to_room::RtmpToRoom,
    transcode::OPUS_FRAME_SAMPLES,
};
use crate::{
    codec::{Codec, h264::Sps, h264::config::AvcConfig},
    flv::{AudioBody, Tag, TagKind, VideoBody, aac_frame, aac_header, avc_frame, read_audio, read_video},
    ids::Kind,
    rtp::{
        packet::{Header, is_rtcp},
        rtcp::{Rtcp, packets},
    },
    units::time::{Time, WallClock},
};

const START: Time = Time::from_millis(3_600_000);

/// Packets of a room with the time at which each was made.
type Packets = Vec<(Time, Kind, Vec<u8>)>;

/// Feeds tags to a room, each when `arrival_ms` says.
fn into_room(tags: &[(u64, Tag)]) -> Packets {
    let mut room = RtmpToRoom::new(96_000, WallClock::new(1_700_000_000_000_000));
    let mut made = Vec::new();
    for (arrival_ms, tag) in tags {
        let now = START + Duration::from_millis(*arrival_ms);
        room.handle_tag(now, tag, &mut |kind, packet| {
            made.push((now, kind, packet.to_vec()));
            true
        });
    }
    made
}

/// Tags of a recording as they would come live.
fn live(tags: Vec<Tag>) -> Vec<(u64, Tag)> {
    tags.into_iter().map(|tag| (u64::from(tag.timestamp_ms), tag)).collect()
}

/// Feeds packets, given with the time of their arrival, to players; lets time pass in steps of 10 ms.
fn out_of_room(bridge: &mut RoomToFlv, mut arriving: Packets, until: Time) -> Vec<Tag> {
    arriving.sort_by_key(|(at, ..)| *at);
    let mut arriving = arriving.into_iter().peekable();
    let mut now = START;
    let mut out = Vec::new();
    while now < until {
        while let Some((at, kind, packet)) = arriving.next_if(|(at, ..)| *at <= now) {
            bridge.handle_packet(at, kind, &packet);
        }
        bridge.handle_timeout(now);
        out.extend(bridge.take_tags());
        now = now + Duration::from_millis(10);
    }
    out
}

fn video_frames(tags: &[Tag]) -> Vec<(u32, bool, &[u8])> {
    tags.iter()
        .filter(|tag| tag.kind == TagKind::Video)
        .filter_map(|tag| match read_video(&tag.payload) {
            Ok(VideoBody::AvcFrame { key, nalus, .. }) => Some((tag.timestamp_ms, key, nalus)),
            _ => None,
        })
        .collect()
}

fn heard(tags: &[Tag]) -> Heard {
    let mut config = &[][..];
    let mut units = Vec::new();
    let mut next = None;
    for tag in tags.iter().filter(|tag| tag.kind == TagKind::Audio) {
        match read_audio(&tag.payload) {
            Ok(AudioBody::AacHeader(c)) => config = c,
            Ok(AudioBody::AacFrame(unit)) => {
                // A player goes on without a seam where the difference is a rounding to milliseconds.
                let stamped = i64::from(tag.timestamp_ms) * 48;
                let at = next.filter(|next: &i64| (next - stamped).abs() <= 96).unwrap_or(stamped);
                next = Some(at + AAC_FRAME_SAMPLES as i64);
                units.push((at, Bytes::copy_from_slice(unit)));
            }
            _ => panic!("an audio tag that is neither"),
        }
    }
    Heard::of_aac(config, units)
}

fn assert_monotonic(tags: &[Tag]) {
    for kind in [TagKind::Audio, TagKind::Video] {
        let times: Vec<u32> = tags.iter().filter(|t| t.kind == kind).map(|t| t.timestamp_ms).collect();
        assert!(times.windows(2).all(|w| w[0] <= w[1]), "{kind:?}");
    }
}

const RATE: usize = 48_000;
const BEEP_SAMPLES: usize = RATE / 5;
const LOUD: f64 = 6_000.0;

/// A publisher whose picture changes when it beeps, at each full second, 25 pictures a second: tags with their arrival. Its
/// milliseconds wrap on the way, and its audio queues for 200 ms longer than its video.
fn flashes_and_beeps(seconds: usize) -> Vec<(u64, Tag)> {
    let base_ms = u32::MAX - 20_000;
    let recorded = tags(BASELINE_AAC44);
    let video_header = recorded.iter().find(|t| t.kind == TagKind::Video && t.header).unwrap().clone();
    let mut encoder = aac_encoder(128_000).unwrap();
    let audio_header = aac_header(encoder.config());
    let mut tags = vec![
        (0, Tag { timestamp_ms: base_ms, ..video_header }),
        (0, Tag { kind: TagKind::Audio, timestamp_ms: base_ms, payload: audio_header, key: false, header: true }),
    ];
    for n in 0..seconds as u32 * 25 {
        let key = n % 50 == 0;
        let [a, b] = (n as u16).to_be_bytes();
        // An I or P slice with the picture's number in it, and enough to need several packets when key.
        let mut slice = if key { vec![0x65, 0x88] } else { vec![0x41, 0x9a] };
        slice.extend_from_slice(&[0xff, a | 0x80, b]);
        slice.resize(if key { 4_000 } else { 700 }, 0x55);
        let nals = [&(slice.len() as u32).to_be_bytes()[..], &slice].concat();
        let timestamp_ms = base_ms.wrapping_add(n * 40);
        let tag = Tag { kind: TagKind::Video, timestamp_ms, payload: avc_frame(key, 0, &nals), key, header: false };
        tags.push((u64::from(n) * 40, tag));
    }
    for unit_index in 0..seconds * RATE / AAC_FRAME_SAMPLES {
        let pcm: Vec<i16> = (0..AAC_FRAME_SAMPLES)
            .flat_map(|n| {
                let n = unit_index * AAC_FRAME_SAMPLES + n;
                let on = n >= RATE && n % RATE < BEEP_SAMPLES;
                let sample = if on { (n as f64 * std::f64::consts::TAU / 48.0).cos() * 12_000.0 } else { 0.0 };
                [sample as i16; 2]
            })
            .collect();
        let mut unit = Vec::new();
        encoder.encode(&pcm, &mut unit).unwrap();
        let at = unit_index as i64 * AAC_FRAME_SAMPLES as i64 - i64::from(encoder.delay_samples());
        if at < 0 || unit.is_empty() {
            continue;
        }
        let ms = (at / 48) as u32;
        let timestamp_ms = base_ms.wrapping_add(ms);
        let tag = Tag { kind: TagKind::Audio, timestamp_ms, payload: aac_frame(&unit), key: false, header: false };
        tags.push((u64::from(ms) + 200, tag));
    }
    tags.sort_by_key(|(at, _)| *at);
    tags
}

/// The picture's number, if the first slice of a frame (or payload) carries one.
fn picture_number(slice: &[u8]) -> Option<u32> {
    let at = slice.windows(3).position(|w| matches!(w, [0x88 | 0x9a, 0xff, _]))?;
    Some(u32::from(slice[at + 2] & 0x7f) << 8 | u32::from(slice[at + 3]))
}

#[test]
fn voice_and_lips_agree_within_20_ms_for_a_minute_in_both_directions() {
    let made = into_room(&flashes_and_beeps(60));

    // In the room: RTP timestamps of both tracks, by their sender reports, on the wall clock.
    let mut reports: BTreeMap<Kind, (i64, u32)> = BTreeMap::new();
    let mut shown_us: BTreeMap<u32, i64> = BTreeMap::new();
    let mut opus = ropus::Decoder::new(48_000, ropus::Channels::Stereo).unwrap();
    let mut sound = Heard::new();
    for (_, kind, packet) in &made {
        // There is also how long pictures are to be held.
        if is_rtcp(packet)
            && let Some(Ok(Rtcp::SenderReport(report))) = packets(packet).next()
        {
            reports.insert(*kind, (report.ntp.as_micros() as i64, report.rtp_timestamp));
        }
    }
    let wall_us = |kind: Kind, timestamp: u32| {
        let (ntp_us, at) = reports[&kind];
        let rate = if kind == Kind::Audio { 48_000 } else { 90_000 };
        ntp_us + i64::from(timestamp.wrapping_sub(at) as i32) * 1_000_000 / rate
    };
    for (_, kind, packet) in made.iter().filter(|(_, _, packet)| !is_rtcp(packet)) {
        let header = Header::parse(packet).unwrap();
        match kind {
            Kind::Video => {
                if let Some(number) = picture_number(header.payload(packet)) {
                    shown_us.insert(number, wall_us(Kind::Video, header.timestamp));
                }
            }
            Kind::Audio => {
                let mut pcm = vec![0; 2 * OPUS_FRAME_SAMPLES];
                opus.decode(header.payload(packet), &mut pcm, ropus::DecodeMode::Normal).unwrap();
                sound.lay(wall_us(Kind::Audio, header.timestamp) * 6 / 125, &pcm, 2);
            }
        }
    }
    let beeps = sound.onsets(LOUD);
    assert_eq!(beeps.len(), 59);
    for (second, beep) in (1u32..).zip(&beeps) {
        let off_us = beep * 125 / 6 - shown_us[&(second * 25)];
        assert!(off_us.abs() < 20_000, "in the room, second {second}: {off_us} µs");
    }

    // To players: video takes 90 ms longer on its way, and everything wavers by 8 ms.
    let arriving = made
        .into_iter()
        .enumerate()
        .map(|(n, (at, kind, packet))| {
            let delay_ms = if kind == Kind::Video { 110 } else { 20 } + (n as u64 * 7) % 8;
            (at + Duration::from_millis(delay_ms), kind, packet)
        })
        .collect();
    let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
    let out = out_of_room(&mut bridge, arriving, START + Duration::from_secs(61));
    assert_monotonic(&out);
    let shown_ms: BTreeMap<u32, u32> =
        video_frames(&out).into_iter().map(|(ms, _, nals)| (picture_number(nals).unwrap(), ms)).collect();
    let beeps = heard(&out).onsets(LOUD);
    assert!(beeps.len() >= 59, "{}", beeps.len());
    for (second, beep) in (1u32..60).zip(&beeps).skip(1) {
        let off_ms = beep / 48 - i64::from(shown_ms[&(second * 25)]);
        assert!(off_ms.abs() < 20, "to players, second {second}: {off_ms} ms");
    }
    assert_eq!(shown_ms.len(), 60 * 25);
    assert!(out.iter().all(|tag| tag.timestamp_ms < 61_000), "timestamps start near zero");
}

#[test]
fn a_recording_comes_out_as_the_pictures_and_the_tone_that_went_in() {
    let recorded = tags(BASELINE_AAC44);
    let made = into_room(&live(recorded.clone()));
    let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
    let out = out_of_room(&mut bridge, made, START + Duration::from_millis(2_200));
    assert_monotonic(&out);
    let slices = |nals: &[u8]| -> Vec<Vec<u8>> {
        let units = crate::codec::h264::nal::avcc(nals, 4).map(|unit| unit.unwrap().to_vec());
        units.filter(|unit| matches!(unit[0] & 0x1f, 1 | 5)).collect()
    };
    let (sent, got) = (video_frames(&recorded), video_frames(&out));
    assert_eq!((sent.len(), got.len()), (30, 30));
    for (sent, got) in sent.iter().zip(&got) {
        assert!(sent.1 == got.1 && slices(sent.2) == slices(got.2));
    }
    assert_steady_tone(&heard(&out).samples, 20_000, 90_000);
    // Metadata and headers come before what needs them.
    assert_eq!(out[0].kind, TagKind::Script);
    for kind in [TagKind::Audio, TagKind::Video] {
        assert!(out.iter().find(|tag| tag.kind == kind).unwrap().header);
    }
    let header = out.iter().find(|tag| tag.kind == TagKind::Video).unwrap();
    let Ok(VideoBody::AvcHeader(record)) = read_video(&header.payload) else { panic!("no header") };
    let sps = Sps::parse(AvcConfig::parse(record).unwrap().sps().next().unwrap()).unwrap();
    assert_eq!((sps.width, sps.height), (160, 120));
}

#[test]
fn a_parameter_set_change_gives_a_new_sequence_header_and_new_metadata() {
    let mut both = tags(BASELINE_AAC44);
    both.extend(tags(BFRAMES).into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 2_000, ..tag }));
    let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
    let out = out_of_room(&mut bridge, into_room(&live(both)), START + Duration::from_secs(5));
    let headers: Vec<u32> = out
        .iter()
        .filter_map(|tag| match (tag.kind, read_video(&tag.payload)) {
            (TagKind::Video, Ok(VideoBody::AvcHeader(record))) => {
                let config = AvcConfig::parse(record).unwrap();
                Some(Sps::parse(config.sps().next().unwrap()).unwrap().width)
            }
            _ => None,
        })
        .collect();
    assert_eq!(headers, [160, 128]);
    let after: Vec<&Tag> = out
        .iter()
        .skip_while(|t| !(t.kind == TagKind::Video && t.header))
        .filter(|t| t.kind != TagKind::Audio)
        .collect();
    let second = after.iter().rposition(|t| t.header).unwrap();
    assert!(after[second + 1].key, "a key frame follows the new header");
    assert_eq!(
        out.iter().filter(|t| t.kind == TagKind::Script).count(),
        2 + usize::from(out[1].kind == TagKind::Audio)
    );
}

#[test]
fn a_loss_asks_for_a_key_frame_and_no_broken_picture_comes_out() {
    let made = into_room(&flashes_and_beeps(6));
    let whole: BTreeMap<u32, Vec<u8>> = {
        let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
        let out = out_of_room(&mut bridge, made.clone(), START + Duration::from_secs(7));
        video_frames(&out).into_iter().map(|(_, _, nals)| (picture_number(nals).unwrap(), nals.to_vec())).collect()
    };
    assert_eq!(whole.len(), 150);
    for lost in [3, 40, 41, 120] {
        let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
        assert!(bridge.poll_key_wanted(START), "there is none at the start");
        let mut video = 0;
        let (mut asked_at, mut out) = (None, Vec::new());
        for (now, kind, packet) in &made {
            video += usize::from(*kind == Kind::Video && !is_rtcp(packet));
            if !(*kind == Kind::Video && !is_rtcp(packet) && video == lost) {
                bridge.handle_packet(*now, *kind, packet);
                bridge.handle_timeout(*now);
                if video > lost && asked_at.is_none() && bridge.poll_key_wanted(*now) {
                    asked_at = Some(*now);
                }
            }
            out.extend(bridge.take_tags());
        }
        let asked_at = asked_at.expect("a key frame is asked for");
        assert!(asked_at > START);
        let got = video_frames(&out);
        assert!(got.iter().all(|(_, _, nals)| whole[&picture_number(nals).unwrap()] == *nals));
        let numbers: Vec<u32> = got.iter().map(|(_, _, nals)| picture_number(nals).unwrap()).collect();
        let gap = numbers.windows(2).find(|w| w[1] != w[0] + 1).map(|w| w[1]).unwrap_or(numbers[0]);
        assert!(gap % 50 == 0, "{lost}: goes on with picture {gap}");
        assert!(numbers.len() >= 100);
    }
}

#[test]
fn a_key_frame_is_asked_for_when_the_last_one_is_two_seconds_old() {
    // A key frame every two seconds is often enough; then there are none.
    let made = into_room(&flashes_and_beeps(4));
    let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
    let mut asked = Vec::new();
    for ms in (0..8_000u64).step_by(10) {
        let now = START + Duration::from_millis(ms);
        for (at, kind, packet) in &made {
            if *at == now {
                bridge.handle_packet(now, *kind, packet);
            }
        }
        bridge.handle_timeout(now);
        if bridge.poll_key_wanted(now) {
            asked.push(ms);
        }
    }
    assert_eq!(asked, [4_000, 5_000, 6_000, 7_000]);
}

#[test]
fn audio_that_stops_is_silence_and_comes_back_in_its_place() {
    let made = into_room(&live(tags(BASELINE_AAC44)));
    // Muted from 0.6 s to 1.4 s, and the whole of it in another run.
    for (from, to) in [(600, 1_400), (0, 10_000)] {
        let muted = START + Duration::from_millis(from)..START + Duration::from_millis(to);
        let arriving =
            made.iter().filter(|(at, kind, _)| *kind == Kind::Video || !muted.contains(at)).cloned().collect();
        let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
        let out = out_of_room(&mut bridge, arriving, START + Duration::from_millis(2_000));
        assert_monotonic(&out);
        let times: Vec<u32> =
            out.iter().filter(|t| t.kind == TagKind::Audio && !t.header).map(|t| t.timestamp_ms).collect();
        assert!(times.windows(2).all(|w| (20..=23).contains(&(w[1] - w[0]))), "{times:?}");
        let video_end = video_frames(&out).last().unwrap().0;
        assert!(video_end.abs_diff(*times.last().unwrap()) < 350, "{video_end} {times:?}");
    }
}

#[test]
fn a_publisher_that_comes_back_with_another_ssrc_goes_on_in_time() {
    let mut arriving = into_room(&live(tags(BASELINE_AAC44)));
    let again = into_room(&live(tags(BASELINE_AAC44)));
    arriving.extend(again.into_iter().map(|(at, kind, packet)| (at + Duration::from_millis(3_000), kind, packet)));
    let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
    let out = out_of_room(&mut bridge, arriving, START + Duration::from_millis(5_300));
    assert_monotonic(&out);
    let frames = video_frames(&out);
    assert_eq!(frames.len(), 60);
    assert!((2_900..3_200).contains(&(frames[30].0 - frames[0].0)), "{} {}", frames[30].0, frames[0].0);
    let last = out.iter().rfind(|t| t.kind == TagKind::Audio).unwrap().timestamp_ms;
    assert!(last.abs_diff(frames[59].0) < 400, "{last} {}", frames[59].0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn loss_reorder_and_duplication_never_break_pictures_or_time(
        fates in prop::collection::vec((0u8..100, 0u64..120), 200)
    ) {
        let made = into_room(&live(tags(BASELINE_AAC44)));
        let whole: Vec<Vec<u8>> = {
            let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
            let out = out_of_room(&mut bridge, made.clone(), START + Duration::from_secs(3));
            video_frames(&out).into_iter().map(|(_, _, nals)| nals.to_vec()).collect()
        };
        let mut arriving = Packets::new();
        for (n, (at, kind, packet)) in made.into_iter().enumerate() {
            let (fate, delay_ms) = fates[n % fates.len()];
            let at = at + Duration::from_millis(if fate < 30 { delay_ms } else { 0 });
            if fate >= 3 {
                arriving.push((at, kind, packet.clone()));
            }
            if fate > 95 {
                arriving.push((at + Duration::from_millis(5), kind, packet));
            }
        }
        let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
        let out = out_of_room(&mut bridge, arriving, START + Duration::from_secs(3));
        assert_monotonic(&out);
        for (_, _, nals) in video_frames(&out) {
            prop_assert!(whole.iter().any(|picture| picture == nals));
        }
        let times: Vec<u32> =
            out.iter().filter(|t| t.kind == TagKind::Audio && !t.header).map(|t| t.timestamp_ms).collect();
        prop_assert!(times.windows(2).all(|w| w[1] - w[0] < 24));
    }

    #[test]
    fn no_packet_of_a_room_panics(
        garbage in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..60)
    ) {
        let mut bridge = RoomToFlv::new(true, Some(Codec::H264), 128_000);
        for (n, (audio, mut bytes)) in garbage.into_iter().enumerate() {
            if let Some(first) = bytes.first_mut() && n % 4 != 0 {
                *first = 0x80;
            }
            let now = START + Duration::from_millis(n as u64 * 20);
            bridge.handle_packet(now, if audio { Kind::Audio } else { Kind::Video }, &bytes);
            bridge.handle_timeout(now);
        }
    }
}
