//! Recordings with B-frames, coded anew.

use proptest::prelude::*;

use super::*;
use crate::{
    bridge::fixture::{BASELINE_AAC44, BFRAMES, tags},
    codec::h264::{
        AvcConfig, NalKind, Sps, is_b_slice,
        nal::{self, avcc},
    },
    flv::{TagKind, VideoBody, read_video},
};

/// A picture of a recording; its parameter sets go before a key frame.
#[derive(Clone)]
struct Picture {
    pts_us: i64,
    key: bool,
    nals: Vec<Vec<u8>>,
}

type Out = (i64, Vec<Vec<u8>>);

fn pictures(flv: &[u8], from_ms: i64) -> Vec<Picture> {
    let mut sets: Vec<Vec<u8>> = Vec::new();
    let mut pictures = Vec::new();
    for tag in tags(flv).iter().filter(|tag| tag.kind == TagKind::Video) {
        match read_video(&tag.payload).unwrap() {
            VideoBody::AvcHeader(record) => {
                let config = AvcConfig::parse(record).unwrap();
                sets = config.sps().chain(config.pps()).map(<[u8]>::to_vec).collect();
            }
            VideoBody::AvcFrame { key, composition_ms, nalus } => {
                let dts_us = (i64::from(tag.timestamp_ms) + from_ms) * 1000;
                let units = avcc(nalus, 4).map(|unit| unit.unwrap().to_vec());
                let nals = sets.iter().filter(|_| key).cloned().chain(units).collect();
                pictures.push(Picture { pts_us: dts_us + i64::from(composition_ms) * 1000, key, nals });
            }
            _ => {}
        }
    }
    pictures
}

fn push(coder: &mut Reencoder, picture: &Picture, out: &mut Vec<Out>) -> Result<(), ReencodeError> {
    let nals: Vec<&[u8]> = picture.nals.iter().map(|unit| &unit[..]).collect();
    let coded = Coded { pts_us: picture.pts_us, key: picture.key, nals: &nals };
    coder.push(coded, Rate::default(), &mut |pts_us, nals| {
        out.push((pts_us, nals.iter().map(|unit| unit.to_vec()).collect()));
    })
}

fn finish(coder: &mut Reencoder, out: &mut Vec<Out>) {
    let sink = &mut |pts_us, nals: &[&[u8]]| out.push((pts_us, nals.iter().map(|unit| unit.to_vec()).collect()));
    coder.finish(Rate::default(), sink).unwrap();
}

fn run(pictures: &[Picture]) -> Vec<Out> {
    let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
    pictures.iter().for_each(|picture| push(&mut coder, picture, &mut out).unwrap());
    finish(&mut coder, &mut out);
    out
}

fn is_key(out: &Out) -> bool {
    out.1.iter().any(|unit| nal::kind(unit) == NalKind::Idr)
}

fn assert_all_there_in_order(pictures: &[Picture], out: &[Out]) {
    let mut expected: Vec<i64> = pictures.iter().map(|picture| picture.pts_us).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(expected.len(), pictures.len());
    let times: Vec<i64> = out.iter().map(|(pts_us, _)| *pts_us).collect();
    assert_eq!(times, expected);
}

/// What is to be seen, by times in order: luma, without what the decoder keeps beside it.
fn seen<'a>(coded: impl Iterator<Item = (i64, &'a Vec<Vec<u8>>)>) -> Vec<(i64, Vec<u8>)> {
    let luma = |picture: &DecodedYUV<'_>| -> Vec<u8> {
        let (width, height) = picture.dimensions();
        picture.y().chunks(picture.strides().0).take(height).flat_map(|row| row[..width].to_vec()).collect()
    };
    let (mut times, mut seen) = (Vec::new(), Vec::new());
    let mut decoder = new_decoder().unwrap();
    for (pts_us, nals) in coded {
        if nals.iter().any(|unit| nal::kind(unit) == NalKind::Idr) {
            seen.extend(decoder.flush_remaining().unwrap().iter().map(luma));
            decoder = new_decoder().unwrap();
        }
        let mut bytes = Vec::new();
        nals.iter().for_each(|unit| write_annex_b(&mut bytes, unit));
        seen.extend(decoder.decode(&bytes).unwrap().iter().map(luma));
        times.push(pts_us);
    }
    seen.extend(decoder.flush_remaining().unwrap().iter().map(luma));
    times.sort_unstable();
    assert_eq!(seen.len(), times.len());
    times.into_iter().zip(seen).collect()
}

fn difference(a: &[u8], b: &[u8]) -> u64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
}

