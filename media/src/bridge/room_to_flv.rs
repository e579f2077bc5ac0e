//! A room's RTP packets to FLV tags: pictures as they are, Opus to AAC, both on one clock that starts near zero.

use std::time::Duration;

use tracing::{debug, warn};

use super::{
    assemble::{
        JitterBuffer, Packet, PictureAssembler, Sets,
        frames::{FrameAssembler, record_of},
    },
    clock::{LipSync, TrackClock},
    resample::OUTPUT_RATE_HZ,
    transcode::{OpusToAac, position_of_us, us_of_position},
};
use crate::{
    codec::{
        Codec,
        h264::{self, config::write_avc_config},
        h265::{self, config::write_hevc_config},
    },
    flv::{Metadata, Tag, TagKind, aac_frame, aac_header, avc_frame, avc_header, video_frame, video_header},
    ids::Kind,
    rtp::{
        packet::{Header, is_rtcp},
        rtcp::{Rtcp, packets},
    },
    units::time::Time,
};

/// What the time line of the tags starts with. The AAC encoder's first access units lie before the first sound.
const START_US: i64 = 100_000;

/// Silence is made up when no audio came for this long: a player waits for audio that it was promised.
const AUDIO_IDLE: Duration = Duration::from_millis(250);

/// Made-up sound keeps this far behind the present, so that a packet that is only late still finds its place.
const AUDIO_IDLE_BEHIND_US: i64 = 150_000;

/// Audio that is this far behind what was made up already is taken for what comes next, not for something late.
const OVERLAP_US_MAX: i64 = 200_000;

/// How often a key frame is asked for while none comes.
const KEY_WANTED_INTERVAL: Duration = Duration::from_secs(1);

/// A key frame is asked for when the last one is this old: browsers send none by themselves, and a new player gets everything
/// since then, so this is the most that it has to catch up with. Shorter costs all subscribers bitrate.
pub const KEY_FRAME_AGE_MAX: Duration = Duration::from_secs(2);

/// One stream's way out of a room. [`handle_packet`](Self::handle_packet) and, at least every 20 ms,
/// [`handle_timeout`](Self::handle_timeout) drive it.
pub struct RoomToFlv {
    audio: Option<AudioOut>,
    video: Option<VideoOut>,
    /// The time on the server's line that is timestamp zero of the tags.
    zero_us: Option<i64>,
    metadata: Option<Metadata>,
    key_asked_at: Option<Time>,
    tags: Vec<Tag>,
}

struct AudioOut {
    input: Input,
    transcoder: OpusToAac,
    header_sent: bool,
    /// Access units that were made so far.
    made: u64,
    /// When audio was last heard of (or promised, by video), and where on the line that was.
    heard: Option<(Time, i64)>,
}

struct VideoOut {
    codec: Codec,
    input: Input,
    assembler: Assembler,
    lip_sync: LipSync,
    /// The configuration record that players have.
    record: Vec<u8>,
    size: Option<(u32, u32)>,
    /// When the newest key frame arrived.
    key_at: Option<Time>,
}

/// Puts a track's packets together.
enum Assembler {
    /// H.264, H.265.
    Units(PictureAssembler),
    /// VP8, VP9, AV1.
    Other(FrameAssembler),
}

impl Assembler {
    fn new(codec: Codec) -> Self {
        match codec {
            Codec::H264 | Codec::H265 => Assembler::Units(PictureAssembler::new(codec)),
            other => Assembler::Other(FrameAssembler::new(other)),
        }
    }

    fn awaits_key(&self) -> bool {
        match self {
            Assembler::Units(assembler) => assembler.awaits_key(),
            Assembler::Other(assembler) => assembler.awaits_key(),
        }
    }
}

/// A picture, whole, as a tag carries it.
struct Shot {
    timestamp: u32,
    arrival: Time,
    key: bool,
    data: Vec<u8>,
    /// What goes before it, if that is new.
    record: Option<Vec<u8>>,
}

/// The receiving side of one track.
struct Input {
    rate_hz: u32,
    ssrc: Option<u32>,
    jitter: JitterBuffer,
    clock: TrackClock,
}

