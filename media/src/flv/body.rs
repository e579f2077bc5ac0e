//! Inside audio and video tags: the codec bytes, in the classic form (annex E.4.2, E.4.3) and in that of Enhanced RTMP v2.

use bytes::Bytes;

use crate::{codec::Codec, ids::Kind};

/// A body that is shorter than its own codec bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tag body is cut short")]
pub struct BodyError;

/// What a video tag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoBody<'a> {
    /// An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1).
    AvcHeader(&'a [u8]),
    AvcFrame {
        key: bool,
        /// Presentation minus decoding time, in milliseconds; not zero only with B-frames.
        composition_ms: i32,
        /// NAL units, each behind a length of as many bytes as the newest header says (4 in practice).
        nalus: &'a [u8],
    },
    /// The encoder ended its sequence.
    AvcEnd,
    /// The configuration record of another codec that we carry: `hvcC` (ISO/IEC 14496-15), `av1C` or `vpcC`.
    Header { codec: Codec, record: &'a [u8] },
    /// One picture of it: NAL units behind lengths for H.265, OBUs for AV1, a frame for VP8 and VP9.
    Frame { codec: Codec, key: bool, composition_ms: i32, data: &'a [u8] },
    /// A codec that we do not read.
    Other { name: CodecName, key: bool, header: bool },
    /// Commands to the player and metadata of Enhanced RTMP: no picture.
    Nothing,
}

/// What an audio tag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioBody<'a> {
    /// An AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
    AacHeader(&'a [u8]),
    /// One raw AAC frame, without ADTS.
    AacFrame(&'a [u8]),
    /// An identification header (RFC 7845 §5.1).
    OpusHeader(&'a [u8]),
    /// One Opus packet.
    OpusFrame(&'a [u8]),
    /// A codec that we do not read.
    Other { name: CodecName },
    /// Channel layouts and ends of sequence of Enhanced RTMP: no sound.
    Nothing,
}

/// The name of a codec for a log line: a FourCC, or the word for a classic codec number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodecName([u8; 12], u8);

impl CodecName {
    fn word(word: &str) -> Self {
        let mut name = [0; 12];
        let length = word.len().min(name.len());
        name[..length].copy_from_slice(&word.as_bytes()[..length]);
        CodecName(name, length as u8)
    }

    /// Printable ASCII stays, the rest becomes `?`: the bytes are the peer's and go into logs.
    fn four_cc(code: [u8; 4]) -> Self {
        let mut name = [0; 12];
        for (to, from) in name.iter_mut().zip(code) {
            *to = if from.is_ascii_graphic() { from } else { b'?' };
        }
        CodecName(name, 4)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0[..usize::from(self.1)]).unwrap_or("?")
    }
}

impl std::fmt::Debug for CodecName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::fmt::Display for CodecName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

const FRAME_KEY: u8 = 1;
/// Also "generated key frame", of servers that make one up.
const FRAME_GENERATED_KEY: u8 = 4;
const FRAME_COMMAND: u8 = 5;
const VIDEO_CODECS: [&str; 16] = [
    "video 0",
    "JPEG",
    "H.263",
    "Screen",
    "VP6",
    "VP6 alpha",
    "Screen 2",
    "H.264",
    "video 8",
    "video 9",
    "video 10",
    "video 11",
    "HEVC",
    "AV1",
    "video 14",
    "video 15",
];
const CODEC_AVC: u8 = 7;
/// In nobody's standard, and used by many: the numbers that CDNs gave to H.265 and AV1 before there was Enhanced RTMP, with the
/// packet types and times of AVC.
const CODEC_HEVC: u8 = 12;
const CODEC_AV1: u8 = 13;
const AUDIO_CODECS: [&str; 16] = [
    "PCM",
    "ADPCM",
    "MP3",
    "PCM LE",
    "Nellymoser",
    "Nellymoser",
    "Nellymoser",
    "G.711 A",
    "G.711 mu",
    "enhanced",
    "AAC",
    "Speex",
    "audio 12",
    "audio 13",
    "MP3 8 kHz",
    "device",
];
const AUDIO_ENHANCED: u8 = 9;
const AUDIO_AAC: u8 = 10;

/// Packet types of Enhanced RTMP that audio and video share.
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
/// Video only: as [`CODED_FRAMES`], with a composition time of zero left out.
const CODED_FRAMES_X: u8 = 3;
const MULTITRACK_VIDEO: u8 = 6;
const MULTITRACK_AUDIO: u8 = 5;
/// A prefix with a size of its own, before the real packet type.
const MOD_EX: u8 = 7;

/// Reads the body of a video tag.
pub fn read_video(body: &[u8]) -> Result<VideoBody<'_>, BodyError> {
    let (&first, rest) = body.split_first().ok_or(BodyError)?;
    let frame = first >> 4 & 0b111;
    let key = frame == FRAME_KEY || frame == FRAME_GENERATED_KEY;
    if first & 0x80 != 0 {
        return read_enhanced_video(first & 0x0f, key, frame == FRAME_COMMAND, rest);
    }
    if frame == FRAME_COMMAND {
        return Ok(VideoBody::Nothing);
    }
    let codec = first & 0x0f;
    if !matches!(codec, CODEC_AVC | CODEC_HEVC | CODEC_AV1) {
        let name = CodecName::word(VIDEO_CODECS[usize::from(codec)]);
        return Ok(VideoBody::Other { name, key, header: false });
    }
    let (&[packet_type, c0, c1, c2], data) = rest.split_first_chunk::<4>().ok_or(BodyError)?;
    if codec != CODEC_AVC {
        let (codec, composition_ms) = match codec {
            CODEC_HEVC => (Codec::H265, composition([c0, c1, c2])),
            _ => (Codec::Av1, 0),
        };
        return Ok(match packet_type {
            0 => VideoBody::Header { codec, record: data },
            1 => VideoBody::Frame { codec, key, composition_ms, data },
            2 => VideoBody::AvcEnd,
            _ => VideoBody::Nothing,
        });
    }
    Ok(match packet_type {
        0 => VideoBody::AvcHeader(data),
        1 => VideoBody::AvcFrame { key, composition_ms: composition([c0, c1, c2]), nalus: data },
        2 => VideoBody::AvcEnd,
        _ => VideoBody::Nothing,
    })
}

fn read_enhanced_video(packet_type: u8, key: bool, command: bool, rest: &[u8]) -> Result<VideoBody<'_>, BodyError> {
    let (packet_type, rest) = skip_mod_ex(packet_type, rest)?;
    // A command has one byte and no FourCC behind it, unless it is metadata.
    if command && packet_type != MULTITRACK_VIDEO {
        return Ok(VideoBody::Nothing);
    }
    let (packet_type, code, data) = match packet_type {
        MULTITRACK_VIDEO => match first_track(rest)? {
            Some(track) => track,
            None => return Ok(VideoBody::Other { name: CodecName::word("multitrack"), key: false, header: false }),
        },
        packet_type => {
            let (code, data) = rest.split_first_chunk::<4>().ok_or(BodyError)?;
            (packet_type, code, data)
        }
    };
    let coded = packet_type == CODED_FRAMES || packet_type == CODED_FRAMES_X;
    if code != b"avc1" {
        return match video_codec(code) {
            Some(codec) => read_other_video(codec, packet_type, key, data),
            None if coded || packet_type == SEQUENCE_START => {
                let header = packet_type == SEQUENCE_START;
                Ok(VideoBody::Other { name: CodecName::four_cc(*code), key: key && coded, header })
            }
            None => Ok(VideoBody::Nothing),
        };
    }
    Ok(match packet_type {
        SEQUENCE_START => VideoBody::AvcHeader(data),
        CODED_FRAMES => {
            let (time, nalus) = data.split_first_chunk::<3>().ok_or(BodyError)?;
            VideoBody::AvcFrame { key, composition_ms: composition(*time), nalus }
        }
        CODED_FRAMES_X => VideoBody::AvcFrame { key, composition_ms: 0, nalus: data },
        SEQUENCE_END => VideoBody::AvcEnd,
        _ => VideoBody::Nothing,
    })
}

fn read_other_video(codec: Codec, packet_type: u8, key: bool, data: &[u8]) -> Result<VideoBody<'_>, BodyError> {
    Ok(match packet_type {
        SEQUENCE_START => VideoBody::Header { codec, record: data },
        // Of these codecs only H.265 reorders pictures.
        CODED_FRAMES if codec == Codec::H265 => {
            let (time, data) = data.split_first_chunk::<3>().ok_or(BodyError)?;
            VideoBody::Frame { codec, key, composition_ms: composition(*time), data }
        }
        CODED_FRAMES | CODED_FRAMES_X => VideoBody::Frame { codec, key, composition_ms: 0, data },
        SEQUENCE_END => VideoBody::AvcEnd,
        _ => VideoBody::Nothing,
    })
}

/// The codec of a FourCC, of those that a room can carry besides `avc1`.
fn video_codec(code: &[u8; 4]) -> Option<Codec> {
    Some(match code {
        b"hvc1" => Codec::H265,
        b"av01" => Codec::Av1,
        b"vp09" => Codec::Vp9,
        b"vp08" => Codec::Vp8,
        _ => return None,
    })
}

/// The FourCC of a video codec.
fn four_cc(codec: Codec) -> &'static [u8; 4] {
    match codec {
        Codec::H265 => b"hvc1",
        Codec::Av1 => b"av01",
        Codec::Vp9 => b"vp09",
        Codec::Vp8 => b"vp08",
        Codec::H264 => b"avc1",
        Codec::Opus => b"Opus",
    }
}

