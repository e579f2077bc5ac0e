//! A publisher's FLV tags to the room's RTP packets: H.264 cut anew, never coded anew; AAC to Opus, once.
//!
//! Both tracks keep one clock: whatever milliseconds the publisher stamps become times on the server's line, RTP timestamps
//! of both tracks are linear in that line, and sender reports say how.

use bytes::Bytes;
use tracing::{debug, warn};

use super::{
    clock::RtmpClock,
    packetize::{PacketSink, RtpStream},
    tag::{Tag, TagKind},
    tag_body::{AudioBody, VideoBody, read_audio, read_video},
    transcode::{AacToOpus, OPUS_FRAME_SAMPLES},
};
use crate::{
    codec::{
        Codec,
        h264::{
            AvcConfig, NalKind, is_b_slice,
            nal::{self, avcc},
        },
    },
    ids::Kind,
    units::time::{Time, WallClock},
};

/// Payload types of the packets that are made; whoever forwards them puts its own in their place.
pub const VIDEO_PAYLOAD_TYPE: u8 = 102;
pub const AUDIO_PAYLOAD_TYPE: u8 = 111;

/// Most NAL units of one picture. A picture of 4K in slices of one macroblock row has 135; each unit costs a packet, so a
/// picture of a million empty ones must not pass.
pub const PICTURE_NALS_MAX: usize = 256;

/// Most bytes of parameter sets that go before each key frame; real ones have less than a hundred.
pub const PARAMETER_SETS_BYTES_MAX: usize = 4_096;

/// Most that a picture may be shown before or after it is decoded; what claims more is shown when it is decoded.
const COMPOSITION_MS_MAX: i32 = 5_000;

/// One publisher's way into a room.
pub struct RtmpToRoom {
    clock: RtmpClock,
    wall: WallClock,
    video: VideoIn,
    audio: AudioIn,
}

