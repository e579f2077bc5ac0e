//! What the sound is worth after both transcoders: against the same codecs without us, for every kind of AAC, over losses and
//! over the clock of a bad sound card.

use std::{
    f64::consts::TAU,
    process::{Command, Stdio},
};

use bytes::Bytes;
use fdk_aac::enc::{AudioObjectType, BitRate, ChannelMode, Encoder, EncoderParams, Transport};

use super::{
    opus_to_aac::{OPUS_SAMPLES_MAX, STEREO, new_decoder},
    *,
};
use crate::bridge::{
    aac_codec::{AAC_FRAME_SAMPLES, aac_decoder, aac_encoder},
    fixture::{Heard, aac, amplitude, tags},
};

const RATE: usize = 48_000;
const OPUS_BPS: u32 = 96_000;
const AAC_BPS: u32 = 128_000;

/// A second of a tone, a second of a sweep, and so on.
fn tone_and_sweep(seconds: usize) -> Vec<i16> {
    let mut phase = 0.0;
    (0..seconds * RATE)
        .map(|n| {
            let (second, part) = (n / RATE, (n % RATE) as f64 / RATE as f64);
            let hz = if second.is_multiple_of(2) { 1_000.0 } else { 200.0 * 40f64.powf(part) };
            phase += hz * TAU / RATE as f64;
            (phase.sin() * 12_000.0) as i16
        })
        .collect()
}

fn stereo(mono: &[i16]) -> Vec<i16> {
    mono.iter().flat_map(|sample| [*sample; STEREO]).collect()
}

/// AAC of 48 kHz stereo: configuration, and access units by position.
fn encoded(pcm: &[i16]) -> (Vec<u8>, Vec<(i64, Bytes)>) {
    let mut encoder = aac_encoder(AAC_BPS).unwrap();
    let (mut units, mut at) = (Vec::new(), -i64::from(encoder.delay_samples()));
    for frame in pcm.chunks_exact(AAC_FRAME_SAMPLES * STEREO) {
        let mut unit = Vec::new();
        encoder.encode(frame, &mut unit).unwrap();
        if !unit.is_empty() {
            units.push((at, unit.into()));
        }
        at += AAC_FRAME_SAMPLES as i64;
    }
    (encoder.config().to_vec(), units)
}

fn decoded(config: &[u8], units: &[(i64, Bytes)]) -> Vec<i16> {
    let mut decoder = aac_decoder(config).unwrap();
    let mut pcm = Vec::new();
    units.iter().for_each(|(_, unit)| {
        decoder.decode(unit, &mut pcm).unwrap();
    });
    pcm
}

fn opus_packets(config: &[u8], units: &[(i64, Bytes)]) -> Vec<(i64, Vec<u8>)> {
    let mut transcoder = AacToOpus::new(config, OPUS_BPS).unwrap();
    let mut packets = Vec::new();
    for (at, unit) in units {
        // As RTMP stamps it.
        let us = us_of_position(*at + 48_000).div_euclid(1000) * 1000;
        transcoder.push(us, unit, &mut |at, packet, _| packets.push((at, packet.to_vec()))).unwrap();
    }
    packets
}

/// Through both of our transcoders, as a player hears it; left channel.
fn through_us(config: &[u8], units: &[(i64, Bytes)]) -> Vec<f64> {
    let mut back = OpusToAac::new(AAC_BPS).unwrap();
    let mut out = Vec::new();
    for (at, packet) in opus_packets(config, units) {
        back.push(at, &packet, &mut |at, unit| out.push((at, unit)));
    }
    Heard::of_aac(back.config(), out).samples
}

/// Through the same codecs, one after the other, with nothing of ours between them.
fn through_codecs(config: &[u8], units: &[(i64, Bytes)]) -> Vec<f64> {
    let mut opus = ropus::Encoder::builder(48_000, ropus::Channels::Stereo, ropus::Application::Audio)
        .bitrate(ropus::Bitrate::Bits(OPUS_BPS))
        .complexity(5)
        .build()
        .unwrap();
    let mut opus_decoder = new_decoder().unwrap();
    let (mut packet, mut pcm) = (vec![0; 1_275], vec![0; OPUS_SAMPLES_MAX * STEREO]);
    let mut heard = Vec::new();
    for frame in decoded(config, units).chunks_exact(OPUS_FRAME_SAMPLES * STEREO) {
        let len = opus.encode(frame, &mut packet).unwrap();
        let samples = opus_decoder.decode(&packet[..len], &mut pcm, ropus::DecodeMode::Normal).unwrap();
        heard.extend_from_slice(&pcm[..samples * STEREO]);
    }
    let (config, units) = encoded(&heard);
    decoded(&config, &units).iter().step_by(STEREO).map(|sample| f64::from(*sample)).collect()
}

