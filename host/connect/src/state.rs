//! How a sink fares: counters, and whether its service takes what it is given.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shared by shards, the sink's own thread and who looks at it.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) delivered: AtomicU64,
    /// Messages that were sent once more.
    pub(crate) retried: AtomicU64,
    /// Batches that were not taken.
    pub(crate) failed: AtomicU64,
    /// The queue was full, or the disk did not take them.
    pub(crate) dropped: AtomicU64,
    pub(crate) dead: AtomicU64,
    /// Messages that came from the other side.
    pub(crate) received: AtomicU64,
    /// Those of them that had to wait because the broker took nothing.
    pub(crate) held: AtomicU64,
    /// Times that as many were on their way in as may be, so that nothing more was read.
    pub(crate) crowded: AtomicU64,
    /// Messages that a bridge did not carry: they run in a circle.
    pub(crate) looped: AtomicU64,
    /// Too old before their turn came.
    pub(crate) expired: AtomicU64,
    pub(crate) is_paused: AtomicBool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    is_failing: bool,
    inward: Inward,
    last_error: Option<String>,
}

/// How it stands with what comes from the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inward {
    /// It is listened to, or nothing is to come.
    #[default]
    Well,
    /// The first attempt is under way.
    Begins,
    Failing,
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(0), Ordering::Relaxed);
}

impl State {
    /// Something went wrong; true: it is the first time since something went right.
    pub(crate) fn fail(&self, error: &str) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.last_error = Some(error.to_owned());
        !std::mem::replace(&mut health.is_failing, true)
    }

    /// Remembered, yet the sink is well.
    pub(crate) fn note(&self, error: &str) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.last_error = Some(error.to_owned());
    }

    /// Something went right; true: it is the first time since something went wrong.
    pub(crate) fn recover(&self) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut health.is_failing, false)
    }

    /// The other side is going to be listened to.
    pub(crate) fn begin_inward(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.inward = Inward::Begins;
    }

    /// Nothing comes from the other side; true: it was not known before.
    pub(crate) fn fail_inward(&self, error: &str) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.last_error = Some(error.to_owned());
        std::mem::replace(&mut health.inward, Inward::Failing) != Inward::Failing
    }

    /// The other side is listened to; true: that had failed before.
    pub(crate) fn recover_inward(&self) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut health.inward, Inward::Well) == Inward::Failing
    }

    /// `healthy`, `failing` or `paused`.
    pub(crate) fn word(&self) -> &'static str {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match (
            self.is_paused.load(Ordering::Relaxed),
            health.is_failing || health.inward != Inward::Well,
        ) {
            (true, _) => "paused",
            (false, true) => "failing",
            (false, false) => "healthy",
        }
    }

    /// The last thing that went wrong.
    pub(crate) fn last_error(&self) -> Option<String> {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.last_error.clone()
    }
}
