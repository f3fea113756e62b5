//! What all steps of a node remember together, and who gives up something when that is too much.
//!
//! Owns: [`Pool`]. Beyond its bound the table that holds most gives up what it used least recently: a chain that
//! remembers little is not made to forget by one that remembers much. Must not: hold a lock while a table is asked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of all tables together, unless somebody says otherwise.
pub(crate) const POOL_BYTES: usize = 256 * 1024 * 1024;
/// This part of the bound is made free at once, so that not every message pays for a look at all tables.
const PART: usize = 1024;

/// A table that may have to give something up.
pub(super) trait Gives: Send + Sync {
    /// Bytes that it holds.
    fn holds(&self) -> usize;
    /// Gives up what it used least recently while `is_over` says so; how many keys.
    fn give_up(&self, is_over: &dyn Fn() -> bool) -> usize;
}

/// The bytes of all tables.
pub(crate) struct Pool {
    most: usize,
    bytes: AtomicUsize,
    evicted: AtomicU64,
    tables: Mutex<Vec<Weak<dyn Gives>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.bytes).finish()
    }
}

impl Pool {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            bytes: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            tables: Mutex::default(),
        }
    }

    pub(super) fn join(&self, table: Weak<dyn Gives>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|table| table.strong_count() > 0);
        tables.push(table);
    }

    pub(super) fn add(&self, new: usize, old: usize) {
        self.bytes.fetch_add(new, Ordering::Relaxed);
        self.bytes.fetch_sub(old, Ordering::Relaxed);
    }

    /// Bytes that are held, and keys that were given up for the bound.
    pub(crate) fn numbers(&self) -> (usize, u64) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        (bytes, self.evicted.load(Ordering::Relaxed))
    }

    /// Keeps to the bound, at the cost of whoever holds most.
    pub(super) fn settle(&self) {
        if self.bytes.load(Ordering::Relaxed) <= self.most {
            return;
        }
        let goal = self.most - self.most / PART;
        let is_over = || self.bytes.load(Ordering::Relaxed) > goal;
        let mut tables: Vec<(usize, Arc<dyn Gives>)> = {
            let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            let there = tables.iter().filter_map(Weak::upgrade);
            there.map(|table| (table.holds(), table)).collect()
        };
        tables.sort_by_key(|(holds, _)| std::cmp::Reverse(*holds));
        for (_, table) in tables {
            if !is_over() {
                return;
            }
            let given_up = u64::try_from(table.give_up(&is_over)).unwrap_or(u64::MAX);
            self.evicted.fetch_add(given_up, Ordering::Relaxed);
        }
    }
}