/// `heard` moved onto `sent`: where a second of it fits best.
fn aligned(sent: &[f64], heard: &[f64]) -> Vec<f64> {
    let from = RATE + RATE / 4;
    let piece = &sent[from..from + RATE];
    let fit = |shift: i64| -> f64 {
        let at = (from as i64 + shift) as usize;
        heard.get(at..at + RATE).map_or(f64::MIN, |other| piece.iter().zip(other).map(|(a, b)| a * b).sum())
    };
    let shift = (-9_000..9_000).max_by(|a, b| fit(*a).total_cmp(&fit(*b))).unwrap();
    (0..sent.len()).map(|n| heard.get((n as i64 + shift) as usize).copied().unwrap_or(0.0)).collect()
}

fn db(a: f64, b: f64) -> f64 {
    10.0 * (a / b.max(1e-9)).log10()
}

fn energy(samples: impl Iterator<Item = f64>) -> f64 {
    samples.map(|sample| sample * sample).sum()
}

/// Signal to noise of the whole, and of the worst 20 ms; level against what was sent. In dB.
fn worth(sent: &[f64], heard: &[f64]) -> (f64, f64, f64) {
    let heard = aligned(sent, heard);
    // Codecs begin and end with less than they were given.
    let (sent, heard) = (&sent[RATE / 2..sent.len() - RATE / 2], &heard[RATE / 2..sent.len() - RATE / 2]);
    let ratio = |sent: &[f64], heard: &[f64]| {
        db(energy(sent.iter().copied()), energy(sent.iter().zip(heard).map(|(a, b)| a - b)))
    };
    let worst = sent.chunks_exact(960).zip(heard.chunks_exact(960)).map(|(a, b)| ratio(a, b)).fold(f64::MAX, f64::min);
    (ratio(sent, heard), worst, db(energy(heard.iter().copied()), energy(sent.iter().copied())))
}

fn assert_worth_as_much_as_the_codecs(seconds: usize) {
    let sent = tone_and_sweep(seconds);
    let (config, units) = encoded(&stereo(&sent));
    let sent: Vec<f64> = sent.iter().map(|sample| f64::from(*sample)).collect();
    let (ours, our_worst, level) = worth(&sent, &through_us(&config, &units));
    let (codecs, codecs_worst, _) = worth(&sent, &through_codecs(&config, &units));
    println!(
        "{seconds} s: {ours:.1} dB through us, {codecs:.1} dB through the codecs alone; worst 20 ms {our_worst:.1} and \
         {codecs_worst:.1} dB; level {level:+.2} dB"
    );
    assert!(ours > codecs - 1.0, "{ours} dB through us, {codecs} dB through the codecs alone");
    assert!(level.abs() < 0.5, "{level} dB");
    // A click or a gap would be one bad piece among good ones.
    assert!(our_worst > codecs_worst - 3.0, "worst 20 ms: {our_worst} dB, of the codecs alone {codecs_worst} dB");
}

#[test]
fn a_tone_and_a_sweep_are_worth_as_much_as_through_the_codecs_alone() {
    assert_worth_as_much_as_the_codecs(6);
}

/// The same for ten minutes: `cargo test --release -p media --lib ten_minutes_of_sound -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute"]
fn ten_minutes_of_sound_are_worth_as_much_as_through_the_codecs_alone() {
    assert_worth_as_much_as_the_codecs(600);
}

/// One and a half seconds of AAC of any kind, made by the FDK; 1 kHz on the left, 2 kHz on the right.
fn fdk_aac_of(kind: AudioObjectType, rate_hz: u32, channels: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (config, units, _) = fdk_aac_from(0, kind, rate_hz, channels);
    (config, units)
}

