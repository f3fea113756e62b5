//! From a queue to its service: batches in order, retries, dead letters, on a thread of the sink's own.
//!
//! Owns: [`Running`], a thread that was started and can be told to pause and to end. One batch is on its way at a
//! time, so messages reach the service in order, and one that has to wait holds up those behind it.

use crate::outlet::{Answer, Later, Outlet, Trouble};
use crate::queue::{Position, Queue, Reader};
use crate::record::{Record, now_ms};
use crate::settings::Settings;
use crate::state::{State, count};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use witmq_broker::ports::Inject;
use witmq_proto::{ByteString, Message, TopicName};

/// Where messages go that the service can never take: `$dead-letter/sink/NAME`.
const DEAD_LETTER: &str = "$dead-letter/sink";
/// How often a kind is asked whether it has something to do while nothing comes.
const IDLE: Duration = Duration::from_secs(1);
/// The broker is busy and does not take a dead letter: once more after this.
const BUSY: Duration = Duration::from_millis(50);
/// What a kind has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// What a thread has to end.
const END: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    Pause,
    Stop,
}

/// A worker's thread.
pub(crate) struct Running {
    orders: watch::Sender<Order>,
    ended: std::sync::mpsc::Receiver<()>,
}

/// What a worker works with.
pub(crate) struct Work {
    pub(crate) settings: Settings,
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: Arc<State>,
    pub(crate) publish: Inject,
}

impl Running {
    pub(crate) fn start(
        work: Work,
        outlet: impl FnOnce() -> Box<dyn Outlet> + Send + 'static,
        source: impl Fn() -> Option<Later<'static, ()>> + Send + 'static,
    ) -> io::Result<Self> {
        let reader = Reader::open(&work.queue)?;
        let reader = reader.ok_or_else(|| io::Error::other("its queue is still being read"))?;
        let first = match work.state.is_paused.load(Ordering::Relaxed) {
            true => Order::Pause,
            false => Order::Run,
        };
        let (orders, listen) = watch::channel(first);
        let (ends, ended) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let name = format!("sink-{}", work.settings.name);
        std::thread::Builder::new().name(name).spawn(move || {
            let (queue, sync) = (work.queue.clone(), work.settings.sync);
            let worker = Worker {
                pause: work.settings.retry.first,
                outlet: outlet(),
                work,
                reader,
                records: VecDeque::new(),
                places: VecDeque::new(),
                alone: 0,
            };
            runtime.block_on(async {
                tokio::select! {
                    () = worker.run(listen.clone()) => {}
                    () = follow(listen, source) => {}
                    () = keep_synced(&queue, sync) => {}
                }
            });
            sync_now(&queue);
            let _nobody_waits = ends.send(()).is_err();
        })?;
        Ok(Self { orders, ended })
    }

    pub(crate) fn pause(&self, is_paused: bool) {
        let order = if is_paused { Order::Pause } else { Order::Run };
        let _is_ended = self.orders.send(order).is_err();
    }

    /// Told to end; [`Running::wait`] waits for it.
    pub(crate) fn stop(&self) {
        let _is_ended = self.orders.send(Order::Stop).is_err();
    }

    /// False: it does not end.
    pub(crate) fn wait(&self) -> bool {
        use std::sync::mpsc::RecvTimeoutError;
        let ended = self.ended.recv_timeout(END);
        !matches!(ended, Err(RecvTimeoutError::Timeout))
    }
}

fn sync_now(queue: &Queue) {
    if let Err(error) = queue.sync() {
        tracing::error!(%error, "the queue of a sink cannot be synced: what is in it may not outlive a loss of power");
    }
}

async fn keep_synced(queue: &Arc<Queue>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let queue = queue.clone();
        let _is_stopping = tokio::task::spawn_blocking(move || sync_now(&queue))
            .await
            .is_err();
    }
}

/// Lets a source run while it may. Does not end: the worker does.
async fn follow(
    mut orders: watch::Receiver<Order>,
    source: impl Fn() -> Option<Later<'static, ()>>,
) {
    loop {
        let order = *orders.borrow_and_update();
        let running = (order == Order::Run).then(&source).flatten();
        let is_over = match running {
            Some(running) => tokio::select! {
                changed = orders.changed() => changed.is_err(),
                () = running => false,
            },
            None => orders.changed().await.is_err(),
        };
        if is_over {
            return std::future::pending().await;
        }
    }
}