struct VideoIn {
    stream: RtpStream,
    /// Seen at all: this is what the room is told.
    codec: Option<Codec>,
    length_size: u8,
    sets: ParameterSets,
    /// Nothing can be decoded until a key frame: none came yet, or a part was lost on the way to the room.
    awaiting_key: bool,
    b_frames_seen: bool,
    complained: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ParameterSets {
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

struct AudioIn {
    stream: RtpStream,
    bitrate_bps: u32,
    config: Bytes,
    transcoder: Option<AacToOpus>,
    /// Position behind the last packet that was sent; sound that would overlap it is left out.
    sent_until: i64,
    complained: bool,
}

impl RtmpToRoom {
    /// `opus_bitrate_bps`: of the audio that the room gets. `wall`: the clock of the sender reports.
    pub fn new(opus_bitrate_bps: u32, wall: WallClock) -> Self {
        RtmpToRoom {
            clock: RtmpClock::default(),
            wall,
            video: VideoIn {
                stream: RtpStream::new(Kind::Video, VIDEO_PAYLOAD_TYPE, Codec::H264.clock_rate()),
                codec: None,
                length_size: 4,
                sets: ParameterSets::default(),
                awaiting_key: true,
                b_frames_seen: false,
                complained: false,
            },
            audio: AudioIn {
                stream: RtpStream::new(Kind::Audio, AUDIO_PAYLOAD_TYPE, Codec::Opus.clock_rate()),
                bitrate_bps: opus_bitrate_bps,
                config: Bytes::new(),
                transcoder: None,
                sent_until: i64::MIN,
                complained: false,
            },
        }
    }

    /// What the room gets of this publisher, audio and video, as far as it is known yet.
    pub fn tracks(&self) -> (Option<Codec>, Option<Codec>) {
        (self.audio.transcoder.is_some().then_some(Codec::Opus), self.video.codec)
    }

    /// Takes a tag that arrived at `now` and gives `sink` the packets that it makes, sender reports among them. A tag that
    /// cannot be read is left out.
    pub fn handle_tag(&mut self, now: Time, tag: &Tag, sink: &mut PacketSink<'_>) {
        match tag.kind {
            TagKind::Script => {}
            TagKind::Video => {
                let Some(body) = read_video(&tag.payload) else { return };
                match body {
                    VideoBody::AvcHeader(record) => self.video.handle_header(record),
                    VideoBody::AvcFrame { key, composition_ms, nals } => {
                        let dts_us = self.clock.map(now, Kind::Video, tag.timestamp_ms);
                        let plausible = composition_ms.abs() <= COMPOSITION_MS_MAX;
                        let pts_us = dts_us + if plausible { i64::from(composition_ms) * 1000 } else { 0 };
                        self.video.handle_frame(pts_us, key, nals, sink);
                        self.video.stream.report(now, &self.wall, sink);
                    }
                    VideoBody::Nothing => {}
                    VideoBody::Unsupported(codec) => self.video.complain(codec),
                }
            }
            TagKind::Audio => {
                let Some(body) = read_audio(&tag.payload) else { return };
                match body {
                    AudioBody::AacHeader(config) => self.audio.handle_header(config),
                    AudioBody::AacFrame(unit) => {
                        let us = self.clock.map(now, Kind::Audio, tag.timestamp_ms);
                        self.audio.handle_unit(us, unit, sink);
                        self.audio.stream.report(now, &self.wall, sink);
                    }
                    AudioBody::Nothing => {}
                    AudioBody::Unsupported(codec) => self.audio.complain(codec),
                }
            }
        }
    }
}

impl VideoIn {
    fn handle_header(&mut self, record: &[u8]) {
        let Ok(config) = AvcConfig::parse(record) else {
            debug!("an AVC sequence header cannot be read");
            return;
        };
        self.codec = Some(Codec::H264);
        self.length_size = config.length_size;
        let copied = |set: &[u8]| Bytes::copy_from_slice(set);
        let sets = ParameterSets { sps: config.sps().map(copied).collect(), pps: config.pps().map(copied).collect() };
        // A record without sets announces that they come in the stream.
        if !sets.sps.is_empty() && sets.is_bounded() {
            self.sets = sets;
        }
    }

    fn handle_frame(&mut self, pts_us: i64, key: bool, bytes: &[u8], sink: &mut PacketSink<'_>) {
        let mut nals: Vec<&[u8]> = Vec::new();
        for unit in avcc(bytes, self.length_size) {
            match unit {
                Ok(unit) if nals.len() < PICTURE_NALS_MAX => nals.push(unit),
                // Half a picture would spoil all that refer to it.
                _ => return self.lose(),
            }
        }
        nals.retain(|unit| {
            use NalKind::{AccessUnitDelimiter, EndOfSequence, EndOfStream, Filler};
            !matches!(nal::kind(unit), AccessUnitDelimiter | EndOfSequence | EndOfStream | Filler)
        });
        let key = key || nals.iter().any(|unit| nal::kind(unit) == NalKind::Idr);
        self.sets.learn(&nals);
        if !nals.iter().any(|unit| nal::kind(unit).is_slice()) || (self.awaiting_key && !key) {
            return;
        }
        if self.is_disposable_b_frame(&nals) {
            return;
        }
        let mut picture: Vec<&[u8]> = Vec::with_capacity(nals.len() + 2);
        if key {
            if self.sets.sps.is_empty() || self.sets.pps.is_empty() {
                return;
            }
            self.codec = Some(Codec::H264);
            // In band before every key frame: whoever joins or lost packets can start here.
            picture.extend(self.sets.iter());
            nals.retain(|unit| !matches!(nal::kind(unit), NalKind::Sps | NalKind::Pps));
        }
        picture.extend(nals);
        self.awaiting_key = false;
        let timestamp = self.stream.timestamp_of_us(pts_us);
        if !self.stream.send_h264(timestamp, &picture, sink) {
            self.lose();
        }
    }

    /// A B-frame to which no other picture refers. WebRTC receivers show pictures in the order in which they come, so it
    /// would be late; without it the others are in order.
    fn is_disposable_b_frame(&mut self, nals: &[&[u8]]) -> bool {
        let mut slices = nals.iter().filter(|unit| nal::kind(unit).is_slice());
        if !slices.clone().any(|unit| is_b_slice(unit)) {
            return false;
        }
        if !self.b_frames_seen {
            self.b_frames_seen = true;
            warn!(
                "the publisher sends B-frames, which WebRTC cannot show: some are left out and motion will not be smooth; \
                 switch them off in the encoder (ffmpeg: -bf 0, OBS: bf=0)"
            );
        }
        slices.all(|unit| nal::ref_idc(unit) == 0)
    }

    fn lose(&mut self) {
        self.awaiting_key = true;
    }

    fn complain(&mut self, codec: u32) {
        if !self.complained {
            self.complained = true;
            warn!(
                "the publisher's video codec {} cannot go into a room, which takes H.264 from RTMP",
                codec_text(codec)
            );
        }
    }
}

impl ParameterSets {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sps.iter().chain(&self.pps).map(|set| &set[..])
    }

    fn is_bounded(&self) -> bool {
        self.iter().map(<[u8]>::len).sum::<usize>() <= PARAMETER_SETS_BYTES_MAX
    }

    /// Takes over the sets that came within a picture. They replace those of the same kind.
    fn learn(&mut self, nals: &[&[u8]]) {
        let of_kind = |kind| -> Vec<&[u8]> { nals.iter().copied().filter(|unit| nal::kind(unit) == kind).collect() };
        let (sps, pps) = (of_kind(NalKind::Sps), of_kind(NalKind::Pps));
        if (sps.is_empty() || self.sps == sps) && (pps.is_empty() || self.pps == pps) {
            return;
        }
        let mut sets = self.clone();
        if !sps.is_empty() {
            sets.sps = sps.into_iter().map(Bytes::copy_from_slice).collect();
        }
        if !pps.is_empty() {
            sets.pps = pps.into_iter().map(Bytes::copy_from_slice).collect();
        }
        if sets.is_bounded() {
            *self = sets;
        }
    }
}

impl AudioIn {
    fn handle_header(&mut self, config: &[u8]) {
        if self.transcoder.is_some() && self.config == config {
            return;
        }
        match AacToOpus::new(config, self.bitrate_bps) {
            Ok(transcoder) => self.transcoder = Some(transcoder),
            Err(error) => {
                self.transcoder = None;
                warn!("the publisher's audio cannot go into a room: {error}");
            }
        }
        self.config = Bytes::copy_from_slice(config);
    }

