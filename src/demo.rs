//! The built-in test stream: a short clip, played for ever as a member of the demo room, so that whoever opens the page
//! first finds the room alive.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use media::{
    Command,
    bridge::tag::{Tag, TagKind},
    flv::{self, VideoBody},
    inlet::Inlet,
};
use signaling::{
    Hub, RoomName,
    code::{Code, Fault},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, warn};

use crate::data::DEMO_SDK_APP_ID;

/// Pause before the stream is opened again after it ended.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The userID of the stream.
const MEMBER: &str = "teststream";
/// The clip's place among the embedded files.
const CLIP: &str = "clip.flv";
/// How long the last tag of a kind lasts where only one of that kind is in the clip, in milliseconds.
const LONE_TAG_MS: u32 = 40;

/// The tags of a clip, and how long one round takes.
#[derive(Debug)]
pub struct Clip {
    /// Metadata and sequence headers, sent once.
    headers: Vec<Tag>,
    /// Everything else, in order; timestamps begin at 0.
    frames: Vec<Tag>,
    /// Never 0.
    length_ms: u32,
}

/// The clip cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    #[error("the clip is not an FLV file")]
    NotFlv,
    #[error("there is nothing in the clip")]
    Empty,
}

impl Clip {
    /// The clip of the demo page.
    pub fn embedded() -> Result<Clip, ClipError> {
        let file = crate::http::page::WebDemo::get(CLIP).ok_or(ClipError::Empty)?;
        Clip::parse(&file.data)
    }

    /// Reads a whole FLV file.
    pub fn parse(file: &[u8]) -> Result<Clip, ClipError> {
        let (mut reader, mut rest, mut tags) = (flv::TagReader::new(), file, Vec::new());
        while let Some(tag) = reader.read(&mut rest).map_err(|_| ClipError::NotFlv)? {
            // The end of the sequence is not the end of the stream here: another round follows.
            if !matches!(tag.kind, TagKind::Video) || !matches!(flv::read_video(&tag.payload), Ok(VideoBody::AvcEnd)) {
                tags.push(tag);
            }
        }
        let (headers, mut frames): (Vec<Tag>, Vec<Tag>) = tags.into_iter().partition(|tag| tag.header);
        let start = frames.iter().map(|tag| tag.timestamp_ms).min().ok_or(ClipError::Empty)?;
        for tag in &mut frames {
            tag.timestamp_ms -= start;
        }
        // Sound and picture end at different times; the next round begins behind the later end, so that neither runs
        // backwards.
        let length_ms = [TagKind::Audio, TagKind::Video].into_iter().map(|kind| end_of(&frames, kind)).max();
        Ok(Clip { headers, frames, length_ms: length_ms.unwrap_or(0).max(1) })
    }

    /// The tag of a round, with the time at which it is due. Timestamps wrap at 32 bits, like those of every stream.
    fn in_round(&self, round: u64, tag: &Tag) -> (Duration, Tag) {
        let due_ms = round * u64::from(self.length_ms) + u64::from(tag.timestamp_ms);
        (Duration::from_millis(due_ms), Tag { timestamp_ms: due_ms as u32, ..tag.clone() })
    }

    /// How much of a round is over at a time since the Unix epoch.
    fn time_in_round(&self, unix: Duration) -> Duration {
        Duration::from_nanos((unix.as_nanos() % (u128::from(self.length_ms) * 1_000_000)) as u64)
    }

    /// The place among the frames at which a round can be joined that has run for so long: its next key frame, or its end if there
    /// is none. Everything before is not sent, because it would come at once and be taken for a stream that runs early.
    fn first_after(&self, time_in_round: Duration) -> usize {
        let next = |tag: &Tag| tag.key && Duration::from_millis(u64::from(tag.timestamp_ms)) >= time_in_round;
        self.frames.iter().position(next).unwrap_or(self.frames.len())
    }
}

/// Where the last frame of a kind ends: so many frames at their mean distance. 0 if there is none.
fn end_of(frames: &[Tag], kind: TagKind) -> u32 {
    let times: Vec<u32> = frames.iter().filter(|tag| tag.kind == kind).map(|tag| tag.timestamp_ms).collect();
    match times.as_slice() {
        [] => 0,
        [only] => only + LONE_TAG_MS,
        [first, .., last] => {
            // Times are rounded to milliseconds, so the mean over all of them is better than any one distance.
            let (frames, distances) = (times.len() as u64, times.len() as u64 - 1);
            let span_ms = u64::from(last.saturating_sub(*first));
            first + ((frames * span_ms + distances / 2) / distances) as u32
        }
    }
}

