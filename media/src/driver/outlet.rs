//! Fan-out of one stream's tags to its RTMP and FLV players.
//!
//! Not the packet path: a few dozen tags a second, each shared by all players, so a mutex and bounded channels do. No player
//! can hold up the stream or another player. One that reads too slowly loses everything up to a key frame that it has room
//! for; one that reads nothing at all is let go.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    bridge::{
        clock::RtmpClock,
        gop::{GOP_TAGS_MAX, Gop},
        tag::{Tag, TagKind},
    },
    ids::Kind,
    units::time::Time,
};

/// Live tags that may wait for one player: about three seconds of 30 pictures and 47 pieces of audio a second. Larger lets a
/// slow player fall further behind before it skips; smaller makes a short stall of the network visible.
pub const PLAYER_TAGS_MAX: usize = 256;

/// Live bytes that may wait for one player.
pub const PLAYER_BYTES_MAX: usize = 4 << 20;

/// How long a live tag may wait for one player. A slow player is at most so far behind what it could have.
pub const PLAYER_WAIT_MAX: Duration = Duration::from_secs(2);

/// A player that has taken nothing for this long while tags wait for it is let go.
pub const PLAYER_STALL_MAX: Duration = Duration::from_secs(10);

/// Tags that are gathered at most, however long merging may take: far fewer than may wait for a player.
const GATHERED_TAGS_MAX: usize = PLAYER_TAGS_MAX / 4;

/// Metadata and the two sequence headers.
const HEADERS_MAX: usize = 3;

/// The exit of one stream to its players.
pub struct Outlet {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Line,
    gop: Gop,
    players: Vec<Player>,
    /// Tags are gathered for so long before players get them.
    merge: Duration,
    /// Newcomers get a kept group that is no longer than this; `None`: any.
    start_max: Option<Duration>,
    /// Tags that are gathered, which the kept group has already, and since when.
    gathered: Vec<Tag>,
    gathered_since: Option<Instant>,
    closed: bool,
    key_wanted: bool,
}

impl Outlet {
    #[allow(clippy::new_ret_no_self, reason = "an outlet is always shared: the stream pushes, its players attach")]
    pub fn new() -> Arc<Self> {
        Arc::new(Outlet { state: Mutex::new(State::default()) })
    }

    /// Sends a tag to every player and keeps what later ones need. Never waits. Without effect after [`close`](Self::close).
    pub fn push(&self, tag: Tag) {
        self.push_at(Instant::now(), tag);
    }

