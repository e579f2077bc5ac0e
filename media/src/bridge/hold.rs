//! How long pictures are to be held, so that their sound is there when they are shown.
//!
//! A browser finds that out by itself, from sender reports, but takes half a minute for it: it moves pictures by half of what it
//! believes them to be ahead, every two or three seconds, and leaves the last 30 ms as they are. What it would come to is known
//! here: how much later sound leaves than pictures of its moment, and what a browser keeps of it.

use std::collections::VecDeque;

/// Packets and pictures that are looked at: four seconds of sound and more of pictures.
const WINDOW: usize = 200;
/// So many packets of sound have to be known before anything is said.
const ENOUGH: usize = 25;

/// What Chromium keeps of sound at least when it begins to play (`kStartDelayMs` of its NetEq), and takes from the decoder to the
/// device; less 10 ms for its decoder of pictures.
const BROWSER_US: i64 = 90_000;
/// What it keeps beyond the time by which packets waver.
const MARGIN_US: i64 = 25_000;

/// Longest time for which pictures are held; where sound is later, browsers are left to themselves with the rest.
const HOLD_US_MAX: i64 = 250_000;
/// A time that was told stays until it is wrong by so much: each change slows pictures down or hurries them.
const CHANGE_TENS_MIN: u8 = 3;

/// Without sound for so long there is nothing to wait for.
const SILENCE_US: i64 = 2_000_000;

/// Watches by how much the packets of one publisher are late.
#[derive(Debug, Default)]
pub struct Hold {
    /// By how much each left later than its time, in microseconds.
    sound: VecDeque<i64>,
    pictures: VecDeque<i64>,
    /// New ones of sound since the time was worked out.
    fresh: usize,
    sound_at_us: Option<i64>,
    tens: u8,
}

impl Hold {
    /// Another publisher begins, of whom nothing is known; what was told holds until it is.
    pub fn begin_publisher(&mut self) {
        *self = Hold { tens: self.tens, ..Hold::default() };
    }

    /// The publisher's sound has come, whether anybody hears it or not. `now_us`: on the line of the packets.
    pub fn note_unit(&mut self, now_us: i64) {
        self.sound_at_us = Some(now_us);
    }

    /// A packet of sound leaves at `now_us` whose first sample is of `us`.
    pub fn note_sound(&mut self, now_us: i64, us: i64) {
        push(&mut self.sound, now_us - us);
        self.fresh += 1;
    }

    /// A picture of `us` leaves at `now_us`. Answers a time that is to be told, in units of 10 ms: 0 where none is held.
    pub fn note_picture(&mut self, now_us: i64, us: i64) -> Option<u8> {
        push(&mut self.pictures, now_us - us);
        let silent = self.sound_at_us.is_none_or(|at| now_us - at > SILENCE_US);
        let tens = match (silent, self.fresh >= ENOUGH) {
            (true, _) => 0,
            (false, true) => self.work_out(),
            (false, false) => return None,
        };
        let known = tens == 0 || self.tens == 0;
        let changed = if known { tens != self.tens } else { tens.abs_diff(self.tens) >= CHANGE_TENS_MIN };
        changed.then(|| {
            self.tens = tens;
            tens
        })
    }

    fn work_out(&mut self) -> u8 {
        self.fresh = 0;
        // What is later came behind a stall of the publisher's network, which passes.
        let (early, late) = (part(&self.sound, 5), part(&self.sound, 90));
        let kept_us = BROWSER_US.max(late - early + MARGIN_US);
        let hold_us = early + kept_us - part(&self.pictures, 50);
        // At most 25.
        ((hold_us.clamp(0, HOLD_US_MAX) + 5_000) / 10_000) as u8
    }
}

fn push(window: &mut VecDeque<i64>, late_us: i64) {
    if window.len() == WINDOW {
        window.pop_front();
    }
    window.push_back(late_us);
}

/// What `percent` of the values are below; 0 of none.
fn part(values: &VecDeque<i64>, percent: usize) -> i64 {
    let mut sorted: Vec<i64> = values.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six seconds of a publisher whose sound leaves `sound_us` late, and by as much as `waver_us` more.
    fn told(hold: &mut Hold, from_us: i64, sound_us: i64, waver_us: i64) -> Vec<u8> {
        let mut told = Vec::new();
        for n in 0..150 {
            let us = from_us + n * 40_000;
            for half in 0..2 {
                let late = sound_us + (n % 3) * waver_us / 2;
                hold.note_unit(us);
                hold.note_sound(us + late, us + half);
            }
            told.extend(hold.note_picture(us, us));
        }
        told
    }

    #[test]
    fn pictures_are_held_for_as_long_as_sound_is_late_and_a_browser_keeps_it() {
        assert_eq!(told(&mut Hold::default(), 0, 10_000, 0), [10]);
        assert_eq!(told(&mut Hold::default(), 0, 10_000, 50_000), [10]);
        // 64 ms of AAC at 16 kHz, in pairs.
        assert_eq!(told(&mut Hold::default(), 0, 20_000, 120_000), [17]);
        assert_eq!(told(&mut Hold::default(), 0, 169_000, 0), [25]);
        assert_eq!(told(&mut Hold::default(), 0, 700_000, 0), [25]);
        assert_eq!(told(&mut Hold::default(), 0, -300_000, 0), Vec::<u8>::new());
    }

    #[test]
    fn a_time_that_was_told_stays_until_it_is_wrong_by_three_hundredths() {
        let mut hold = Hold::default();
        assert_eq!(told(&mut hold, 0, 10_000, 0), [10]);
        assert_eq!(told(&mut hold, 6_000_000, 30_000, 0), Vec::<u8>::new());
        assert_eq!(told(&mut hold, 12_000_000, 45_000, 0), [13]);
    }

    #[test]
    fn a_stall_that_passes_changes_nothing() {
        let mut hold = Hold::default();
        assert_eq!(told(&mut hold, 0, 10_000, 30_000), [10]);
        // 300 ms of sound and pictures come at once.
        for n in 0..15 {
            let us = 6_000_000 + n * 20_000;
            hold.note_sound(6_310_000, us);
            assert_eq!(hold.note_picture(6_310_000, us), None);
        }
        assert_eq!(told(&mut hold, 6_310_000, 10_000, 30_000), Vec::<u8>::new());
    }

    #[test]
    fn pictures_wait_for_no_sound_that_has_ended_and_another_publisher_is_measured_anew() {
        let mut hold = Hold::default();
        told(&mut hold, 0, 10_000, 0);
        let silent: Vec<u8> = (150..250).filter_map(|n| hold.note_picture(n * 40_000, n * 40_000)).collect();
        assert_eq!(silent, [0]);
        assert_eq!(told(&mut hold, 10_000_000, 10_000, 0), [10]);
        hold.begin_publisher();
        assert_eq!(told(&mut hold, 16_000_000, 60_000, 0), [15]);
    }
}
