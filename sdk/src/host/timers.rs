//! Calls of [`crate::Timer`] later. Timers are lost when the broker ends; at most 1,000 for each plugin.

use super::broker;
use std::fmt;

/// Why there is no timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerError {
    /// The plugin's timers are used up.
    Quota,
    /// The plugin does not have the hook `timer`.
    NoHook,
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "the timers of the plugin are used up",
            Self::NoHook => "the plugin does not have the hook `timer`",
        })
    }
}

impl std::error::Error for TimerError {}

/// Fires `token` once after `delay_ms` milliseconds; replaces a timer of the same token.
///
/// # Errors
/// There are too many, or the plugin has no hook for them.
pub fn after(token: u64, delay_ms: u64) -> Result<(), TimerError> {
    broker::timer_after(token, delay_ms)
}

/// Takes a timer back; true if it had not fired.
pub fn cancel(token: u64) -> bool {
    broker::timer_cancel(token)
}
