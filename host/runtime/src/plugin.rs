//! What all instances of one plugin share, across versions: store, grants, log budget, numbers.

use crate::breaker::{Breaker, Probation};
use crate::config::{Grants, Outside, RuntimeConfig};
use crate::http::{Canned, Requests};
use crate::lane::Lane;
use crate::limited::{Bound, Limited};
use crate::log::{Level, Log};
use crate::numbers::Numbers;
use crate::pool::Pool;
use crate::pump::Pump;
use crate::seat::Renewal;
use crate::tally::Tally;
use crate::timers::Timers;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use witmq_broker::ports::StepFailure;
use witmq_broker::ports::kv::KvSpace;
use witmq_broker::ports::raised::PluginAlarm;

/// Kinds of failure, as metrics and `plugin ls` name them.
pub(crate) const KINDS: [&str; 5] = ["trap", "deadline", "memory", "answer", "failed"];

/// What a thread that may not take its time leaves to the one that may.
pub(crate) enum Alarm {
    /// The version of this plugin does not prove itself: the one before is to serve.
    Revert(String),
    /// An instance is worn: another one is to take its place.
    Renew(Renewal),
}

/// Shared by every instance of a plugin.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) kv: Arc<dyn KvSpace>,
    pub(crate) outside: Arc<Outside>,
    /// What the operator lets it do.
    grants: ArcSwap<Grants>,
    pub(crate) timers: Timers,
    /// Numbers of its own.
    pub(crate) numbers: Numbers,
    /// What its calls came to.
    pub(crate) tally: Tally,
    /// The bounds that it ran into.
    pub(crate) limited: Limited,
    /// Where its instances take their memory from.
    pub(crate) pool: Arc<Pool>,
    /// What it asks of other services.
    pub(crate) requests: Requests,
    /// In a test of its component: what they answer.
    pub(crate) canned: Option<Arc<Canned>>,
    /// Its instances beside the shards.
    lane: Mutex<Option<Arc<Lane>>>,
    /// The queue of its sink, once it has had one.
    pub(crate) pump: OnceLock<Arc<Pump>>,
    /// What it logs.
    pub(crate) log: Log,
    /// Most memory that an instance had, bytes.
    memory_bytes: AtomicU64,
    /// The version that serves.
    version: AtomicU64,
    /// Instances made in place of one that failed.
    restarts: AtomicU64,
    /// Instances made in place of one that was worn.
    retired: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
    breaker: Mutex<Breaker>,
    /// While a new version has to prove itself.
    probation: Mutex<Option<Probation>>,
    /// Told when it fails to.
    alarm: SyncSender<Alarm>,
    last_error: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(
        name: &str,
        config: &RuntimeConfig,
        outside: Arc<Outside>,
        timers: Timers,
        grants: Grants,
        alarm: SyncSender<Alarm>,
        pool: Arc<Pool>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kv: outside.kv.space(name),
            grants: ArcSwap::from_pointee(grants),
            outside,
            timers,
            numbers: Numbers::new(config.metrics),
            limited: Limited::default(),
            pool,
            tally: Tally::default(),
            requests: Requests::new(&config.http),
            canned: None,
            lane: Mutex::new(None),
            pump: OnceLock::new(),
            memory_bytes: AtomicU64::new(0),
            version: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            log: Log::new(config.log_lines),
            alarm,
            failures: Default::default(),
            breaker: Mutex::new(Breaker::new(config)),
            probation: Mutex::new(None),
            last_error: Mutex::new(None),
        }
    }

    /// What it may do now.
    pub(crate) fn grants(&self) -> arc_swap::Guard<Arc<Grants>> {
        self.grants.load()
    }

    /// The operator changed what it may do.
    pub(crate) fn set_grants(&self, grants: Grants) {
        self.grants.store(Arc::new(grants));
    }

    /// Its instances beside the shards, if it has any.
    pub(crate) fn lane(&self) -> Option<Arc<Lane>> {
        (self.lane.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Another lane serves from now on; the one before ends when its last user lets go of it.
    pub(crate) fn set_lane(&self, lane: Option<Arc<Lane>>) {
        *self.lane.lock().unwrap_or_else(PoisonError::into_inner) = lane;
    }

    /// A capability was refused: the operator is told how to grant it.
    pub(crate) fn denied(&self, text: &str) {
        self.note_error(text.to_owned());
        self.log.write(&self.name, Level::Warn, text);
    }

    /// An instance takes so much memory.
    pub(crate) fn note_memory(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.memory_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Most memory that an instance had.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// An instance was made in place of one that failed.
    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance made room for another because of this bound.
    pub(crate) fn count_retired(&self, bound: Bound) {
        self.retired.fetch_add(1, Ordering::Relaxed);
        self.limited.hit(bound);
    }

    /// How many there were.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Instances that made room for another.
    pub(crate) fn retired(&self) -> u64 {
        self.retired.load(Ordering::Relaxed)
    }

    /// Counts a failure; a guest that fails too often rests.
    pub(crate) fn count_failure(&self, failure: &StepFailure, is_fatal: bool) {
        let kind = match failure {
            StepFailure::Trap { .. } => 0,
            StepFailure::Deadline(_) => 1,
            StepFailure::Memory(_) => 2,
            StepFailure::BadAnswer { .. } => 3,
            StepFailure::Failed { .. }
            | StepFailure::Unknown(_)
            | StepFailure::BreakerOpen(_)
            | StepFailure::Poison(_)
            | StepFailure::Waits(_)
            | StepFailure::Full(_)
            | StepFailure::NoSink(_)
            | StepFailure::NotKept { .. } => 4,
        };
        if let Some(counter) = self.failures.get(kind) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.note_error(failure.to_string());
        let mut probation = (self.probation.lock()).unwrap_or_else(PoisonError::into_inner);
        if probation
            .as_mut()
            .is_some_and(|probation| probation.fails(self.tally.calls()))
        {
            *probation = None;
            self.limited.hit(Bound::ProbationFailures);
            // Full only while as many reverts are under way as there may be plugins.
            let _is_full = !self.alarm(Alarm::Revert(self.name.clone()));
        }
        drop(probation);
        if is_fatal && self.breaker().trip(&self.name, Instant::now()) {
            self.limited.hit(Bound::BreakerFailures);
            self.tell("breaker-open", failure.to_string());
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the operator. Hold no lock: whoever hears of it may ask back.
    pub(crate) fn tell(&self, kind: &'static str, text: String) {
        (self.outside.alarm)(PluginAlarm {
            plugin: self.name.clone(),
            version: self.version.load(Ordering::Relaxed),
            kind,
            text,
        });
    }

    /// Tells the control thread; false while it has more to do than it may.
    pub(crate) fn alarm(&self, alarm: Alarm) -> bool {
        self.alarm.try_send(alarm).is_ok()
    }

    pub(crate) fn note_error(&self, error: String) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Whether a new version still has to prove itself.
    pub(crate) fn is_proving(&self) -> bool {
        let probation = self
            .probation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        probation.as_ref().is_some_and(Probation::is_under_way)
    }

    /// Whether the plugin rests after too many failures. Takes a lock: ask only where there was a failure.
    pub(crate) fn is_resting(&self) -> bool {
        let now = Instant::now();
        if self.breaker().is_rested(now) {
            self.tell("breaker-closed", "its rest is over".to_owned());
        }
        self.breaker().is_resting(now)
    }

    /// A version serves: the past is forgotten; where there is one to go back to, it has to prove itself.
    pub(crate) fn begin(&self, version: u64, probation: Option<Probation>) {
        self.version.store(version, Ordering::Relaxed);
        if self.breaker().forgive() {
            self.tell("breaker-closed", "a change ended its rest".to_owned());
        }
        *self
            .probation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = probation;
    }

    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        KINDS
            .iter()
            .zip(&self.failures)
            .map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
            .collect()
    }

    /// The bounds that it ran into, by their settings, and how often.
    pub(crate) fn limited(&self) -> Vec<(&'static str, u64)> {
        let log = (Bound::LogLines, self.log.lost());
        let metrics = (Bound::Metrics, self.numbers.full());
        self.limited.with(&[log, metrics])
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