    fn push_at(&self, now: Instant, tag: Tag) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let tag = state.line.place(now, tag);
        state.gop.push(&tag);
        if state.players.is_empty() {
            return;
        }
        state.gathered.push(tag);
        let since = *state.gathered_since.get_or_insert(now);
        // The next tag comes in a moment, but not at once: what leaves now rather than then is early by less than it would be
        // late.
        if now.saturating_duration_since(since) >= state.merge * 3 / 4 || state.gathered.len() >= GATHERED_TAGS_MAX {
            state.hand_out(now);
        }
    }

    /// A newcomer gets what was kept since the last key frame if that is no longer than this; otherwise he waits for the next.
    pub fn set_start(&self, longest: Duration) {
        self.lock().start_max = Some(longest);
    }

    /// Gathers tags for about so long before players get them, so that each is woken, and its socket written to, that much
    /// less often. What players get is later by as much; what is gathered when the publisher pauses waits with him.
    pub fn set_merge(&self, merge: Duration) {
        self.lock().merge = merge;
    }

    /// Adds a player. Metadata, sequence headers and the kept group of pictures are in the channel already, timestamps as they
    /// were; what is live follows. The channel closes when the stream is over or the player has stalled; dropping the receiver
    /// detaches the player.
    pub fn attach(&self) -> mpsc::Receiver<Tag> {
        self.attach_at(Instant::now())
    }

    fn attach_at(&self, now: Instant) -> mpsc::Receiver<Tag> {
        let (sender, receiver) = mpsc::channel(GOP_TAGS_MAX + HEADERS_MAX + PLAYER_TAGS_MAX + HEADERS_MAX);
        let mut state = self.lock();
        if state.closed {
            return receiver;
        }
        // The newcomer has it from the kept group.
        state.hand_out(now);
        let mut player = Player::new(now, sender);
        player.send_headers(now, &state.gop);
        if state.start_max.is_none_or(|longest| state.gop.length() <= longest) {
            for tag in state.gop.frames() {
                player.send(now, tag, Weight::Kept);
            }
            player.picture_started = state.gop.has_key_frame();
        }
        state.key_wanted |= !player.picture_started;
        state.players.push(player);
        receiver
    }

    /// Ends the stream: players get what waits for them, then their channels close.
    pub fn close(&self) {
        let mut state = self.lock();
        state.hand_out(Instant::now());
        state.closed = true;
        state.players.clear();
        state.gop = Gop::default();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many players are attached. One that dropped its receiver counts until the next tag.
    pub fn players(&self) -> usize {
        self.lock().players.len()
    }

    /// Whether a player was attached, since this was last called, to whom no key frame could be given. Who feeds the outlet
    /// from a source that can be asked for one should ask.
    pub fn take_key_wanted(&self) -> bool {
        std::mem::take(&mut self.lock().key_wanted)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change is complete before anything that may panic, so a poisoned state is a usable one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives players what was gathered, each all of it at once.
    fn hand_out(&mut self, now: Instant) {
        let State { gop, players, gathered, .. } = self;
        players.retain_mut(|player| gathered.iter().all(|tag| player.offer(now, tag, gop)));
        gathered.clear();
        self.gathered_since = None;
    }
}

/// The players' time: the publisher's, without its jumps. A player that follows one waits for the time between, or for ever.
#[derive(Default)]
struct Line {
    clock: RtmpClock,
    /// What is called zero on the clock's line, and what the line adds to the publisher's milliseconds.
    begun: Option<(Instant, i64)>,
    shift_ms: u32,
}

impl Line {
    fn place(&mut self, now: Instant, tag: Tag) -> Tag {
        let kind = match tag.kind {
            TagKind::Audio => Kind::Audio,
            TagKind::Video => Kind::Video,
            TagKind::Script => return tag,
        };
        if tag.header {
            // Often stamped with zero, whatever the clock of the media says: it is no word about time.
            return Tag { timestamp_ms: tag.timestamp_ms.wrapping_add(self.shift_ms), ..tag };
        }
        let (origin, base_ms) = *self.begun.get_or_insert((now, i64::from(tag.timestamp_ms)));
        let at = Time::from_micros(now.saturating_duration_since(origin).as_micros() as u64);
        let ms = base_ms + self.clock.map(at, kind, tag.timestamp_ms).div_euclid(1000);
        let shift_ms = (ms as u32).wrapping_sub(tag.timestamp_ms);
        self.shift_ms = shift_ms;
        Tag { timestamp_ms: ms as u32, ..tag }
    }
}

/// Whether a tag counts against a player's bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Part of the first burst: it is shared with the kept group and has bounds of its own.
    Kept,
    Live,
}

struct Player {
    sender: mpsc::Sender<Tag>,
    /// Bytes of each live tag in the channel and since when it is there, `None` for a kept one; oldest first.
    queued: VecDeque<Option<(u32, Instant)>>,
    live_tags: usize,
    live_bytes: usize,
    /// When the player last took a tag, or had nothing to take.
    progress_at: Instant,
    /// A key frame was sent, so that the frames after it can be decoded.
    picture_started: bool,
    /// The player fell behind: nothing is sent until it has room and a new start comes by.
    skipping: bool,
    headers_version: u64,
}

impl Player {
    fn new(now: Instant, sender: mpsc::Sender<Tag>) -> Self {
        Player {
            sender,
            queued: VecDeque::new(),
            live_tags: 0,
            live_bytes: 0,
            progress_at: now,
            picture_started: false,
            skipping: false,
            headers_version: 0,
        }
    }