/// The same with silence for so many milliseconds first, and by how many samples the access units are behind what they hold.
fn fdk_aac_from(begin_ms: usize, kind: AudioObjectType, rate_hz: u32, channels: usize) -> (Vec<u8>, Vec<Vec<u8>>, i64) {
    let mode = if channels == 1 { ChannelMode::Mono } else { ChannelMode::Stereo };
    let bit_rate = BitRate::Cbr(if rate_hz < 16_000 { 20_000 } else { 24_000 } * channels as u32);
    let (transport, sample_rate) = (Transport::Raw, rate_hz);
    let encoder =
        Encoder::new(EncoderParams { bit_rate, sample_rate, transport, channels: mode, audio_object_type: kind })
            .unwrap();
    let info = encoder.info().unwrap();
    let pcm: Vec<i16> = (0..rate_hz as usize * 3 / 2)
        .flat_map(|n| (1..=channels).map(move |channel| (n, channel)))
        .map(|(n, channel)| {
            let loud = if n >= begin_ms * rate_hz as usize / 1000 { 9_000.0 } else { 0.0 };
            ((n as f64 * 1_000.0 * channel as f64 * TAU / f64::from(rate_hz)).sin() * loud) as i16
        })
        .collect();
    let (mut units, mut output) = (Vec::new(), vec![0; 8_192]);
    for frame in pcm.chunks_exact(info.frameLength as usize * channels) {
        let len = encoder.encode(frame, &mut output).unwrap().output_size;
        if len > 0 {
            units.push(output[..len].to_vec());
        }
    }
    (info.confBuf[..info.confSize as usize].to_vec(), units, i64::from(info.nDelayCore))
}

/// Loudness of 1 and 2 kHz on the left, then on the right, in the middle of what Opus packets say.
fn heard_tones(packets: &[(i64, Vec<u8>)]) -> [[f64; 2]; 2] {
    let mut decoder = new_decoder().unwrap();
    let mut pcm = vec![0; OPUS_SAMPLES_MAX * STEREO];
    let mut sides = [Vec::new(), Vec::new()];
    for (_, packet) in packets {
        let samples = decoder.decode(packet, &mut pcm, ropus::DecodeMode::Normal).unwrap();
        for frame in pcm[..samples * STEREO].chunks_exact(STEREO) {
            sides[0].push(f64::from(frame[0]));
            sides[1].push(f64::from(frame[1]));
        }
    }
    sides.map(|side| {
        let middle = &side[side.len() / 2 - RATE / 4..side.len() / 2 + RATE / 4];
        [amplitude(middle, 1_000.0), amplitude(middle, 2_000.0)]
    })
}

#[test]
fn low_complexity_and_high_efficiency_aac_of_every_rate_keep_tones_and_sides() {
    use AudioObjectType::{Mpeg4HeAac, Mpeg4HeAacV2, Mpeg4LowComplexity};
    let low = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000];
    let kinds = (low.iter().flat_map(|rate| [1, 2].map(|channels| (Mpeg4LowComplexity, *rate, channels))))
        .chain([(Mpeg4HeAac, 44_100, 1), (Mpeg4HeAac, 44_100, 2), (Mpeg4HeAac, 32_000, 2), (Mpeg4HeAac, 48_000, 2)])
        .chain([(Mpeg4HeAacV2, 44_100, 2), (Mpeg4HeAacV2, 32_000, 2)]);
    for (kind, rate_hz, channels) in kinds {
        let name = format!("{kind:?} {rate_hz} Hz, {channels} channels");
        let (config, units) = fdk_aac_of(kind, rate_hz, channels);
        let unit_samples = if matches!(kind, Mpeg4LowComplexity) { 1024 } else { 2048 };
        let mut transcoder = AacToOpus::new(&config, OPUS_BPS).unwrap();
        let mut packets = Vec::new();
        for (n, unit) in units.iter().enumerate() {
            let ms = (n * unit_samples * 1000) as u64 / u64::from(rate_hz);
            let us = 1_000_000 + ms as i64 * 1000;
            transcoder.push(us, unit, &mut |at, packet, _| packets.push((at, packet.to_vec()))).unwrap();
        }
        assert!(packets.windows(2).all(|two| two[1].0 - two[0].0 == OPUS_FRAME_SAMPLES as i64), "{name}: a gap");
        assert!((64..=76).contains(&packets.len()), "{name}: {} packets", packets.len());
        let [left, right] = heard_tones(&packets);
        assert!((5_000.0..12_000.0).contains(&left[0]), "{name}: {left:?} {right:?}");
        // Parametric stereo has one channel and an idea of where it comes from.
        if channels == 2 && !matches!(kind, Mpeg4HeAacV2) {
            assert!((5_000.0..12_000.0).contains(&right[1]), "{name}: {left:?} {right:?}");
            assert!(left[1] < left[0] / 4.0 && right[0] < right[1] / 4.0, "{name}: {left:?} {right:?}");
        } else if channels == 1 {
            assert!((left[0] / right[0] - 1.0).abs() < 0.05, "{name}: {left:?} {right:?}");
        }
    }
}

