//! Windows of chains that end by time, though no message comes.
//!
//! Owns: a thread that sleeps until the first one ends, and then asks one shard after the other. Must not: run chains; a
//! shard does, with plugins and all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};
use witmq_broker::ShardId;
use witmq_broker::shard::{ClockBase, Shard};
use witmq_net::Node;
use witmq_rules::Rules;

/// Before a shard that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends the thread when dropped.
pub(crate) struct Windows {
    is_over: Arc<AtomicBool>,
    thread: Thread,
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Starts the thread.
pub(crate) fn start(rules: &Rules, node: &Arc<Node>, clock: ClockBase) -> std::io::Result<Windows> {
    let is_over = Arc::new(AtomicBool::new(false));
    let (ends, windows, shards) = (is_over.clone(), rules.clone(), node.clone());
    let thread = std::thread::Builder::new()
        .name("chain-windows".to_owned())
        .spawn(move || watch(&ends, &windows, &shards, clock))?;
    let thread = thread.thread().clone();
    let sleeper = thread.clone();
    rules.on_earlier(Box::new(move || sleeper.unpark()));
    // What was due before anybody was told.
    thread.unpark();
    Ok(Windows { is_over, thread })
}

fn watch(is_over: &AtomicBool, rules: &Rules, node: &Node, clock: ClockBase) {
    let mut turn = 0;
    while !is_over.load(Ordering::Acquire) {
        let Some(due_ms) = rules.next_due_ms() else {
            std::thread::park();
            continue;
        };
        let left_ms = due_ms.saturating_sub(clock.unix_ms(Instant::now()));
        if left_ms > 0 {
            std::thread::park_timeout(Duration::from_millis(left_ms));
            continue;
        }
        turn = (turn + 1) % node.shards().max(1);
        let due = |shard: &mut Shard, now| shard.chains_due(now);
        if node.inspect(ShardId(turn), due).is_none() {
            std::thread::park_timeout(PAUSE);
        }
    }
}
