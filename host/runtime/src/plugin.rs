//! What all instances of one plugin share, across versions: store, grants, log budget, numbers.

use crate::config::RuntimeConfig;
use crate::kv::Kv;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use witmq_broker::ports::{PluginKv, StepFailure};
use witmq_proto::{Message, TopicFilter};

/// Takes messages of plugins into the broker; false if its queue is full.
pub(crate) type PublishSink = Arc<dyn Fn(Message) -> bool + Send + Sync>;

/// Kinds of failure, as metrics and `plugin ls` name them.
pub(crate) const KINDS: [&str; 5] = ["trap", "deadline", "memory", "answer", "failed"];

/// Shared by every instance of a plugin.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) kv: Kv,
    pub(crate) publish: PublishSink,
    /// Where it may publish.
    pub(crate) grants: Vec<TopicFilter>,
    log: Mutex<LogBudget>,
    calls: AtomicU64,
    nanos: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
    breaker: Mutex<Breaker>,
    last_error: Mutex<Option<String>>,
}

struct LogBudget {
    lines: u32,
    left: u32,
    second: Instant,
    dropped: u64,
}

struct Breaker {
    failures: VecDeque<Instant>,
    maximum: usize,
    window: Duration,
    first: Duration,
    longest: Duration,
    rest: Duration,
    until: Option<Instant>,
}

impl Shared {
    pub(crate) fn new(
        name: &str,
        config: &RuntimeConfig,
        publish: PublishSink,
        kv: &dyn PluginKv,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kv: Kv::new(kv.space(name)),
            publish,
            grants: config.publish.get(name).cloned().unwrap_or_default(),
            log: Mutex::new(LogBudget {
                lines: config.log_lines,
                left: config.log_lines,
                second: Instant::now(),
                dropped: 0,
            }),
            calls: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            failures: Default::default(),
            breaker: Mutex::new(Breaker {
                failures: VecDeque::new(),
                maximum: config.breaker_failures.max(1),
                window: config.breaker_window,
                first: config.breaker_rest,
                longest: config.breaker_longest,
                rest: config.breaker_rest,
                until: None,
            }),
            last_error: Mutex::new(None),
        }
    }

    /// Whether one more line may be logged in this second; how many were dropped before it.
    pub(crate) fn may_log(&self) -> Option<u64> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.saturating_duration_since(log.second) >= Duration::from_secs(1) {
            log.second = now;
            log.left = log.lines;
        }
        if log.left == 0 {
            log.dropped += 1;
            return None;
        }
        log.left -= 1;
        Some(std::mem::take(&mut log.dropped))
    }

    pub(crate) fn count_call(&self, took: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Counts a failure; a guest that fails too often rests.
    pub(crate) fn count_failure(&self, failure: &StepFailure, is_fatal: bool) {
        let kind = match failure {
            StepFailure::Trap { .. } => 0,
            StepFailure::Deadline(_) => 1,
            StepFailure::Memory(_) => 2,
            StepFailure::BadAnswer { .. } => 3,
            StepFailure::Failed { .. } | StepFailure::Unknown(_) | StepFailure::BreakerOpen(_) => 4,
        };
        if let Some(counter) = self.failures.get(kind) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.note_error(failure.to_string());
        if is_fatal {
            self.breaker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .trip(&self.name);
        }
    }

    pub(crate) fn note_error(&self, error: String) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Whether the plugin rests after too many failures. Takes a lock: ask only where there was a failure.
    pub(crate) fn is_resting(&self) -> bool {
        self.breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_resting()
    }

    /// A new version, or a success after a rest: the past is forgotten.
    pub(crate) fn forgive(&self) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.failures.clear();
        breaker.until = None;
        breaker.rest = breaker.first;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Mean microseconds per call.
    pub(crate) fn mean_us(&self) -> f64 {
        let nanos = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        let calls = u32::try_from(self.calls()).unwrap_or(u32::MAX);
        nanos.checked_div(calls).unwrap_or_default().as_secs_f64() * 1e6
    }

    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        KINDS
            .iter()
            .zip(&self.failures)
            .map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
            .collect()
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Breaker {
    fn trip(&mut self, name: &str) {
        let now = Instant::now();
        while self
            .failures
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > self.window)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() >= self.maximum {
            self.failures.clear();
            self.until = now.checked_add(self.rest);
            tracing::warn!(plugin = name, rest = ?self.rest, "too many failures: the plugin rests");
            self.rest = (self.rest * 2).min(self.longest);
        }
    }

    fn is_resting(&mut self) -> bool {
        match self.until {
            Some(until) if Instant::now() < until => true,
            _ => {
                self.until = None;
                false
            }
        }
    }
}