/// Plays the clip in the room for as long as the server runs.
pub async fn play_for_ever(clip: Clip, hub: Hub, commands: mpsc::Sender<Command>, room: RoomName) {
    while !commands.is_closed() {
        match open(&hub, &commands, &room).await {
            Ok(inlet) => play(&clip, inlet).await,
            Err(why) => warn!(code = why.code.number(), why = %why.message, "the test stream cannot be opened"),
        }
        debug!("the test stream ended and begins again");
        sleep(RESTART_PAUSE).await;
    }
}

async fn open(hub: &Hub, commands: &mpsc::Sender<Command>, room: &RoomName) -> Result<Inlet, Fault> {
    let (room, stream) = hub.add_test_stream(DEMO_SDK_APP_ID, &room.to_string(), MEMBER)?;
    let (reply, answer) = oneshot::channel();
    let gone = || Fault::from(Code::ShuttingDown);
    let command = Command::OpenIngest { room, stream, reply };
    commands.send(command).await.map_err(|_| gone())?;
    Ok(answer.await.map_err(|_| gone())??)
}

/// Plays until the inlet closes.
///
/// Rounds begin whenever Unix time is a multiple of their length. The pictures carry their numbers (`web-demo/make-clip.sh`), so
/// whoever sees one knows when it was sent, and so how old it is.
async fn play(clip: &Clip, inlet: Inlet) {
    let now = Instant::now();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_in_round = clip.time_in_round(unix);
    // Where a machine has run for less than a round, its clock cannot tell when the round began; then the stamps are wrong.
    let start = now.checked_sub(time_in_round).unwrap_or(now);
    let first = clip.first_after(time_in_round);
    for header in &clip.headers {
        if !inlet.push(Tag { timestamp_ms: 0, ..header.clone() }) {
            return;
        }
    }
    for round in 0.. {
        for tag in clip.frames.iter().skip(if round == 0 { first } else { 0 }) {
            let (due, tag) = clip.in_round(round, tag);
            sleep_until(start + due).await;
            if !inlet.push(tag) {
                return;
            }
            inlet.announce();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_clip_takes_sixteen_seconds_and_goes_on_without_a_seam() {
        let clip = Clip::embedded().expect("the clip can be read");
        assert_eq!(clip.length_ms, 16_000);
        assert!(clip.headers.iter().any(|tag| tag.kind == TagKind::Audio));
        assert!(clip.headers.iter().any(|tag| tag.kind == TagKind::Video));
        let first = clip.frames.iter().find(|tag| tag.kind == TagKind::Video).expect("a picture");
        assert!(first.key, "a round begins with a key frame");
        for kind in [TagKind::Audio, TagKind::Video] {
            let of_kind: Vec<&Tag> = clip.frames.iter().filter(|tag| tag.kind == kind).collect();
            let (first, last) = (of_kind[0], of_kind[of_kind.len() - 1]);
            let gap = clip.in_round(1, first).0 - clip.in_round(0, last).0;
            assert!((20..=41).contains(&gap.as_millis()), "{kind:?}: {gap:?} between two rounds");
        }
    }

    #[test]
    fn rounds_keep_to_unix_time_and_are_joined_at_the_next_key_frame() {
        let clip = Clip::embedded().expect("the clip can be read");
        // There is one a second.
        for (unix_ms, time_in_round_ms, due_ms) in
            [(1_600_000_000_000, 0, 0), (1_600_000_007_001, 7_001, 8_000), (15_000, 15_000, 15_000)]
        {
            let time_in_round = clip.time_in_round(Duration::from_millis(unix_ms));
            assert_eq!(time_in_round, Duration::from_millis(time_in_round_ms));
            let first = &clip.frames[clip.first_after(time_in_round)];
            assert!(first.key && first.kind == TagKind::Video && first.timestamp_ms == due_ms, "{first:?}");
        }
        assert_eq!(clip.first_after(Duration::from_millis(15_500)), clip.frames.len(), "the next round is near");
    }

    #[test]
    fn times_wrap_at_32_bits() {
        let clip = Clip::embedded().expect("the clip can be read");
        let (due, tag) = clip.in_round((1 << 32) / 16_000 + 1, &clip.frames[0]);
        assert!(due.as_millis() > 1 << 32);
        assert_eq!(tag.timestamp_ms, (due.as_millis() - (1 << 32)) as u32);
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        assert_eq!(Clip::parse(b"not a clip").err(), Some(ClipError::NotFlv));
        assert_eq!(Clip::parse(b"").err(), Some(ClipError::Empty));
    }
}