    /// Sends a live tag or skips it; false if the player is gone.
    fn offer(&mut self, now: Instant, tag: &Tag, gop: &Gop) -> bool {
        if self.sender.is_closed() || !self.note_progress(now) {
            return false;
        }
        if self.skipping {
            let is_start = if gop.has_video() { tag.kind == TagKind::Video && tag.key } else { true };
            // Half empty, or it would be skipping again at once.
            let has_room = self.live_tags <= PLAYER_TAGS_MAX / 2 && self.live_bytes <= PLAYER_BYTES_MAX / 2;
            if tag.header || !is_start || !has_room || !self.fits(now, tag) {
                return true;
            }
            self.skipping = false;
            if self.headers_version != gop.headers_version() {
                self.send_headers(now, gop);
            }
        } else if !self.fits(now, tag) {
            self.skipping = true;
            self.picture_started = false;
            return true;
        }
        if tag.header {
            self.headers_version = gop.headers_version();
        } else if tag.kind == TagKind::Video {
            self.picture_started |= tag.key;
            if !self.picture_started {
                return true;
            }
        }
        self.send(now, tag, Weight::Live);
        true
    }

    fn fits(&self, now: Instant, tag: &Tag) -> bool {
        let oldest = self.queued.iter().flatten().next();
        self.live_tags < PLAYER_TAGS_MAX
            && self.live_bytes + tag.payload.len() <= PLAYER_BYTES_MAX
            && oldest.is_none_or(|(_, since)| now.saturating_duration_since(*since) < PLAYER_WAIT_MAX)
    }

    fn send_headers(&mut self, now: Instant, gop: &Gop) {
        for tag in gop.headers() {
            self.send(now, tag, Weight::Kept);
        }
        self.headers_version = gop.headers_version();
    }

    /// The channel is as long as all bounds together, so there is room; if there were none, skipping is the answer too.
    fn send(&mut self, now: Instant, tag: &Tag, weight: Weight) {
        if self.sender.try_send(tag.clone()).is_err() {
            self.skipping = true;
            self.picture_started = false;
            return;
        }
        let len = tag.payload.len();
        if weight == Weight::Live {
            self.live_tags += 1;
            self.live_bytes += len;
        }
        self.queued.push_back((weight == Weight::Live).then_some((len as u32, now)));
    }

    /// Learns from the channel's free places what the player has taken; false if it has stalled for too long.
    fn note_progress(&mut self, now: Instant) -> bool {
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        if self.queued.len() > waiting || waiting == 0 {
            self.progress_at = now;
        }
        while self.queued.len() > waiting {
            if let Some(Some((len, _))) = self.queued.pop_front() {
                self.live_tags -= 1;
                self.live_bytes -= len as usize;
            }
        }
        now.saturating_duration_since(self.progress_at) < PLAYER_STALL_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: TagKind, timestamp_ms: u32, len: usize, key: bool, header: bool) -> Tag {
        Tag { kind, timestamp_ms, payload: vec![0; len].into(), key, header }
    }

    fn video(timestamp_ms: u32, key: bool) -> Tag {
        tag(TagKind::Video, timestamp_ms, 100, key, false)
    }

    fn audio(timestamp_ms: u32) -> Tag {
        tag(TagKind::Audio, timestamp_ms, 10, false, false)
    }

    /// Everything that waits, as timestamps; a header's with 1,000,000 on top.
    fn drain(player: &mut mpsc::Receiver<Tag>) -> Vec<u32> {
        std::iter::from_fn(|| player.try_recv().ok())
            .map(|t| t.timestamp_ms + if t.header { 1_000_000 } else { 0 })
            .collect()
    }

    #[test]
    fn a_new_player_gets_headers_and_the_kept_group_at_once_and_then_what_is_live() {
        let outlet = Outlet::new();
        outlet.push(tag(TagKind::Script, 1, 5, false, true));
        outlet.push(tag(TagKind::Audio, 3, 4, false, true));
        outlet.push(tag(TagKind::Video, 2, 40, true, true));
        for t in [video(10, true), audio(15), video(50, false)] {
            outlet.push(t);
        }
        let mut player = outlet.attach();
        assert_eq!(drain(&mut player), [1_000_001, 1_000_002, 1_000_003, 10, 15, 50]);
        outlet.push(video(90, false));
        assert_eq!(drain(&mut player), [90]);
        assert!(!outlet.take_key_wanted());
    }

