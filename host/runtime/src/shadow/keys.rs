//! The keys of a shadow: those of the plugin as they were when the shadow first changed them, and what it made of them
//! since. Nothing reaches the store.
//!
//! Owns: [`Apart`], copy on write, bounded. Must not: write where it reads.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use witmq_broker::ports::kv::{
    Expect, Kept, KvError, KvSpace, PluginKv, SCAN_BYTES, SCAN_ENTRIES, VALUE_BYTES, is_key,
};

/// Bytes of what it changed, keys included.
const BYTES: usize = 16 * 1024 * 1024;
/// Keys that it changed.
const KEYS: usize = 100_000;

/// What became of a key here.
#[derive(Clone)]
struct Changed {
    /// `None`: removed.
    value: Option<Bytes>,
    version: u64,
    /// Milliseconds since 1970; `None`: for ever.
    ends: Option<u64>,
}

impl Changed {
    fn kept(&self, now: u64) -> Option<Kept> {
        let is_over = self.ends.is_some_and(|ends| ends <= now);
        let value = self.value.clone().filter(|_| !is_over)?;
        let version = self.version;
        Some(Kept { value, version })
    }
}

#[derive(Default)]
struct Own {
    changed: BTreeMap<Arc<str>, Changed>,
    bytes: usize,
}

/// A world apart.
#[derive(Clone)]
pub(super) struct Apart {
    real: Arc<dyn KvSpace>,
    own: Arc<Mutex<Own>>,
}

impl From<Arc<dyn KvSpace>> for Apart {
    fn from(real: Arc<dyn KvSpace>) -> Self {
        Self {
            real,
            own: Arc::default(),
        }
    }
}

impl PluginKv for Apart {
    fn space(&self, _: &str) -> Arc<dyn KvSpace> {
        Arc::new(self.clone())
    }

    fn delete_all(&self, _: &str) {}

    fn plugins(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

impl Apart {
    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, own: &Own, key: &str, now: u64) -> Option<Kept> {
        match own.changed.get(key) {
            Some(changed) => changed.kept(now),
            None => self.real.get(key, now),
        }
    }

    /// The present value, if it is what was expected.
    fn expected(
        &self,
        own: &Own,
        key: &str,
        expect: Expect,
        now: u64,
    ) -> Result<Option<Kept>, KvError> {
        let kept = self.look(own, key, now);
        let version = kept.as_ref().map(|kept| kept.version);
        let is_so = match expect {
            Expect::Any => true,
            Expect::Absent => version.is_none(),
            Expect::Version(wanted) => version == Some(wanted),
        };
        is_so.then_some(kept).ok_or(KvError::Mismatch(version))
    }
}

impl Own {
    fn set(&mut self, key: &str, changed: Changed) -> Result<(), KvError> {
        let size = |changed: &Changed| key.len() + changed.value.as_ref().map_or(0, Bytes::len);
        let before = self.changed.get(key).map_or(0, size);
        let bytes = self.bytes - before + size(&changed);
        if bytes > BYTES {
            return Err(KvError::Bytes);
        }
        if before == 0 && self.changed.len() >= KEYS {
            return Err(KvError::Keys);
        }
        self.bytes = bytes;
        self.changed.insert(key.into(), changed);
        Ok(())
    }
}

impl KvSpace for Apart {
    fn get(&self, key: &str, now: u64) -> Option<Kept> {
        self.look(&self.own(), key, now)
    }

    fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl_ms: u64,
        now: u64,
    ) -> Result<u64, KvError> {
        if !is_key(key) || value.len() > VALUE_BYTES {
            return Err(KvError::TooLarge);
        }
        let mut own = self.own();
        let before = self.expected(&own, key, expect, now)?;
        let version = before.map_or(1, |kept| kept.version + 1);
        let changed = Changed {
            value: Some(value),
            version,
            ends: (ttl_ms > 0).then(|| now.saturating_add(ttl_ms)),
        };
        own.set(key, changed).map(|()| version)
    }

    fn remove(&self, key: &str, expect: Expect, now: u64) -> Result<bool, KvError> {
        let mut own = self.own();
        let before = self.expected(&own, key, expect, now)?;
        let gone = Changed {
            value: None,
            version: 0,
            ends: None,
        };
        if before.is_some() {
            own.set(key, gone)?;
        }
        Ok(before.is_some())
    }

