//! What a stream's players are given, cut into pieces that are made once for all of them: the tags, and their bytes in each form
//! that some player takes. The log holds what newcomers begin with and what slow players may still ask for, and nothing older.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{PLAYER_BYTES_MAX, PLAYER_WAIT_MAX};
use crate::{
    bridge::tag::{Tag, TagKind},
    flv,
    rtmp::{STREAM_ID, chunk::append_media},
};

/// Most bytes that are kept for newcomers: ten seconds at 6 Mbit/s. Larger spends memory on publishers with rare key frames;
/// smaller makes their new players wait for the next one.
pub const GROUP_BYTES_MAX: usize = 8 << 20;

/// Most tags kept for newcomers: ten seconds of 60 pictures and 47 pieces of audio a second, with room to spare.
pub const GROUP_TAGS_MAX: usize = 1_536;

/// How much is kept for newcomers of a stream without video.
pub const SOUND_KEPT: Duration = Duration::from_secs(1);

/// Headers that come before the first frame are kept in as many pieces, for players that wait for it; all after that have them from
/// the newest ones.
const BEGINNING_PIECES_MAX: usize = 16;

/// How a player takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tags of a file, without its header.
    Flv,
    /// Messages in chunks, on the message stream and with the chunk size that all our players are told.
    Rtmp,
}

/// Some tags in a row. A key frame is only ever the first of them.
#[derive(Debug)]
pub struct Piece {
    pub tags: Vec<Tag>,
    /// When players could have it.
    pub at: Instant,
    /// A player can start here.
    pub start: bool,
    /// Of the log when the piece was its newest.
    pub headers_version: u64,
    /// Bytes of payload in all pieces before this one.
    bytes_before: u64,
    flv: OnceLock<Bytes>,
    rtmp: OnceLock<Bytes>,
}

impl Piece {
    /// As it goes over the wire; made once, whoever asks first.
    pub fn bytes(&self, form: Form) -> Bytes {
        let made = match form {
            Form::Flv => &self.flv,
            Form::Rtmp => &self.rtmp,
        };
        made.get_or_init(|| bytes_of(self.tags.iter(), form)).clone()
    }

    /// All but pictures.
    pub fn sound(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter(|tag| tag.header || tag.kind != TagKind::Video)
    }
}

/// Tags as they go over the wire.
pub fn bytes_of<'a>(tags: impl Iterator<Item = &'a Tag> + Clone, form: Form) -> Bytes {
    // Neither form adds more to a tag that fits into a chunk.
    const ADDED_BYTES_MAX: usize = 16;
    let mut out = Vec::with_capacity(tags.clone().map(|tag| tag.payload.len() + ADDED_BYTES_MAX).sum());
    for tag in tags {
        match form {
            Form::Flv => flv::write_tag(tag, &mut out),
            Form::Rtmp => append_media(STREAM_ID, tag.media_kind(), tag.timestamp_ms, &tag.payload, &mut out),
        }
    }
    out.into()
}

/// The pieces of one stream, by number.
#[derive(Debug, Default)]
pub struct Log {
    pieces: VecDeque<Arc<Piece>>,
    /// The number of the oldest.
    first: u64,
    /// Bytes of payload in all pieces that ever were.
    bytes: u64,
    metadata: Option<Tag>,
    audio_header: Option<Tag>,
    video_header: Option<Tag>,
    headers_version: u64,
    /// Where a newcomer begins.
    start: Option<u64>,
    /// Tags from there on.
    start_tags: usize,
    has_audio: bool,
    has_video: bool,
    begun: bool,
}

impl Log {
    /// Adds a piece. A key frame among the tags has to be the first of them.
    pub fn append(&mut self, now: Instant, tags: Vec<Tag>) {
        let number = self.end();
        let mut bytes = 0;
        for tag in &tags {
            bytes += tag.payload.len();
            match (tag.header, tag.kind) {
                (true, _) => self.take_header(tag),
                (false, TagKind::Script) => {}
                (false, TagKind::Audio) => (self.has_audio, self.begun) = (true, true),
                (false, TagKind::Video) => {
                    self.begin_video();
                    self.begun = true;
                    if tag.key {
                        (self.start, self.start_tags) = (Some(number), 0);
                    }
                }
            }
        }
        let start = match self.has_video {
            true => tags.first().is_some_and(|tag| tag.key && !tag.header),
            false => tags.iter().any(|tag| tag.kind == TagKind::Audio && !tag.header),
        };
        if start && !self.has_video && self.start.is_none() {
            (self.start, self.start_tags) = (Some(number), 0);
        }
        self.start_tags += tags.len();
        let (headers_version, bytes_before) = (self.headers_version, self.bytes);
        let (flv, rtmp) = (OnceLock::new(), OnceLock::new());
        self.bytes += bytes as u64;
        self.pieces.push_back(Arc::new(Piece { tags, at: now, start, headers_version, bytes_before, flv, rtmp }));
        self.trim(now);
    }