    #[test]
    fn a_publishers_time_is_the_players_time_until_it_jumps_and_goes_on_then() {
        let start = Instant::now();
        for (first, jump) in [(5_000u32, 3_000_000u32), (70_000, 0), (u32::MAX - 30, 4_000_000)] {
            let outlet = Outlet::new();
            let mut player = outlet.attach_at(start);
            let at = |n: u32| start + Duration::from_millis(u64::from(n) * 20);
            for n in 0..100 {
                outlet.push_at(at(n), audio(first.wrapping_add(n * 20)));
            }
            let unchanged: Vec<u32> = (0..100).map(|n| first.wrapping_add(n * 20)).collect();
            assert_eq!(drain(&mut player), unchanged);
            for n in 100..200 {
                outlet.push_at(at(n), audio(jump + n * 20));
            }
            let got = drain(&mut player);
            assert!(got.windows(2).all(|two| two[1].wrapping_sub(two[0]) == 20), "{got:?}");
            let step = got[0].wrapping_sub(unchanged[99]);
            assert!((1..=60).contains(&step), "{step}");
        }
    }

    #[test]
    fn merged_tags_come_together_once_each_and_newcomers_get_them_from_the_kept_group() {
        let outlet = Outlet::new();
        outlet.set_merge(Duration::from_millis(40));
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut first = outlet.attach_at(start);
        for (ms, tag) in [(0, video(0, true)), (10, audio(10)), (20, audio(20))] {
            outlet.push_at(at(ms), tag);
        }
        assert!(drain(&mut first).is_empty());
        outlet.push_at(at(32), audio(32));
        assert_eq!(drain(&mut first), [0, 10, 20, 32]);
        outlet.push_at(at(40), audio(40));
        let mut second = outlet.attach_at(at(45));
        assert_eq!((drain(&mut first), drain(&mut second)), (vec![40], vec![0, 10, 20, 32, 40]));
        outlet.push_at(at(50), audio(50));
        outlet.close();
        assert_eq!((drain(&mut first), drain(&mut second)), (vec![50], vec![50]));
    }

    #[test]
    fn without_a_kept_group_video_waits_for_a_key_frame_and_audio_does_not() {
        let outlet = Outlet::new();
        outlet.push(video(0, false));
        let mut player = outlet.attach();
        assert!(outlet.take_key_wanted() && !outlet.take_key_wanted());
        for t in [video(10, false), audio(15), video(20, true), video(30, false)] {
            outlet.push(t);
        }
        assert_eq!(drain(&mut player), [15, 20, 30]);
    }

    #[test]
    fn a_slow_player_skips_to_a_key_frame_and_disturbs_no_one() {
        let outlet = Outlet::new();
        let (mut slow, mut fast) = (outlet.attach(), outlet.attach());
        let mut seen = Vec::new();
        for n in 0..1_000 {
            outlet.push(video(n, n % 50 == 0));
            seen.extend(drain(&mut fast));
        }
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
        let first: Vec<u32> = drain(&mut slow);
        assert_eq!(first, (0..PLAYER_TAGS_MAX as u32).collect::<Vec<_>>());
        for n in 1_000..1_060 {
            outlet.push(video(n, n == 1_030));
        }
        assert_eq!(drain(&mut slow), (1_030..1_060).collect::<Vec<_>>());
    }

    #[test]
    fn five_hundred_stalled_players_hold_two_seconds_each_and_are_gone_after_ten() {
        let outlet = Outlet::new();
        let start = Instant::now();
        let mut stalled: Vec<_> = (0..500).map(|_| outlet.attach_at(start)).collect();
        let mut reading = outlet.attach_at(start);
        // 50 pictures a second, a key frame each second.
        for n in 0..600u32 {
            let at = start + Duration::from_millis(u64::from(n) * 20);
            outlet.push_at(at, video(n * 20, n % 50 == 0));
            assert_eq!(drain(&mut reading), [n * 20]);
            assert_eq!(outlet.players(), if n < 500 { 501 } else { 1 }, "at {} ms", n * 20);
        }
        for player in &mut stalled {
            assert_eq!(drain(player), (0..100).map(|n| n * 20).collect::<Vec<_>>());
            assert!(player.is_closed());
        }
    }

