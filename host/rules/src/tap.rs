//! Who is shown what messages come to: live traces while somebody asks for them, and the last messages that a condition
//! ended.
//!
//! Owns: [`Tap`] and [`Misses`] of one chain, bounded rings. Must not: cost more than a load where nobody looks.

use crate::trace::{Evaluated, Trace, shown};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use witmq_proto::Message;

/// Traces kept of a chain for who asks next.
const TRACES: usize = 256;
/// Traces made of a chain in a second; messages beyond them are skipped, failures have a short trace.
const TRACES_PER_SECOND: u64 = 20;
/// A tap ends when nobody asked for so long.
const LEASE_MS: u64 = 10_000;
/// Misses kept of a chain.
const MISSES: usize = 32;
/// Misses of a chain that are looked at in a second.
const MISSES_PER_SECOND: u64 = 10;

/// At most so many in each second of the messages' own time.
#[derive(Debug, Default)]
struct Pace {
    /// The second, and how many of it in the lowest 8 bits.
    taken: AtomicU64,
}

impl Pace {
    fn takes(&self, now_ms: u64, most: u64) -> bool {
        let second = now_ms / 1000;
        let taken = self.taken.load(Ordering::Relaxed);
        let (of, count) = (taken >> 8, taken & 0xFF);
        let next = match (of == second, count < most) {
            (true, false) => return false,
            (true, true) => taken + 1,
            (false, _) => (second << 8) | 1,
        };
        // Who comes second at the same moment goes without.
        self.taken
            .compare_exchange(taken, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// Until when somebody asks for traces of any chain at all: while nobody does, no tap has to be looked at.
static OPEN_UNTIL_MS: AtomicU64 = AtomicU64::new(0);

/// Traces of a chain, for whoever asked for them lately.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// Messages received until then are traced; 0: nobody asks.
    until_ms: AtomicU64,
    pace: Pace,
    skipped: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Number of the newest.
    last: u64,
    traces: VecDeque<Trace>,
}

/// What a tap shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tapped {
    /// Number of the last trace: what is behind it is asked for next.
    pub last: u64,
    /// Messages traced since the chain runs, and those that were not because there were too many.
    pub shown: u64,
    /// See `shown`.
    pub skipped: u64,
    /// Traces that were forgotten before they were asked for.
    pub missed: u64,
    /// Oldest first.
    pub traces: Vec<Trace>,
}

/// Whether a message is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nobody asks.
    #[default]
    Away,
    /// Only if it fails.
    Failures,
    /// Step by step.
    Whole,
}

/// Whether there may be a tap that is open for messages that are received at `now_ms`.
#[inline]
pub(crate) fn is_any_open(now_ms: u64) -> bool {
    OPEN_UNTIL_MS.load(Ordering::Relaxed) >= now_ms.max(1)
}

impl Tap {
    /// Whether somebody asks for messages that are received at `now_ms`.
    pub(crate) fn is_open(&self, now_ms: u64) -> bool {
        let until = self.until_ms.load(Ordering::Relaxed);
        until != 0 && until >= now_ms
    }

    /// Whether the message that is received at `now_ms` is traced.
    pub(crate) fn look(&self, now_ms: u64) -> Look {
        if !self.is_open(now_ms) {
            return Look::Away;
        }
        if self.pace.takes(now_ms, TRACES_PER_SECOND) {
            return Look::Whole;
        }
        self.skipped.fetch_add(1, Ordering::Relaxed);
        Look::Failures
    }

    pub(crate) fn put(&self, trace: Trace) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        if ring.traces.len() >= TRACES {
            ring.traces.pop_front();
        }
        ring.traces.push_back(trace);
    }

    /// Traces behind number `after`; from now on there are more for a while. `None`: those from now on.
    pub(crate) fn ask(&self, after: Option<u64>, now_ms: u64) -> Tapped {
        let until = now_ms + LEASE_MS;
        OPEN_UNTIL_MS.fetch_max(until, Ordering::Relaxed);
        self.until_ms.store(until, Ordering::Relaxed);
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let after = after.unwrap_or(ring.last).min(ring.last);
        let wanted = usize::try_from(ring.last - after).unwrap_or(usize::MAX);
        let there = wanted.min(ring.traces.len());
        Tapped {
            last: ring.last,
            shown: ring.last,
            skipped: self.skipped.load(Ordering::Relaxed),
            missed: u64::try_from(wanted - there).unwrap_or(u64::MAX),
            traces: (ring.traces.iter())
                .skip(ring.traces.len() - there)
                .cloned()
                .collect(),
        }
    }
}

