//! One plugin's key-value store: shared by its instances, kept across swaps, bounded in bytes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a key.
const KEY_BYTES: usize = 512;
/// Bytes of a value.
const VALUE_BYTES: usize = 64 * 1024;
/// What an entry costs beyond its key and value.
const OVERHEAD_BYTES: usize = 64;

/// Why a value was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvError {
    TooLarge,
    Quota,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<String, (Vec<u8>, Option<Instant>)>,
    bytes: usize,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Kv {
    table: Mutex<Table>,
    quota: usize,
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD_BYTES
}

impl Table {
    fn remove(&mut self, key: &str) -> Option<(Vec<u8>, Option<Instant>)> {
        let old = self.entries.remove(key)?;
        self.bytes -= cost(key, &old.0);
        Some(old)
    }

    fn live(&mut self, key: &str, now: Instant) -> Option<&Vec<u8>> {
        if self.entries.get(key)?.1.is_some_and(|until| until <= now) {
            self.remove(key);
        }
        self.entries.get(key).map(|(value, _)| value)
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        until: Option<Instant>,
        quota: usize,
    ) -> Result<(), KvError> {
        let old = self.entries.get(&key).map_or(0, |(old, _)| cost(&key, old));
        let bytes = self.bytes - old + cost(&key, &value);
        if bytes > quota {
            return Err(KvError::Quota);
        }
        self.bytes = bytes;
        self.entries.insert(key, (value, until));
        Ok(())
    }
}

impl Kv {
    pub(crate) fn new(quota: usize) -> Self {
        Self {
            table: Mutex::default(),
            quota,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.table().live(key, Instant::now()).cloned()
    }

    pub(crate) fn put(&self, key: String, value: Vec<u8>, ttl_ms: u64) -> Result<(), KvError> {
        if key.len() > KEY_BYTES || value.len() > VALUE_BYTES {
            return Err(KvError::TooLarge);
        }
        let now = Instant::now();
        let until = (ttl_ms > 0)
            .then(|| now.checked_add(Duration::from_millis(ttl_ms)))
            .flatten();
        let mut table = self.table();
        let kept = table.put(key.clone(), value.clone(), until, self.quota);
        if kept != Err(KvError::Quota) {
            return kept;
        }
        let expired: Vec<String> = table
            .entries
            .iter()
            .filter(|(_, (_, until))| until.is_some_and(|until| until <= now))
            .map(|(key, _)| key.clone())
            .collect();
        expired.iter().for_each(|key| drop(table.remove(key)));
        table.put(key, value, until, self.quota)
    }

    pub(crate) fn remove(&self, key: &str) -> bool {
        let mut table = self.table();
        table.live(key, Instant::now()).is_some() && table.remove(key).is_some()
    }

    /// Adds to a little-endian 64-bit number; what is no number counts as 0.
    pub(crate) fn increment(&self, key: String, by: i64) -> Result<i64, KvError> {
        if key.len() > KEY_BYTES {
            return Err(KvError::TooLarge);
        }
        let mut table = self.table();
        let old = table
            .live(&key, Instant::now())
            .and_then(|value| <[u8; 8]>::try_from(&value[..]).ok());
        let until = table.entries.get(&key).and_then(|(_, until)| *until);
        let new = old.map_or(0, i64::from_le_bytes).wrapping_add(by);
        table.put(key, new.to_le_bytes().to_vec(), until, self.quota)?;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_on_both_sides() {
        let kv = Kv::new(2 * (1 + 2 + OVERHEAD_BYTES));
        assert_eq!(kv.put("a".into(), vec![0; 2], 0), Ok(()));
        assert_eq!(kv.put("b".into(), vec![0; 3], 0), Err(KvError::Quota));
        assert_eq!(kv.put("b".into(), vec![0; 2], 0), Ok(()));
        assert_eq!(
            kv.put("a".into(), vec![1; 2], 0),
            Ok(()),
            "replacing needs no room"
        );
        assert!(kv.remove("b") && !kv.remove("b"));
        let large = Kv::new(1 << 20);
        assert_eq!(
            large.put("k".repeat(KEY_BYTES), vec![0; VALUE_BYTES], 0),
            Ok(())
        );
        assert_eq!(
            large.put("k".repeat(KEY_BYTES + 1), vec![], 0),
            Err(KvError::TooLarge)
        );
        assert_eq!(
            large.put("k".into(), vec![0; VALUE_BYTES + 1], 0),
            Err(KvError::TooLarge)
        );
    }

    #[test]
    fn counters_count_and_start_at_zero() {
        let kv = Kv::new(1 << 10);
        assert_eq!(kv.increment("n".into(), 5), Ok(5));
        assert_eq!(kv.increment("n".into(), -7), Ok(-2));
        assert_eq!(kv.get("n"), Some((-2i64).to_le_bytes().to_vec()));
    }
}
