//! Who speaks in a room, by the audio levels that publishers write into their packets (RFC 6464).
//!
//! Each packet moves a few numbers of its track. Three times a second they are looked at: whose packets were mostly loud has
//! begun to speak, and whose were not for some time has ended. The loudest is first, and stays first until somebody is clearly
//! louder, so that two who talk at once do not change places with every syllable.

use std::time::Duration;

use crate::{command::Speaker, ids::StreamId, units::time::Time};

/// How long is listened before it is said who speaks, and so the shortest time between two words about it. Shorter: a cough is
/// speech; longer: the picture of a speaker comes late.
pub const WINDOW: Duration = Duration::from_millis(300);
/// What is at least this loud may be speech, in decibels below overload. Voices are at 15 to 35, rooms at 50 and more.
const LOUD_DBOV: u8 = 40;
/// Percent of a window's packets that have to be loud.
const LOUD_SHARE: u32 = 40;
/// Windows without speech until somebody has ended: the pause between two sentences.
const QUIET_WINDOWS: u8 = 3;
/// By how many decibels somebody has to be louder than who is first to be first himself.
const LEAD_DB: u8 = 6;
/// Most who are named.
pub const SPEAKERS_MAX: usize = 8;
/// The level of digital silence.
const SILENCE_DBOV: u8 = 127;

/// What was heard of one track.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    packets: u32,
    loud: u32,
    /// The levels of the loud packets, added up.
    levels: u32,
    /// Smoothed over windows with speech.
    dbov: u8,
    /// Windows since the last one with speech.
    quiet: u8,
}

/// Who has the floor of one room.
#[derive(Debug, Default)]
pub struct Floor {
    /// Who was named last, the loudest first.
    named: Vec<Speaker>,
    window_end: Option<Time>,
}

impl Default for Voice {
    fn default() -> Self {
        Voice { packets: 0, loud: 0, levels: 0, dbov: SILENCE_DBOV, quiet: QUIET_WINDOWS }
    }
}

impl Voice {
    /// A packet of this loudness came.
    pub fn hear(&mut self, dbov: u8) {
        self.packets += 1;
        if dbov <= LOUD_DBOV {
            self.loud += 1;
            self.levels += u32::from(dbov);
        }
    }

    /// Ends a window; true if the track speaks.
    fn end_window(&mut self) -> bool {
        let spoke = self.packets > 0 && self.loud * 100 >= self.packets * LOUD_SHARE;
        if spoke && let Some(level) = self.levels.checked_div(self.loud) {
            let level = level as u8;
            // Who begins is as loud as he is.
            self.dbov = if self.quiet >= QUIET_WINDOWS { level } else { (self.dbov + level) / 2 };
            self.quiet = 0;
        } else {
            self.quiet = self.quiet.saturating_add(1);
        }
        (self.packets, self.loud, self.levels) = (0, 0, 0);
        self.quiet < QUIET_WINDOWS
    }
}

