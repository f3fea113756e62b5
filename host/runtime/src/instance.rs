//! One instance of a plugin: its store, its calls with their deadline, and what went wrong in them.

use crate::abi::{authenticate, authorize, lifecycle, transform};
use crate::config::RuntimeConfig;
use crate::convert;
use crate::engine::ticks;
use crate::imports::State;
use crate::package::{Package, first_line};
use crate::plugin::Shared;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::{Engine, Store, Trap};
use witmq_broker::ports::hooks::{AuthRequest, Query};
use witmq_broker::ports::{AuthStep, Publisher, StepFailure, StepOutcome, Verdict};
use witmq_proto::Message;

/// Everything needed to make instances of one generation of a plugin.
pub(crate) struct Template {
    pub(crate) plugin: Arc<Shared>,
    pub(crate) package: Arc<Package>,
    pub(crate) config: String,
    pub(crate) generation: u64,
    pub(crate) limits: Arc<RuntimeConfig>,
    pub(crate) engine: Engine,
}

/// Why an instance could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    /// `init` said no.
    #[error("its init refused: {0}")]
    Refused(String),
    /// It trapped, ran too long, or took too much.
    #[error("its init failed: {0}")]
    Failed(StepFailure),
}

/// One store. Thrown away whole after a trap.
pub(crate) struct Instance {
    pub(crate) generation: u64,
    template: Arc<Template>,
    store: Store<State>,
    lifecycle: lifecycle::Guest,
    authenticate: Option<authenticate::Guest>,
    authorize: Option<authorize::Guest>,
    transform: Option<transform::Guest>,
    needs: lifecycle::Needs,
}

/// A failed call, and whether the instance may be called again.
pub(crate) struct Failed {
    pub(crate) failure: StepFailure,
    pub(crate) is_fatal: bool,
}

