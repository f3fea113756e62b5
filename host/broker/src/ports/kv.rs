//! The key-value store of plugins: small facts of their own that survive a swap, a restart and a crash.
//!
//! Called by instances on shard threads as well as on threads of their own, at any moment and without waiting.
//! What is changed is seen by all at once, and is durable with the next group commit: a shard that handled a
//! message meanwhile holds its acknowledgement until then ([`super::Record::PluginKv`]). Each key is kept for
//! itself; nothing spans two of them.

use bytes::Bytes;
use std::sync::Arc;

/// Bytes of a key.
pub const KEY_BYTES: usize = 512;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 64 * 1024;
/// Entries of one page of [`KvSpace::scan`].
pub const SCAN_ENTRIES: usize = 1000;
/// A page of [`KvSpace::scan`] ends with the entry that reaches so many bytes.
pub const SCAN_BYTES: usize = 1024 * 1024;

/// The keys of a table of chains are those of a "plugin" with this before its name: no plugin has such a name.
pub const TABLES: &str = "table/";

/// Whether a key may be set: not empty, and no longer than [`KEY_BYTES`].
#[must_use]
pub fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES).contains(&key.len())
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is.
    #[default]
    Any,
    /// Nothing.
    Absent,
    /// A value of this version.
    Version(u64),
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The key is empty or longer than [`KEY_BYTES`], or the value longer than [`VALUE_BYTES`].
    #[error("a key is 1 to {KEY_BYTES} bytes, a value at most {VALUE_BYTES}")]
    TooLarge,
    /// The plugin has as many bytes as it may.
    #[error("the plugin's bytes are used up")]
    Bytes,
    /// The plugin has as many keys as it may.
    #[error("the plugin's keys are used up")]
    Keys,
    /// All tables of chains together have as many bytes as they may.
    #[error("the bytes of all tables are used up")]
    Tables,
    /// Something else is there: its version, `None` if nothing is.
    #[error("not the version that was expected")]
    Mismatch(Option<u64>),
    /// The plugin was removed.
    #[error("the plugin was removed")]
    Removed,
}

/// A value as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The value.
    pub value: Bytes,
    /// 1 when the key came to be; one more with each change since.
    pub version: u64,
}

/// The keys of one plugin. `now` is in milliseconds since 1970; what is past its time is absent.
pub trait KvSpace: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &str, now: u64) -> Option<Kept>;

    /// Sets a value for `ttl_ms` milliseconds, for ever if 0; its version.
    ///
    /// # Errors
    /// See [`KvError`].
    fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl_ms: u64,
        now: u64,
    ) -> Result<u64, KvError>;

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// [`KvError::Mismatch`].
    fn remove(&self, key: &str, expect: Expect, now: u64) -> Result<bool, KvError>;

    /// Adds to a little-endian 64-bit number, wrapping; what is absent or no number counts as 0. The time it
    /// is kept for stays.
    ///
    /// # Errors
    /// See [`KvError`].
    fn increment(&self, key: &str, by: i64, now: u64) -> Result<i64, KvError>;

    /// Keys that begin with `prefix`, in order, those behind `after` only: at most `limit` of them, and no more
    /// than [`SCAN_ENTRIES`] or [`SCAN_BYTES`]. Not a snapshot: what changes meanwhile may be in it or not.
    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: u64,
    ) -> Vec<(Arc<str>, Kept)>;
}

/// The keys of all plugins.
pub trait PluginKv: Send + Sync {
    /// The keys of a plugin; the same ones for every caller.
    fn space(&self, plugin: &str) -> Arc<dyn KvSpace>;
    /// Removes all keys of a plugin. Whoever still holds its space can change nothing there any more.
    fn delete_all(&self, plugin: &str);
    /// Plugins that have a space.
    fn plugins(&self) -> Vec<Arc<str>>;
}