/// How many tracks of how many codecs a multitrack tag has.
const ONE_TRACK: u8 = 0;
const MANY_TRACKS_MANY_CODECS: u8 = 2;

/// Packet type, FourCC and data of one track.
type Track<'a> = (u8, &'a [u8; 4], &'a [u8]);

/// The packet type, FourCC and data of a multitrack tag's track number 0: a stream has one picture and one sound here. `None` if
/// all tracks of the tag are others.
fn first_track(rest: &[u8]) -> Result<Option<Track<'_>>, BodyError> {
    let (&kinds, mut rest) = rest.split_first().ok_or(BodyError)?;
    let (tracks, packet_type) = (kinds >> 4, kinds & 0x0f);
    if tracks > MANY_TRACKS_MANY_CODECS {
        return Ok(None);
    }
    let mut code = None;
    while !rest.is_empty() {
        // The codec stands before the first track, or before each.
        if code.is_none() || tracks == MANY_TRACKS_MANY_CODECS {
            let (next, behind) = rest.split_first_chunk::<4>().ok_or(BodyError)?;
            (code, rest) = (Some(next), behind);
        }
        let (&number, behind) = rest.split_first().ok_or(BodyError)?;
        // One alone needs no length.
        let (data, behind) = match tracks {
            ONE_TRACK => (behind, &[][..]),
            _ => {
                let (&[l0, l1, l2], behind) = behind.split_first_chunk::<3>().ok_or(BodyError)?;
                behind.split_at_checked(u32::from_be_bytes([0, l0, l1, l2]) as usize).ok_or(BodyError)?
            }
        };
        if let (0, Some(code)) = (number, code) {
            return Ok(Some((packet_type, code, data)));
        }
        rest = behind;
    }
    if code.is_none() { Err(BodyError) } else { Ok(None) }
}