/// What was taken from the queue and is not done with.
struct Place {
    end: Position,
    /// With what is passed over behind it.
    messages: u64,
    bytes: u64,
    was_tried: bool,
}

struct Worker {
    work: Work,
    outlet: Box<dyn Outlet>,
    reader: Reader,
    /// In order; each has a place of the same number.
    records: VecDeque<Record>,
    places: VecDeque<Place>,
    pause: Duration,
    /// So many are sent one by one: something in a batch was refused.
    alone: usize,
}

impl Worker {
    async fn run(mut self, mut orders: watch::Receiver<Order>) {
        loop {
            let order = *orders.borrow_and_update();
            let is_over = match order {
                Order::Stop => break,
                Order::Pause => orders.changed().await.is_err(),
                Order::Run => tokio::select! {
                    changed = orders.changed() => changed.is_err(),
                    // Given up at any point, it leaves everything that is not done with in its place.
                    () = self.turn() => false,
                },
            };
            if is_over {
                break;
            }
        }
        let _is_slow = tokio::time::timeout(GOODBYE, self.outlet.close())
            .await
            .is_err();
    }

    async fn turn(&mut self) {
        if let Err(error) = self.fill().await {
            self.fail(&format!("its queue cannot be read: {error}"));
            return self.rest(None).await;
        }
        let size = match self.alone {
            0 => self.places.len(),
            _ => 1,
        };
        let limit = self.work.settings.timeout;
        let batch = self.records.make_contiguous();
        let batch = batch.get(..size).unwrap_or_default();
        let sent = tokio::time::timeout(limit, self.outlet.send(batch)).await;
        let sent =
            sent.unwrap_or_else(|_| Err(Trouble::away(format!("no answer within {limit:?}"))));
        self.settle(size, sent).await;
    }

    /// At least one message to send.
    async fn fill(&mut self) -> io::Result<()> {
        let wait = self.work.settings.batch.wait;
        let mut until = None;
        loop {
            self.read()?;
            if self.places.is_empty() {
                self.idle().await;
                continue;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + wait);
            if self.is_full() || self.alone > 0 || Instant::now() >= until {
                return Ok(());
            }
            let more = self.work.queue.ready.notified();
            let _is_time = tokio::time::timeout_at(until.into(), more).await.is_err();
        }
    }

    /// A batch.
    fn is_full(&self) -> bool {
        let batch = self.work.settings.batch;
        let bytes: u64 = self.places.iter().map(|place| place.bytes).sum();
        self.places.len() >= batch.messages || bytes >= batch.bytes
    }

    /// What is there, up to a batch.
    fn read(&mut self) -> io::Result<()> {
        while !self.is_full() {
            let Some(taken) = self.reader.next()? else {
                return Ok(());
            };
            self.put(taken.record, taken.end, taken.bytes);
        }
        Ok(())
    }

    async fn idle(&mut self) {
        let is_quiet = tokio::time::timeout(IDLE, self.work.queue.ready.notified())
            .await
            .is_err();
        if is_quiet && let Err(error) = self.outlet.idle().await {
            self.fail(&error);
        }
    }

    fn put(&mut self, record: Option<Record>, end: Position, bytes: u64) {
        let now = now_ms();
        let is_expired = |record: &Record| record.expires_ms.is_some_and(|at| at <= now);
        match record {
            Some(record) if !is_expired(&record) => {
                self.records.push_back(record);
                self.places.push_back(Place {
                    end,
                    messages: 1,
                    bytes,
                    was_tried: false,
                });
            }
            passed => {
                let counter = match passed {
                    Some(_) => &self.work.state.expired,
                    None => &self.work.state.dead,
                };
                count(counter, 1);
                match self.places.back_mut() {
                    Some(last) => {
                        (last.end, last.messages) = (end, last.messages + 1);
                        last.bytes += bytes;
                    }
                    None => self.finish(end, 1, bytes),
                }
            }
        }
    }

