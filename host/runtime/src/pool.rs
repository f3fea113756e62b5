//! The memory of all instances of all plugins together.
//!
//! Owns: [`Pool`], one number that every store takes from and gives back to.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What all instances may have together.
#[derive(Debug)]
pub(crate) struct Pool {
    used: AtomicUsize,
    maximum: usize,
}

impl Pool {
    pub(crate) fn new(maximum: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            maximum,
        }
    }

    /// So many bytes more; false, and nothing taken, where that would be too much.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|all| *all <= self.maximum);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, more).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that instances have now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn maximum(&self) -> usize {
        self.maximum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_what_it_has_and_takes_it_back() {
        let pool = Pool::new(10);
        assert!(pool.take(4) && pool.take(6) && !pool.take(1));
        assert_eq!(pool.used(), 10);
        pool.give_back(4);
        assert!(!pool.take(5) && pool.take(4) && !pool.take(usize::MAX));
        assert_eq!(pool.used(), 10);
    }
}