/// Reads the body of an audio tag.
pub fn read_audio(body: &[u8]) -> Result<AudioBody<'_>, BodyError> {
    let (&first, rest) = body.split_first().ok_or(BodyError)?;
    match first >> 4 {
        AUDIO_AAC => {
            let (&packet_type, data) = rest.split_first().ok_or(BodyError)?;
            Ok(match packet_type {
                0 => AudioBody::AacHeader(data),
                1 => AudioBody::AacFrame(data),
                _ => AudioBody::Nothing,
            })
        }
        AUDIO_ENHANCED => {
            let (packet_type, rest) = skip_mod_ex(first & 0x0f, rest)?;
            let (packet_type, code, data) = match packet_type {
                MULTITRACK_AUDIO => match first_track(rest)? {
                    Some(track) => track,
                    None => return Ok(AudioBody::Other { name: CodecName::word("multitrack") }),
                },
                packet_type => {
                    let (code, data) = rest.split_first_chunk::<4>().ok_or(BodyError)?;
                    (packet_type, code, data)
                }
            };
            Ok(match (packet_type, code) {
                (SEQUENCE_START, b"mp4a") => AudioBody::AacHeader(data),
                (CODED_FRAMES, b"mp4a") => AudioBody::AacFrame(data),
                (SEQUENCE_START, b"Opus") => AudioBody::OpusHeader(data),
                (CODED_FRAMES, b"Opus") => AudioBody::OpusFrame(data),
                (SEQUENCE_START | CODED_FRAMES, _) => AudioBody::Other { name: CodecName::four_cc(*code) },
                _ => AudioBody::Nothing,
            })
        }
        codec => Ok(AudioBody::Other { name: CodecName::word(AUDIO_CODECS[usize::from(codec)]) }),
    }
}

