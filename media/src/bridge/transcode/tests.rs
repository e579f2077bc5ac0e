//! Tones, beeps and losses through both transcoders.

use bytes::Bytes;

use super::{
    opus_to_aac::{OPUS_SAMPLES_MAX, STEREO, new_decoder},
    *,
};
use crate::bridge::{
    aac_codec::{AAC_FRAME_SAMPLES, AudioError, aac_encoder},
    fixture::{AAC16, BASELINE_AAC44, Heard, aac, assert_steady_tone, tags},
};

/// What a listener of the Opus packets hears.
struct Listener {
    decoder: ropus::Decoder,
    heard: Heard,
    packets: Vec<(i64, Vec<u8>)>,
}

impl Listener {
    fn new() -> Self {
        Listener { decoder: new_decoder().unwrap(), heard: Heard::new(), packets: Vec::new() }
    }

    fn packet(&mut self, position: i64, packet: &[u8]) {
        let mut pcm = vec![0; OPUS_SAMPLES_MAX * STEREO];
        let samples = self.decoder.decode(packet, &mut pcm, ropus::DecodeMode::Normal).unwrap();
        self.heard.lay(position, &pcm[..samples * STEREO], STEREO);
        self.packets.push((position, packet.to_vec()));
    }
}

fn opus_of(flv: &[u8]) -> Listener {
    opus_at(flv, 96_000)
}

fn opus_at(flv: &[u8], bitrate_bps: u32) -> Listener {
    let (config, units) = aac(&tags(flv));
    let mut listener = Listener::new();
    let mut transcoder = AacToOpus::new(&config, bitrate_bps).unwrap();
    for (ms, unit) in units {
        transcoder.push(i64::from(ms) * 1000, &unit, &mut |at, packet, _| listener.packet(at, packet)).unwrap();
    }
    listener
}

#[test]
fn a_tone_survives_at_bitrates_for_speech_and_for_music() {
    for bitrate_bps in [24_000, 63_999, 64_000, 160_000] {
        let listener = opus_at(BASELINE_AAC44, bitrate_bps);
        assert!(listener.packets.windows(2).all(|w| w[1].0 - w[0].0 == OPUS_FRAME_SAMPLES as i64), "{bitrate_bps}");
        let bytes: usize = listener.packets.iter().map(|(_, packet)| packet.len()).sum();
        let made_bps = bytes * 8 * 50 / listener.packets.len();
        assert!(made_bps < bitrate_bps as usize * 3 / 2, "{made_bps} of {bitrate_bps}");
        assert_steady_tone(&listener.heard.samples, 9_600, 91_200);
    }
}

#[test]
fn a_tone_survives_aac_to_opus_and_back_without_a_gap() {
    for (flv, seconds) in [(BASELINE_AAC44, 2.0), (AAC16, 1.5)] {
        let listener = opus_of(flv);
        assert!(listener.packets.windows(2).all(|w| w[1].0 - w[0].0 == OPUS_FRAME_SAMPLES as i64));
        let end = (seconds * 48_000.0) as usize - 4_800;
        assert_steady_tone(&listener.heard.samples, 9_600, end);

        let mut back = OpusToAac::new(128_000).unwrap();
        let mut units = Vec::new();
        for (at, packet) in &listener.packets {
            back.push(*at, packet, &mut |at, unit| units.push((at, unit)));
        }
        assert!(units.windows(2).all(|w| w[1].0 - w[0].0 == AAC_FRAME_SAMPLES as i64));
        let heard = Heard::of_aac(back.config(), units);
        assert_steady_tone(&heard.samples, 14_400, end);
    }
}

#[test]
fn a_packet_leaves_with_the_access_unit_that_brings_its_last_sample() {
    // What the resampler and Opus look ahead, and the samples between which a frame is stretched; and timestamps are milliseconds.
    let ahead = 48 * 5 + 120 + 24 + 48;
    for flv in [BASELINE_AAC44, AAC16] {
        let (config, units) = aac(&tags(flv));
        let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
        let mut waiting = Vec::new();
        for pair in units.windows(2) {
            let (us, next_us) = (i64::from(pair[0].0) * 1000, i64::from(pair[1].0) * 1000);
            let mut sent_until = None;
            let mut sent = |at: i64, _: &[u8], _| sent_until = Some(at + OPUS_FRAME_SAMPLES as i64);
            transcoder.push(us, &pair[0].1, &mut sent).unwrap();
            waiting.extend(sent_until.map(|until| position_of_us(next_us) - until));
        }
        let most = waiting.iter().skip(1).max().unwrap();
        // Less than a frame, and less than a block of the resampler.
        assert!(*most < (OPUS_FRAME_SAMPLES + 480) as i64 + ahead, "{waiting:?}");
    }
}