#[test]
fn every_kind_of_aac_is_heard_at_its_time() {
    use AudioObjectType::{Mpeg4HeAac, Mpeg4HeAacV2, Mpeg4LowComplexity};
    for (kind, rate_hz, channels) in [
        (Mpeg4LowComplexity, 8_000, 1),
        (Mpeg4LowComplexity, 16_000, 1),
        (Mpeg4LowComplexity, 44_100, 2),
        (Mpeg4LowComplexity, 48_000, 2),
        (Mpeg4HeAac, 44_100, 2),
        (Mpeg4HeAac, 48_000, 2),
        (Mpeg4HeAacV2, 44_100, 2),
    ] {
        let (config, units, delay) = fdk_aac_from(750, kind, rate_hz, channels);
        let unit_samples = if matches!(kind, Mpeg4LowComplexity) { 1024 } else { 2048 };
        let mut transcoder = AacToOpus::new(&config, OPUS_BPS).unwrap();
        let (mut decoder, mut heard) = (new_decoder().unwrap(), Heard::new());
        let mut pcm = vec![0; OPUS_SAMPLES_MAX * STEREO];
        for (n, unit) in units.iter().enumerate() {
            let us = 1_000_000 + (n as i64 * unit_samples - delay) * 1_000_000 / i64::from(rate_hz);
            let mut hear = |at: i64, packet: &[u8], _| {
                let samples = decoder.decode(packet, &mut pcm, ropus::DecodeMode::Normal).unwrap();
                heard.lay(at, &pcm[..samples * STEREO], STEREO);
            };
            transcoder.push(us, unit, &mut hear).unwrap();
        }
        let began_ms = heard.onsets(4_500.0)[0] as f64 / 48.0 - 1_000.0;
        assert!((began_ms - 750.0).abs() < 5.0, "{kind:?} {rate_hz} Hz, {channels} channels: {began_ms} ms");
    }
}

#[test]
fn what_ffmpeg_makes_of_every_rate_is_heard() {
    if Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_err() {
        eprintln!("not run: there is no ffmpeg here");
        return;
    }
    // FLV has no other rates; its header says 44.1 kHz for all of them.
    for (rate, channels) in
        [("8000", "1"), ("16000", "1"), ("16000", "2"), ("22050", "2"), ("44100", "1"), ("48000", "2")]
    {
        let source = "sine=frequency=1000:sample_rate=48000:duration=1.5,volume=3";
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-c:a", "aac", "-b:a", "48k"])
            .args(["-ar", rate, "-ac", channels, "-f", "flv", "-"])
            .output()
            .unwrap();
        let (config, units) = aac(&tags(&output.stdout));
        let mut transcoder = AacToOpus::new(&config, OPUS_BPS).unwrap();
        let mut packets = Vec::new();
        for (ms, unit) in units {
            let us = i64::from(ms) * 1000;
            transcoder.push(us, &unit, &mut |at, packet, _| packets.push((at, packet.to_vec()))).unwrap();
        }
        assert!(packets.windows(2).all(|two| two[1].0 - two[0].0 == OPUS_FRAME_SAMPLES as i64), "{rate}/{channels}");
        let [left, right] = heard_tones(&packets);
        assert!(left[0] > 3_000.0 && right[0] > 3_000.0, "{rate}/{channels}: {left:?} {right:?}");
    }
}

/// The loudest sample-to-sample step that a tone of this loudness cannot make: a click.
fn loudest_step(samples: &[f64]) -> f64 {
    samples.windows(2).map(|two| (two[1] - two[0]).abs()).fold(0.0, f64::max)
}