/// Passes over the modifiers of Enhanced RTMP v2 (nanosecond offsets and what may come).
fn skip_mod_ex(mut packet_type: u8, mut rest: &[u8]) -> Result<(u8, &[u8]), BodyError> {
    while packet_type == MOD_EX {
        let (&short, behind) = rest.split_first().ok_or(BodyError)?;
        let (size, behind) = match short {
            255 => {
                let (long, behind) = behind.split_first_chunk::<2>().ok_or(BodyError)?;
                (usize::from(u16::from_be_bytes(*long)) + 1, behind)
            }
            short => (usize::from(short) + 1, behind),
        };
        let behind = behind.get(size..).ok_or(BodyError)?;
        let (&next, behind) = behind.split_first().ok_or(BodyError)?;
        packet_type = next & 0x0f;
        rest = behind;
    }
    Ok((packet_type, rest))
}

/// 24 bits, signed.
fn composition([c0, c1, c2]: [u8; 3]) -> i32 {
    i32::from_be_bytes([c0, c1, c2, 0]) >> 8
}

/// The body of a tag with an AVCDecoderConfigurationRecord.
pub fn avc_header(record: &[u8]) -> Bytes {
    [&[FRAME_KEY << 4 | CODEC_AVC, 0, 0, 0, 0], record].concat().into()
}

/// The body of a tag with one picture: NAL units behind their lengths. `composition_ms` keeps 24 bits.
pub fn avc_frame(key: bool, composition_ms: i32, nalus: &[u8]) -> Bytes {
    let frame = if key { FRAME_KEY } else { 2 };
    let [_, c0, c1, c2] = composition_ms.to_be_bytes();
    [&[frame << 4 | CODEC_AVC, 1, c0, c1, c2], nalus].concat().into()
}

/// The first byte of an enhanced video tag.
fn enhanced_first(key: bool, packet_type: u8) -> u8 {
    0x80 | if key { FRAME_KEY } else { 2 } << 4 | packet_type
}

/// The body of an enhanced tag with the configuration record of a codec beside H.264.
pub fn video_header(codec: Codec, record: &[u8]) -> Bytes {
    [&[enhanced_first(true, SEQUENCE_START)], &four_cc(codec)[..], record].concat().into()
}

/// The body of an enhanced tag with one picture that is shown when it is decoded.
pub fn video_frame(codec: Codec, key: bool, data: &[u8]) -> Bytes {
    // With H.264 and H.265 `CODED_FRAMES` would say a composition time first.
    let packet_type = if matches!(codec, Codec::H264 | Codec::H265) { CODED_FRAMES_X } else { CODED_FRAMES };
    [&[enhanced_first(key, packet_type)], &four_cc(codec)[..], data].concat().into()
}

/// The number by which `onMetaData` names a codec: of the classic table, or the FourCC.
pub fn video_codec_id(codec: Codec) -> f64 {
    match codec {
        Codec::H264 => f64::from(CODEC_AVC),
        other => f64::from(u32::from_be_bytes(*four_cc(other))),
    }
}

/// By [`video_codec_id`].
pub fn video_codec_of_id(id: f64) -> Option<Codec> {
    Codec::ALL.into_iter().filter(|codec| codec.kind() == Kind::Video).find(|codec| video_codec_id(*codec) == id)
}

