//! The simulation on a disk in memory, some hundred seeds of it.
//!
//! `WITMQ_TEST_SEED=7 cargo test -p witmq-broker simulation` repeats one; `cargo xtask simulate` runs many.

use crate::testing::simulation::{Ram, run};

const SEEDS: u64 = 300;
const STEPS: u32 = 400;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn whatever_the_moments_every_promise_is_kept() {
    let from = setting("WITMQ_TEST_FROM").unwrap_or(0);
    let seeds = match setting("WITMQ_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + setting("WITMQ_TEST_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let crashes: u64 = seeds.map(|seed| run(seed, STEPS, Ram::default())).sum();
    println!("{count} seeds, {crashes} crashes: every promise was kept");
    assert!(crashes >= count, "the crashes are missing");
}