    fn handle_unit(&mut self, us: i64, unit: &[u8], sink: &mut PacketSink<'_>) {
        let Some(transcoder) = &mut self.transcoder else { return };
        let (stream, sent_until) = (&mut self.stream, &mut self.sent_until);
        let result = transcoder.push(us, unit, &mut |position, packet| {
            // After a new configuration the first sound may reach back into what was sent.
            if position >= *sent_until {
                let timestamp = stream.timestamp_of_units(position);
                stream.send(timestamp, false, &[], packet, sink);
                *sent_until = position + OPUS_FRAME_SAMPLES as i64;
            }
        });
        if let Err(error) = result {
            self.transcoder = None;
            warn!("the publisher's audio cannot go into a room: {error}");
        }
    }

    fn complain(&mut self, codec: u32) {
        if !self.complained {
            self.complained = true;
            warn!("the publisher's audio codec {} cannot go into a room, which takes AAC from RTMP", codec_text(codec));
        }
    }
}

/// A FourCC as text, a classic codec id as a number.
fn codec_text(codec: u32) -> String {
    let bytes = codec.to_be_bytes();
    match std::str::from_utf8(&bytes) {
        Ok(text) if bytes.iter().all(u8::is_ascii_alphanumeric) => text.to_owned(),
        _ => codec.to_string(),
    }
}