/// The body of a tag that says that the encoder's sequence is over.
pub fn avc_end() -> Bytes {
    Bytes::from_static(&[FRAME_KEY << 4 | CODEC_AVC, 2, 0, 0, 0])
}

/// What every AAC tag begins with: "44 kHz, 16 bit, stereo" whatever is true (annex E.4.2.1: "If the SoundFormat indicates
/// AAC, the SoundType should be 1 (stereo) and the SoundRate should be 3 (44 kHz)").
const AAC_FIRST: u8 = 0xaf;

/// The body of a tag with an AudioSpecificConfig.
pub fn aac_header(config: &[u8]) -> Bytes {
    [&[AAC_FIRST, 0], config].concat().into()
}

/// The body of a tag with one raw AAC frame.
pub fn aac_frame(raw: &[u8]) -> Bytes {
    [&[AAC_FIRST, 1], raw].concat().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classic_bodies_survive_the_wire() {
        assert_eq!(read_video(&avc_header(b"record")), Ok(VideoBody::AvcHeader(b"record")));
        for composition_ms in [0, 80, -80, 0x7f_ffff, -0x80_0000] {
            let body = avc_frame(composition_ms == 80, composition_ms, b"nalus");
            let frame = VideoBody::AvcFrame { key: composition_ms == 80, composition_ms, nalus: b"nalus" };
            assert_eq!(read_video(&body), Ok(frame));
        }
        assert_eq!(read_video(&[0x17, 2, 0, 0, 0]), Ok(VideoBody::AvcEnd));
        assert_eq!(read_audio(&aac_header(&[0x11, 0x90])), Ok(AudioBody::AacHeader(&[0x11, 0x90])));
        assert_eq!(read_audio(&aac_frame(b"raw")), Ok(AudioBody::AacFrame(b"raw")));
    }

    #[test]
    fn enhanced_avc_and_aac_are_read_as_the_classic_ones() {
        assert_eq!(read_video(b"\x90avc1rec"), Ok(VideoBody::AvcHeader(b"rec")));
        let frame = VideoBody::AvcFrame { key: true, composition_ms: -1, nalus: b"n" };
        assert_eq!(read_video(b"\x91avc1\xff\xff\xffn"), Ok(frame));
        let frame = VideoBody::AvcFrame { key: false, composition_ms: 0, nalus: b"n" };
        assert_eq!(read_video(b"\xa3avc1n"), Ok(frame));
        assert_eq!(read_video(b"\x92avc1"), Ok(VideoBody::AvcEnd));
        assert_eq!(read_audio(b"\x90mp4ac"), Ok(AudioBody::AacHeader(b"c")));
        assert_eq!(read_audio(b"\x91mp4ar"), Ok(AudioBody::AacFrame(b"r")));
    }

    #[test]
    fn modifiers_are_passed_over() {
        let short = b"\x97\x02\x00\x00\x01\x03avc1n";
        let frame = VideoBody::AvcFrame { key: true, composition_ms: 0, nalus: b"n" };
        assert_eq!(read_video(short), Ok(frame));
        let long = [&b"\x97\xff\x00\xff"[..], &[0; 256], b"\x03avc1n"].concat();
        assert_eq!(read_video(&long), Ok(frame));
    }

    #[test]
    fn other_codecs_are_told_by_name() {
        let video = |body: &[u8]| match read_video(body) {
            Ok(VideoBody::Other { name, key, header }) => (name.to_string(), key, header),
            other => panic!("{other:?}"),
        };
        assert_eq!(video(b"\x90vvc1..."), ("vvc1".into(), false, true));
        assert_eq!(video(b"\xa1\x1b[0m"), ("?[0m".into(), false, false));
        assert_eq!(video(b"\x12.."), ("H.263".into(), true, false));
        assert_eq!(video(b"\x96\x30..."), ("multitrack".into(), false, false));
        let audio = |body: &[u8]| match read_audio(body) {
            Ok(AudioBody::Other { name }) => name.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(audio(b"\x2f.."), "MP3");
        assert_eq!(audio(b"\x91fLaC.."), "fLaC");
        assert_eq!(audio(b"\x95\x11Opus\x01\0\0\x01x"), "multitrack");
    }

    #[test]
    fn h265_and_av1_are_read_by_the_numbers_that_they_had_before_they_had_names() {
        let frame = |codec, composition_ms| Ok(VideoBody::Frame { codec, key: true, composition_ms, data: b"n" });
        assert_eq!(read_video(b"\x1c\x00\0\0\0rec"), Ok(VideoBody::Header { codec: Codec::H265, record: b"rec" }));
        assert_eq!(read_video(b"\x1c\x01\0\0\x50n"), frame(Codec::H265, 80));
        assert_eq!(read_video(b"\x1c\x02\0\0\0"), Ok(VideoBody::AvcEnd));
        assert_eq!(read_video(b"\x1d\x01\0\0\x50n"), frame(Codec::Av1, 0));
        assert_eq!(read_video(b"\x1c\x01\0\0"), Err(BodyError));
    }

    #[test]
    fn enhanced_codecs_are_read_and_written() {
        for codec in [Codec::Av1, Codec::Vp9, Codec::Vp8, Codec::H265] {
            assert_eq!(read_video(&video_header(codec, b"rec")), Ok(VideoBody::Header { codec, record: b"rec" }));
            for key in [true, false] {
                let frame = VideoBody::Frame { codec, key, composition_ms: 0, data: b"data" };
                assert_eq!(read_video(&video_frame(codec, key, b"data")), Ok(frame));
            }
        }
        let (codec, data) = (Codec::H265, &b"n"[..]);
        let shown_at = |composition_ms| Ok(VideoBody::Frame { codec, key: true, composition_ms, data });
        assert_eq!(read_video(b"\x91hvc1\x00\x00\x50n"), shown_at(80));
        assert_eq!(read_video(b"\x93hvc1n"), shown_at(0));
        assert_eq!(read_audio(b"\x90OpusOpusHead"), Ok(AudioBody::OpusHeader(b"OpusHead")));
        assert_eq!(read_audio(b"\x91Opusx"), Ok(AudioBody::OpusFrame(b"x")));
    }

    #[test]
    fn the_first_track_of_a_multitrack_stream_is_the_stream() {
        let frame = VideoBody::AvcFrame { key: true, composition_ms: 0, nalus: b"n" };
        assert_eq!(read_video(b"\x96\x03avc1\x00n"), Ok(frame));
        assert_eq!(read_audio(b"\x95\x01mp4a\x00r"), Ok(AudioBody::AacFrame(b"r")));
        assert!(matches!(read_video(b"\x96\x03avc1\x01n"), Ok(VideoBody::Other { key: false, header: false, .. })));
        // Many tracks of one codec, then of several, the first of them in whatever place.
        assert_eq!(read_video(b"\x96\x13avc1\x01\0\0\x02xx\x00\0\0\x01n\x02\0\0\x00"), Ok(frame));
        assert_eq!(read_video(b"\x96\x23vvc1\x01\0\0\x02xxavc1\x00\0\0\x01n"), Ok(frame));
        assert_eq!(read_audio(b"\x95\x11Opus\0\0\0\x01x"), Ok(AudioBody::OpusFrame(b"x")));
        for cut in
            [&b"\x96\x13"[..], b"\x96\x13avc", b"\x96\x13avc1", b"\x96\x13avc1\0\0\0", b"\x96\x13avc1\0\0\0\x02n"]
        {
            assert!(!matches!(read_video(cut), Ok(VideoBody::AvcFrame { .. })), "{cut:?}");
        }
    }

    #[test]
    fn commands_and_metadata_are_nothing() {
        assert_eq!(read_video(&[0x57, 0]), Ok(VideoBody::Nothing));
        assert_eq!(read_video(&[0xd0, 0]), Ok(VideoBody::Nothing));
        assert_eq!(read_video(b"\x94hvc1amf"), Ok(VideoBody::Nothing));
        assert_eq!(read_audio(b"\x94Opus..."), Ok(AudioBody::Nothing));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(first: u8, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let body = [&[first][..], &bytes].concat();
            for end in 0..=body.len() {
                let _ = read_video(&body[..end]);
                let _ = read_audio(&body[..end]);
            }
        }
    }
}
