//! What follows when a chain is given a rest: it is said in the log, a canary is taken back, and another version of a plugin that
//! it calls ends it.
//!
//! Owns: a thread that takes canaries back, because that writes to disk, and what waits for it. Must not: run on a
//! shard, but for the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use witmq_rules::{Rules, Turn};
use witmq_runtime::Runtime;

/// A revision that rests, and why.
#[derive(Debug, PartialEq)]
struct Rest {
    chain: String,
    revision: u64,
    why: String,
}

/// Canaries on their way to the thread, and those for which there was no room.
#[derive(Clone)]
struct Queue {
    into: SyncSender<Option<Rest>>,
    left: Arc<AtomicU64>,
}

impl Queue {
    /// `limits.canary_queue` of them wait. One beyond them is taken back when its next message fails.
    fn new(limit: usize) -> (Self, Receiver<Option<Rest>>) {
        let (into, out) = sync_channel(limit);
        let left = Arc::default();
        (Self { into, left }, out)
    }

    /// False: there is no room, which is counted.
    fn offer(&self, rest: Rest) -> bool {
        let is_taken = self.into.try_send(Some(rest)).is_ok();
        self.left.fetch_add(u64::from(!is_taken), Ordering::Relaxed);
        is_taken
    }
}

/// Ends the thread when dropped.
pub(crate) struct Resting {
    queue: Queue,
}

impl Resting {
    /// How often a canary was not taken back at once because too many waited for that.
    pub(crate) fn left(&self) -> Arc<AtomicU64> {
        self.queue.left.clone()
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        // A thread that is so busy that this does not fit ends with the process.
        let _is_full = self.queue.into.try_send(None);
    }
}

/// Says what breakers of chains do, from now on. `limit`: canaries that may wait to be taken back.
pub(crate) fn start(rules: &Rules, plugins: &Runtime, limit: usize) -> std::io::Result<Resting> {
    let chains = rules.clone();
    plugins.on_change(move |name| chains.plugin_changed(name));
    let (queue, out) = Queue::new(limit);
    let told = queue.clone();
    rules.on_rest(move |chain, revision, turn| match turn {
        Turn::Rests { rest_ms, why } => {
            tracing::warn!(
                chain,
                revision,
                rest_ms,
                why,
                "the chain rests; its `on_error` says what becomes of messages"
            );
            let rest = Rest {
                chain: chain.to_owned(),
                revision,
                why: why.clone(),
            };
            if !told.offer(rest) {
                tracing::warn!(
                    chain,
                    revision,
                    "`limits.canary_queue` is reached: if it is a canary, it is taken back when it fails again"
                );
            }
        }
        Turn::Runs => tracing::info!(chain, revision, "the chain runs again"),
    });
    let rules = rules.clone();
    std::thread::Builder::new()
        .name("chain-canaries".to_owned())
        .spawn(move || take_back(&rules, &out))?;
    Ok(Resting { queue })
}

fn take_back(rules: &Rules, rests: &Receiver<Option<Rest>>) {
    while let Ok(Some(Rest {
        chain,
        revision,
        why,
    })) = rests.recv()
    {
        match rules.take_back(&chain, revision, &why) {
            Ok(true) => tracing::warn!(
                chain,
                revision,
                why,
                "the canary was taken back: all clients get the revision that runs"
            ),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(
                    chain,
                    revision,
                    "the canary cannot be taken back and rests: {error}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(revision: u64) -> Rest {
        Rest {
            chain: "c".to_owned(),
            revision,
            why: "it fails".to_owned(),
        }
    }

    #[test]
    fn so_many_canaries_wait_and_one_more_is_counted() {
        let (queue, out) = Queue::new(3);
        let resting = Resting { queue };
        let left = resting.left();
        for revision in 1..=3 {
            assert!(resting.queue.offer(rest(revision)));
        }
        assert_eq!(left.load(Ordering::Relaxed), 0);
        assert!(!resting.queue.offer(rest(4)));
        assert_eq!(left.load(Ordering::Relaxed), 1);
        assert_eq!(out.try_recv(), Ok(Some(rest(1))));
        assert!(resting.queue.offer(rest(5)), "there is room again");
        assert_eq!(left.load(Ordering::Relaxed), 1);
        let waiting: Vec<_> = out.try_iter().collect();
        assert_eq!(waiting, [2, 3, 5].map(|revision| Some(rest(revision))));
        drop(resting);
        assert_eq!(out.try_recv(), Ok(None), "the thread is told to end");
    }
}