/// A minute's worth of stereo AAC would be slow; four seconds show the same. Silence with a beep at each second.
fn beeps() -> (Vec<u8>, Vec<(i64, Bytes)>) {
    let mut encoder = aac_encoder(128_000).unwrap();
    let mut units = Vec::new();
    let mut at = -i64::from(encoder.delay_samples());
    for frame in 0..4 * 48_000 / AAC_FRAME_SAMPLES {
        let pcm: Vec<i16> = (0..AAC_FRAME_SAMPLES)
            .flat_map(|n| {
                let n = frame * AAC_FRAME_SAMPLES + n;
                let on = n > 24_000 && n % 48_000 < 9_600;
                let sample = if on { (n as f64 * std::f64::consts::TAU / 48.0).cos() * 12_000.0 } else { 0.0 };
                [sample as i16; STEREO]
            })
            .collect();
        let mut unit = Vec::new();
        encoder.encode(&pcm, &mut unit).unwrap();
        units.push((at, unit.into()));
        at += AAC_FRAME_SAMPLES as i64;
    }
    (encoder.config().to_vec(), units)
}

#[test]
fn all_delays_are_accounted_for_in_both_directions() {
    let (config, units) = beeps();
    let made = Heard::of_aac(&config, units.clone()).onsets(6_000.0);
    let mut listener = Listener::new();
    let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
    for (at, unit) in units.iter().filter(|(_, unit)| !unit.is_empty()) {
        transcoder.push(us_of_position(*at), unit, &mut |at, packet, _| listener.packet(at, packet)).unwrap();
    }
    let mut back = OpusToAac::new(128_000).unwrap();
    let mut returned = Vec::new();
    for (at, packet) in &listener.packets {
        back.push(*at, packet, &mut |at, unit| returned.push((at, unit)));
    }
    let over_opus = listener.heard.onsets(6_000.0);
    let over_both = Heard::of_aac(back.config(), returned).onsets(6_000.0);
    assert_eq!(made.len(), 3);
    assert_eq!(over_opus.len(), 3);
    assert_eq!(over_both.len(), 3);
    for n in 0..3i64 {
        let due = (n + 1) * 48_000;
        for (name, onsets) in [("made", &made), ("Opus", &over_opus), ("AAC again", &over_both)] {
            let off = onsets[n as usize] - due;
            assert!(off.abs() < 48 * 3, "{name}: beep {n} is off by {off} samples");
        }
    }
}

#[test]
fn a_gap_in_aac_timestamps_is_a_step_and_too_many_samples_are_left_out() {
    let (config, units) = aac(&tags(BASELINE_AAC44));
    let mut positions = Vec::new();
    let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
    for (ms, unit) in &units {
        let us = i64::from(*ms) * 1000 + if *ms > 1_000 { 400_000 } else { 0 };
        transcoder.push(us, unit, &mut |at, _, _| positions.push(at)).unwrap();
    }
    let steps: Vec<i64> = positions.windows(2).map(|w| w[1] - w[0]).filter(|step| *step != 960).collect();
    assert_eq!(steps.len(), 1);
    assert!((steps[0] - 48 * 400).abs() < 48 * 45, "{steps:?}");

    // The second half again, with the same timestamps: as much sound as time in the end.
    let mut positions = Vec::new();
    let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
    let half = units.len() / 2;
    for (ms, unit) in units.iter().take(half).chain(&units[half / 2..]) {
        transcoder.push(i64::from(*ms) * 1000, unit, &mut |at, _, _| positions.push(at)).unwrap();
    }
    assert!(positions.windows(2).all(|w| w[1] - w[0] == 960));
    assert!((positions.last().unwrap() - 48 * 2_000).abs() < 48 * 100);
}

