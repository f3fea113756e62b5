//! Time.

use super::broker;

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    broker::now_ms()
}

/// Nanoseconds from an unknown beginning; it never goes back.
#[must_use]
pub fn monotonic_ns() -> u64 {
    broker::monotonic_ns()
}
