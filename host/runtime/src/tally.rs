//! What the calls of a plugin came to, by hook: how many, how long they took, what their outcomes were.
//!
//! Owns: [`Tally`], without locks on the message path; [`Share`], the part of the shards' time that its calls take.

use crate::lane::Delivered;
use crate::numbers::Times;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use witmq_broker::ports::control::HookInfo;
use witmq_broker::ports::{AuthStep, Decision, StepOutcome};
use witmq_broker::spread::Spread;

/// The hooks that are called for messages, clients and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Authenticate,
    Authorize,
    Transform,
    Sink,
    Events,
    Timer,
}

/// Names of hooks and their outcomes, in the order of [`Hook`]. A call without an outcome failed.
const HOOKS: [(&str, &[&str]); 6] = [
    ("authenticate", &["allow", "deny", "challenge", "ignore"]),
    ("authorize", &["allow", "deny", "ignore"]),
    (
        "transform",
        &[
            "pass", "modify", "split", "refuse", "consume", "withhold", "stop", "jump",
        ],
    ),
    ("sink", &["done", "again", "never"]),
    ("events", &["done"]),
    ("timer", &["done"]),
];
/// Most outcomes that a hook has.
const OUTCOMES: usize = 8;

/// The place of an outcome in [`HOOKS`].
pub(crate) trait Outcome {
    fn place(&self) -> usize;
}

impl Outcome for StepOutcome {
    fn place(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Modify(_) => 1,
            Self::Split(_) => 2,
            Self::Refuse { .. } => 3,
            Self::Consume => 4,
            Self::Withhold => 5,
            Self::Stop => 6,
            Self::Jump(_) => 7,
        }
    }
}

impl Outcome for Option<AuthStep> {
    fn place(&self) -> usize {
        match self {
            Some(AuthStep::Allow(_)) => 0,
            Some(AuthStep::Deny { .. }) => 1,
            Some(AuthStep::Challenge { .. }) => 2,
            None => 3,
        }
    }
}

impl Outcome for Decision {
    fn place(&self) -> usize {
        match self {
            Self::Allow => 0,
            Self::Deny => 1,
            Self::Ignore => 2,
        }
    }
}

impl Outcome for Delivered {
    fn place(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Again(_) => 1,
            Self::Never(_) => 2,
        }
    }
}

impl Outcome for () {
    fn place(&self) -> usize {
        0
    }
}

#[derive(Debug, Default)]
struct Counted {
    calls: AtomicU64,
    times: Times,
    outcomes: [AtomicU64; OUTCOMES],
}

/// The calls of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    hooks: Spread<[Counted; HOOKS.len()]>,
    share: Mutex<Share>,
}

/// Time between two looks at the share.
const WINDOW: Duration = Duration::from_secs(1);

/// The part of the shards' time that went into its calls, in the time between the last two looks.
#[derive(Debug)]
struct Share {
    looked: Instant,
    spent: Duration,
    part: f64,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            looked: Instant::now(),
            spent: Duration::ZERO,
            part: 0.0,
        }
    }
}

impl Share {
    fn look(&mut self, now: Instant, spent: Duration, shards: u16) {
        let passed = now.saturating_duration_since(self.looked);
        if passed >= WINDOW {
            let there_was = passed.as_secs_f64() * f64::from(shards.max(1));
            self.part = spent.saturating_sub(self.spent).as_secs_f64() / there_was;
            (self.looked, self.spent) = (now, spent);
        }
    }
}

impl Tally {
    /// A call ended, well or not; how long it took, if it was timed, and how many calls that stands for.
    pub(crate) fn call(&self, hook: Hook, took: Option<(Duration, u64)>) {
        if let Some(counted) = self.hooks.mine().get(hook as usize) {
            counted.calls.fetch_add(1, Ordering::Relaxed);
            if let Some((took, stands_for)) = took {
                counted.times.add(took, stands_for);
            }
        }
    }

    /// A `transform` ended well: a call and its outcome at once.
    pub(crate) fn went_well(&self, took: Option<(Duration, u64)>, outcome: &StepOutcome) {
        if let Some(counted) = self.hooks.mine().get(Hook::Transform as usize) {
            counted.calls.fetch_add(1, Ordering::Relaxed);
            if let Some(count) = counted.outcomes.get(outcome.place()) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if let Some((took, stands_for)) = took {
                counted.times.add(took, stands_for);
            }
        }
    }

