//! From the end of a chain to the instance of a sink: a bounded queue, batches in order, retries, dead letters.
//!
//! Owns: [`Pump`], one for each plugin with a `sink`; it outlives swaps. What it holds is in memory: it is lost when the
//! broker ends. One batch is on its way at a time, so messages reach the sink in order, and one that has to wait holds
//! up those behind it.

use crate::config::RuntimeConfig;
use crate::directory::Directory;
use crate::imports::now_ms;
use crate::lane::{Delivered, Job, Lane, NotTaken, Publication, Workers};
use crate::limited::Bound;
use crate::plugin::Shared;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use witmq_broker::ports::StepFailure;

use witmq_proto::{ByteString, Message, TopicName};

/// Where messages go that a plugin can never take: `$dead-letter/PLUGIN`.
const DEAD_LETTER: &str = "$dead-letter";
/// The first pause after a failure; each one after it is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Calls that one message may end before it is given up.
const STRIKES: u8 = 2;

/// Numbers about a sink.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dead: AtomicU64,
    /// The queue was full.
    pub(crate) refused: AtomicU64,
    pub(crate) waiting: AtomicU64,
}

/// The queue of one sink.
#[derive(Debug)]
pub(crate) struct Pump {
    queue: mpsc::Sender<Publication>,
    shared: std::sync::Weak<Shared>,
    pub(crate) counts: Arc<Counts>,
}

impl Pump {
    /// Ends when it is dropped and the queue is empty.
    pub(crate) fn start(
        workers: &Workers,
        directory: Arc<Directory>,
        shared: Arc<Shared>,
        config: &Arc<RuntimeConfig>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(config.sink_queue.max(1));
        let counts: Arc<Counts> = Arc::default();
        let (config, for_task) = (config.clone(), counts.clone());
        let weak = Arc::downgrade(&shared);
        workers.spawn(0, move || {
            let task = Task {
                shared: Arc::downgrade(&shared),
                name: shared.name.clone(),
                directory,
                config,
                counts: for_task,
                waiting,
                pending: VecDeque::new(),
                pause: FIRST_PAUSE,
                alone: 0,
            };
            drop(shared);
            Box::pin(task.run())
        });
        Self {
            queue,
            shared: weak,
            counts,
        }
    }

