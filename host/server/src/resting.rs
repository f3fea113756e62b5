//! What follows when a chain is given a rest: it is said in the log, and a canary is taken back.
//!
//! Owns: a thread that takes canaries back, because that writes to disk. Must not: run on a shard, but for the log.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use witmq_rules::{Rules, Turn};

/// Canaries that wait to be taken back. One beyond them is taken back when its next message fails.
const WAITING: usize = 64;

/// A revision that rests, and why.
struct Rest {
    chain: String,
    revision: u64,
    why: String,
}

/// Ends the thread when dropped.
pub(crate) struct Resting {
    into: SyncSender<Option<Rest>>,
}

impl Drop for Resting {
    fn drop(&mut self) {
        // A thread that is so busy that this does not fit ends with the process.
        let _is_full = self.into.try_send(None);
    }
}

/// Says what breakers of chains do, from now on.
pub(crate) fn start(rules: &Rules) -> std::io::Result<Resting> {
    let (into, out) = sync_channel(WAITING);
    let tell = into.clone();
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
            if tell.try_send(Some(rest)).is_err() {
                tracing::warn!(
                    chain,
                    revision,
                    "if it is a canary, it is taken back when it fails again"
                );
            }
        }
        Turn::Runs => tracing::info!(chain, revision, "the chain runs again"),
    });
    let rules = rules.clone();
    std::thread::Builder::new()
        .name("chain-canaries".to_owned())
        .spawn(move || take_back(&rules, &out))?;
    Ok(Resting { into })
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
