//! The common coin of the bridge: one access unit of audio or video on one clock per publisher.

use bytes::Bytes;

use crate::codec::Codec;

/// A codec of frames. RTP carries [`Codec`]; RTMP and FLV carry AAC as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameCodec {
    Rtp(Codec),
    Aac,
}

/// One access unit.
#[derive(Clone, Debug)]
pub struct Frame {
    pub codec: FrameCodec,
    /// Presentation time in microseconds on the publisher's clock.
    pub pts_us: i64,
    /// Decoding time, same clock; never after `pts_us`.
    pub dts_us: i64,
    /// Decoding can start here. Always true for audio.
    pub key: bool,
    /// H.264: NAL units, each behind a 4-byte big-endian length (AVCC). Opus: one packet. AAC: one raw access unit.
    /// VP8, VP9, AV1: the frame as its RTP payload format puts it together.
    pub payload: Bytes,
}
