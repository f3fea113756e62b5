//! Durations in buckets about 1.6 % wide, so that millions of them take 30 KB and a quantile costs one walk.
//!
//! Owns: [`Histogram`]. Must not: know what is measured.

/// Buckets of one power of two.
const PER_OCTAVE: usize = 64;
/// Powers of two above the first 128 values, which have a bucket each.
const OCTAVES: usize = 60;

/// Counts of durations in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; PER_OCTAVE * OCTAVES],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        let shift = 63_u32.saturating_sub(value.max(1).leading_zeros() + 6);
        let index = u64::from(shift) * 64 + (value >> shift);
        let last = self.buckets.len().saturating_sub(1);
        let index = usize::try_from(index).unwrap_or(last).min(last);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that so many of a thousand do not exceed; 0 of nothing.
    #[must_use]
    pub fn permille(&self, permille: u64) -> u64 {
        let wanted = (self.count * permille).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in (0_u64..).zip(&self.buckets) {
            seen += count;
            if seen >= wanted && seen > 0 {
                return middle(index).min(self.max);
            }
        }
        self.max
    }
}

/// The middle of a bucket.
fn middle(index: u64) -> u64 {
    if index < 128 {
        return index;
    }
    let shift = index / 64 - 1;
    ((index - shift * 64) << shift) + (1 << shift >> 1)
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn small_values_are_exact() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|value| histogram.add(value));
        assert_eq!(histogram.permille(500), 50);
        assert_eq!(histogram.permille(990), 99);
        assert_eq!(histogram.permille(1000), 100);
        assert_eq!(histogram.count(), 100);
    }

    #[test]
    fn large_values_are_within_two_percent() {
        for value in [129, 1_000, 65_535, 65_536, 1_234_567_890, u64::MAX / 3] {
            let mut histogram = Histogram::default();
            histogram.add(value);
            histogram.add(u64::MAX);
            let found = histogram.permille(500);
            assert!(found.abs_diff(value) <= value / 50, "{value}: {found}");
        }
    }

    #[test]
    fn nothing_and_zero_are_zero() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.permille(500), 0);
        histogram.add(0);
        assert_eq!(histogram.permille(500), 0);
        assert_eq!(histogram.max(), 0);
    }

    #[test]
    fn one_slow_of_a_thousand_shows_at_the_end_only() {
        let mut histogram = Histogram::default();
        (0..999).for_each(|_| histogram.add(10));
        histogram.add(1_000_000);
        assert_eq!(histogram.permille(999), 10);
        assert_eq!(histogram.permille(1000), 1_000_000.min(histogram.max()));
        assert_eq!(histogram.max(), 1_000_000);
    }
}
