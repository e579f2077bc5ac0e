//! Tags to parts and segments: where one ends and the next begins, what is kept, and for how long.
//!
//! Times come from [`RtmpClock`], so that a publisher's wraps and jumps leave no trace. A video frame lasts until the next one,
//! so the newest waits for that; it goes into the part that is open then, with its own decoding time.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{
    File, Found,
    fmp4::{AudioConfig, Run, Sample, VIDEO_TIMESCALE, VideoConfig, fragment, init_segment},
};
use crate::{
    bridge::{assemble::frames::record_of, clock::RtmpClock},
    codec::{Codec, opus},
    flv::{AudioBody, Tag, TagKind, VideoBody, read_audio, read_video},
    ids::Kind,
    units::time::Time,
};

/// Most bytes of media kept for one stream: half a minute at 8 Mbit/s. Beyond it the oldest segments go early.
pub const HLS_BYTES_MAX: usize = 32 << 20;

/// Most samples in one part; what comes beyond them opens the next. More than a second of 120 pictures and of the shortest
/// AAC.
const PART_SAMPLES_MAX: usize = 512;

/// A key frame this soon after the last one begins no segment: many small files are a burden to everybody.
const SEGMENT_MIN: Duration = Duration::from_millis(900);

/// How long the first segment of a stream is, at most by one frame.
const FIRST_SEGMENT: Duration = Duration::from_secs(1);

/// How long segments of sound alone are.
const AUDIO_SEGMENT: Duration = Duration::from_secs(2);

/// Segments that playlists do not name any more can be fetched until so many others have gone the same way.
const GONE_SEGMENTS: usize = 2;

/// Timestamps of audio may be off by this much before they are believed over the count of samples.
const AUDIO_TOLERANCE_US: i64 = 60_000;

/// A segment may be longer than the longest by this much before it is rounded up to more.
const ROUNDING_US: i64 = 400_000;

/// Where the line of decoding times begins, so that what is shown or heard before its time is not before zero.
const START_US: i64 = 10_000_000;

/// A stream that was said to have sound, or video, waits for it this long.
const TRACK_WAIT_US: i64 = 1_000_000;

/// What the operator decides.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Longest segment, in whole seconds. Segments end at key frames, and here where those are further apart.
    pub segment: Duration,
    /// Longest part.
    pub part: Duration,
    /// Playlists name at least so many times the longest segment, unless that were more than [`HLS_BYTES_MAX`]; three at least
    /// (RFC 8216bis §6.2.2).
    pub window: u32,
}

/// One part of a segment.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub duration_us: i64,
    /// A decoder can start with it.
    pub independent: bool,
    pub bytes: Bytes,
}

/// One segment; the last of a stream that goes on is still growing.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub number: u64,
    /// What its decoder needs first.
    pub init: u32,
    /// It does not go on from the one before.
    pub discontinuity: bool,
    pub parts: Vec<Part>,
    pub complete: bool,
}

impl Segment {
    pub fn duration_us(&self) -> i64 {
        self.parts.iter().map(|part| part.duration_us).sum()
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }
}

/// What the multivariant playlist says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub codecs: String,
    pub size: Option<(u32, u32)>,
    /// Bits per second, of the busiest segment.
    pub peak_bps: u64,
}

/// One stream on its way to HLS players.
pub struct Packager {
    pub(super) settings: Settings,
    clock: RtmpClock,
    zero_us: Option<i64>,
    first_us: Option<i64>,
    announced: Announced,
    video: Option<VideoConfig>,
    audio: Option<AudioConfig>,
    /// The configuration record that came last, of a codec of which only a key frame says the rest.
    record: Option<(Codec, Bytes)>,
    /// The tracks changed, or nothing was made yet: the next segment needs an initialization segment of its own.
    stale: bool,
    inits: VecDeque<(u32, Bytes)>,
    codecs: String,
    open: Option<Open>,
    /// The last one is the one that grows, if `open` is there.
    pub(super) segments: VecDeque<Segment>,
    /// How many of `segments`, from the front, are named no more.
    pub(super) unlisted: usize,
    pub(super) discontinuities_gone: u64,
    next_number: u64,
    sequence: u32,
    peak_bps: u64,
    pub(super) longest_part_us: i64,
    pub(super) ended: bool,
}

