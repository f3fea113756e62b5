//! What falls due when: a heap of deadlines, checked against the state they were set for.

use super::ConnectionId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What is done of all that is due before others have their turn: the ends of very many sessions may fall on one moment.
pub(super) const DUE_AT_ONCE: usize = 64;

/// Something that falls due. Stale ones are recognised by their generation and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The client must have sent something by now.
    KeepAlive(ConnectionId),
    /// Authentication must be over.
    Authentication(ConnectionId),
    /// The grant ends.
    Grant(ConnectionId),
    /// The delayed will of a client, and the `absence` it belongs to.
    Will { client: u32, absence: u64 },
    /// The end of a session, and the `absence` it belongs to.
    SessionEnd { client: u32, absence: u64 },
    /// The next delayed message.
    Delayed,
    /// The next client is sent elsewhere.
    Drain(u64),
    /// `$SYS` and the report of counters.
    Report,
}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    /// However many wait, one deadline: that of the first.
    delayed: Option<Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// Replaces the deadline of the next delayed message.
    pub(super) fn set_delayed(&mut self, at: Option<Instant>) {
        self.delayed = at;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len() + usize::from(self.delayed.is_some())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let heap = self.heap.peek().map(|Reverse((at, _))| *at);
        match (heap, self.delayed) {
            (Some(heap), Some(delayed)) => Some(heap.min(delayed)),
            (heap, delayed) => heap.or(delayed),
        }
    }

    /// The next timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        if self.delayed.is_some_and(|at| at <= now) {
            self.delayed = None;
            return Some(Timer::Delayed);
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}
