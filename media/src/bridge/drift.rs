//! Sound whose samples come faster or slower than its timestamps say: an encoder's sound card and its clock are two crystals.
//! A hundred parts per million are 8.6 s a day, so the sound is made a little longer or shorter, sample by sample, and no
//! faster than anybody hears.

/// Error that is left alone: timestamps in milliseconds are off by so much themselves.
const DEAD_BAND_SAMPLES: f64 = 96.0;

/// How long an error is watched before it counts: publishers that stamp when they send waver by some ten milliseconds.
const SMOOTHING_SAMPLES: f64 = 48_000.0 * 4.0;

/// An error is worked off in about this long.
const WORK_OFF_SAMPLES: f64 = 48_000.0 * 5.0;

/// Most samples by which a frame of 20 ms is made longer or shorter: two in 960, a thirtieth of a semitone.
pub const STRETCH_MAX: i64 = 2;

/// Samples on each side of one that is interpolated.
pub const SIDE_TAPS: usize = 8;

/// Decides by how many samples each frame is made longer.
#[derive(Debug, Default)]
pub struct Drift {
    /// By how much time is ahead of the sound, smoothed, in samples at 48 kHz.
    error: f64,
    /// Samples that are to be added, in sum; below one there is nothing to do yet.
    debt: f64,
}

impl Drift {
    /// Sound of `len` samples has come, whose timestamp is ahead of the count by `ahead`. All in samples at 48 kHz.
    pub fn note(&mut self, ahead: i64, len: i64) {
        self.error += (ahead as f64 - self.error) * (len as f64 / SMOOTHING_SAMPLES).min(1.0);
        let excess = (self.error.abs() - DEAD_BAND_SAMPLES).max(0.0).copysign(self.error);
        self.debt += excess * len as f64 / WORK_OFF_SAMPLES;
    }

    /// By how many samples the next frame should be longer than what goes into it; less than zero: shorter. Whoever does so
    /// counts them, which brings the error down.
    pub fn take(&mut self) -> i64 {
        let whole = (self.debt as i64).clamp(-STRETCH_MAX, STRETCH_MAX);
        self.debt -= whole as f64;
        // What was decided is no error any more, however long the smoothing remembers it.
        self.error -= whole as f64;
        // A debt that cannot be worked off must not pile up.
        self.debt = self.debt.clamp(-16.0, 16.0);
        whole
    }
}

/// Appends `frames` frames to `out` that sound like the `from` frames of `input` behind its first [`SIDE_TAPS`]; `input` has as
/// many again behind them. Interleaved; both ends fit seamlessly to what stands before and behind.
pub fn stretch(input: &[i16], channels: usize, from: usize, frames: usize, out: &mut Vec<i16>) {
    for n in 0..frames {
        let at = n as f64 * from as f64 / frames as f64;
        let (whole, part) = (at as usize, at.fract());
        let taps = weights(part);
        for channel in 0..channels {
            let sample =
                |tap: usize| f64::from(input.get((whole + 1 + tap) * channels + channel).copied().unwrap_or(0));
            let sum: f64 = taps.iter().enumerate().map(|(tap, weight)| sample(tap) * weight).sum();
            // A cast from float to integer saturates.
            out.push(sum.round() as i16);
        }
    }
}

/// A sinc under a Blackman window around `part` of the way from tap `SIDE_TAPS - 1` to the next.
fn weights(part: f64) -> [f64; 2 * SIDE_TAPS] {
    use std::f64::consts::PI;
    let mut weights = [0.0; 2 * SIDE_TAPS];
    let mut sum = 0.0;
    for (tap, weight) in weights.iter_mut().enumerate() {
        let x = tap as f64 - (SIDE_TAPS as f64 - 1.0) - part;
        let sinc = if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) };
        let turn = PI * x / SIDE_TAPS as f64;
        *weight = sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos());
        sum += *weight;
    }
    weights.map(|weight| weight / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of access units from a sound card that is off by `ppm`, stamped in milliseconds by a clock that wavers: the
    /// largest error in samples after the first minute, and how often a frame was changed.
    fn day(ppm: i64, waver_ms: i64) -> (i64, u64) {
        let mut drift = Drift::default();
        let (mut counted, mut worst, mut changed) = (0i64, 0i64, 0u64);
        let mut waiting = 0i64;
        let mut noise = 1u64;
        for unit in 0..24 * 3600 * 48_000 / 1024i64 {
            // When the card has taken so many samples, so much time has passed.
            let true_position = unit * 1024 - unit * 1024 * ppm / 1_000_000;
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let waver = if waver_ms > 0 { (noise >> 33) as i64 % (2 * waver_ms * 48) - waver_ms * 48 } else { 0 };
            let stamped = (true_position + waver).div_euclid(48) * 48;
            drift.note(stamped - counted, 1024);
            if unit > 60 * 47 {
                worst = worst.max((true_position - counted).abs());
            }
            counted += 1024;
            waiting += 1024;
            while waiting >= 960 {
                waiting -= 960;
                let more = drift.take();
                counted += more;
                changed += u64::from(more != 0);
            }
        }
        (worst, changed)
    }

    #[test]
    fn sound_stays_within_5_ms_of_its_timestamps_for_a_day_of_a_drifting_clock() {
        for ppm in [100, -100, 300] {
            let (worst, changed) = day(ppm, 0);
            assert!(worst < 48 * 5, "{ppm} ppm: {worst} samples");
            // No more than the drift asks for.
            let needed = (24 * 3600 * 48_000i64 * ppm.abs() / 1_000_000) as u64;
            assert!(changed <= needed + 100, "{ppm} ppm: {changed} of {needed}");
        }
    }

    #[test]
    fn a_clock_that_wavers_but_does_not_drift_changes_next_to_nothing() {
        let (worst, changed) = day(0, 15);
        assert!(worst < 48 * 5, "{worst}");
        assert!(changed < 1_000, "{changed} frames a day");
        let (worst, _) = day(100, 15);
        assert!(worst < 48 * 8, "{worst}");
    }

    #[test]
    fn a_stretched_frame_is_the_same_sound_and_fits_on_both_ends() {
        for hz in [200.0, 1_000.0, 6_000.0, 12_000.0] {
            for from in [958usize, 959, 960, 961, 962] {
                let tone = |at: f64| (at * hz * std::f64::consts::TAU / 48_000.0).sin() * 20_000.0;
                let first = SIDE_TAPS as f64;
                let input: Vec<i16> = (0..from + 2 * SIDE_TAPS)
                    .flat_map(|n| [tone(n as f64 - first).round() as i16, -tone(n as f64 - first).round() as i16])
                    .collect();
                let mut out = Vec::new();
                stretch(&input, 2, from, 960, &mut out);
                assert_eq!(out.len(), 960 * 2);
                for (n, frame) in out.chunks_exact(2).enumerate() {
                    let due = tone(n as f64 * from as f64 / 960.0);
                    let off = (f64::from(frame[0]) - due).abs();
                    assert!(off < 60.0 && frame[0].saturating_add(frame[1]).abs() < 3, "{hz} Hz, {from}, {n}: {off}");
                }
            }
        }
    }
}
