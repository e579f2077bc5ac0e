//! The bodies of audio and video tags, as far as the bridge needs them: H.264 and AAC, classic FLV (Adobe FLV 10.1 §E.4) and
//! the same codecs behind enhanced RTMP's FourCC headers.

use bytes::{BufMut, Bytes, BytesMut};

/// What a video tag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoBody<'a> {
    /// An AVCDecoderConfigurationRecord.
    AvcHeader(&'a [u8]),
    /// One picture as length-prefixed NAL units.
    AvcFrame { key: bool, composition_ms: i32, nals: &'a [u8] },
    /// End of sequence, metadata or a command: nothing to show.
    Nothing,
    /// Another codec: its classic id, or its FourCC.
    Unsupported(u32),
}

/// What an audio tag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioBody<'a> {
    /// An AudioSpecificConfig.
    AacHeader(&'a [u8]),
    /// One raw access unit.
    AacFrame(&'a [u8]),
    Nothing,
    /// Another codec: its classic id, or its FourCC.
    Unsupported(u32),
}

const CODEC_AVC: u8 = 7;
const FORMAT_AAC: u8 = 10;
const FORMAT_EX_HEADER: u8 = 9;
const FRAME_KEY: u8 = 1;
const FRAME_COMMAND: u8 = 5;
const EX_HEADER_BIT: u8 = 0x80;
const PACKET_HEADER: u8 = 0;
const PACKET_FRAME: u8 = 1;
const PACKET_FRAME_NO_COMPOSITION: u8 = 3;
const FOURCC_AVC: [u8; 4] = *b"avc1";
const FOURCC_AAC: [u8; 4] = *b"mp4a";

/// AAC, 44 kHz, 16 bits, stereo: what every AAC tag says whatever it carries (FLV §E.4.2.1).
const AAC_TAG: u8 = 0xaf;

/// Reads the body of a video tag; `None` if it ends before its fields do.
pub fn read_video(body: &[u8]) -> Option<VideoBody<'_>> {
    let (&first, rest) = body.split_first()?;
    let frame_type = first >> 4 & 7;
    if frame_type == FRAME_COMMAND {
        return Some(VideoBody::Nothing);
    }
    let key = frame_type == FRAME_KEY;
    let (packet_type, rest) = if first & EX_HEADER_BIT != 0 {
        let (fourcc, rest) = rest.split_first_chunk::<4>()?;
        if *fourcc != FOURCC_AVC {
            return Some(VideoBody::Unsupported(u32::from_be_bytes(*fourcc)));
        }
        (first & 0x0f, rest)
    } else {
        if first & 0x0f != CODEC_AVC {
            return Some(VideoBody::Unsupported(u32::from(first & 0x0f)));
        }
        let (&packet_type, rest) = rest.split_first()?;
        // The composition time is there in every classic AVC tag, be it a header.
        if packet_type != PACKET_FRAME {
            let record = rest.get(3..)?;
            return Some(if packet_type == PACKET_HEADER { VideoBody::AvcHeader(record) } else { VideoBody::Nothing });
        }
        (packet_type, rest)
    };
    Some(match packet_type {
        PACKET_HEADER => VideoBody::AvcHeader(rest),
        PACKET_FRAME => {
            let ([a, b, c], nals) = rest.split_first_chunk::<3>()?;
            // 24 bits, signed.
            let composition_ms = i32::from_be_bytes([*a, *b, *c, 0]) >> 8;
            VideoBody::AvcFrame { key, composition_ms, nals }
        }
        PACKET_FRAME_NO_COMPOSITION => VideoBody::AvcFrame { key, composition_ms: 0, nals: rest },
        _ => VideoBody::Nothing,
    })
}

/// Reads the body of an audio tag; `None` if it ends before its fields do.
pub fn read_audio(body: &[u8]) -> Option<AudioBody<'_>> {
    let (&first, rest) = body.split_first()?;
    let (packet_type, rest) = match first >> 4 {
        FORMAT_AAC => {
            let (&packet_type, rest) = rest.split_first()?;
            (packet_type, rest)
        }
        FORMAT_EX_HEADER => {
            let (fourcc, rest) = rest.split_first_chunk::<4>()?;
            if *fourcc != FOURCC_AAC {
                return Some(AudioBody::Unsupported(u32::from_be_bytes(*fourcc)));
            }
            (first & 0x0f, rest)
        }
        other => return Some(AudioBody::Unsupported(u32::from(other))),
    };
    Some(match packet_type {
        PACKET_HEADER => AudioBody::AacHeader(rest),
        PACKET_FRAME => AudioBody::AacFrame(rest),
        _ => AudioBody::Nothing,
    })
}

/// A sequence header of H.264 around an AVCDecoderConfigurationRecord.
pub fn avc_header(record: &[u8]) -> Bytes {
    [&[FRAME_KEY << 4 | CODEC_AVC, PACKET_HEADER, 0, 0, 0], record].concat().into()
}

/// A picture of H.264 around length-prefixed NAL units.
pub fn avc_frame(key: bool, composition_ms: i32, nals: &[u8]) -> Bytes {
    let frame_type = if key { FRAME_KEY } else { 2 };
    let [_, a, b, c] = composition_ms.to_be_bytes();
    [&[frame_type << 4 | CODEC_AVC, PACKET_FRAME, a, b, c], nals].concat().into()
}

