//! The clip as a live stream: round after round, in time, filled up to a bitrate if asked.

use bytes::{BufMut, Bytes, BytesMut};
use media::flv::{Tag, TagKind, VideoBody, avc_frame, read_video};

use super::{LoadError, clip::Clip};

/// NAL unit type of supplemental enhancement information (H.264 table 7-1). Filler data (type 12) would be the obvious
/// filling, but whoever repacketises is right to throw it away; this is not his to judge.
const NAL_SEI: u8 = 6;
/// SEI payload type `user_data_unregistered` (H.264 §D.1.7): decoders skip it.
const SEI_UNREGISTERED: u8 = 5;
/// Says whose the unregistered data is: nobody's but ours.
const SEI_UUID: [u8; 16] = *b"roomcast-filling";
/// A byte that can stand in a NAL unit any number of times without looking like a start code.
const FILLING: u8 = 0x55;
/// Bytes of the unit beside the filling: length prefix, header, type, UUID, stop bit.
const SEI_OVERHEAD: usize = 4 + 1 + 1 + SEI_UUID.len() + 1;

/// Tags with the time at which they are due, without end.
pub struct Source {
    clip: Clip,
    next: usize,
    round: u64,
    filling: Option<Filling>,
}

/// Keeps the account of bytes that the wanted rate still owes.
struct Filling {
    bytes_per_picture: u64,
    owed: i64,
}

impl Source {
    /// `video_kbps`: fill the pictures up to this rate.
    ///
    /// # Errors
    /// If the clip alone is above the rate, or its units cannot be added to.
    pub fn new(clip: Clip, video_kbps: Option<u32>) -> Result<Source, LoadError> {
        let filling = match video_kbps.map(u64::from) {
            None => None,
            Some(kbps) if kbps < clip.video_kbps() => {
                let alone = clip.video_kbps();
                return Err(LoadError::new(format!("--video-kbps {kbps}: the clip alone has {alone} kbit/s of video")));
            }
            Some(_) if !clip.has_long_prefixes() => {
                return Err(LoadError::new("--video-kbps needs a file whose NAL units have lengths of four bytes"));
            }
            Some(kbps) => {
                let bytes_per_round = kbps * clip.round_ms / 8;
                Some(Filling { bytes_per_picture: bytes_per_round / clip.pictures().max(1), owed: 0 })
            }
        };
        Ok(Source { clip, next: 0, round: 0, filling })
    }

    /// Metadata and sequence headers, all at the beginning.
    pub fn headers(&self) -> Vec<Tag> {
        self.clip.headers.iter().map(|tag| Tag { timestamp_ms: 0, ..tag.clone() }).collect()
    }

    /// The next tag and when it is due, in milliseconds since the start. Times on the tags run on from round to round.
    pub fn next_tag(&mut self) -> (u64, Tag) {
        let mut tag = self.clip.frames.get(self.next).cloned().expect("a clip has frames");
        let due_ms = self.round * self.clip.round_ms + u64::from(tag.timestamp_ms);
        tag.timestamp_ms = due_ms as u32;
        self.next += 1;
        if self.next >= self.clip.frames.len() {
            self.next = 0;
            self.round += 1;
        }
        if tag.kind == TagKind::Video
            && let Some(filling) = &mut self.filling
        {
            tag.payload = filling.fill(&tag.payload);
        }
        (due_ms, tag)
    }
}

impl Filling {
    fn fill(&mut self, payload: &Bytes) -> Bytes {
        self.owed += self.bytes_per_picture as i64 - payload.len() as i64;
        let Ok(VideoBody::AvcFrame { key, composition_ms, nalus }) = read_video(payload) else {
            return payload.clone();
        };
        let Some(room) = usize::try_from(self.owed).ok().filter(|room| *room > SEI_OVERHEAD + 2) else {
            return payload.clone();
        };
        let mut filled = BytesMut::with_capacity(room + nalus.len());
        write_sei(&mut filled, room);
        self.owed -= filled.len() as i64;
        filled.put_slice(nalus);
        avc_frame(key, composition_ms, &filled)
    }
}

/// Writes an SEI unit of at most `bytes` bytes, behind a four-byte length. It goes before the slices (H.264 §7.4.1.2.3).
fn write_sei(out: &mut BytesMut, bytes: usize) {
    // Every 255 bytes of payload cost one of size.
    let room = bytes - SEI_OVERHEAD;
    let filling = room - (room + SEI_UUID.len()) / 255 - 1;
    let size = SEI_UUID.len() + filling;
    let unit = 2 + size / 255 + 1 + size + 1;
    out.put_u32(unit as u32);
    out.put_slice(&[NAL_SEI, SEI_UNREGISTERED]);
    out.put_bytes(0xff, size / 255);
    out.put_u8((size % 255) as u8);
    out.put_slice(&SEI_UUID);
    out.put_bytes(FILLING, filling);
    out.put_u8(0x80);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of_a_round(source: &mut Source) -> u64 {
        let mut bytes = 0;
        loop {
            let (due_ms, tag) = source.next_tag();
            if due_ms >= 16_000 {
                return bytes;
            }
            if tag.kind == TagKind::Video {
                bytes += tag.payload.len() as u64;
            }
        }
    }

    #[test]
    fn filling_reaches_the_rate_within_a_percent() {
        for kbps in [500, 1_500, 8_000] {
            let mut source = Source::new(Clip::load(None).unwrap(), Some(kbps)).unwrap();
            let reached = bytes_of_a_round(&mut source) * 8 / 16_000;
            assert!(reached.abs_diff(u64::from(kbps)) * 100 <= u64::from(kbps), "{reached} of {kbps}");
        }
    }

    #[test]
    fn a_rate_below_that_of_the_clip_is_refused() {
        assert!(Source::new(Clip::load(None).unwrap(), Some(1)).is_err());
    }

    #[test]
    fn times_run_on_from_round_to_round() {
        let mut source = Source::new(Clip::load(None).unwrap(), None).unwrap();
        let times: Vec<u64> = (0..3_000).map(|_| source.next_tag().0).collect();
        assert!(times.is_sorted() && *times.last().unwrap() > 32_000);
    }

    #[test]
    fn an_sei_unit_has_the_length_that_it_says_and_at_most_what_is_asked() {
        for bytes in SEI_OVERHEAD + 3..3_000 {
            let mut out = BytesMut::new();
            write_sei(&mut out, bytes);
            assert_eq!(u32::from_be_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
            assert!(out.len() <= bytes && out.len() + 4 > bytes, "{} of {bytes}", out.len());
        }
    }
}