impl RoomToFlv {
    /// `audio`: the stream has Opus audio. `video`: the codec of its video; H.264 leaves as every player knows it, the
    /// others as Enhanced RTMP. `aac_bitrate_bps`: of the audio that comes out.
    pub fn new(audio: bool, video: Option<Codec>, aac_bitrate_bps: u32) -> Self {
        let audio = if audio { AudioOut::new(aac_bitrate_bps) } else { None };
        let video = video.filter(|codec| codec.kind() == Kind::Video).map(VideoOut::new);
        RoomToFlv { audio, video, zero_us: None, metadata: None, key_asked_at: None, tags: Vec::new() }
    }

    /// Takes a packet of the pipe, RTP or a sender report, that arrived at `now`. The tags that it completes are for
    /// [`take_tags`](Self::take_tags).
    pub fn handle_packet(&mut self, now: Time, kind: Kind, packet: &[u8]) {
        let input = match kind {
            Kind::Audio => self.audio.as_mut().map(|audio| &mut audio.input),
            Kind::Video => self.video.as_mut().map(|video| &mut video.input),
        };
        let Some(input) = input else { return };
        if is_rtcp(packet) {
            for report in packets(packet).flatten() {
                if let Rtcp::SenderReport(report) = report {
                    input.clock.sender_report(report.ntp, report.rtp_timestamp);
                }
            }
            return;
        }
        let Ok(header) = Header::parse(packet) else { return };
        if input.begin_if_new(header.ssrc)
            && kind == Kind::Video
            && let Some(video) = &mut self.video
        {
            video.assembler = Assembler::new(video.codec);
        }
        self.input(kind, |input| input.jitter.push(now, &header, header.payload(packet)));
        self.drain(now);
    }

    /// Lets time pass: holes are given up, silence is made up.
    pub fn handle_timeout(&mut self, now: Time) {
        self.drain(now);
        let Some(audio) = &mut self.audio else { return };
        let Some((at, us)) = audio.heard else { return };
        if now.since(at) >= AUDIO_IDLE {
            let until_us = us + now.since(at).as_micros() as i64 - AUDIO_IDLE_BEHIND_US;
            let units = audio.fill(position_of_us(until_us));
            self.emit_audio(units);
        }
    }

