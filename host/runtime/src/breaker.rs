//! When a plugin is given a rest, and when a new version is taken back.
//!
//! Owns: [`Breaker`], [`Probation`]. Must not: act; they only tell.

use crate::config::RuntimeConfig;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Too many failures in a window make the plugin rest, twice as long each time.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: VecDeque<Instant>,
    maximum: usize,
    window: Duration,
    first: Duration,
    longest: Duration,
    rest: Duration,
    until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(config: &RuntimeConfig) -> Self {
        Self {
            failures: VecDeque::new(),
            maximum: config.breaker_failures.max(1),
            window: config.breaker_window,
            first: config.breaker_rest,
            longest: config.breaker_longest,
            rest: config.breaker_rest,
            until: None,
        }
    }

    /// The past is forgotten; whether a rest ends with it.
    pub(crate) fn forgive(&mut self) -> bool {
        self.failures.clear();
        self.rest = self.first;
        self.until.take().is_some()
    }

    /// One more failure; whether the plugin rests now because of it.
    pub(crate) fn trip(&mut self, name: &str, now: Instant) -> bool {
        while self
            .failures
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > self.window)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let is_over = self.failures.len() >= self.maximum;
        if is_over {
            self.failures.clear();
            self.until = now.checked_add(self.rest);
            tracing::warn!(plugin = name, rest = ?self.rest, "too many failures: the plugin rests");
            self.rest = (self.rest * 2).min(self.longest);
        }
        is_over
    }

    /// Whether the plugin rests now.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether its rest is over, said once.
    pub(crate) fn is_rested(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| now >= *until).is_some()
    }
}

/// A new version that has to prove itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probation {
    until: Instant,
    /// Calls before it began to serve.
    calls: u64,
    failures: u64,
    maximum: u64,
    /// Failures per thousand calls.
    per_mille: u64,
}

impl Probation {
    /// `calls` and `failures` of the versions before: at the rate of those a new one may fail, too.
    pub(crate) fn begin(config: &RuntimeConfig, calls: u64, failures: u64) -> Self {
        let usual = (failures * 1000).checked_div(calls).unwrap_or(0);
        Self {
            until: Instant::now() + config.probation,
            calls,
            failures: 0,
            maximum: config.probation_failures.max(1),
            per_mille: config.probation_per_mille + usual,
        }
    }

    /// Whether its time is not over.
    pub(crate) fn is_under_way(&self) -> bool {
        Instant::now() < self.until
    }

    /// One more failure, at so many calls altogether: whether it was one too many.
    pub(crate) fn fails(&mut self, calls: u64) -> bool {
        if !self.is_under_way() {
            return false;
        }
        self.failures += 1;
        let since = calls.saturating_sub(self.calls).max(self.failures);
        self.failures >= self.maximum && self.failures * 1000 > since * self.per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(&RuntimeConfig {
            breaker_failures: 3,
            breaker_window: 10 * SECOND,
            breaker_rest: SECOND,
            breaker_longest: 4 * SECOND,
            ..RuntimeConfig::default()
        })
    }

    #[test]
    fn failures_count_together_within_the_window_and_not_beyond_it() {
        let (start, moment) = (Instant::now(), Duration::from_nanos(1));
        let third = |after: Duration| {
            let mut breaker = breaker();
            assert!(!breaker.trip("g", start) && !breaker.trip("g", start + SECOND));
            let now = start + after;
            (breaker.trip("g", now), breaker.is_resting(now))
        };
        assert_eq!(third(10 * SECOND), (true, true), "as long as the window");
        assert_eq!(
            third(10 * SECOND + moment),
            (false, false),
            "the first is forgotten"
        );
        // With the first forgotten, the second and the third are two of three.
        let mut breaker = breaker();
        let at = [0, 1, 11, 11].map(|seconds| start + seconds * SECOND);
        assert_eq!(
            at.map(|now| breaker.trip("g", now)),
            [false, false, false, true]
        );
    }

    #[test]
    fn each_rest_is_twice_as_long_up_to_the_longest() {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        for rest in [1, 2, 4, 4].map(|seconds| seconds * SECOND) {
            assert!(!breaker.trip("g", now) && !breaker.trip("g", now) && breaker.trip("g", now));
            assert!(breaker.is_resting(now + rest - Duration::from_nanos(1)));
            now += rest;
            assert!(!breaker.is_resting(now));
            assert_eq!(
                [breaker.is_rested(now), breaker.is_rested(now)],
                [true, false]
            );
        }
        assert!(!breaker.forgive(), "it did not rest");
        assert!(!breaker.trip("g", now) && !breaker.trip("g", now) && breaker.trip("g", now));
        assert!(!breaker.is_resting(now + SECOND), "the first rest again");
        assert!(!breaker.is_rested(now) && breaker.forgive(), "it rested");
    }

    #[test]
    fn a_version_fails_by_number_and_by_rate() {
        let config = RuntimeConfig {
            probation_failures: 3,
            probation_per_mille: 100,
            ..RuntimeConfig::default()
        };
        let mut first = Probation::begin(&config, 1000, 0);
        assert!(!first.fails(1001) && !first.fails(1002) && first.fails(1003));
        let mut rare = Probation::begin(&config, 1000, 0);
        assert!(
            !rare.fails(1010) && !rare.fails(1020) && !rare.fails(1030),
            "a tenth is allowed"
        );
        assert!(rare.fails(1039), "more is not");
        let mut usual = Probation::begin(&config, 1000, 400);
        assert!(
            (1001..1040)
                .filter(|calls| calls % 2 == 0)
                .all(|calls| !usual.fails(calls))
        );
        let over = RuntimeConfig {
            probation: Duration::ZERO,
            ..config
        };
        let mut proved = Probation::begin(&over, 0, 0);
        assert!((1..100).all(|calls| !proved.fails(calls)));
    }
}
