//! How long a shard is held when a new version is switched in. Measured, not asserted: run it by hand.
//!
//! `cargo test --release -p witmq-runtime --test stall -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{NOBODY, built, config, guest, install, message, mode, start};
use std::time::{Duration, Instant};
use witmq_broker::ports::Transform;
use witmq_proto::Message;
use witmq_runtime::{RuntimeConfig, ShardPlugins};

const SWAPS: usize = 1000;

/// The call of one message: with a swap waiting, the shard takes it up first.
fn timed(hooks: &mut ShardPlugins, message: &Message) -> Duration {
    let start = Instant::now();
    let outcome = hooks.transform("g", NOBODY, message);
    let took = start.elapsed();
    outcome.unwrap();
    took
}

fn print(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1000];
    let [median, most, last] = [500, 990, 1000].map(at);
    println!(
        "{what}: median {median:?}, p99 {most:?}, max {last:?} of {}",
        took.len()
    );
}

fn measure(name: &str, wasm: &[u8], settings: &Option<String>) {
    let runtime = start(RuntimeConfig {
        shards: 1,
        ..config()
    });
    let mut versions = [wasm.to_vec(), wasm.to_vec()];
    versions[1].extend([0, 3, 1, b'v', 1]); // a custom section: another version of the same code
    install(&runtime, "g", versions[0].clone(), settings.clone()).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let message = message("of no interest");
    let (mut plain, mut swapped) = (Vec::new(), Vec::new());
    for swap in 0..SWAPS {
        let wasm = versions[(swap + 1) % 2].clone();
        for _ in 0..10 {
            plain.push(timed(&mut hooks, &message));
        }
        install(&runtime, "g", wasm, settings.clone()).unwrap();
        swapped.push(timed(&mut hooks, &message));
    }
    print(&format!("{name}: a message without a swap"), plain);
    print(&format!("{name}: the first after one"), swapped);
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_shard_is_held_at_a_swap() {
    measure("stateless", &built("witmq-test-guests-bench"), &None);
    measure("state handed over", &guest(), &mode("carry"));
}
