//! Lines in the plugin's log: at most 1 KiB each, 100 a second; the broker counts what it drops.

use super::broker;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every detail.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// For the operator.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a line. The macros [`crate::trace!`], [`crate::debug!`], [`crate::info!`], [`crate::warn!`] and
/// [`crate::error!`] put it together as `println!` does.
pub fn log(level: Level, text: &str) {
    broker::log(level, text);
}

/// Logs every detail; the words as for `println!`.
#[macro_export]
macro_rules! trace {
    ($($words:tt)+) => {
        $crate::host::log::log($crate::host::log::Level::Trace, &::std::format!($($words)+))
    };
}

/// Logs what helps to find a fault; the words as for `println!`.
#[macro_export]
macro_rules! debug {
    ($($words:tt)+) => {
        $crate::host::log::log($crate::host::log::Level::Debug, &::std::format!($($words)+))
    };
}

/// Logs something for the operator; the words as for `println!`.
#[macro_export]
macro_rules! info {
    ($($words:tt)+) => {
        $crate::host::log::log($crate::host::log::Level::Info, &::std::format!($($words)+))
    };
}

/// Logs that something is not as it should be; the words as for `println!`.
#[macro_export]
macro_rules! warn {
    ($($words:tt)+) => {
        $crate::host::log::log($crate::host::log::Level::Warn, &::std::format!($($words)+))
    };
}

/// Logs that something failed; the words as for `println!`.
#[macro_export]
macro_rules! error {
    ($($words:tt)+) => {
        $crate::host::log::log($crate::host::log::Level::Error, &::std::format!($($words)+))
    };
}
