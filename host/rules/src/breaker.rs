//! When a chain is given a rest, and when one message is let through to see whether it is well again.
//!
//! Owns: [`Breaker`] of one revision of a chain. Must not: act, or know a clock: the time is when messages were received. What
//! becomes of messages while the chain rests is its `on_error`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// When a chain rests, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Messages it fails for within the window (default 50); 0: it never rests for them.
    pub failures: u64,
    /// They also have to be so many of a thousand (default 900).
    pub per_mille: u64,
    /// Messages within the window that cost more than they may, whatever the rate (default 10); 0: it never rests for them.
    pub overruns: usize,
    /// Milliseconds of the window (default 10,000).
    pub window_ms: u64,
    /// Time that one message may take in a chain, without what it waits for (default 100 ms).
    pub message: Duration,
    /// Milliseconds of the first rest; each one after it is twice as long (default 1,000).
    pub rest_ms: u64,
    /// Milliseconds of the longest rest (default 60,000).
    pub longest_ms: u64,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            failures: 50,
            per_mille: 900,
            overruns: 10,
            window_ms: 10_000,
            message: Duration::from_millis(100),
            rest_ms: 1_000,
            longest_ms: 60_000,
        }
    }
}

/// How a message came through a chain, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fared {
    #[default]
    Well,
    /// A step failed that does not say `continue`.
    Failed,
    /// It cost more than it may.
    Overran,
}

/// Whether a chain takes a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entry {
    #[default]
    Open,
    /// The chain has rested long enough: this one shows whether it is well again.
    Probe,
    /// It rests.
    Rests,
}

/// What a breaker did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The chain rests from now on.
    Rests {
        /// For so many milliseconds.
        rest_ms: u64,
        /// Why, in words.
        why: String,
    },
    /// It runs again.
    Runs,
}

/// Failures in the window, and how long the next rest is.
#[derive(Debug)]
struct Past {
    /// When the messages that failed were received, and how many had come in until then.
    failures: VecDeque<(u64, u64)>,
    overruns: VecDeque<u64>,
    rest_ms: u64,
    why: Option<String>,
}

/// The breaker. While it is open, two values are all that is looked at of it.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Until then it rests; 0: it does not.
    until_ms: AtomicU64,
    /// Of the limits, the time that one message may take.
    message: Duration,
    apart: Box<Apart>,
}

/// What is seldom looked at.
#[derive(Debug)]
struct Apart {
    limits: BreakerLimits,
    past: Mutex<Past>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(BreakerLimits::default())
    }
}

