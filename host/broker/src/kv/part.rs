//! A part of a plugin's keys, behind one lock: entries, when they end, and which are to be written.

use super::Entry;
use crate::ports::kv::Expect;
use crate::ports::kv::KvError;
use foldhash::HashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an entry costs beyond its key and value.
pub(super) const OVERHEAD_BYTES: usize = 64;

pub(super) fn cost(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.len() + OVERHEAD_BYTES
}

#[derive(Default)]
pub(super) struct Part {
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
    due: BTreeSet<(u64, Arc<str>)>,
    /// To be written; those not among the entries are removals.
    dirty: HashSet<Arc<str>>,
}

impl Part {
    /// What is there at `now`.
    pub(super) fn live(&self, key: &str, now: u64) -> Option<&Entry> {
        let entry = self.entries.get(key)?;
        entry.until.is_none_or(|until| until > now).then_some(entry)
    }

    pub(super) fn check(&self, key: &str, expect: Expect, now: u64) -> Result<(), KvError> {
        let present = self.live(key, now).map(|entry| entry.version);
        let is_met = match expect {
            Expect::Any => true,
            Expect::Absent => present.is_none(),
            Expect::Version(version) => present == Some(version),
        };
        is_met.then_some(()).ok_or(KvError::Mismatch(present))
    }

    /// Whether the key counts already: it is there, or its removal is still to be written.
    pub(super) fn counts(&self, key: &str) -> bool {
        self.entries.contains_key(key) || self.dirty.contains(key)
    }

    /// Sets a key; what was there.
    pub(super) fn set(&mut self, key: Arc<str>, entry: Entry, is_tracked: bool) -> Option<Entry> {
        if let Some(until) = entry.until {
            self.due.insert((until, key.clone()));
        }
        if is_tracked {
            self.dirty.insert(key.clone());
        }
        let until = entry.until;
        let old = self.entries.insert(key.clone(), entry);
        if let Some(was) = old.as_ref().and_then(|old| old.until)
            && until != Some(was)
        {
            self.due.remove(&(was, key));
        }
        old
    }

    /// Takes a key out; what was there, with its own key.
    pub(super) fn unset(&mut self, key: &str, is_tracked: bool) -> Option<(Arc<str>, Entry)> {
        let (key, entry) = self.entries.remove_entry(key)?;
        if let Some(until) = entry.until {
            self.due.remove(&(until, key.clone()));
        }
        if is_tracked {
            self.dirty.insert(key.clone());
        }
        Some((key, entry))
    }

    /// A key that is past its time.
    pub(super) fn next_due(&self, now: u64) -> Option<Arc<str>> {
        let (until, key) = self.due.first()?;
        (*until <= now).then(|| key.clone())
    }

    /// The next key to be written and what it holds.
    pub(super) fn take_dirty(&mut self) -> Option<(Arc<str>, Option<Entry>)> {
        let key = self.dirty.iter().next()?.clone();
        self.dirty.remove(&key);
        let entry = self.entries.get(&key).cloned();
        Some((key, entry))
    }

    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }
}
