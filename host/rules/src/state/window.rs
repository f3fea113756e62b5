//! `window`: what came lately, put together.
//!
//! Owns: [`Window`]. Windows of time are aligned: one of a minute begins with each minute of UTC. They end with the next
//! message of their key, or when somebody asks what is due.

mod queue;
mod sum;
#[cfg(test)]
mod tests;

use super::WINDOW_VALUES;
use super::table::{Bounds, Kept, Table};
use queue::Queue;
use std::collections::VecDeque;
use sum::Sums;

pub(crate) use sum::Sum;

/// What a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many messages, then the next so many.
    Count(usize),
    /// The last so many messages.
    LastCount(usize),
    /// So many parts of so many milliseconds; ends with each part.
    Parts { part_ms: u64, parts: u64 },
    /// The last so many milliseconds.
    LastTime(u64),
}

/// A window and what came in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) sums: Sums,
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
}

/// A window of time that is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Closed<L> {
    /// What was kept of its last message.
    pub(crate) last: L,
    pub(crate) summary: Summary,
}

/// What a message came to.
#[derive(Debug)]
pub(crate) struct Took<L> {
    /// Windows that are over, which it is not in.
    pub(crate) closed: Vec<Closed<L>>,
    /// The window that it ends, or is the last of.
    pub(crate) now: Option<Summary>,
    /// Keys and values given up for it.
    pub(crate) given_up: usize,
}

/// What is kept of one key.
enum Content<L> {
    Empty,
    Count { sums: Sums, start_ms: u64 },
    Queue(Queue),
    Parts(Parts<L>),
}

struct Parts<L> {
    /// Number of the part that is open, counted from 1970.
    open: u64,
    parts: VecDeque<(u64, Sums)>,
    last: L,
    last_bytes: usize,
}

struct State<L> {
    content: Content<L>,
    due_ms: Option<u64>,
}

impl<L> Default for State<L> {
    fn default() -> Self {
        Self {
            content: Content::Empty,
            due_ms: None,
        }
    }
}

impl<L: Send + 'static> Kept for State<L> {
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Empty => 0,
            Content::Count { sums, .. } => sums.bytes(),
            Content::Queue(queue) => queue.bytes(),
            Content::Parts(parts) => {
                let sums = parts.parts.iter().map(|(_, sums)| sums.bytes() + 8);
                sums.sum::<usize>() + parts.last_bytes
            }
        }
    }

    fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }
}

impl<L: Clone> Parts<L> {
    /// Ends every window that is over when part `until` begins.
    fn close(&mut self, until: u64, (part_ms, count): (u64, u64), closed: &mut Vec<Closed<L>>) {
        while self.open < until {
            let end = self.open + 1;
            self.open = end;
            let mut sums = Sums::default();
            self.parts.iter().for_each(|(_, part)| sums.push(part));
            closed.push(Closed {
                last: self.last.clone(),
                summary: Summary {
                    sums,
                    start_ms: end.saturating_sub(count).saturating_mul(part_ms),
                    end_ms: end.saturating_mul(part_ms),
                },
            });
            // Those that the window of the part that is open now still covers.
            let first = (end + 1).saturating_sub(count);
            while self
                .parts
                .front()
                .is_some_and(|(number, _)| *number < first)
            {
                self.parts.pop_front();
            }
            if self.parts.is_empty() {
                self.open = until;
            }
        }
    }

    fn add(&mut self, sums: &Sums) {
        match self.parts.back_mut() {
            Some((number, part)) if *number == self.open => part.push(sums),
            _ => self.parts.push_back((self.open, sums.clone())),
        }
    }
}

/// The windows of one step, by key.
#[derive(Debug)]
pub(crate) struct Window<L> {
    table: Table<State<L>>,
    kind: Kind,
}

