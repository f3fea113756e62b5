//! When the clock of the components goes, and when it rests.
//!
//! Owns: [`Pulse`], one for the process. While components are called, its threads look every few milliseconds: at the deadlines of calls
//! and for instances to drop. When nobody was called for a while they sleep, a second at a time, so that a broker with nothing
//! to do does nothing. Must not: cost a call more than a few loads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// It goes on for so long behind what it was wanted for.
const LINGER_MS: u64 = 1_000;
/// Less than that is left: it is wanted anew. A thread that is held up for so long between here and its call may find the clock
/// resting; its deadline is late then.
const MARGIN_MS: u64 = LINGER_MS / 2;
/// How long one sleep of a rest is.
const REST: Duration = Duration::from_secs(1);

static PULSE: Pulse = Pulse::new(REST);

/// Milliseconds since the first engine of this process began, a few milliseconds late: loads, where the system's clock is two dozen
/// nanoseconds. It stands still where no runtime is.
#[must_use]
pub fn coarse_ms() -> u64 {
    PULSE.keep(0);
    PULSE.ticked_ms.load(Ordering::Relaxed)
}

/// A call begins that may take so long.
pub(crate) fn keep(span: Duration) {
    PULSE.keep(millis(span));
}

/// Waits for `step`, or while nobody needs the clock.
pub(crate) fn pause(step: Duration) {
    PULSE.pause(step);
}

/// The coarse time is now.
pub(crate) fn tick() {
    PULSE.tick();
}

fn millis(span: Duration) -> u64 {
    (span.as_secs().saturating_mul(1_000)).saturating_add(u64::from(span.subsec_millis()))
}

struct Pulse {
    began: OnceLock<Instant>,
    /// Since then, as of the last tick.
    ticked_ms: AtomicU64,
    /// Wanted until then.
    until_ms: AtomicU64,
    gate: Mutex<()>,
    ring: Condvar,
    /// [`REST`], but in tests.
    rest: Duration,
}

impl Pulse {
    const fn new(rest: Duration) -> Self {
        Self {
            began: OnceLock::new(),
            ticked_ms: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            gate: Mutex::new(()),
            ring: Condvar::new(),
            rest,
        }
    }

    fn tick(&self) {
        let passed = self.began.get_or_init(Instant::now).elapsed();
        self.ticked_ms.fetch_max(millis(passed), Ordering::Relaxed);
    }

    fn keep(&self, span_ms: u64) {
        let wanted = (self.ticked_ms.load(Ordering::Relaxed)).saturating_add(span_ms);
        if wanted.saturating_add(MARGIN_MS) > self.until_ms.load(Ordering::Relaxed) {
            self.prolong(span_ms);
        }
    }

    #[cold]
    fn prolong(&self, span_ms: u64) {
        self.tick(); // it may have rested
        let now = self.ticked_ms.load(Ordering::Relaxed);
        let until = now.saturating_add(span_ms).saturating_add(LINGER_MS);
        self.until_ms.fetch_max(until, Ordering::Relaxed);
        // Whoever is about to rest has seen that, or hears the ring.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.ring.notify_all();
    }

    fn rests(&self) -> bool {
        self.ticked_ms.load(Ordering::Relaxed) > self.until_ms.load(Ordering::Relaxed)
    }

    fn pause(&self, step: Duration) {
        if !self.rests() {
            return std::thread::sleep(step);
        }
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.rests() {
            drop(self.ring.wait_timeout(gate, self.rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    /// A pulse that ticked and was wanted until then, and rests for ever.
    fn pulse(ticked_ms: u64, until_ms: u64) -> Pulse {
        let pulse = Pulse::new(Duration::from_secs(3_600));
        let began = Instant::now().checked_sub(Duration::from_millis(ticked_ms));
        pulse.began.get_or_init(|| began.unwrap());
        pulse.tick();
        pulse.until_ms.store(until_ms, Ordering::Relaxed);
        pulse
    }

    #[test]
    fn it_rests_behind_what_it_was_wanted_for_and_no_earlier() {
        assert!(!Pulse::new(REST).rests());
        assert!(!pulse(100, 10_000).rests());
        let over = pulse(10_000, 9_999);
        assert!(over.rests());
        over.keep(0);
        assert!(!over.rests());
    }

    #[test]
    fn what_is_asked_of_it_is_kept_with_a_margin() {
        let pulse = pulse(60_000, 0);
        for span_ms in [0, 5, 5_000] {
            pulse.keep(span_ms);
            let left = pulse.until_ms.load(Ordering::Relaxed) - 60_000;
            assert!(left >= span_ms + MARGIN_MS, "{left}");
        }
        let before = pulse.until_ms.load(Ordering::Relaxed);
        pulse.keep(4_000);
        let after = pulse.until_ms.load(Ordering::Relaxed);
        assert_eq!(after, before, "loads only");
    }

    #[test]
    fn the_coarse_time_is_right_after_a_rest() {
        let pulse = pulse(60_000, 0);
        pulse.ticked_ms.store(7, Ordering::Relaxed);
        pulse.keep(0);
        assert!(pulse.ticked_ms.load(Ordering::Relaxed) >= 60_000);
    }

    #[test]
    fn a_rest_ends_when_it_is_wanted() {
        let pulse = Arc::new(pulse(60_000, 0));
        let (sender, told) = channel();
        let resting = pulse.clone();
        std::thread::spawn(move || {
            while resting.rests() {
                sender.send("rests").unwrap();
                resting.pause(Duration::ZERO);
            }
            sender.send("goes").unwrap();
        });
        assert_eq!(told.recv(), Ok("rests")); // or is about to
        pulse.keep(0);
        let patience = Duration::from_secs(10);
        while told.recv_timeout(patience).expect("nobody rang") != "goes" {}
    }
}
