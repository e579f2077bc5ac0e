//! Pictures coded anew without B-frames, by Cisco's OpenH264 (feature `reencode`): bytes and times in, in the order in which they
//! are decoded; bytes and times out, in the order in which they are shown.
//!
//! The decoder puts pictures in order, and gives out one for each that it takes; so the next that it gives out belongs to the
//! earliest of the times that wait. Each group of pictures gets a decoder of its own, and counts as whole only if as many pictures
//! came out of it as went in.

use std::collections::VecDeque;

use openh264::{
    OpenH264API, Timestamp,
    decoder::{DecodedYUV, Decoder, DecoderConfig, Flush},
    encoder::{BitRate, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, RateControlMode, UsageType},
    formats::YUVSource,
};

use crate::codec::h264::{
    NalKind,
    nal::{self, annex_b, write_annex_b},
};

/// Most pictures that wait in the decoder for their turn: so many an encoder may reorder at most (`max_num_reorder_frames`, ITU-T
/// H.264 §E.2.1). With one more the decoder is given up.
pub const WAITING_PICTURES_MAX: usize = 16;

/// Most pixels of a picture's longer and shorter side, and least of either, that the encoder takes.
pub const SIDES_MAX: (usize, usize) = (3_840, 2_160);
const SIDE_MIN: usize = 16;

/// Bits per second are kept within this.
const BITRATE_BPS: std::ops::RangeInclusive<u64> = 100_000..=20_000_000;
/// Pictures per second are kept within this; the encoder knows no more than 60.
const PICTURES_PER_SECOND: std::ops::RangeInclusive<f32> = 1.0..=60.0;
/// What comes out gets so many quarters of the bitrate of what came in: it has neither B-frames nor CABAC, and is the second
/// generation.
const BITRATE_QUARTERS: u64 = 5;
/// An encoder whose bitrate misses the wanted one by more than one part in so many is replaced at the next key frame.
const BITRATE_TOLERANCE: u64 = 4;

/// Why pictures cannot be coded anew.
#[derive(Debug, thiserror::Error)]
pub enum ReencodeError {
    /// The decoder or the encoder could not be made.
    #[error("no codec: {0}")]
    Setup(openh264::Error),
    #[error("a picture cannot be decoded: {0}")]
    Decode(openh264::Error),
    /// What is no whole picture, or of a kind that the decoder does not know (fields, 4:2:2, 10 bits).
    #[error("the decoder left pictures out")]
    LeftOut,
    #[error("pictures of {width}x{height} are not coded anew")]
    Size { width: usize, height: usize },
    #[error("a picture cannot be encoded: {0}")]
    Encode(openh264::Error),
}

/// How much comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub bitrate_bps: u64,
    pub pictures_per_second: f32,
}

impl Default for Rate {
    /// Until something was measured.
    fn default() -> Self {
        Rate { bitrate_bps: 2_000_000, pictures_per_second: 30.0 }
    }
}

/// Measures what comes in from one key frame to the next.
#[derive(Debug, Default)]
pub struct Meter {
    since_us: i64,
    bytes: u64,
    pictures: u32,
    rate: Rate,
}

impl Meter {
    /// Counts a picture that is decoded at `dts_us`. A key frame ends a measurement and begins the next.
    pub fn count(&mut self, dts_us: i64, key: bool, bytes: usize) {
        if key {
            let us = dts_us.saturating_sub(self.since_us);
            if self.pictures > 1 && us > 0 {
                let bitrate_bps = self.bytes.saturating_mul(8_000_000) / us as u64;
                self.rate = Rate { bitrate_bps, pictures_per_second: self.pictures as f32 * 1e6 / us as f32 };
            }
            (self.since_us, self.bytes, self.pictures) = (dts_us, 0, 0);
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.pictures = self.pictures.saturating_add(1);
    }

    /// What was measured last.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

/// A coded picture on its way in.
#[derive(Clone, Copy, Debug)]
pub struct Coded<'a> {
    /// When it is shown, in microseconds.
    pub pts_us: i64,
    /// Decoding can begin here: the parameter sets are among the units.
    pub key: bool,
    /// All NAL units of the picture.
    pub nals: &'a [&'a [u8]],
}

