//! AAC to Opus and Opus to AAC, once per stream however many listen.
//!
//! Positions are samples at 48 kHz on the server's time line ([`position_of_us`]). Each direction counts the samples that it
//! was given and accounts for what codecs and resampler delay, so that what leaves with a position is what was heard there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::{
    aac_codec::{AAC_FRAME_SAMPLES, AacDecoder, AacEncoder, AudioError, PcmFormat, aac_decoder, aac_encoder},
    resample::To48k,
};

/// Samples per channel of the Opus packets that are made: 20 ms, as browsers make them.
pub const OPUS_FRAME_SAMPLES: usize = 960;

/// Longest Opus packet of one frame (RFC 6716 §3.2.1).
const OPUS_PACKET_BYTES_MAX: usize = 1_275;

/// How hard the Opus encoder tries, 0 to 10. At 10 it takes half as long again and nobody hears it at 96 kbit/s.
const OPUS_COMPLEXITY: u8 = 5;

/// Incoming AAC timestamps may be off by this much before they are believed over the count of samples. Publishers round to
/// milliseconds and some stamp when they send; less would step needlessly, more would be seen on lips.
const AAC_TOLERANCE_SAMPLES: i64 = 48 * 50;

/// Samples at 48 kHz of a time on our line.
pub fn position_of_us(us: i64) -> i64 {
    us * 6 / 125
}

/// The time on our line, in microseconds, of a position.
pub fn us_of_position(position: i64) -> i64 {
    position * 125 / 6
}

/// Turns the access units of one AAC stream into Opus packets of 20 ms.
pub struct AacToOpus {
    decoder: Box<dyn AacDecoder>,
    bitrate_bps: u32,
    output: Option<Output>,
    decoded: Vec<i16>,
}

/// Everything that depends on what the decoder turned out to give.
struct Output {
    format: PcmFormat,
    resampler: To48k,
    encoder: ropus::Encoder,
    /// Interleaved samples at 48 kHz that wait for a whole Opus frame.
    waiting: Vec<i16>,
    /// Position of the first of them.
    waiting_at: i64,
    /// Where the count of decoded samples began, and how many there were since.
    counted_from: i64,
    counted: i64,
    /// Samples per channel of the last access unit, for one that cannot be decoded.
    last_len: usize,
    packet: Vec<u8>,
}

impl AacToOpus {
    /// `config`: the AudioSpecificConfig. `bitrate_bps`: of the Opus packets.
    ///
    /// # Errors
    /// Those of [`aac_decoder`].
    pub fn new(config: &[u8], bitrate_bps: u32) -> Result<Self, AudioError> {
        Ok(AacToOpus { decoder: aac_decoder(config)?, bitrate_bps, output: None, decoded: Vec::new() })
    }

    /// Takes the access unit whose time is `us`; gives `out` the position and the bytes of each Opus packet that is complete.
    ///
    /// An access unit that cannot be decoded is replaced with silence of its length.
    ///
    /// # Errors
    /// [`AudioError::Setup`] if the stream turns out to be something that cannot be encoded.
    pub fn push(&mut self, us: i64, access_unit: &[u8], out: &mut dyn FnMut(i64, &[u8])) -> Result<(), AudioError> {
        self.decoded.clear();
        let format = match (self.decoder.decode(access_unit, &mut self.decoded), &self.output) {
            (Ok(format), _) => format,
            (Err(_), Some(output)) => {
                self.decoded.resize(output.last_len * output.format.channels, 0);
                output.format
            }
            // Nothing is known of the stream yet, so there is nothing to be silent in.
            (Err(_), None) => return Ok(()),
        };
        let position = position_of_us(us) - i64::from(format.delay_samples) * 48_000 / i64::from(format.rate_hz);
        let output = match &mut self.output {
            Some(output) if same_sound(output.format, format) => output,
            // HE-AAC shows its real rate and channels only once the first access unit is decoded.
            stale => {
                if let Some(old) = stale {
                    old.flush(out);
                }
                stale.insert(Output::new(format, position, self.bitrate_bps)?)
            }
        };
        output.push(format, position, &self.decoded, out);
        Ok(())
    }
}

fn same_sound(a: PcmFormat, b: PcmFormat) -> bool {
    (a.rate_hz, a.channels) == (b.rate_hz, b.channels)
}

