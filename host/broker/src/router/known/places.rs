//! Where a topic lies among those that are known, found by one look at a cache line.
//!
//! Owns: [`Places`]. A topic's hash says its set, sixteen slots of a line; it lies there or in the set beside it. Must not: know
//! topics; who asks compares them.

/// Slots of a set.
const SLOTS: usize = 16;
/// Bits of a slot that are the place; the others are a mark, those bits of the hash that sets are chosen by last.
const BITS: u32 = 20;
/// Places there may be.
pub(super) const MOST: usize = (1 << BITS) - 1;
/// A slot that has nothing.
const EMPTY: u32 = u32::MAX;

/// A line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Set([u32; SLOTS]);

impl Set {
    #[inline]
    fn find(&self, mark: u32, is_it: &impl Fn(u32) -> bool) -> Option<u32> {
        for slot in &self.0 {
            let place = slot & (EMPTY >> (u32::BITS - BITS));
            if slot >> BITS == mark && *slot != EMPTY && is_it(place) {
                return Some(place);
            }
        }
        None
    }

    /// Puts `new` where `old` is.
    fn exchange(&mut self, old: u32, new: u32) -> bool {
        let slot = self.0.iter_mut().find(|slot| **slot == old);
        slot.map(|slot| *slot = new).is_some()
    }
}

/// Places by hash. At least half of the slots are empty.
#[derive(Debug)]
pub(super) struct Places {
    /// As many as a power of two, and two at least.
    sets: Vec<Set>,
    /// Of each place, what it lies by.
    hashes: Vec<u32>,
    len: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            sets: vec![Set([EMPTY; SLOTS]); 2],
            hashes: Vec::new(),
            len: 0,
        }
    }
}

/// What of a hash is looked at.
fn short(hash: u64) -> u32 {
    u32::try_from(hash & 0xFFFF_FFFF).unwrap_or(0)
}