impl<L: Clone + Send + 'static> Window<L> {
    pub(crate) fn new(bounds: Bounds, kind: Kind) -> Self {
        let idle_ms = match kind {
            Kind::LastTime(time_ms) => Some(time_ms),
            _ => None,
        };
        Self {
            table: Table::new(bounds, idle_ms),
            kind,
        }
    }

    /// A message with these values. `last` is what to keep of it and its bytes, if it may be the last of a window that ends
    /// later.
    pub(crate) fn add(
        &self,
        key: &str,
        now_ms: u64,
        values: &[f64],
        last: impl FnOnce() -> (L, usize),
    ) -> Took<L> {
        let sums = Sums::of(values);
        let mut took = Took {
            closed: Vec::new(),
            now: None,
            given_up: 0,
        };
        let add = |state: &mut State<L>| match self.kind {
            Kind::Count(count) => took.now = add_count(state, count, &sums, now_ms),
            Kind::LastCount(_) | Kind::LastTime(_) => {
                let (summary, given_up) = self.slide(state, sums, now_ms);
                (took.now, took.given_up) = (Some(summary), given_up);
            }
            Kind::Parts { part_ms, parts } => {
                add_part(
                    state,
                    (part_ms, parts),
                    (&sums, last()),
                    now_ms,
                    &mut took.closed,
                );
            }
        };
        let given_up = self.table.update(key, now_ms, add);
        took.given_up += given_up.map_or(0, |((), given_up)| given_up);
        took
    }

    fn slide(&self, state: &mut State<L>, sums: Sums, now_ms: u64) -> (Summary, usize) {
        let mut queue = match std::mem::replace(&mut state.content, Content::Empty) {
            Content::Queue(queue) => queue,
            _ => Queue::default(),
        };
        let mut given_up = 0;
        let mut start_ms = None;
        match self.kind {
            Kind::LastTime(time_ms) => {
                // A clock that was set back begins anew.
                if queue
                    .youngest_ms()
                    .is_some_and(|then| then > now_ms.saturating_add(time_ms))
                {
                    queue = Queue::default();
                }
                while queue
                    .oldest_ms()
                    .is_some_and(|then| then.saturating_add(time_ms) <= now_ms)
                {
                    queue.pop();
                }
                if queue.len() >= WINDOW_VALUES {
                    queue.pop();
                    given_up = 1;
                }
                start_ms = Some(now_ms.saturating_sub(time_ms));
            }
            Kind::LastCount(count) if queue.len() >= count => queue.pop(),
            _ => {}
        }
        queue.push(now_ms, sums);
        let summary = Summary {
            sums: queue.sums(),
            start_ms: start_ms.or_else(|| queue.oldest_ms()).unwrap_or(now_ms),
            end_ms: now_ms,
        };
        state.content = Content::Queue(queue);
        (summary, given_up)
    }

    /// Ends windows that are over, of at most `most` keys. Also how many keys it looked at.
    pub(crate) fn close_due(&self, now_ms: u64, most: usize) -> (Vec<Closed<L>>, usize) {
        let mut closed = Vec::new();
        let Kind::Parts { part_ms, parts } = self.kind else {
            return (closed, 0);
        };
        let seen = self.table.take_due(now_ms, most, |_, state| {
            let Content::Parts(content) = &mut state.content else {
                return false;
            };
            content.close(now_ms / part_ms, (part_ms, parts), &mut closed);
            state.due_ms = Some((content.open + 1).saturating_mul(part_ms));
            !content.parts.is_empty()
        });
        (closed, seen)
    }

    /// When the first window ends.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.table.next_due()
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        self.table.size()
    }
}

fn add_count<L>(state: &mut State<L>, most: usize, more: &Sums, now_ms: u64) -> Option<Summary> {
    let (mut sums, start_ms) = match std::mem::replace(&mut state.content, Content::Empty) {
        Content::Count { sums, start_ms } => (sums, start_ms),
        _ => (Sums::default(), now_ms),
    };
    sums.push(more);
    if usize::try_from(sums.count).is_ok_and(|count| count < most) {
        state.content = Content::Count { sums, start_ms };
        return None;
    }
    Some(Summary {
        sums,
        start_ms,
        end_ms: now_ms,
    })
}

fn add_part<L: Clone>(
    state: &mut State<L>,
    (part_ms, count): (u64, u64),
    (sums, (last, last_bytes)): (&Sums, (L, usize)),
    now_ms: u64,
    closed: &mut Vec<Closed<L>>,
) {
    let number = now_ms / part_ms;
    let fresh = |last| Parts {
        open: number,
        parts: VecDeque::new(),
        last,
        last_bytes,
    };
    let mut content = match std::mem::replace(&mut state.content, Content::Empty) {
        Content::Parts(mut content) => {
            if content.open > number.saturating_add(count) {
                // The clock was set back: the window that was open is over.
                content.close(content.open + 1, (part_ms, count), closed);
                fresh(last)
            } else {
                // A message from another shard may be a little late: it counts as of now.
                content.close(number, (part_ms, count), closed);
                (content.last, content.last_bytes) = (last, last_bytes);
                content
            }
        }
        _ => fresh(last),
    };
    content.add(sums);
    state.due_ms = Some((content.open + 1).saturating_mul(part_ms));
    state.content = Content::Parts(content);
}