    fn increment(&self, key: &str, by: i64, now: u64) -> Result<i64, KvError> {
        if !is_key(key) {
            return Err(KvError::TooLarge);
        }
        let mut own = self.own();
        let before = self.look(&own, key, now);
        let number = before
            .as_ref()
            .map(|kept| <[u8; 8]>::try_from(&kept.value[..]));
        let number = number.and_then(Result::ok).map_or(0, i64::from_le_bytes);
        let number = number.wrapping_add(by);
        let changed = Changed {
            value: Some(Bytes::copy_from_slice(&number.to_le_bytes())),
            version: before.map_or(1, |kept| kept.version + 1),
            ends: own.changed.get(key).and_then(|changed| changed.ends),
        };
        own.set(key, changed).map(|()| number)
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: u64,
    ) -> Vec<(Arc<str>, Kept)> {
        let limit = limit.min(SCAN_ENTRIES);
        let own = self.own();
        // So many real keys may be hidden behind own ones.
        let mut found: BTreeMap<Arc<str>, Kept> = BTreeMap::new();
        let mut from = after.map(str::to_owned);
        loop {
            let page = self.real.scan(prefix, from.as_deref(), limit, now);
            let last = page.last().map(|(key, _)| key.to_string());
            let fresh = page.into_iter();
            found.extend(fresh.filter(|(key, _)| !own.changed.contains_key(key)));
            if last.is_none() || found.len() >= limit {
                break;
            }
            from = last;
        }
        let begins = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let changed = own
            .changed
            .range::<str, _>((Bound::Included(begins), Bound::Unbounded));
        let changed = changed
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| &***key > after))
            .filter_map(|(key, changed)| Some((key.clone(), changed.kept(now)?)));
        found.extend(changed.take(limit));
        let mut bytes = 0;
        let page = found.into_iter().take(limit).take_while(|(key, kept)| {
            let goes_on = bytes < SCAN_BYTES;
            bytes += key.len() + kept.value.len();
            goes_on
        });
        page.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_broker::kv::Spaces;

    fn worlds() -> (Arc<dyn KvSpace>, Apart) {
        let real = Spaces::default().space("p");
        let apart = Apart::from(real.clone());
        (real, apart)
    }

    fn text(kept: Option<Kept>) -> Option<String> {
        kept.map(|kept| String::from_utf8_lossy(&kept.value).into_owned())
    }

    #[test]
    fn it_reads_what_is_and_changes_nothing() {
        let (real, apart) = worlds();
        real.put("a", "1".into(), Expect::Any, 0, 0).unwrap();
        real.put("b", "1".into(), Expect::Any, 0, 0).unwrap();
        assert_eq!(text(apart.get("a", 0)).as_deref(), Some("1"));
        assert_eq!(apart.put("a", "2".into(), Expect::Version(1), 0, 0), Ok(2));
        let mismatch = Err(KvError::Mismatch(Some(2)));
        assert_eq!(
            apart.put("a", "3".into(), Expect::Version(1), 0, 0),
            mismatch
        );
        assert_eq!(apart.remove("b", Expect::Any, 0), Ok(true));
        assert_eq!(apart.remove("b", Expect::Any, 0), Ok(false));
        assert_eq!(apart.put("b", "4".into(), Expect::Absent, 0, 0), Ok(1));
        assert_eq!(apart.increment("n", 3, 0), Ok(3));
        assert_eq!(apart.increment("n", -1, 0), Ok(2));
        assert_eq!(text(real.get("a", 0)).as_deref(), Some("1"));
        assert_eq!(text(real.get("b", 0)).as_deref(), Some("1"));
        assert_eq!(real.get("n", 0), None);
    }

    #[test]
    fn what_ends_is_gone_and_what_is_changed_hides_what_was() {
        let (real, apart) = worlds();
        for key in ["k1", "k2", "k3", "k5", "x"] {
            real.put(key, "r".into(), Expect::Any, 0, 0).unwrap();
        }
        apart.put("k2", "o".into(), Expect::Any, 0, 0).unwrap();
        apart.put("k4", "o".into(), Expect::Any, 5, 0).unwrap();
        apart.remove("k3", Expect::Any, 0).unwrap();
        let keys = |after, limit, now| -> Vec<String> {
            let found = apart.scan("k", after, limit, now).into_iter();
            found.map(|(key, _)| key.to_string()).collect()
        };
        assert_eq!(keys(None, 10, 4), ["k1", "k2", "k4", "k5"]);
        assert_eq!(keys(None, 10, 5), ["k1", "k2", "k5"]);
        assert_eq!(keys(Some("k1"), 1, 0), ["k2"]);
        assert_eq!(keys(Some("k2"), 2, 0), ["k4", "k5"]);
    }

    #[test]
    fn it_is_bounded() {
        let (_, apart) = worlds();
        let value = Bytes::from(vec![0; VALUE_BYTES]);
        let put =
            |number: usize| apart.put(&format!("{number:08}"), value.clone(), Expect::Any, 0, 0);
        let room = BYTES / (VALUE_BYTES + 8);
        for number in 0..room {
            put(number).unwrap();
        }
        assert_eq!(put(room), Err(KvError::Bytes));
        assert_eq!(put(0), Ok(2));
        let long = "k".repeat(witmq_broker::ports::kv::KEY_BYTES + 1);
        assert_eq!(apart.increment(&long, 1, 0), Err(KvError::TooLarge));
    }
}
