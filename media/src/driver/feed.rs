//! A stream's tags on their way to its players, whoever makes them: publishers come and go, the players' time line goes on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::line::Line;
use crate::{bridge::tag::Tag, outlet::Outlet};

/// Between the last tag of one publisher and the first of the next. Their players have played everything in between and
/// waited; a time line with a hole of as many seconds would leave players that buffer by time waiting for ever.
const STEP_MS: u32 = 20;

/// How far apart the beginnings of a source's sound and picture may be.
const FLOOR_MS: u32 = 2_000;

/// Who may write into a feed. A newer one shuts out those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u64);

/// The one way into an [`Outlet`]: one source at a time, on one line of time.
pub struct Feed {
    outlet: Arc<Outlet>,
    line: Mutex<Joint>,
}

/// Where the players' time is.
#[derive(Default)]
struct Joint {
    source: u64,
    /// Added to the source's timestamps; `None` before its first picture or sound.
    shift_ms: Option<u32>,
    /// The latest timestamp that players have.
    last_ms: Option<u32>,
    /// The same when the present source began: nothing of it is earlier.
    floor_ms: Option<u32>,
    /// What players get then.
    players: Line,
}

impl Feed {
    #[allow(clippy::new_ret_no_self, reason = "a feed is always shared: sources write, control keeps it")]
    /// `merge`: how long what comes is gathered for the players, see [`Outlet::set_merge`].
    pub fn new(merge: Duration) -> Arc<Feed> {
        let outlet = Outlet::new();
        outlet.set_merge(merge);
        Arc::new(Feed { outlet, line: Mutex::default() })
    }

    pub fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// Lets a new source write. What the one before it still writes is thrown away: there are never two.
    pub fn begin(&self) -> Source {
        let mut line = self.lock();
        line.source += 1;
        line.floor_ms = line.last_ms;
        // The first source's time is the players' time, unchanged.
        line.shift_ms = line.last_ms.is_none().then_some(0);
        Source(line.source)
    }

    /// Sends a tag of this source to the players, on their time line. False if another source has taken its place.
    pub fn push(&self, source: Source, tag: Tag) -> bool {
        let mut line = self.lock();
        if line.source != source.0 {
            return false;
        }
        let (now, tag) = (Instant::now(), line.place(tag));
        let tag = line.players.place(now, tag);
        // Under the lock, so that no tag of an older source can be overtaken by its successor's.
        self.outlet.push_at(now, tag);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Joint> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joint {
    fn place(&mut self, tag: Tag) -> Tag {
        let next_ms = self.last_ms.map_or(0, |last_ms| last_ms.wrapping_add(STEP_MS));
        let shift_ms = match self.shift_ms {
            Some(shift_ms) => shift_ms,
            // Headers are often stamped with zero, whatever the clock of the media says.
            None if tag.header => return Tag { timestamp_ms: next_ms, ..tag },
            None => *self.shift_ms.insert(next_ms.wrapping_sub(tag.timestamp_ms)),
        };
        let mut timestamp_ms = tag.timestamp_ms.wrapping_add(shift_ms);
        // The sound of a source may begin before the picture that came first.
        if let Some(floor_ms) = self.floor_ms {
            match (timestamp_ms.wrapping_sub(floor_ms) as i32) < 0 {
                true => timestamp_ms = floor_ms,
                // Far enough that no medium of it is still behind; and a clock that was set back later is its own affair.
                false if timestamp_ms.wrapping_sub(floor_ms) > FLOOR_MS => self.floor_ms = None,
                false => {}
            }
        }
        if !tag.header && self.last_ms.is_none_or(|last_ms| (timestamp_ms.wrapping_sub(last_ms) as i32) > 0) {
            self.last_ms = Some(timestamp_ms);
        }
        Tag { timestamp_ms, ..tag }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bridge::tag::TagKind, outlet::Player};

    fn tag(kind: TagKind, timestamp_ms: u32, header: bool) -> Tag {
        Tag { kind, timestamp_ms, payload: vec![1; 4].into(), key: kind == TagKind::Video && !header, header }
    }

    fn drain(player: &mut Player) -> Vec<(u32, bool)> {
        player.tags().into_iter().map(|tag| (tag.timestamp_ms, tag.header)).collect()
    }

    #[test]
    fn the_first_publishers_time_is_the_players_time() {
        let feed = Feed::new(Duration::ZERO);
        let mut player = feed.outlet().attach();
        let source = feed.begin();
        for tag in
            [tag(TagKind::Video, 0, true), tag(TagKind::Video, 70_000, false), tag(TagKind::Audio, 69_990, false)]
        {
            assert!(feed.push(source, tag));
        }
        assert_eq!(drain(&mut player), [(0, true), (70_000, false), (69_990, false)]);
    }

    #[test]
    fn the_next_publishers_time_goes_on_where_the_last_ones_ended_even_over_the_wrap() {
        for end in [5_000, u32::MAX - 5] {
            let feed = Feed::new(Duration::ZERO);
            let mut player = feed.outlet().attach();
            let first = feed.begin();
            feed.push(first, tag(TagKind::Video, end, false));
            drain(&mut player);
            let second = feed.begin();
            for (kind, ms, header) in [
                (TagKind::Video, 0, true),
                (TagKind::Audio, 900, false),
                (TagKind::Video, 910, false),
                (TagKind::Video, 950, false),
            ] {
                assert!(feed.push(second, tag(kind, ms, header)));
            }
            let at = |ms: u32| end.wrapping_add(STEP_MS + ms);
            assert_eq!(drain(&mut player), [(at(0), true), (at(0), false), (at(10), false), (at(50), false)]);
        }
    }

    #[test]
    fn sound_that_begins_before_the_first_picture_does_not_run_backwards() {
        let feed = Feed::new(Duration::ZERO);
        let mut player = feed.outlet().attach();
        let first = feed.begin();
        feed.push(first, tag(TagKind::Audio, 5_000, false));
        drain(&mut player);
        let second = feed.begin();
        for (kind, ms) in [(TagKind::Video, 300), (TagKind::Audio, 260), (TagKind::Audio, 283), (TagKind::Video, 340)] {
            feed.push(second, tag(kind, ms, false));
        }
        let times: Vec<u32> = drain(&mut player).into_iter().map(|(ms, _)| ms).collect();
        assert_eq!(times, [5_020, 5_000, 5_003, 5_060]);
    }

    #[test]
    fn there_are_never_two_writers() {
        let feed = Feed::new(Duration::ZERO);
        let mut player = feed.outlet().attach();
        let (old, new) = (feed.begin(), feed.begin());
        assert!(!feed.push(old, tag(TagKind::Video, 1, false)));
        assert!(feed.push(new, tag(TagKind::Video, 2, false)));
        assert!(!feed.push(old, tag(TagKind::Video, 3, false)));
        assert_eq!(drain(&mut player), [(2, false)]);
    }
}
