//! The clip as a live stream: round after round, in time, its pictures made larger or smaller to meet a bitrate, each with
//! the time of its sending inside.
//!
//! Every picture is scaled by the same factor, so that the bursts are those of an encoder: a key frame is ten times what
//! follows it, and a scene with motion is more than one without.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use media::flv::{Tag, TagKind, VideoBody, avc_frame, read_video};

use super::{
    LoadError,
    clip::Clip,
    stamp::{self, STAMP_BYTES, UUID},
};

/// NAL unit type of supplemental enhancement information (H.264 table 7-1). Filler data (type 12) would be the obvious
/// filling, but whoever repacketises is right to throw it away; this is not his to judge.
const NAL_SEI: u8 = 6;
/// NAL unit types of slices: of other pictures, of key frames.
const NAL_SLICES: [u8; 2] = [1, 5];
/// SEI payload type `user_data_unregistered` (H.264 §D.1.7): decoders skip it.
const SEI_UNREGISTERED: u8 = 5;
/// A byte that can stand in a NAL unit any number of times without looking like a start code.
const FILLING: u8 = 0x55;
/// Bytes of a unit around the SEI payload: length prefix, header, type, last byte of the size, stop bit.
const SEI_AROUND: usize = 4 + 1 + 1 + 1 + 1;
/// The smallest unit: nothing but the time.
const SEI_BYTES_MIN: usize = SEI_AROUND + UUID.len() + STAMP_BYTES;
/// What is left at least of a slice that is cut short: its header, so that it still looks like one.
const SLICE_BYTES_MIN: usize = 24;

/// The pictures and sounds of a round, ready to be sent.
pub struct Footage {
    /// Metadata and sequence headers.
    pub headers: Vec<Tag>,
    /// By time; the first is a key frame at 0 ms.
    pub tags: Vec<Tag>,
    pub round_ms: u64,
}

/// A tag that is to be sent.
pub struct Due {
    /// Milliseconds since the start.
    pub at_ms: u64,
    tag: Tag,
}

/// Tags with the time at which they are due, without end.
pub struct Source {
    footage: Rc<Footage>,
    next: usize,
    round: u64,
}

impl Footage {
    /// `video_kbps`: scale the pictures to this rate. Below the clip's own, slices are cut short: their number and sizes are
    /// then right, but nobody can watch them.
    ///
    /// # Errors
    /// If the pictures cannot be changed because the lengths of their units do not have four bytes.
    pub fn new(clip: Clip, video_kbps: Option<u32>) -> Result<Footage, LoadError> {
        let changeable = clip.has_long_prefixes();
        if video_kbps.is_some() && !changeable {
            return Err(LoadError::new("--video-kbps needs a file whose NAL units have lengths of four bytes"));
        }
        let factor = video_kbps.map_or(1.0, |kbps| f64::from(kbps) / (clip.video_kbps().max(1) as f64));
        let mut tags = clip.frames;
        for tag in tags.iter_mut().filter(|tag| tag.kind == TagKind::Video && changeable) {
            tag.payload = scaled(&tag.payload, factor);
        }
        Ok(Footage { headers: clip.headers, tags, round_ms: clip.round_ms })
    }
}

impl Source {
    pub fn new(footage: Rc<Footage>) -> Source {
        Source { footage, next: 0, round: 0 }
    }

    /// Metadata and sequence headers, all at the beginning.
    pub fn headers(&self) -> Vec<Tag> {
        self.footage.headers.iter().map(|tag| Tag { timestamp_ms: 0, ..tag.clone() }).collect()
    }

    /// The next tag. Times on the tags run on from round to round.
    pub fn next_due(&mut self) -> Due {
        let mut tag = self.footage.tags.get(self.next).cloned().expect("a clip has frames");
        let at_ms = self.round * self.footage.round_ms + u64::from(tag.timestamp_ms);
        tag.timestamp_ms = at_ms as u32;
        self.next += 1;
        if self.next >= self.footage.tags.len() {
            self.next = 0;
            self.round += 1;
        }
        Due { at_ms, tag }
    }
}

impl Due {
    /// The tag, with the time of now in it if it is a picture. To be sent at once.
    pub fn stamped(&self) -> Tag {
        let mut tag = self.tag.clone();
        if tag.kind == TagKind::Video
            && let Some(at) = stamp::position(&tag.payload)
        {
            let mut payload = BytesMut::from(&tag.payload[..]);
            stamp::write(&mut payload, at, stamp::unix_us());
            tag.payload = payload.freeze();
        }
        tag
    }
}

/// A picture of `factor` times the size, with room for the time.
fn scaled(payload: &Bytes, factor: f64) -> Bytes {
    let Ok(VideoBody::AvcFrame { key, composition_ms, nalus }) = read_video(payload) else {
        return payload.clone();
    };
    let wanted = (payload.len() as f64 * factor) as usize;
    let mut out = BytesMut::with_capacity(wanted.max(payload.len()) + SEI_BYTES_MIN);
    write_sei(&mut out, wanted.saturating_sub(payload.len()).max(SEI_BYTES_MIN));
    if factor < 1.0 {
        let left = wanted.saturating_sub(SEI_BYTES_MIN) as f64 / payload.len().max(1) as f64;
        write_cut(&mut out, nalus, left);
    } else {
        out.put_slice(nalus);
    }
    avc_frame(key, composition_ms, &out)
}

