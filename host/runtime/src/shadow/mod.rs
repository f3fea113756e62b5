//! A shadow: a version that sees the traffic of the one that serves. Its outcomes are compared, and nothing is applied.
//!
//! Owns: [`Shadow`], what all seats count of it; [`Shade`], its instance on one seat. Must not: reach anything. What it
//! publishes goes nowhere, and the keys that it changes are changed in a world of its own ([`keys`]).

mod keys;

use crate::config::{Grants, Outside};
use crate::instance::{Failed, Instance, InstanceError, at_once};
use crate::plugin::Shared;
use crate::template::{Post, Template};
use crate::timers::Timers;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use witmq_broker::ports::StepFailure;

/// Instances made in place of those that trapped; then the shadow ends: each one is paid for on the message path.
const INSTANCES: u64 = 5;
/// Differences that are remembered.
const DIFFERENCES: usize = 8;
/// Characters of an outcome in one of them.
const OUTCOME_CHARS: usize = 160;

/// One shadow, as all seats share it.
pub(crate) struct Shadow {
    pub(crate) template: Arc<Template>,
    pub(crate) began_ms: u64,
    pub(crate) same: AtomicU64,
    pub(crate) different: AtomicU64,
    /// It failed where the version that serves did not.
    pub(crate) failed: AtomicU64,
    instances: AtomicU64,
    is_over: AtomicBool,
    differences: Mutex<VecDeque<String>>,
}

/// What a shadow is around, instead of what `serving` has: itself alone.
pub(crate) fn alone(serving: &Arc<Shared>, template: &Template, grants: Grants) -> Shared {
    let outside = Outside {
        publish: Arc::new(|_| true),
        alarm: Arc::new(|_| {}),
        kv: Arc::new(keys::Apart::from(serving.kv.clone())),
        ..(*serving.outside).clone()
    };
    let (alarm, _) = std::sync::mpsc::sync_channel(1);
    let mut shared = Shared::new(
        &serving.name,
        &template.limits,
        Arc::new(outside),
        Timers::none(),
        grants,
        alarm,
        serving.pool.clone(),
    );
    shared.log = serving.log.of_shadow();
    shared
}

impl Shadow {
    pub(crate) fn new(template: Arc<Template>, began_ms: u64) -> Self {
        Self {
            template,
            began_ms,
            same: AtomicU64::new(0),
            different: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            instances: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            differences: Mutex::default(),
        }
    }

    /// Whether it trapped too often to go on.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The last differences in words.
    pub(crate) fn differences(&self) -> Vec<String> {
        let differences = self.differences.lock();
        let differences = differences.unwrap_or_else(PoisonError::into_inner);
        differences.iter().cloned().collect()
    }

    /// What both made of the same thing. Failures count as the same if both fail, whatever they say.
    pub(crate) fn compare<T: PartialEq + Debug>(
        &self,
        topic: &str,
        serving: &Result<T, StepFailure>,
        shadow: &Result<T, StepFailure>,
    ) {
        let counter = match (serving, shadow) {
            (Ok(serving), Ok(shadow)) if serving == shadow => &self.same,
            (Err(_), Err(_)) => &self.same,
            (Ok(_), Err(_)) => &self.failed,
            _ => &self.different,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if std::ptr::eq(counter, &raw const self.same) {
            return;
        }
        let text = format!(
            "{topic}: it serves {}, the shadow says {}",
            words(serving),
            words(shadow)
        );
        let differences = self.differences.lock();
        let mut differences = differences.unwrap_or_else(PoisonError::into_inner);
        if differences.len() >= DIFFERENCES {
            differences.pop_front();
        }
        differences.push_back(text);
    }

    /// Whether one more instance may be made.
    fn may_renew(&self) -> bool {
        let may = self.instances.fetch_add(1, Ordering::Relaxed) < INSTANCES;
        if !may && !self.is_over.swap(true, Ordering::Relaxed) {
            let plugin = &self.template.plugin;
            tracing::warn!(plugin = %plugin.name, "its shadow trapped too often and ended; the version that serves goes on");
        }
        may
    }
}

fn words<T: Debug>(outcome: &Result<T, StepFailure>) -> String {
    let text = match outcome {
        Ok(outcome) => format!("{outcome:?}"),
        Err(failure) => format!("a failure ({failure})"),
    };
    match text.char_indices().nth(OUTCOME_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The shadow's instance on one seat.
pub(crate) struct Shade {
    pub(crate) shadow: Arc<Shadow>,
    instance: Option<Box<Instance>>,
    post: Post,
    reaper: SyncSender<Box<Instance>>,
}

impl Shade {
    pub(crate) fn new(
        shadow: Arc<Shadow>,
        instance: Box<Instance>,
        post: Post,
        reaper: SyncSender<Box<Instance>>,
    ) -> Self {
        Self {
            shadow,
            instance: Some(instance),
            post,
            reaper,
        }
    }

    /// What it makes of it; `None` once it is over.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&mut Instance) -> Result<R, Failed>,
    ) -> Option<Result<R, StepFailure>> {
        if self.shadow.is_over() {
            self.reap();
            return None;
        }
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => {
                if !self.shadow.may_renew() {
                    return None;
                }
                let template = &self.shadow.template;
                match at_once(Instance::new(template, self.post)) {
                    Ok(made) => none.insert(Box::new(made)),
                    Err(error) => {
                        let failed = InstanceError::into_failure(error, &template.plugin.name);
                        return Some(Err(failed));
                    }
                }
            }
        };
        let answer = call(instance);
        if matches!(&answer, Err(Failed { is_fatal: true, .. })) {
            self.reap();
        }
        Some(answer.map_err(|failed| failed.failure))
    }

    fn reap(&mut self) {
        if let Some(instance) = self.instance.take()
            && let Err(unsent) = self.reaper.try_send(instance)
        {
            drop(unsent); // the reaper is behind: its bound is worth a stall
        }
    }
}

impl Drop for Shade {
    fn drop(&mut self) {
        self.reap();
    }
}
