//! Clocks: which microsecond of ours a timestamp of theirs means.
//!
//! A publisher has one clock, and each protocol shows it differently. RTMP puts milliseconds of 32 bits on every tag, audio
//! and video alike, so one offset serves both ([`RtmpClock`]). RTP gives each track a counter with a random start and
//! leaves it to RTCP sender reports to tie the counters together ([`TrackClock`], [`LipSync`]). Either way the result is
//! microseconds on the server's own time line ([`Time`]), anchored where the first packet arrived.

use crate::{
    ids::Kind,
    units::{
        seq::Unwrap32,
        time::{Ntp, Time},
    },
};

/// A timestamp that falls back by more than this is a new beginning, not disorder.
const BACKWARD_JUMP_US: i64 = 1_000_000;

/// A timestamp that runs ahead of the arrival by more than this is a new beginning, not a burst.
const FORWARD_JUMP_US: i64 = 5_000_000;

/// Two tracks whose timestamps agree to within this, measured at arrival, share one clock. Larger takes in publishers that
/// queue one medium far longer than the other; smaller leaves fewer unrelated clocks taken for one.
const SHARED_CLOCK_US: i64 = 5_000_000;

/// How long after one track began anew the other is expected to do the same.
const JUMP_TOGETHER_US: i64 = 10_000_000;

/// Follows the milliseconds of an RTMP publisher: through the 32-bit wrap after 49.7 days, and over jumps.
#[derive(Debug, Default)]
pub struct RtmpClock {
    unwrap: Unwrap32,
    tracks: [Option<RtmpTrack>; 2],
}

#[derive(Clone, Copy, Debug)]
struct RtmpTrack {
    /// Added to the publisher's time to get ours.
    offset_us: i64,
    last_source_us: i64,
    last_arrival: Time,
    jumped_at: Option<Time>,
}

impl RtmpClock {
    /// The time on our line, in microseconds, of a tag of `kind` that arrived at `now`.
    pub fn map(&mut self, now: Time, kind: Kind, timestamp_ms: u32) -> i64 {
        let source_us = self.unwrap.extend(timestamp_ms) as i64 * 1000;
        let now_us = now.as_micros() as i64;
        let other = self.tracks[1 - kind as usize];
        let track = match self.tracks[kind as usize] {
            None => {
                let shared = other.filter(|o| shares_clock(o, source_us, now_us));
                let offset_us = shared.map_or(now_us - source_us, |o| o.offset_us);
                RtmpTrack { offset_us, last_source_us: source_us, last_arrival: now, jumped_at: None }
            }
            Some(track) if is_jump(&track, source_us, now) => {
                let after_other = other.filter(|o| {
                    o.jumped_at.is_some_and(|at| now_us - (at.as_micros() as i64) < JUMP_TOGETHER_US)
                        && shares_clock(o, source_us, now_us)
                });
                // What was sent already must stay in the past.
                let earliest_us = track.last_source_us + track.offset_us + 1000;
                let offset_us = after_other.map_or(now_us.max(earliest_us) - source_us, |o| o.offset_us);
                RtmpTrack { offset_us, last_source_us: source_us, last_arrival: now, jumped_at: Some(now) }
            }
            Some(track) => RtmpTrack { last_source_us: source_us, last_arrival: now, ..track },
        };
        self.tracks[kind as usize] = Some(track);
        source_us + track.offset_us
    }
}

fn is_jump(track: &RtmpTrack, source_us: i64, now: Time) -> bool {
    let step_us = source_us - track.last_source_us;
    let arrival_us = now.since(track.last_arrival).as_micros() as i64;
    step_us < -BACKWARD_JUMP_US || step_us - arrival_us > FORWARD_JUMP_US
}

/// Measured against the other track's newest tag, for a publisher's clock may have drifted from ours by any amount.
fn shares_clock(other: &RtmpTrack, source_us: i64, now_us: i64) -> bool {
    let arrival_us = now_us - other.last_arrival.as_micros() as i64;
    (source_us - other.last_source_us - arrival_us).abs() < SHARED_CLOCK_US
}

/// Follows the RTP timestamps of one track.
#[derive(Debug)]
pub struct TrackClock {
    rate_hz: i64,
    unwrap: Unwrap32,
    anchor: Option<Anchor>,
    last: Option<LastPacket>,
    report: Option<Report>,
}

/// One point at which RTP time and ours are known to meet.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    timestamp: i64,
    us: i64,
}

