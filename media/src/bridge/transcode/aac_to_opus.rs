//! A publisher's AAC to the Opus of a room.

use super::{OPUS_FRAME_SAMPLES, position_of_us};
use crate::bridge::{
    aac_codec::{AAC_FRAME_SAMPLES, AacDecoder, AudioError, PcmFormat, aac_decoder},
    drift::{Drift, SIDE_TAPS, STRETCH_MAX, stretch},
    resample::To48k,
};

/// Longest Opus packet of one frame (RFC 6716 §3.2.1).
const OPUS_PACKET_BYTES_MAX: usize = 1_275;

/// From this bitrate on Opus is made for music with the least delay, and without a search for the pitch of a voice (complexity 5
/// and more): it takes two thirds of the time, 4 ms less of sound, and a tone and a sweep are nearer to what they were (36.6 dB at
/// 96 kbit/s, with the search 36.0). Below, bits are few, and the modes for speech and the search are worth it.
const PLAIN_FROM_BPS: u32 = 64_000;

/// What the encoder is told that it is for, and how hard it tries, 0 to 10.
fn manner(bitrate_bps: u32) -> (ropus::Application, u8) {
    if bitrate_bps >= PLAIN_FROM_BPS {
        (ropus::Application::RestrictedLowDelay, 4)
    } else {
        (ropus::Application::Audio, 5)
    }
}

/// Incoming AAC timestamps may be off by this much before they are believed over the count of samples. Publishers round to
/// milliseconds and some stamp when they send; less would step needlessly, more would be seen on lips.
const AAC_TOLERANCE_SAMPLES: i64 = 48 * 50;

/// A hole that is no longer than this is filled with sound that is made up; a longer one is a step in time.
const CONCEAL_SAMPLES_MAX: i64 = 48 * 150;

/// Called with the position, the bytes and the loudness of a packet.
pub type OnPacket<'a> = dyn FnMut(i64, &[u8], u8) + 'a;

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
    /// Interleaved samples at 48 kHz that wait for a whole Opus frame, behind [`SIDE_TAPS`] that are encoded already.
    waiting: Vec<i16>,
    /// Position of the first of them that is not encoded.
    waiting_at: i64,
    drift: Drift,
    stretched: Vec<i16>,
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

    /// Takes the access unit whose time is `us`; gives `out` the position, the bytes and the loudness (decibels below overload,
    /// as RFC 6464 has it) of each Opus packet that is complete.
    ///
    /// An access unit that cannot be decoded is made up for from those before it, and so is a short hole in the timestamps.
    /// Where the samples do not keep time with the timestamps, the sound is made a little longer or shorter ([`Drift`]).
    ///
    /// # Errors
    /// [`AudioError::Setup`] if the stream turns out to be something that cannot be encoded.
    pub fn push(&mut self, us: i64, access_unit: &[u8], out: &mut OnPacket<'_>) -> Result<(), AudioError> {
        self.fill_hole(us, out);
        self.decoded.clear();
        let decoded = self.decoder.decode(access_unit, &mut self.decoded);
        // Before anything was decoded there is nothing to go on from, and nothing to be silent in.
        let Ok(format) = decoded.or_else(|_| self.decoder.conceal(&mut self.decoded)) else { return Ok(()) };
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

    /// Lets the decoder know an access unit of which nothing is to be heard, because it came before anybody listened.
    pub fn prime(&mut self, access_unit: &[u8]) {
        self.decoded.clear();
        // What cannot be read teaches nothing.
        let _ = self.decoder.decode(access_unit, &mut self.decoded);
    }

    /// Makes up for access units that are missing before the one of `us`.
    fn fill_hole(&mut self, us: i64, out: &mut OnPacket<'_>) {
        let Some(output) = &mut self.output else { return };
        let rate_hz = i64::from(output.format.rate_hz);
        let position = position_of_us(us) - i64::from(output.format.delay_samples) * 48_000 / rate_hz;
        let unit = output.last_len as i64 * 48_000 / rate_hz;
        let hole = position - output.expected();
        if unit == 0 || !(AAC_TOLERANCE_SAMPLES..=CONCEAL_SAMPLES_MAX).contains(&hole) {
            return;
        }
        for _ in 0..(hole + unit / 2) / unit {
            self.decoded.clear();
            match self.decoder.conceal(&mut self.decoded) {
                Ok(format) if same_sound(format, output.format) => output.take(format, &self.decoded, out),
                _ => return,
            }
        }
    }
}

fn same_sound(a: PcmFormat, b: PcmFormat) -> bool {
    (a.rate_hz, a.channels) == (b.rate_hz, b.channels)
}

