//! The keys of plugins in memory: [`PluginKv`] as it is without a storage, and beneath one.
//!
//! Owns: [`Spaces`], its quotas and times. A storage asks for what changed ([`Spaces::take_changes`]) and writes
//! it behind; nothing here waits for it. Locks cover a sixteenth of one plugin's keys, for one operation on one
//! key or one bounded step of many.

mod part;
mod space;
#[cfg(test)]
mod tests;

use crate::ports::kv::{KvSpace, PluginKv, TABLES};
use bytes::Bytes;
use foldhash::HashMap;
use space::Space;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Bounds of one plugin's keys, and of one table's.
#[derive(Clone, Copy, Debug)]
pub struct KvBounds {
    /// Bytes of keys and values, 64 more for each (default 16 MiB).
    pub bytes: usize,
    /// Keys, together with those whose removal is not stored yet (default 100,000).
    pub keys: usize,
    /// The same for one table of chains (default 64 MiB).
    pub table_bytes: usize,
    /// The same for one table of chains (default 100,000).
    pub table_keys: usize,
    /// The same as `bytes` for all tables together (default 1 GiB).
    pub table_total_bytes: usize,
}

impl KvBounds {
    /// Bytes and keys of a space.
    fn of(&self, name: &str) -> (usize, usize) {
        match name.starts_with(TABLES) {
            true => (self.table_bytes, self.table_keys),
            false => (self.bytes, self.keys),
        }
    }
}

impl Default for KvBounds {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024 * 1024,
            keys: 100_000,
            table_bytes: 64 * 1024 * 1024,
            table_keys: 100_000,
            table_total_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Its version.
    pub version: u64,
    /// Until when, milliseconds since 1970.
    pub until: Option<u64>,
}

/// A key whose value is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub plugin: Arc<str>,
    /// Which.
    pub key: Arc<str>,
    /// What it holds by now; `None`: nothing.
    pub entry: Option<Entry>,
}

/// What all spaces have in common.
#[derive(Default)]
struct Ledger {
    bounds: KvBounds,
    /// Whether somebody asks for changes; without, none are remembered.
    is_tracked: bool,
    /// Bytes of all tables.
    tables: AtomicUsize,
    changes: AtomicU64,
    is_dirty: AtomicBool,
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
    refused: AtomicU64,
    refused_by_tables: AtomicU64,
    expired: AtomicU64,
}

impl Ledger {
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        if self.is_tracked
            && !self.is_dirty.swap(true, Ordering::AcqRel)
            && let Some(tell) = self.on_change.get()
        {
            tell();
        }
    }
}

#[derive(Default)]
struct Names {
    live: HashMap<Arc<str>, Arc<Space>>,
    /// Deleted; that they are is not written yet.
    closing: Vec<Arc<Space>>,
}

/// The keys of all plugins, in memory.
#[derive(Default)]
pub struct Spaces {
    ledger: Arc<Ledger>,
    names: RwLock<Names>,
}

impl Spaces {
    /// Kept in memory only.
    #[must_use]
    pub fn new(bounds: KvBounds) -> Self {
        Self::with(bounds, false)
    }

    /// Every change is remembered until [`Self::take_changes`].
    #[must_use]
    pub fn tracked(bounds: KvBounds) -> Self {
        Self::with(bounds, true)
    }

    fn with(bounds: KvBounds, is_tracked: bool) -> Self {
        let ledger = Ledger {
            bounds,
            is_tracked,
            ..Ledger::default()
        };
        Self {
            ledger: Arc::new(ledger),
            names: RwLock::default(),
        }
    }

    /// `tell` is called when there are changes to be taken again: quickly, and at most once for each
    /// [`Self::take_changes`].
    pub fn on_change(&self, tell: Box<dyn Fn() + Send + Sync>) {
        let is_first = self.ledger.on_change.set(tell).is_ok();
        debug_assert!(is_first, "one storage writes behind");
    }

    /// Changes so far: by this a shard sees that handling a message changed something.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.ledger.changes.load(Ordering::Acquire)
    }

    /// Whether there are changes to be taken.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.ledger.is_dirty.load(Ordering::Acquire)
    }

    /// Everything that changed before this call and was not taken yet; each key once, with its present value.
    #[must_use]
    pub fn take_changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.ledger.is_dirty.swap(false, Ordering::AcqRel) {
            return changes;
        }
        // A space that is deleted and made anew: the old one's removals come first.
        let spaces: Vec<Arc<Space>> = {
            let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
            let closing = std::mem::take(&mut names.closing);
            closing
                .into_iter()
                .chain(names.live.values().cloned())
                .collect()
        };
        for space in spaces {
            space.take_changes(&mut changes);
        }
        changes
    }

    /// Puts back what was stored, before anybody asks. What is beyond the bounds of today is kept.
    pub fn restore(&self, plugin: &str, key: &str, entry: Entry) {
        self.find(plugin).restore(key, entry);
    }

    /// Removes what is past its time, in bounded steps.
    pub fn sweep(&self, now: u64) {
        self.live().iter().for_each(|space| space.sweep(now));
    }

    /// Numbers about it, as `(name, is a gauge, value)`.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, bool, u64); 8] {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (tables, plugins): (Vec<_>, Vec<_>) =
            self.live().into_iter().partition(|space| space.is_table());
        let size = |spaces: &[Arc<Space>]| {
            spaces.iter().fold((0, 0), |(keys, bytes), space| {
                let (more_keys, more_bytes) = space.size();
                (keys + more_keys, bytes + more_bytes)
            })
        };
        let ((keys, bytes), (table_keys, table_bytes)) = (size(&plugins), size(&tables));
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let by_tables = load(&self.ledger.refused_by_tables);
        [
            ("plugin_kv_changes_total", false, self.changes()),
            ("plugin_kv_refused_total", false, load(&self.ledger.refused)),
            ("plugin_kv_expired_total", false, load(&self.ledger.expired)),
            ("plugin_kv_keys", true, count(keys)),
            ("plugin_kv_bytes", true, count(bytes)),
            ("table_refused_total", false, by_tables),
            ("table_keys", true, count(table_keys)),
            ("table_bytes", true, count(table_bytes)),
        ]
    }

    fn live(&self) -> Vec<Arc<Space>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.live.values().cloned().collect()
    }

    fn find(&self, plugin: &str) -> Arc<Space> {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = names.live.get(plugin) {
            return space.clone();
        }
        let name: Arc<str> = plugin.into();
        let space = Arc::new(Space::new(name.clone(), self.ledger.clone()));
        names.live.insert(name, space.clone());
        space
    }
}

impl PluginKv for Spaces {
    fn space(&self, plugin: &str) -> Arc<dyn KvSpace> {
        self.find(plugin)
    }

    fn delete_all(&self, plugin: &str) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let Some(space) = names.live.remove(plugin) else {
            return;
        };
        if self.ledger.is_tracked {
            names.closing.push(space.clone());
        }
        // A taker that comes in between finds it in `closing` and waits for the lock of each part.
        space.close();
        drop(names);
        self.ledger.changed();
    }

    fn plugins(&self) -> Vec<Arc<str>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.live.keys().cloned().collect()
    }
}

impl std::fmt::Debug for Spaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spaces").finish_non_exhaustive()
    }
}