#[derive(Clone, Copy, Debug)]
struct LastPacket {
    timestamp: i64,
    wire: u32,
    us: i64,
    arrival: Time,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    ntp_us: i64,
    wire: u32,
}

/// A packet's place on our time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Microseconds.
    pub us: i64,
    /// The timestamps began anew: what lies between this packet and the one before is unknown.
    pub jumped: bool,
}

impl TrackClock {
    /// `rate_hz`: timestamp units per second, more than zero.
    pub fn new(rate_hz: u32) -> Self {
        TrackClock { rate_hz: i64::from(rate_hz), unwrap: Unwrap32::default(), anchor: None, last: None, report: None }
    }

    /// The time of the packet that carries `timestamp` and arrived at `arrival`.
    pub fn map(&mut self, arrival: Time, timestamp: u32) -> Mapped {
        let extended = self.unwrap.extend(timestamp) as i64;
        let arrival_us = arrival.as_micros() as i64;
        let jumped = self.last.is_some_and(|last| {
            let step_us = self.units_to_us(extended - last.timestamp);
            let waited_us = arrival_us - last.arrival.as_micros() as i64;
            step_us < -BACKWARD_JUMP_US || step_us - waited_us > FORWARD_JUMP_US
        });
        let anchor = match self.anchor {
            Some(anchor) if !jumped => anchor,
            _ => {
                let earliest_us = self.last.map_or(i64::MIN, |last| last.us + 1000);
                let anchor = Anchor { timestamp: extended, us: arrival_us.max(earliest_us) };
                if jumped {
                    // A report from before the jump says nothing about what comes after it.
                    self.report = None;
                }
                *self.anchor.insert(anchor)
            }
        };
        let us = anchor.us + self.units_to_us(extended - anchor.timestamp);
        self.last = Some(LastPacket { timestamp: extended, wire: timestamp, us, arrival });
        Mapped { us, jumped }
    }

    /// Takes a sender report (RFC 3550 §6.4.1): `timestamp` was `ntp` on the sender's wall clock.
    pub fn sender_report(&mut self, ntp: Ntp, timestamp: u32) {
        self.report = Some(Report { ntp_us: ntp.as_micros() as i64, wire: timestamp });
    }

    /// The sender's wall clock minus our time line, at the newest packet, in microseconds; `None` before a report.
    pub fn sender_offset_us(&self) -> Option<i64> {
        let (report, last) = (self.report?, self.last?);
        let behind = i64::from(last.wire.wrapping_sub(report.wire) as i32);
        Some(report.ntp_us + self.units_to_us(behind) - last.us)
    }

    /// Moves the whole time line by `us`, for a track whose samples are counted rather than stamped.
    pub fn shift(&mut self, us: i64) {
        if let Some(anchor) = &mut self.anchor {
            anchor.us += us;
        }
        if let Some(last) = &mut self.last {
            last.us += us;
        }
    }

    fn units_to_us(&self, units: i64) -> i64 {
        units * 1_000_000 / self.rate_hz
    }
}

/// How much of the time between two frames a correction may take: a fifth, which hardly shows in motion and brings 100 ms
/// home in half a second.
const SLEW_DIVISOR: i64 = 5;

/// A correction forward that is larger than this is made at once: slewing would take longer than a step hurts.
const STEP_US_MIN: i64 = 1_000_000;

/// Brings video onto audio's time line once sender reports of both are known, without a visible step.
#[derive(Debug, Default)]
pub struct LipSync {
    correction_us: i64,
    last_us: Option<i64>,
}

