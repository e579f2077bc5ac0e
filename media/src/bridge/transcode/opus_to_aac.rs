//! The Opus of a room to the AAC of players.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::OPUS_FRAME_SAMPLES;
use crate::bridge::aac_codec::{AAC_FRAME_SAMPLES, AacEncoder, AudioError, aac_encoder};

/// Opus packets that begin within this of where the last one ended follow it without a seam.
const OPUS_TOLERANCE_SAMPLES: i64 = 48 * 10;

/// How much missing sound the Opus decoder is asked to make up before it is plain silence: as long as a sender that transmits
/// discontinuously lets pass between two packets (RFC 7587 §3.1.3), so that his silence keeps its noise.
const CONCEAL_SAMPLES_MAX: i64 = 48 * 440;

/// A hole that is longer than this is a step in time; shorter ones are filled. Somebody who mutes for minutes is filled as
/// time passes, see [`OpusToAac::conceal_until`].
const FILL_SAMPLES_MAX: i64 = 48 * 2_000;

/// Concealment is made in pieces of this length.
const CONCEAL_PIECE_SAMPLES: i64 = 480;

/// Samples per channel of the longest Opus packet: 120 ms (RFC 6716 §3.2.5).
pub(super) const OPUS_SAMPLES_MAX: usize = 5_760;

pub(super) const STEREO: usize = 2;

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

pub(super) fn new_decoder() -> Result<ropus::Decoder, AudioError> {
    ropus::Decoder::new(48_000, ropus::Channels::Stereo).map_err(|_| AudioError::Setup)
}