/// Takes pictures that were coded anew: when they are shown, in microseconds, each later than the one before; and their NAL
/// units, those of a key frame with parameter sets.
pub type CodedSink<'a> = dyn FnMut(i64, &[&[u8]]) + 'a;

/// One stream's decoder and encoder.
pub struct Reencoder {
    decoder: Decoder,
    /// Of the pictures that wait in the decoder, the earliest first.
    waiting: VecDeque<Waiting>,
    output: Output,
    access_unit: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Waiting {
    pts_us: i64,
    key: bool,
}

/// The encoder's side.
struct Output {
    encoder: Option<SizedEncoder>,
    /// When the latest picture that went out is shown.
    latest_us: Option<i64>,
    key_wanted: bool,
    bytes: Vec<u8>,
}

struct SizedEncoder {
    encoder: Encoder,
    dimensions: (usize, usize),
    bitrate_bps: u64,
}

impl Reencoder {
    /// Begins with the next picture, which has to be a key frame. `latest_us`: when the latest picture that the receivers have is
    /// shown; only later ones go out.
    ///
    /// # Errors
    /// [`ReencodeError::Setup`] if there is no memory for a decoder.
    pub fn new(latest_us: Option<i64>) -> Result<Self, ReencodeError> {
        let output = Output { encoder: None, latest_us, key_wanted: false, bytes: Vec::new() };
        Ok(Reencoder { decoder: new_decoder()?, waiting: VecDeque::new(), output, access_unit: Vec::new() })
    }

    /// Makes the next picture that goes out a key frame.
    pub fn want_key(&mut self) {
        self.output.key_wanted = true;
    }

    /// Takes a picture, of a stream of this rate, and gives out all whose turn has come.
    ///
    /// # Errors
    /// Any [`ReencodeError`]; then this is of no more use.
    pub fn push(&mut self, coded: Coded<'_>, rate: Rate, out: &mut CodedSink<'_>) -> Result<(), ReencodeError> {
        if coded.nals.iter().any(|unit| nal::kind(unit) == NalKind::Idr) && !self.waiting.is_empty() {
            self.finish(rate, out)?;
            self.decoder = new_decoder()?;
        }
        self.access_unit.clear();
        coded.nals.iter().for_each(|unit| write_annex_b(&mut self.access_unit, unit));
        let place = self.waiting.partition_point(|waiting| waiting.pts_us <= coded.pts_us);
        self.waiting.insert(place, Waiting { pts_us: coded.pts_us, key: coded.key });
        let decoded = self.decoder.decode(&self.access_unit).map_err(ReencodeError::Decode)?;
        if let (Some(picture), Some(next)) = (decoded, self.waiting.front()) {
            self.output.encode(*next, &picture, rate, out)?;
            self.waiting.pop_front();
        }
        if self.waiting.len() > WAITING_PICTURES_MAX { Err(ReencodeError::LeftOut) } else { Ok(()) }
    }

