//! Microbenches: how long the workloads take whose instructions `cargo xtask bench --instructions` counts.
//!
//! Owns: how they are timed: a sample is one batch of messages, and the throughput is messages a second. `cargo xtask bench
//! --micro` runs them, after building the components that some of them call.

#![allow(clippy::panic, reason = "a bench that does not play is over")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use witmq_bench::workloads::{CORE, PLUGIN, set_up};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages of a batch: whole rounds of every workload.
const BATCH: u32 = 3200;

fn main() {
    divan::main();
}

#[divan::bench(args = CORE)]
fn core(bencher: Bencher<'_, '_>, workload: &str) {
    play(bencher, workload);
}

#[divan::bench(args = PLUGIN)]
fn plugin(bencher: Bencher<'_, '_>, workload: &str) {
    play(bencher, workload);
}

fn play(bencher: Bencher<'_, '_>, workload: &str) {
    let mut batch = match set_up(workload) {
        Ok(batch) => batch,
        Err(error) => panic!("{workload}: {error:#}"),
    };
    let bencher = bencher.counter(ItemsCount::new(BATCH));
    bencher.bench_local(|| match batch(black_box(BATCH)) {
        Ok(BATCH) => {}
        other => panic!("{workload}: {other:?} of {BATCH} came"),
    });
}