fn slot(hash: u32, place: u32) -> u32 {
    hash >> BITS << BITS | place
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl Places {
    /// The number of a hash's set; that of the one beside it differs in the last bit.
    fn set(&self, hash: u32) -> usize {
        index(hash) & (self.sets.len() - 1)
    }

    /// Brings the set of a hash near; what comes back says nothing.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        let set = self.sets.get(self.set(short(hash)));
        set.map_or(0, |set| set.0.first().copied().unwrap_or(0))
    }

    /// The place of a topic with this hash for which `is_it` says so.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = short(hash);
        let (set, mark) = (self.set(hash), hash >> BITS);
        let here = self.sets.get(set)?.find(mark, &is_it);
        here.or_else(|| self.sets.get(set ^ 1)?.find(mark, &is_it))
    }

    /// Takes in a place that is not there, below [`MOST`]. If there is no room for its hash, which is a matter of chance, one
    /// of those in its set goes.
    pub(super) fn insert(&mut self, hash: u64, place: u32) -> Option<u32> {
        let hash = short(hash);
        if self.hashes.len() <= index(place) {
            self.hashes.resize(index(place) + 1, 0);
        }
        if let Some(known) = self.hashes.get_mut(index(place)) {
            *known = hash;
        }
        let slots = SLOTS * self.sets.len();
        let is_half = 2 * self.len >= slots;
        if is_half {
            self.grow();
        }
        let is_in = self.put(hash, place) || {
            let may_grow = !is_half && 4 * self.len >= slots;
            may_grow && {
                self.grow();
                self.put(hash, place)
            }
        };
        if is_in {
            self.len += 1;
            return None;
        }
        self.exchange(hash, place)
    }

    fn put(&mut self, hash: u32, place: u32) -> bool {
        let set = self.set(hash);
        let mut put = |set: usize| {
            let set = self.sets.get_mut(set);
            set.is_some_and(|set| set.exchange(EMPTY, slot(hash, place)))
        };
        put(set) || put(set ^ 1)
    }

    /// Puts a place where another one was; which one, a part of the hash says that chose nothing else.
    fn exchange(&mut self, hash: u32, place: u32) -> Option<u32> {
        let set = self.set(hash);
        let slots = &mut self.sets.get_mut(set)?.0;
        let old = slots.get_mut(index(hash >> 28) % SLOTS)?;
        let old = std::mem::replace(old, slot(hash, place));
        Some(old & (EMPTY >> (u32::BITS - BITS)))
    }

    /// Takes out a place that is there.
    pub(super) fn remove(&mut self, place: u32) {
        let Some(hash) = self.hashes.get(index(place)).copied() else {
            return;
        };
        let set = self.set(hash);
        for set in [set, set ^ 1] {
            let set = self.sets.get_mut(set);
            if set.is_some_and(|set| set.exchange(slot(hash, place), EMPTY)) {
                self.len -= 1;
                return;
            }
        }
    }

    /// Twice as many sets. What was in a pair of them is divided among two pairs, so that all find room again.
    fn grow(&mut self) {
        let sets = vec![Set([EMPTY; SLOTS]); 2 * self.sets.len()];
        let old = std::mem::replace(&mut self.sets, sets);
        let slots = old
            .iter()
            .flat_map(|set| set.0)
            .filter(|slot| *slot != EMPTY);
        for slot in slots {
            let place = slot & (EMPTY >> (u32::BITS - BITS));
            let hash = self.hashes.get(index(place)).copied().unwrap_or(0);
            self.put(hash, place);
        }
    }

    /// Slots, and those of them that have something.
    #[cfg(test)]
    pub(super) fn counted(&self) -> (usize, usize) {
        let slots = self.sets.iter().flat_map(|set| set.0);
        let taken = slots.filter(|slot| *slot != EMPTY).count();
        assert_eq!(taken, self.len);
        (SLOTS * self.sets.len(), taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_has_what_was_put_in_and_neither_taken_out_nor_pushed_out(
            steps in proptest::collection::vec((0u32..4, 0u64..60, 0u32..3), 0..400),
        ) {
            // Few hashes, so that sets fill; those of one hash are told apart by the place alone.
            let (mut places, mut plain) = (Places::default(), BTreeMap::new());
            for (kind, n, which) in steps {
                let (hash, place) = (n << 4 | n << 20 | n << 40, u32::try_from(n).unwrap() * 3 + which);
                if kind == 0 {
                    if plain.remove(&place).is_some() {
                        places.remove(place);
                    }
                } else if !plain.contains_key(&place) {
                    if let Some(out) = places.insert(hash, place) {
                        prop_assert!(plain.remove(&out).is_some(), "{} was not there", out);
                    }
                    plain.insert(place, hash);
                }
                let (slots, taken) = places.counted();
                prop_assert_eq!(taken, plain.len());
                prop_assert!(taken <= slots / 2);
                for (place, hash) in &plain {
                    prop_assert_eq!(places.find(*hash, |known| known == *place), Some(*place));
                    prop_assert_eq!(places.find(*hash, |_| false), None);
                    prop_assert_eq!(places.find(hash ^ 1 << 31, |_| true), None);
                }
            }
        }
    }

    #[test]
    fn one_goes_when_both_sets_are_full_and_others_are_not() {
        let mut places = Places::default();
        let alone = |n: u32| u64::from(n) << 12; // in the first set and that beside it, however many there are
        let in_all: Vec<u64> = (0..1000).map(|n| n << 1).collect();
        for (place, hash) in (1000..).zip(&in_all) {
            assert_eq!(places.insert(*hash, place), None, "{place}");
        }
        let (slots, taken) = places.counted();
        assert_eq!((slots, taken), (2048, 1000));
        let mut gone = 0;
        for place in 0..100 {
            gone += places.insert(alone(place), place).iter().len();
        }
        let (slots, taken) = places.counted();
        assert_eq!(taken, 1100 - gone);
        assert!(gone > 50 && slots > 4 * taken, "{gone} {slots}");
    }

    #[test]
    fn the_last_place_there_is_can_be_taken() {
        let mut places = Places::default();
        let last = u32::try_from(MOST - 1).unwrap();
        places.insert(u64::MAX, last);
        assert_eq!(places.find(u64::MAX, |_| true), Some(last));
        places.remove(last);
        assert_eq!(places.find(u64::MAX, |_| true), None);
    }
}
