//! Which table each shard has taken.
//!
//! Owns: [`Noted`]. A shard takes the present table with its next message; whoever waits for that wakes the shards first.

use super::Inner;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a shard may take; one that is busy has answered within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

type Wake = Box<dyn Fn() + Send + Sync>;

/// Version of the table by shard.
#[derive(Default)]
pub(super) struct Noted {
    shards: Mutex<Vec<Weak<AtomicU64>>>,
    changed: Condvar,
    waiting: AtomicUsize,
    wake: OnceLock<Wake>,
}

impl Noted {
    /// A place for one more shard.
    pub(super) fn shard(&self) -> Arc<AtomicU64> {
        let place = Arc::new(AtomicU64::new(0));
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.retain(|shard| shard.strong_count() > 0);
        shards.push(Arc::downgrade(&place));
        place
    }

    pub(super) fn wake_with(&self, wake: Wake) {
        let is_first = self.wake.set(wake).is_ok();
        debug_assert!(is_first, "it is said once how shards are woken");
    }

    /// A shard has taken a table.
    pub(super) fn note(&self, place: &AtomicU64, version: u64) {
        place.store(version, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Who waits holds the lock from its look at the places to its sleep: it cannot miss this.
            drop(self.shards.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }

    /// Waits until every shard has taken `version` or a later one; how many have not in time.
    fn wait(&self, version: u64, patience: Duration) -> usize {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if let Some(wake) = self.wake.get() {
            wake();
        }
        let end = Instant::now() + patience;
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = loop {
            let places = shards.iter().filter_map(Weak::upgrade);
            let behind = places
                .filter(|place| place.load(Ordering::SeqCst) < version)
                .count();
            let left = end.saturating_duration_since(Instant::now());
            if behind == 0 || left.is_zero() {
                break behind;
            }
            let woken = self.changed.wait_timeout(shards, left);
            shards = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        behind
    }
}

impl Inner {
    /// Waits until every shard has taken the table as it is now; how many have not in time.
    pub(super) fn wait_for_shards(&self) -> usize {
        let version = self.version.load(Ordering::Acquire);
        self.noted.wait(version, PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_learns_who_is_behind() {
        let noted = Arc::new(Noted::default());
        let (one, other) = (noted.shard(), noted.shard());
        noted.note(&one, 2);
        assert_eq!(noted.wait(2, Duration::ZERO), 1, "the other took none");
        let (woken, late) = (Arc::downgrade(&noted), Arc::downgrade(&other));
        noted.wake_with(Box::new(move || {
            let parts = woken.upgrade().zip(late.upgrade());
            let note = |(noted, place): (Arc<Noted>, Arc<AtomicU64>)| noted.note(&place, 3);
            drop(std::thread::spawn(move || parts.map(note)));
        }));
        assert_eq!(noted.wait(2, PATIENCE), 0, "it was woken");
        drop((one, other));
        assert_eq!(noted.wait(9, PATIENCE), 0, "shards that ended owe nothing");
    }
}
