//! What is published: the tags of an FLV file, from the built-in clip or from the user's.

use std::{fs, path::Path};

use media::flv::{Tag, TagKind, TagReader, VideoBody, read_video};

use super::LoadError;

/// 16 seconds of H.264 Constrained Baseline, 640x360 at 25 frames/s, and AAC, made to be looped.
const BUILT_IN: &[u8] = include_bytes!("../../web-demo/clip.flv");

/// A recording that is played in a circle.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Metadata and sequence headers.
    pub headers: Vec<Tag>,
    /// Everything else, by time; the first is at 0 ms.
    pub frames: Vec<Tag>,
    /// How long one round takes, in milliseconds; never 0.
    pub round_ms: u64,
}

impl Clip {
    /// # Errors
    /// If the file cannot be read, is no FLV, or has no H.264 video that begins with a key frame.
    pub fn load(file: Option<&Path>) -> Result<Clip, LoadError> {
        match file {
            None => Clip::read(BUILT_IN),
            Some(path) => {
                let bytes = fs::read(path).map_err(|error| LoadError::new(format!("{}: {error}", path.display())))?;
                Clip::read(&bytes).map_err(|error| LoadError::new(format!("{}: {error}", path.display())))
            }
        }
    }

    fn read(mut bytes: &[u8]) -> Result<Clip, LoadError> {
        let mut reader = TagReader::new();
        let (mut headers, mut frames) = (Vec::new(), Vec::new());
        while let Some(tag) = reader.read(&mut bytes).map_err(|error| LoadError::new(error.to_string()))? {
            match tag.kind {
                _ if tag.header => headers.push(tag),
                // What is no picture (the end of the sequence, say) must not come round again.
                TagKind::Video if !is_h264(&tag) => {}
                _ => frames.push(tag),
            }
        }
        // A circle of pictures has to begin with one that stands alone.
        let first = frames.iter().position(|tag| tag.key);
        let first = first.ok_or_else(|| LoadError::new("there is no H.264 key frame in the file"))?;
        frames.drain(..first);
        let start = frames.first().map_or(0, |tag| tag.timestamp_ms);
        frames.retain(|tag| tag.timestamp_ms >= start);
        frames.iter_mut().for_each(|tag| tag.timestamp_ms -= start);
        frames.sort_by_key(|tag| tag.timestamp_ms);
        let round_ms = [TagKind::Video, TagKind::Audio].map(|kind| length_ms(&frames, kind)).into_iter().max();
        Ok(Clip { headers, frames, round_ms: round_ms.unwrap_or(0).max(1) })
    }

    /// Bits per second of the video, in thousands.
    pub fn video_kbps(&self) -> u64 {
        let bytes: usize = self.frames.iter().filter(|t| t.kind == TagKind::Video).map(|t| t.payload.len()).sum();
        bytes as u64 * 8 / self.round_ms
    }

    /// Whether the lengths before NAL units take four bytes (ISO/IEC 14496-15 §5.3.3.1, `lengthSizeMinusOne`).
    pub fn has_long_prefixes(&self) -> bool {
        self.headers.iter().any(|tag| match read_video(&tag.payload) {
            Ok(VideoBody::AvcHeader(record)) => tag.kind == TagKind::Video && record.get(4).is_some_and(|b| b & 3 == 3),
            _ => false,
        })
    }
}

fn is_h264(tag: &Tag) -> bool {
    tag.kind == TagKind::Video && matches!(read_video(&tag.payload), Ok(VideoBody::AvcFrame { .. }))
}

/// From the first tag of a kind to where the one after the last would be.
fn length_ms(frames: &[Tag], kind: TagKind) -> u64 {
    let times: Vec<u64> = frames.iter().filter(|t| t.kind == kind).map(|t| u64::from(t.timestamp_ms)).collect();
    match (times.first(), times.last(), times.len() as u64) {
        (Some(first), Some(last), count @ 2..) => last + ((last - first) as f64 / (count - 1) as f64).round() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_clip_is_a_circle_of_sixteen_seconds() {
        let clip = Clip::load(None).unwrap();
        let pictures = clip.frames.iter().filter(|tag| tag.kind == TagKind::Video).count();
        assert_eq!((clip.round_ms, pictures), (16_000, 400));
        assert!(clip.frames[0].key && clip.frames[0].timestamp_ms == 0);
        assert!(clip.headers.iter().any(|tag| tag.kind == TagKind::Audio));
    }

    #[test]
    fn a_file_that_is_no_flv_is_refused() {
        assert!(Clip::read(b"RIFF1234WAVE").is_err());
        assert!(Clip::read(&[]).unwrap_err().to_string().contains("no H.264"));
        assert!(Clip::load(Some(Path::new("/nonexistent.flv"))).unwrap_err().to_string().contains("/nonexistent.flv"));
    }
}