impl LipSync {
    /// The corrected time of a video frame at `us`, in microseconds; later than every one before.
    ///
    /// `video` and `audio` are the tracks' [`TrackClock::sender_offset_us`].
    pub fn correct(&mut self, us: i64, video: Option<i64>, audio: Option<i64>) -> i64 {
        let target_us = match (video, audio) {
            // A moment that the sender calls N is shown at N - audio by the audio track; video must agree.
            (Some(video), Some(audio)) => video - audio,
            _ => self.correction_us,
        };
        match self.last_us {
            None => self.correction_us = target_us,
            Some(last_us) => {
                let elapsed_us = (us + self.correction_us - last_us).max(0);
                let most_us = elapsed_us / SLEW_DIVISOR;
                let off_us = target_us - self.correction_us;
                self.correction_us += if off_us > STEP_US_MIN { off_us } else { off_us.clamp(-most_us, most_us) };
            }
        }
        let corrected_us = self.last_us.map_or(i64::MIN, |last| last + 1).max(us + self.correction_us);
        self.last_us = Some(corrected_us);
        corrected_us
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const START: Time = Time::from_millis(1_000_000);

    #[test]
    fn rtmp_time_passes_the_32_bit_wrap_without_a_step() {
        let mut clock = RtmpClock::default();
        let first = clock.map(START, Kind::Video, u32::MAX - 19);
        for step in 1..100u32 {
            let now = START + Duration::from_millis(u64::from(step) * 20);
            let timestamp = (u32::MAX - 19).wrapping_add(step * 20);
            assert_eq!(clock.map(now, Kind::Video, timestamp), first + i64::from(step) * 20_000);
        }
    }

    #[test]
    fn audio_and_video_share_one_offset_though_they_arrive_apart() {
        let mut clock = RtmpClock::default();
        let video = clock.map(START, Kind::Video, 5_000);
        let audio = clock.map(START + Duration::from_millis(700), Kind::Audio, 5_100);
        assert_eq!(audio - video, 100_000);
    }

    #[test]
    fn a_jump_goes_on_from_the_arrival_and_keeps_the_tracks_together() {
        for jump_to in [0u32, 3_000_000_000] {
            let mut clock = RtmpClock::default();
            clock.map(START, Kind::Video, 100_000);
            clock.map(START, Kind::Audio, 100_000);
            let before = clock.map(START + Duration::from_secs(1), Kind::Video, 101_000);
            let now = START + Duration::from_millis(1_040);
            let video = clock.map(now, Kind::Video, jump_to);
            assert!(video > before && video - before < 100_000, "{jump_to}: {}", video - before);
            // Audio of the old time is still on its way, then follows.
            let old = clock.map(now, Kind::Audio, 101_020);
            assert_eq!(old - before, 20_000);
            let audio = clock.map(now + Duration::from_millis(10), Kind::Audio, jump_to + 7);
            assert_eq!(audio - video, 7_000);
        }
    }

    #[test]
    fn a_pause_of_the_publisher_is_not_a_jump() {
        let mut clock = RtmpClock::default();
        let before = clock.map(START, Kind::Audio, 0);
        let after = clock.map(START + Duration::from_secs(60), Kind::Audio, 60_000);
        assert_eq!(after - before, 60_000_000);
    }

    #[test]
    fn rtp_time_is_anchored_at_arrival_and_passes_the_wrap() {
        let mut clock = TrackClock::new(90_000);
        let first = clock.map(START, u32::MAX - 44_999);
        assert_eq!(first, Mapped { us: START.as_micros() as i64, jumped: false });
        let second = clock.map(START + Duration::from_millis(1_017), 45_000);
        assert_eq!(second, Mapped { us: first.us + 1_000_000, jumped: false });
    }

    #[test]
    fn a_jump_of_rtp_time_is_said_and_stays_later_than_before() {
        let mut clock = TrackClock::new(48_000);
        let first = clock.map(START, 4_000_000_000);
        clock.sender_report(Ntp::from_unix_micros(5_000_000), 4_000_000_000);
        let second = clock.map(START + Duration::from_millis(20), 17);
        assert!(second.jumped && second.us > first.us);
        assert_eq!(clock.sender_offset_us(), None);
    }

    #[test]
    fn lips_and_voice_meet_within_a_second_and_never_step_back() {
        let mut audio = TrackClock::new(48_000);
        let mut video = TrackClock::new(90_000);
        let mut sync = LipSync::default();
        // Video was delayed by 150 ms on its way, so its anchor is 150 ms late.
        let ntp = Ntp::from_unix_micros(1_000_000_000);
        let mut last = i64::MIN;
        for frame in 0..60u64 {
            let taken = START + Duration::from_millis(frame * 33);
            let heard = audio.map(taken, (frame * 33 * 48) as u32);
            let seen = video.map(taken + Duration::from_millis(150), (frame * 33 * 90) as u32 ^ 0x8000_0000);
            if frame == 10 {
                audio.sender_report(ntp, 10 * 33 * 48);
                video.sender_report(ntp, (10 * 33 * 90) ^ 0x8000_0000);
            }
            let shown = sync.correct(seen.us, video.sender_offset_us(), audio.sender_offset_us());
            assert!(shown > last);
            last = shown;
            if frame > 40 {
                assert!((shown - heard.us).abs() < 2_000, "frame {frame}: {}", shown - heard.us);
            }
        }
    }

    /// A day of a browser whose sound card is off by `ppm` against its clock: the worst lip sync of players after the first two
    /// seconds, in microseconds. Both RTP clocks wrap on the way.
    fn worst_lips_of_a_day(ppm: i64) -> i64 {
        let (mut audio, mut video) = (TrackClock::new(48_000), TrackClock::new(90_000));
        let mut sync = LipSync::default();
        // What the card has counted by then, and what the camera's clock says.
        let card = |us: i64| (us / 1_000_000 * (48_000 + 48 * ppm / 1000) + us % 1_000_000 * 48 / 1000) as u32;
        let camera = |us: i64| (4_000_000_000i64 + us * 9 / 100) as u32;
        let (mut worst, mut last_shown) = (0, i64::MIN);
        for frame in 0..24 * 3_600 * 10i64 {
            let us = frame * 100_000;
            let taken = START + Duration::from_micros(us as u64);
            let heard = audio.map(taken + Duration::from_millis(30), card(us)).us;
            // Pictures take longer, and waver.
            let delay = Duration::from_millis(80 + (frame as u64 * 7) % 20);
            let seen = video.map(taken + delay, camera(us)).us;
            if frame % 50 == 10 {
                let ntp = Ntp::from_unix_micros(1_000_000_000 + us as u64);
                audio.sender_report(ntp, card(us));
                video.sender_report(ntp, camera(us));
            }
            let shown = sync.correct(seen, video.sender_offset_us(), audio.sender_offset_us());
            assert!(shown > last_shown);
            last_shown = shown;
            if us > 2_000_000 {
                worst = worst.max((shown - heard).abs());
            }
        }
        worst
    }

    #[test]
    fn lips_agree_with_the_voice_within_20_ms_for_a_day_of_a_drifting_sound_card() {
        for ppm in [100, -100] {
            let worst = worst_lips_of_a_day(ppm);
            assert!(worst < 20_000, "{ppm} ppm: {worst} µs");
        }
    }

    #[test]
    fn an_rtmp_publishers_tracks_stay_together_for_a_day_of_a_drifting_clock_over_the_wrap() {
        for ppm in [100i64, -100] {
            let mut clock = RtmpClock::default();
            let base_ms = u32::MAX - 40_000_000;
            for step in 0..24 * 3_600 * 10i64 {
                let sent_ms = step * 100;
                let us = sent_ms * 1000 + sent_ms * ppm / 1000;
                let now = START + Duration::from_micros(us as u64);
                let video = clock.map(now, Kind::Video, base_ms.wrapping_add(sent_ms as u32));
                let audio =
                    clock.map(now + Duration::from_millis(40), Kind::Audio, base_ms.wrapping_add(sent_ms as u32));
                assert_eq!(audio, video);
            }
        }
    }

    #[test]
    fn video_that_is_seconds_behind_steps_forward_at_once() {
        let mut sync = LipSync::default();
        assert_eq!(sync.correct(0, None, Some(0)), 0);
        assert_eq!(sync.correct(40_000, Some(STEP_US_MIN + 1), Some(0)), 40_000 + STEP_US_MIN + 1);
    }

    #[test]
    fn audio_that_begins_after_hours_of_drift_shares_the_clock_of_video() {
        let mut clock = RtmpClock::default();
        let mut video = 0;
        // Ten hours at 1,000 parts per million: 36 seconds.
        for second in 0..36_000u64 {
            video = clock.map(START + Duration::from_millis(second * 1_001), Kind::Video, (second * 1_000) as u32);
        }
        let audio = clock.map(START + Duration::from_millis(36_000 * 1_001), Kind::Audio, 36_000_000);
        assert_eq!(audio - video, 1_000_000);
    }

    proptest! {
        #[test]
        fn corrected_video_time_only_moves_forward(
            steps in prop::collection::vec((-50_000i64..200_000, prop::option::of(-500_000i64..500_000)), 1..100)
        ) {
            let mut sync = LipSync::default();
            let (mut us, mut last) = (0, i64::MIN);
            for (step, offset) in steps {
                us += step;
                let shown = sync.correct(us, offset, Some(0));
                prop_assert!(shown > last);
                last = shown;
            }
        }

        #[test]
        fn any_rtmp_timestamps_map_near_their_arrival(timestamps in prop::collection::vec(any::<u32>(), 1..50)) {
            let mut clock = RtmpClock::default();
            let mut now = START;
            for timestamp in timestamps {
                now = now + Duration::from_millis(20);
                let us = clock.map(now, Kind::Video, timestamp);
                prop_assert!((us - now.as_micros() as i64).abs() < 400_000_000);
            }
        }
    }
}
