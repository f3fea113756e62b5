//! One plugin's keys: parts, quota, and the operations of the port.

use super::part::{Part, cost};
use super::{Change, Entry, Ledger};
use crate::ports::kv::{
    Expect, Kept, KvError, KvSpace, SCAN_BYTES, SCAN_ENTRIES, TABLES, VALUE_BYTES, is_key,
};
use bytes::Bytes;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Locks of a space.
const PARTS: usize = 16;
/// Keys handled before a lock is given back.
const STEP: usize = 64;
/// Keys past their time that a change removes on its way.
const ON_THE_WAY: usize = 2;

pub(super) struct Space {
    name: Arc<str>,
    ledger: Arc<Ledger>,
    /// Bytes and keys it may have.
    most: (usize, usize),
    parts: [Mutex<Part>; PARTS],
    /// Bytes of what is there.
    bytes: AtomicUsize,
    /// Keys that are there or whose removal is still to be written.
    keys: AtomicUsize,
    is_closed: AtomicBool,
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Space {
    pub(super) fn new(name: Arc<str>, ledger: Arc<Ledger>) -> Self {
        Self {
            most: ledger.bounds.of(&name),
            name,
            ledger,
            parts: Default::default(),
            bytes: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    fn part(&self, key: &str) -> &Mutex<Part> {
        let hash = FixedState::default().hash_one(key);
        let index = usize::try_from(hash % 16).unwrap_or(0);
        self.parts.get(index).unwrap_or(&self.parts[0])
    }

    /// Whether it is a table of chains.
    pub(super) fn is_table(&self) -> bool {
        self.name.starts_with(TABLES)
    }

    pub(super) fn size(&self) -> (usize, usize) {
        let load = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (load(&self.keys), load(&self.bytes))
    }

    pub(super) fn restore(&self, key: &str, entry: Entry) {
        let more = cost(key, &entry);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        if self.is_table() {
            self.ledger.tables.fetch_add(more, Ordering::Relaxed);
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
        lock(self.part(key)).set(key.into(), entry, false);
    }

    /// Sets a key within the quota.
    fn set(&self, part: &mut Part, key: &str, entry: Entry) -> Result<(), KvError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(KvError::Removed);
        }
        let (most_bytes, most_keys) = self.most;
        let is_new = !part.counts(key);
        let take_key = |keys| (keys < most_keys).then_some(keys + 1);
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        if is_new && self.keys.fetch_update(order.0, order.1, take_key).is_err() {
            return Err(KvError::Keys);
        }
        let old = part.entries.get(key).map_or(0, |old| cost(key, old));
        let new = cost(key, &entry);
        let take_bytes = |bytes: usize| {
            let sum = bytes.saturating_sub(old).saturating_add(new);
            // What makes it smaller is never refused.
            (sum <= most_bytes || new <= old).then_some(sum)
        };
        let taken = self.bytes.fetch_update(order.0, order.1, take_bytes);
        if taken.is_err() {
            self.keys.fetch_sub(usize::from(is_new), Ordering::Relaxed);
            return Err(KvError::Bytes);
        }
        if !self.take_of_all(old, new) {
            self.bytes.fetch_add(old, Ordering::Relaxed);
            self.bytes.fetch_sub(new, Ordering::Relaxed);
            self.keys.fetch_sub(usize::from(is_new), Ordering::Relaxed);
            return Err(KvError::Tables);
        }
        let known = part.entries.get_key_value(key).map(|(key, _)| key.clone());
        let key = known.unwrap_or_else(|| key.into());
        part.set(key, entry, self.ledger.is_tracked);
        self.ledger.changed();
        Ok(())
    }

    /// Takes what a table needs more from what all tables may have.
    fn take_of_all(&self, old: usize, new: usize) -> bool {
        let most = self.ledger.bounds.table_total_bytes;
        let take = |bytes: usize| {
            let sum = bytes.saturating_sub(old).saturating_add(new);
            (sum <= most || new <= old).then_some(sum)
        };
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        !self.is_table() || (self.ledger.tables.fetch_update(order.0, order.1, take)).is_ok()
    }

    fn unset(&self, part: &mut Part, key: &str) {
        let is_tracked = self.ledger.is_tracked;
        let Some((key, old)) = part.unset(key, is_tracked) else {
            return;
        };
        let less = cost(&key, &old);
        self.bytes.fetch_sub(less, Ordering::Relaxed);
        if self.is_table() {
            self.ledger.tables.fetch_sub(less, Ordering::Relaxed);
        }
        if !is_tracked {
            self.keys.fetch_sub(1, Ordering::Relaxed);
        }
        self.ledger.changed();
    }

    fn expire(&self, part: &mut Part, now: u64, most: usize) -> bool {
        for _ in 0..most {
            let Some(key) = part.next_due(now) else {
                return false;
            };
            self.unset(part, &key);
            self.ledger.expired.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Removes what is past its time.
    pub(super) fn sweep(&self, now: u64) {
        for part in &self.parts {
            while self.expire(&mut lock(part), now, STEP) {}
        }
    }

    /// Removes everything, and takes nothing any more.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for part in &self.parts {
            loop {
                let mut part = lock(part);
                let keys: Vec<Arc<str>> = part.entries.keys().take(STEP).cloned().collect();
                if keys.is_empty() {
                    break;
                }
                keys.iter().for_each(|key| self.unset(&mut part, key));
            }
        }
    }

    pub(super) fn take_changes(&self, changes: &mut Vec<Change>) {
        for part in &self.parts {
            loop {
                let mut part = lock(part);
                for _ in 0..STEP {
                    let Some((key, entry)) = part.take_dirty() else {
                        break;
                    };
                    if entry.is_none() {
                        self.keys.fetch_sub(1, Ordering::Relaxed);
                    }
                    changes.push(Change {
                        plugin: self.name.clone(),
                        key,
                        entry,
                    });
                }
                if part.is_clean() {
                    break;
                }
            }
        }
    }

    /// Makes a change; if there is no room, once more without what is past its time.
    fn change<R>(
        &self,
        key: &str,
        now: u64,
        make: impl Fn(&mut Part) -> Result<R, KvError>,
    ) -> Result<R, KvError> {
        let attempt = || {
            let mut part = lock(self.part(key));
            self.expire(&mut part, now, ON_THE_WAY);
            make(&mut part)
        };
        let mut done = attempt();
        if matches!(done, Err(KvError::Bytes | KvError::Keys)) {
            self.sweep(now);
            done = attempt();
        }
        if matches!(
            done,
            Err(KvError::Bytes | KvError::Keys | KvError::Tables | KvError::TooLarge)
        ) {
            let refused = match self.is_table() {
                true => &self.ledger.refused_by_tables,
                false => &self.ledger.refused,
            };
            refused.fetch_add(1, Ordering::Relaxed);
        }
        done
    }
}

impl KvSpace for Space {
    fn get(&self, key: &str, now: u64) -> Option<Kept> {
        let part = lock(self.part(key));
        part.live(key, now).map(kept)
    }

    fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl_ms: u64,
        now: u64,
    ) -> Result<u64, KvError> {
        self.change(key, now, |part| {
            if !is_key(key) || value.len() > VALUE_BYTES {
                return Err(KvError::TooLarge);
            }
            part.check(key, expect, now)?;
            let version = part.live(key, now).map_or(1, |old| old.version + 1);
            let until = (ttl_ms > 0).then(|| now.saturating_add(ttl_ms));
            let value = value.clone();
            let entry = Entry {
                value,
                version,
                until,
            };
            self.set(part, key, entry)?;
            Ok(version)
        })
    }

    fn remove(&self, key: &str, expect: Expect, now: u64) -> Result<bool, KvError> {
        self.change(key, now, |part| {
            part.check(key, expect, now)?;
            let is_there = part.live(key, now).is_some();
            if is_there {
                self.unset(part, key);
            }
            Ok(is_there)
        })
    }

    fn increment(&self, key: &str, by: i64, now: u64) -> Result<i64, KvError> {
        self.change(key, now, |part| {
            if !is_key(key) {
                return Err(KvError::TooLarge);
            }
            let old = part.live(key, now);
            let number = old.and_then(|old| <[u8; 8]>::try_from(&old.value[..]).ok());
            let new = number.map_or(0, i64::from_le_bytes).wrapping_add(by);
            let entry = Entry {
                value: Bytes::copy_from_slice(&new.to_le_bytes()),
                version: old.map_or(1, |old| old.version + 1),
                until: old.and_then(|old| old.until),
            };
            self.set(part, key, entry)?;
            Ok(new)
        })
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: u64,
    ) -> Vec<(Arc<str>, Kept)> {
        let limit = limit.min(SCAN_ENTRIES);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found: Vec<(Arc<str>, Kept)> = Vec::new();
        for part in &self.parts {
            let part = lock(part);
            let range = part.entries.range::<str, _>((from, Bound::Unbounded));
            let matching = range.take_while(|(key, _)| key.starts_with(prefix));
            let live = matching.filter(|(_, entry)| entry.until.is_none_or(|until| until > now));
            found.extend(
                live.take(limit)
                    .map(|(key, entry)| (key.clone(), kept(entry))),
            );
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found.truncate(limit);
        let mut bytes = 0;
        let fits = found.iter().take_while(|(key, kept)| {
            let has_room = bytes < SCAN_BYTES;
            bytes += key.len() + kept.value.len();
            has_room
        });
        let count = fits.count();
        found.truncate(count);
        found
    }
}

fn kept(entry: &Entry) -> Kept {
    Kept {
        value: entry.value.clone(),
        version: entry.version,
    }
}
