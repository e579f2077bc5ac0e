//! A publisher's FLV tags to the room's RTP packets: H.264 cut anew, never coded anew; AAC to Opus, once.
//!
//! Both tracks keep one clock: whatever milliseconds the publisher stamps become times on the server's line, RTP timestamps
//! of both tracks are linear in that line, and sender reports say how.

mod other_video;
#[cfg(feature = "reencode")]
mod reencoding;
mod video;

#[cfg(all(test, feature = "aac-fdk"))]
mod tests;

use std::{collections::VecDeque, fmt::Display};

use bytes::Bytes;
use tracing::warn;

use self::video::VideoIn;
use super::{
    aac_codec::AudioError,
    clock::RtmpClock,
    hold::Hold,
    packetize::{PacketSink, RtpStream},
    transcode::{AacToOpus, OPUS_FRAME_SAMPLES, position_of_us, us_of_position},
};
use crate::{
    codec::{Codec, opus},
    flv::{AudioBody, Tag, TagKind, VideoBody, read_audio, read_video},
    ids::Kind,
    units::time::{Time, WallClock},
};

pub use self::video::{PARAMETER_SETS_BYTES_MAX, PICTURE_NALS_MAX};

/// Most that a picture may be shown before or after it is decoded; what claims more is shown when it is decoded.
const COMPOSITION_MS_MAX: i32 = 5_000;

fn composition_us(composition_ms: i32) -> i64 {
    if composition_ms.abs() <= COMPOSITION_MS_MAX { i64::from(composition_ms) * 1000 } else { 0 }
}

/// Least time between the last frame of one publisher and the first of the next.
const PUBLISHER_STEP_US: i64 = 20_000;

/// Access units that are kept while nobody listens: half a second of AAC-LC, a second of HE-AAC, whose decoder does without the
/// upper half of the sound until it has seen a header that comes about so often.
const KEPT_UNITS: usize = 24;
/// So many of them at most are not just decoded but sent, see [`AudioIn::begin_to_listen`].
const SENT_UNITS_MAX: usize = 2;
/// What comes later than an access unit of the same moment: the rest of its Opus frame, and what the codecs look ahead.
const OPUS_LATE_US: i64 = 25_000;
/// What is older belongs to another sound.
const KEPT_US_MAX: i64 = 1_500_000;

/// Where the identification header of Opus tells its channels (RFC 7845 §5.1).
const OPUS_HEAD_CHANNELS_AT: usize = 9;
/// Samples by which a timestamp in milliseconds may miss the end of the packet before it: 20 ms.
const OPUS_ROUNDING: i64 = 960;

/// One stream's way into a room.
pub struct RtmpToRoom {
    line: SourceLine,
    wall: WallClock,
    hold: Hold,
    video: VideoIn,
    audio: AudioIn,
}

struct AudioIn {
    stream: RtpStream,
    bitrate_bps: u32,
    config: Bytes,
    /// The publisher sends AAC that can be decoded.
    aac: bool,
    /// There while somebody listens.
    transcoder: Option<AacToOpus>,
    listened_to: bool,
    /// The latest access units, while nobody listens.
    kept: VecDeque<Kept>,
    /// Packets that were made so far.
    transcoded: u64,
    /// The publisher sends Opus, which needs nothing done.
    opus: bool,
    /// Position behind the last packet that was sent; sound that would overlap it is left out.
    sent_until: i64,
    complained: bool,
}

/// An access unit that nobody heard.
#[derive(Default)]
struct Kept {
    us: i64,
    /// By how much later than its time it came, in microseconds.
    late_us: i64,
    unit: Vec<u8>,
}

impl RtmpToRoom {
    /// `opus_bitrate_bps`: of the audio that the room gets. `wall`: the clock of the sender reports.
    pub fn new(opus_bitrate_bps: u32, wall: WallClock) -> Self {
        RtmpToRoom {
            line: SourceLine::default(),
            wall,
            hold: Hold::default(),
            video: VideoIn::new(),
            audio: AudioIn {
                stream: RtpStream::new(Kind::Audio, Codec::Opus.bridged_payload_type(), Codec::Opus.clock_rate()),
                bitrate_bps: opus_bitrate_bps,
                config: Bytes::new(),
                aac: false,
                transcoder: None,
                listened_to: true,
                kept: VecDeque::new(),
                transcoded: 0,
                opus: false,
                sent_until: i64::MIN,
                complained: false,
            },
        }
    }

