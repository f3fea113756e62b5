//! The values of a sliding window: first in, first out, and what is known of all of them at any time.
//!
//! Owns: [`Queue`]. Two stacks: what came lately, with the sum of it, and what leaves next, each with the sum of itself and
//! what is beneath. A value is moved once, so a step costs a few additions, however long the window is.

use super::sum::Sums;

/// One value and when it came.
type Entry = (u64, Sums);

#[derive(Default)]
pub(super) struct Queue {
    /// The oldest on top; the sums are of the entry and all younger ones of this stack.
    front: Vec<Entry>,
    /// The youngest on top; the sums are of the entry.
    back: Vec<Entry>,
    of_back: Sums,
}

impl Queue {
    pub(super) fn push(&mut self, at_ms: u64, sums: Sums) {
        self.of_back.push(&sums);
        self.back.push((at_ms, sums));
    }

    /// Takes the oldest out.
    pub(super) fn pop(&mut self) {
        if self.front.is_empty() {
            let mut sum = Sums::default();
            for (at, sums) in self.back.drain(..).rev() {
                sum = sums.then(&sum);
                self.front.push((at, sum.clone()));
            }
            self.of_back = Sums::default();
        }
        self.front.pop();
    }

    pub(super) fn len(&self) -> usize {
        self.front.len() + self.back.len()
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let oldest = self.front.last().or_else(|| self.back.first());
        oldest.map(|(at, _)| *at)
    }

    pub(super) fn youngest_ms(&self) -> Option<u64> {
        let youngest = self.back.last().or_else(|| self.front.first());
        youngest.map(|(at, _)| *at)
    }

    pub(super) fn sums(&self) -> Sums {
        let front = self.front.last().map(|(_, sums)| sums);
        front.map_or_else(|| self.of_back.clone(), |front| front.then(&self.of_back))
    }

    pub(super) fn bytes(&self) -> usize {
        let one = self.back.last().or_else(|| self.front.last());
        one.map_or(0, |(_, sums)| {
            self.len() * (sums.bytes() + size_of::<u64>())
        })
    }
}
