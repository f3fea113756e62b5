//! Which slices of the log are still needed.
//!
//! Owns: [`LogState`]: counts per slice, and how far each shard has queued what others logged for it.
//! A slice goes when nobody points into it and nobody owes anything from it, or when a bound is hit.

use crate::tables::{Slice, slice_of};
use crate::turn::Op;
use std::collections::BTreeMap;
use witmq_proto::LogPlace;

/// What a slice holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) bytes: u64,
    /// Entries of queues that point into it.
    pub(crate) pointers: u64,
}

/// The log as it is committed. Counts are exclusive: the next one, not the last.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    /// By shard: the count of its next entry.
    pub(crate) next: BTreeMap<u16, u64>,
    /// By target and source: what the target has queued of the source's entries.
    pub(crate) applied: BTreeMap<(u16, u16), u64>,
    /// By target and source: what the source logged for the target.
    pub(crate) owed: BTreeMap<(u16, u16), u64>,
    /// By slice.
    pub(crate) weights: BTreeMap<u32, Weight>,
}

/// The shards of a bit set.
pub(crate) fn bits(set: u64) -> impl Iterator<Item = u16> {
    (0..64).filter(move |shard| set & (1 << shard) != 0)
}

impl LogState {
    /// An operation was committed.
    pub(crate) fn note(&mut self, slices: &[Slice], op: &Op) {
        match op {
            Op::Log {
                place,
                targets,
                value,
            } => {
                self.next.insert(place.shard, place.number + 1);
                for target in bits(*targets) {
                    self.owed.insert((target, place.shard), place.number + 1);
                }
                if let Some(slice) = slice_of(slices, *place) {
                    let bytes = u64::try_from(value.len()).unwrap_or(0);
                    self.weights.entry(slice.id).or_default().bytes += bytes;
                }
            }
            Op::Queued { kept, .. } => self.point(slices, *kept),
            Op::Done { kept, .. } => self.unpoint(slices, *kept),
            Op::Applied { target, place } => {
                self.applied
                    .insert((*target, place.shard), place.number + 1);
            }
            _ => {}
        }
    }

    /// An entry of a queue points there.
    pub(crate) fn point(&mut self, slices: &[Slice], kept: LogPlace) {
        if let Some(slice) = slice_of(slices, kept) {
            self.weights.entry(slice.id).or_default().pointers += 1;
        }
    }

    /// It no longer does.
    pub(crate) fn unpoint(&mut self, slices: &[Slice], kept: LogPlace) {
        if let Some(slice) = slice_of(slices, kept) {
            let weight = self.weights.entry(slice.id).or_default();
            weight.pointers = weight.pointers.saturating_sub(1);
        }
    }

    /// Pairs of shards where nothing is owed: (target, source, the source's next count).
    pub(crate) fn settled(&self, shards: u16) -> Vec<(u16, u16, u64)> {
        let mut settled = Vec::new();
        for (source, next) in &self.next {
            for target in 0..shards {
                if self.is_settled(target, *source) {
                    settled.push((target, *source, *next));
                }
            }
        }
        settled
    }

    fn is_settled(&self, target: u16, source: u16) -> bool {
        let count = |map: &BTreeMap<_, u64>| map.get(&(target, source)).copied().unwrap_or(0);
        count(&self.owed) <= count(&self.applied)
    }

    /// Whether nobody needs the oldest slice; the one being written is never the oldest here.
    pub(crate) fn is_oldest_free(&self, slices: &[Slice]) -> bool {
        let [oldest, next, ..] = slices else {
            return false;
        };
        let pointers = self.weights.get(&oldest.id).map_or(0, |w| w.pointers);
        pointers == 0
            && next.first.iter().all(|(source, end)| {
                let mut owing = self.owed.iter().filter(|((_, from), _)| from == source);
                owing.all(|((target, from), owed)| {
                    let applied = self.applied.get(&(*target, *from)).copied().unwrap_or(0);
                    applied >= *owed || applied >= *end
                })
            })
    }

    /// Bytes of all slices.
    pub(crate) fn bytes(&self) -> u64 {
        self.weights.values().map(|weight| weight.bytes).sum()
    }
}