    /// What the room gets of this publisher, audio and video, as far as it is known yet.
    pub fn tracks(&self) -> (Option<Codec>, Option<Codec>) {
        let sound = self.audio.aac || self.audio.opus;
        (sound.then_some(Codec::Opus), self.video.codec())
    }

    /// Whether anybody listens; at first somebody does. AAC is turned into Opus only while somebody does; the first listener after
    /// a silence gets sound with the next access unit, and some of what went before it.
    pub fn set_listened_to(&mut self, listened_to: bool) {
        self.audio.listened_to = listened_to;
        if !listened_to {
            self.audio.transcoder = None;
        }
    }

    /// Whether a transcoder runs, and how many Opus packets were made so far.
    pub fn transcoding(&self) -> (bool, u64) {
        (self.audio.transcoder.is_some(), self.audio.transcoded)
    }

    /// Whether the present publisher's pictures come in another order than they are shown, so that some are left out.
    pub fn has_b_frames(&self) -> bool {
        self.video.leaves_b_frames_out()
    }

    /// Whether a tag may take as long as it takes to code a picture anew: tens of milliseconds.
    #[cfg(feature = "reencode")]
    pub fn is_reencoding(&self) -> bool {
        self.video.reencoding.is_on()
    }

    /// Whether pictures of publishers with B-frames are coded anew without them, at the cost of a decoder and an encoder for each;
    /// at first not.
    #[cfg(feature = "reencode")]
    pub fn set_reencode_b_frames(&mut self, enabled: bool) {
        self.video.reencoding.enabled = enabled;
    }

    /// Whether key frames are made when they are asked for: while pictures are coded anew.
    pub fn makes_keys(&self) -> bool {
        #[cfg(feature = "reencode")]
        return self.video.reencoding.is_running();
        #[cfg(not(feature = "reencode"))]
        false
    }

    /// Makes the next picture a key frame, where [`makes_keys`](Self::makes_keys); otherwise nothing happens.
    pub fn want_key(&mut self) {
        #[cfg(feature = "reencode")]
        self.video.reencoding.want_key();
    }

    /// Another publisher feeds the stream from here on, or the same one anew: nothing is known of him, but what he sends goes
    /// on under the numbers of the one before, at the time when it comes.
    pub fn begin_publisher(&mut self) {
        self.line.begin_publisher();
        self.hold.begin_publisher();
        self.video.begin_publisher();
        self.audio.begin_publisher();
    }