    async fn settle(&mut self, size: usize, sent: Result<Vec<Answer>, Trouble>) {
        match sent {
            Ok(answers) => {
                for answer in answers {
                    match answer {
                        Answer::Done => count(&self.work.state.delivered, 1),
                        Answer::Looped => count(&self.work.state.looped, 1),
                        Answer::Never(text) => self.bury(&text).await,
                    }
                    self.pop();
                    self.alone = self.alone.saturating_sub(1);
                }
                self.recover();
            }
            Err(Trouble::Refused(_)) if size > 1 => self.alone = size,
            Err(Trouble::Refused(text)) => {
                self.bury(&text).await;
                self.pop();
                self.alone = self.alone.saturating_sub(1);
                self.recover();
            }
            Err(Trouble::Away { text, after }) => {
                self.fail(&text);
                count(&self.work.state.retried, size);
                let tried = self.places.iter_mut().take(size);
                tried.for_each(|place| place.was_tried = true);
                self.give_up_old(&text).await;
                self.rest(after).await;
            }
        }
    }

    async fn give_up_old(&mut self, cause: &str) {
        let Some(limit) = self.work.settings.give_up else {
            return;
        };
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        while let (Some(record), Some(place)) = (self.records.front(), self.places.front())
            && place.was_tried
            && now_ms().saturating_sub(record.received_ms) > limit_ms
        {
            self.bury(&format!("not taken within {limit:?}: {cause}"))
                .await;
            self.pop();
            self.alone = self.alone.saturating_sub(1);
        }
    }

    /// The first one is done with.
    fn pop(&mut self) {
        self.records.pop_front();
        if let Some(place) = self.places.pop_front() {
            self.finish(place.end, place.messages, place.bytes);
        }
    }

    fn finish(&mut self, end: Position, messages: u64, bytes: u64) {
        if let Err(error) = self.reader.finish(end, messages, bytes) {
            // It comes once more after a restart, which is better than not at all.
            self.fail(&format!("its queue cannot be written: {error}"));
        }
    }

    fn fail(&self, error: &str) {
        count(&self.work.state.failed, 1);
        if self.work.state.fail(error) {
            let sink = &self.work.settings.name;
            tracing::warn!(sink, "messages of a sink wait: {error}");
        }
    }

    fn recover(&mut self) {
        self.pause = self.work.settings.retry.first;
        if self.work.state.recover() {
            tracing::info!(
                sink = &self.work.settings.name,
                "messages of a sink flow again"
            );
        }
    }

    /// The pause after a failure.
    async fn rest(&mut self, after: Option<Duration>) {
        let retry = self.work.settings.retry;
        let pause = match after {
            Some(after) => after.min(retry.longest),
            None => {
                let pause = self.pause;
                self.pause = (pause * 2).min(retry.longest);
                pause
            }
        };
        tokio::time::sleep(retry.with_jitter(pause)).await;
    }

    /// Publishes the first one with the topic it had and why. It is done with only when the broker took that.
    async fn bury(&self, reason: &str) {
        let name = &self.work.settings.name;
        let Some(record) = self.records.front() else {
            return;
        };
        let Ok(topic) = TopicName::new(format!("{DEAD_LETTER}/{name}")) else {
            return;
        };
        tracing::warn!(
            sink = name,
            topic = &*record.topic,
            "a dead letter: {reason}"
        );
        while !(self.work.publish)(letter(record, topic.clone(), reason)) {
            tokio::time::sleep(BUSY).await;
        }
        self.work.state.note(reason);
        count(&self.work.state.dead, 1);
    }
}

fn letter(record: &Record, topic: TopicName, reason: &str) -> Message {
    let mut properties = record.properties.clone();
    let user = &mut properties.user;
    user.push(("topic".into(), record.topic.clone()));
    user.push(("reason".into(), ByteString::from(reason)));
    Message {
        topic,
        payload: record.payload.clone(),
        qos: record.qos,
        retain: false,
        properties,
        expires_at: None,
        publisher: ByteString::new(),
        received_ms: now_ms(),
        hops: 0,
    }
}

#[cfg(test)]
mod tests;
