//! One instance of a plugin: its store, its calls with their deadline, and what went wrong in them.
//!
//! Calls are futures because some components wait. Those of a pure component never do: [`at_once`] takes their
//! answer without an executor, which is how shards call.

use crate::abi::hot::{self, OnMessage};
use crate::abi::lean::Nothing;
use crate::abi::said::Said;
use crate::abi::{authenticate, authorize, events, lifecycle, sink, timer};
use crate::config::RuntimeConfig;
use crate::convert;
use crate::desk::lent;
use crate::engine::ticks;
use crate::lane::{Delivered, Publication};
use crate::limited::Bound;
use crate::package::first_line;
use crate::sampling::Sampling;
use crate::state::State;
use crate::tally::{Hook, Outcome};
use crate::template::{Post, Template};
use crate::trap::classify;
use crate::wear::Wear;
use bytes::{Bytes, BytesMut};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use wasmtime::Store;
use witmq_broker::ports::chains::Patch;
use witmq_broker::ports::hooks::{AuthRequest, Query};
use witmq_broker::ports::{AuthStep, Publisher, StepFailure, StepOutcome, Verdict};
use witmq_proto::Message;

/// Why an instance could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    /// `init` said no.
    #[error("its init refused: {0}")]
    Refused(String),
    /// There is no memory left for it: all plugins together have as many bytes as they may.
    #[error(
        "all plugins together have the memory that they may, {0} bytes (limits.plugin_memory_total_bytes)"
    )]
    Crowded(usize),
    /// It trapped, ran too long, or took too much.
    #[error("its init failed: {0}")]
    Failed(StepFailure),
}

impl InstanceError {
    /// As the failure of the call that needed the instance.
    pub(crate) fn into_failure(self, plugin: &str) -> StepFailure {
        match self {
            Self::Refused(cause) => StepFailure::Failed {
                plugin: plugin.to_owned(),
                cause,
            },
            Self::Crowded(_) => StepFailure::Memory(plugin.to_owned()),
            Self::Failed(failure) => failure,
        }
    }
}

/// One store. Thrown away whole after a trap.
pub(crate) struct Instance {
    pub(crate) generation: u64,
    template: Arc<Template>,
    store: Store<State>,
    lifecycle: lifecycle::Guest,
    authenticate: Option<authenticate::Guest>,
    authorize: Option<authorize::Guest>,
    transform: Option<OnMessage>,
    sink: Option<sink::Guest>,
    events: Option<events::Guest>,
    timer: Option<timer::Guest>,
    /// Scratch for the properties of a message.
    properties: BytesMut,
    nothing: Nothing,
    made: Instant,
    calls: u64,
    sampling: Sampling,
}

/// When a call began, if it is timed, and how many calls its time stands for.
type Timed = Option<(Instant, u64)>;

/// Calls between two looks at the memory of an instance that does well.
const LOOK: u64 = 256;

/// A failed call, and whether the instance may be called again.
pub(crate) struct Failed {
    pub(crate) failure: StepFailure,
    pub(crate) is_fatal: bool,
}

/// The answer of a future in which nothing waits.
///
/// # Panics
/// Something waits: a bug, because only effectful components are linked with what waits.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a pure component waits for nothing"),
    }
}

/// Loads an export, if the component has it.
macro_rules! load {
    ($package:ident.$hook:ident, $store:ident, $instance:ident, $failed:ident) => {
        match &$package.$hook {
            Some(indices) => match indices.load(&mut $store, &$instance) {
                Ok(guest) => Some(guest),
                Err(error) => return Err($failed(&$store, &error)),
            },
            None => None,
        }
    };
}

