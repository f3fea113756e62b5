//! When an instance has served long enough.
//!
//! Owns: [`Wear`]. Must not: make or end an instance; it only tells.

use crate::config::RuntimeConfig;
use crate::limited::Bound;
use std::time::Instant;

/// What an instance has behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wear {
    pub(crate) calls: u64,
    pub(crate) memory_bytes: usize,
    pub(crate) made: Instant,
}

impl Wear {
    /// The bound by which it should make room for another; `retire_bytes` is where its memory is too much.
    pub(crate) fn bound(&self, limits: &RuntimeConfig, retire_bytes: usize) -> Option<Bound> {
        if limits.retire_calls > 0 && self.calls >= limits.retire_calls {
            return Some(Bound::RetireCalls);
        }
        // The clock is asked only of an instance that is full: this is on the way of every call.
        let is_full = self.memory_bytes >= retire_bytes;
        (is_full && self.has_paused(limits, Instant::now())).then_some(Bound::RetireMemory)
    }

    /// Whether it is old enough to retire for its memory: one that starts with too much would be made anew all the time.
    fn has_paused(&self, limits: &RuntimeConfig, now: Instant) -> bool {
        now.saturating_duration_since(self.made) >= limits.retire_pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_retires_for_its_memory_after_the_pause_and_not_before() {
        let limits = RuntimeConfig {
            retire_pause: Duration::from_secs(10),
            ..RuntimeConfig::default()
        };
        let wear = Wear {
            calls: 1,
            memory_bytes: 100,
            made: Instant::now(),
        };
        let (pause, moment) = (limits.retire_pause, Duration::from_nanos(1));
        assert!(!wear.has_paused(&limits, wear.made));
        assert!(!wear.has_paused(&limits, wear.made + pause - moment));
        assert!(wear.has_paused(&limits, wear.made + pause));
    }

    #[test]
    fn each_bound_has_two_sides() {
        let limits = |retire_calls, retire_pause| RuntimeConfig {
            retire_calls,
            retire_pause,
            ..RuntimeConfig::default()
        };
        let wear = |calls, memory_bytes| Wear {
            calls,
            memory_bytes,
            made: Instant::now(),
        };
        let at_once = limits(0, Duration::ZERO);
        assert_eq!(wear(u64::MAX, 99).bound(&at_once, 100), None);
        assert_eq!(wear(1, 100).bound(&at_once, 100), Some(Bound::RetireMemory));
        let never = limits(10, Duration::MAX);
        assert_eq!(wear(9, 100).bound(&never, 100), None);
        assert_eq!(wear(10, 0).bound(&never, 100), Some(Bound::RetireCalls));
    }
}