impl Breaker {
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        let past = Past {
            failures: VecDeque::new(),
            overruns: VecDeque::new(),
            rest_ms: limits.rest_ms,
            why: None,
        };
        Self {
            until_ms: AtomicU64::new(0),
            message: limits.message,
            apart: Box::new(Apart {
                limits,
                past: Mutex::new(past),
            }),
        }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        let past = &self.apart.past;
        past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message that was received at `now_ms` comes to the chain. Costs a load while the chain does not rest.
    pub(crate) fn enter(&self, now_ms: u64) -> Entry {
        let until = self.until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return Entry::Open;
        }
        // A clock that was set back must not make a rest longer.
        if (1..=self.apart.limits.longest_ms).contains(&until.saturating_sub(now_ms)) {
            return Entry::Rests;
        }
        // A probe that is never heard of again, because its client went, is followed by another after a rest.
        let next = now_ms.saturating_add(self.past().rest_ms).max(1);
        let is_probe = (self.until_ms)
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_probe { Entry::Probe } else { Entry::Rests }
    }

    /// Whether it lets everything in. Costs a load.
    pub(crate) fn is_open(&self) -> bool {
        self.until_ms.load(Ordering::Relaxed) == 0
    }

    /// Whether so much time for one message is too much.
    pub(crate) fn is_too_long(&self, time: Duration) -> bool {
        time > self.message
    }

    /// A message came through; `came_in` is how many came to the chain so far.
    pub(crate) fn left(
        &self,
        entry: Entry,
        fared: Fared,
        now_ms: u64,
        came_in: impl FnOnce() -> u64,
    ) -> Option<Turn> {
        match (entry, fared) {
            (Entry::Open, Fared::Well) | (Entry::Rests, _) => None,
            (Entry::Probe, Fared::Well) => self.forgive().then_some(Turn::Runs),
            (Entry::Probe, _) => {
                let mut past = self.past();
                past.rest_ms = past
                    .rest_ms
                    .saturating_mul(2)
                    .min(self.apart.limits.longest_ms);
                let why = past.why.clone().unwrap_or_default();
                Some(self.rest(&mut past, now_ms, why))
            }
            (Entry::Open, _) => self.failed(fared, now_ms, came_in()),
        }
    }

    fn failed(&self, fared: Fared, now_ms: u64, came_in: u64) -> Option<Turn> {
        let limits = &self.apart.limits;
        let mut past = self.past();
        if self.until_ms.load(Ordering::Relaxed) != 0 {
            return None; // it was on its way when the rest began
        }
        let begins = now_ms.saturating_sub(limits.window_ms);
        let is_over = |at: u64| at < begins || at > now_ms.saturating_add(limits.window_ms);
        while past.overruns.front().is_some_and(|at| is_over(*at)) {
            past.overruns.pop_front();
        }
        while past.failures.front().is_some_and(|(at, _)| is_over(*at)) {
            past.failures.pop_front();
        }
        if fared == Fared::Overran && limits.overruns > 0 {
            past.overruns.push_back(now_ms);
        }
        past.failures.push_back((now_ms, came_in));
        let seconds = limits.window_ms.div_ceil(1000);
        if limits.overruns > 0 && past.overruns.len() >= limits.overruns {
            let count = past.overruns.len();
            let why = format!("{count} messages cost more than they may within {seconds} s");
            return Some(self.rest(&mut past, now_ms, why));
        }
        let most = usize::try_from(limits.failures.max(1)).unwrap_or(usize::MAX);
        if past.failures.len() < most {
            return None;
        }
        // As many as are looked at, and no more are kept.
        while past.failures.len() > most {
            past.failures.pop_front();
        }
        let first = past
            .failures
            .front()
            .map_or(came_in, |(_, came_in)| *came_in);
        let messages = came_in
            .saturating_sub(first)
            .saturating_add(1)
            .max(limits.failures);
        if limits.failures == 0
            || limits.failures.saturating_mul(1000) < messages.saturating_mul(limits.per_mille)
        {
            return None;
        }
        let failures = limits.failures;
        let why = format!("{failures} of {messages} messages failed within {seconds} s");
        Some(self.rest(&mut past, now_ms, why))
    }

    fn rest(&self, past: &mut Past, now_ms: u64, why: String) -> Turn {
        past.failures.clear();
        past.overruns.clear();
        past.why = Some(why.clone());
        let rest_ms = past.rest_ms.max(1);
        let until = now_ms.saturating_add(rest_ms);
        self.until_ms.store(until, Ordering::Relaxed);
        Turn::Rests { rest_ms, why }
    }

    /// The past is forgotten; whether it rested.
    pub(crate) fn forgive(&self) -> bool {
        let mut past = self.past();
        past.failures.clear();
        past.overruns.clear();
        past.rest_ms = self.apart.limits.rest_ms;
        past.why = None;
        self.until_ms.swap(0, Ordering::Relaxed) != 0
    }

    /// Until when it rests and why, if it does.
    pub(crate) fn rests(&self) -> Option<(u64, String)> {
        let past = self.past();
        let until = self.until_ms.load(Ordering::Relaxed);
        (until != 0).then(|| (until, past.why.clone().unwrap_or_default()))
    }
}

/// Who is told what a breaker did: the chain's name, its revision, and what.
type Tell = Box<dyn Fn(&str, u64, &Turn) + Send + Sync>;

/// One for all chains of a node.
#[derive(Default)]
pub(crate) struct Teller(OnceLock<Tell>);

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Teller").finish()
    }
}

impl Teller {
    pub(crate) fn tells(&self, tell: Tell) {
        let is_first = self.0.set(tell).is_ok();
        debug_assert!(is_first, "one part of the broker is told");
    }