/// Copies units, of slices only the share `left`.
fn write_cut(out: &mut BytesMut, mut nalus: &[u8], left: f64) {
    while let Some((length, rest)) = nalus.split_first_chunk::<4>() {
        let length = (u32::from_be_bytes(*length) as usize).min(rest.len());
        let (unit, rest) = rest.split_at(length);
        nalus = rest;
        let is_slice = unit.first().is_some_and(|header| NAL_SLICES.contains(&(header & 0x1f)));
        let share = (unit.len() as f64 * left) as usize;
        let kept = if is_slice { share.clamp(SLICE_BYTES_MIN.min(unit.len()), unit.len()) } else { unit.len() };
        out.put_u32(kept as u32);
        out.put_slice(unit.get(..kept).unwrap_or(unit));
    }
}

/// Writes an SEI unit of `bytes`, or one fewer where no size comes out at that, behind a four-byte length, with room for the
/// time in front. It goes before the slices (H.264 §7.4.1.2.3).
pub fn write_sei(out: &mut BytesMut, bytes: usize) {
    // Every 255 bytes of payload cost one of size: the sum skips every 256th number.
    let wanted = bytes - SEI_AROUND;
    let size = (wanted - wanted / 256 - usize::from(wanted % 256 == 255)).max(UUID.len() + STAMP_BYTES);
    let unit = SEI_AROUND - 4 + size / 255 + size;
    out.put_u32(unit as u32);
    out.put_slice(&[NAL_SEI, SEI_UNREGISTERED]);
    out.put_bytes(0xff, size / 255);
    out.put_u8((size % 255) as u8);
    out.put_slice(&UUID);
    out.put_bytes(0x80, STAMP_BYTES);
    out.put_bytes(FILLING, size - UUID.len() - STAMP_BYTES);
    out.put_u8(0x80);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footage(kbps: Option<u32>) -> Footage {
        Footage::new(Clip::load(None).unwrap(), kbps).unwrap()
    }

    fn sizes(footage: &Footage) -> Vec<usize> {
        footage.tags.iter().filter(|tag| tag.kind == TagKind::Video).map(|tag| tag.payload.len()).collect()
    }

    #[test]
    fn scaling_reaches_the_rate_up_and_down() {
        for kbps in [100, 200, 500, 1_500, 8_000] {
            let bytes: usize = sizes(&footage(Some(kbps))).iter().sum();
            let reached = bytes as u64 * 8 / 16_000;
            // What is small cannot be cut below what makes a picture one.
            let off = if kbps < 300 { 20 } else { 5 };
            assert!(reached.abs_diff(u64::from(kbps)) * 100 <= u64::from(kbps) * off, "{reached} of {kbps}");
        }
    }

    #[test]
    fn a_key_frame_stays_as_many_times_larger_as_it_was() {
        let of = |kbps| {
            let sizes = sizes(&footage(kbps));
            sizes[0] as f64 * sizes.len() as f64 / sizes.iter().sum::<usize>() as f64
        };
        let (own, large) = (of(None), of(Some(3_000)));
        assert!(own > 2.0 && (own - large).abs() / own < 0.2, "{own} {large}");
    }

    #[test]
    fn pictures_carry_the_time_of_their_sending() {
        for kbps in [None, Some(200), Some(2_000)] {
            let mut source = Source::new(Rc::new(footage(kbps)));
            let before = stamp::unix_us();
            for _ in 0..100 {
                let tag = source.next_due().stamped();
                if tag.kind == TagKind::Video {
                    assert!((before..before + 10_000_000).contains(&stamp::read(&tag.payload).unwrap()));
                }
            }
        }
    }

    #[test]
    fn cut_pictures_are_still_whole_units() {
        for tag in footage(Some(100)).tags.iter().filter(|tag| tag.kind == TagKind::Video) {
            let Ok(VideoBody::AvcFrame { mut nalus, .. }) = read_video(&tag.payload) else { panic!("no picture") };
            while let Some((length, rest)) = nalus.split_first_chunk::<4>() {
                nalus = rest.get(u32::from_be_bytes(*length) as usize..).expect("a whole unit");
            }
            assert!(nalus.is_empty());
        }
    }

    #[test]
    fn times_run_on_from_round_to_round() {
        let mut source = Source::new(Rc::new(footage(None)));
        let times: Vec<u64> = (0..3_000).map(|_| source.next_due().at_ms).collect();
        assert!(times.is_sorted() && *times.last().unwrap() > 32_000);
    }

    #[test]
    fn an_sei_unit_has_the_length_that_it_says_and_at_most_what_is_asked() {
        for bytes in SEI_BYTES_MIN..3_000 {
            let mut out = BytesMut::new();
            write_sei(&mut out, bytes);
            assert_eq!(u32::from_be_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
            assert!(out.len() <= bytes && out.len() + 1 >= bytes, "{} of {bytes}", out.len());
        }
    }
}