/// A message that a condition ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Miss {
    /// When it was received, milliseconds since 1970.
    pub at_ms: u64,
    /// Revision of the chain.
    pub revision: u64,
    /// Client id of its publisher.
    pub client: String,
    /// Its topic at that step.
    pub topic: String,
    /// Its payload at that step.
    pub payload: String,
    /// The condition, its parts, and which of them made it false.
    pub why: Evaluated,
}

/// The last misses of a chain.
#[derive(Debug, Default)]
pub(crate) struct Misses {
    pace: Pace,
    ring: Mutex<VecDeque<Miss>>,
}

impl Misses {
    /// Whether one of a message that is received at `now_ms` is looked at.
    pub(crate) fn wants(&self, now_ms: u64) -> bool {
        self.pace.takes(now_ms, MISSES_PER_SECOND)
    }

    pub(crate) fn put(&self, revision: u64, client: &str, message: &Message, why: Evaluated) {
        let miss = Miss {
            at_ms: message.received_ms,
            revision,
            client: shown(client.as_bytes()),
            topic: shown(message.topic.as_bytes()),
            payload: shown(&message.payload),
            why,
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() >= MISSES {
            ring.pop_front();
        }
        ring.push_back(miss);
    }

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<Miss> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(number: usize) -> Trace {
        Trace {
            topic: number.to_string(),
            ..Trace::default()
        }
    }

    #[test]
    fn a_tap_is_open_while_somebody_asks_and_paced() {
        let tap = Tap::default();
        assert_eq!(tap.look(1000), Look::Away, "nobody has asked");
        assert!(tap.ask(None, 1000).traces.is_empty());
        assert!(is_any_open(1000 + LEASE_MS) && is_any_open(0));
        let looks: Vec<Look> = (0..25).map(|_| tap.look(1500)).collect();
        let whole = looks.iter().filter(|look| **look == Look::Whole).count();
        assert_eq!((whole, looks[24]), (20, Look::Failures));
        assert_eq!(tap.look(2000), Look::Whole, "another second");
        assert_eq!(tap.look(1000 + LEASE_MS), Look::Whole);
        assert_eq!(
            tap.look(1001 + LEASE_MS),
            Look::Away,
            "nobody asks any more"
        );
        assert_eq!(tap.ask(Some(0), 1000).skipped, 5);
    }

    #[test]
    fn who_asks_again_gets_what_came_since_and_learns_what_was_forgotten() {
        let tap = Tap::default();
        (0..3).for_each(|number| tap.put(trace(number)));
        let topics = |tapped: &Tapped| -> Vec<String> {
            let traces = tapped.traces.iter();
            traces.map(|trace| trace.topic.clone()).collect()
        };
        let first = tap.ask(Some(1), 0);
        assert_eq!(
            (topics(&first), first.last),
            (vec!["1".into(), "2".into()], 3)
        );
        assert!(tap.ask(None, 0).traces.is_empty(), "from now on");
        assert!(tap.ask(Some(9), 0).traces.is_empty(), "of an earlier life");
        (3..TRACES + 5).for_each(|number| tap.put(trace(number)));
        let late = tap.ask(Some(3), 0);
        assert_eq!((late.traces.len(), late.missed), (TRACES, 2));
        assert_eq!(late.traces[0].topic, "5");
    }

    #[test]
    fn misses_are_paced_and_bounded() {
        let misses = Misses::default();
        let wanted = (0..20).filter(|_| misses.wants(7000)).count();
        assert_eq!(wanted, 10);
        let chain = crate::check::compile("t.toml", "from = \"t\"\n[[step]]\nfilter = \"true\"\n");
        let chain = chain.unwrap();
        let message = crate::check::given(&chain, r#"{"topic":"t"}"#).unwrap();
        (0..40).for_each(|number| misses.put(number, "c", &message, Evaluated::default()));
        let list = misses.list();
        assert_eq!((list.len(), list[0].revision), (MISSES, 8));
    }
}
