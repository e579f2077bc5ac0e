//! A message of RTMP, which is a tag of FLV: the unit in which streams reach players.

use bytes::Bytes;

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
#[derive(Clone, Debug)]
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
