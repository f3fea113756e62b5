//! `rate`: a bucket of tokens for each key.
//!
//! Owns: [`Rate`]. A bucket holds `limit` tokens, fills evenly within `per`, and starts full. Whole numbers only: each
//! millisecond adds `limit` parts, a token is `per_ms` parts.

use super::table::{Bounds, Kept, Table};

/// A bucket; `None` is full.
#[derive(Default)]
struct Bucket(Option<(u64, u64)>);

impl Kept for Bucket {
    fn bytes(&self) -> usize {
        0
    }
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Rate {
    table: Table<Bucket>,
    limit: u64,
    per_ms: u64,
}

impl Rate {
    /// `limit` messages in `per_ms` milliseconds.
    pub(crate) fn new(bounds: Bounds, limit: u32, per_ms: u64) -> Self {
        Self {
            table: Table::new(bounds, Some(per_ms)),
            limit: limit.into(),
            per_ms,
        }
    }

    /// Whether there is a token for the message, and how many keys were given up.
    pub(crate) fn is_within(&self, key: &str, now_ms: u64) -> (bool, usize) {
        let full = self.limit.saturating_mul(self.per_ms);
        let take = |bucket: &mut Bucket| {
            let (level, at) = bucket.0.unwrap_or((full, now_ms));
            // A clock that was set back far begins anew; a little is the distance between shards.
            let at = if at.saturating_sub(now_ms) > self.per_ms {
                now_ms
            } else {
                at
            };
            let more = now_ms.saturating_sub(at).saturating_mul(self.limit);
            let level = level.saturating_add(more).min(full);
            let left = level.checked_sub(self.per_ms);
            bucket.0 = Some((left.unwrap_or(level), at.max(now_ms)));
            left.is_some()
        };
        self.table.update(key, now_ms, take).unwrap_or((true, 0))
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        self.table.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(limit: u32, per_ms: u64) -> Rate {
        let bounds = Bounds {
            entries: 100,
            bytes: usize::MAX,
            ..Bounds::default()
        };
        Rate::new(bounds, limit, per_ms)
    }

    fn within(rate: &Rate, times: &[u64]) -> Vec<bool> {
        times
            .iter()
            .map(|now| rate.is_within("a", *now).0)
            .collect()
    }

    #[test]
    fn a_bucket_starts_full_and_fills_evenly() {
        let rate = rate(2, 1000);
        assert_eq!(within(&rate, &[0, 0, 0]), [true, true, false]);
        assert_eq!(within(&rate, &[499, 500, 501]), [false, true, false]);
        assert_eq!(within(&rate, &[9000, 9000, 9000]), [true, true, false]);
        assert!(rate.is_within("b", 9000).0, "another key");
    }

    #[test]
    fn a_clock_set_back_holds_nobody_for_as_long() {
        let rate = rate(1, 1000);
        assert_eq!(within(&rate, &[1_000_000, 999_500]), [true, false]);
        assert_eq!(within(&rate, &[1000, 1999, 2000]), [false, false, true]);
    }

    proptest! {
        /// Never more than the bucket and what flowed in, and nothing is refused that there was room for.
        #[test]
        fn as_tokens_counted_one_by_one(
            limit in 1u32..5,
            per_ms in 1u64..50,
            pauses in prop::collection::vec(0u64..40, 0..80),
        ) {
            let rate = rate(limit, per_ms);
            // In parts of a token, millisecond by millisecond.
            let (full, mut parts, mut now) = (u64::from(limit) * per_ms, u64::from(limit) * per_ms, 0);
            for pause in pauses {
                for _ in 0..pause {
                    parts = (parts + u64::from(limit)).min(full);
                }
                now += pause;
                let expected = parts >= per_ms;
                if expected {
                    parts -= per_ms;
                }
                prop_assert_eq!(rate.is_within("a", now), (expected, 0));
            }
        }
    }
}