    /// Takes a message; false if the queue is full.
    pub(crate) fn push(&self, publication: Publication) -> bool {
        let is_taken = self.queue.try_send(publication).is_ok();
        let count = match is_taken {
            true => &self.counts.waiting,
            false => &self.counts.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !is_taken && let Some(shared) = self.shared.upgrade() {
            shared.limited.hit(Bound::SinkQueue);
        }
        is_taken
    }
}

struct Pending {
    publication: Publication,
    since: Instant,
    strikes: u8,
}

struct Task {
    shared: std::sync::Weak<Shared>,
    name: String,
    directory: Arc<Directory>,
    config: Arc<RuntimeConfig>,
    counts: Arc<Counts>,
    waiting: mpsc::Receiver<Publication>,
    /// Taken from the queue and not done, in order.
    pending: VecDeque<Pending>,
    pause: Duration,
    /// So many are sent one by one: one of them ended a call.
    alone: usize,
}

impl Task {
    async fn run(mut self) {
        while self.fill().await {
            let Some(lane) = self.lane() else {
                if self.shared.upgrade().is_none() {
                    return; // removed
                }
                tokio::time::sleep(FIRST_PAUSE).await;
                continue;
            };
            let size = match self.alone {
                0 => self.pending.len(),
                _ => 1,
            };
            let batch: Vec<Pending> = self.pending.drain(..size).collect();
            let (batch, said) = self.ask(&lane, batch).await;
            let pause = self.settle(batch, said);
            self.give_up_old();
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }

    fn lane(&self) -> Option<Arc<Lane>> {
        let lane = self.directory.find(&self.name)?.lane()?;
        lane.has_sink().then_some(lane)
    }

    /// At least one message to send; false: there will be none any more.
    async fn fill(&mut self) -> bool {
        if self.pending.is_empty() {
            match self.waiting.recv().await {
                Some(first) => self.push(first),
                None => return false,
            }
        }
        while self.pending.len() < self.config.batch
            && let Ok(next) = self.waiting.try_recv()
        {
            self.push(next);
        }
        true
    }

    fn push(&mut self, publication: Publication) {
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        self.pending.push_back(Pending {
            publication,
            since: Instant::now(),
            strikes: 0,
        });
    }

    async fn ask(
        &self,
        lane: &Lane,
        batch: Vec<Pending>,
    ) -> (Vec<Pending>, Result<Vec<Delivered>, StepFailure>) {
        let (answer, answered) = oneshot::channel();
        let messages = batch.iter().map(|part| part.publication.clone()).collect();
        let job = Job::Deliver {
            batch: messages,
            answer,
        };
        let failed = |cause: &str| StepFailure::Failed {
            plugin: self.name.clone(),
            cause: cause.to_owned(),
        };
        let said = match lane.send("", job) {
            Ok(()) => match answered.await {
                Ok(said) => said,
                Err(_) => Err(failed("its instance ended")),
            },
            Err(NotTaken::Full) => Err(failed("its queue is full")),
            Err(NotTaken::Ended) => Err(failed("it is being replaced")),
        };
        (batch, said)
    }

    /// What is done goes; what is not comes again, after the pause given, before what came later.
    fn settle(
        &mut self,
        batch: Vec<Pending>,
        said: Result<Vec<Delivered>, StepFailure>,
    ) -> Option<Duration> {
        let answers = match said {
            Ok(answers) => answers,
            Err(failure) => return Some(self.failed(batch, &failure)),
        };
        self.alone = self.alone.saturating_sub(batch.len());
        let (mut again, mut pause, mut is_ours) = (Vec::new(), None, false);
        for (part, answer) in batch.into_iter().zip(answers) {
            match answer {
                Delivered::Done => {
                    self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                }
                Delivered::Never(text) => self.bury(&part.publication, &text),
                Delivered::Again(after) => {
                    self.counts.retried.fetch_add(1, Ordering::Relaxed);
                    is_ours |= after.is_none();
                    let after = after.map(|after| after.min(self.config.sink_give_up));
                    pause = pause.max(Some(after.unwrap_or(self.pause)));
                    again.push(part);
                }
            }
        }
        match pause {
            Some(_) if is_ours => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
            Some(_) => {} // the plugin says how long
            None => self.pause = FIRST_PAUSE,
        }
        again
            .into_iter()
            .rev()
            .for_each(|part| self.pending.push_front(part));
        pause
    }

    /// Nothing is known of any message of the batch: all come again. One that ends calls by itself is given up.
    fn failed(&mut self, mut batch: Vec<Pending>, failure: &StepFailure) -> Duration {
        let is_fatal = matches!(
            failure,
            StepFailure::Trap { .. } | StepFailure::Deadline(_) | StepFailure::Memory(_)
        );
        let count = u64::try_from(batch.len()).unwrap_or(0);
        self.counts.retried.fetch_add(count, Ordering::Relaxed);
        if is_fatal && batch.len() > 1 {
            self.alone = batch.len();
        } else if is_fatal && let Some(only) = batch.first_mut() {
            only.strikes += 1;
            if only.strikes >= STRIKES {
                let text = format!("it ended {STRIKES} calls: {failure}");
                self.bury(&only.publication, &text);
                self.alone = self.alone.saturating_sub(1);
                batch.clear();
                self.pause = FIRST_PAUSE; // the next one may fare better
            }
        }
        batch
            .into_iter()
            .rev()
            .for_each(|part| self.pending.push_front(part));
        let pause = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }

    fn give_up_old(&mut self) {
        let limit = self.config.sink_give_up;
        while self
            .pending
            .front()
            .is_some_and(|first| first.since.elapsed() > limit)
        {
            if let Some(first) = self.pending.pop_front() {
                if let Some(shared) = self.shared.upgrade() {
                    shared.limited.hit(Bound::SinkGiveUp);
                }
                let text = format!("it was not delivered within {limit:?}");
                self.bury(&first.publication, &text);
            }
        }
    }

    fn bury(&self, publication: &Publication, reason: &str) {
        self.counts.dead.fetch_add(1, Ordering::Relaxed);
        if let Some(shared) = self.shared.upgrade() {
            bury(&shared, &publication.message, reason);
        }
    }
}

/// Publishes what a plugin can never take, with the topic it had and why.
pub(crate) fn bury(shared: &Shared, message: &Message, reason: &str) {
    shared.note_error(reason.to_owned());
    let Ok(topic) = TopicName::new(format!("{DEAD_LETTER}/{}", shared.name)) else {
        return;
    };
    let mut properties = message.properties.clone();
    let user = &mut properties.user;
    user.push(("topic".into(), message.topic.as_byte_string().clone()));
    user.push(("reason".into(), ByteString::from(reason)));
    let letter = Message {
        topic,
        payload: message.payload.clone(),
        qos: message.qos,
        retain: false,
        properties,
        expires_at: None,
        publisher: ByteString::new(),
        received_ms: now_ms(),
        hops: message.hops,
    };
    if !(shared.outside.publish)(letter) {
        tracing::warn!(plugin = %shared.name, topic = %message.topic, "a dead letter is lost: the broker is busy");
    }
}