    /// Gives out what waits, after which only a key frame may follow.
    ///
    /// # Errors
    /// [`ReencodeError::LeftOut`] if the decoder did not give out as many pictures as it took, and those of the encoder.
    pub fn finish(&mut self, rate: Rate, out: &mut CodedSink<'_>) -> Result<(), ReencodeError> {
        for picture in self.decoder.flush_remaining().map_err(ReencodeError::Decode)? {
            let next = self.waiting.pop_front().ok_or(ReencodeError::LeftOut)?;
            self.output.encode(next, &picture, rate, out)?;
        }
        if self.waiting.is_empty() { Ok(()) } else { Err(ReencodeError::LeftOut) }
    }
}

fn new_decoder() -> Result<Decoder, ReencodeError> {
    // Unless told otherwise it gives pictures out of order.
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    Decoder::with_api_config(OpenH264API::from_source(), config).map_err(ReencodeError::Setup)
}

impl Output {
    fn encode(
        &mut self,
        Waiting { pts_us, key }: Waiting,
        picture: &DecodedYUV<'_>,
        rate: Rate,
        out: &mut CodedSink<'_>,
    ) -> Result<(), ReencodeError> {
        let (width, height) = picture.dimensions();
        if !is_size_taken(width, height) {
            return Err(ReencodeError::Size { width, height });
        }
        self.key_wanted |= key;
        // Only of publishers whose times are wrong: two pictures at once, or one that belongs before what is out already.
        if self.latest_us.is_some_and(|latest_us| pts_us <= latest_us) {
            return Ok(());
        }
        let bitrate_bps = bitrate_of(rate);
        let (encoder, fresh) = match self.encoder.take() {
            Some(encoder) if encoder.suits((width, height), self.key_wanted, bitrate_bps) => (encoder, false),
            _ => (SizedEncoder::new((width, height), rate, bitrate_bps)?, true),
        };
        let encoder = self.encoder.insert(encoder);
        if std::mem::take(&mut self.key_wanted) && !fresh {
            encoder.encoder.force_intra_frame();
        }
        let at = Timestamp::from_millis(u64::try_from(pts_us / 1000).unwrap_or(0));
        let stream = encoder.encoder.encode_at(picture, at).map_err(ReencodeError::Encode)?;
        self.bytes.clear();
        stream.write_vec(&mut self.bytes);
        let nals: Vec<&[u8]> = annex_b(&self.bytes).collect();
        if !nals.is_empty() {
            self.latest_us = Some(pts_us);
            out(pts_us, &nals);
        }
        Ok(())
    }
}

/// Whether pictures of this size can be coded; sides of an odd number of pixels cannot.
fn is_size_taken(width: usize, height: usize) -> bool {
    let (longer, shorter) = (width.max(height), width.min(height));
    shorter >= SIDE_MIN
        && longer <= SIDES_MAX.0
        && shorter <= SIDES_MAX.1
        && width.is_multiple_of(2)
        && height.is_multiple_of(2)
}

impl SizedEncoder {
    fn new(dimensions: (usize, usize), rate: Rate, bitrate_bps: u64) -> Result<Self, ReencodeError> {
        let pictures_per_second =
            rate.pictures_per_second.clamp(*PICTURES_PER_SECOND.start(), *PICTURES_PER_SECOND.end());
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(bitrate_bps as u32))
            .max_frame_rate(FrameRate::from_hz(pictures_per_second))
            .rate_control_mode(RateControlMode::Bitrate)
            .usage_type(UsageType::CameraVideoRealTime)
            // Every picture that comes in goes out.
            .skip_frames(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            // Streams are many, and share the threads of the bridge.
            .num_threads(1);
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(ReencodeError::Setup)?;
        Ok(SizedEncoder { encoder, dimensions, bitrate_bps })
    }

    /// Whether the next picture may be coded by this. Another encoder begins with a key frame, so that there has to be one
    /// anyway, unless the size changes.
    fn suits(&self, dimensions: (usize, usize), key: bool, bitrate_bps: u64) -> bool {
        let near = self.bitrate_bps.abs_diff(bitrate_bps) <= self.bitrate_bps / BITRATE_TOLERANCE;
        dimensions == self.dimensions && (near || !key)
    }
}

/// Bits per second for a stream that came in at this rate.
fn bitrate_of(rate: Rate) -> u64 {
    (rate.bitrate_bps.saturating_mul(BITRATE_QUARTERS) / 4).clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end())
}

#[cfg(all(test, feature = "aac-fdk"))]
mod tests;
