//! Messages waiting for one client, bounded in number and bytes. Of a session that outlives its connection
//! only the head is in memory; the rest is in the store and comes back page by page.
//!
//! Owns: [`Outbox`]. Must not: call the store (that is `queue.rs`).

use super::burst::plain;
use crate::ports::Position;
use std::collections::VecDeque;
use std::sync::Arc;
use witmq_proto::packet::QoS;
use witmq_proto::{Burst, Delivery};

/// What a waiting message costs beyond its topic and payload.
const OVERHEAD_BYTES: usize = 64;
/// Kept messages in memory per client; beyond this they are left in the store.
pub(super) const WINDOW_MESSAGES: usize = 1024;
/// Bytes of kept messages in memory per client.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A delivery, and the record that must be durable before it is sent.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) delivery: Delivery,
    pub(super) position: Position,
}

/// An entry of the queue.
#[derive(Debug)]
enum Entry {
    One(Waiting),
    /// Nothing said of any message, nothing kept, all for this client. Above QoS 0 they have the numbers from the one
    /// given here on.
    Burst(Arc<Burst>, u64),
}

/// What is first in the queue.
#[derive(Debug)]
pub(super) enum Front<'a> {
    One(&'a Waiting),
    Burst(&'a Arc<Burst>, u64),
}

/// A queue of deliveries.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Entry>,
    /// Messages of `queue`.
    messages: usize,
    bytes: usize,
    /// Entries of `queue` that are kept.
    kept: usize,
    /// What only the store has, behind the kept ones in `queue`. Of few clients that are connected.
    spilled: Option<Box<Spilled>>,
}

/// The part of a queue that is not in memory.
#[derive(Clone, Copy, Debug, Default)]
struct Spilled {
    /// No number below this is among them.
    from: u64,
    count: usize,
    bytes: usize,
    /// The last of them is durable from here on.
    position: Position,
    /// Number of the question that is not answered yet.
    asked: Option<u64>,
    /// Nothing is read before this is durable: what was acknowledged until then is gone from the queue.
    settled_at: Position,
    /// What was durable when the page on its way was asked for: it holds at least that.
    asked_at: Position,
    /// A page read when this was durable was empty: the next one is asked for when more is.
    dry_at: Option<Position>,
}

pub(super) fn cost(delivery: &Delivery) -> usize {
    delivery.message.payload.len() + delivery.message.topic.len() + OVERHEAD_BYTES
}

/// What is owed of a burst, message by message.
fn unfolded(burst: &Burst, first: u64) -> impl Iterator<Item = Delivery> {
    burst.messages().zip(first..).map(|(message, number)| {
        let is_numbered = message.qos > QoS::AtMostOnce;
        Delivery {
            number: if is_numbered { number } else { 0 },
            ..plain(message)
        }
    })
}

fn cost_of(burst: &Burst) -> usize {
    let packets = burst.packets();
    packets.payload_bytes() + packets.count() * (burst.topic.len() + OVERHEAD_BYTES)
}

impl Outbox {
    /// What an earlier life of the node left in the store.
    pub(super) fn restored(from: u64, count: usize, bytes: usize) -> Self {
        Self {
            spilled: Some(Box::new(Spilled {
                from,
                count,
                bytes,
                ..Spilled::default()
            })),
            ..Self::default()
        }
    }

    /// Whether one more of this size fits.
    #[inline]
    pub(super) fn has_room(&self, delivery: &Delivery, messages: usize, bytes: usize) -> bool {
        let used = self.bytes + self.spilled_bytes();
        self.len() < messages && (self.len() == 0 || used + cost(delivery) <= bytes)
    }

    /// Whether a whole burst fits.
    #[inline]
    pub(super) fn has_room_for(&self, burst: &Burst, messages: usize, bytes: usize) -> bool {
        let used = self.bytes + self.spilled_bytes();
        self.len() + burst.packets().count() <= messages && used + cost_of(burst) <= bytes
    }

