//! Bit rates, and counting them.

use std::time::Duration;

use super::time::Time;

/// Measures bits per second over a sliding second.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    since: Option<Time>,
    bytes: u64,
    bps: u64,
}

const WINDOW: Duration = Duration::from_secs(1);

impl RateMeter {
    pub fn add(&mut self, now: Time, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        let age = now.since(since);
        if age >= WINDOW {
            self.bps = self.bytes * 8_000_000 / age.as_micros().max(1) as u64;
            self.bytes = 0;
            self.since = Some(now);
        }
        self.bytes += bytes as u64;
    }

    /// Bits per second over the last whole window; zero before the first.
    pub fn bps(&self) -> u64 {
        self.bps
    }
}
