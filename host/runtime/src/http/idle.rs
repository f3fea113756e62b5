//! Connections of a plugin whose last answer is read, for its next request to the same place.
//!
//! Owns: [`Idle`], bounded in number and in the time that one waits. Must not: hand out a connection to an address that is not allowed
//! any more.

use super::body::Counted;
use crate::limited::Bound;
use crate::plugin::Shared;
use hyper::client::conn::http1::SendRequest;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmtime_wasi_http::WasiBody;

/// Sends requests on one connection.
pub(super) type Sender = SendRequest<Counted<WasiBody>>;

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
}

/// A connection that waits.
struct Waiting<S> {
    route: Route,
    /// The address that was dialled.
    at: IpAddr,
    until: Instant,
    sender: S,
}

/// What has to be known of a connection.
pub(super) trait Open {
    /// The other side has not closed it.
    fn is_open(&self) -> bool;
}

impl Open for Sender {
    fn is_open(&self) -> bool {
        !self.is_closed()
    }
}

/// The connections of one plugin.
pub(crate) struct Idle<S = Sender> {
    most: usize,
    longest: Duration,
    kept: Mutex<Kept<S>>,
}

struct Kept<S> {
    /// The one that waits longest first.
    waiting: VecDeque<Waiting<S>>,
    /// Somebody closes those that have waited too long.
    is_watched: bool,
}

impl<S: Open> Idle<S> {
    /// So many at most, and each of them so long.
    pub(super) fn new(most: usize, longest: Duration) -> Self {
        let kept = Mutex::new(Kept {
            waiting: VecDeque::new(),
            is_watched: false,
        });
        Self {
            most,
            longest,
            kept,
        }
    }

    /// The one that was used last, to an address that is allowed now.
    pub(super) fn take(
        &self,
        now: Instant,
        route: &Route,
        is_allowed: impl Fn(IpAddr) -> bool,
    ) -> Option<(S, IpAddr)> {
        let waiting = &mut self.tidy(now).waiting;
        let place = waiting
            .iter()
            .rposition(|one| one.route == *route && is_allowed(one.at))?;
        waiting.remove(place).map(|one| (one.sender, one.at))
    }

    /// One more; whether another one had to be closed for it.
    fn put(&self, now: Instant, route: Route, at: IpAddr, sender: S) -> bool {
        let waiting = &mut self.tidy(now).waiting;
        let is_full = waiting.len() >= self.most;
        if is_full {
            waiting.pop_front();
        }
        if self.most > 0 && !self.longest.is_zero() {
            let until = now + self.longest;
            waiting.push_back(Waiting {
                route,
                at,
                until,
                sender,
            });
        }
        is_full && self.most > 0
    }

    /// Without those that are closed or have waited too long.
    fn tidy(&self, now: Instant) -> MutexGuard<'_, Kept<S>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.waiting
            .retain(|one| now < one.until && one.sender.is_open());
        kept
    }

    /// Whether the one who asks is to close those that wait too long: somebody has to, and nobody does.
    fn wants_watch(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_wanted = !kept.is_watched && !kept.waiting.is_empty();
        kept.is_watched |= is_wanted;
        is_wanted
    }

    /// Closes those that have waited too long; whether it is to be done again.
    fn watch(&self, now: Instant) -> bool {
        let mut kept = self.tidy(now);
        kept.is_watched = !kept.waiting.is_empty();
        kept.is_watched
    }
}

/// Once the answer is read the connection waits for the next request, and is closed when none came for too long.
pub(super) async fn keep(plugin: Arc<Shared>, route: Route, at: IpAddr, mut sender: Sender) {
    if sender.ready().await.is_err() {
        return; // it ended with the answer, or the answer was not read
    }
    let idle = &plugin.requests.idle;
    if idle.put(Instant::now(), route, at, sender) {
        plugin.limited.hit(Bound::HttpIdle);
    }
    if !idle.wants_watch() {
        return;
    }
    let longest = idle.longest;
    let plugin = {
        let weak = Arc::downgrade(&plugin);
        drop(plugin);
        weak
    };
    loop {
        tokio::time::sleep(longest).await;
        let plugin = plugin.upgrade();
        if !plugin.is_some_and(|plugin| plugin.requests.idle.watch(Instant::now())) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    struct Fake(u32, Rc<Cell<bool>>);

    impl Open for Fake {
        fn is_open(&self) -> bool {
            self.1.get()
        }
    }

    fn route(host: &str) -> Route {
        Route {
            host: host.to_owned(),
            port: 80,
            is_secure: false,
        }
    }

    const AT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn took(idle: &Idle<Fake>, now: Instant, host: &str) -> Option<u32> {
        idle.take(now, &route(host), |_| true)
            .map(|(fake, _)| fake.0)
    }

    #[test]
    fn they_are_bounded_in_number_and_time_and_given_to_whom_they_fit() {
        let idle = Idle::new(2, Duration::from_secs(4));
        let (open, mut now) = (Rc::new(Cell::new(true)), Instant::now());
        let fake = |number| Fake(number, open.clone());
        assert_eq!(took(&idle, now, "a"), None);
        assert!(!idle.wants_watch(), "there is none");
        assert!(!idle.put(now, route("a"), AT, fake(1)));
        assert!(idle.wants_watch() && !idle.wants_watch(), "one watches");
        assert!(!idle.put(now, route("b"), AT, fake(2)));
        assert!(idle.put(now, route("a"), AT, fake(3)), "one had to go");
        assert!(
            idle.take(now, &route("a"), |_| false).is_none(),
            "not allowed"
        );
        assert_eq!(took(&idle, now, "c"), None);
        let secure = Route {
            is_secure: true,
            ..route("a")
        };
        assert!(idle.take(now, &secure, |_| true).is_none());
        assert_eq!(
            took(&idle, now, "a"),
            Some(3),
            "the one that had to go was the oldest"
        );
        assert_eq!(took(&idle, now, "a"), None);
        now += Duration::from_millis(3_999);
        assert!(idle.watch(now));
        assert_eq!(took(&idle, now, "b"), Some(2));
        assert!(!idle.put(now, route("b"), AT, fake(4)));
        now += Duration::from_secs(4);
        assert!(!idle.watch(now), "too long");
        assert_eq!(took(&idle, now, "b"), None);
        assert!(!idle.put(now, route("b"), AT, fake(5)));
        assert!(idle.wants_watch(), "the one before has gone");
        open.set(false);
        assert_eq!(took(&idle, now, "b"), None, "closed");
    }

    #[test]
    fn none_are_kept_where_none_may_be() {
        for (most, longest) in [(0, Duration::from_secs(9)), (9, Duration::ZERO)] {
            let idle = Idle::new(most, longest);
            let (open, now) = (Rc::new(Cell::new(true)), Instant::now());
            assert!(!idle.put(now, route("a"), AT, Fake(1, open)));
            assert_eq!(took(&idle, now, "a"), None);
        }
    }
}
