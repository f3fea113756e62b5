//! `dedup`: the first message of a key in a time passes.
//!
//! Owns: [`Dedup`].

use super::table::{Bounds, Kept, Table};

/// When the message passed that others are compared with.
#[derive(Default)]
struct Since(Option<u64>);

impl Kept for Since {
    fn bytes(&self) -> usize {
        0
    }
}

/// Keys that passed lately.
#[derive(Debug)]
pub(crate) struct Dedup {
    table: Table<Since>,
    for_ms: u64,
}

impl Dedup {
    pub(crate) fn new(bounds: Bounds, for_ms: u64) -> Self {
        Self {
            table: Table::new(bounds, Some(for_ms)),
            for_ms,
        }
    }

    /// Whether the message is the first of its key, and how many keys were given up.
    pub(crate) fn is_first(&self, key: &str, now_ms: u64) -> (bool, usize) {
        let look = |since: &mut Since| {
            // A clock that was set back must not hold messages back for as long.
            let is_first = (since.0).is_none_or(|since| since.abs_diff(now_ms) >= self.for_ms);
            if is_first {
                since.0 = Some(now_ms);
            }
            is_first
        };
        self.table.update(key, now_ms, look).unwrap_or((true, 0))
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        self.table.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn dedup(for_ms: u64) -> Dedup {
        let bounds = Bounds {
            entries: 100,
            bytes: usize::MAX,
            ..Bounds::default()
        };
        Dedup::new(bounds, for_ms)
    }

    #[test]
    fn the_time_counts_from_the_one_that_passed() {
        let dedup = dedup(10);
        let passed = [0, 9, 10, 11, 19, 20, 5, 10_000].map(|now| dedup.is_first("a", now).0);
        assert_eq!(
            passed,
            [true, false, true, false, false, true, true, true],
            "15 back counts as a new time"
        );
        assert!(dedup.is_first("b", 10_000).0, "another key");
    }

    proptest! {
        #[test]
        fn as_a_list_of_what_passed(steps in prop::collection::vec((0u8..4, 0u64..30), 0..100)) {
            let dedup = dedup(40);
            let (mut now, mut passed) = (0, HashMap::<u8, Vec<u64>>::new());
            for (key, pause) in steps {
                now += pause;
                let list = passed.entry(key).or_default();
                let expected = !list.iter().any(|then| now - then < 40);
                if expected {
                    list.push(now);
                }
                prop_assert_eq!(dedup.is_first(&key.to_string(), now), (expected, 0));
            }
        }
    }
}
