//! What falls due when: a heap of deadlines, checked against the state they were set for.

use super::ConnectionId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

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
    /// `$SYS` and the report of counters.
    Report,
}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}
