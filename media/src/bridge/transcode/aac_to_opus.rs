//! A publisher's AAC to the Opus of a room.

use super::{OPUS_FRAME_SAMPLES, position_of_us};
use crate::bridge::{
    aac_codec::{AAC_FRAME_SAMPLES, AacDecoder, AudioError, PcmFormat, aac_decoder},
    resample::To48k,
};

/// Longest Opus packet of one frame (RFC 6716 §3.2.1).
const OPUS_PACKET_BYTES_MAX: usize = 1_275;

/// How hard the Opus encoder tries, 0 to 10. At 10 it takes half as long again and nobody hears it at 96 kbit/s.
const OPUS_COMPLEXITY: u8 = 5;

/// Incoming AAC timestamps may be off by this much before they are believed over the count of samples. Publishers round to
/// milliseconds and some stamp when they send; less would step needlessly, more would be seen on lips.
const AAC_TOLERANCE_SAMPLES: i64 = 48 * 50;

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