impl Output {
    fn new(format: PcmFormat, position: i64, bitrate_bps: u32) -> Result<Self, AudioError> {
        let channels = if format.channels == 1 { ropus::Channels::Mono } else { ropus::Channels::Stereo };
        let encoder = ropus::Encoder::builder(48_000, channels, ropus::Application::Audio)
            .bitrate(ropus::Bitrate::Bits(bitrate_bps))
            .complexity(OPUS_COMPLEXITY)
            .build()
            .map_err(|_| AudioError::Setup)?;
        let resampler = To48k::new(format.rate_hz, format.channels)?;
        let mut output = Output {
            format,
            resampler,
            encoder,
            waiting: Vec::new(),
            waiting_at: 0,
            counted_from: 0,
            counted: 0,
            last_len: AAC_FRAME_SAMPLES,
            packet: vec![0; OPUS_PACKET_BYTES_MAX],
        };
        output.start_at(position);
        Ok(output)
    }

    fn push(&mut self, format: PcmFormat, position: i64, decoded: &[i16], out: &mut dyn FnMut(i64, &[u8])) {
        let expected = self.counted_from + self.counted * 48_000 / i64::from(format.rate_hz);
        let ahead = position - expected;
        if ahead > AAC_TOLERANCE_SAMPLES {
            self.flush(out);
            self.start_at(position);
        } else if ahead < -AAC_TOLERANCE_SAMPLES {
            // More samples than time: leaving some out lets the timestamps catch up, stepping back would not.
            return;
        }
        let frames = decoded.len() / format.channels;
        self.format = format;
        self.last_len = frames;
        self.counted += frames as i64;
        self.resampler.push(decoded, &mut self.waiting);
        self.encode_whole_frames(out);
    }

    fn start_at(&mut self, position: i64) {
        self.resampler.reset();
        self.waiting.clear();
        self.waiting_at = position - self.resampler.delay_samples();
        self.counted_from = position;
        self.counted = 0;
    }

    /// Fills what waits up to a whole frame with silence and encodes it.
    fn flush(&mut self, out: &mut dyn FnMut(i64, &[u8])) {
        if !self.waiting.is_empty() {
            let whole = OPUS_FRAME_SAMPLES * self.format.channels;
            self.waiting.resize(self.waiting.len().next_multiple_of(whole), 0);
            self.encode_whole_frames(out);
        }
    }

    fn encode_whole_frames(&mut self, out: &mut dyn FnMut(i64, &[u8])) {
        // The encoder's own look-ahead delays what a decoder gives back.
        let delay = i64::from(self.encoder.lookahead());
        let mut used = 0;
        for frame in self.waiting.chunks_exact(OPUS_FRAME_SAMPLES * self.format.channels) {
            if let Ok(len) = self.encoder.encode(frame, &mut self.packet) {
                out(self.waiting_at - delay, &self.packet[..len]);
            }
            self.waiting_at += OPUS_FRAME_SAMPLES as i64;
            used += frame.len();
        }
        self.waiting.drain(..used);
    }
}

/// Opus packets that begin within this of where the last one ended follow it without a seam.
const OPUS_TOLERANCE_SAMPLES: i64 = 48 * 10;

/// How much missing sound the Opus decoder is asked to make up before it is plain silence.
const CONCEAL_SAMPLES_MAX: i64 = 48 * 120;

/// A hole that is longer than this is a step in time; shorter ones are filled. Somebody who mutes for minutes is filled as
/// time passes, see [`OpusToAac::conceal_until`].
const FILL_SAMPLES_MAX: i64 = 48 * 2_000;

/// Concealment is made in pieces of this length.
const CONCEAL_PIECE_SAMPLES: i64 = 480;

/// Samples per channel of the longest Opus packet: 120 ms (RFC 6716 §3.2.5).
const OPUS_SAMPLES_MAX: usize = 5_760;

const STEREO: usize = 2;

/// Turns the Opus packets of one stream into AAC-LC, 48 kHz stereo.
pub struct OpusToAac {
    decoder: ropus::Decoder,
    encoder: Box<dyn AacEncoder>,
    /// Interleaved samples that wait for a whole access unit.
    waiting: Vec<i16>,
    /// Position behind the last sample that was put in; `None` before the first.
    end: Option<i64>,
    /// Position of the next access unit.
    next_unit: i64,
    /// Missing sound made up since the last packet.
    concealed: i64,
    decoded: Vec<i16>,
}