impl Output {
    fn new(format: PcmFormat, position: i64, bitrate_bps: u32) -> Result<Self, AudioError> {
        let channels = if format.channels == 1 { ropus::Channels::Mono } else { ropus::Channels::Stereo };
        let (application, complexity) = manner(bitrate_bps);
        let encoder = ropus::Encoder::builder(48_000, channels, application)
            .bitrate(ropus::Bitrate::Bits(bitrate_bps))
            .complexity(complexity)
            .build()
            .map_err(|_| AudioError::Setup)?;
        let resampler = To48k::new(format.rate_hz, format.channels)?;
        let mut output = Output {
            format,
            resampler,
            encoder,
            waiting: Vec::new(),
            waiting_at: 0,
            drift: Drift::default(),
            stretched: Vec::new(),
            counted_from: 0,
            counted: 0,
            last_len: AAC_FRAME_SAMPLES,
            packet: vec![0; OPUS_PACKET_BYTES_MAX],
        };
        output.start_at(position);
        Ok(output)
    }

    fn push(&mut self, format: PcmFormat, position: i64, decoded: &[i16], out: &mut OnPacket<'_>) {
        let ahead = position - self.expected();
        if ahead > AAC_TOLERANCE_SAMPLES {
            self.flush(out);
            self.start_at(position);
        } else if ahead < -AAC_TOLERANCE_SAMPLES {
            // More samples than time: leaving some out lets the timestamps catch up, stepping back would not.
            return;
        } else {
            let frames = decoded.len() / format.channels;
            self.drift.note(ahead, frames as i64 * 48_000 / i64::from(format.rate_hz));
        }
        self.take(format, decoded, out);
    }

    /// The position of what comes next, by the count of samples.
    fn expected(&self) -> i64 {
        self.counted_from + self.counted * 48_000 / i64::from(self.format.rate_hz)
    }

    fn take(&mut self, format: PcmFormat, decoded: &[i16], out: &mut OnPacket<'_>) {
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
        self.waiting.resize(SIDE_TAPS * self.format.channels, 0);
        self.waiting_at = position - self.resampler.delay_samples();
        self.counted_from = position;
        self.counted = 0;
        self.drift = Drift::default();
    }

    /// Fills what waits up to a whole frame with silence and encodes it.
    fn flush(&mut self, out: &mut OnPacket<'_>) {
        let (before, whole) = (SIDE_TAPS * self.format.channels, OPUS_FRAME_SAMPLES * self.format.channels);
        let left = self.waiting.len() - before;
        if left > 0 {
            // And as much behind it as a frame looks ahead.
            self.waiting.resize(before + left.next_multiple_of(whole) + before, 0);
            self.encode_whole_frames(out);
        }
    }

    fn encode_whole_frames(&mut self, out: &mut OnPacket<'_>) {
        // The encoder's own look-ahead delays what a decoder gives back.
        let delay = i64::from(self.encoder.lookahead());
        let channels = self.format.channels;
        let mut used = 0;
        loop {
            // Enough for a frame that is made shorter, so that the decision is not lost.
            let most = OPUS_FRAME_SAMPLES + STRETCH_MAX as usize + 2 * SIDE_TAPS;
            if self.waiting.len() - used < most * channels {
                break;
            }
            let longer = self.drift.take();
            let from = (OPUS_FRAME_SAMPLES as i64 - longer) as usize;
            let frame = if longer == 0 {
                let start = used + SIDE_TAPS * channels;
                self.waiting.get(start..start + from * channels)
            } else {
                self.stretched.clear();
                let input = self.waiting.get(used..).unwrap_or_default();
                stretch(input, channels, from, OPUS_FRAME_SAMPLES, &mut self.stretched);
                self.counted_from += longer;
                Some(&self.stretched[..])
            };
            if let Some(frame) = frame
                && let Ok(len) = self.encoder.encode(frame, &mut self.packet)
            {
                out(self.waiting_at - delay, &self.packet[..len], loudness_dbov(frame));
            }
            self.waiting_at += OPUS_FRAME_SAMPLES as i64;
            used += from * channels;
        }
        self.waiting.drain(..used);
    }
}

/// Decibels of the samples' root mean square below that of full scale, 0 to 127 (RFC 6464 §3, RFC 6465 appendix A).
fn loudness_dbov(samples: &[i16]) -> u8 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    let mean = sum / samples.len().max(1) as f64 / (f64::from(i16::MAX) * f64::from(i16::MAX));
    // Of digital silence this is infinite, and the cast ends at 127.
    (-10.0 * mean.log10()).round().clamp(0.0, 127.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_bits_are_few_the_encoder_tries_harder() {
        assert_eq!(manner(PLAIN_FROM_BPS), (ropus::Application::RestrictedLowDelay, 4));
        assert_eq!(manner(PLAIN_FROM_BPS - 1), (ropus::Application::Audio, 5));
    }

    #[test]
    fn loudness_is_zero_at_full_scale_and_127_in_silence() {
        assert_eq!(loudness_dbov(&[i16::MAX; 960]), 0);
        assert_eq!(loudness_dbov(&[i16::MAX / 10; 960]), 20);
        assert_eq!(loudness_dbov(&[1; 960]), 90);
        assert_eq!([loudness_dbov(&[0; 960]), loudness_dbov(&[])], [127, 127]);
    }
}
