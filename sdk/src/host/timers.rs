//! Calls of [`crate::Timer`] later. Timers are lost when the broker ends; at most 1,000 for each plugin.

use super::broker;
use std::fmt;

/// Why nothing was set or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerError {
    /// The plugin's timers are used up.
    Quota,
    /// The plugin does not have the hook `timer`.
    NoHook,
    /// Anything else, in words: more host calls than one call of a hook may make.
    Other(String),
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota => f.write_str("the timers of the plugin are used up"),
            Self::NoHook => f.write_str("the plugin does not have the hook `timer`"),
            Self::Other(text) => write!(f, "the timers: {text}"),
        }
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

/// Takes a timer back; true if there was one that had not fired.
///
/// # Errors
/// [`TimerError::Other`].
pub fn cancel(token: u64) -> Result<bool, TimerError> {
    broker::timer_cancel(token)
}