    /// Adds a burst to a client that is connected. `first`: the number of its first message, above QoS 0.
    #[inline]
    pub(super) fn push_burst(&mut self, burst: Arc<Burst>, first: u64) {
        self.bytes += cost_of(&burst);
        self.messages += burst.packets().count();
        self.queue.push_back(Entry::Burst(burst, first));
    }

    /// Whether nothing more fits, however small.
    pub(super) fn is_full(&self, messages: usize, bytes: usize) -> bool {
        self.len() >= messages || self.bytes + self.spilled_bytes() >= bytes
    }

    /// Adds a delivery. A kept one stays in the store if the client is away, others are there already, or
    /// the window is full.
    #[inline]
    pub(super) fn push(&mut self, waiting: Waiting, is_online: bool) {
        let delivery = &waiting.delivery;
        let is_window_full =
            self.messages >= WINDOW_MESSAGES || self.bytes + cost(delivery) > WINDOW_BYTES;
        let is_kept = delivery.kept.is_some();
        if is_kept && (!is_online || self.spilled() > 0 || is_window_full && self.kept > 0) {
            self.spill(delivery.number, cost(delivery), waiting.position);
            return;
        }
        self.bytes += cost(delivery);
        self.kept += usize::from(is_kept);
        self.messages += 1;
        self.queue.push_back(Entry::One(waiting));
    }

    /// Leaves an entry to the store.
    pub(super) fn spill(&mut self, number: u64, bytes: usize, position: Position) {
        let spilled = self.spilled.get_or_insert_default();
        spilled.from = if spilled.count == 0 {
            number
        } else {
            spilled.from.min(number)
        };
        spilled.count += 1;
        spilled.bytes += bytes;
        spilled.position = spilled.position.max(position);
    }

    /// The client went away: QoS 0 is dropped (how many), kept messages are left to the store. `position` is
    /// that of the last record about them.
    pub(super) fn leave_to_store(&mut self, position: Position) -> u64 {
        let mut dropped = 0;
        for entry in std::mem::take(&mut self.queue) {
            match entry {
                Entry::One(waiting) if waiting.delivery.kept.is_some() => {
                    let bytes = cost(&waiting.delivery);
                    self.spill(waiting.delivery.number, bytes, waiting.position);
                }
                Entry::One(_) => dropped += 1,
                Entry::Burst(burst, _) => {
                    dropped += super::counters::bytes(burst.packets().count())
                }
            }
        }
        (self.messages, self.bytes, self.kept) = (0, 0, 0);
        let spilled = self.spilled.get_or_insert_default();
        spilled.asked = None;
        spilled.dry_at = None;
        spilled.settled_at = position;
        dropped
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Front<'_>> {
        self.queue.front().map(|entry| match entry {
            Entry::One(waiting) => Front::One(waiting),
            Entry::Burst(burst, first) => Front::Burst(burst, *first),
        })
    }

