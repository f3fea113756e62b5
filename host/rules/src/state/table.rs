//! A bounded table from keys to what a step remembers of them, shared by shards.
//!
//! Owns: [`Table`]. Entries and bytes are bounded exactly; beyond them what was used least recently is given up, of the
//! same stripe first. A small table has one stripe, and then that is the least recently used one of all.
//! Must not: know what is remembered, beyond its bytes and when it falls due.

use super::pool::{Gives, POOL_BYTES, Pool};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Locks of a table.
const STRIPES: usize = 16;
/// A table of fewer entries than this has one lock.
const STRIPED_FROM: usize = 1024;
/// What an entry costs beyond its key and value: map, order and counts.
pub(crate) const ENTRY_BYTES: usize = 160;
/// Idle entries that are removed for each one that is used.
const ON_THE_WAY: usize = 2;

/// What a table may hold.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    /// Of keys and values, [`ENTRY_BYTES`] more for each.
    pub(crate) bytes: usize,
    /// What all tables hold together.
    pub(crate) pool: Arc<Pool>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 16 * 1024 * 1024,
            pool: Arc::new(Pool::new(POOL_BYTES)),
        }
    }
}

/// What is remembered under a key.
pub(crate) trait Kept: Default + Send + 'static {
    /// Bytes on the heap, more or less.
    fn bytes(&self) -> usize;

    /// When it has to be looked at though nobody uses it, in milliseconds since 1970.
    fn due_ms(&self) -> Option<u64> {
        None
    }
}

struct Slot<V> {
    value: V,
    /// Place in the order of use.
    used: u64,
    used_ms: u64,
    bytes: usize,
    due: Option<u64>,
}

struct Stripe<V> {
    slots: HashMap<Arc<str>, Slot<V>>,
    /// The one used least recently first.
    order: BTreeMap<u64, Arc<str>>,
    due: BTreeSet<(u64, Arc<str>)>,
    uses: u64,
}

impl<V> Default for Stripe<V> {
    fn default() -> Self {
        Self {
            slots: HashMap::new(),
            order: BTreeMap::new(),
            due: BTreeSet::new(),
            uses: 0,
        }
    }
}

impl<V> Stripe<V> {
    fn take_out(&mut self, key: &str) -> Option<usize> {
        let (key, slot) = self.slots.remove_entry(key)?;
        self.order.remove(&slot.used);
        if let Some(due) = slot.due {
            self.due.remove(&(due, key));
        }
        Some(slot.bytes)
    }

    /// The one used least recently, unless it is `but`.
    fn oldest(&self, but: &str) -> Option<Arc<str>> {
        let mut order = self.order.values();
        order.find(|key| ***key != *but).cloned()
    }
}

/// The table.
pub(crate) struct Table<V>(Arc<Content<V>>);

struct Content<V> {
    stripes: Box<[Mutex<Stripe<V>>]>,
    hasher: RandomState,
    bounds: Bounds,
    /// What was not used for so long is as good as absent, and removed.
    idle_ms: Option<u64>,
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

fn lock<V>(stripe: &Mutex<Stripe<V>>) -> MutexGuard<'_, Stripe<V>> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V> Drop for Content<V> {
    fn drop(&mut self) {
        self.bounds.pool.add(0, self.bytes.load(Ordering::Relaxed));
    }
}

impl<V: Kept> Gives for Content<V> {
    fn holds(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn give_up(&self, is_over: &dyn Fn() -> bool) -> usize {
        let mut given_up = 0;
        // One of each stripe in turn, so that what goes is old in all of them.
        loop {
            let before = given_up;
            for stripe in &self.stripes {
                let mut stripe = lock(stripe);
                let oldest = stripe.order.values().next().cloned();
                if let Some(oldest) = oldest.filter(|_| is_over()) {
                    self.forget(&mut stripe, &oldest);
                    given_up += 1;
                }
            }
            if given_up == before {
                return given_up;
            }
        }
    }
}

impl<V: Kept> Table<V> {
    pub(crate) fn new(bounds: Bounds, idle_ms: Option<u64>) -> Self {
        let stripes = if bounds.entries < STRIPED_FROM {
            1
        } else {
            STRIPES
        };
        let pool = bounds.pool.clone();
        let content = Arc::new(Content {
            stripes: (0..stripes).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bounds,
            idle_ms,
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        });
        let gives: Weak<Content<V>> = Arc::downgrade(&content);
        pool.join(gives);
        Self(content)
    }

