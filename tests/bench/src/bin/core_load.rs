//! `core-load WORKLOAD COUNT`: moves so many messages through protocol and broker in memory, for callgrind to count: the difference
//! between COUNT and twice of it is the messages' own.
//!
//! Owns: nothing but the broker's allocator. Called by: `cargo xtask bench --instructions`, through valgrind.

use witmq_bench::workloads::play_once;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    play_once("core-load", std::env::args().skip(1))
}