    /// The tags that are ready, oldest first.
    pub fn take_tags(&mut self) -> std::vec::Drain<'_, Tag> {
        self.tags.drain(..)
    }

    /// Whether a transcoder runs, and how many AAC access units were made so far.
    pub fn transcoding(&self) -> (bool, u64) {
        self.audio.as_ref().map_or((false, 0), |audio| (audio.transcoder.end().is_some(), audio.made))
    }

    /// Whether the publisher should be asked for a key frame now. Answers yes once a second while one is missing or the last
    /// one is older than [`KEY_FRAME_AGE_MAX`].
    pub fn poll_key_wanted(&mut self, now: Time) -> bool {
        let wanted = self.video.as_ref().is_some_and(|video| {
            let aged = video.key_at.is_none_or(|at| now.since(at) >= KEY_FRAME_AGE_MAX);
            aged || video.assembler.awaits_key()
        });
        if !wanted {
            self.key_asked_at = None;
            return false;
        }
        let due = self.key_asked_at.is_none_or(|at| now.since(at) >= KEY_WANTED_INTERVAL);
        if due {
            self.key_asked_at = Some(now);
        }
        due
    }

    fn input(&mut self, kind: Kind, with: impl FnOnce(&mut Input)) {
        match kind {
            Kind::Audio => self.audio.as_mut().map(|audio| with(&mut audio.input)),
            Kind::Video => self.video.as_mut().map(|video| with(&mut video.input)),
        };
    }

    fn drain(&mut self, now: Time) {
        while let Some(packet) = self.audio.as_mut().and_then(|audio| audio.input.jitter.pop(now)) {
            self.handle_audio(&packet);
        }
        let mut pictures = Vec::new();
        if let Some(video) = &mut self.video {
            while let Some(packet) = video.input.jitter.pop(now) {
                video.take(&packet, &mut pictures);
            }
        }
        for shot in pictures {
            self.handle_picture(shot);
        }
    }

    fn handle_audio(&mut self, packet: &Packet) {
        let Some(audio) = &mut self.audio else { return };
        if packet.payload.is_empty() {
            return;
        }
        let units = audio.take(packet);
        self.emit_audio(units);
    }

    fn emit_audio(&mut self, units: Vec<(i64, bytes::Bytes)>) {
        let Some(first) = units.first() else { return };
        let first_us = us_of_position(first.0);
        self.begin_line(first_us.max(self.audio.as_ref().and_then(|a| a.heard).map_or(first_us, |(_, us)| us)));
        let header_ms = self.timestamp_ms(first_us);
        if let Some(audio) = &mut self.audio
            && !audio.header_sent
        {
            audio.header_sent = true;
            let payload = aac_header(audio.transcoder.config());
            self.emit_metadata();
            self.tags.push(Tag { kind: TagKind::Audio, timestamp_ms: header_ms, payload, key: false, header: true });
        }
        if let Some(audio) = &mut self.audio {
            audio.made += units.len() as u64;
        }
        for (position, unit) in units {
            let timestamp_ms = self.timestamp_ms(us_of_position(position));
            let payload = aac_frame(&unit);
            self.tags.push(Tag { kind: TagKind::Audio, timestamp_ms, payload, key: false, header: false });
        }
    }

    fn handle_picture(&mut self, picture: Shot) {
        let Some(video) = &mut self.video else { return };
        let codec = video.codec;
        if video.record.is_empty() {
            // Parameter sets that fit no record: no player could decode this.
            return;
        }
        if picture.key {
            video.key_at = Some(picture.arrival);
        }
        let us = video.input.clock.map(picture.arrival, picture.timestamp).us;
        let heard = self.audio.as_ref().and_then(|audio| audio.input.clock.sender_offset_us());
        let us = video.lip_sync.correct(us, video.input.clock.sender_offset_us(), heard);
        if let Some(audio) = &mut self.audio {
            audio.expect_from(picture.arrival, us);
        }
        self.begin_line(us);
        let timestamp_ms = self.timestamp_ms(us);
        if let Some(record) = picture.record {
            self.emit_metadata();
            let payload = if codec == Codec::H264 { avc_header(&record) } else { video_header(codec, &record) };
            self.tags.push(Tag { kind: TagKind::Video, timestamp_ms, payload, key: false, header: true });
        }
        // Publishers in a room send no B-frames, so pictures are shown in the order in which they are decoded.
        let payload = match codec {
            Codec::H264 => avc_frame(picture.key, 0, &picture.data),
            other => video_frame(other, picture.key, &picture.data),
        };
        self.tags.push(Tag { kind: TagKind::Video, timestamp_ms, payload, key: picture.key, header: false });
    }

    /// Metadata goes out before the first header and again when the picture's size becomes known or changes.
    fn emit_metadata(&mut self) {
        let size = self.video.as_ref().and_then(|video| video.size);
        let new = Metadata {
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            framerate: None,
            video: self.video.as_ref().map(|video| video.codec),
            has_audio: self.audio.is_some(),
            audio_sample_rate: self.audio.as_ref().map(|_| OUTPUT_RATE_HZ),
            stereo: true,
            encoder: "roomcast".into(),
        };
        if self.metadata.as_ref() != Some(&new) {
            let payload = new.to_bytes();
            self.metadata = Some(new);
            self.tags.push(Tag { kind: TagKind::Script, timestamp_ms: 0, payload, key: false, header: true });
        }
    }

    fn begin_line(&mut self, us: i64) {
        self.zero_us.get_or_insert(us - START_US);
    }

    /// Milliseconds of a tag; wraps at 32 bits as FLV does.
    fn timestamp_ms(&self, us: i64) -> u32 {
        ((us - self.zero_us.unwrap_or(us)).max(0) / 1000) as u32
    }
}

impl Input {
    fn new(codec: Codec) -> Self {
        let rate_hz = codec.clock_rate();
        Input { rate_hz, ssrc: None, jitter: JitterBuffer::default(), clock: TrackClock::new(rate_hz) }
    }

    /// Starts over if the packets come from another source than before.
    fn begin_if_new(&mut self, ssrc: u32) -> bool {
        let changed = self.ssrc.is_some_and(|known| known != ssrc);
        if changed {
            *self =
                Input { ssrc: None, jitter: JitterBuffer::default(), clock: TrackClock::new(self.rate_hz), ..*self };
        }
        self.ssrc = Some(ssrc);
        changed
    }
}