#[test]
fn lost_and_broken_aac_is_made_up_for_without_a_click_or_a_hole() {
    let sent: Vec<i16> =
        (0..3 * RATE).map(|n| ((n as f64 * 440.0 * TAU / RATE as f64).sin() * 9_000.0) as i16).collect();
    let (config, units) = encoded(&stereo(&sent));
    let whole = opus_packets(&config, &units);
    for (name, lost, broken) in
        [("broken", vec![], vec![60, 61, 100]), ("lost", vec![60, 61, 62, 100, 101, 102, 103], vec![])]
    {
        let damaged: Vec<(i64, Bytes)> = (units.iter().enumerate())
            .filter(|(n, _)| !lost.contains(n))
            .map(|(n, (at, unit))| (*at, if broken.contains(&n) { vec![0xff; 300].into() } else { unit.clone() }))
            .collect();
        let packets = opus_packets(&config, &damaged);
        assert!(packets.windows(2).all(|two| two[1].0 - two[0].0 == OPUS_FRAME_SAMPLES as i64), "{name}: a gap");
        assert!(packets.len() + 1 >= whole.len(), "{name}: {} of {}", packets.len(), whole.len());
        let mut decoder = new_decoder().unwrap();
        let mut heard = Heard::new();
        let mut pcm = vec![0; OPUS_SAMPLES_MAX * STEREO];
        for (at, packet) in &packets {
            let samples = decoder.decode(packet, &mut pcm, ropus::DecodeMode::Normal).unwrap();
            heard.lay(*at, &pcm[..samples * STEREO], STEREO);
        }
        let heard = &heard.samples[RATE / 2..5 * RATE / 2];
        // A tone of 440 Hz and 9,000 steps by 520 at most.
        assert!(loudest_step(heard) < 1_300.0, "{name}: {}", loudest_step(heard));
        for (n, piece) in heard.chunks_exact(480).enumerate() {
            let loud = (energy(piece.iter().copied()) / 480.0).sqrt();
            // What is made up fades.
            assert!(loud > 1_000.0, "{name}: silence at {} ms: {loud}", 500 + n * 10);
        }
    }
}

#[test]
fn a_bad_sound_card_is_followed_without_a_click_and_to_within_5_ms() {
    // 2,000 parts per million: a quarter of a minute shows what takes the usual one five.
    let seconds = 15;
    let tone: Vec<i16> =
        (0..seconds * RATE).map(|n| ((n as f64 * 440.0 * TAU / RATE as f64).sin() * 9_000.0) as i16).collect();
    let (config, units) = encoded(&stereo(&tone));
    for slow in [2_000, -2_000] {
        let mut transcoder = AacToOpus::new(&config, OPUS_BPS).unwrap();
        let mut packets: Vec<(i64, Vec<u8>)> = Vec::new();
        let mut last_at = 0;
        for (at, unit) in &units {
            last_at = at + at * slow / 1_000_000;
            let us = us_of_position(last_at + 48_000).div_euclid(1000) * 1000;
            transcoder.push(us, unit, &mut |at, packet, _| packets.push((at, packet.to_vec()))).unwrap();
        }
        assert!(packets.windows(2).all(|two| two[1].0 - two[0].0 == OPUS_FRAME_SAMPLES as i64), "{slow} ppm: a step");
        // The last packet ends where the last access unit does, less what waits for a whole frame, and what Opus looks ahead.
        let end = packets.last().unwrap().0 + OPUS_FRAME_SAMPLES as i64;
        let due = last_at + 48_000 + AAC_FRAME_SAMPLES as i64;
        assert!((due - end - 600).abs() < 48 * 25, "{slow} ppm: {due} {end}");
        let mut decoder = new_decoder().unwrap();
        let mut pcm = vec![0; OPUS_SAMPLES_MAX * STEREO];
        let mut heard = Vec::new();
        for (_, packet) in &packets {
            let samples = decoder.decode(packet, &mut pcm, ropus::DecodeMode::Normal).unwrap();
            heard.extend(pcm[..samples * STEREO].iter().step_by(STEREO).map(|sample| f64::from(*sample)));
        }
        let heard = &heard[RATE..heard.len() - RATE];
        assert!(loudest_step(heard) < 700.0, "{slow} ppm: {}", loudest_step(heard));
        let pieces = heard.chunks_exact(960).map(|piece| amplitude(piece, 440.0));
        let (least, most) = pieces.fold((f64::MAX, 0.0f64), |(least, most), piece| (least.min(piece), most.max(piece)));
        assert!(most / least < 1.2, "{slow} ppm: the tone wavers between {least} and {most}");
    }
}
