//! What several tests of the bridge need: recordings, and ears.

use bytes::Bytes;

use super::aac_codec::aac_decoder;
use crate::flv::{AudioBody, Tag, TagKind, TagReader, read_audio};

pub const BASELINE_AAC44: &[u8] = include_bytes!("../../tests/data/baseline-aac44.flv");
pub const BFRAMES: &[u8] = include_bytes!("../../tests/data/bframes.flv");
pub const AAC16: &[u8] = include_bytes!("../../tests/data/aac16.flv");

/// The tags of an FLV file.
pub fn tags(mut file: &[u8]) -> Vec<Tag> {
    let mut reader = TagReader::new();
    std::iter::from_fn(|| reader.read(&mut file).unwrap()).collect()
}

/// The AudioSpecificConfig and the access units, with their milliseconds, of AAC tags.
pub fn aac(tags: &[Tag]) -> (Bytes, Vec<(u32, Bytes)>) {
    let mut config = Bytes::new();
    let mut units = Vec::new();
    for tag in tags.iter().filter(|t| t.kind == TagKind::Audio) {
        match read_audio(&tag.payload) {
            Ok(AudioBody::AacHeader(c)) => config = Bytes::copy_from_slice(c),
            Ok(AudioBody::AacFrame(unit)) => units.push((tag.timestamp_ms, Bytes::copy_from_slice(unit))),
            _ => {}
        }
    }
    (config, units)
}

/// Sound as it would be heard: mono samples by 48 kHz position, from `start` on.
pub struct Heard {
    pub start: i64,
    pub samples: Vec<f64>,
}

impl Heard {
    pub fn new() -> Self {
        Heard { start: i64::MIN, samples: Vec::new() }
    }

    /// Lays interleaved samples down at their position; a hole before them is silence.
    pub fn lay(&mut self, position: i64, pcm: &[i16], channels: usize) {
        if self.start == i64::MIN {
            self.start = position;
        }
        let at = (position - self.start).max(0) as usize;
        let frames = pcm.chunks_exact(channels).map(|frame| f64::from(frame[0]));
        self.samples.resize(self.samples.len().max(at), 0.0);
        self.samples.truncate(at);
        self.samples.extend(frames);
    }

    /// Sound of AAC at 48 kHz, each access unit laid where its time says.
    pub fn of_aac(config: &[u8], units: impl IntoIterator<Item = (i64, Bytes)>) -> Self {
        let mut decoder = aac_decoder(config).unwrap();
        let mut heard = Heard::new();
        for (position, unit) in units {
            let mut pcm = Vec::new();
            let format = decoder.decode(&unit, &mut pcm).unwrap();
            assert_eq!(format.rate_hz, 48_000);
            heard.lay(position - i64::from(format.delay_samples), &pcm, format.channels);
        }
        heard
    }

    /// Positions at which the sound becomes loud after at least 100 ms of quiet.
    pub fn onsets(&self, loud: f64) -> Vec<i64> {
        let mut onsets = Vec::new();
        let mut quiet_since = 0;
        for (n, sample) in self.samples.iter().enumerate() {
            if sample.abs() >= loud {
                if n - quiet_since >= 4_800 {
                    onsets.push(self.start + n as i64);
                }
                quiet_since = n;
            }
        }
        onsets
    }
}

/// Amplitude of a tone in samples at 48 kHz (Goertzel).
pub fn amplitude(samples: &[f64], hz: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * hz / 48_000.0).cos();
    let (mut a, mut b) = (0.0, 0.0);
    for sample in samples {
        (a, b) = (sample + coefficient * a - b, a);
    }
    2.0 * (a * a + b * b - coefficient * a * b).max(0.0).sqrt() / samples.len() as f64
}

/// Asserts that each 20 ms of `samples` is the 1 kHz tone and nothing else of note. The recordings themselves waver by a
/// fifth, such is AAC at their bitrates.
pub fn assert_steady_tone(samples: &[f64], from: usize, to: usize) {
    let whole = amplitude(&samples[from..to], 1000.0);
    assert!(whole > 3_000.0, "no tone: {whole}");
    for (n, piece) in samples[from..to].chunks_exact(960).enumerate() {
        let tone = amplitude(piece, 1000.0);
        let off = amplitude(piece, 1450.0);
        assert!((tone / whole - 1.0).abs() < 0.4 && off < whole / 5.0, "piece {n}: {tone} of {whole}, beside it {off}");
    }
}
