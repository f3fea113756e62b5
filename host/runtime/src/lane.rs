//! A lane: a plugin's instances beside the shards, for what waits and for what is not on the message path.
//!
//! Owns: [`Workers`], threads with an executor each; [`Lane`], one generation's instances with a bounded queue each;
//! the hand-over of state from one lane to the next. An instance does one job at a time, in order.

use crate::abi::events;
use crate::abi::witmq::plugin::types;
use crate::convert::Fill;
use crate::instance::{Failed, Instance, InstanceError};
use crate::limited::Bound;
use crate::strikes::Strikes;
use crate::template::{Post, Template};
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use witmq_broker::ports::hooks::AuthRequest;
use witmq_broker::ports::{AuthStep, Publisher, StepAnswer, StepFailure, StepOutcome};
use witmq_proto::{ByteString, Message};

/// Instances on their way to a worker.
const ARRIVING: usize = 256;

/// A message, and who published it.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) message: Arc<Message>,
    pub(crate) client_id: ByteString,
    pub(crate) username: Option<ByteString>,
    pub(crate) session: u64,
}

impl Publication {
    pub(crate) fn new(publisher: Publisher<'_>, message: &Arc<Message>) -> Self {
        Self {
            message: message.clone(),
            client_id: publisher.client_id.into(),
            username: publisher.username.map(Into::into),
            session: publisher.session,
        }
    }

    /// Guests see no attributes.
    pub(crate) fn publisher(&self) -> Publisher<'_> {
        Publisher {
            client_id: &self.client_id,
            username: self.username.as_deref(),
            attributes: &[],
            session: self.session,
        }
    }

    pub(crate) fn filled(&self, fill: Fill) -> types::Message {
        let username = self.username.as_deref().unwrap_or_default();
        let mut filled = fill.owned(&self.message, &self.client_id, username);
        filled.session = self.session;
        filled
    }
}

/// What came of one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is where it belongs.
    Done,
    /// Once more, after this long; `None`: as the broker thinks right.
    Again(Option<Duration>),
    /// Never, with words.
    Never(String),
}

/// What an instance is asked.
pub(crate) enum Job {
    Authenticate {
        request: Box<AuthRequest>,
        /// `None`: not its client.
        answer: oneshot::Sender<Result<Option<AuthStep>, StepFailure>>,
    },
    Transform {
        publication: Publication,
        answer: oneshot::Sender<Result<StepOutcome, StepFailure>>,
    },
    Deliver {
        batch: Vec<Publication>,
        answer: oneshot::Sender<Result<Vec<Delivered>, StepFailure>>,
    },
    Observe(Arc<Vec<events::Event>>),
    Fire {
        token: u64,
        due_ms: u64,
    },
}

/// One instance with its queue, on its way to a worker.
struct Arrival {
    template: Arc<Template>,
    place: u32,
    instance: Instance,
    jobs: mpsc::Receiver<Job>,
    /// The state of the one it replaces, when that has ended.
    before: Option<oneshot::Receiver<Option<Vec<u8>>>>,
    /// Where its own goes when it ends.
    after: oneshot::Sender<Option<Vec<u8>>>,
}

/// Makes a task on the thread that runs it.
type Make = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The threads that run lanes.
pub(crate) struct Workers {
    threads: Vec<mpsc::Sender<Make>>,
}

impl Workers {
    pub(crate) fn start(count: u16) -> std::io::Result<Self> {
        let mut threads = Vec::new();
        for number in 0..count.max(1) {
            let (arrivals, mut arriving) = mpsc::channel::<Make>(ARRIVING);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            std::thread::Builder::new()
                .name(format!("plugin-{number}"))
                .spawn(move || {
                    let local = tokio::task::LocalSet::new();
                    local.block_on(&runtime, async {
                        while let Some(make) = arriving.recv().await {
                            tokio::task::spawn_local(make());
                        }
                    });
                })?;
            threads.push(arrivals);
        }
        Ok(Self { threads })
    }

    /// Begins a task on one of the threads. Blocks while many are on their way there.
    pub(crate) fn spawn(
        &self,
        number: usize,
        make: impl FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send + 'static,
    ) {
        if let Some(thread) = self.threads.get(number % self.threads.len().max(1)) {
            let _is_ended = thread.blocking_send(Box::new(make)).is_err();
        }
    }
}

/// One generation's instances.
pub(crate) struct Lane {
    queues: Vec<mpsc::Sender<Job>>,
    template: Arc<Template>,
    /// What each instance leaves; taken by the lane that comes after.
    left: Mutex<Vec<oneshot::Receiver<Option<Vec<u8>>>>>,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The queue is full.
    Full,
    /// The lane has ended.
    Ended,
}

