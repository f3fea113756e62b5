//! A seat: one thread's instances, one per plugin, called without locks; new ones arrive in a mailbox.
//!
//! A shard looks at one atomic number per call. When it has changed, it takes the boxes that a control thread
//! built and warmed, and sends the old ones to the reaper: no message sees two versions.

use crate::instance::{Failed, Instance, InstanceError, Template};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use witmq_broker::ports::hooks::{AuthRequest, Query};
use witmq_broker::ports::{
    AuthStep, Authorize, Decision, Publisher, StepFailure, StepOutcome, Transform, Verdict,
};
use witmq_proto::{Message, ReasonCode};

/// What a control thread hands to a seat.
pub(crate) enum Handover {
    /// This generation serves from now on.
    Serve {
        template: Arc<Template>,
        instance: Box<Instance>,
    },
    /// The plugin is gone.
    Remove(String),
}

/// Where control threads put what a seat takes.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// Counts hand-overs.
    version: AtomicU64,
    waiting: Mutex<Vec<Handover>>,
}

impl Mailbox {
    pub(crate) fn put(&self, handover: Handover) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(handover);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// A plugin as one seat has it.
struct Local {
    template: Arc<Template>,
    /// `None` after a trap, until the next call makes a new one.
    instance: Option<Box<Instance>>,
    /// Failed since it last answered: the breaker is asked before it is called.
    is_suspect: bool,
}

/// One thread's instances.
pub(crate) struct Seat {
    number: u32,
    mailbox: Arc<Mailbox>,
    seen: u64,
    plugins: BTreeMap<String, Local>,
    has_authorizer: bool,
    reaper: SyncSender<Box<Instance>>,
}

impl Seat {
    pub(crate) fn new(
        number: u32,
        mailbox: Arc<Mailbox>,
        reaper: SyncSender<Box<Instance>>,
    ) -> Self {
        Self {
            number,
            mailbox,
            seen: 0,
            plugins: BTreeMap::new(),
            has_authorizer: false,
            reaper,
        }
    }

    /// Takes what was handed over since the last call.
    fn refresh(&mut self) {
        let version = self.mailbox.version.load(Ordering::Acquire);
        if version == self.seen {
            return;
        }
        self.seen = version;
        let waiting = std::mem::take(
            &mut *self
                .mailbox
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for handover in waiting {
            let old = match handover {
                Handover::Serve { template, instance } => {
                    let name = template.plugin.name.clone();
                    debug_assert_eq!(instance.generation, template.generation);
                    self.plugins.insert(
                        name,
                        Local {
                            template,
                            instance: Some(instance),
                            is_suspect: false,
                        },
                    )
                }
                Handover::Remove(name) => self.plugins.remove(&name),
            };
            if let Some(instance) = old.and_then(|local| local.instance) {
                self.reap(instance);
            }
        }
        self.has_authorizer = self
            .plugins
            .values()
            .any(|local| local.template.package.authorize.is_some());
    }

    /// Old instances are dropped elsewhere: unmapping memory takes longer than a call.
    fn reap(&self, instance: Box<Instance>) {
        if let Err(unsent) = self.reaper.try_send(instance) {
            drop(unsent); // the reaper is behind: its bound is worth a stall
        }
    }

    /// Calls a plugin's instance, making a new one if the last trapped.
    fn with<R>(
        &mut self,
        plugin: &str,
        call: impl FnOnce(&mut Instance) -> Result<R, Failed>,
    ) -> Result<R, StepFailure> {
        let number = self.number;
        let Some(local) = self.plugins.get_mut(plugin) else {
            return Err(StepFailure::Unknown(plugin.to_owned()));
        };
        if local.is_suspect && local.template.plugin.is_resting() {
            return Err(StepFailure::BreakerOpen(plugin.to_owned()));
        }
        let instance = match &mut local.instance {
            Some(instance) => instance,
            none => none.insert(Box::new(Instance::new(&local.template, number).map_err(
                |error| {
                    let failure = match error {
                        InstanceError::Refused(cause) => StepFailure::Failed {
                            plugin: plugin.to_owned(),
                            cause,
                        },
                        InstanceError::Failed(failure) => failure,
                    };
                    local.template.plugin.count_failure(&failure, true);
                    failure
                },
            )?)),
        };
        match call(instance) {
            Ok(value) => {
                local.is_suspect = false;
                Ok(value)
            }
            Err(Failed { failure, is_fatal }) => {
                if is_fatal {
                    // The whole store is poisoned by a trap: it is never called again.
                    local.is_suspect = true;
                    if let Some(instance) = local.instance.take() {
                        self.reap(instance);
                    }
                }
                Err(failure)
            }
        }
    }

    pub(crate) fn authenticate(&mut self, plugin: &str, request: &AuthRequest) -> AuthStep {
        self.refresh();
        let deny = |reason, text: String| AuthStep::Deny {
            reason,
            text: Some(text),
        };
        match self.with(plugin, |instance| instance.authenticate(request)) {
            Ok(step) => step,
            Err(StepFailure::Unknown(_)) => deny(
                ReasonCode::NotAuthorized,
                format!("no authenticator `{plugin}` is installed"),
            ),
            // A failing hook denies, always. The client is not told why; the operator's log is.
            Err(failure) => {
                tracing::warn!(plugin, %failure, "authentication failed, the client is denied");
                deny(
                    ReasonCode::ServerUnavailable,
                    "the authenticator failed".to_owned(),
                )
            }
        }
    }
}

/// The hooks of one shard. Made anywhere, then moved to the shard's thread.
pub struct ShardPlugins {
    pub(crate) seat: Seat,
}

impl std::fmt::Debug for ShardPlugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardPlugins")
            .field("seat", &self.seat.number)
            .finish_non_exhaustive()
    }
}

impl Transform for ShardPlugins {
    fn transform(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        self.seat.refresh();
        self.seat
            .with(plugin, |instance| instance.transform(publisher, message))
    }
}

impl Authorize for ShardPlugins {
    fn is_bound(&self) -> bool {
        // What waits in the mailbox counts: a question asked too often costs little, one not asked denies.
        self.seat.has_authorizer
            || self.seat.mailbox.version.load(Ordering::Acquire) != self.seat.seen
    }

    /// Plugins in the order of their names; the first that has an opinion decides, a failing one denies.
    fn authorize(&mut self, query: &Query<'_>) -> Verdict {
        self.seat.refresh();
        let names: Vec<String> = self
            .seat
            .plugins
            .iter()
            .filter(|(_, local)| local.template.package.authorize.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            match self.seat.with(&name, |instance| instance.authorize(query)) {
                Ok(Verdict {
                    decision: Decision::Ignore,
                    ..
                }) => {}
                Ok(verdict) => return verdict,
                Err(_) => {
                    return Verdict {
                        decision: Decision::Deny,
                        cache: Duration::ZERO,
                    };
                }
            }
        }
        Verdict {
            decision: Decision::Ignore,
            cache: Duration::ZERO,
        }
    }
}
