//! What a guest does to its host. None of it ends by itself, and the compiler cannot know.

use std::hint::black_box;
use witmq_sdk::host::{self, kv};
use witmq_sdk::{Emit, Failure};

/// Never comes back.
pub(crate) fn endless() -> u64 {
    let mut count = 0_u64;
    while black_box(true) {
        count = black_box(count.wrapping_add(1));
    }
    count
}

/// Never comes back, and logs a line each few milliseconds.
pub(crate) fn drip() -> u64 {
    let mut lines = 0_u64;
    while black_box(true) {
        (0..1_000_000).for_each(|n| lines = black_box(lines ^ n));
        witmq_sdk::info!("drip {lines}");
    }
    lines
}

/// Calls itself until the stack ends.
pub(crate) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(true) {
        recurse(depth + 1).wrapping_add(black_box(frame)[0])
    } else {
        depth
    }
}

/// Takes all memory there is.
pub(crate) fn eat() {
    let mut all = Vec::new();
    while black_box(true) {
        all.push(black_box(vec![1_u8; 1024 * 1024]));
    }
}

/// Opens standard output again and again and closes none of it.
#[cfg(target_family = "wasm")]
pub(crate) fn leak() -> Result<(), Failure> {
    let mut all = Vec::new();
    while black_box(true) {
        all.push(black_box(wasip2::cli::stdout::get_stdout()));
    }
    Ok(())
}

/// Only a component has handles.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn leak() -> Result<(), Failure> {
    Err(Failure::failed("only a component has handles"))
}

/// A handle of the host.
#[cfg(target_family = "wasm")]
type Handle = wasip2::cli::stdout::OutputStream;
/// Only a component has handles.
#[cfg(not(target_family = "wasm"))]
type Handle = u8;

#[cfg(target_family = "wasm")]
fn handle() -> Handle {
    wasip2::cli::stdout::get_stdout()
}

#[cfg(not(target_family = "wasm"))]
fn handle() -> Handle {
    0
}

/// Handles that are kept.
#[derive(Default)]
pub(crate) struct Handles(Vec<Handle>);

impl Handles {
    /// Opens so many more; how many there are.
    pub(crate) fn open(&mut self, count: usize) -> usize {
        self.0.extend((0..count).map(|_| handle()));
        self.0.len()
    }

    /// Closes all of them.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}

/// Fills the store with values of the largest size, and says how far it came.
pub(crate) fn flood() -> String {
    let value = vec![7; 64 * 1024];
    let mut count = 0_u32;
    let error = loop {
        if let Err(error) = kv::put(&format!("flood/{count:06}"), &value) {
            break error;
        }
        count += 1;
    };
    format!("{count} values, then {error:?}")
}

/// Publishes a thousand times, and says how far it came.
pub(crate) fn publish_often() -> String {
    let message = Emit::new("made/by/plugin", "again");
    let count = (0..1000)
        .filter(|_| host::publish(&message).is_ok())
        .count();
    format!("{count} published")
}