/// What a publisher said that he would send.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    audio: bool,
    video: bool,
}

/// The part that is being filled.
struct Open {
    has_video: bool,
    part_at_us: i64,
    segment_at_us: i64,
    video: Vec<Sample>,
    video_at: u64,
    audio: Vec<Sample>,
    audio_at: u64,
    /// The newest video frame, which lasts until the next.
    waiting: Option<(i64, Sample)>,
    last_video_us: i64,
    last_frame_us: i64,
    audio_counted_from_us: i64,
    audio_counted: i64,
    /// Audio of a configuration that this segment does not have.
    audio_foreign: bool,
}

impl Packager {
    pub fn new(settings: Settings) -> Packager {
        Packager {
            settings,
            clock: RtmpClock::default(),
            zero_us: None,
            first_us: None,
            announced: Announced::default(),
            video: None,
            audio: None,
            record: None,
            stale: true,
            inits: VecDeque::new(),
            codecs: String::new(),
            open: None,
            segments: VecDeque::new(),
            unlisted: 0,
            discontinuities_gone: 0,
            next_number: 0,
            sequence: 0,
            peak_bps: 0,
            longest_part_us: settings.part.as_micros() as i64,
            ended: false,
        }
    }

    /// Takes a tag that arrived at `now`; true if a part became ready. What cannot be read, or carried, is left out.
    pub fn push(&mut self, now: Time, tag: &Tag) -> bool {
        if self.ended {
            return false;
        }
        match tag.kind {
            TagKind::Script => {
                let says = |name: &[u8]| tag.payload.windows(name.len()).any(|window| window == name);
                self.announced = Announced { audio: says(b"audiocodecid"), video: says(b"videocodecid") };
                false
            }
            TagKind::Video => match read_video(&tag.payload) {
                Ok(VideoBody::AvcHeader(record)) => {
                    self.take_video_header(Codec::H264, record);
                    false
                }
                Ok(VideoBody::AvcFrame { key, composition_ms, nalus }) => {
                    self.take_picture(now, tag, Codec::H264, (key, composition_ms, nalus))
                }
                Ok(VideoBody::Header { codec, record }) => {
                    self.take_video_header(codec, record);
                    false
                }
                Ok(VideoBody::Frame { codec, key, composition_ms, data }) => {
                    self.take_picture(now, tag, codec, (key, composition_ms, data))
                }
                _ => false,
            },
            TagKind::Audio => match read_audio(&tag.payload) {
                Ok(AudioBody::AacHeader(config)) => {
                    self.take_audio_header(config, AudioConfig::new);
                    false
                }
                Ok(AudioBody::AacFrame(unit)) if !unit.is_empty() => {
                    let us = self.line_us(now, Kind::Audio, tag.timestamp_ms);
                    let samples = self.audio.as_ref().filter(|audio| !audio.opus).map(|audio| audio.frame_samples);
                    samples.is_some_and(|samples| self.take_audio(us, tag.payload.slice_ref(unit), samples))
                }
                Ok(AudioBody::OpusHeader(head)) => {
                    self.take_audio_header(head, |head| Some(AudioConfig::of_opus(head)));
                    false
                }
                Ok(AudioBody::OpusFrame(packet)) => {
                    let Ok(samples) = opus::Packet::parse(packet).map(|packet| packet.samples()) else { return false };
                    if self.audio.is_none() {
                        // Publishers may leave the header out.
                        self.take_audio_header(&[], |head| Some(AudioConfig::of_opus(head)));
                    }
                    let us = self.line_us(now, Kind::Audio, tag.timestamp_ms);
                    let is_opus = self.audio.as_ref().is_some_and(|audio| audio.opus);
                    is_opus && self.take_audio(us, tag.payload.slice_ref(packet), samples)
                }
                _ => false,
            },
        }
    }