    /// Takes a tag that arrived at `now` and gives `sink` the packets that it makes, sender reports among them. A tag that
    /// cannot be read is left out.
    pub fn handle_tag(&mut self, now: Time, tag: &Tag, sink: &mut PacketSink<'_>) {
        match tag.kind {
            TagKind::Script => {}
            TagKind::Video => {
                let Ok(body) = read_video(&tag.payload) else { return };
                match body {
                    VideoBody::AvcHeader(record) => self.video.handle_header(record),
                    VideoBody::AvcFrame { key, composition_ms, nalus } => {
                        let dts_us = self.line.map(now, Kind::Video, tag.timestamp_ms);
                        let pts_us = dts_us + composition_us(composition_ms);
                        self.video.handle_frame((dts_us, pts_us), key, nalus, sink);
                        self.end_picture(now, pts_us, sink);
                    }
                    VideoBody::Header { codec, record } => self.video.handle_other_header(codec, record),
                    VideoBody::Frame { codec, key, composition_ms, data } => {
                        let dts_us = self.line.map(now, Kind::Video, tag.timestamp_ms);
                        let pts_us = dts_us + composition_us(composition_ms);
                        self.video.handle_other_frame(codec, pts_us, key, data, sink);
                        self.end_picture(now, pts_us, sink);
                    }
                    #[cfg(feature = "reencode")]
                    VideoBody::AvcEnd => self.video.finish(sink),
                    #[cfg(not(feature = "reencode"))]
                    VideoBody::AvcEnd => {}
                    VideoBody::Nothing => {}
                    VideoBody::Other { name, .. } => self.video.complain(name),
                }
            }
            TagKind::Audio => {
                let Ok(body) = read_audio(&tag.payload) else { return };
                match body {
                    AudioBody::AacHeader(config) => self.audio.handle_header(config),
                    AudioBody::AacFrame(unit) => {
                        let us = self.line.map(now, Kind::Audio, tag.timestamp_ms);
                        self.audio.handle_unit(now, us, unit, &mut self.hold, sink);
                        self.audio.stream.report(now, &self.wall, sink);
                    }
                    AudioBody::OpusHeader(head) => self.audio.handle_opus_header(head),
                    AudioBody::OpusFrame(packet) => {
                        let us = self.line.map(now, Kind::Audio, tag.timestamp_ms);
                        self.audio.handle_opus(now, us, packet, &mut self.hold, sink);
                        self.audio.stream.report(now, &self.wall, sink);
                    }
                    AudioBody::Nothing => {}
                    AudioBody::Other { name } => self.audio.complain(name),
                }
            }
        }
    }
}

impl RtmpToRoom {
    fn end_picture(&mut self, now: Time, us: i64, sink: &mut PacketSink<'_>) {
        self.video.report(now, &self.wall, sink);
        if let Some(tens) = self.hold.note_picture(now.as_micros() as i64, us) {
            self.video.tell_hold(tens, sink);
        }
    }
}

/// The publishers' time on the server's line, one after the other.
#[derive(Default)]
struct SourceLine {
    clock: RtmpClock,
    /// The latest time of all publishers so far.
    latest_us: Option<i64>,
    /// What the present publisher is later than when he came; `None` before his first tag. One before him who was ahead of
    /// the present must not be overtaken.
    lead_us: Option<i64>,
}

impl SourceLine {
    fn begin_publisher(&mut self) {
        self.clock = RtmpClock::default();
        self.lead_us = None;
    }

    /// As [`RtmpClock::map`].
    fn map(&mut self, now: Time, kind: Kind, timestamp_ms: u32) -> i64 {
        let us = self.clock.map(now, kind, timestamp_ms);
        let latest_us = self.latest_us;
        let lead_us =
            *self.lead_us.get_or_insert_with(|| latest_us.map_or(0, |latest| (latest + PUBLISHER_STEP_US - us).max(0)));
        self.latest_us = latest_us.max(Some(us + lead_us));
        us + lead_us
    }
}

impl AudioIn {
    fn begin_publisher(&mut self) {
        (self.config, self.complained) = (Bytes::new(), false);
        self.forget();
    }

    /// Nothing is known of the sound any more.
    fn forget(&mut self) {
        (self.aac, self.transcoder, self.opus) = (false, None, false);
        self.kept.clear();
    }

    fn handle_header(&mut self, config: &[u8]) {
        if self.config == config {
            return;
        }
        self.forget();
        match AacToOpus::new(config, self.bitrate_bps) {
            Ok(transcoder) => (self.aac, self.transcoder) = (true, self.listened_to.then_some(transcoder)),
            Err(error) => self.give_up(error),
        }
        self.config = Bytes::copy_from_slice(config);
    }

    /// Takes an identification header. More than two channels are coded as several streams, which RTP names otherwise.
    fn handle_opus_header(&mut self, head: &[u8]) {
        let channels = head.get(OPUS_HEAD_CHANNELS_AT).copied().unwrap_or(2);
        self.config = Bytes::new();
        self.forget();
        self.opus = channels <= 2;
        if !self.opus {
            self.complain(format_args!("Opus of {channels} channels"));
        }
    }

