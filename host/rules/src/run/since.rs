//! When a message came to the first step that may take long.
//!
//! Owns: [`Since`]. Two looks at the system's clock are a fifth of a step that calls a plugin, and what they are compared with is
//! a tenth of a second: where the plugin host has a clock that costs a load and is a few milliseconds late, that one is read.

use std::time::{Duration, Instant};
use witmq_broker::ports::Transform;

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Exact(Instant),
    /// Of [`Transform::coarse_ms`].
    Coarse(u64),
}

impl Since {
    pub(super) fn now(steps: &dyn Transform, is_exact: bool) -> Self {
        let coarse = (!is_exact).then(|| steps.coarse_ms()).flatten();
        coarse.map_or_else(|| Self::Exact(Instant::now()), Self::Coarse)
    }

    pub(super) fn elapsed(self, steps: &dyn Transform) -> Duration {
        match self {
            Self::Exact(at) => at.elapsed(),
            Self::Coarse(at) => {
                let now = steps.coarse_ms().unwrap_or(at);
                Duration::from_millis(now.saturating_sub(at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_broker::ports::{Publisher, StepFailure, StepOutcome};
    use witmq_proto::Message;

    struct At(Option<u64>);

    impl Transform for At {
        fn transform(
            &mut self,
            _: &str,
            _: Publisher<'_>,
            _: &Message,
        ) -> Result<StepOutcome, StepFailure> {
            Ok(StepOutcome::Pass)
        }

        fn coarse_ms(&self) -> Option<u64> {
            self.0
        }
    }

    #[test]
    fn the_coarse_clock_is_read_where_there_is_one_and_it_is_good_enough() {
        let coarse = Since::now(&At(Some(1_000)), false);
        let elapsed = |ms| coarse.elapsed(&At(ms));
        assert_eq!(elapsed(Some(1_105)), Duration::from_millis(105));
        assert_eq!(elapsed(Some(900)), Duration::ZERO, "never before");
        assert_eq!(elapsed(None), Duration::ZERO, "gone");
        assert!(matches!(Since::now(&At(None), false), Since::Exact(_)));
        assert!(matches!(Since::now(&At(Some(1)), true), Since::Exact(_)));
    }
}
