//! `changed`: a message passes if its value differs from the last one that passed.
//!
//! Owns: [`Changes`].

use super::table::{Bounds, Kept, Table};

/// What a value is compared by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Number(f64),
    /// Anything else, as JSON; absent values are a text of their own.
    Other(Box<str>),
}

#[derive(Default)]
struct Last(Option<(Change, u64)>);

impl Kept for Last {
    fn bytes(&self) -> usize {
        match &self.0 {
            Some((Change::Other(text), _)) => text.len(),
            _ => 0,
        }
    }
}

/// The last values.
#[derive(Debug)]
pub(crate) struct Changes {
    table: Table<Last>,
    /// Numbers that differ by less are the same; 0: any difference counts.
    by: f64,
    /// After so long a message passes whatever it says.
    at_least_ms: Option<u64>,
    /// What the first one of a key is compared with.
    initial: Option<Change>,
}

impl Changes {
    pub(crate) fn new(
        bounds: Bounds,
        (by, at_least_ms): (f64, Option<u64>),
        initial: Option<Change>,
    ) -> Self {
        Self {
            table: Table::new(bounds, None),
            by,
            at_least_ms,
            initial,
        }
    }

    fn is_same(&self, one: &Change, other: &Change) -> bool {
        match (one, other) {
            (Change::Number(one), Change::Number(other)) => {
                one == other || (one - other).abs() < self.by
            }
            (one, other) => one == other,
        }
    }

    /// Whether the message passes, and how many keys were given up.
    pub(crate) fn is_changed(&self, key: &str, value: Change, now_ms: u64) -> (bool, usize) {
        let look = |last: &mut Last| {
            let silent = |then: u64| {
                (self.at_least_ms).is_some_and(|at_least| then.abs_diff(now_ms) >= at_least)
            };
            let is_changed = match (&last.0, &self.initial) {
                (Some((known, then)), _) => !self.is_same(known, &value) || silent(*then),
                (None, Some(initial)) => !self.is_same(initial, &value),
                (None, None) => true,
            };
            if is_changed || last.0.is_none() && self.initial.is_some() {
                // Without a change it is the initial value that goes on being compared with.
                let kept = if is_changed {
                    None
                } else {
                    self.initial.clone()
                };
                last.0 = Some((kept.unwrap_or(value), now_ms));
            }
            is_changed
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

    fn bounds() -> Bounds {
        Bounds {
            entries: 100,
            bytes: usize::MAX,
            ..Bounds::default()
        }
    }

    fn passed(changes: &Changes, values: &[(f64, u64)]) -> Vec<bool> {
        let one =
            |(value, now): &(f64, u64)| changes.is_changed("a", Change::Number(*value), *now).0;
        values.iter().map(one).collect()
    }

    #[test]
    fn numbers_pass_beyond_the_deadband_and_after_a_silence() {
        let changes = Changes::new(bounds(), (0.5, Some(100)), None);
        assert_eq!(
            passed(
                &changes,
                &[
                    (20.0, 0),
                    (20.4, 1),
                    (20.5, 2),
                    (20.1, 3),
                    (20.5, 101),
                    (20.5, 102)
                ]
            ),
            [true, false, true, false, false, true]
        );
        let any = Changes::new(bounds(), (0.0, None), None);
        assert_eq!(
            passed(&any, &[(1.0, 0), (1.0, 1), (1.1, 2), (1.0, 9_999_999)]),
            [true, false, true, true]
        );
    }

    #[test]
    fn the_first_one_may_be_compared_with_a_value() {
        let text = |text: &str| Change::Other(text.into());
        let changes = Changes::new(bounds(), (0.0, None), Some(text("false")));
        let passed = ["false", "true", "true", "false"]
            .map(|value| changes.is_changed("a", text(value), 0).0);
        assert_eq!(passed, [false, true, false, true]);
        let other = changes.is_changed("a", Change::Number(0.0), 0).0;
        assert!(other, "another kind is another value");
    }

    proptest! {
        /// A slow drift is reported too: what is compared with is what passed, not what came last.
        #[test]
        fn whoever_listens_is_never_further_off_than_the_deadband(
            values in prop::collection::vec(-50i32..50, 1..60),
        ) {
            let changes = Changes::new(bounds(), (7.0, None), None);
            let mut told: Option<i32> = None;
            for value in values {
                let expected = told.is_none_or(|told| (told - value).abs() >= 7);
                let number = Change::Number(value.into());
                prop_assert_eq!(changes.is_changed("a", number, 0).0, expected);
                if expected {
                    told = Some(value);
                }
                prop_assert!(told.is_some_and(|told| (told - value).abs() < 7));
            }
        }
    }
}
