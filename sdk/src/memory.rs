//! What a plugin remembers by name, within bounds.
//!
//! Owns: which entry goes when there is no more room. Must not: know what is remembered.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A map from names to values that holds so many entries and bytes at most: the least recently used ones make room.
/// Names often come from outside (topics, client ids), so without a bound anybody fills the memory of a plugin.
///
/// ```
/// let mut last = witmq_sdk::Memory::new(2, 1000);
/// last.insert("a", 1.0, 8);
/// last.insert("b", 2.0, 8);
/// last.get("a");
/// assert_eq!(last.insert("c", 3.0, 8), 1); // `b` made room
/// assert!(last.get("a").is_some() && last.get("b").is_none());
/// ```
///
/// [`Memory::iter`] gives the entries in the order in which they would go, so inserting them again in that order, as after
/// a swap, keeps it.
#[derive(Clone, Debug)]
pub struct Memory<V> {
    entries: BTreeMap<Rc<str>, Entry<V>>,
    /// Names by the time of their last use.
    used: BTreeMap<u64, Rc<str>>,
    /// Counts uses.
    time: u64,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<V> Memory<V> {
    /// An empty one. `max_bytes` bounds the bytes of names and of what [`Memory::insert`] is told of values.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            used: BTreeMap::new(),
            time: 0,
            bytes: 0,
            max_entries,
            max_bytes,
        }
    }

    /// The value of a name, which is used by that.
    pub fn get(&mut self, name: &str) -> Option<&mut V> {
        let entry = self.entries.get_mut(name)?;
        let name = self.used.remove(&entry.used)?;
        self.time += 1;
        entry.used = self.time;
        self.used.insert(self.time, name);
        Some(&mut entry.value)
    }

    /// Sets the value of a name, which is used by that; says how many others went. `bytes` are those of the value. What
    /// alone is beyond the bound is not kept, and counts.
    pub fn insert(&mut self, name: &str, value: V, bytes: usize) -> usize {
        self.remove(name);
        let needed = name.len().saturating_add(bytes);
        if needed > self.max_bytes || self.max_entries == 0 {
            return 1;
        }
        let mut gone = 0;
        while self.entries.len() >= self.max_entries || self.bytes + needed > self.max_bytes {
            let Some((_, oldest)) = self.used.pop_first() else {
                break;
            };
            self.forget(&oldest);
            gone += 1;
        }
        let name: Rc<str> = name.into();
        self.time += 1;
        self.bytes += needed;
        self.used.insert(self.time, Rc::clone(&name));
        let used = self.time;
        self.entries.insert(name, Entry { value, bytes, used });
        gone
    }

    /// Forgets a name, and gives its value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let entry = self.forget(name)?;
        self.used.remove(&entry.used);
        Some(entry.value)
    }

    fn forget(&mut self, name: &str) -> Option<Entry<V>> {
        let entry = self.entries.remove(name)?;
        self.bytes = self.bytes.saturating_sub(name.len() + entry.bytes);
        Some(entry)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All entries, the least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let entry = |name: &Rc<str>| self.entries.get_key_value(name);
        let entries = self.used.values().filter_map(entry);
        entries.map(|(name, entry)| (&**name, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(memory: &Memory<u32>) -> String {
        memory.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_least_recently_used_makes_room_at_each_bound() {
        let mut memory = Memory::new(3, 1000);
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(memory.insert(name, value, 4), 0);
        }
        assert_eq!(memory.get("a"), Some(&mut 1));
        assert_eq!(memory.insert("b", 4, 4), 0);
        assert_eq!(names(&memory), "cab");
        assert_eq!(memory.insert("d", 5, 4), 1);
        assert_eq!((&*names(&memory), memory.bytes()), ("abd", 15));
        assert_eq!(memory.insert("e", 6, 984), 1);
        assert_eq!((&*names(&memory), memory.bytes()), ("bde", 995));
        assert_eq!(memory.insert("f", 7, 999), 3);
        assert_eq!((&*names(&memory), memory.bytes()), ("f", 1000));
    }

    #[test]
    fn what_is_alone_too_large_is_not_kept_and_leaves_the_others() {
        let mut memory = Memory::new(2, 10);
        memory.insert("a", 1, 4);
        assert_eq!(memory.insert("b", 2, 10), 1);
        assert_eq!(names(&memory), "a");
        // Its old value is not true any more.
        assert_eq!(memory.insert("a", 2, 10), 1);
        assert!(memory.is_empty() && memory.bytes() == 0);
        assert_eq!(Memory::new(0, 10).insert("a", 1, 1), 1);
    }

    #[test]
    fn what_is_removed_is_gone() {
        let mut memory = Memory::new(2, 10);
        memory.insert("a", 1, 4);
        assert_eq!((memory.remove("a"), memory.remove("a")), (Some(1), None));
        assert_eq!(
            (memory.len(), memory.bytes(), memory.iter().count()),
            (0, 0, 0)
        );
    }
}