impl Instance {
    /// Instantiates and initialises; `seat` is the shard it will serve.
    pub(crate) fn new(template: &Arc<Template>, seat: u32) -> Result<Self, InstanceError> {
        let limits = &template.limits;
        let state = State::new(
            template.plugin.clone(),
            limits.memory_bytes,
            limits.transfer_bytes,
        );
        let mut store = Store::new(&template.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits.transfer_bytes);
        let package = &template.package;
        let deadline = limits.init_deadline;
        prepare(&mut store, limits, deadline);
        let failed = |store: &Store<State>, error: &wasmtime::Error| {
            InstanceError::Failed(classify(&template.plugin.name, store, error))
        };
        let instance = match package.pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(failed(&store, &error)),
        };
        macro_rules! load {
            ($indices:expr) => {
                match $indices.load(&mut store, &instance) {
                    Ok(guest) => guest,
                    Err(error) => return Err(failed(&store, &error)),
                }
            };
        }
        let lifecycle = load!(package.lifecycle);
        let authenticate = match &package.authenticate {
            Some(indices) => Some(load!(indices)),
            None => None,
        };
        let authorize = match &package.authorize {
            Some(indices) => Some(load!(indices)),
            None => None,
        };
        let transform = match &package.transform {
            Some(indices) => Some(load!(indices)),
            None => None,
        };
        let place = lifecycle::Place {
            plugin: template.plugin.name.clone(),
            generation: template.generation,
            shard: seat,
            shards: u32::from(limits.shards),
        };
        let needs = match lifecycle.call_init(&mut store, &place, &template.config) {
            Ok(Ok(needs)) => needs,
            Ok(Err(text)) => return Err(InstanceError::Refused(text)),
            Err(error) => return Err(failed(&store, &error)),
        };
        Ok(Self {
            generation: template.generation,
            template: template.clone(),
            store,
            lifecycle,
            authenticate,
            authorize,
            transform,
            needs,
        })
    }

    /// One call: fresh deadline and budgets, measured, its failure named.
    fn call<R>(
        &mut self,
        deadline: Duration,
        call: impl FnOnce(&mut Self) -> wasmtime::Result<Result<R, String>>,
    ) -> Result<R, Failed> {
        let template = self.template.clone();
        prepare(&mut self.store, &template.limits, deadline);
        let start = Instant::now();
        let outcome = call(self);
        template.plugin.count_call(start.elapsed());
        let failed = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(cause)) => {
                let failure = StepFailure::Failed {
                    plugin: template.plugin.name.clone(),
                    cause,
                };
                Failed {
                    failure,
                    is_fatal: false,
                }
            }
            Err(error) => Failed {
                failure: classify(&template.plugin.name, &self.store, &error),
                is_fatal: true,
            },
        };
        template
            .plugin
            .count_failure(&failed.failure, failed.is_fatal);
        Err(failed)
    }

    pub(crate) fn transform(
        &mut self,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, Failed> {
        let limits = self.template.limits.clone();
        let input = convert::message(message, publisher, self.needs);
        let outcome = self.call(limits.deadline, |this| match &this.transform {
            Some(guest) => Ok(guest
                .call_on_message(&mut this.store, &input)?
                .map_err(convert::failure)),
            None => Ok(Err("it has no transform hook".to_owned())),
        })?;
        convert::outcome(outcome, limits.split_messages).map_err(|cause| self.bad_answer(cause))
    }

    /// An answer that cannot be used: counted; the instance serves on.
    fn bad_answer(&self, cause: String) -> Failed {
        let failure = StepFailure::BadAnswer {
            plugin: self.template.plugin.name.clone(),
            cause,
        };
        self.template.plugin.count_failure(&failure, false);
        Failed {
            failure,
            is_fatal: false,
        }
    }

    pub(crate) fn authorize(&mut self, query: &Query<'_>) -> Result<Verdict, Failed> {
        let deadline = self.template.limits.deadline;
        let input = convert::query(query);
        let verdict = self.call(deadline, |this| match &this.authorize {
            Some(guest) => Ok(guest
                .call_check(&mut this.store, &input)?
                .map_err(convert::failure)),
            None => Ok(Err("it has no authorize hook".to_owned())),
        })?;
        Ok(convert::verdict(verdict))
    }

    pub(crate) fn authenticate(&mut self, request: &AuthRequest) -> Result<AuthStep, Failed> {
        let deadline = self.template.limits.authenticate_deadline;
        let step = self.call(deadline, |this| {
            let Some(guest) = &this.authenticate else {
                return Ok(Err("it has no authenticate hook".to_owned()));
            };
            let answer = match request {
                AuthRequest::Begin(attempt) => {
                    guest.call_begin(&mut this.store, &convert::attempt(attempt))?
                }
                AuthRequest::Proceed {
                    attempt,
                    state,
                    data,
                } => {
                    guest.call_proceed(&mut this.store, &convert::attempt(attempt), state, data)?
                }
            };
            Ok(answer.map_err(convert::failure))
        })?;
        convert::step(step).map_err(|cause| self.bad_answer(cause))
    }

    /// Tells the guest that it goes. What it does then concerns nobody.
    pub(crate) fn shut_down(mut self) {
        let limits = self.template.limits.clone();
        prepare(&mut self.store, &limits, limits.deadline);
        if let Err(error) = self.lifecycle.call_shutdown(&mut self.store) {
            tracing::debug!(plugin = %self.template.plugin.name, error = %first_line(&error), "its shutdown failed");
        }
    }
}

fn prepare(store: &mut Store<State>, limits: &RuntimeConfig, deadline: Duration) {
    store.set_epoch_deadline(ticks(deadline));
    let state = store.data_mut();
    state.host_calls = limits.host_calls;
    state.publishes = limits.publishes;
}

/// Names what ended a call.
fn classify(plugin: &str, store: &Store<State>, error: &wasmtime::Error) -> StepFailure {
    let plugin = plugin.to_owned();
    if store.data().memory.is_exceeded {
        return StepFailure::Memory(plugin);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => StepFailure::Deadline(plugin),
        Some(trap) => StepFailure::Trap {
            plugin,
            cause: trap.to_string(),
        },
        None => {
            let cause = first_line(error);
            // The budget of bytes that cross the border has no type of its own.
            match cause.contains("hostcalls") {
                true => StepFailure::BadAnswer { plugin, cause },
                false => StepFailure::Trap { plugin, cause },
            }
        }
    }
}