impl Lane {
    /// Sends instances that were made and tried to the workers; they begin when those of `before` have ended.
    pub(crate) fn start(
        workers: &Workers,
        template: &Arc<Template>,
        instances: Vec<Instance>,
        before: Option<&Self>,
    ) -> Self {
        let mut before = before
            .map(|lane| {
                std::mem::take(&mut *lane.left.lock().unwrap_or_else(PoisonError::into_inner))
            })
            .unwrap_or_default()
            .into_iter();
        let (mut queues, mut left) = (Vec::new(), Vec::new());
        for (place, instance) in (0u32..).zip(instances) {
            let (queue, jobs) = mpsc::channel(template.limits.lane_queue.max(1));
            let (after, ended) = oneshot::channel();
            let arrival = Arrival {
                template: template.clone(),
                place,
                instance,
                jobs,
                before: before.next(),
                after,
            };
            let thread = usize::try_from(place).unwrap_or(0);
            workers.spawn(thread, move || Box::pin(serve(arrival)));
            queues.push(queue);
            left.push(ended);
        }
        Self {
            queues,
            template: template.clone(),
            left: Mutex::new(left),
        }
    }

    pub(crate) fn has_events(&self) -> bool {
        self.template.package.events.is_some()
    }

    /// Whether clients are authenticated here.
    pub(crate) fn authenticates(&self) -> bool {
        self.template.package.is_effectful && self.template.package.authenticate.is_some()
    }

    pub(crate) fn has_sink(&self) -> bool {
        self.template.package.sink.is_some()
    }

    pub(crate) fn transforms(&self) -> bool {
        self.template.package.is_effectful && self.template.package.transform.is_some()
    }

    /// Asks for the outcome of a message. The time that a call has counts from here: waiting for others is part of it.
    pub(crate) fn ask(&self, publication: Publication) -> Result<StepAnswer, StepFailure> {
        let (answer, answered) = oneshot::channel();
        let client_id = publication.client_id.clone();
        let job = Job::Transform {
            publication,
            answer,
        };
        let plugin = self.template.plugin.name.clone();
        match self.send(&client_id, job) {
            Ok(()) => {}
            Err(NotTaken::Full) => return Err(StepFailure::Full(plugin)),
            Err(NotTaken::Ended) => return Err(StepFailure::Unknown(plugin)),
        }
        let until = tokio::time::Instant::now() + self.template.timeout;
        let shared = self.template.plugin.clone();
        Ok(Box::pin(async move {
            match tokio::time::timeout_at(until, answered).await {
                Ok(Ok(outcome)) => outcome,
                // Its worker ended in the middle of it.
                Ok(Err(_)) => Err(StepFailure::Unknown(plugin)),
                Err(_) => {
                    shared.limited.hit(Bound::Timeout);
                    Err(StepFailure::Deadline(plugin))
                }
            }
        }))
    }

    /// Gives a job to the instance that serves `key`: the same one for the same key.
    pub(crate) fn send(&self, key: &str, job: Job) -> Result<(), NotTaken> {
        let hash = foldhash::fast::FixedState::default().hash_one(key);
        let count = u64::try_from(self.queues.len()).unwrap_or(1).max(1);
        let place = usize::try_from(hash % count).unwrap_or(0);
        let Some(queue) = self.queues.get(place) else {
            return Err(NotTaken::Ended);
        };
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.template.plugin.limited.hit(Bound::LaneQueue);
                NotTaken::Full
            }
            mpsc::error::TrySendError::Closed(_) => NotTaken::Ended,
        })
    }
}

/// One instance's life on its worker.
async fn serve(arrival: Arrival) {
    let Arrival {
        template,
        place,
        instance,
        mut jobs,
        before,
        after,
    } = arrival;
    let mut worker = Worker {
        template,
        place,
        instance: Some(instance),
        is_suspect: false,
        strikes: Strikes::default(),
    };
    if let Some(before) = before
        && let Ok(Some(carried)) = before.await
    {
        worker.adopt(&carried).await;
    }
    while let Some(job) = jobs.recv().await {
        worker.run(job).await;
    }
    let left = match &mut worker.instance {
        Some(instance) => within(worker.template.timeout, instance.shut_down())
            .await
            .flatten(),
        None => None,
    };
    let _is_last = after.send(left).is_err();
}

/// The answer of a guest that may wait for ever, if it comes in time; what it waits for is given up otherwise.
async fn within<R>(limit: Duration, called: impl Future<Output = R>) -> Option<R> {
    tokio::time::timeout(limit, called).await.ok()
}

struct Worker {
    template: Arc<Template>,
    place: u32,
    instance: Option<Instance>,
    /// Failed since it last answered: the breaker is asked before it is called.
    is_suspect: bool,
    strikes: Strikes,
}

