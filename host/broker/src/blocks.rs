//! Records under numbers that stay, in blocks.
//!
//! Owns: [`Blocks`]. Growing moves nothing: a table that doubles copies all it has, and leaves a hole as large as itself in
//! the process's memory. Numbers are small and dense, and are given again when their record is gone.

use slab::Slab;

/// Records of one block.
const BLOCK: usize = 512;

/// Records by number.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    /// `None`: the record is gone, and its number is not given again yet.
    blocks: Vec<Slab<Option<T>>>,
    /// Blocks that have room.
    roomy: Vec<usize>,
    len: usize,
}

impl<T> Blocks<T> {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Vec::new(),
            roomy: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// No number is as large.
    pub(crate) fn bound(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        (self.blocks.get(number / BLOCK)?.get(number % BLOCK)?).as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        (self
            .blocks
            .get_mut(number / BLOCK)?
            .get_mut(number % BLOCK)?)
        .as_mut()
    }

    /// Adds a record, made from its number.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(usize) -> T) -> usize {
        let last = self.roomy.last().copied();
        let block = last.unwrap_or_else(|| {
            self.blocks.push(Slab::with_capacity(BLOCK));
            self.roomy.push(self.blocks.len() - 1);
            self.blocks.len() - 1
        });
        let Some(records) = self.blocks.get_mut(block) else {
            unreachable!("a block with room is there");
        };
        let entry = records.vacant_entry();
        let number = block * BLOCK + entry.key();
        entry.insert(Some(make(number)));
        if records.len() == BLOCK {
            self.roomy.pop();
        }
        self.len += 1;
        number
    }

    pub(crate) fn insert(&mut self, record: T) -> usize {
        self.insert_with(|_| record)
    }

    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let record = self.vacate(number)?;
        self.release(number);
        Some(record)
    }

    /// Removes a record whose number is not to be given again before [`Self::release`].
    pub(crate) fn vacate(&mut self, number: usize) -> Option<T> {
        let record = (self
            .blocks
            .get_mut(number / BLOCK)?
            .get_mut(number % BLOCK)?)
        .take()?;
        self.len -= 1;
        Some(record)
    }

    /// The number of a record that was vacated may be given again.
    pub(crate) fn release(&mut self, number: usize) {
        let block = number / BLOCK;
        let Some(records) = self.blocks.get_mut(block) else {
            return;
        };
        if !matches!(records.get(number % BLOCK), Some(None)) {
            return;
        }
        if records.len() == BLOCK {
            self.roomy.push(block);
        }
        records.remove(number % BLOCK);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let records = self.blocks.iter().flat_map(Slab::iter);
        records.filter_map(|(_, record)| record.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_stay_with_their_records_and_are_dense() {
        let (mut blocks, mut model) = (Blocks::new(), BTreeMap::new());
        for round in 0..3 {
            for record in 0..3 * BLOCK + 5 {
                let record = round * 10_000 + record;
                let number = blocks.insert_with(|number| (number, record));
                assert_eq!(model.insert(number, record), None, "a number given twice");
            }
            assert_eq!(blocks.bound(), (model.len()).div_ceil(BLOCK) * BLOCK);
            // Every third goes, in an order that opens full blocks from both ends.
            let gone: Vec<_> = model
                .keys()
                .copied()
                .filter(|n| n % 3 == round % 3)
                .collect();
            for number in gone.iter().rev() {
                let record = model.remove(number).unwrap();
                assert_eq!(blocks.remove(*number), Some((*number, record)));
                assert_eq!(blocks.remove(*number), None);
                assert_eq!(blocks.get(*number), None);
            }
            assert_eq!(blocks.len(), model.len());
            assert_eq!(blocks.iter().count(), model.len());
        }
        for (number, record) in model {
            assert_eq!(blocks.get(number), Some(&(number, record)));
            assert_eq!(blocks.get_mut(number).unwrap().1, record);
        }
        assert_eq!(blocks.get(usize::MAX), None);
        assert_eq!(blocks.remove(usize::MAX), None);
    }

    #[test]
    fn a_number_is_held_until_it_is_released() {
        let mut blocks = Blocks::new();
        for record in 0..BLOCK {
            blocks.insert(record);
        }
        assert_eq!(blocks.vacate(7), Some(7));
        assert_eq!((blocks.get(7), blocks.len()), (None, BLOCK - 1));
        assert_eq!((blocks.vacate(7), blocks.remove(7)), (None, None));
        assert_eq!(blocks.iter().count(), BLOCK - 1);
        assert_eq!(blocks.insert(0), BLOCK, "7 is held");
        blocks.release(7);
        blocks.release(7);
        blocks.release(8); // its record is there
        assert_eq!(blocks.get(8), Some(&8));
        assert_eq!(blocks.insert(1), 7);
    }

    #[test]
    fn what_left_makes_room_before_a_block_is_added() {
        let mut blocks = Blocks::new();
        for record in 0..BLOCK {
            assert_eq!(blocks.insert(record), record);
        }
        assert_eq!(blocks.remove(7), Some(7));
        assert_eq!(blocks.insert(0), 7);
        assert_eq!(blocks.bound(), BLOCK);
        assert_eq!(blocks.insert(0), BLOCK);
        assert_eq!(blocks.bound(), 2 * BLOCK);
    }
}
