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

/// What a call took by the clock, and how much of it this thread ran: the rest was somebody else's turn on the processor.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    ran: Duration,
}

/// How long this thread ran so far.
fn ran() -> Duration {
    let ran = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        ran.tv_sec.try_into().unwrap(),
        ran.tv_nsec.try_into().unwrap(),
    )
}

/// The call of one message: with a swap waiting, the shard takes it up first.
fn timed(hooks: &mut ShardPlugins, message: &Message) -> Took {
    let (start, before) = (Instant::now(), ran());
    let outcome = hooks.transform("g", NOBODY, message);
    let took = Took {
        ran: ran() - before,
        wall: start.elapsed(),
    };
    outcome.unwrap();
    took
}

fn print(what: &str, took: &[Took]) {
    for (clock, of) in [
        ("by the clock", (|took| took.wall) as fn(&Took) -> Duration),
        ("on the processor", |took| took.ran),
    ] {
        let mut times: Vec<Duration> = took.iter().map(of).collect();
        times.sort();
        let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
        let [median, most, last] = [500, 990, 1000].map(at);
        let count = times.len();
        println!("{what}, {clock}: median {median:?}, p99 {most:?}, max {last:?} of {count}");
    }
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
    print(&format!("{name}: a message without a swap"), &plain);
    print(&format!("{name}: the first after one"), &swapped);
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_shard_is_held_at_a_swap() {
    measure("stateless", &built("witmq-test-guests-bench"), &None);
    measure("state handed over", &guest(), &mode("carry"));
}