/// Calls a hook of the instance with the time that a call beside the shards has.
macro_rules! with {
    ($worker:ident, $call:ident ( $($argument:expr),* )) => {
        match $worker.ready().await {
            Ok(mut instance) => {
                let timeout = $worker.template.timeout;
                let called = tokio::time::timeout(timeout, instance.$call($($argument),*)).await;
                $worker.settle(instance, called)
            }
            Err(failure) => Err(failure),
        }
    };
}

impl Worker {
    async fn adopt(&mut self, carried: &[u8]) {
        if let Some(instance) = &mut self.instance
            && within(self.template.timeout, instance.adopt(carried)).await != Some(true)
        {
            self.instance = None;
        }
    }

    async fn run(&mut self, job: Job) {
        match job {
            Job::Authenticate { request, answer } => {
                if !answer.is_closed() {
                    let step = with!(self, authenticate(&request));
                    let _is_gone = answer.send(step).is_err();
                }
            }
            Job::Transform {
                publication,
                answer,
            } => {
                if !answer.is_closed() {
                    let outcome = self.transform(&publication).await;
                    let _is_gone = answer.send(outcome).is_err();
                }
            }
            Job::Deliver { batch, answer } => {
                let delivered = with!(self, deliver(&batch));
                let _is_gone = answer.send(delivered).is_err();
            }
            Job::Observe(batch) => {
                let observed = with!(self, observe(&batch));
                self.note(observed);
            }
            Job::Fire { token, due_ms } => {
                let fired = with!(self, fire(token, due_ms));
                self.note(fired);
            }
        }
        if let Some(bound) = self.instance.as_ref().and_then(Instance::worn_by) {
            self.renew(bound).await;
        }
    }

    async fn transform(&mut self, publication: &Publication) -> Result<StepOutcome, StepFailure> {
        let plugin = self.template.plugin.clone();
        let message = &publication.message;
        if self.strikes.is_poison(message) {
            return Err(StepFailure::Poison(plugin.name.clone()));
        }
        let outcome = with!(self, transform_beside(publication));
        // A deadline is no strike: what was waited for may be there the next time.
        if let Err(StepFailure::Trap { .. } | StepFailure::Memory(_)) = &outcome {
            self.strikes.strike(&plugin, message);
        }
        outcome
    }

    /// A fresh instance takes over what the worn one leaves.
    async fn renew(&mut self, worn_by: Bound) {
        let making = Instance::new(&self.template, Post::Beside(self.place));
        let fresh = within(self.template.limits.init_deadline, making).await;
        let (Some(Ok(fresh)), Some(mut worn)) = (fresh, self.instance.take()) else {
            return;
        };
        let left = within(self.template.timeout, worn.shut_down())
            .await
            .flatten();
        self.instance = Some(fresh);
        if let Some(left) = left {
            self.adopt(&left).await;
        }
        self.template.plugin.count_retired(worn_by);
    }

    /// A failure that nobody waits for: it was counted.
    fn note(&self, result: Result<(), StepFailure>) {
        if let Err(failure) = result {
            tracing::debug!(plugin = %self.template.plugin.name, %failure, "a call failed");
        }
    }

    /// Takes the instance out, or makes a new one.
    async fn ready(&mut self) -> Result<Instance, StepFailure> {
        let plugin = &self.template.plugin;
        if self.is_suspect && plugin.is_resting() {
            return Err(StepFailure::BreakerOpen(plugin.name.clone()));
        }
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        plugin.count_restart();
        let making = Instance::new(&self.template, Post::Beside(self.place));
        let made = within(self.template.limits.init_deadline, making).await;
        let late = || {
            plugin.limited.hit(Bound::InitDeadline);
            InstanceError::Failed(StepFailure::Deadline(plugin.name.clone()))
        };
        made.unwrap_or_else(|| Err(late())).map_err(|error| {
            let failure = error.into_failure(&plugin.name);
            plugin.count_failure(&failure, true);
            failure
        })
    }

    /// Puts the instance back unless it may not be called again.
    fn settle<R>(
        &mut self,
        instance: Instance,
        called: Result<Result<R, Failed>, tokio::time::error::Elapsed>,
    ) -> Result<R, StepFailure> {
        match called {
            Ok(Ok(value)) => {
                (self.instance, self.is_suspect) = (Some(instance), false);
                Ok(value)
            }
            Ok(Err(Failed { failure, is_fatal })) => {
                self.is_suspect |= is_fatal;
                self.instance = (!is_fatal).then_some(instance);
                Err(failure)
            }
            Err(_) => {
                // The call was given up in its middle: its store may not be used any more.
                let plugin = &self.template.plugin;
                let failure = StepFailure::Deadline(plugin.name.clone());
                plugin.limited.hit(Bound::Timeout);
                plugin.count_failure(&failure, true);
                self.is_suspect = true;
                Err(failure)
            }
        }
    }
}
