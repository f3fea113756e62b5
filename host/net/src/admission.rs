//! Who may open a connection: bounds of the node and of each listener, and what was counted at the door.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counted at the door, for metrics.
#[derive(Debug, Default)]
pub struct NetCounters {
    /// Sockets accepted.
    pub accepted: AtomicU64,
    /// Sockets closed at once because a connection limit was hit.
    pub refused_full: AtomicU64,
    /// TLS or WebSocket handshakes that failed.
    pub handshake_failed: AtomicU64,
    /// Connections without a CONNECT in time.
    pub connect_timeouts: AtomicU64,
    /// First packets that were no valid CONNECT.
    pub bad_connects: AtomicU64,
    /// Peers closed because they took nothing for too long.
    pub write_timeouts: AtomicU64,
}

impl NetCounters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Every number by its metric name.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, u64); 6] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sockets_accepted_total", load(&self.accepted)),
            ("sockets_refused_full_total", load(&self.refused_full)),
            ("handshakes_failed_total", load(&self.handshake_failed)),
            ("connect_timeouts_total", load(&self.connect_timeouts)),
            ("bad_connects_total", load(&self.bad_connects)),
            ("write_timeouts_total", load(&self.write_timeouts)),
        ]
    }
}

/// Open connections against a bound.
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicUsize,
    maximum: usize,
}

impl Gate {
    pub(crate) fn new(maximum: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            maximum,
        })
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>) -> Option<Place> {
        let entered = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.maximum).then_some(open + 1)
            });
        entered.is_ok().then(|| Place(self.clone()))
    }
}

/// A place behind one gate.
#[derive(Debug)]
struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Held by a connection for as long as it is open.
#[derive(Debug)]
pub(crate) struct Admission {
    _node: Place,
    _listener: Option<Place>,
}

impl Admission {
    /// A place on the node and on the listener; `None` if either is full.
    pub(crate) fn take(node: &Arc<Gate>, listener: Option<&Arc<Gate>>) -> Option<Self> {
        let place = node.enter()?;
        let at_listener = match listener {
            Some(gate) => Some(gate.enter()?),
            None => None,
        };
        Some(Self {
            _node: place,
            _listener: at_listener,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_in_as_many_as_it_has_places_and_again_when_one_leaves() {
        let (node, listener) = (Gate::new(2), Gate::new(1));
        let first = Admission::take(&node, Some(&listener));
        assert!(first.is_some());
        assert!(
            Admission::take(&node, Some(&listener)).is_none(),
            "the listener is full"
        );
        assert_eq!(
            node.open(),
            1,
            "a refused connection holds no place on the node"
        );
        let second = Admission::take(&node, None);
        assert!(second.is_some() && Admission::take(&node, None).is_none());
        drop(first);
        assert!(Admission::take(&node, Some(&listener)).is_some());
    }
}
