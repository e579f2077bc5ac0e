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

#[cfg(all(test, feature = "aac-fdk"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        bridge::{
            fixture::{AAC16, BASELINE_AAC44, BFRAMES, tags},
            tag_body::{avc_frame, avc_header},
        },
        codec::h264::{
            inspect,
            payload::{Piece, pieces},
        },
        rtp::packet::{Header, is_rtcp},
    };

    const START: Time = Time::from_millis(60_000);

    /// What the room got.
    #[derive(Default)]
    struct Got {
        audio: Vec<(Header, Vec<u8>)>,
        video: Vec<(Header, Vec<u8>)>,
        reports: usize,
    }

    impl Got {
        fn packet(&mut self, kind: Kind, packet: &[u8]) {
            if is_rtcp(packet) {
                self.reports += 1;
                return;
            }
            let header = Header::parse(packet).unwrap();
            let track = if kind == Kind::Audio { &mut self.audio } else { &mut self.video };
            track.push((header, header.payload(packet).to_vec()));
        }

        /// Timestamps of the pictures, from the first one on.
        fn picture_times(&self) -> Vec<u32> {
            let ends = self.video.iter().filter(|(header, _)| header.marker).map(|(header, _)| header.timestamp);
            let first = self.video[0].0.timestamp;
            ends.map(|timestamp| timestamp.wrapping_sub(first)).collect()
        }
    }

    fn bridge() -> RtmpToRoom {
        RtmpToRoom::new(96_000, WallClock::new(1_700_000_000_000_000))
    }

    fn run_into(bridge: &mut RtmpToRoom, got: &mut Got, tags: &[Tag], base_ms: u32) {
        for tag in tags {
            let now = START + std::time::Duration::from_millis(u64::from(tag.timestamp_ms));
            let tag = Tag { timestamp_ms: tag.timestamp_ms.wrapping_add(base_ms), ..tag.clone() };
            bridge.handle_tag(now, &tag, &mut |kind, packet| {
                got.packet(kind, packet);
                true
            });
        }
    }

    fn run(flv: &[u8], base_ms: u32) -> (RtmpToRoom, Got) {
        let (mut bridge, mut got) = (bridge(), Got::default());
        run_into(&mut bridge, &mut got, &tags(flv), base_ms);
        (bridge, got)
    }

    fn assert_consecutive(track: &[(Header, Vec<u8>)]) {
        assert!(track.windows(2).all(|w| w[1].0.seq == w[0].0.seq.wrapping_add(1) && w[1].0.ssrc == w[0].0.ssrc));
    }

    #[test]
    fn a_recording_becomes_numbered_packets_and_wrapping_milliseconds_do_not_show() {
        for base_ms in [0, u32::MAX - 700] {
            let (bridge, got) = run(BASELINE_AAC44, base_ms);
            assert_eq!(bridge.tracks(), (Some(Codec::Opus), Some(Codec::H264)));
            assert_consecutive(&got.video);
            assert_consecutive(&got.audio);
            let pictures = got.picture_times();
            assert_eq!(pictures.len(), 30);
            // Publishers round to milliseconds; 15 pictures a second are 6,000 units apart.
            assert!(pictures.iter().enumerate().all(|(n, t)| t.abs_diff(n as u32 * 6_000) <= 90), "{pictures:?}");
            assert!(got.audio.windows(2).all(|w| w[1].0.timestamp.wrapping_sub(w[0].0.timestamp) == 960));
            assert!(got.audio.len() > 95 && got.reports >= 4, "{} {}", got.audio.len(), got.reports);
            let keys: Vec<usize> = (0..got.video.len()).filter(|n| inspect(&got.video[*n].1).key).collect();
            let sets = keys.iter().filter(|n| {
                let kinds: Vec<NalKind> = pieces(&got.video[**n].1)
                    .filter_map(|p| if let Ok(Piece::Whole(unit)) = p { Some(nal::kind(unit)) } else { None })
                    .collect();
                kinds.starts_with(&[NalKind::Sps, NalKind::Pps])
            });
            assert_eq!(sets.count(), 2, "parameter sets before each of the two key frames");
        }
    }

    #[test]
    fn audio_alone_and_video_alone_are_normal() {
        let (bridge, got) = run(AAC16, 0);
        assert_eq!(bridge.tracks(), (Some(Codec::Opus), None));
        assert!(got.audio.len() > 70 && got.video.is_empty());
        let (bridge, got) = run(BFRAMES, 0);
        assert_eq!(bridge.tracks(), (None, Some(Codec::H264)));
        assert!(got.audio.is_empty() && !got.video.is_empty());
    }

    #[test]
    fn b_frames_that_nobody_refers_to_are_left_out_and_the_rest_is_in_order() {
        let (bridge, got) = run(BFRAMES, 0);
        assert!(bridge.video.b_frames_seen);
        let pictures = got.picture_times();
        assert!((10..=14).contains(&pictures.len()), "{pictures:?}");
        // Shown 67 ms after they are decoded, three pictures apart; the last may be nearer.
        assert!(pictures.windows(2).take(9).all(|w| (w[1] - w[0]).abs_diff(18_000) <= 180), "{pictures:?}");
        assert_consecutive(&got.video);
    }

    #[test]
    fn a_new_sequence_header_in_mid_stream_changes_what_goes_before_key_frames() {
        let (mut bridge, mut got) = run(BASELINE_AAC44, 0);
        let sps_of = |got: &Got| {
            got.video.iter().rev().flat_map(|(_, payload)| pieces(payload)).find_map(|piece| match piece {
                Ok(Piece::Whole(unit)) if nal::kind(unit) == NalKind::Sps => Some(unit.to_vec()),
                _ => None,
            })
        };
        let before = sps_of(&got).unwrap();
        let later: Vec<Tag> =
            tags(BFRAMES).into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 2_000, ..tag }).collect();
        run_into(&mut bridge, &mut got, &later, 0);
        assert_ne!(sps_of(&got).unwrap(), before);
        assert_consecutive(&got.video);
    }

    #[test]
    fn a_new_audio_configuration_in_mid_stream_goes_on_in_time() {
        let (mut bridge, mut got) = run(BASELINE_AAC44, 0);
        let later: Vec<Tag> =
            tags(AAC16).into_iter().map(|tag| Tag { timestamp_ms: tag.timestamp_ms + 2_000, ..tag }).collect();
        run_into(&mut bridge, &mut got, &later, 0);
        assert_consecutive(&got.audio);
        let first = got.audio[0].0.timestamp;
        let times: Vec<u32> = got.audio.iter().map(|(header, _)| header.timestamp.wrapping_sub(first)).collect();
        assert!(times.windows(2).all(|w| w[1] - w[0] >= 960 && w[1] - w[0] < 48 * 150), "{times:?}");
        assert!(*times.last().unwrap() > 48 * 3_300);
    }

    #[test]
    fn after_a_full_pipe_video_waits_for_a_key_frame_and_numbers_have_no_hole() {
        let (mut bridge, mut got, mut offered) = (bridge(), Got::default(), 0);
        for tag in tags(BASELINE_AAC44) {
            let now = START + std::time::Duration::from_millis(u64::from(tag.timestamp_ms));
            bridge.handle_tag(now, &tag, &mut |kind, packet| {
                offered += usize::from(kind == Kind::Video);
                let room = kind == Kind::Audio || offered != 8;
                if room {
                    got.packet(kind, packet);
                }
                room
            });
        }
        assert_consecutive(&got.video);
        let pictures = got.picture_times();
        let gap = pictures.windows(2).position(|w| w[1] - w[0] > 7_000).unwrap();
        assert!(pictures[gap + 1].abs_diff(90_000) <= 90, "{pictures:?}");
    }

    #[test]
    fn a_picture_of_as_many_units_as_allowed_passes_and_one_more_does_not() {
        let record = tags(BASELINE_AAC44).into_iter().find(|t| t.kind == TagKind::Video && t.header).unwrap();
        for (count, passes) in [(PICTURE_NALS_MAX, true), (PICTURE_NALS_MAX + 1, false)] {
            let (mut bridge, mut got) = (bridge(), Got::default());
            let picture = avc_frame(true, 0, &[0, 0, 0, 2, 0x65, 0x88].repeat(count));
            let picture = Tag { kind: TagKind::Video, timestamp_ms: 0, payload: picture, key: true, header: false };
            run_into(&mut bridge, &mut got, &[record.clone(), picture], 0);
            assert_eq!(!got.video.is_empty(), passes);
        }
    }

    #[test]
    fn parameter_sets_at_the_bound_are_taken_and_over_it_are_not() {
        for (len, taken) in [(PARAMETER_SETS_BYTES_MAX - 2, true), (PARAMETER_SETS_BYTES_MAX - 1, false)] {
            let mut record = vec![1, 66, 0xc0, 30, 0xff, 0xe1];
            record.extend_from_slice(&(len as u16).to_be_bytes());
            record.push(0x67);
            record.resize(record.len() + len - 1, 1);
            record.extend_from_slice(&[1, 0, 2, 0x68, 0xce]);
            let header =
                Tag { kind: TagKind::Video, timestamp_ms: 0, payload: avc_header(&record), key: false, header: true };
            let mut bridge = bridge();
            bridge.handle_tag(START, &header, &mut |_, _| true);
            assert_eq!(!bridge.video.sets.sps.is_empty(), taken);
        }
    }

    proptest! {
        #[test]
        fn no_tag_panics(bodies in prop::collection::vec((any::<bool>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..80)), 0..30)) {
            let (mut bridge, mut got) = run(BFRAMES, 0);
            let prefixes: [&[u8]; 4] = [&[0x17, 1, 0, 0, 0], &[0xaf, 0], &[0xaf, 1], &[]];
            for (n, (audio, timestamp_ms, body)) in bodies.into_iter().enumerate() {
                let kind = if audio { TagKind::Audio } else { TagKind::Video };
                let payload = [prefixes[n % 4], &body].concat().into();
                let tag = Tag { kind, timestamp_ms, payload, key: false, header: false };
                bridge.handle_tag(START, &tag, &mut |kind, packet| {
                    got.packet(kind, packet);
                    true
                });
            }
            assert_consecutive(&got.video);
        }
    }
}