    #[test]
    fn a_player_that_reads_again_after_a_stall_goes_on_with_a_key_frame() {
        let outlet = Outlet::new();
        let start = Instant::now();
        let mut player = outlet.attach_at(start);
        let mut got = Vec::new();
        for n in 0..400u32 {
            outlet.push_at(start + Duration::from_millis(u64::from(n) * 20), video(n, n % 50 == 0));
            if !(100..275).contains(&n) {
                got.extend(drain(&mut player));
            }
        }
        let expected: Vec<u32> = (0..200).chain(300..400).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_kept_group_that_is_too_long_is_not_sent_and_a_key_frame_is_wanted_instead() {
        for (longest, expected, wanted) in [(3_000, vec![0, 1_000, 3_000], false), (2_999, vec![], true)] {
            let outlet = Outlet::new();
            outlet.set_start(Duration::from_millis(longest));
            for tag in [video(0, true), video(1_000, false), video(3_000, false)] {
                outlet.push(tag);
            }
            let mut player = outlet.attach();
            assert_eq!((drain(&mut player), outlet.take_key_wanted()), (expected, wanted));
        }
    }

    #[test]
    fn bytes_are_bounded_as_well_as_tags() {
        let outlet = Outlet::new();
        let mut player = outlet.attach();
        outlet.push(tag(TagKind::Video, 0, PLAYER_BYTES_MAX / 2, true, false));
        outlet.push(tag(TagKind::Video, 1, PLAYER_BYTES_MAX / 2, false, false));
        outlet.push(tag(TagKind::Video, 2, 1, false, false));
        assert_eq!(drain(&mut player), [0, 1]);
    }

    #[test]
    fn a_slow_player_of_audio_goes_on_with_the_next_tag() {
        let outlet = Outlet::new();
        let mut player = outlet.attach();
        (0..400).for_each(|n| outlet.push(audio(n)));
        assert_eq!(drain(&mut player).len(), PLAYER_TAGS_MAX);
        outlet.push(audio(400));
        assert_eq!(drain(&mut player), [400]);
    }

    #[test]
    fn headers_that_changed_while_a_player_skipped_come_before_its_key_frame() {
        let outlet = Outlet::new();
        let mut player = outlet.attach();
        (0..300).for_each(|n| outlet.push(video(n, n == 0)));
        outlet.push(tag(TagKind::Video, 300, 40, true, true));
        drain(&mut player);
        outlet.push(video(301, true));
        assert_eq!(drain(&mut player), [1_000_300, 301]);
    }

    #[test]
    fn a_player_that_takes_nothing_for_ten_seconds_is_let_go() {
        let outlet = Outlet::new();
        let start = Instant::now();
        let mut stalled = outlet.attach_at(start);
        let mut reading = outlet.attach_at(start);
        outlet.push_at(start, audio(0));
        drain(&mut reading);
        outlet.push_at(start + PLAYER_STALL_MAX - Duration::from_millis(1), audio(1));
        assert_eq!((outlet.players(), drain(&mut reading)), (2, vec![1]));
        outlet.push_at(start + PLAYER_STALL_MAX, audio(2));
        assert_eq!((outlet.players(), drain(&mut reading)), (1, vec![2]));
        // Nor did anything wait for it for longer than two seconds.
        assert_eq!(drain(&mut stalled), [0]);
        assert!(stalled.is_closed());
    }

    #[test]
    fn a_quiet_stream_lets_nobody_go() {
        let outlet = Outlet::new();
        let start = Instant::now();
        let mut player = outlet.attach_at(start);
        outlet.push_at(start + Duration::from_secs(60), audio(0));
        assert_eq!((outlet.players(), drain(&mut player)), (1, vec![0]));
    }

    #[test]
    fn closing_lets_players_read_to_the_end_and_dropping_a_receiver_detaches() {
        let outlet = Outlet::new();
        let mut player = outlet.attach();
        drop(outlet.attach());
        outlet.push(audio(1));
        assert_eq!(outlet.players(), 1);
        outlet.close();
        assert_eq!(drain(&mut player), [1]);
        assert!(player.is_closed());
        assert!(outlet.attach().is_closed());
    }

    #[test]
    fn the_largest_kept_group_and_a_full_queue_fit_together() {
        let outlet = Outlet::new();
        (0..GOP_TAGS_MAX as u32).for_each(|n| outlet.push(video(n, n == 0)));
        let mut player = outlet.attach();
        (0..PLAYER_TAGS_MAX as u32).for_each(|n| outlet.push(video(GOP_TAGS_MAX as u32 + n, false)));
        assert_eq!(drain(&mut player).len(), GOP_TAGS_MAX + PLAYER_TAGS_MAX);
    }
}
