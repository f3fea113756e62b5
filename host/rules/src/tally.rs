//! Numbers of the steps of a chain: how often each went how, how long that took, and what its errors say.
//!
//! Owns: [`Tallies`]. Counts are of every message, times of one in 64. Must not: wait for a lock but where a step failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use witmq_broker::spread::Spread;

/// Two buckets for each power of two of nanoseconds, up to a quarter of an hour.
const BUCKETS: usize = 80;
/// Kinds of errors that are counted apart; further ones are counted as `other`.
const ERRORS: usize = 8;
/// Bytes of the name of a kind.
const ERROR_BYTES: usize = 120;

/// How a step ended for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// On to another step.
    On,
    /// It ended the chain.
    Ended,
    Failed,
}

/// Steps whose counts lie together: those of one thread fill two cache lines.
const TOGETHER: usize = 5;
/// Ways in which a step ends.
const WAYS: usize = 3;

type Counts = Spread<[AtomicU64; TOGETHER * WAYS]>;

/// Numbers of the steps of a chain, since its revision runs.
#[derive(Debug)]
#[repr(C)] // what is looked at comes first
pub(crate) struct Tallies {
    /// Of the first steps, in the chain itself: a chain of a few steps is then in one page or two, and not in three or four.
    first: Counts,
    more: Box<[Counts]>,
    /// What is seldom touched, of each step.
    apart: Box<[Apart]>,
}

#[derive(Debug)]
struct Apart {
    times: [AtomicU64; BUCKETS],
    errors: Mutex<Errors>,
}

#[derive(Debug, Default)]
struct Errors {
    kinds: BTreeMap<String, u64>,
    last: Option<String>,
}

impl Default for Apart {
    fn default() -> Self {
        Self {
            times: [const { AtomicU64::new(0) }; BUCKETS],
            errors: Mutex::default(),
        }
    }
}

/// The bucket of a duration: its highest bit and the one below.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(2);
    let high = 63 - nanos.leading_zeros();
    let half = (nanos >> (high - 1)) & 1;
    let bucket = usize::try_from(u64::from(high) * 2 + half).unwrap_or(BUCKETS);
    bucket.min(BUCKETS - 1)
}

/// The upper end of a bucket, nanoseconds.
fn upper(bucket: usize) -> u64 {
    let half = u64::try_from(bucket % 2).unwrap_or(0);
    let base = 1u64 << (bucket / 2).min(62);
    base + (base / 2) * (half + 1) - 1
}

/// What errors of the same cause have in common: numbers and quoted values are left out.
fn kind(error: &str) -> String {
    let mut out = String::new();
    let mut is_quoted = false;
    for c in error.chars() {
        if c == '"' {
            is_quoted = !is_quoted;
            if is_quoted {
                out.push('…');
            }
        } else if c.is_ascii_digit() && !is_quoted {
            if !out.ends_with('#') {
                out.push('#');
            }
        } else if !is_quoted {
            out.push(c);
        }
        if out.len() >= ERROR_BYTES {
            break;
        }
    }
    out
}

/// Where the count of a step is among those that lie together.
fn place(step: usize, came: Came) -> usize {
    step % TOGETHER * WAYS + came as usize
}

impl Tallies {
    /// Those of so many steps.
    pub(crate) fn of(steps: usize) -> Self {
        Self {
            first: Counts::default(),
            more: (1..steps.div_ceil(TOGETHER))
                .map(|_| Counts::default())
                .collect(),
            apart: (0..steps).map(|_| Apart::default()).collect(),
        }
    }

    /// Those that lie together with the ones of a step.
    fn together(&self, step: usize) -> Option<&Counts> {
        match (step / TOGETHER).checked_sub(1) {
            None => Some(&self.first),
            Some(further) => self.more.get(further),
        }
    }

