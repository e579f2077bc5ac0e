//! Durations in buckets: millions of samples in a fixed amount of memory.

/// Width of a bucket, in microseconds.
const BUCKET_US: u64 = 250;
/// Buckets; together they reach ten seconds. What is longer counts as the last.
const BUCKETS: usize = 40_000;

/// Counts of durations, good to a quarter of a millisecond.
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }

    pub fn add(&mut self, us: u64) {
        let bucket = usize::try_from(us / BUCKET_US).unwrap_or(BUCKETS).min(BUCKETS - 1);
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
                return Some(((bucket as u64 + 1) * BUCKET_US) as f64 / 1000.0);
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
    }

    #[test]
    fn nothing_has_no_percentile_and_the_longest_counts_as_ten_seconds() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile_ms(50.0), None);
        histogram.add(u64::MAX);
        assert_eq!(histogram.percentile_ms(50.0), Some(10_000.0));
        histogram.clear();
        assert_eq!(histogram.percentile_ms(50.0), None);
    }
}