impl Floor {
    /// Something was heard: at the end of a window it will be known whether it was speech.
    pub fn arm(&mut self, now: Time) {
        self.window_end.get_or_insert(now + WINDOW);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next; `None` while nothing is heard.
    pub fn next_timeout(&self) -> Option<Time> {
        self.window_end
    }

    /// Ends a window if one is over. Answers who speaks, the loudest first, if they are not the same as before or not in the
    /// same order; `voices` are all tracks with sound.
    pub fn handle_timeout<'a>(
        &mut self,
        now: Time,
        voices: impl Iterator<Item = (StreamId, &'a mut Voice)>,
    ) -> Option<Vec<Speaker>> {
        let over = self.window_end.is_some_and(|end| end <= now);
        if !over {
            return None;
        }
        let mut heard = false;
        let mut speak = Vec::new();
        for (stream, voice) in voices {
            heard |= voice.packets > 0;
            if voice.end_window() {
                speak.push(Speaker { stream, dbov: voice.dbov });
            }
        }
        // Who has ended is known only some windows later, and without a packet too.
        self.window_end = (heard || !speak.is_empty() || !self.named.is_empty()).then_some(now + WINDOW);
        let place = |stream| self.named.iter().position(|named| named.stream == stream).unwrap_or(usize::MAX);
        speak.sort_by_key(|speaker| (place(speaker.stream), speaker.dbov));
        let loudest = (0..speak.len()).min_by_key(|at| speak.get(*at).map(|speaker| speaker.dbov));
        if let (Some(loudest), Some(first)) = (loudest, speak.first()) {
            let stays = place(first.stream) == 0 && speak.get(loudest).is_some_and(|s| s.dbov + LEAD_DB > first.dbov);
            if !stays {
                speak.get_mut(..=loudest).unwrap_or_default().rotate_right(1);
            }
        }
        speak.truncate(SPEAKERS_MAX);
        let changed = !speak.iter().map(|s| s.stream).eq(self.named.iter().map(|s| s.stream));
        self.named.clone_from(&speak);
        changed.then_some(speak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: usize = 0;
    const BOB: usize = 1;
    const SILENT: u8 = 127;

    /// Two members, heard in packets of 20 ms on virtual time.
    #[derive(Default)]
    struct Scene {
        floor: Floor,
        voices: [Voice; 2],
        now: Time,
        /// When what was said: the streams, the loudest first.
        said: Vec<(u64, Vec<u64>)>,
    }

    impl Scene {
        /// Lets `ms` pass with these levels; `None` sends nothing.
        fn pass(&mut self, ms: u64, levels: impl Fn(u64) -> [Option<u8>; 2]) -> &mut Self {
            for packet in 0..ms / 20 {
                for (voice, level) in self.voices.iter_mut().zip(levels(packet)) {
                    if let Some(level) = level {
                        voice.hear(level);
                        self.floor.arm(self.now);
                    }
                }
                self.now = self.now + Duration::from_millis(20);
                let voices = self.voices.iter_mut().enumerate().map(|(id, voice)| (StreamId(id as u64), voice));
                if let Some(speakers) = self.floor.handle_timeout(self.now, voices) {
                    let streams = speakers.iter().map(|speaker| speaker.stream.0).collect();
                    self.said.push((self.now.as_micros() / 1000, streams));
                }
            }
            self
        }

        fn streams(&self) -> Vec<Vec<u64>> {
            self.said.iter().map(|(_, streams)| streams.clone()).collect()
        }
    }

    fn only(who: usize, level: u8) -> impl Fn(u64) -> [Option<u8>; 2] {
        move |_| std::array::from_fn(|id| Some(if id == who { level } else { SILENT }))
    }

    #[test]
    fn who_speaks_is_named_within_a_window_and_silence_ends_it() {
        let mut scene = Scene::default();
        scene.pass(900, only(ALICE, SILENT)).pass(3_000, only(ALICE, 25)).pass(2_000, only(ALICE, SILENT));
        assert_eq!(scene.streams(), [vec![ALICE as u64], vec![]]);
        assert!(
            (900..=1_200).contains(&scene.said[0].0) && (3_900..=5_100).contains(&scene.said[1].0),
            "{:?}",
            scene.said
        );
        // A track that ends without another packet is silent as well.
        scene.pass(900, only(BOB, 25)).pass(2_000, |_| [None, None]);
        assert_eq!(scene.streams()[2..], [vec![BOB as u64], vec![]]);
        assert_eq!(scene.floor.next_timeout(), None, "nobody is listened to where nothing is heard");
    }

    #[test]
    fn pauses_between_words_and_noise_are_no_end_and_no_beginning() {
        let mut scene = Scene::default();
        // Half a second of speech, half a second of pause.
        scene.pass(10_000, |packet| [Some(if packet % 50 < 25 { 22 } else { 70 }), Some(55)]);
        assert_eq!(scene.streams(), [vec![ALICE as u64]]);
        let mut scene = Scene::default();
        // A knock of 60 ms each second, and a fan.
        scene.pass(10_000, |packet| [Some(if packet % 50 < 3 { 10 } else { 80 }), Some(48)]);
        assert_eq!(scene.streams(), [] as [Vec<u64>; 0]);
    }

    #[test]
    fn two_at_once_do_not_change_places_until_one_is_clearly_louder() {
        let mut scene = Scene::default();
        scene.pass(1_200, only(ALICE, 25));
        scene.pass(20_000, |packet| {
            let up = packet / 20 % 2 == 0;
            [Some(if up { 24 } else { 28 }), Some(if up { 28 } else { 24 })]
        });
        assert_eq!(scene.streams(), [vec![0], vec![0, 1]]);
        scene.pass(2_000, |_| [Some(30), Some(15)]);
        assert_eq!(scene.streams()[2..], [vec![1, 0]]);
        scene.pass(2_000, |_| [Some(30), Some(SILENT)]);
        assert_eq!(scene.streams()[3..], [vec![0]]);
    }

    #[test]
    fn at_most_one_word_in_a_window_and_at_most_so_many_names() {
        let mut scene = Scene::default();
        let mut random = 7_u64;
        for _ in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let levels = [Some((random >> 33) as u8 & 0x7f), Some((random >> 41) as u8 & 0x7f)];
            scene.pass(100, |_| levels);
        }
        let gaps = scene.said.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(gaps.min().is_some_and(|gap| gap >= WINDOW.as_millis() as u64));

        let mut voices = [Voice::default(); SPEAKERS_MAX + 3];
        voices.iter_mut().enumerate().for_each(|(id, voice)| voice.hear(39 - id as u8));
        let mut floor = Floor::default();
        floor.arm(Time::ZERO);
        let voices = voices.iter_mut().enumerate().map(|(id, voice)| (StreamId(id as u64), voice));
        let speakers = floor.handle_timeout(Time::ZERO + WINDOW, voices).unwrap();
        assert_eq!((speakers.len(), speakers[0].stream), (SPEAKERS_MAX, StreamId(10)));
    }
}