    /// The piece of that number, if it is still, or already, there.
    pub fn piece(&self, number: u64) -> Option<&Arc<Piece>> {
        self.pieces.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The number of the oldest piece.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next piece.
    pub fn end(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    /// Bytes of payload from this piece on.
    pub fn bytes_from(&self, number: u64) -> u64 {
        self.piece(number).map_or(0, |piece| self.bytes - piece.bytes_before)
    }

    /// The newest metadata and sequence headers, in the order in which a player wants them.
    pub fn headers(&self) -> impl Iterator<Item = &Tag> {
        [&self.metadata, &self.video_header, &self.audio_header].into_iter().flatten()
    }

    /// Changes whenever a sequence header or the metadata does.
    pub fn headers_version(&self) -> u64 {
        self.headers_version
    }

    /// Where a newcomer begins: the newest key frame, as long as what came since is not too much; without video, a second ago.
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    /// From there to the newest tag, by their timestamps.
    pub fn start_length(&self) -> Duration {
        let first = self.start.and_then(|start| self.piece(start)?.tags.first());
        let last = self.pieces.back().and_then(|piece| piece.tags.last());
        match (first, last) {
            // Over the wrap; what seems to go back was only interleaved.
            (Some(first), Some(last)) => {
                let ms = last.timestamp_ms.wrapping_sub(first.timestamp_ms) as i32;
                Duration::from_millis(ms.max(0) as u64)
            }
            _ => Duration::ZERO,
        }
    }

    /// Whether the stream has shown a picture or the header of one.
    pub fn has_video(&self) -> bool {
        self.has_video
    }

    /// Whether there is sound and picture, as far as frames, headers and metadata say.
    pub fn tracks(&self) -> (bool, bool) {
        let announced = |name: &[u8]| {
            let said = |tag: &Tag| tag.payload.windows(name.len()).any(|window| window == name);
            self.metadata.as_ref().is_some_and(said)
        };
        let audio = self.has_audio || self.audio_header.is_some() || announced(b"audiocodecid");
        (audio, self.has_video || announced(b"videocodecid"))
    }

    /// Whether there was a frame, so that all headers that the stream begins with are known.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    fn take_header(&mut self, tag: &Tag) {
        let kept = match tag.kind {
            TagKind::Script => &mut self.metadata,
            TagKind::Audio => &mut self.audio_header,
            TagKind::Video => &mut self.video_header,
        };
        let before = kept.replace(tag.clone());
        if before.as_ref().is_some_and(|before| before.payload == tag.payload) {
            return;
        }
        self.headers_version += 1;
        if tag.kind == TagKind::Video {
            self.begin_video();
        }
        // Frames from before a change cannot be decoded with what comes after it.
        if before.is_some() && tag.kind != TagKind::Script {
            self.start = None;
        }
    }

    fn begin_video(&mut self) {
        if !self.has_video {
            self.has_video = true;
            self.start = None;
        }
    }

    fn trim(&mut self, now: Instant) {
        if !self.has_video {
            self.begin_with_recent_sound(now);
        } else if let Some(start) = self.start
            && (self.start_tags > GROUP_TAGS_MAX || self.bytes_from(start) > GROUP_BYTES_MAX as u64)
        {
            // Half a group is of no use: the start is what decodes, and the end is what is current.
            self.start = None;
        }
        // A newcomer that waits for the beginning gets all that was before it.
        let is_beginning =
            !self.begun && self.pieces.len() <= BEGINNING_PIECES_MAX && self.bytes <= PLAYER_BYTES_MAX as u64;
        while !is_beginning && self.pieces.len() > 1 {
            let oldest = &self.pieces[0];
            let is_wanted = match self.start {
                Some(start) => self.first >= start,
                None => false,
            };
            let is_recent = now.saturating_duration_since(oldest.at) < PLAYER_WAIT_MAX
                && self.bytes - oldest.bytes_before <= PLAYER_BYTES_MAX as u64;
            if is_wanted || is_recent {
                break;
            }
            self.pieces.pop_front();
            self.first += 1;
        }
    }

    fn begin_with_recent_sound(&mut self, now: Instant) {
        let Some(start) = self.start else { return };
        let recent = (start..self.end()).find(|number| {
            let piece = self.piece(*number);
            piece.is_some_and(|piece| piece.start && now.saturating_duration_since(piece.at) <= SOUND_KEPT)
        });
        self.start = recent;
    }
}