fn assert_all_look_like_themselves(pictures: &[Picture], out: &[Out]) {
    let before = seen(pictures.iter().map(|picture| (picture.pts_us, &picture.nals)));
    let after = seen(out.iter().map(|(pts_us, nals)| (*pts_us, nals)));
    // Each is the picture of its time, and not one beside it.
    for (n, (pts_us, picture)) in after.iter().enumerate() {
        let like = |at: usize| before.get(at).map_or(u64::MAX, |(_, other)| difference(picture, other));
        let own = like(n);
        assert!(own < like(n + 1) && own < like(n.wrapping_sub(1)), "{pts_us}");
        assert!(own / (picture.len() as u64) < 8, "{pts_us}: {own}");
    }
}

#[test]
fn all_pictures_come_out_in_the_order_in_which_they_are_shown_and_none_is_a_b_frame() {
    let pictures = [pictures(BFRAMES, 0), pictures(BFRAMES, 2_000)].concat();
    let has_b = |nals: &[Vec<u8>]| nals.iter().any(|unit| is_b_slice(unit));
    assert!(pictures.iter().filter(|picture| has_b(&picture.nals)).count() > 30);
    let out = run(&pictures);
    assert_all_there_in_order(&pictures, &out);
    assert!(out.iter().all(|(_, nals)| !has_b(nals)));
    assert_all_look_like_themselves(&pictures, &out);
}

#[test]
fn no_picture_waits_longer_than_three_others_take() {
    let pictures = pictures(BFRAMES, 0);
    let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
    for (n, picture) in pictures.iter().enumerate() {
        push(&mut coder, picture, &mut out).unwrap();
        assert!(n + 1 - out.len() <= 3, "{} of {}", out.len(), n + 1);
    }
}

#[test]
fn key_frames_are_where_they_were_and_where_one_is_wanted() {
    let pictures = [pictures(BFRAMES, 0), pictures(BFRAMES, 2_000)].concat();
    let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
    let mut wanted_at = None;
    for picture in &pictures {
        if wanted_at.is_none() && out.len() == 10 {
            coder.want_key();
            wanted_at = Some(10);
        }
        push(&mut coder, picture, &mut out).unwrap();
    }
    finish(&mut coder, &mut out);
    let keys: Vec<usize> = (0..out.len()).filter(|n| is_key(&out[*n])).collect();
    assert_eq!(keys, [0, 10, 30]);
    let kinds = |n: usize| -> Vec<NalKind> { out[n].1.iter().map(|unit| nal::kind(unit)).collect() };
    assert!(keys.iter().all(|n| kinds(*n).starts_with(&[NalKind::Sps, NalKind::Pps])));
}

#[test]
fn another_size_in_mid_stream_loses_nothing() {
    let pictures = [pictures(BFRAMES, 0), pictures(BASELINE_AAC44, 3_000), pictures(BFRAMES, 6_000)].concat();
    let out = run(&pictures);
    assert_all_there_in_order(&pictures, &out);
    let size = |nals: &[Vec<u8>]| {
        let sps = nals.iter().find(|unit| nal::kind(unit) == NalKind::Sps)?;
        Sps::parse(sps).ok().map(|sps| (sps.width, sps.height))
    };
    let mut before: Vec<_> = pictures.iter().filter_map(|picture| size(&picture.nals)).collect();
    let mut after: Vec<_> = out.iter().filter_map(|(_, nals)| size(nals)).collect();
    before.dedup();
    after.dedup();
    assert_eq!(after, before);
    assert!(after.len() == 3 && after[0] != after[1], "{after:?}");
}

#[test]
fn rubbish_is_an_error() {
    let good = pictures(BFRAMES, 0);
    let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
    good[..9].iter().for_each(|picture| push(&mut coder, picture, &mut out).unwrap());
    let rubbish = Picture { nals: vec![vec![0x65; 300]], ..good[9].clone() };
    push(&mut coder, &rubbish, &mut out).unwrap_err();
    assert!(!out.is_empty());
    // And from the beginning.
    let mut coder = Reencoder::new(None).unwrap();
    push(&mut coder, &rubbish, &mut Vec::new()).unwrap_err();
}

#[test]
fn a_picture_without_those_it_refers_to_is_an_error() {
    let pictures = pictures(BFRAMES, 0);
    let mut coder = Reencoder::new(None).unwrap();
    push(&mut coder, &pictures[1], &mut Vec::new()).unwrap_err();
}

#[test]
fn pictures_wait_up_to_the_bound_and_not_over_it() {
    let pictures = pictures(BFRAMES, 0);
    for (waiting, taken) in [(WAITING_PICTURES_MAX, true), (WAITING_PICTURES_MAX + 1, false)] {
        let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
        push(&mut coder, &pictures[0], &mut out).unwrap();
        // As if the decoder had given out nothing of these. Of the second picture it gives out the first.
        coder.waiting = vec![Waiting { pts_us: 0, key: true }; waiting].into();
        assert_eq!(push(&mut coder, &pictures[1], &mut out).is_ok(), taken);
        assert_eq!(out.len(), 1);
    }
}