impl Instance {
    /// Instantiates and initialises.
    pub(crate) async fn new(template: &Arc<Template>, post: Post) -> Result<Self, InstanceError> {
        let limits = &template.limits;
        let mut store = Store::new(&template.engine, template.state());
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits.transfer_bytes);
        let package = &template.package;
        if matches!(post, Post::Beside(_)) || (post == Post::Alone && package.is_effectful) {
            store.epoch_deadline_async_yield_and_update(1);
        }
        prepare(&mut store, limits, limits.init_deadline);
        let failed =
            |store: &Store<State>, error: &wasmtime::Error| match store.data().memory.exceeded {
                Some(Bound::MemoryTotal) => InstanceError::Crowded(template.plugin.pool.maximum()),
                _ => InstanceError::Failed(classify(store, error, Bound::InitDeadline)),
            };
        let instance = match package.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(failed(&store, &error)),
        };
        let lifecycle = match package.lifecycle.load(&mut store, &instance) {
            Ok(guest) => guest,
            Err(error) => return Err(failed(&store, &error)),
        };
        let transform = package.transform.as_ref();
        let transform = transform.map(|index| OnMessage::load(&mut store, &instance, index));
        let transform = transform
            .transpose()
            .map_err(|error| failed(&store, &error))?;
        let desk = lent(&mut store, &instance, package, limits.desk_bytes).await;
        let desk = desk.map_err(|error| failed(&store, &error))?;
        let (authenticate, authorize) = (
            load!(package.authenticate, store, instance, failed),
            load!(package.authorize, store, instance, failed),
        );
        let (sink, events, timer) = (
            load!(package.sink, store, instance, failed),
            load!(package.events, store, instance, failed),
            load!(package.timer, store, instance, failed),
        );
        let place = template.place(post);
        match lifecycle
            .call_init(&mut store, &place, &template.config)
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(text)) => return Err(InstanceError::Refused(convert::words(text))),
            Err(error) => return Err(failed(&store, &error)),
        }
        Ok(Self {
            generation: template.generation,
            template: template.clone(),
            store,
            lifecycle,
            authenticate,
            authorize,
            transform,
            sink,
            events,
            timer,
            properties: BytesMut::new(),
            nothing: Nothing::new(desk),
            made: Instant::now(),
            calls: 0,
            sampling: Sampling::default(),
        })
    }

    /// The bound by which it should make room for a new instance: after so many calls, or with so much memory, which WebAssembly
    /// never gives back.
    pub(crate) fn worn_by(&self) -> Option<Bound> {
        let wear = Wear {
            calls: self.calls,
            memory_bytes: self.store.data().memory.used,
            made: self.made,
        };
        wear.bound(&self.template.limits, self.template.retire_bytes)
    }

    /// Memory and tables, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory.used
    }

    pub(crate) fn template(&self) -> &Arc<Template> {
        &self.template
    }

    /// Fresh deadline and budgets for one call.
    fn begin(&mut self, deadline: Duration) -> Timed {
        self.ready(deadline);
        Some((Instant::now(), 1))
    }

    /// The same for a message that came in this millisecond: only some are timed.
    fn begin_one(&mut self, deadline: Duration, received_ms: u64) -> Timed {
        self.ready(deadline);
        let stands_for = self.sampling.next(received_ms)?;
        Some((Instant::now(), stands_for))
    }

    fn ready(&mut self, deadline: Duration) {
        if self.calls.is_multiple_of(LOOK) {
            plugin_memory(self);
        }
        self.calls += 1;
        prepare(&mut self.store, &self.template.limits, deadline);
    }

    /// What bounds the time of a call.
    fn limit(&self, hook: Hook) -> Bound {
        match hook {
            _ if self.template.package.is_effectful => Bound::Timeout,
            Hook::Transform | Hook::Authorize => Bound::Deadline,
            Hook::Authenticate => Bound::AuthTimeout,
            Hook::Sink | Hook::Events | Hook::Timer => Bound::Timeout,
        }
    }

    /// The call is over: measured, its failure named.
    fn end<R>(
        &self,
        hook: Hook,
        start: Timed,
        outcome: wasmtime::Result<Result<R, String>>,
    ) -> Result<R, Failed> {
        self.measured(hook, start);
        let plugin = &self.template.plugin;
        let failed = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(cause)) => Failed {
                failure: StepFailure::Failed {
                    plugin: plugin.name.clone(),
                    cause,
                },
                is_fatal: false,
            },
            Err(error) => Failed {
                failure: classify(&self.store, &error, self.limit(hook)),
                is_fatal: true,
            },
        };
        plugin_memory(self);
        plugin.count_failure(&failed.failure, failed.is_fatal);
        Err(failed)
    }

    /// Counts a call, and its time if it was timed.
    fn measured(&self, hook: Hook, start: Timed) {
        self.template.plugin.tally.call(hook, elapsed(start));
    }

    /// On the message path: nothing waits.
    pub(crate) fn transform(
        &mut self,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, Failed> {
        let start = self.begin_one(self.template.deadline, message.received_ms);
        let Some(on_message) = self.transform else {
            return self.end(Hook::Transform, start, Ok(Err(missing("transform"))));
        };
        self.show(message);
        let fill = self.template.fill;
        let mut has_room = true;
        if let Some(desk) = self.nothing.desk() {
            let laid = fill.laid(message, publisher, &mut self.properties, desk);
            has_room = laid.fits();
            if has_room {
                let answer = on_message.call_laid(&mut self.store, &laid);
                return self.transformed(start, answer);
            }
        }
        if !has_room {
            self.template.plugin.limited.hit(Bound::DeskBytes);
        }
        let input = fill.message(message, publisher, &mut self.properties, &self.nothing);
        let answer = on_message.call(&mut self.store, &input);
        self.transformed(start, answer)
    }

    /// Beside the shards: it may wait.
    pub(crate) async fn transform_beside(
        &mut self,
        publication: &Publication,
    ) -> Result<StepOutcome, Failed> {
        let start = self.begin(self.template.timeout);
        let Some(on_message) = self.transform else {
            return self.end(Hook::Transform, start, Ok(Err(missing("transform"))));
        };
        let message = &publication.message;
        self.show(message);
        let fill = self.template.fill;
        let publisher = publication.publisher();
        let input = fill.message(message, publisher, &mut self.properties, &self.nothing);
        let answer = on_message.call_async(&mut self.store, &input).await;
        self.transformed(start, answer)
    }

    /// What `host-payload` reads during the call.
    fn show(&mut self, message: &Message) {
        if self.template.reads_payload {
            self.store.data_mut().payload = message.payload.clone();
        }
    }

    fn transformed(
        &mut self,
        start: Timed,
        answer: wasmtime::Result<Said>,
    ) -> Result<StepOutcome, Failed> {
        if self.template.reads_payload {
            self.store.data_mut().payload = Bytes::new();
        }
        let tally = &self.template.plugin.tally;
        let answer = match answer {
            Ok(Said::Passed) => {
                tally.went_well(elapsed(start), &StepOutcome::Pass);
                return Ok(StepOutcome::Pass);
            }
            Ok(Said::Payload(payload)) => {
                let outcome = StepOutcome::Modify(Patch {
                    payload: Some(payload),
                    ..Patch::default()
                });
                tally.went_well(elapsed(start), &outcome);
                return Ok(outcome);
            }
            Ok(Said::Other(answer)) => Ok((*answer).map_err(convert::hot_failure)),
            Err(error) => Err(error),
        };
        let outcome = self.end(Hook::Transform, start, answer)?;
        let split_messages = self.template.limits.split_messages;
        if matches!(&outcome, hot::Outcome::Split(parts) if parts.len() > split_messages) {
            (self.template.plugin.limited).hit(Bound::SplitMessages);
        }
        let outcome = convert::outcome(outcome, split_messages);
        self.came(Hook::Transform, outcome)
    }

    /// The answer was read: its outcome counts, or that it cannot be used.
    fn came<R: Outcome>(&self, hook: Hook, read: Result<R, String>) -> Result<R, Failed> {
        let outcome = read.map_err(|cause| self.bad_answer(cause))?;
        self.template.plugin.tally.came(hook, &outcome);
        Ok(outcome)
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

    pub(crate) async fn authorize(&mut self, query: &Query<'_>) -> Result<Verdict, Failed> {
        let start = self.begin(self.template.deadline);
        let answer = match &self.authorize {
            Some(guest) => {
                guest
                    .call_check(&mut self.store, &convert::query(query))
                    .await
            }
            None => return self.end(Hook::Authorize, start, Ok(Err(missing("authorize")))),
        };
        let verdict = self.end(
            Hook::Authorize,
            start,
            answer.map(|answer| answer.map_err(convert::failure)),
        )?;
        let verdict = convert::verdict(verdict);
        self.template
            .plugin
            .tally
            .came(Hook::Authorize, &verdict.decision);
        Ok(verdict)
    }

    /// `None`: not its client.
    pub(crate) async fn authenticate(
        &mut self,
        request: &AuthRequest,
    ) -> Result<Option<AuthStep>, Failed> {
        let is_effectful = self.template.package.is_effectful;
        let start = self.begin(match is_effectful {
            true => self.template.timeout,
            false => self.template.limits.authenticate_deadline,
        });
        let Some(guest) = &self.authenticate else {
            return self.end(Hook::Authenticate, start, Ok(Err(missing("authenticate"))));
        };
        let answer = match request {
            AuthRequest::Begin(attempt) => {
                let attempt = convert::attempt(attempt);
                guest.call_begin(&mut self.store, &attempt).await
            }
            AuthRequest::Proceed {
                attempt,
                state,
                data,
            } => {
                let attempt = convert::attempt(attempt);
                guest
                    .call_proceed(&mut self.store, &attempt, state, data)
                    .await
            }
        };
        let step = self.end(
            Hook::Authenticate,
            start,
            answer.map(|answer| answer.map_err(convert::failure)),
        )?;
        self.came(Hook::Authenticate, convert::step(step))
    }

    /// One answer per message of the batch.
    pub(crate) async fn deliver(
        &mut self,
        batch: &[Publication],
    ) -> Result<Vec<Delivered>, Failed> {
        let start = self.begin(self.template.timeout);
        let Some(guest) = &self.sink else {
            return self.end(Hook::Sink, start, Ok(Err(missing("sink"))));
        };
        let fill = self.template.fill;
        let batch: Vec<_> = batch.iter().map(|part| part.filled(fill)).collect();
        let answer = guest.call_deliver(&mut self.store, &batch).await;
        let all = self.end(
            Hook::Sink,
            start,
            answer.map(|answer| answer.map_err(convert::failure)),
        )?;
        if all.len() != batch.len() {
            let cause = format!("it gave {} answers to {} messages", all.len(), batch.len());
            return Err(self.bad_answer(cause));
        }
        let all: Vec<_> = all.into_iter().map(convert::delivered).collect();
        let tally = &self.template.plugin.tally;
        all.iter().for_each(|one| tally.came(Hook::Sink, one));
        Ok(all)
    }

    pub(crate) async fn observe(&mut self, batch: &[events::Event]) -> Result<(), Failed> {
        let start = self.begin(self.template.timeout);
        let Some(guest) = &self.events else {
            return self.end(Hook::Events, start, Ok(Err(missing("events"))));
        };
        let answer = guest.call_observe(&mut self.store, batch).await;
        let answer = answer.map(|answer| answer.map_err(convert::failure));
        self.end(Hook::Events, start, answer)?;
        self.came(Hook::Events, Ok(()))
    }

    pub(crate) async fn fire(&mut self, token: u64, due_ms: u64) -> Result<(), Failed> {
        let start = self.begin(self.template.timeout);
        let Some(guest) = &self.timer else {
            return self.end(Hook::Timer, start, Ok(Err(missing("timer"))));
        };
        let answer = guest.call_fire(&mut self.store, token, due_ms).await;
        let answer = answer.map(|answer| answer.map_err(convert::failure));
        self.end(Hook::Timer, start, answer)?;
        self.came(Hook::Timer, Ok(()))
    }

    /// Asks how it is.
    pub(crate) async fn check(&mut self) -> Result<lifecycle::Health, StepFailure> {
        prepare(
            &mut self.store,
            &self.template.limits,
            self.template.limits.init_deadline,
        );
        let health = self.lifecycle.call_check(&mut self.store).await;
        let health = health.map(|health| match health {
            lifecycle::Health::Ok => lifecycle::Health::Ok,
            lifecycle::Health::Degraded(text) => lifecycle::Health::Degraded(convert::words(text)),
            lifecycle::Health::Failed(text) => lifecycle::Health::Failed(convert::words(text)),
        });
        health.map_err(|error| classify(&self.store, &error, Bound::InitDeadline))
    }

    /// Takes a new configuration in place; false: another instance is needed.
    pub(crate) async fn reconfigure(&mut self, template: &Arc<Template>) -> bool {
        prepare(&mut self.store, &template.limits, template.deadline);
        let applied = (self.lifecycle).call_reconfigure(&mut self.store, &template.config);
        let is_in_place = match applied.await {
            Ok(Ok(applied)) => applied == lifecycle::Applied::InPlace,
            Ok(Err(text)) => {
                let (plugin, text) = (&template.plugin.name, convert::words(text));
                tracing::warn!(%plugin, "another instance takes the new configuration: {text}");
                template.plugin.note_error(format!("reconfigure: {text}"));
                false
            }
            Err(error) => {
                // Not counted: the new configuration is none the worse for it.
                let failure = classify(&self.store, &error, Bound::Deadline);
                template
                    .plugin
                    .note_error(format!("reconfigure: {failure}"));
                false
            }
        };
        if is_in_place {
            (self.generation, self.template) = (template.generation, template.clone());
        }
        is_in_place
    }

    /// Hands it the state of the instance it replaces. False: it trapped, and may not be called any more.
    pub(crate) async fn adopt(&mut self, carried: &[u8]) -> bool {
        prepare(
            &mut self.store,
            &self.template.limits,
            self.template.deadline,
        );
        let plugin = &self.template.plugin;
        match self.lifecycle.call_adopt(&mut self.store, carried).await {
            Ok(Ok(())) => true,
            Ok(Err(text)) => {
                let text = convert::words(text);
                tracing::warn!(plugin = %plugin.name, "the state of the instance before is not taken over: {text}");
                plugin.note_error(format!("adopt: {text}"));
                true
            }
            Err(error) => {
                let failure = classify(&self.store, &error, Bound::Deadline);
                plugin.count_failure(&failure, true);
                false
            }
        }
    }

    /// Tells the guest that it goes; the state it leaves to the one that takes its place.
    pub(crate) async fn shut_down(&mut self) -> Option<Vec<u8>> {
        let limits = self.template.limits.clone();
        prepare(&mut self.store, &limits, self.template.deadline);
        let plugin = &self.template.plugin.name;
        plugin_memory(self);
        match self.lifecycle.call_shutdown(&mut self.store).await {
            Ok(Some(blob)) if blob.len() > limits.carried_bytes => {
                self.template.plugin.limited.hit(Bound::CarriedBytes);
                tracing::warn!(%plugin, bytes = blob.len(), maximum = limits.carried_bytes, "it leaves more state than may be handed over: dropped");
                None
            }
            Ok(blob) => blob,
            Err(error) => {
                tracing::debug!(%plugin, error = %first_line(&error), "its shutdown failed");
                None
            }
        }
    }
}

/// How long a call took that was timed.
fn elapsed(start: Timed) -> Option<(Duration, u64)> {
    start.map(|(start, stands_for)| (start.elapsed(), stands_for))
}

fn plugin_memory(instance: &Instance) {
    let used = instance.store.data().memory.used;
    instance.template.plugin.note_memory(used);
}

fn missing(hook: &str) -> String {
    format!("it has no {hook} hook")
}

fn prepare(store: &mut Store<State>, limits: &RuntimeConfig, deadline: Duration) {
    store.set_epoch_deadline(ticks(deadline, limits.timeout));
    let state = store.data_mut();
    state.host_calls = limits.host_calls;
    state.publishes = limits.publishes;
    if let Some(beyond) = &mut state.beyond {
        beyond.begin();
    }
}
