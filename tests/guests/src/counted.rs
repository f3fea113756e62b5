//! As much of something as the payload says, for tests on both sides of a bound.

use crate::misdeeds::Handles;
use serde::Deserialize;
use witmq_sdk::host::{self, kv, timers};
use witmq_sdk::{Emit, Failure};

/// What there is so much of.
#[derive(Clone, Copy, Debug, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Much {
    /// Calls of the host.
    Calls,
    /// Messages published.
    Publishes,
    /// Lines of the log.
    Lines,
    /// Bytes of the answer.
    Bytes,
    /// Pages of memory, besides those there are.
    Pages,
    /// Timers of an hour.
    Timers,
    /// Metrics of different names.
    Metrics,
    /// Handles that are kept.
    Handles,
    /// Keys.
    Keys,
    /// Bytes of the values of two keys.
    Values,
}

/// Does it, and says how that went.
pub(crate) fn so_many(much: Much, count: usize, kept: &mut Handles) -> Result<String, Failure> {
    let each = 0..count;
    let went_well = match much {
        Much::Calls => each.filter(|_| kv::get("none").is_ok()).count(),
        Much::Publishes => {
            let message = Emit::new("made/by/plugin", "again");
            each.filter(|_| host::publish(&message).is_ok()).count()
        }
        Much::Lines => each.map(|n| witmq_sdk::info!("line {n}")).count(),
        Much::Bytes => return Ok("x".repeat(count)),
        Much::Pages => return Ok(grown(count).to_string()),
        Much::Timers => (0..)
            .take(count)
            .filter(|n| timers::after(*n, 3_600_000).is_ok())
            .count(),
        Much::Metrics => each
            .map(|n| host::metrics::count(&format!("n{n}"), 1))
            .count(),
        Much::Handles => kept.open(count),
        Much::Keys => each
            .filter(|n| kv::put(&format!("k{n}"), b"").is_ok())
            .count(),
        Much::Values => {
            let value = vec![7; count];
            ["a", "b"]
                .iter()
                .filter(|key| kv::put(key, &value).is_ok())
                .count()
        }
    };
    Ok(went_well.to_string())
}

/// Whether memory grew by so many pages.
#[cfg(target_family = "wasm")]
fn grown(pages: usize) -> bool {
    core::arch::wasm32::memory_grow::<0>(pages) != usize::MAX
}

/// Only a component has pages.
#[cfg(not(target_family = "wasm"))]
fn grown(_: usize) -> bool {
    false
}
