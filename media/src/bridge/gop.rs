//! What a new player needs to start at once: metadata, sequence headers and the last group of pictures with its audio.

use std::{collections::VecDeque, time::Duration};

use crate::flv::{Tag, TagKind};

/// Most bytes of tags kept for one stream: ten seconds at 6 Mbit/s. Larger spends memory on publishers with rare key frames;
/// smaller makes their new players wait for the next one.
pub const GOP_BYTES_MAX: usize = 8 << 20;

/// Most tags kept for one stream: ten seconds of 60 pictures and 47 pieces of audio a second, with room to spare.
pub const GOP_TAGS_MAX: usize = 1_536;

/// How much audio is kept of a stream without video.
pub const AUDIO_ONLY_MS: u32 = 1_000;

/// The kept tags of one stream. Tags go in as they go to players.
#[derive(Debug, Default)]
pub struct Gop {
    metadata: Option<Tag>,
    audio_header: Option<Tag>,
    video_header: Option<Tag>,
    tags: VecDeque<Tag>,
    bytes: usize,
    has_video: bool,
    /// Nothing is kept until the next key frame: none came yet, or the group outgrew its bounds.
    awaiting_key: bool,
    headers_version: u64,
}

impl Gop {
    /// Takes a tag that was, or is about to be, sent to the players.
    pub fn push(&mut self, tag: &Tag) {
        if tag.header {
            return self.push_header(tag);
        }
        match tag.kind {
            TagKind::Script => {}
            TagKind::Video => self.push_video(tag),
            TagKind::Audio => self.push_audio(tag),
        }
    }

    /// The newest metadata and sequence headers, in the order in which a player wants them.
    pub fn headers(&self) -> impl Iterator<Item = &Tag> {
        [&self.metadata, &self.video_header, &self.audio_header].into_iter().flatten()
    }

    /// Changes whenever a sequence header or the metadata does.
    pub fn headers_version(&self) -> u64 {
        self.headers_version
    }

    /// The kept frames, oldest first. With video they start with a key frame; empty if there is nothing to start from.
    pub fn frames(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter()
    }

    /// From the oldest kept frame to the newest.
    pub fn length(&self) -> Duration {
        match (self.tags.front(), self.tags.back()) {
            // Over the wrap; what seems to go back was only interleaved.
            (Some(first), Some(last)) => {
                let ms = last.timestamp_ms.wrapping_sub(first.timestamp_ms) as i32;
                Duration::from_millis(ms.max(0) as u64)
            }
            _ => Duration::ZERO,
        }
    }

    /// Whether [`frames`](Self::frames) lets a player show a picture.
    pub fn has_key_frame(&self) -> bool {
        self.has_video && !self.tags.is_empty()
    }

    /// Whether the stream has shown any video, be it a sequence header.
    pub fn has_video(&self) -> bool {
        self.has_video
    }

    fn push_header(&mut self, tag: &Tag) {
        let kept = match tag.kind {
            TagKind::Script => &mut self.metadata,
            TagKind::Audio => &mut self.audio_header,
            TagKind::Video => &mut self.video_header,
        };
        let changed = kept.as_ref().is_none_or(|k| k.payload != tag.payload);
        *kept = Some(tag.clone());
        if !changed {
            return;
        }
        self.headers_version += 1;
        match tag.kind {
            TagKind::Script => {}
            // Frames from before a change cannot be decoded with what comes after it.
            TagKind::Video => {
                self.begin_video();
                self.drop_group();
            }
            TagKind::Audio => {
                self.tags.retain(|t| t.kind != TagKind::Audio);
                self.bytes = self.tags.iter().map(|t| t.payload.len()).sum();
            }
        }
    }

    fn push_video(&mut self, tag: &Tag) {
        self.begin_video();
        if tag.key {
            self.tags.clear();
            self.bytes = 0;
            self.awaiting_key = false;
        }
        self.keep(tag);
    }

    fn push_audio(&mut self, tag: &Tag) {
        self.keep(tag);
        if self.has_video {
            return;
        }
        while let Some(oldest) = self.tags.front() {
            // A difference beyond half the circle is a clock that was set back.
            let age_ms = tag.timestamp_ms.wrapping_sub(oldest.timestamp_ms);
            if age_ms <= AUDIO_ONLY_MS {
                break;
            }
            self.bytes -= oldest.payload.len();
            self.tags.pop_front();
        }
    }

    fn begin_video(&mut self) {
        if !self.has_video {
            self.has_video = true;
            self.drop_group();
        }
    }

    fn keep(&mut self, tag: &Tag) {
        if self.has_video && self.awaiting_key {
            return;
        }
        if self.tags.len() >= GOP_TAGS_MAX || self.bytes + tag.payload.len() > GOP_BYTES_MAX {
            // Half a group is of no use: the start is what decodes, and the end is what is current.
            self.drop_group();
            return;
        }
        self.bytes += tag.payload.len();
        self.tags.push_back(tag.clone());
    }

