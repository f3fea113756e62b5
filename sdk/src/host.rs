//! What a plugin may ask of the broker. Each use becomes an import of the component: the imports are the
//! capabilities an operator sees.
//!
//! Outside of WebAssembly these calls go to the stand-in of [`crate::testing`].

use crate::message::Emit;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Why a value was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvError {
    /// A key is at most 512 bytes, a value 64 KiB.
    TooLarge,
    /// The plugin's quota is used up.
    Quota,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Outside of what the operator granted.
    Denied(String),
    /// Not a topic name.
    BadTopic,
    /// Too many in one call, or the broker is busy.
    Busy,
}

/// Writes a line to the plugin's log; at most 1 KiB, rate limited.
pub fn log(level: Level, text: &str) {
    imp::log(level, text);
}

/// The plugin's own small store, shared by all its instances and kept across swaps.
pub mod kv {
    use super::{KvError, imp};

    /// The value of a key.
    #[must_use]
    pub fn get(key: &str) -> Option<Vec<u8>> {
        imp::kv_get(key)
    }

    /// Sets a value for `ttl_ms` milliseconds; 0 keeps it.
    ///
    /// # Errors
    /// Too large, or the quota is used up.
    pub fn put(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), KvError> {
        imp::kv_put(key, value, ttl_ms)
    }

    /// Removes a key; whether it was there.
    pub fn remove(key: &str) -> bool {
        imp::kv_remove(key)
    }

    /// Adds to a counter (absent counts as 0) and gives the new value.
    ///
    /// # Errors
    /// Too large, or the quota is used up.
    pub fn increment(key: &str, by: i64) -> Result<i64, KvError> {
        imp::kv_increment(key, by)
    }
}

/// Publishes a message of the plugin's own, within what the operator granted.
///
/// # Errors
/// Denied, a bad topic, or too many.
pub fn publish(message: &Emit) -> Result<(), PublishError> {
    imp::publish(message)
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    imp::now_ms()
}

#[cfg(target_family = "wasm")]
mod imp {
    use super::{KvError, Level, PublishError};
    use crate::abi::base::witmq::plugin::{host_clock, host_kv, host_log, host_publish, types};
    use crate::message::{Emit, QoS};

    pub(super) fn log(level: Level, text: &str) {
        let level = match level {
            Level::Trace => host_log::Level::Trace,
            Level::Debug => host_log::Level::Debug,
            Level::Info => host_log::Level::Info,
            Level::Warn => host_log::Level::Warn,
            Level::Error => host_log::Level::Error,
        };
        host_log::log(level, text);
    }

    fn error(error: host_kv::KvError) -> KvError {
        match error {
            host_kv::KvError::TooLarge => KvError::TooLarge,
            host_kv::KvError::Quota => KvError::Quota,
        }
    }

    pub(super) fn kv_get(key: &str) -> Option<Vec<u8>> {
        host_kv::get(key)
    }

    pub(super) fn kv_put(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), KvError> {
        host_kv::put(key, value, ttl_ms).map_err(error)
    }

    pub(super) fn kv_remove(key: &str) -> bool {
        host_kv::remove(key)
    }

    pub(super) fn kv_increment(key: &str, by: i64) -> Result<i64, KvError> {
        host_kv::increment(key, by).map_err(error)
    }

    pub(super) fn publish(message: &Emit) -> Result<(), PublishError> {
        let emit = types::Emit {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            properties: message.properties.encode(),
            qos: match message.qos {
                QoS::AtMostOnce => types::Qos::AtMostOnce,
                QoS::AtLeastOnce => types::Qos::AtLeastOnce,
                QoS::ExactlyOnce => types::Qos::ExactlyOnce,
            },
            retain: message.retain,
        };
        host_publish::publish(&emit).map_err(|error| match error {
            host_publish::PublishError::Denied(text) => PublishError::Denied(text),
            host_publish::PublishError::BadTopic => PublishError::BadTopic,
            host_publish::PublishError::Busy => PublishError::Busy,
        })
    }

    pub(super) fn now_ms() -> u64 {
        host_clock::now_ms()
    }
}

#[cfg(not(target_family = "wasm"))]
use crate::testing as imp;