#[test]
fn lost_packets_and_silence_are_filled_and_time_does_not_stand_still() {
    let listener = opus_of(BASELINE_AAC44);
    let mut back = OpusToAac::new(128_000).unwrap();
    let mut units = Vec::new();
    for (n, (at, packet)) in listener.packets.iter().enumerate() {
        // One lost, three lost, and 400 ms of discontinuous transmission.
        if n != 20 && !(40..43).contains(&n) && !(60..80).contains(&n) {
            back.push(*at, packet, &mut |at, unit| units.push((at, unit)));
        }
    }
    assert!(units.windows(2).all(|w| w[1].0 - w[0].0 == AAC_FRAME_SAMPLES as i64));
    let heard = Heard::of_aac(back.config(), units);
    let end = (listener.packets.len() - 4) * OPUS_FRAME_SAMPLES;
    assert!(heard.samples.len() > end, "{} of {end}", heard.samples.len());
    // Where nothing was lost the tone is where it was.
    assert_steady_tone(&heard.samples, 90 * OPUS_FRAME_SAMPLES, 97 * OPUS_FRAME_SAMPLES);
}

#[test]
fn sound_made_up_before_a_late_packet_is_not_doubled() {
    let listener = opus_of(BASELINE_AAC44);
    let mut back = OpusToAac::new(128_000).unwrap();
    let mut units = 0;
    for (n, (at, packet)) in listener.packets.iter().enumerate() {
        if n == 50 {
            back.conceal_until(at + 5 * OPUS_FRAME_SAMPLES as i64, &mut |_, _| units += 1);
        }
        back.push(*at, packet, &mut |_, _| units += 1);
    }
    assert_eq!(units, listener.packets.len() * OPUS_FRAME_SAMPLES / AAC_FRAME_SAMPLES);
}

#[test]
fn rubbish_is_refused_without_a_panic() {
    assert_eq!(AacToOpus::new(&[], 96_000).err(), Some(AudioError::BadConfig));
    assert_eq!(AacToOpus::new(&[0xff; 65], 96_000).err(), Some(AudioError::BadConfig));
    let (config, units) = aac(&tags(AAC16));
    let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
    let mut packets = 0;
    for (n, (ms, unit)) in units.iter().enumerate() {
        let mut unit = unit.to_vec();
        if n % 3 == 1 {
            unit.iter_mut().for_each(|b| *b = b.wrapping_mul(31).wrapping_add(n as u8));
        }
        if n % 7 == 3 {
            unit = vec![0xa5; 7_000];
        }
        transcoder.push(i64::from(*ms) * 1000, &unit, &mut |_, _, _| packets += 1).unwrap();
    }
    assert!(packets > 60);
    let mut back = OpusToAac::new(128_000).unwrap();
    for n in 0..300u32 {
        let packet: Vec<u8> = (0..n).map(|b| (b.wrapping_mul(2_654_435_761).wrapping_add(n * 97) >> 7) as u8).collect();
        back.push(i64::from(n) * 960, &packet, &mut |_, _| ());
    }
}

/// A figure to be read: `cargo test --release -p media --lib cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost_of_20_ms_in_each_direction() {
    // Stereo that leaves the codecs nothing to save: two tones that glide, and noise.
    let mut encoder = aac_encoder(128_000).unwrap();
    let mut noise = 1u32;
    let units: Vec<Vec<u8>> = (0..200 * AAC_FRAME_SAMPLES)
        .map(|n| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let hiss = f64::from(noise >> 16) / 65_536.0 * 2_000.0;
            let glide = n as f64 * (0.01 + n as f64 * 4e-7);
            [(glide.sin() * 8_000.0 + hiss) as i16, ((glide * 1.5).sin() * 8_000.0 - hiss) as i16]
        })
        .collect::<Vec<_>>()
        .chunks(AAC_FRAME_SAMPLES)
        .map(|frame| {
            let mut unit = Vec::new();
            encoder.encode(frame.as_flattened(), &mut unit).unwrap();
            unit
        })
        .collect();
    let mut packets = Vec::new();
    let mut transcoder = AacToOpus::new(encoder.config(), 96_000).unwrap();
    let start = std::time::Instant::now();
    for (n, unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_empty()) {
        let us = us_of_position((n * AAC_FRAME_SAMPLES) as i64);
        transcoder.push(us, unit, &mut |at, packet, _| packets.push((at, packet.to_vec()))).unwrap();
    }
    let to_opus = start.elapsed() / packets.len() as u32;
    let mut back = OpusToAac::new(128_000).unwrap();
    let start = std::time::Instant::now();
    packets.iter().for_each(|(at, packet)| back.push(*at, packet, &mut |_, _| ()));
    let to_aac = start.elapsed() / packets.len() as u32;
    println!("AAC to Opus {to_opus:?}, Opus to AAC {to_aac:?} per 20 ms of stereo");
}
