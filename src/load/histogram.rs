//! Durations in buckets: millions of samples in a fixed amount of memory.

/// Width of the narrow buckets, in microseconds, and up to where they go.
const NARROW_US: u64 = 20;
const NARROW_END_US: u64 = 100_000;
/// Width of the wide buckets behind them, and up to where these go. What is longer counts as the last.
const WIDE_US: u64 = 1_000;
const WIDE_END_US: u64 = 30_000_000;
const NARROW: usize = (NARROW_END_US / NARROW_US) as usize;
const BUCKETS: usize = NARROW + ((WIDE_END_US - NARROW_END_US) / WIDE_US) as usize;

/// Counts of durations, good to 20 microseconds, or to a millisecond beyond a tenth of a second.
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }

    pub fn add(&mut self, us: u64) {
        let bucket = if us < NARROW_END_US {
            (us / NARROW_US) as usize
        } else {
            NARROW + ((us.min(WIDE_END_US - 1) - NARROW_END_US) / WIDE_US) as usize
        };
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The duration, in milliseconds, that `percent` (0 to 100) of the samples do not exceed; `None` without samples.
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let rank = ((self.total as f64) * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                let end_us = if bucket < NARROW {
                    (bucket as u64 + 1) * NARROW_US
                } else {
                    NARROW_END_US + (bucket - NARROW + 1) as u64 * WIDE_US
                };
                return Some(end_us as f64 / 1000.0);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_good_to_a_bucket() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|ms| histogram.add(ms * 1000 - 1));
        assert_eq!(histogram.percentile_ms(50.0), Some(50.0));
        assert_eq!(histogram.percentile_ms(99.0), Some(99.0));
        assert_eq!(histogram.percentile_ms(100.0), Some(100.0));
        histogram.clear();
        [90, 250_500, 250_500].into_iter().for_each(|us| histogram.add(us));
        assert_eq!((histogram.percentile_ms(1.0), histogram.percentile_ms(99.0)), (Some(0.1), Some(251.0)));
    }

    #[test]
    fn nothing_has_no_percentile_and_the_longest_counts_as_thirty_seconds() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile_ms(50.0), None);
        histogram.add(u64::MAX);
        assert_eq!(histogram.percentile_ms(50.0), Some(30_000.0));
        histogram.clear();
        assert_eq!(histogram.percentile_ms(50.0), None);
    }
}