/// Four seconds, 25 pictures a second and three B-frames in a row, with two key frames.
fn made_by_x264(pixels: &str, profile: &str, more: &str) -> Vec<u8> {
    let x264 = format!("b-adapt=0:scenecut=0:ref=4:{more}");
    let made = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=4", "-pix_fmt", pixels])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-profile:v", profile, "-bf", "3", "-g", "50"])
        .args(["-x264-params", &x264, "-f", "flv", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[test]
fn b_frames_that_others_refer_to_come_out_too() {
    for (pyramid, profile) in [("none", "high"), ("strict", "main"), ("normal", "high")] {
        let pictures = pictures(&made_by_x264("yuv420p", profile, &format!("b-pyramid={pyramid}")), 0);
        assert_eq!(pictures.len(), 100);
        assert_eq!(pictures.iter().filter(|picture| picture.key).count(), 2);
        let out = run(&pictures);
        assert_all_there_in_order(&pictures, &out);
        assert_all_look_like_themselves(&pictures, &out);
    }
}

#[test]
fn kinds_of_picture_that_the_decoder_does_not_know_are_an_error_at_once() {
    for (pixels, profile, more) in [
        ("yuv422p", "high422", ""),
        ("yuv420p10le", "high10", ""),
        ("yuv444p", "high444", ""),
        ("yuv420p", "high", "interlaced=1"),
    ] {
        let pictures = pictures(&made_by_x264(pixels, profile, more), 0);
        let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
        assert!(push(&mut coder, &pictures[0], &mut out).is_err(), "{pixels} {profile} {more}");
        assert!(out.is_empty());
    }
}

#[test]
fn what_is_not_later_than_what_the_receivers_have_does_not_go_out() {
    let pictures = pictures(BFRAMES, 0);
    let latest_us = pictures[0].pts_us;
    let (mut coder, mut out) = (Reencoder::new(Some(latest_us)).unwrap(), Vec::new());
    pictures.iter().for_each(|picture| push(&mut coder, picture, &mut out).unwrap());
    finish(&mut coder, &mut out);
    assert_eq!(out.len(), pictures.len() - 1);
    assert!(is_key(&out[0]), "a key frame goes first all the same");
}

#[test]
fn sizes_up_to_4k_are_taken_either_way_up() {
    assert!([(3_840, 2_160), (2_160, 3_840), (16, 16), (320, 180)].into_iter().all(|(w, h)| is_size_taken(w, h)));
    let not =
        [(3_842, 2_160), (2_160, 3_842), (3_840, 2_162), (2_162, 2_162), (14, 320), (320, 14), (321, 180), (320, 181)];
    assert!(not.into_iter().all(|(w, h)| !is_size_taken(w, h)));
}

#[test]
fn a_rate_is_measured_from_key_frame_to_key_frame() {
    let mut meter = Meter::default();
    meter.count(5_000_000, true, 10_000);
    (1..50).for_each(|n| meter.count(5_000_000 + n * 40_000, false, 1_000));
    assert_eq!(meter.rate(), Rate::default());
    meter.count(7_000_000, true, 10_000);
    assert_eq!(meter.rate(), Rate { bitrate_bps: 59_000 * 4, pictures_per_second: 25.0 });
    // Nothing can be said of one picture, nor of no time.
    meter.count(7_000_000, true, 10_000);
    meter.count(7_000_000, true, 10_000);
    assert_eq!(meter.rate().bitrate_bps, 59_000 * 4);
}

#[test]
fn the_bitrate_is_a_quarter_more_than_came_in_and_bounded() {
    let of = |bitrate_bps| bitrate_of(Rate { bitrate_bps, pictures_per_second: 25.0 });
    assert_eq!(
        [of(1_000_000), of(79_000), of(81_000), of(16_000_000), of(16_000_004)],
        [1_250_000, 100_000, 101_250, 20_000_000, 20_000_000]
    );
    assert_eq!(of(u64::MAX), 20_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn damage_never_panics_and_times_rise_all_the_same(damage in prop::collection::vec((0..30_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut pictures = pictures(BFRAMES, 0);
        for (picture, at, byte) in damage {
            let unit = pictures[picture].nals.last_mut().unwrap();
            let at = at.index(unit.len());
            unit[at] = byte;
        }
        let (mut coder, mut out) = (Reencoder::new(None).unwrap(), Vec::new());
        let _ = pictures.iter().try_for_each(|picture| push(&mut coder, picture, &mut out));
        let _ = coder.finish(Rate::default(), &mut |pts_us, _| out.push((pts_us, Vec::new())));
        prop_assert!(out.windows(2).all(|pair| pair[0].0 < pair[1].0));
        prop_assert!(out.len() <= pictures.len());
    }
}
