//! When a message came to the first step that may take long.
//!
//! Owns: [`Since`]. Two looks at the system's clock are a fifth of a step that calls a plugin, and what they are compared with is
//! a tenth of a second: where there is a clock that costs a load and is a few milliseconds late, that one is read.

use std::time::{Duration, Instant};

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Exact(Instant),
    /// Milliseconds of this clock.
    Coarse(u64, fn() -> u64),
}

impl Since {
    pub(super) fn now(coarse_ms: Option<fn() -> u64>) -> Self {
        match coarse_ms {
            Some(clock) => Self::Coarse(clock(), clock),
            None => Self::Exact(Instant::now()),
        }
    }

    pub(super) fn elapsed(self) -> Duration {
        match self {
            Self::Exact(at) => at.elapsed(),
            Self::Coarse(at, clock) => Duration::from_millis(clock().saturating_sub(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    static NOW: AtomicU64 = AtomicU64::new(1_000);

    #[test]
    fn the_coarse_clock_is_read_where_there_is_one() {
        let since = Since::now(Some(|| NOW.load(Ordering::Relaxed)));
        assert_eq!(since.elapsed(), Duration::ZERO);
        NOW.store(1_105, Ordering::Relaxed);
        assert_eq!(since.elapsed(), Duration::from_millis(105));
        NOW.store(900, Ordering::Relaxed);
        assert_eq!(since.elapsed(), Duration::ZERO, "never before");
        assert!(matches!(Since::now(None), Since::Exact(_)));
    }
}
