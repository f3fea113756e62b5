//! Plugins by name, for who finds them off the message path.
//!
//! Owns: [`Directory`], [`Observers`] (events from shards to the plugins that look on).

use crate::abi::events;
use crate::convert;
use crate::imports::now_ms;
use crate::lane::{Job, Lane};
use crate::plugin::Shared;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use witmq_broker::ports::BrokerEvent;

/// An event waits at most this long for others of its batch.
const GATHER: Duration = Duration::from_millis(50);

/// Every installed plugin.
#[derive(Default)]
pub(crate) struct Directory {
    plugins: RwLock<BTreeMap<String, Arc<Shared>>>,
    /// Whether any of them looks on.
    has_observer: AtomicBool,
}

impl Directory {
    pub(crate) fn find(&self, plugin: &str) -> Option<Arc<Shared>> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.get(plugin).cloned()
    }

    /// A plugin was installed, changed or (`None`) removed.
    pub(crate) fn set(&self, plugin: &str, shared: Option<Arc<Shared>>) {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        match shared {
            Some(shared) => plugins.insert(plugin.to_owned(), shared),
            None => plugins.remove(plugin),
        };
        let has_observer = plugins
            .values()
            .any(|shared| shared.lane().is_some_and(|lane| lane.has_events()));
        self.has_observer.store(has_observer, Ordering::Relaxed);
    }

    fn observers(&self) -> Vec<Arc<Lane>> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let lanes = plugins.values().filter_map(|shared| shared.lane());
        lanes.filter(|lane| lane.has_events()).collect()
    }

    /// A timer fell due.
    pub(crate) fn fire(&self, plugin: &str, token: u64, due: Instant) {
        let Some(lane) = self.find(plugin).and_then(|shared| shared.lane()) else {
            return;
        };
        let late = u64::try_from(due.elapsed().as_millis()).unwrap_or(0);
        let due_ms = now_ms().saturating_sub(late);
        // A full lane is counted there.
        let _is_full = lane.send("", Job::Fire { token, due_ms }).is_err();
    }
}

/// Takes events of shards. Cheap to clone; costs one look at a flag where no plugin looks on.
#[derive(Clone)]
pub struct Observers {
    queue: SyncSender<events::Event>,
    directory: Arc<Directory>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

impl Observers {
    /// The thread ends when the last clone is gone.
    pub(crate) fn start(
        directory: Arc<Directory>,
        waiting: usize,
        batch: usize,
    ) -> std::io::Result<Self> {
        let (queue, events) = sync_channel(waiting);
        let for_thread = directory.clone();
        std::thread::Builder::new()
            .name("plugin-events".to_owned())
            .spawn(move || hand_out(&for_thread, &events, batch.max(1)))?;
        Ok(Self {
            queue,
            directory,
            dropped: Arc::default(),
        })
    }

    /// Something happened. Never waits: what the queue has no room for is dropped and counted.
    pub fn emit(&self, event: &BrokerEvent) {
        if !self.directory.has_observer.load(Ordering::Relaxed) {
            return;
        }
        if let Some(event) = convert::event(event, now_ms())
            && self.queue.try_send(event).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that the queue had no room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn hand_out(directory: &Directory, events: &Receiver<events::Event>, maximum: usize) {
    while let Ok(first) = events.recv() {
        let (end, mut batch) = (Instant::now() + GATHER, vec![first]);
        while batch.len() < maximum {
            let left = end.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(event) => batch.push(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let batch = Arc::new(batch);
        for lane in directory.observers() {
            // A full lane is counted there.
            let _is_full = lane.send("", Job::Observe(batch.clone())).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_bounded_on_both_sides() {
        const QUEUE: u64 = 4;
        let directory: Arc<Directory> = Arc::default();
        directory.has_observer.store(true, Ordering::Relaxed);
        let queue = usize::try_from(QUEUE).unwrap();
        let observers = Observers::start(directory.clone(), queue, 1).unwrap();
        // The thread that hands them out takes one, and gets no further.
        let held = directory.plugins.write().unwrap();
        let emit = || {
            observers.emit(&BrokerEvent::SessionEnded {
                client_id: "c".into(),
            });
        };
        (0..QUEUE).for_each(|_| emit());
        assert_eq!(observers.dropped(), 0, "they fit");
        (0..3).for_each(|_| emit());
        let dropped = observers.dropped();
        assert!((2..=3).contains(&dropped), "one is in its hands: {dropped}");
        drop(held);
    }
}