    /// [`Content::update`], and what all tables hold is kept within its bound.
    pub(crate) fn update<R>(
        &self,
        key: &str,
        now_ms: u64,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<(R, usize)> {
        let updated = self.0.update(key, now_ms, change);
        self.0.bounds.pool.settle();
        updated
    }

    /// [`Content::take_due`].
    pub(crate) fn take_due(
        &self,
        now_ms: u64,
        most: usize,
        look: impl FnMut(&Arc<str>, &mut V) -> bool,
    ) -> usize {
        self.0.take_due(now_ms, most, look)
    }

    /// When the first key falls due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let first = |stripe: &Mutex<Stripe<V>>| lock(stripe).due.first().map(|(due, _)| *due);
        self.0.stripes.iter().filter_map(first).min()
    }

    /// Entries and bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.0.size()
    }
}

impl<V: Kept> Content<V> {
    /// Place of the stripe of a key.
    fn place(&self, key: &str) -> usize {
        let count = u64::try_from(self.stripes.len()).unwrap_or(1).max(1);
        usize::try_from(self.hasher.hash_one(key) % count).unwrap_or(0)
    }

    /// Uses what is remembered of `key`, which is new if nothing is. Also how many others were given up for it.
    fn update<R>(
        &self,
        key: &str,
        now_ms: u64,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<(R, usize)> {
        let place = self.place(key);
        let mut stripe = lock(self.stripes.get(place)?);
        self.remove_idle(&mut stripe, key, now_ms);
        let known = stripe.slots.get_key_value(key).map(|(key, _)| key.clone());
        let is_new = known.is_none();
        let key: Arc<str> = known.unwrap_or_else(|| key.into());
        stripe.uses += 1;
        let uses = stripe.uses;
        let slot = stripe.slots.entry(key.clone()).or_insert_with(|| Slot {
            value: V::default(),
            used: 0,
            used_ms: 0,
            bytes: 0,
            due: None,
        });
        let result = change(&mut slot.value);
        let old = (slot.used, slot.bytes, slot.due);
        let bytes = key.len() + slot.value.bytes() + ENTRY_BYTES;
        let due = slot.value.due_ms();
        (slot.used, slot.used_ms, slot.bytes, slot.due) = (uses, now_ms, bytes, due);
        if !is_new {
            stripe.order.remove(&old.0);
        }
        stripe.order.insert(uses, key.clone());
        reschedule(&mut stripe.due, &key, old.2, due);
        self.entries
            .fetch_add(usize::from(is_new), Ordering::Relaxed);
        self.add(bytes, old.1);
        let mut given_up = self.shrink(&mut stripe, &key);
        drop(stripe);
        if self.is_over() {
            given_up += self.shrink_elsewhere(place, &key);
        }
        Some((result, given_up))
    }

    fn add(&self, new: usize, old: usize) {
        self.bytes.fetch_add(new, Ordering::Relaxed);
        self.bytes.fetch_sub(old, Ordering::Relaxed);
        self.bounds.pool.add(new, old);
    }

    fn is_over(&self) -> bool {
        let (entries, bytes) = self.size();
        entries > self.bounds.entries || bytes > self.bounds.bytes
    }

    fn forget(&self, stripe: &mut Stripe<V>, key: &str) {
        if let Some(bytes) = stripe.take_out(key) {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.add(0, bytes);
        }
    }

    /// Gives entries up until the bounds hold or only `but` is left; how many.
    fn shrink(&self, stripe: &mut Stripe<V>, but: &str) -> usize {
        let mut given_up = 0;
        while self.is_over()
            && let Some(oldest) = stripe.oldest(but)
        {
            self.forget(stripe, &oldest);
            given_up += 1;
        }
        given_up
    }

    /// The same in the other stripes; if that is not enough either, the key itself is too large.
    fn shrink_elsewhere(&self, place: usize, key: &str) -> usize {
        let others = (self.stripes.iter().enumerate()).filter(|(at, _)| *at != place);
        let mut given_up = others
            .map(|(_, other)| self.shrink(&mut lock(other), key))
            .sum();
        if self.is_over()
            && let Some(own) = self.stripes.get(place)
        {
            let mut own = lock(own);
            let before = own.slots.len();
            self.forget(&mut own, key);
            given_up += before - own.slots.len();
        }
        given_up
    }

    fn remove_idle(&self, stripe: &mut Stripe<V>, but: &str, now_ms: u64) {
        let Some(idle_ms) = self.idle_ms else { return };
        for _ in 0..ON_THE_WAY {
            let Some(oldest) = stripe.oldest(but) else {
                return;
            };
            let used_ms = stripe.slots.get(&oldest).map_or(0, |slot| slot.used_ms);
            if now_ms.saturating_sub(used_ms) < idle_ms {
                return;
            }
            self.forget(stripe, &oldest);
        }
    }

    /// Hands at most `most` keys that are due to `look`, which says whether they stay.
    fn take_due(
        &self,
        now_ms: u64,
        most: usize,
        mut look: impl FnMut(&Arc<str>, &mut V) -> bool,
    ) -> usize {
        let mut seen = 0;
        for stripe in &self.stripes {
            let mut stripe = lock(stripe);
            while seen < most {
                let Some((due, key)) = stripe.due.first().cloned() else {
                    break;
                };
                if due > now_ms {
                    break;
                }
                seen += 1;
                stripe.due.remove(&(due, key.clone()));
                let Some(slot) = stripe.slots.get_mut(&key) else {
                    continue;
                };
                let stays = look(&key, &mut slot.value);
                let bytes = key.len() + slot.value.bytes() + ENTRY_BYTES;
                // What stays is not due at the same time again.
                let next = slot.value.due_ms().filter(|next| *next > due);
                let old = std::mem::replace(&mut slot.bytes, bytes);
                slot.due = next;
                self.add(bytes, old);
                match (stays, next) {
                    (false, _) => self.forget(&mut stripe, &key),
                    (true, Some(next)) => drop(stripe.due.insert((next, key))),
                    (true, None) => {}
                }
            }
        }
        seen
    }

    /// Entries and bytes.
    fn size(&self) -> (usize, usize) {
        let load = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (load(&self.entries), load(&self.bytes))
    }
}

impl<V> std::fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Table");
        out.field("entries", &self.0.entries)
            .finish_non_exhaustive()
    }
}

