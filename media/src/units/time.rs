//! Points in time. Everything that is sans-IO is handed a [`Time`]; only `driver` and `src` read a clock.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A monotonic point in time: microseconds since an origin that the process chose at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);

    pub const fn from_micros(us: u64) -> Self {
        Time(us)
    }

    pub const fn from_millis(ms: u64) -> Self {
        Time(ms * 1000)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(d.as_micros() as u64))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Saturates at the origin.
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(d.as_micros() as u64))
    }
}

/// A 64-bit NTP timestamp (RFC 3550 §4): seconds since 1900 in the upper half, 1/2^32 s in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ntp(pub u64);

/// Seconds from the NTP era's origin (1900) to the Unix epoch (1970).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

impl Ntp {
    pub fn from_unix_micros(us: u64) -> Self {
        let seconds = us / 1_000_000 + NTP_UNIX_OFFSET_S;
        let fraction = ((us % 1_000_000) << 32) / 1_000_000;
        Ntp((seconds << 32) | fraction)
    }

    /// Microseconds since 1900; good to a microsecond.
    pub fn as_micros(self) -> u64 {
        (self.0 >> 32) * 1_000_000 + (((self.0 & 0xffff_ffff) * 1_000_000) >> 32)
    }

    /// The middle 32 bits, as reports carry it (RFC 3550 §6.4.1, LSR).
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// This point moved by `us` microseconds, backwards if negative.
    pub fn offset_micros(self, us: i64) -> Self {
        let moved = self.as_micros().saturating_add_signed(us);
        let seconds = moved / 1_000_000;
        let fraction = ((moved % 1_000_000) << 32) / 1_000_000;
        Ntp((seconds << 32) | fraction)
    }
}

/// Turns [`Time`] into wall-clock time. The wall clock is read once, at start, so that a later jump of it moves no media.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    origin_unix_us: u64,
}

impl WallClock {
    /// `origin_unix_us`: the Unix time, in microseconds, at [`Time::ZERO`].
    pub const fn new(origin_unix_us: u64) -> Self {
        WallClock { origin_unix_us }
    }

    pub fn ntp(&self, at: Time) -> Ntp {
        Ntp::from_unix_micros(self.origin_unix_us + at.as_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_and_unix_micros_agree_within_a_microsecond() {
        let ntp = Ntp::from_unix_micros(1_544_000_000_123_456);
        assert!(ntp.as_micros().abs_diff(NTP_UNIX_OFFSET_S * 1_000_000 + 1_544_000_000_123_456) <= 1);
        assert!(ntp.offset_micros(-5_000_000).as_micros().abs_diff(ntp.as_micros() - 5_000_000) <= 1);
    }
}
