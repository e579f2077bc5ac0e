//! FLV (Adobe, "Video File Format Specification 10.1", annex E): the file around tags, and what is inside a tag.
//!
//! An RTMP message body of audio, video or `onMetaData` is the body of an FLV tag, so the same [`Tag`] serves both.

mod body;
mod carried;
mod metadata;

use bytes::Bytes;

pub use body::{
    AudioBody, BodyError, VideoBody, aac_frame, aac_header, avc_end, avc_frame, avc_header, read_audio, read_video,
    video_frame, video_header,
};
pub use carried::{Carried, UNCARRIED_TAGS_MAX};
pub use metadata::Metadata;

use crate::rtmp::{
    chunk::MESSAGE_BYTES_MAX,
    message::{Media, MediaKind},
};

/// What a tag carries; the value is the FLV tag type and the RTMP message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TagKind {
    Audio = 8,
    Video = 9,
    /// `onMetaData`, AMF0.
    Script = 18,
}

/// One tag. Cheap to clone: the payload is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub kind: TagKind,
    /// Decoding time in milliseconds; wraps at 32 bits.
    pub timestamp_ms: u32,
    /// The message body: for audio and video from the codec byte on.
    pub payload: Bytes,
    /// A player can start here: a video key frame. False for audio.
    pub key: bool,
    /// A sequence header (or metadata) that every player needs before the first frame.
    pub header: bool,
}

impl Tag {
    /// Finds out `key` and `header` from the payload. A body that cannot be read is neither.
    pub fn new(kind: TagKind, timestamp_ms: u32, payload: Bytes) -> Tag {
        let (key, header) = match kind {
            TagKind::Script => (false, true),
            TagKind::Audio => {
                (false, matches!(read_audio(&payload), Ok(AudioBody::AacHeader(_) | AudioBody::OpusHeader(_))))
            }
            TagKind::Video => match read_video(&payload) {
                Ok(VideoBody::AvcFrame { key, .. }) => (key, false),
                Ok(VideoBody::AvcHeader(_)) => (false, true),
                Ok(VideoBody::Frame { key, .. }) => (key, false),
                Ok(VideoBody::Header { .. }) => (false, true),
                Ok(VideoBody::Other { key, header, .. }) => (key, header),
                Ok(VideoBody::AvcEnd | VideoBody::Nothing) | Err(_) => (false, false),
            },
        };
        Tag { kind, timestamp_ms, payload, key, header }
    }

    /// The tag by which an encoder says that its stream is over.
    pub fn end(timestamp_ms: u32) -> Tag {
        Tag { kind: TagKind::Video, timestamp_ms, payload: avc_end(), key: false, header: false }
    }

    /// Whether the encoder says with it that its stream is over.
    pub fn is_end(&self) -> bool {
        self.kind == TagKind::Video
            && self.payload.len() < 8
            && matches!(read_video(&self.payload), Ok(VideoBody::AvcEnd))
    }

    /// The same for RTMP.
    pub fn media_kind(&self) -> MediaKind {
        match self.kind {
            TagKind::Audio => MediaKind::Audio,
            TagKind::Video => MediaKind::Video,
            TagKind::Script => MediaKind::Data,
        }
    }
}

impl From<Media> for Tag {
    fn from(media: Media) -> Tag {
        let kind = match media.kind {
            MediaKind::Audio => TagKind::Audio,
            MediaKind::Video => TagKind::Video,
            MediaKind::Data => TagKind::Script,
        };
        Tag::new(kind, media.timestamp_ms, media.payload)
    }
}

/// File header and the zero that stands for the size of the tag before the first.
pub const FILE_HEADER_BYTES: usize = 13;
/// Type, size, time, stream.
pub const TAG_HEADER_BYTES: usize = 11;
/// The size of a tag, behind it.
pub const BACK_POINTER_BYTES: usize = 4;
/// A file header may announce to be longer than ours; more than this is no FLV.
const FILE_HEADER_BYTES_MAX: u32 = 1024;