    fn handle_opus(&mut self, now: Time, us: i64, packet: &[u8], hold: &mut Hold, sink: &mut PacketSink<'_>) {
        let Ok(told) = opus::Packet::parse(packet) else { return };
        if !self.opus {
            return;
        }
        let now_us = now.as_micros() as i64;
        hold.note_unit(now_us);
        hold.note_sound(now_us, us);
        // Milliseconds round; packets that follow on one another do so to the sample.
        let at = position_of_us(us);
        let position =
            if at.saturating_sub(self.sent_until).saturating_abs() <= OPUS_ROUNDING { self.sent_until } else { at };
        if position >= self.sent_until {
            let timestamp = self.stream.timestamp_of_units(position);
            self.stream.send(timestamp, false, &[], packet, sink);
            self.sent_until = position + i64::from(told.samples());
        }
    }

    /// The stream goes on without this audio, until a configuration comes that can be used.
    fn give_up(&mut self, error: AudioError) {
        self.forget();
        if !self.complained {
            self.complained = true;
            warn!("the publisher's audio cannot go into a room: {error}");
        }
    }

    fn handle_unit(&mut self, now: Time, us: i64, unit: &[u8], hold: &mut Hold, sink: &mut PacketSink<'_>) {
        if !self.aac {
            return;
        }
        let now_us = now.as_micros() as i64;
        hold.note_unit(now_us);
        if !self.listened_to {
            let mut place = if self.kept.len() < KEPT_UNITS { None } else { self.kept.pop_front() }.unwrap_or_default();
            (place.us, place.late_us) = (us, now_us - us);
            place.unit.clear();
            place.unit.extend_from_slice(unit);
            self.kept.push_back(place);
            return;
        }
        if self.transcoder.is_none() {
            self.begin_to_listen(now_us, us, hold, sink);
        }
        self.transcode(now_us, us, unit, hold, sink);
    }

    /// Somebody listens again: the decoder learns what went before, and the last of it is heard.
    ///
    /// The first packet is as late as the latest of those that follow. One that is earlier leaves a player with nothing to play
    /// until they come; one that is later leaves it with sound in its buffer that Chromium takes many seconds to be rid of, and
    /// holds the pictures back for.
    fn begin_to_listen(&mut self, now_us: i64, us: i64, hold: &mut Hold, sink: &mut PacketSink<'_>) {
        match AacToOpus::new(&self.config, self.bitrate_bps) {
            Ok(transcoder) => self.transcoder = Some(transcoder),
            Err(error) => return self.give_up(error),
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|kept| (0..KEPT_US_MAX).contains(&(us - kept.us)));
        let late_us = kept.iter().map(|kept| kept.late_us).fold(now_us - us, i64::max);
        let first_us = now_us - late_us - OPUS_LATE_US;
        let most_from = kept.len().saturating_sub(SENT_UNITS_MAX);
        for (n, Kept { us, unit, .. }) in kept.iter().enumerate() {
            match &mut self.transcoder {
                Some(transcoder) if n < most_from || *us < first_us => transcoder.prime(unit),
                _ => self.transcode(now_us, *us, unit, hold, sink),
            }
        }
    }

    fn transcode(&mut self, now_us: i64, us: i64, unit: &[u8], hold: &mut Hold, sink: &mut PacketSink<'_>) {
        let Some(transcoder) = &mut self.transcoder else { return };
        let (stream, sent_until, transcoded) = (&mut self.stream, &mut self.sent_until, &mut self.transcoded);
        let result = transcoder.push(us, unit, &mut |position, packet, dbov| {
            *transcoded += 1;
            hold.note_sound(now_us, us_of_position(position));
            // After a new configuration the first sound may reach back into what was sent.
            if position >= *sent_until {
                let timestamp = stream.timestamp_of_units(position);
                stream.send_audio(timestamp, packet, dbov, sink);
                *sent_until = position + OPUS_FRAME_SAMPLES as i64;
            }
        });
        if let Err(error) = result {
            self.give_up(error);
        }
    }

    fn complain(&mut self, codec: impl Display) {
        if !self.complained {
            self.complained = true;
            warn!("the publisher's audio codec {codec} cannot go into a room, which takes AAC and Opus from RTMP");
        }
    }
}