fn reschedule(
    all: &mut BTreeSet<(u64, Arc<str>)>,
    key: &Arc<str>,
    old: Option<u64>,
    new: Option<u64>,
) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        all.remove(&(old, key.clone()));
    }
    if let Some(new) = new {
        all.insert((new, key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A number, so many bytes, due then.
    #[derive(Default)]
    struct Sample {
        number: u32,
        bytes: usize,
        due: Option<u64>,
    }

    impl Kept for Sample {
        fn bytes(&self) -> usize {
            self.bytes
        }
        fn due_ms(&self) -> Option<u64> {
            self.due
        }
    }

    fn table(entries: usize, bytes: usize) -> Table<Sample> {
        let bounds = Bounds {
            entries,
            bytes,
            ..Bounds::default()
        };
        Table::new(bounds, None)
    }

    /// Counts up under a key: what it was, and how many others went.
    fn count(table: &Table<Sample>, key: &str) -> (u32, usize) {
        let add = |sample: &mut Sample| {
            sample.number += 1;
            sample.number - 1
        };
        table.update(key, 0, add).unwrap()
    }

    #[test]
    fn one_beyond_the_bound_of_entries_gives_up_the_one_used_least_recently() {
        let table = table(3, usize::MAX);
        for key in ["a", "b", "c", "a"] {
            assert_eq!(count(&table, key).1, 0, "{key}");
        }
        assert_eq!(count(&table, "d"), (0, 1));
        assert_eq!(table.size().0, 3);
        assert_eq!(count(&table, "a"), (2, 0), "it was used lately");
        assert_eq!(count(&table, "b"), (0, 1), "it was given up");
    }

    #[test]
    fn one_beyond_the_bound_of_bytes_gives_up_others_and_at_last_itself() {
        let room = 3 * (ENTRY_BYTES + 1);
        let table = table(100, room);
        let resize = |key: &str, bytes| {
            let set = |sample: &mut Sample| sample.bytes = bytes;
            table.update(key, 0, set).unwrap().1
        };
        assert_eq!([resize("a", 0), resize("b", 0), resize("c", 0)], [0, 0, 0]);
        assert_eq!(table.size(), (3, room));
        assert_eq!(resize("c", 1), 1, "one byte too many");
        assert_eq!(table.size(), (2, room - ENTRY_BYTES));
        assert_eq!(resize("c", room - ENTRY_BYTES - 1), 1, "it fits alone");
        assert_eq!(table.size(), (1, room));
        assert_eq!(resize("c", room - ENTRY_BYTES), 1, "it does not fit");
        assert_eq!(table.size(), (0, 0));
    }

    #[test]
    fn a_striped_table_holds_as_many_as_it_may_and_no_more() {
        let table = table(STRIPED_FROM, usize::MAX);
        assert_eq!(table.0.stripes.len(), STRIPES);
        let keys = (0..2 * STRIPED_FROM).map(|number| number.to_string());
        let given_up: Vec<usize> = keys.map(|key| count(&table, &key).1).collect();
        let (first, second) = given_up.split_at(STRIPED_FROM);
        assert!(first.iter().all(|count| *count == 0));
        assert!(second.iter().all(|count| *count == 1));
        assert_eq!(table.size().0, STRIPED_FROM);
    }

    #[test]
    fn what_is_idle_goes_without_being_counted() {
        let table = Table::<Sample>::new(
            Bounds {
                entries: 2,
                bytes: usize::MAX,
                ..Bounds::default()
            },
            Some(100),
        );
        let used = |key: &str, now_ms| table.update(key, now_ms, |_| ()).unwrap().1;
        assert_eq!([used("a", 0), used("b", 50)], [0, 0]);
        assert_eq!(used("c", 99), 1, "the first one is not idle yet");
        assert_eq!(used("d", 150), 0, "the second one is");
        assert_eq!(table.size().0, 2);
    }

    #[test]
    fn what_is_due_is_handed_out_once_in_steps() {
        let table = table(10, usize::MAX);
        for (key, due) in [("a", 5), ("b", 6), ("c", 9)] {
            let set = |sample: &mut Sample| sample.due = Some(due);
            table.update(key, 0, set).unwrap();
        }
        assert_eq!(table.next_due(), Some(5));
        let mut seen = Vec::new();
        let mut look = |key: &Arc<str>, sample: &mut Sample| {
            seen.push(key.to_string());
            sample.due = Some(20);
            **key != *"a"
        };
        assert_eq!(table.take_due(8, 1, &mut look), 1);
        assert_eq!(table.take_due(8, 10, &mut look), 1);
        assert_eq!(table.take_due(8, 10, &mut look), 0);
        assert_eq!(seen, ["a", "b"]);
        assert_eq!((table.next_due(), table.size().0), (Some(9), 2));
        table.update("c", 0, |sample| sample.due = None).unwrap();
        assert_eq!(table.next_due(), Some(20));
    }

    #[test]
    fn beyond_what_all_may_hold_the_largest_gives_up_what_it_used_least_recently() {
        let room = 100 * (ENTRY_BYTES + 2);
        let pool = Arc::new(Pool::new(room));
        let bounds = Bounds {
            pool: pool.clone(),
            entries: 1000,
            ..Bounds::default()
        };
        let [large, small] = [(); 2].map(|()| Table::<Sample>::new(bounds.clone(), None));
        for number in 0..2 {
            assert_eq!(count(&small, &format!("s{number}")), (0, 0));
        }
        for number in 10..100 {
            assert_eq!(count(&large, &number.to_string()), (0, 0));
        }
        for number in 2..10 {
            assert_eq!(count(&small, &format!("s{number}")), (0, 0));
        }
        assert_eq!(pool.numbers(), (room, 0), "all that there is room for");
        assert_eq!(count(&small, "s0"), (1, 0), "nothing more is nothing");
        assert_eq!(count(&small, "sa"), (0, 0));
        // A little more is made free than is needed.
        assert_eq!((small.size().0, large.size().0), (11, 88));
        assert_eq!(pool.numbers(), (room - ENTRY_BYTES - 2, 2));
        drop(large);
        assert_eq!(
            pool.numbers().0,
            small.size().1,
            "what is gone holds nothing"
        );
        let set = |sample: &mut Sample| sample.bytes = room;
        small.update("sb", 0, set).unwrap();
        assert_eq!(
            (small.size(), pool.numbers()),
            ((0, 0), (0, 14)),
            "too large alone"
        );
    }

    #[test]
    fn shards_share_a_key() {
        let table = table(10_000, usize::MAX);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..1000 {
                        count(&table, &(number % 10).to_string());
                    }
                });
            }
        });
        assert_eq!(count(&table, "3").0, 400);
    }

    proptest! {
        #[test]
        fn a_small_table_is_a_list_of_what_was_used_last(keys in prop::collection::vec(0u8..9, 0..60)) {
            let table = table(5, usize::MAX);
            let mut model: Vec<(u8, u32)> = Vec::new();
            for key in keys {
                let place = model.iter().position(|(known, _)| *known == key);
                let before = place.map_or(0, |place| model.remove(place).1);
                model.push((key, before + 1));
                let goes = model.len() > 5;
                if goes {
                    model.remove(0);
                }
                prop_assert_eq!(count(&table, &key.to_string()), (before, usize::from(goes)));
            }
            prop_assert_eq!(table.size().0, model.len());
        }
    }
}