impl AudioOut {
    fn new(aac_bitrate_bps: u32) -> Option<Self> {
        match OpusToAac::new(aac_bitrate_bps) {
            Ok(transcoder) => {
                Some(AudioOut { input: Input::new(Codec::Opus), transcoder, header_sent: false, made: 0, heard: None })
            }
            Err(error) => {
                warn!("players of this stream get no audio: {error}");
                None
            }
        }
    }

    fn take(&mut self, packet: &Packet) -> Vec<(i64, bytes::Bytes)> {
        let mut us = self.input.clock.map(packet.arrival, packet.timestamp).us;
        if let Some(end) = self.transcoder.end() {
            let overlap_us = us_of_position(end) - us;
            if overlap_us > OVERLAP_US_MAX {
                // The track's clock stood still while time went on, as when a publisher is muted.
                self.input.clock.shift(overlap_us);
                us += overlap_us;
            }
        }
        self.heard = Some((packet.arrival, us));
        let mut units = Vec::new();
        self.transcoder.push(position_of_us(us), &packet.payload, &mut |at, unit| units.push((at, unit)));
        units
    }

    /// Video has begun at `us`: audio that never comes is silence from there on.
    fn expect_from(&mut self, now: Time, us: i64) {
        self.heard.get_or_insert((now, us));
    }

    fn fill(&mut self, until: i64) -> Vec<(i64, bytes::Bytes)> {
        let mut units = Vec::new();
        self.transcoder.start_at(until);
        self.transcoder.conceal_until(until, &mut |at, unit| units.push((at, unit)));
        units
    }
}

impl VideoOut {
    fn new(codec: Codec) -> Self {
        VideoOut {
            codec,
            input: Input::new(codec),
            assembler: Assembler::new(codec),
            lip_sync: LipSync::default(),
            record: Vec::new(),
            size: None,
            key_at: None,
        }
    }

    /// Gives each picture that is complete, with the configuration record if that is a new one.
    fn take(&mut self, packet: &Packet, pictures: &mut Vec<Shot>) {
        let (codec, known, size) = (self.codec, &mut self.record, &mut self.size);
        match &mut self.assembler {
            Assembler::Units(assembler) => assembler.push(packet, &mut |assembler, picture| {
                let record = picture.key.then(|| new_record(codec, assembler.sets(), known, size)).flatten();
                let (timestamp, arrival, key) = (picture.timestamp, picture.arrival, picture.key);
                pictures.push(Shot { timestamp, arrival, key, data: picture.nals, record });
            }),
            Assembler::Other(assembler) => assembler.push(packet, &mut |frame| {
                let told = if frame.key { record_of(codec, &frame.data) } else { None };
                let record = told.filter(|told| (&told.0, told.1) != (&*known, *size)).map(|told| {
                    known.clone_from(&told.0);
                    *size = told.1;
                    told.0
                });
                let (timestamp, arrival, key) = (frame.timestamp, frame.arrival, frame.key);
                pictures.push(Shot { timestamp, arrival, key, data: frame.data, record });
            }),
        }
    }
}

fn new_record(codec: Codec, sets: &Sets, known: &mut Vec<u8>, size: &mut Option<(u32, u32)>) -> Option<Vec<u8>> {
    let [vps, sps, pps] = [&sets.vps, &sets.sps, &sets.pps].map(|sets| sets.iter().map(|s| &s[..]).collect::<Vec<_>>());
    let mut record = Vec::new();
    let fits = match codec {
        Codec::H265 => write_hevc_config(&mut record, &vps, &sps, &pps),
        _ => write_avc_config(&mut record, &sps, &pps),
    };
    if !fits {
        debug!("parameter sets do not fit a configuration record");
        return None;
    }
    if record == *known {
        return None;
    }
    known.clone_from(&record);
    *size = sps.first().and_then(|sps| match codec {
        Codec::H265 => h265::Sps::parse(sps).ok().map(|sps| (sps.width, sps.height)),
        _ => h264::Sps::parse(sps).ok().map(|sps| (sps.width, sps.height)),
    });
    Some(record)
}