impl OpusToAac {
    /// # Errors
    /// Those of [`aac_encoder`].
    pub fn new(bitrate_bps: u32) -> Result<Self, AudioError> {
        Ok(OpusToAac {
            decoder: new_decoder()?,
            encoder: aac_encoder(bitrate_bps)?,
            waiting: Vec::new(),
            end: None,
            next_unit: 0,
            concealed: 0,
            decoded: vec![0; OPUS_SAMPLES_MAX * STEREO],
        })
    }

    /// The AudioSpecificConfig of what comes out.
    pub fn config(&self) -> &[u8] {
        self.encoder.config()
    }

    /// Position behind the last sample that was put in or made up; `None` before the first.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// Takes the Opus packet of `position`; gives `out` the position and the bytes of each access unit that is complete.
    ///
    /// A hole before the packet is concealed, with the packet's own redundancy (in-band FEC) if it has any. A part of the
    /// packet that was made up already is left out.
    pub fn push(&mut self, position: i64, packet: &[u8], out: &mut dyn FnMut(i64, Bytes)) {
        let missing = position - self.start_at(position);
        if missing > OPUS_TOLERANCE_SAMPLES && !self.step_if_far(position) {
            self.conceal_until(position - OPUS_FRAME_SAMPLES as i64, out);
            let left = position - self.end.unwrap_or(position);
            if left >= OPUS_FRAME_SAMPLES as i64 {
                self.decode(packet, OPUS_FRAME_SAMPLES, ropus::DecodeMode::Fec, 0, out);
            }
            self.conceal_until(position, out);
        }
        let made_up = (self.end.unwrap_or(position) - position).max(0);
        let skip = if made_up > OPUS_TOLERANCE_SAMPLES { made_up as usize } else { 0 };
        if !packet.is_empty() && self.decode(packet, OPUS_SAMPLES_MAX, ropus::DecodeMode::Normal, skip, out) {
            self.concealed = 0;
        }
    }

    /// Begins at `position` unless something was put in before; the answer is [`end`](Self::end).
    pub fn start_at(&mut self, position: i64) -> i64 {
        *self.end.get_or_insert_with(|| {
            self.next_unit = position - i64::from(self.encoder.delay_samples());
            position
        })
    }

    /// Leaves a hole that is too long to be filled; false if it is not.
    fn step_if_far(&mut self, position: i64) -> bool {
        match self.end {
            Some(end) if position - end > FILL_SAMPLES_MAX => {
                self.end = Some(position);
                self.next_unit += position - end;
                true
            }
            _ => false,
        }
    }

    /// Makes up sound until `position`, first from what was heard last, then silence. More than two seconds at once are left
    /// as a hole.
    pub fn conceal_until(&mut self, position: i64, out: &mut dyn FnMut(i64, Bytes)) {
        self.step_if_far(position);
        while let Some(end) = self.end
            && position - end >= CONCEAL_PIECE_SAMPLES / 2
        {
            let piece = CONCEAL_PIECE_SAMPLES as usize;
            self.concealed += CONCEAL_PIECE_SAMPLES;
            if self.concealed > CONCEAL_SAMPLES_MAX || !self.decode(&[], piece, ropus::DecodeMode::Normal, 0, out) {
                self.waiting.resize(self.waiting.len() + piece * STEREO, 0);
                self.end = Some(end + CONCEAL_PIECE_SAMPLES);
                self.encode_whole_units(out);
            }
        }
    }

    /// Decodes into what waits, without the first `skip` samples; false if that failed.
    fn decode(
        &mut self,
        packet: &[u8],
        room: usize,
        mode: ropus::DecodeMode,
        skip: usize,
        out: &mut dyn FnMut(i64, Bytes),
    ) -> bool {
        let Some(space) = self.decoded.get_mut(..room * STEREO) else { return false };
        // The packet comes from the network; should the decoder stumble over it, the stream goes on with a new one.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(packet, space, mode)));
        let samples = match decoded {
            Ok(Ok(samples)) => samples,
            Ok(Err(_)) => return false,
            Err(_) => {
                if let Ok(decoder) = new_decoder() {
                    self.decoder = decoder;
                }
                return false;
            }
        };
        let kept = self.decoded.get(skip.min(samples) * STEREO..samples * STEREO).unwrap_or_default();
        self.waiting.extend_from_slice(kept);
        self.end = self.end.map(|end| end + (kept.len() / STEREO) as i64);
        self.encode_whole_units(out);
        true
    }