/// A sequence header of AAC around an AudioSpecificConfig.
pub fn aac_header(config: &[u8]) -> Bytes {
    [&[AAC_TAG, PACKET_HEADER], config].concat().into()
}

/// One access unit of AAC.
pub fn aac_frame(access_unit: &[u8]) -> Bytes {
    [&[AAC_TAG, PACKET_FRAME], access_unit].concat().into()
}

/// What `onMetaData` says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Picture size in pixels, if there is video.
    pub video: Option<(u32, u32)>,
    /// AAC, 48 kHz stereo, of this many bits per second, if there is audio.
    pub audio_bps: Option<u32>,
}

const AMF_NUMBER: u8 = 0;
const AMF_BOOLEAN: u8 = 1;
const AMF_STRING: u8 = 2;
const AMF_ECMA_ARRAY: u8 = 8;
const AMF_OBJECT_END: [u8; 3] = [0, 0, 9];

/// The body of an `onMetaData` script tag (AMF0).
pub fn metadata(metadata: &Metadata) -> Bytes {
    let mut numbers: Vec<(&str, f64)> = Vec::new();
    if let Some((width, height)) = metadata.video {
        numbers.push(("width", f64::from(width)));
        numbers.push(("height", f64::from(height)));
        numbers.push(("videocodecid", f64::from(CODEC_AVC)));
    }
    if let Some(bps) = metadata.audio_bps {
        numbers.push(("audiocodecid", f64::from(FORMAT_AAC)));
        numbers.push(("audiodatarate", f64::from(bps) / 1000.0));
        numbers.push(("audiosamplerate", 48_000.0));
        numbers.push(("audiosamplesize", 16.0));
    }
    let booleans = [("hasVideo", metadata.video.is_some()), ("hasAudio", metadata.audio_bps.is_some())];
    let stereo = metadata.audio_bps.map(|_| ("stereo", true));
    let mut out = BytesMut::with_capacity(256);
    out.put_u8(AMF_STRING);
    put_name(&mut out, "onMetaData");
    out.put_u8(AMF_ECMA_ARRAY);
    out.put_u32((numbers.len() + booleans.len() + usize::from(stereo.is_some())) as u32);
    for (name, value) in numbers {
        put_name(&mut out, name);
        out.put_u8(AMF_NUMBER);
        out.put_f64(value);
    }
    for (name, value) in booleans.into_iter().chain(stereo) {
        put_name(&mut out, name);
        out.put_u8(AMF_BOOLEAN);
        out.put_u8(u8::from(value));
    }
    out.put_slice(&AMF_OBJECT_END);
    out.freeze()
}

fn put_name(out: &mut BytesMut, name: &str) {
    out.put_u16(name.len() as u16);
    out.put_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn enhanced_rtmp_headers_carry_the_same_codecs() {
        let frame = VideoBody::AvcFrame { key: true, composition_ms: -2, nals: b"n" };
        assert_eq!(read_video(b"\x91avc1\xff\xff\xfen"), Some(frame));
        let frame = VideoBody::AvcFrame { key: false, composition_ms: 0, nals: b"n" };
        assert_eq!(read_video(b"\xa3avc1n"), Some(frame));
        assert_eq!(read_video(b"\x90avc1r"), Some(VideoBody::AvcHeader(b"r")));
        assert_eq!(read_video(b"\x90hvc1r"), Some(VideoBody::Unsupported(u32::from_be_bytes(*b"hvc1"))));
        assert_eq!(read_audio(b"\x91mp4aa"), Some(AudioBody::AacFrame(b"a")));
        assert_eq!(read_audio(b"\x90Opusa"), Some(AudioBody::Unsupported(u32::from_be_bytes(*b"Opus"))));
    }

    #[test]
    fn other_classic_codecs_are_named_by_their_id() {
        assert_eq!(read_video(&[0x12, 0, 0]), Some(VideoBody::Unsupported(2)));
        assert_eq!(read_audio(&[0x2f, 0]), Some(AudioBody::Unsupported(2)));
    }

    #[test]
    fn metadata_is_an_ecma_array_with_as_many_entries_as_it_says() {
        let body = metadata(&Metadata { video: Some((640, 360)), audio_bps: Some(128_000) });
        assert_eq!(&body[..18], b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x0a");
        assert!(body.ends_with(&AMF_OBJECT_END));
        let width = body.windows(5).position(|w| w == b"width").unwrap() + 5;
        assert_eq!(body[width..width + 9], [0, 0x40, 0x84, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(key: bool, composition_ms in -0x80_0000i32..0x80_0000, data: Vec<u8>) {
            let (picture, sound) = (avc_frame(key, composition_ms, &data), aac_frame(&data));
            prop_assert_eq!(read_video(&picture), Some(VideoBody::AvcFrame { key, composition_ms, nals: &data }));
            prop_assert_eq!(read_audio(&sound), Some(AudioBody::AacFrame(&data)));
            let (picture, sound) = (avc_header(&data), aac_header(&data));
            prop_assert_eq!(read_video(&picture), Some(VideoBody::AvcHeader(&data)));
            prop_assert_eq!(read_audio(&sound), Some(AudioBody::AacHeader(&data)));
        }

        #[test]
        fn no_body_panics(body: Vec<u8>) {
            let _ = (read_video(&body), read_audio(&body));
        }
    }
}
