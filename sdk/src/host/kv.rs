//! A store of the plugin's own, shared by all its instances, kept across updates and restarts. Keys are 1 to 512 bytes,
//! values at most 64 KiB, all of a plugin at most 16 MiB. What is written while a QoS 1 or 2 message is handled is on
//! the disk before that message is acknowledged.
//!
//! ```
//! use witmq_sdk::host::kv;
//!
//! kv::put_json("seen", &["a", "b"]).unwrap();
//! let seen: Option<Vec<String>> = kv::json("seen").unwrap();
//! assert_eq!(seen.unwrap(), ["a", "b"]);
//!
//! // Only if nobody else was first, and only for a minute.
//! kv::write("lock", b"me").if_absent().ttl_ms(60_000).put().unwrap();
//! let second = kv::write("lock", b"you").if_absent().put();
//! assert!(matches!(second, Err(kv::KvError::Conflict { .. })));
//! ```

use super::broker;
use crate::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// A value, and the number of its version: another one after each change for as long as the key is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// The version.
    pub version: u64,
}

/// What a key has to be for a change to take place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    #[default]
    Any,
    /// Not there.
    Absent,
    /// At this version.
    Version(u64),
}

/// Why nothing was read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvError {
    /// A key is 1 to 512 bytes, a value at most 64 KiB.
    TooLarge,
    /// The plugin's quota is used up.
    Quota,
    /// The key is not what was expected.
    Conflict {
        /// Its version, 0 if it is not there.
        version: u64,
    },
    /// Anything else, in words: more host calls than one call of a hook may make.
    Other(String),
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => {
                f.write_str("the key or the value is empty or too large for the store")
            }
            Self::Quota => f.write_str("the quota of the store is used up"),
            Self::Conflict { version: 0 } => f.write_str("the key is not there"),
            Self::Conflict { version } => write!(f, "the key is at version {version}"),
            Self::Other(text) => write!(f, "the store: {text}"),
        }
    }
}

impl std::error::Error for KvError {}

/// The value of a key, and its version; `None` if it is not there.
///
/// # Errors
/// [`KvError::Other`].
pub fn entry(key: &str) -> Result<Option<Entry>, KvError> {
    broker::kv_get(key)
}

/// The value of a key; `None` if it is not there.
///
/// # Errors
/// [`KvError::Other`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    Ok(entry(key)?.map(|entry| entry.value))
}

/// Sets a value, whatever it was, until it is changed; gives its version.
///
/// # Errors
/// Too large, or the quota is used up.
pub fn put(key: &str, value: &[u8]) -> Result<u64, KvError> {
    write(key, value).put()
}

/// A value to set with more conditions: finish it with [`Write::put`].
pub fn write<'a>(key: &'a str, value: &'a [u8]) -> Write<'a> {
    Write {
        key,
        value,
        expected: Expected::Any,
        ttl_ms: 0,
    }
}

/// A value that is not yet set; see [`write`].
#[derive(Clone, Copy, Debug)]
#[must_use = "it is not set before `put`"]
pub struct Write<'a> {
    key: &'a str,
    value: &'a [u8],
    expected: Expected,
    ttl_ms: u64,
}

impl Write<'_> {
    /// Only if the key is not there.
    pub fn if_absent(mut self) -> Self {
        self.expected = Expected::Absent;
        self
    }

    /// Only if the key is at this version.
    pub fn if_version(mut self, version: u64) -> Self {
        self.expected = Expected::Version(version);
        self
    }

    /// The value ends after so many milliseconds; 0 keeps it.
    pub fn ttl_ms(mut self, ttl_ms: u64) -> Self {
        self.ttl_ms = ttl_ms;
        self
    }

    /// Sets it and gives its version.
    ///
    /// # Errors
    /// Too large, the quota is used up, or the key is not what was expected.
    pub fn put(self) -> Result<u64, KvError> {
        broker::kv_put(self.key, self.value, self.expected, self.ttl_ms)
    }
}

/// Removes a key; true if it was there.
///
/// # Errors
/// [`KvError::Other`].
pub fn remove(key: &str) -> Result<bool, KvError> {
    broker::kv_remove(key, Expected::Any)
}

/// Removes a key if it is at this version; true if it was there.
///
/// # Errors
/// It is at another version.
pub fn remove_version(key: &str, version: u64) -> Result<bool, KvError> {
    broker::kv_remove(key, Expected::Version(version))
}

/// Adds to a counter (8 bytes, little endian; absent counts as 0) and gives its new value; it wraps around.
///
/// # Errors
/// Too large, or the quota is used up.
pub fn increment(key: &str, by: i64) -> Result<i64, KvError> {
    broker::kv_increment(key, by)
}

/// Keys that begin with `prefix` and are greater than `after`, in order of their bytes, at most `limit` and at most
/// 1,000. They may be fewer although there are more: for all of them ask with the last key as `after` until none comes.
///
/// # Errors
/// [`KvError::Other`].
pub fn keys(prefix: &str, after: &str, limit: u32) -> Result<Vec<String>, KvError> {
    broker::kv_keys(prefix, after, limit)
}

/// The value of a key that [`put_json`] set.
///
/// # Errors
/// It is not such a value.
pub fn json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    get(key)?
        .map(|value| serde_json::from_slice(&value))
        .transpose()
        .map_err(|error| Failure::Failed(format!("`{key}` of the store: {error}")))
}

/// Sets a value as JSON, whatever it was; gives its version.
///
/// # Errors
/// It has no JSON form, is too large, or the quota is used up.
pub fn put_json(key: &str, value: &impl Serialize) -> Result<u64, Failure> {
    let value = serde_json::to_vec(value).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(put(key, &value)?)
}
