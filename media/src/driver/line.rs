//! The players' time, whatever a publisher's timestamps do.

use std::time::Instant;

use crate::{
    bridge::{
        clock::RtmpClock,
        tag::{Tag, TagKind},
    },
    ids::Kind,
    units::time::Time,
};

/// The players' time: the publisher's, without its jumps. A player that follows one waits for the time between, or for ever.
#[derive(Debug, Default)]
pub(super) struct Line {
    clock: RtmpClock,
    /// What is called zero on the clock's line, and what the line adds to the publisher's milliseconds.
    begun: Option<(Instant, i64)>,
    shift_ms: u32,
}

impl Line {
    pub(super) fn place(&mut self, now: Instant, tag: Tag) -> Tag {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_publishers_time_is_the_players_time_until_it_jumps_and_goes_on_then() {
        let start = Instant::now();
        for (first, jump) in [(5_000u32, 3_000_000u32), (70_000, 0), (u32::MAX - 30, 4_000_000)] {
            let mut line = Line::default();
            let mut place = |n: u32, base: u32| {
                let tag = Tag {
                    kind: TagKind::Audio,
                    timestamp_ms: base.wrapping_add(n * 20),
                    payload: vec![0; 10].into(),
                    key: false,
                    header: false,
                };
                line.place(start + Duration::from_millis(u64::from(n) * 20), tag).timestamp_ms
            };
            let got: Vec<u32> = (0..100).map(|n| place(n, first)).collect();
            let unchanged: Vec<u32> = (0..100).map(|n| first.wrapping_add(n * 20)).collect();
            assert_eq!(got, unchanged);
            let got: Vec<u32> = (100..200).map(|n| place(n, jump)).collect();
            assert!(got.windows(2).all(|two| two[1].wrapping_sub(two[0]) == 20), "{got:?}");
            let step = got[0].wrapping_sub(unchanged[99]);
            assert!((1..=60).contains(&step), "{step}");
        }
    }
}