    fn drop_group(&mut self) {
        self.tags.clear();
        self.bytes = 0;
        self.awaiting_key = true;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn tag(kind: TagKind, timestamp_ms: u32, len: usize, key: bool, header: bool) -> Tag {
        Tag { kind, timestamp_ms, payload: vec![timestamp_ms as u8; len].into(), key, header }
    }

    fn video(timestamp_ms: u32, key: bool) -> Tag {
        tag(TagKind::Video, timestamp_ms, 100, key, false)
    }

    fn audio(timestamp_ms: u32) -> Tag {
        tag(TagKind::Audio, timestamp_ms, 10, false, false)
    }

    fn times(gop: &Gop) -> Vec<u32> {
        gop.frames().map(|t| t.timestamp_ms).collect()
    }

    #[test]
    fn the_group_starts_with_the_newest_key_frame_and_holds_its_audio() {
        let mut gop = Gop::default();
        gop.push(&tag(TagKind::Video, 0, 40, true, true));
        for t in [video(0, false), video(40, true), audio(50), video(80, false), video(120, true), audio(130)] {
            gop.push(&t);
        }
        assert_eq!(times(&gop), [120, 130]);
        assert!(gop.has_key_frame());
    }

    #[test]
    fn without_video_the_last_second_of_audio_is_kept() {
        let mut gop = Gop::default();
        for n in 0..500u32 {
            gop.push(&audio((u32::MAX - 3_000).wrapping_add((n * 20).min(3_000) + n.saturating_sub(150))));
        }
        let kept = times(&gop);
        let newest = *kept.last().unwrap();
        assert!(kept.iter().all(|t| newest.wrapping_sub(*t) <= AUDIO_ONLY_MS) && kept.len() > 40);
        assert!(!gop.has_key_frame());
    }

    #[test]
    fn a_group_at_its_byte_bound_is_kept_and_over_it_dropped_until_the_next_key_frame() {
        let mut gop = Gop::default();
        gop.push(&tag(TagKind::Video, 0, GOP_BYTES_MAX / 2, true, false));
        gop.push(&tag(TagKind::Video, 1, GOP_BYTES_MAX / 2, false, false));
        assert_eq!(times(&gop), [0, 1]);
        gop.push(&audio(2));
        gop.push(&video(3, false));
        assert!(times(&gop).is_empty() && !gop.has_key_frame());
        gop.push(&video(4, true));
        gop.push(&audio(5));
        assert_eq!(times(&gop), [4, 5]);
    }

    #[test]
    fn a_group_at_its_tag_bound_is_kept_and_over_it_dropped() {
        let mut gop = Gop::default();
        gop.push(&video(0, true));
        (1..GOP_TAGS_MAX as u32).for_each(|n| gop.push(&video(n, false)));
        assert_eq!(gop.frames().count(), GOP_TAGS_MAX);
        gop.push(&audio(9_999));
        assert_eq!(gop.frames().count(), 0);
    }

    #[test]
    fn a_changed_video_header_ends_the_group_and_a_repeated_one_does_not() {
        let mut gop = Gop::default();
        let header = tag(TagKind::Video, 7, 40, true, true);
        gop.push(&header);
        gop.push(&video(10, true));
        let version = gop.headers_version();
        gop.push(&header);
        assert_eq!((times(&gop), gop.headers_version()), (vec![10], version));
        gop.push(&tag(TagKind::Video, 8, 40, true, true));
        assert!(times(&gop).is_empty() && gop.headers_version() > version);
    }

    #[test]
    fn video_that_joins_an_audio_stream_takes_the_group_over() {
        let mut gop = Gop::default();
        gop.push(&audio(0));
        gop.push(&video(10, false));
        gop.push(&audio(20));
        assert!(times(&gop).is_empty());
        gop.push(&video(30, true));
        assert_eq!(times(&gop), [30]);
    }

    proptest! {
        #[test]
        fn whatever_is_pushed_the_bounds_hold_and_video_starts_with_a_key_frame(
            tags in prop::collection::vec((0u8..3, any::<u32>(), 0usize..2_000_000, any::<bool>(), prop::bool::weighted(0.1)), 0..60)
        ) {
            let mut gop = Gop::default();
            for (kind, timestamp_ms, len, key, header) in tags {
                let kind = [TagKind::Audio, TagKind::Video, TagKind::Script][usize::from(kind)];
                gop.push(&Tag { kind, timestamp_ms, payload: Bytes::from(vec![0; len]), key, header });
                let bytes: usize = gop.frames().map(|t| t.payload.len()).sum();
                prop_assert!(bytes <= GOP_BYTES_MAX && bytes == gop.bytes && gop.frames().count() <= GOP_TAGS_MAX);
                if gop.has_video() {
                    prop_assert!(gop.frames().next().is_none_or(|t| t.kind == TagKind::Video && t.key));
                }
            }
        }
    }
}
