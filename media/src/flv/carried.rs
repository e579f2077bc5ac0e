//! Whether a publisher sends anything that a room can carry.

use super::{AudioBody, Tag, TagKind, VideoBody, body::CodecName, read_audio, read_video};

/// So many tags of codecs that are not carried, and none of one that is, are enough to say no: some seconds of a stream.
pub const UNCARRIED_TAGS_MAX: u32 = 100;

/// Follows one publisher.
#[derive(Debug, Default)]
pub struct Carried {
    /// Something is.
    known: bool,
    tags: u32,
    video: Option<CodecName>,
    audio: Option<CodecName>,
}

impl Carried {
    /// Takes his next tag. The answer, if he is to be refused, names what he sends, for people.
    pub fn refuses(&mut self, tag: &Tag) -> Option<String> {
        if self.known {
            return None;
        }
        match tag.kind {
            TagKind::Script => return None,
            TagKind::Video => match read_video(&tag.payload) {
                Ok(VideoBody::Other { name, .. }) => self.video = Some(name),
                Ok(VideoBody::Nothing | VideoBody::AvcEnd) | Err(_) => return None,
                Ok(_) => self.known = true,
            },
            TagKind::Audio => match read_audio(&tag.payload) {
                Ok(AudioBody::Other { name }) => self.audio = Some(name),
                Ok(AudioBody::Nothing) | Err(_) => return None,
                Ok(_) => self.known = true,
            },
        }
        self.tags += 1;
        (!self.known && self.tags > UNCARRIED_TAGS_MAX).then(|| {
            let names: Vec<&str> = [&self.video, &self.audio].into_iter().flatten().map(CodecName::as_str).collect();
            names.join(" and ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: TagKind, payload: &'static [u8]) -> Tag {
        Tag::new(kind, 0, payload.into())
    }

    #[test]
    fn who_sends_nothing_that_is_carried_is_refused_over_the_limit_and_not_at_it() {
        let mut carried = Carried::default();
        let (video, audio) = (tag(TagKind::Video, b"\x90vvc1rec"), tag(TagKind::Audio, b"\x91fLaCx"));
        for n in 0..UNCARRIED_TAGS_MAX {
            assert_eq!(carried.refuses(if n % 2 == 0 { &video } else { &audio }), None);
            // What says nothing does not count.
            for nothing in [tag(TagKind::Script, b"x"), tag(TagKind::Video, b"\x57\0"), tag(TagKind::Audio, b"")] {
                assert_eq!(carried.refuses(&nothing), None);
            }
        }
        assert_eq!(carried.refuses(&video).as_deref(), Some("vvc1 and fLaC"));
    }

    #[test]
    fn one_medium_that_is_carried_is_enough() {
        for good in [tag(TagKind::Audio, b"\xaf\x01x"), tag(TagKind::Video, b"\x93hvc1n")] {
            let mut carried = Carried::default();
            assert_eq!(carried.refuses(&good), None);
            for _ in 0..2 * UNCARRIED_TAGS_MAX {
                assert_eq!(carried.refuses(&tag(TagKind::Audio, b"\x91ac-3x")), None);
            }
        }
    }
}