    /// The stream is over: what is open is closed.
    pub fn end(&mut self) {
        if let Some(open) = &mut self.open {
            let us = open.last_video_us.max(open.last_audio_us(self.audio.as_ref()));
            if let Some((at_us, mut sample)) = open.waiting.take() {
                sample.duration = ticks(open.last_frame_us.max(1)) as u32;
                open.put_video(at_us, sample);
            }
            let until_us = us.max(open.part_at_us + 1);
            self.close_part(until_us);
            self.close_segment();
        }
        self.open = None;
        self.ended = true;
    }

    /// Whether there is a whole segment, which players that know no parts need.
    pub fn is_playable(&self) -> bool {
        self.ended || self.segments.iter().any(|segment| segment.complete)
    }

    /// A file of the stream.
    pub fn file(&self, file: File) -> Found {
        match file {
            File::Init(number) => match self.inits.iter().find(|(init, _)| *init == number) {
                Some((_, bytes)) => Found::Here(vec![bytes.clone()]),
                None => Found::Never,
            },
            File::Segment(number) => match self.segment(number) {
                Some(segment) if segment.complete => {
                    Found::Here(segment.parts.iter().map(|part| part.bytes.clone()).collect())
                }
                Some(_) => self.soon(true),
                None => self.soon(number == self.next_number),
            },
            File::Part(number, index) => match self.segment(number) {
                Some(segment) => match segment.parts.get(index as usize) {
                    Some(part) => Found::Here(vec![part.bytes.clone()]),
                    None => self.soon(!segment.complete && index as usize == segment.parts.len()),
                },
                // The first part of what comes next is named before it is there.
                None => self.soon(number == self.next_number && index == 0),
            },
        }
    }

    fn soon(&self, soon: bool) -> Found {
        if soon && !self.ended { Found::Soon } else { Found::Never }
    }

    /// Whether the media playlist has the segment `number`, or the part `part` of it (RFC 8216bis §6.2.5.2); `None` if that is
    /// too far ahead to wait for.
    pub fn has(&self, number: u64, part: Option<u32>) -> Option<bool> {
        if self.ended {
            return Some(true);
        }
        let growing = self.segments.back().filter(|segment| !segment.complete);
        let next = growing.map_or(self.next_number, |segment| segment.number);
        if number > next + 2 {
            return None;
        }
        if number < next {
            return Some(true);
        }
        match (part, growing) {
            (Some(part), Some(segment)) if number == next => Some(segment.parts.len() > part as usize),
            _ => Some(false),
        }
    }

    /// What the multivariant playlist says; `None` while there is nothing to play.
    pub(super) fn variant(&self) -> Option<Variant> {
        let open = self.segments.back()?;
        let peak_bps = match self.peak_bps {
            0 => bits_per_second(open.bytes(), open.duration_us()),
            known => known,
        };
        let size = self.video.as_ref().map(|video| (video.width, video.height));
        Some(Variant { codecs: self.codecs.clone(), size, peak_bps })
    }

    fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.number == number)
    }

    /// The decoding time of a tag on this stream's own line.
    fn line_us(&mut self, now: Time, kind: Kind, timestamp_ms: u32) -> i64 {
        let us = self.clock.map(now, kind, timestamp_ms);
        let zero_us = *self.zero_us.get_or_insert(us - START_US);
        let us = (us - zero_us).max(0);
        self.first_us.get_or_insert(us);
        us
    }

    /// Takes a picture as its tag has it.
    fn take_picture(
        &mut self,
        now: Time,
        tag: &Tag,
        codec: Codec,
        (key, composition_ms, units): (bool, i32, &[u8]),
    ) -> bool {
        let us = self.line_us(now, Kind::Video, tag.timestamp_ms);
        if key && !matches!(codec, Codec::H264 | Codec::H265) {
            self.read_key_frame(codec, units);
        }
        if self.video.as_ref().is_some_and(|video| video.codec != codec) {
            // Its own configuration did not come, or could not be read.
            return false;
        }
        let composition = composition_ms.clamp(-5_000, 5_000) * (VIDEO_TIMESCALE / 1000) as i32;
        let data = tag.payload.slice_ref(units);
        self.take_video(us, Sample { duration: 0, key, composition, data })
    }

    fn take_video_header(&mut self, codec: Codec, record: &[u8]) {
        if self.video.as_ref().is_some_and(|known| known.codec == codec && known.record == record) {
            return;
        }
        match VideoConfig::new(codec, record) {
            Some(config) => self.set_video(config),
            None => self.record = Some((codec, Bytes::copy_from_slice(record))),
        }
    }

    /// Of VP8, VP9 and AV1 a key frame says the size, and where no record came, what would stand there.
    fn read_key_frame(&mut self, codec: Codec, data: &[u8]) {
        let Some((own, Some(size))) = record_of(codec, data) else { return };
        let told = self.record.as_ref().filter(|(told, _)| *told == codec).map(|(_, record)| &record[..]);
        let config = told.and_then(|record| VideoConfig::sized(codec, record, size));
        if let Some(config) = config.or_else(|| VideoConfig::sized(codec, &own, size)) {
            self.set_video(config);
        }
    }

    fn set_video(&mut self, config: VideoConfig) {
        if self.video.as_ref() == Some(&config) {
            return;
        }
        self.video = Some(config);
        self.stale = true;
        if let Some(open) = &mut self.open {
            open.waiting = None;
        }
    }

    fn take_audio_header(&mut self, config: &[u8], read: impl FnOnce(&[u8]) -> Option<AudioConfig>) {
        let Some(config) = read(config).filter(|config| self.audio.as_ref() != Some(config)) else { return };
        self.audio = Some(config);
        self.stale = true;
        if let Some(open) = &mut self.open {
            open.audio_foreign = true;
        }
    }

    fn take_video(&mut self, us: i64, sample: Sample) -> bool {
        if self.video.is_none() {
            return false;
        }
        let Some(open) = &mut self.open else {
            let waited = us - self.first_us.unwrap_or(us) >= TRACK_WAIT_US;
            let ready = self.audio.is_some() || !self.announced.audio || waited;
            return sample.key && ready && self.begin(us, Some(sample));
        };
        if self.stale {
            // Nothing of the new kind goes into the old segment.
            return sample.key && self.begin(us, Some(sample));
        }
        let us = us.max(open.last_video_us + 1);
        let frame_us = us - open.last_video_us;
        if let Some((at_us, mut before)) = open.waiting.take() {
            before.duration = (ticks(us) - ticks(at_us)).clamp(1, i64::from(u32::MAX)) as u32;
            open.put_video(at_us, before);
            open.last_frame_us = frame_us;
        }
        open.last_video_us = us;
        let key = sample.key;
        open.waiting = Some((us, sample));
        self.cut(us, frame_us, key)
    }

    /// `frame`: samples that it lasts.
    fn take_audio(&mut self, us: i64, data: Bytes, frame: u32) -> bool {
        let Some(config) = &self.audio else { return false };
        let rate = i64::from(config.rate_hz);
        let Some(open) = &mut self.open else {
            let waited = us - self.first_us.unwrap_or(us) >= TRACK_WAIT_US;
            if self.video.is_some() || (self.announced.video && !waited) {
                return false;
            }
            self.begin(us, None);
            return self.take_audio(us, data, frame);
        };
        if self.stale && !open.has_video && self.video.is_none() {
            self.begin(us, None);
            return self.take_audio(us, data, frame);
        }
        if open.audio_foreign {
            return false;
        }
        let expected_us = open.audio_counted_from_us + open.audio_counted * 1_000_000 / rate;
        if open.audio_counted == 0 || us - expected_us > AUDIO_TOLERANCE_US {
            // A gap, which only the beginning of a fragment can say.
            if !open.audio.is_empty() {
                let at_us = us.max(open.part_at_us + 1);
                self.close_part(at_us);
                return self.take_audio(us, data, frame);
            }
            open.audio_counted_from_us = us;
            open.audio_counted = 0;
        } else if us - expected_us < -AUDIO_TOLERANCE_US {
            // More sound than time: leaving some out lets the timestamps catch up.
            return false;
        }
        if open.audio.is_empty() {
            let at_us = open.audio_counted_from_us;
            open.audio_at = (i128::from(at_us) * i128::from(rate) / 1_000_000) as u64 + open.audio_counted as u64;
        }
        open.audio.push(Sample { duration: frame, key: true, composition: 0, data });
        open.audio_counted += i64::from(frame);
        let frame_us = i64::from(frame) * 1_000_000 / rate;
        let end_us = us + frame_us;
        if open.has_video {
            // Video says where segments begin; parts end where either medium fills them, or a still picture would hold up
            // the sound.
            return self.cut(end_us, frame_us, false);
        }
        let due = end_us - open.segment_at_us >= AUDIO_SEGMENT.as_micros() as i64;
        self.cut(end_us, frame_us, due)
    }

    /// Ends the part, and the segment, at `us` if it is time. `frame_us`: when the next of this kind is expected. `can_start`:
    /// what comes now can begin a segment.
    fn cut(&mut self, us: i64, frame_us: i64, can_start: bool) -> bool {
        let Some(open) = &self.open else { return false };
        let next_us = us + frame_us;
        // Durations are rounded to whole seconds before they are compared with the longest (RFC 8216bis §4.4.3.1).
        let too_long = next_us - open.segment_at_us > self.settings.segment.as_micros() as i64 + ROUNDING_US;
        // Players that know no parts need a whole segment to begin with, so the first one does not wait for a key frame: it
        // begins with one, and what follows is read after it.
        let first = self.next_number == 1 && us - open.segment_at_us >= FIRST_SEGMENT.as_micros() as i64;
        if too_long || first || (can_start && us - open.segment_at_us >= SEGMENT_MIN.as_micros() as i64) {
            // What was taken before belongs to the segment before, even where sound had run ahead of this picture.
            let at_us = us.max(open.part_at_us + i64::from(!open.is_empty()));
            self.close_part(at_us);
            self.close_segment();
            self.open_segment(at_us, false);
            return true;
        }
        if open.is_full() || next_us - open.part_at_us > self.settings.part.as_micros() as i64 {
            return self.close_part(us);
        }
        false
    }

    /// Begins a segment with the tracks as they are now. `first`: its first picture; none for sound alone.
    fn begin(&mut self, us: i64, first: Option<Sample>) -> bool {
        let Some((bytes, codecs)) = init_segment(self.video.as_ref(), self.audio.as_ref()) else { return false };
        let mut changed = false;
        if let Some(open) = &mut self.open {
            if let Some((at_us, mut sample)) = open.waiting.take() {
                sample.duration = (ticks(us) - ticks(at_us)).clamp(1, i64::from(u32::MAX)) as u32;
                open.put_video(at_us, sample);
            }
            let until_us = us.max(open.part_at_us + 1);
            changed = self.close_part(until_us);
            self.close_segment();
        }
        let number = self.inits.back().map_or(0, |(number, _)| number + 1);
        self.inits.push_back((number, bytes));
        self.codecs = codecs;
        self.stale = false;
        self.open = Some(Open {
            has_video: self.video.is_some(),
            part_at_us: us,
            segment_at_us: us,
            video: Vec::new(),
            video_at: 0,
            audio: Vec::new(),
            audio_at: 0,
            waiting: first.map(|sample| (us, sample)),
            last_video_us: us,
            last_frame_us: 0,
            audio_counted_from_us: us,
            audio_counted: 0,
            audio_foreign: false,
        });
        self.open_segment(us, number > 0);
        changed
    }

    fn open_segment(&mut self, us: i64, discontinuity: bool) {
        let init = self.inits.back().map_or(0, |(number, _)| *number);
        let number = self.next_number;
        self.next_number += 1;
        self.segments.push_back(Segment { number, init, discontinuity, parts: Vec::new(), complete: false });
        if let Some(open) = &mut self.open {
            open.segment_at_us = us;
            open.part_at_us = us;
        }
        self.evict();
    }

    /// Ends the open part at `us`; false if there is nothing in it.
    fn close_part(&mut self, us: i64) -> bool {
        let (Some(open), Some(segment)) = (&mut self.open, self.segments.back_mut()) else { return false };
        let duration_us = us - open.part_at_us;
        if duration_us <= 0 || open.is_empty() {
            return false;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let audio_track = 1 + u32::from(open.has_video);
        let runs = [
            Run { track_id: 1, at: open.video_at, samples: &open.video },
            Run { track_id: audio_track, at: open.audio_at, samples: &open.audio },
        ];
        let bytes = fragment(self.sequence, &runs);
        let independent = open.video.first().map_or(!open.has_video, |sample| sample.key);
        self.longest_part_us = self.longest_part_us.max(duration_us);
        segment.parts.push(Part { duration_us, independent, bytes });
        open.video.clear();
        open.audio.clear();
        open.part_at_us = us;
        true
    }

    fn close_segment(&mut self) {
        let Some(segment) = self.segments.back_mut().filter(|segment| !segment.complete) else { return };
        if segment.parts.is_empty() {
            // Nothing was ever named of it, so its number is free.
            self.segments.pop_back();
            self.next_number -= 1;
            return;
        }
        segment.complete = true;
        self.peak_bps = self.peak_bps.max(bits_per_second(segment.bytes(), segment.duration_us()));
    }

    /// Lets go of what is older than players may ask for.
    fn evict(&mut self) {
        let window_us = self.settings.segment.as_micros() as i64 * i64::from(self.settings.window);
        let listed = |packager: &Self| packager.segments.iter().skip(packager.unlisted).map(Segment::duration_us).sum();
        loop {
            let all_us: i64 = listed(self);
            let oldest = self.segments.get(self.unlisted).filter(|segment| segment.complete);
            let Some(oldest) = oldest.filter(|oldest| all_us - oldest.duration_us() >= window_us) else { break };
            self.discontinuities_gone += u64::from(oldest.discontinuity);
            self.unlisted += 1;
        }
        loop {
            let bytes: usize = self.segments.iter().map(Segment::bytes).sum();
            if self.unlisted <= GONE_SEGMENTS && (bytes <= HLS_BYTES_MAX || self.segments.len() <= 1) {
                break;
            }
            let Some(gone) = self.segments.pop_front() else { break };
            match self.unlisted.checked_sub(1) {
                Some(left) => self.unlisted = left,
                None => self.discontinuities_gone += u64::from(gone.discontinuity),
            }
        }
        let oldest_init = self.segments.front().map_or(0, |segment| segment.init);
        self.inits.retain(|(number, _)| *number >= oldest_init);
    }
}

impl Open {
    fn put_video(&mut self, at_us: i64, sample: Sample) {
        if self.video.is_empty() {
            self.video_at = ticks(at_us) as u64;
        }
        self.video.push(sample);
    }

    fn is_empty(&self) -> bool {
        self.video.is_empty() && self.audio.is_empty()
    }

    fn is_full(&self) -> bool {
        self.video.len() + self.audio.len() >= PART_SAMPLES_MAX
    }

    fn last_audio_us(&self, config: Option<&AudioConfig>) -> i64 {
        let rate = config.map_or(1, |config| i64::from(config.rate_hz));
        self.audio_counted_from_us + self.audio_counted * 1_000_000 / rate
    }
}

/// A time of the line in units of the video track.
fn ticks(us: i64) -> i64 {
    us * i64::from(VIDEO_TIMESCALE / 1000) / 1000
}

fn bits_per_second(bytes: usize, duration_us: i64) -> u64 {
    (bytes as u64 * 8).saturating_mul(1_000_000) / (duration_us.max(1) as u64)
}