/// The beginning of a file or an HTTP-FLV answer. The flags are a promise that players take lightly; a stream whose tracks
/// are not known yet says both.
pub fn file_header(audio: bool, video: bool) -> [u8; FILE_HEADER_BYTES] {
    let flags = u8::from(audio) << 2 | u8::from(video);
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// What goes in front of the payload.
pub fn tag_header(tag: &Tag) -> [u8; TAG_HEADER_BYTES] {
    let [_, s0, s1, s2] = (tag.payload.len() as u32).to_be_bytes();
    let [t3, t0, t1, t2] = tag.timestamp_ms.to_be_bytes();
    [tag.kind as u8, s0, s1, s2, t0, t1, t2, t3, 0, 0, 0]
}

/// What goes behind the payload.
pub fn back_pointer(tag: &Tag) -> [u8; BACK_POINTER_BYTES] {
    ((TAG_HEADER_BYTES + tag.payload.len()) as u32).to_be_bytes()
}

/// Appends a whole tag.
pub fn write_tag(tag: &Tag, out: &mut Vec<u8>) {
    out.reserve(TAG_HEADER_BYTES + tag.payload.len() + BACK_POINTER_BYTES);
    out.extend_from_slice(&tag_header(tag));
    out.extend_from_slice(&tag.payload);
    out.extend_from_slice(&back_pointer(tag));
}

/// Why bytes are no FLV that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    #[error("not an FLV file")]
    NotFlv,
    #[error("tag of {0} bytes is longer than {MESSAGE_BYTES_MAX}")]
    TagTooLong(usize),
    #[error("encrypted tags are not supported")]
    Encrypted,
}

/// Reads a file from bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct TagReader {
    state: ReadState,
    /// What of the present part came so far: a header, or a payload.
    part: Vec<u8>,
}

#[derive(Debug, Default)]
enum ReadState {
    #[default]
    FileHeader,
    /// What an unknown tag, a longer file header or a back pointer still has; not kept.
    Skip(usize),
    TagHeader,
    Payload {
        kind: TagKind,
        timestamp_ms: u32,
        length: usize,
    },
}

impl TagReader {
    pub fn new() -> Self {
        TagReader::default()
    }

    /// Takes bytes from the front of `data` up to the end of a tag, or all of them. Memory grows with bytes received, not
    /// with lengths announced. After an error the reader is of no use.
    pub fn read(&mut self, data: &mut &[u8]) -> Result<Option<Tag>, FlvError> {
        loop {
            match self.state {
                ReadState::FileHeader => {
                    let Some(header) = self.fill::<9>(data) else { return Ok(None) };
                    let [b'F', b'L', b'V', _, _, s0, s1, s2, s3] = header else { return Err(FlvError::NotFlv) };
                    let length = u32::from_be_bytes([s0, s1, s2, s3]);
                    if !(9..=FILE_HEADER_BYTES_MAX).contains(&length) {
                        return Err(FlvError::NotFlv);
                    }
                    self.state = ReadState::Skip(length as usize - 9 + BACK_POINTER_BYTES);
                }
                ReadState::Skip(left) => {
                    let take = left.min(data.len());
                    *data = &data[take..];
                    if take < left {
                        self.state = ReadState::Skip(left - take);
                        return Ok(None);
                    }
                    self.state = ReadState::TagHeader;
                }
                ReadState::TagHeader => {
                    let Some(header) = self.fill::<TAG_HEADER_BYTES>(data) else { return Ok(None) };
                    let [kind, s0, s1, s2, t0, t1, t2, t3, ..] = header;
                    let length = u32::from_be_bytes([0, s0, s1, s2]) as usize;
                    if length > MESSAGE_BYTES_MAX {
                        return Err(FlvError::TagTooLong(length));
                    }
                    if kind & 0x20 != 0 {
                        return Err(FlvError::Encrypted);
                    }
                    self.state = match kind & 0x1f {
                        8 => ReadState::payload(TagKind::Audio, [t3, t0, t1, t2], length),
                        9 => ReadState::payload(TagKind::Video, [t3, t0, t1, t2], length),
                        18 => ReadState::payload(TagKind::Script, [t3, t0, t1, t2], length),
                        _ => ReadState::Skip(length + BACK_POINTER_BYTES),
                    };
                }
                ReadState::Payload { kind, timestamp_ms, length } => {
                    let take = data.len().min(length - self.part.len());
                    self.part.extend_from_slice(&data[..take]);
                    *data = &data[take..];
                    if self.part.len() < length {
                        return Ok(None);
                    }
                    self.state = ReadState::Skip(BACK_POINTER_BYTES);
                    let payload = Bytes::from(std::mem::take(&mut self.part));
                    return Ok(Some(Tag::new(kind, timestamp_ms, payload)));
                }
            }
        }
    }

    /// The next `N` bytes, once all of them are there.
    fn fill<const N: usize>(&mut self, data: &mut &[u8]) -> Option<[u8; N]> {
        let take = data.len().min(N - self.part.len());
        self.part.extend_from_slice(&data[..take]);
        *data = &data[take..];
        let filled = self.part.first_chunk::<N>().copied()?;
        self.part.clear();
        Some(filled)
    }
}