    /// Takes the first message, out of a burst if need be.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Delivery> {
        self.unfold();
        let Entry::One(waiting) = self.queue.pop_front()? else {
            return None;
        };
        self.messages -= 1;
        self.bytes -= cost(&waiting.delivery);
        self.kept -= usize::from(waiting.delivery.kept.is_some());
        self.shrink();
        Some(waiting.delivery)
    }

    /// Takes a burst, if one is first.
    #[inline]
    pub(super) fn pop_burst(&mut self) -> Option<Arc<Burst>> {
        let Some(Entry::Burst(..)) = self.queue.front() else {
            return None;
        };
        let Some(Entry::Burst(burst, _)) = self.queue.pop_front() else {
            return None;
        };
        self.messages -= burst.packets().count();
        self.bytes -= cost_of(&burst);
        self.shrink();
        Some(burst)
    }

    #[inline]
    fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new(); // an idle client owns no queue
        }
    }

    /// A burst that is first becomes its messages.
    #[inline]
    pub(super) fn unfold(&mut self) {
        if !matches!(self.queue.front(), Some(Entry::Burst(..))) {
            return;
        }
        if let Some(Entry::Burst(burst, first)) = self.queue.pop_front() {
            let all: Vec<_> = unfolded(&burst, first).collect();
            for delivery in all.into_iter().rev() {
                let position = Position::default();
                let waiting = Waiting { delivery, position };
                self.queue.push_front(Entry::One(waiting));
            }
        }
    }

    /// The number from which the next page is wanted, if one is: half the window is free, none is on its
    /// way, and the store has more than when it had none. Marks it as on its way.
    pub(super) fn next_page(&mut self, stored: Position, number: u64) -> Option<u64> {
        let spilled = self.spilled.as_deref_mut()?;
        let is_wanted = spilled.count > 0
            && spilled.asked.is_none()
            && spilled.settled_at <= stored
            && self.messages <= WINDOW_MESSAGES / 2
            && self.bytes <= WINDOW_BYTES / 2
            && spilled.dry_at.is_none_or(|dry_at| dry_at < stored);
        if !is_wanted {
            return None;
        }
        spilled.asked = Some(number);
        spilled.asked_at = stored;
        Some(spilled.from)
    }

    /// Whether this is the question that waits for its answer: what an earlier connection asked for may be
    /// older than what is known now.
    pub(super) fn expects(&self, number: u64) -> bool {
        (self.spilled.as_ref()).is_some_and(|spilled| spilled.asked == Some(number))
    }

    /// An entry of the page came into memory.
    pub(super) fn took_back(&mut self, number: u64, bytes: usize) {
        let spilled = self.spilled.get_or_insert_default();
        spilled.from = number + 1;
        spilled.count = spilled.count.saturating_sub(1);
        spilled.bytes = spilled.bytes.saturating_sub(bytes);
    }

    /// A message of the page.
    pub(super) fn push_back(&mut self, delivery: Delivery) {
        self.bytes += cost(&delivery);
        self.kept += usize::from(delivery.kept.is_some());
        let position = Position::default(); // it was read: it is durable
        self.messages += 1;
        (self.queue).push_back(Entry::One(Waiting { delivery, position }));
    }

    /// The page is over; `is_last`: the store had no more when it was read.
    pub(super) fn end_page(&mut self, is_last: bool, is_empty: bool) {
        let spilled = self.spilled.get_or_insert_default();
        spilled.asked = None;
        spilled.dry_at = is_empty.then_some(spilled.asked_at);
        if is_last && spilled.position <= spilled.asked_at || spilled.count == 0 {
            (spilled.count, spilled.bytes) = (0, 0);
        }
    }

    /// The oldest entry makes room, if it is in the store: where it is to be looked for.
    pub(super) fn trim_spilled(&mut self) -> Option<u64> {
        let spilled = self.spilled.as_deref_mut()?;
        let average = spilled.bytes.checked_div(spilled.count)?;
        spilled.count -= 1;
        spilled.bytes -= average;
        Some(spilled.from)
    }

    /// Takes everything in memory.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Delivery> + use<> {
        (self.messages, self.bytes, self.kept) = (0, 0, 0);
        let queue = std::mem::take(&mut self.queue).into_iter();
        queue.flat_map(|entry| match entry {
            Entry::One(waiting) => vec![waiting.delivery],
            Entry::Burst(burst, first) => unfolded(&burst, first).collect(),
        })
    }

    /// Entries in the store only.
    pub(super) fn spilled(&self) -> usize {
        self.spilled.as_ref().map_or(0, |spilled| spilled.count)
    }

    fn spilled_bytes(&self) -> usize {
        self.spilled.as_ref().map_or(0, |spilled| spilled.bytes)
    }

    /// Number the spilled ones begin with.
    pub(super) fn spilled_from(&self) -> u64 {
        self.spilled.as_ref().map_or(0, |spilled| spilled.from)
    }

    pub(super) fn len(&self) -> usize {
        self.messages + self.spilled()
    }
}
