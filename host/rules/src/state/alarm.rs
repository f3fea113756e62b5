//! When the first window ends by itself, for whoever looks after that.
//!
//! Owns: [`Alarm`]. Must not: know a clock or a thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// No window.
const NEVER: u64 = u64::MAX;

/// One for all windows of a node.
pub(crate) struct Alarm {
    next_ms: AtomicU64,
    /// Called when it is set to an earlier time.
    earlier: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            next_ms: AtomicU64::new(NEVER),
            earlier: OnceLock::new(),
        }
    }
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Alarm").field(&self.next_ms).finish()
    }
}

impl Alarm {
    /// Something is due then. Costs a look unless it is the first.
    pub(crate) fn at(&self, ms: u64) {
        if self.next_ms.load(Ordering::Acquire) <= ms {
            return;
        }
        if self.next_ms.fetch_min(ms, Ordering::AcqRel) > ms
            && let Some(tell) = self.earlier.get()
        {
            tell();
        }
    }

    /// `tell` is called when something is due earlier than was known.
    pub(crate) fn on_earlier(&self, tell: Box<dyn Fn() + Send + Sync>) {
        let is_first = self.earlier.set(tell).is_ok();
        debug_assert!(is_first, "one thread looks after windows");
    }

    /// Whether it rings; whoever is told so looks at what is due, and sets it again.
    pub(crate) fn rings(&self, now_ms: u64) -> bool {
        let is_due = |next: u64| (next <= now_ms).then_some(NEVER);
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.next_ms.fetch_update(order.0, order.1, is_due).is_ok()
    }

    /// When it rings.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        Some(self.next_ms.load(Ordering::Acquire)).filter(|next| *next != NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn it_rings_once_at_the_earliest_time_and_tells_of_earlier_ones() {
        let (alarm, told) = (Alarm::default(), Arc::new(AtomicUsize::new(0)));
        let counts = told.clone();
        alarm.on_earlier(Box::new(move || {
            counts.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!((alarm.next_ms(), alarm.rings(u64::MAX - 1)), (None, false));
        for (ms, expected) in [(20, 1), (30, 1), (20, 1), (10, 2)] {
            alarm.at(ms);
            assert_eq!(told.load(Ordering::Relaxed), expected, "{ms}");
        }
        assert_eq!(alarm.next_ms(), Some(10));
        assert!(!alarm.rings(9) && alarm.rings(10) && !alarm.rings(10));
    }
}