    pub(crate) fn count(&self, step: usize, came: Came) {
        let counts = self.together(step);
        if let Some(count) = counts.and_then(|counts| counts.mine().get(place(step, came))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn took(&self, step: usize, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let apart = self.apart.get(step);
        if let Some(count) = apart.and_then(|apart| apart.times.get(bucket(nanos))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn fail(&self, step: usize, error: &str) {
        let Some(apart) = self.apart.get(step) else {
            return;
        };
        let mut kind = kind(error);
        let mut errors = apart.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if !errors.kinds.contains_key(&kind) && errors.kinds.len() >= ERRORS {
            "other".clone_into(&mut kind);
        }
        *errors.kinds.entry(kind).or_default() += 1;
        errors.last = Some(error.to_owned());
    }

    pub(crate) fn total(&self, step: usize, came: Came) -> u64 {
        let counts = self.together(step).into_iter();
        let counts = counts.flat_map(Counts::all);
        let counts = counts.filter_map(|counts| counts.get(place(step, came)));
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Microseconds that so many of a thousand did not exceed; to within a half.
    pub(crate) fn micros(&self, step: usize, per_mille: u64) -> f64 {
        let times = self.apart.get(step).map(|apart| &apart.times);
        let counts: Vec<u64> = (times.into_iter().flatten())
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let wanted = (counts.iter().sum::<u64>() * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if wanted > 0 && seen >= wanted {
                return upper(bucket) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// Kinds of errors with their counts, and the last error.
    pub(crate) fn errors(&self, step: usize) -> (Vec<(String, u64)>, Option<String>) {
        let Some(apart) = self.apart.get(step) else {
            return (Vec::new(), None);
        };
        let errors = apart.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = errors.kinds.iter();
        (
            kinds.map(|(kind, count)| (kind.clone(), *count)).collect(),
            errors.last.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_within_a_half() {
        let tally = Tallies::of(7);
        assert!(tally.micros(6, 500) < 0.001);
        for _ in 0..98 {
            tally.took(6, Duration::from_micros(10));
        }
        (0..2).for_each(|_| tally.took(6, Duration::from_millis(3)));
        assert!((10.0..=15.0).contains(&tally.micros(6, 500)));
        assert!((3000.0..=4500.0).contains(&tally.micros(6, 990)));
        tally.took(6, Duration::from_secs(100_000));
        assert!(
            tally.micros(6, 1000) > 1e6,
            "the last bucket takes what is longer"
        );
    }

    #[test]
    fn errors_of_one_cause_are_one_kind_and_kinds_are_bounded() {
        let tally = Tallies::of(7);
        tally.fail(6, "3:12: `*` takes two numbers, not \"abc\" and 9");
        tally.fail(6, "3:12: `*` takes two numbers, not \"x 7\" and 12");
        let (kinds, last) = tally.errors(6);
        assert_eq!(
            kinds,
            [("#:#: `*` takes two numbers, not … and #".to_owned(), 2)]
        );
        assert!(last.is_some_and(|last| last.ends_with("and 12")));
        for letter in 'a'..='l' {
            tally.fail(6, &letter.to_string());
        }
        let (kinds, _) = tally.errors(6);
        assert_eq!(kinds.len(), ERRORS + 1);
        assert!(kinds.contains(&("other".to_owned(), 5)), "{kinds:?}");
        assert!(kind(&"x".repeat(1000)).len() <= ERROR_BYTES);
    }

    #[test]
    fn each_step_has_its_own_counts() {
        let tallies = Tallies::of(7);
        for step in 0..7 {
            (0..=step).for_each(|_| tallies.count(step, Came::Ended));
            tallies.count(step, Came::On);
        }
        for step in 0..7 {
            let counts = [Came::On, Came::Ended, Came::Failed];
            let counts = counts.map(|came| tallies.total(step, came));
            assert_eq!(counts, [1, step as u64 + 1, 0]);
        }
        assert_eq!(tallies.total(10, Came::On), 0);
    }
}
