//! Numbers about a plugin: how long its calls take, and the metrics it counts itself.
//!
//! Owns: [`Times`], a histogram without locks; [`Numbers`], bounded in names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Two buckets for each power of two of nanoseconds.
const BUCKETS: usize = 128;
/// Bytes of the name of a metric.
const NAME_BYTES: usize = 64;

/// How long calls took, to within a half.
#[derive(Debug)]
pub(crate) struct Times {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            nanos: AtomicU64::new(0),
        }
    }
}

/// The bucket of a duration: its highest bit and the one below.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(2);
    let high = 63 - nanos.leading_zeros();
    let half = (nanos >> (high - 1)) & 1;
    usize::try_from(u64::from(high) * 2 + half).unwrap_or(BUCKETS - 1)
}

/// The upper end of a bucket, nanoseconds.
fn upper(bucket: usize) -> u64 {
    let (high, half) = (bucket / 2, u64::try_from(bucket % 2).unwrap_or(0));
    let base = 1u64
        .checked_shl(u32::try_from(high).unwrap_or(63))
        .unwrap_or(u64::MAX);
    base.saturating_add((base / 2).saturating_mul(half + 1))
        .saturating_sub(1)
}

impl Times {
    /// Counts a call, whose time stands for so many.
    pub(crate) fn add(&self, took: Duration, stands_for: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.buckets.get(bucket(nanos)) {
            count.fetch_add(stands_for, Ordering::Relaxed);
        }
        let nanos = nanos.saturating_mul(stands_for);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts those of another.
    pub(crate) fn merge(&self, other: &Self) {
        for (ours, theirs) in self.buckets.iter().zip(&other.buckets) {
            ours.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let nanos = other.nanos.load(Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Calls that were timed, or that these stand for.
    pub(crate) fn count(&self) -> u64 {
        let counts = self.buckets.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Time of all of them together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// What so many per thousand of the calls did not exceed.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let wanted = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted {
                return Duration::from_nanos(upper(number));
            }
        }
        Duration::ZERO
    }
}

/// A metric of the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Counter(u64),
    Gauge(f64),
}

/// Its metrics by name.
#[derive(Debug)]
pub(crate) struct Numbers {
    all: Mutex<BTreeMap<String, Number>>,
    /// Names there may be.
    names: usize,
    /// Calls with a name too many.
    full: AtomicU64,
    refused: AtomicU64,
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

impl Numbers {
    pub(crate) fn new(names: usize) -> Self {
        Self {
            all: Mutex::default(),
            names,
            full: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Calls that did nothing because their name was one too many.
    pub(crate) fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Adds to a counter; a gauge of that name stays what it is.
    pub(crate) fn count(&self, name: &str, by: u64) {
        self.change(name, Number::Counter(by), |number| {
            if let Number::Counter(value) = number {
                *value = value.wrapping_add(by);
            }
        });
    }

    /// Sets a gauge; a counter of that name stays what it is.
    pub(crate) fn gauge(&self, name: &str, new: f64) {
        self.change(name, Number::Gauge(new), |number| {
            if let Number::Gauge(value) = number {
                *value = new;
            }
        });
    }

    fn change(&self, name: &str, first: Number, change: impl FnOnce(&mut Number)) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = all.get_mut(name) {
            return change(number);
        }
        let is_full = all.len() >= self.names;
        if is_full || !is_name(name) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.full.fetch_add(u64::from(is_full), Ordering::Relaxed);
            return;
        }
        all.insert(name.to_owned(), first);
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(String, Number)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(name, number)| (name.clone(), *number))
            .collect()
    }

    /// Calls that did nothing: a bad name, or one too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_within_a_half() {
        let times = Times::default();
        assert_eq!((times.count(), times.quantile(500)), (0, Duration::ZERO));
        for micros in 1..=1000 {
            times.add(Duration::from_micros(micros), 1);
        }
        for (per_mille, micros) in [(500, 500), (990, 990), (1000, 1000)] {
            let found = times.quantile(per_mille).as_nanos();
            let exact = Duration::from_micros(micros).as_nanos();
            assert!(
                found >= exact && found <= exact * 3 / 2,
                "{per_mille}: {found}"
            );
        }
        assert_eq!(times.count(), 1000);
        times.add(Duration::ZERO, 1);
        times.add(Duration::MAX, 1);
        assert_eq!(times.count(), 1002);
    }

    #[test]
    fn names_are_bounded_on_both_sides() {
        const NAMES: usize = 6;
        let numbers = Numbers::new(NAMES);
        numbers.count("hits", 2);
        numbers.count("hits", 3);
        numbers.gauge("level", 1.5);
        numbers.gauge("hits", 9.0);
        assert_eq!(
            numbers.all(),
            [
                ("hits".to_owned(), Number::Counter(5)),
                ("level".to_owned(), Number::Gauge(1.5))
            ]
        );
        for name in ["", "Hits", "a-b", &"n".repeat(NAME_BYTES + 1)] {
            numbers.count(name, 1);
        }
        assert_eq!(numbers.refused(), 4);
        numbers.count(&"n".repeat(NAME_BYTES), 1);
        for number in 3..NAMES {
            numbers.count(&format!("n{number}"), 1);
        }
        assert_eq!((numbers.all().len(), numbers.refused()), (NAMES, 4));
        assert_eq!(numbers.full(), 0);
        numbers.count("one_more", 1);
        assert_eq!(numbers.full(), 1);
        assert_eq!((numbers.all().len(), numbers.refused()), (NAMES, 5));
        numbers.count("hits", 1);
        assert_eq!(numbers.refused(), 5, "what is there goes on");
    }
}