    fn encode_whole_units(&mut self, out: &mut dyn FnMut(i64, Bytes)) {
        let mut used = 0;
        for frame in self.waiting.chunks_exact(AAC_FRAME_SAMPLES * STEREO) {
            let mut unit = Vec::with_capacity(512);
            used += frame.len();
            // The first unit may keep the encoder waiting; it has a place in time all the same.
            if self.encoder.encode(frame, &mut unit).is_ok() && !unit.is_empty() {
                out(self.next_unit, unit.into());
            }
            self.next_unit += AAC_FRAME_SAMPLES as i64;
        }
        self.waiting.drain(..used);
    }
}

fn new_decoder() -> Result<ropus::Decoder, AudioError> {
    ropus::Decoder::new(48_000, ropus::Channels::Stereo).map_err(|_| AudioError::Setup)
}

#[cfg(all(test, feature = "aac-fdk"))]
mod tests {
    use super::*;
    use crate::bridge::fixture::{AAC16, BASELINE_AAC44, Heard, aac, assert_steady_tone, tags};

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
        let (config, units) = aac(&tags(flv));
        let mut listener = Listener::new();
        let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
        for (ms, unit) in units {
            transcoder.push(i64::from(ms) * 1000, &unit, &mut |at, packet| listener.packet(at, packet)).unwrap();
        }
        listener
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
            transcoder.push(us_of_position(*at), unit, &mut |at, packet| listener.packet(at, packet)).unwrap();
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
            transcoder.push(us, unit, &mut |at, _| positions.push(at)).unwrap();
        }
        let steps: Vec<i64> = positions.windows(2).map(|w| w[1] - w[0]).filter(|step| *step != 960).collect();
        assert_eq!(steps.len(), 1);
        assert!((steps[0] - 48 * 400).abs() < 48 * 45, "{steps:?}");

        // The second half again, with the same timestamps: as much sound as time in the end.
        let mut positions = Vec::new();
        let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
        let half = units.len() / 2;
        for (ms, unit) in units.iter().take(half).chain(&units[half / 2..]) {
            transcoder.push(i64::from(*ms) * 1000, unit, &mut |at, _| positions.push(at)).unwrap();
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
            transcoder.push(i64::from(*ms) * 1000, &unit, &mut |_, _| packets += 1).unwrap();
        }
        assert!(packets > 60);
        let mut back = OpusToAac::new(128_000).unwrap();
        for n in 0..300u32 {
            let packet: Vec<u8> =
                (0..n).map(|b| (b.wrapping_mul(2_654_435_761).wrapping_add(n * 97) >> 7) as u8).collect();
            back.push(i64::from(n) * 960, &packet, &mut |_, _| ());
        }
    }

    /// Not a benchmark to be held to, only a figure to be read: `cargo test --release -p media cost_of -- --nocapture`.
    #[test]
    fn cost_of_20_ms_in_each_direction_is_well_below_20_ms() {
        let (config, units) = beeps();
        let mut packets = Vec::new();
        let mut transcoder = AacToOpus::new(&config, 96_000).unwrap();
        let start = std::time::Instant::now();
        for (at, unit) in units.iter().filter(|(_, unit)| !unit.is_empty()) {
            transcoder.push(us_of_position(*at), unit, &mut |at, p| packets.push((at, p.to_vec()))).unwrap();
        }
        let to_opus = start.elapsed() / packets.len() as u32;
        let mut back = OpusToAac::new(128_000).unwrap();
        let start = std::time::Instant::now();
        packets.iter().for_each(|(at, packet)| back.push(*at, packet, &mut |_, _| ()));
        let to_aac = start.elapsed() / packets.len() as u32;
        println!("AAC to Opus {to_opus:?}, Opus to AAC {to_aac:?} per 20 ms of stereo");
        assert!(to_opus.as_millis() < 10 && to_aac.as_millis() < 10);
    }
}