    /// What came of a call, or of one message of a batch.
    pub(crate) fn came(&self, hook: Hook, outcome: &impl Outcome) {
        let counted = self.hooks.mine().get(hook as usize);
        if let Some(count) = counted.and_then(|counted| counted.outcomes.get(outcome.place())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls of all hooks.
    pub(crate) fn calls(&self) -> u64 {
        let all = self.hooks.all().flatten();
        all.map(|counted| counted.calls.load(Ordering::Relaxed))
            .sum()
    }

    /// How long the calls of all hooks took.
    pub(crate) fn times(&self) -> Times {
        let all = Times::default();
        for counted in self.hooks.all().flatten() {
            all.merge(&counted.times);
        }
        all
    }

    /// The part of the time of all shards that went into its calls on them lately: 0.0 to 1.0.
    pub(crate) fn share(&self, shards: u16) -> f64 {
        let on_shards = [Hook::Transform, Hook::Authorize].into_iter();
        let spent = on_shards
            .map(|hook| self.hook(hook as usize).times.sum())
            .sum();
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        share.look(Instant::now(), spent, shards);
        share.part
    }

    /// What all threads counted of a hook.
    fn hook(&self, place: usize) -> Counted {
        let sum = Counted::default();
        for counted in self.hooks.all().filter_map(|hooks| hooks.get(place)) {
            sum.times.merge(&counted.times);
            (sum.calls).fetch_add(counted.calls.load(Ordering::Relaxed), Ordering::Relaxed);
            for (ours, theirs) in sum.outcomes.iter().zip(&counted.outcomes) {
                ours.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        sum
    }

    /// The hooks that were called.
    pub(crate) fn info(&self) -> Vec<HookInfo> {
        let hooks = HOOKS.iter().enumerate();
        let hooks = hooks.map(|(place, hook)| (hook, self.hook(place)));
        let called = hooks.filter(|(_, counted)| counted.calls.load(Ordering::Relaxed) > 0);
        let info = called.map(|((hook, names), counted)| {
            let micros = |per_mille| counted.times.quantile(per_mille).as_secs_f64() * 1e6;
            let outcomes = names.iter().zip(&counted.outcomes);
            HookInfo {
                hook,
                calls: counted.calls.load(Ordering::Relaxed),
                seconds: counted.times.sum().as_secs_f64(),
                quantiles_us: [micros(500), micros(990)],
                outcomes: outcomes
                    .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
                    .collect(),
            }
        });
        info.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_hook_and_outcome() {
        let tally = Tally::default();
        for _ in 0..3 {
            tally.call(Hook::Transform, Some((Duration::from_micros(2), 1)));
            tally.came(Hook::Transform, &StepOutcome::Jump("c".to_owned()));
        }
        tally.call(Hook::Sink, Some((Duration::from_millis(1), 1)));
        for outcome in [Delivered::Done, Delivered::Done, Delivered::Again(None)] {
            tally.came(Hook::Sink, &outcome);
        }
        assert_eq!(tally.calls(), 4);
        assert_eq!(tally.times().sum(), Duration::from_micros(1006));
        let info = tally.info();
        let [transform, sink] = &info[..] else {
            panic!("{info:?}")
        };
        assert_eq!((transform.hook, transform.calls), ("transform", 3));
        assert_eq!(transform.outcomes.last(), Some(&("jump", 3)));
        assert!((2.0..=3.0).contains(&transform.quantiles_us[0]));
        assert_eq!(sink.outcomes, [("done", 2), ("again", 1), ("never", 0)]);
    }

    #[test]
    fn the_share_is_of_the_time_since_the_last_look() {
        let begin = Instant::now();
        let mut share = Share {
            looked: begin,
            spent: Duration::ZERO,
            part: 0.0,
        };
        let after = |seconds| begin + Duration::from_secs(seconds);
        share.look(begin, Duration::from_secs(1), 1);
        assert_eq!(share.part, 0.0, "too soon");
        share.look(after(10), Duration::from_secs(5), 2);
        assert_eq!(share.part, 0.25);
        share.look(after(20), Duration::from_secs(5), 2);
        assert_eq!(share.part, 0.0);
    }

    #[test]
    fn every_outcome_has_a_name() {
        let most = HOOKS.iter().map(|(_, outcomes)| outcomes.len()).max();
        assert_eq!(most, Some(OUTCOMES));
        assert_eq!(HOOKS[Hook::Timer as usize].0, "timer");
        assert_eq!(HOOKS[Hook::Authorize as usize].0, "authorize");
    }
}