impl ReadState {
    fn payload(kind: TagKind, time: [u8; 4], length: usize) -> ReadState {
        ReadState::Payload { kind, timestamp_ms: u32::from_be_bytes(time), length }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Tag>, FlvError> {
        let (mut reader, mut tags) = (TagReader::new(), Vec::new());
        for mut data in bytes.chunks(piece) {
            while let Some(tag) = reader.read(&mut data)? {
                tags.push(tag);
            }
        }
        Ok(tags)
    }

    fn with_length(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = file_header(true, true).to_vec();
        let [_, s0, s1, s2] = (length as u32).to_be_bytes();
        bytes.extend_from_slice(&[kind, s0, s1, s2, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_tag_on_the_wire_is_as_the_specification_draws_it() {
        let tag = Tag::new(TagKind::Audio, 0x04010203, Bytes::from_static(&[0xaf, 0, 0x12, 0x10]));
        let mut out = Vec::new();
        write_tag(&tag, &mut out);
        assert_eq!(out, [8, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0xaf, 0, 0x12, 0x10, 0, 0, 0, 15]);
        assert!(tag.header && !tag.key);
    }

    #[test]
    fn key_frames_and_headers_are_told_from_the_payload() {
        let flags = |payload: &'static [u8]| {
            let tag = Tag::new(TagKind::Video, 0, Bytes::from_static(payload));
            (tag.key, tag.header)
        };
        assert_eq!(flags(&[0x17, 0, 0, 0, 0, 1]), (false, true));
        assert_eq!(flags(&[0x17, 1, 0, 0, 0, 1]), (true, false));
        assert_eq!(flags(&[0x27, 1, 0, 0, 0, 1]), (false, false));
        assert_eq!(flags(&[0x90, b'h', b'v', b'c', b'1', 1]), (false, true));
        assert_eq!(flags(&[0x91, b'h', b'v', b'c', b'1', 0, 0, 0, 1]), (true, false));
        assert_eq!(flags(&[]), (false, false));
        assert!(Tag::new(TagKind::Script, 0, Bytes::new()).header);
    }

    #[test]
    fn a_tag_at_the_limit_is_awaited_without_memory_and_a_longer_one_is_refused() {
        let mut reader = TagReader::new();
        assert_eq!(reader.read(&mut &with_length(9, MESSAGE_BYTES_MAX)[..]), Ok(None));
        assert!(reader.part.capacity() < 64);
        let over = with_length(9, MESSAGE_BYTES_MAX + 1);
        assert_eq!(TagReader::new().read(&mut &over[..]), Err(FlvError::TagTooLong(MESSAGE_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_no_flv_is_refused() {
        assert_eq!(TagReader::new().read(&mut &b"GIF89a...."[..]), Err(FlvError::NotFlv));
        assert_eq!(TagReader::new().read(&mut &b"FLV\x01\x05\xff\xff\xff\xff"[..]), Err(FlvError::NotFlv));
        assert_eq!(TagReader::new().read(&mut &with_length(0x29, 0)[..]), Err(FlvError::Encrypted));
    }

    #[test]
    fn unknown_tags_are_passed_over() {
        let mut bytes = with_length(15, 3);
        bytes.extend_from_slice(&[1, 2, 3, 0, 0, 0, 14]);
        let tag = Tag::new(TagKind::Audio, 7, Bytes::from_static(&[0xaf, 1, 9]));
        write_tag(&tag, &mut bytes);
        assert_eq!(read_in_pieces(&bytes, 1), Ok(vec![tag]));
    }

    fn any_tag() -> impl Strategy<Value = Tag> {
        let kind = prop_oneof![Just(TagKind::Audio), Just(TagKind::Video), Just(TagKind::Script)];
        (kind, any::<u32>(), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(kind, time, payload)| Tag::new(kind, time, payload.into()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_in_any_pieces(tags in prop::collection::vec(any_tag(), 0..8), piece in 1usize..200) {
            let mut bytes = file_header(true, true).to_vec();
            tags.iter().for_each(|tag| write_tag(tag, &mut bytes));
            prop_assert_eq!(read_in_pieces(&bytes, piece), Ok(tags));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let _ = read_in_pieces(&bytes, piece);
            let _ = read_in_pieces(&[&file_header(true, true)[..], &bytes].concat(), piece);
        }
    }
}