    pub(crate) fn tell(&self, name: &str, revision: u64, turn: &Turn) {
        if let Some(tell) = self.0.get() {
            tell(name, revision, turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 4,
        per_mille: 500,
        overruns: 2,
        window_ms: 1000,
        message: Duration::from_millis(5),
        rest_ms: 100,
        longest_ms: 300,
    };

    /// Messages at these times that fare so; when the chain rests and until when.
    fn run(breaker: &Breaker, messages: &[(u64, Fared)]) -> Vec<u64> {
        let mut rests = Vec::new();
        for (number, (now, fared)) in (1..).zip(messages) {
            let entry = breaker.enter(*now);
            if let Some(Turn::Rests { rest_ms, .. }) = breaker.left(entry, *fared, *now, || number)
            {
                rests.push(now + rest_ms);
            }
        }
        rests
    }

    #[test]
    fn it_rests_for_a_number_of_failures_at_a_rate_within_the_window() {
        use Fared::{Failed, Well};
        let half = [Well, Failed, Well, Failed, Well, Failed, Well, Failed];
        let at = |from: u64, step: u64, all: &[Fared]| -> Vec<(u64, Fared)> {
            let times = (0..).map(|n| from + n * step);
            times.zip(all.iter().copied()).collect()
        };
        let breaker = Breaker::new(LIMITS);
        assert_eq!(run(&breaker, &at(10, 10, &half)), [180], "four of seven");
        let third = [
            Failed, Well, Well, Failed, Well, Well, Failed, Well, Well, Failed,
        ];
        let breaker = Breaker::new(LIMITS);
        assert!(run(&breaker, &at(0, 10, &third)).is_empty(), "four of ten");
        let breaker = Breaker::new(LIMITS);
        let all = [Failed; 12];
        assert!(
            run(&breaker, &at(0, 334, &all)).is_empty(),
            "three within a second"
        );
        assert_eq!(run(&breaker, &at(10_000, 333, &all[..4])), [11_099]);
    }

    #[test]
    fn it_rests_for_what_costs_too_much_whatever_the_rate() {
        let breaker = Breaker::new(LIMITS);
        assert!(!breaker.is_too_long(LIMITS.message));
        assert!(breaker.is_too_long(LIMITS.message + Duration::from_nanos(1)));
        let mut messages = vec![(0, Fared::Overran)];
        messages.extend((1..900).map(|now| (now, Fared::Well)));
        messages.push((1001, Fared::Overran));
        assert!(run(&breaker, &messages).is_empty(), "one in a window");
        assert_eq!(run(&breaker, &[(2001, Fared::Overran)]), [2101], "two");
        assert!(
            breaker
                .rests()
                .is_some_and(|(_, why)| why.starts_with("2 messages cost"))
        );
    }

    #[test]
    fn one_message_shows_whether_it_is_well_again_and_rests_grow() {
        let breaker = Breaker::new(LIMITS);
        let failing: Vec<_> = (0..4).map(|now| (now, Fared::Failed)).collect();
        assert_eq!(run(&breaker, &failing), [103]);
        assert_eq!(breaker.enter(102), Entry::Rests);
        for (now, rest) in [(103, 200), (303, 300), (603, 300)] {
            assert_eq!(breaker.enter(now), Entry::Probe);
            assert_eq!(breaker.enter(now), Entry::Rests, "only one");
            let turn = breaker.left(Entry::Probe, Fared::Failed, now, || 0);
            let why = "4 of 4 messages failed within 1 s".to_owned();
            assert_eq!(turn, Some(Turn::Rests { rest_ms: rest, why }));
        }
        assert_eq!(breaker.enter(903), Entry::Probe);
        assert_eq!(breaker.enter(1202), Entry::Rests);
        assert_eq!(
            breaker.enter(1203),
            Entry::Probe,
            "the one before went away"
        );
        let turn = breaker.left(Entry::Probe, Fared::Well, 1203, || 0);
        assert_eq!((turn, breaker.enter(1204)), (Some(Turn::Runs), Entry::Open));
        assert_eq!(
            (breaker.rests(), run(&breaker, &failing)),
            (None, vec![103])
        );
        assert_eq!(breaker.enter(10), Entry::Rests);
        assert!(breaker.forgive() && !breaker.forgive());
    }

    #[test]
    fn a_clock_set_back_makes_no_rest_longer_and_zero_is_never() {
        let breaker = Breaker::new(LIMITS);
        let failing: Vec<_> = (10_000..10_004).map(|now| (now, Fared::Failed)).collect();
        assert_eq!(run(&breaker, &failing), [10_103]);
        assert_eq!(breaker.enter(5_000), Entry::Probe);
        let never = Breaker::new(BreakerLimits {
            failures: 0,
            overruns: 0,
            ..LIMITS
        });
        let failing: Vec<_> = (0..100).map(|now| (now, Fared::Overran)).collect();
        assert!(run(&never, &failing).is_empty());
        assert!(never.past().failures.len() <= 1 && never.past().overruns.is_empty());
    }
}
