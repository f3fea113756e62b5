//! The published keys: fetched when they are old or do not do, kept while they cannot be.
//!
//! Owns: when the service is asked, and until when its last answer holds. Must not: judge tokens, or know how an address is
//! found (`discovery` does).

use crate::discovery::{Discovery, Found};
use serde::{Deserialize, Serialize};
use witmq_jwt::{Key, from_jwks};
use witmq_sdk::Failure;
use witmq_sdk::host::http::Endpoint;
use witmq_sdk::host::{clock, kv, metrics};

/// Bytes of a set of keys.
const SET_BYTES: usize = 256 * 1024;
/// Where the last set is in the plugin's store, for other instances and for the next start.
const STORED: &str = "jwks";

/// When the service is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// A set that is so old is fetched anew.
    pub(crate) refresh_ms: u64,
    /// Two requests are so far apart.
    pub(crate) pause_ms: u64,
    /// While it cannot be fetched, a set is used until it is so old.
    pub(crate) stale_ms: u64,
}

/// A set in the store.
#[derive(Debug, Deserialize, Serialize)]
struct Stored {
    url: String,
    fetched_ms: u64,
    set: String,
    /// Where it was found, if it was looked for.
    #[serde(default)]
    found: Option<Found>,
}

/// The keys of one address.
#[derive(Debug)]
pub(crate) struct Source {
    /// That of the keys, or of the provider that knows it.
    endpoint: Endpoint,
    /// There if the endpoint is that of the provider.
    discovery: Option<Discovery>,
    times: Times,
    keys: Vec<Key>,
    /// When the keys came.
    fetched_ms: Option<u64>,
    tried_ms: Option<u64>,
}

/// Milliseconds since then. A clock that was set back counts as well: better too old than for ever young.
fn age(then_ms: u64, now_ms: u64) -> u64 {
    now_ms.abs_diff(then_ms)
}

impl Source {
    pub(crate) fn new(endpoint: Endpoint, discovery: Option<Discovery>, times: Times) -> Self {
        Self {
            endpoint,
            discovery,
            times,
            keys: Vec::new(),
            fetched_ms: None,
            tried_ms: None,
        }
    }

    /// The keys that hold now.
    ///
    /// # Errors
    /// There are none, and none can be had.
    pub(crate) fn keys(&mut self) -> Result<&[Key], String> {
        let is_older = |source: &Self, ms| {
            let now_ms = clock::now_ms();
            source.fetched_ms.is_none_or(|then| age(then, now_ms) >= ms)
        };
        if is_older(self, self.times.refresh_ms) {
            self.renew();
        }
        match is_older(self, self.times.stale_ms) {
            true => Err(format!("there are no keys of {}", self.endpoint.url)),
            false => Ok(&self.keys),
        }
    }

    /// Newer keys than those at hand, if that is possible now.
    pub(crate) fn renew(&mut self) -> bool {
        if self.recall() {
            return true;
        }
        let now_ms = clock::now_ms();
        let is_soon = |then| age(then, now_ms) < self.times.pause_ms;
        if self.tried_ms.is_some_and(is_soon) {
            return false;
        }
        self.tried_ms = Some(now_ms);
        metrics::count("jwks_fetches", 1);
        let fetched = self.fetch();
        if let Err(failure) = &fetched {
            metrics::count("jwks_failures", 1);
            witmq_sdk::warn!("the keys of {} do not come: {failure}", self.endpoint.url);
        }
        fetched.is_ok()
    }

    /// What another instance fetched, or this one before the broker was started again.
    fn recall(&mut self) -> bool {
        let stored = kv::json::<Stored>(STORED).ok().flatten();
        let ours = stored.filter(|stored| {
            let is_newer = self.fetched_ms.is_none_or(|ms| ms < stored.fetched_ms);
            is_newer && stored.url == self.endpoint.url
        });
        let Some(stored) = ours else {
            return false;
        };
        if let Some((discovery, found)) = self.discovery.as_mut().zip(stored.found) {
            discovery.recall(found);
        }
        let is_taken = self.take(stored.set.as_bytes(), stored.fetched_ms).is_ok();
        is_taken && age(stored.fetched_ms, clock::now_ms()) < self.times.refresh_ms
    }

    fn fetch(&mut self) -> Result<(), Failure> {
        let request = match &mut self.discovery {
            Some(discovery) => discovery.request(&self.endpoint)?,
            None => self.endpoint.request("GET")?,
        };
        let sent = request.body_bytes(SET_BYTES).send();
        let answered = sent
            .map_err(Failure::from)
            .and_then(|sent| Ok(sent.success()?));
        let taken = answered.and_then(|response| {
            let fetched_ms = clock::now_ms();
            let others = self.take(&response.body, fetched_ms)?;
            Ok((response, fetched_ms, others))
        });
        let (response, fetched_ms, others) = taken.inspect_err(|_| {
            // The keys may have moved.
            self.discovery.iter_mut().for_each(Discovery::forget);
        })?;
        if !others.is_empty() {
            witmq_sdk::debug!("not used of {}: {}", self.endpoint.url, others.join("; "));
        }
        let stored = Stored {
            url: self.endpoint.url.clone(),
            fetched_ms,
            set: String::from_utf8(response.body)?,
            found: self.discovery.as_ref().and_then(Discovery::found),
        };
        if let Err(failure) = kv::put_json(STORED, &stored) {
            // It is too large for the store; the memory has it.
            witmq_sdk::debug!("the keys are not stored: {failure}");
        }
        Ok(())
    }

    fn take(&mut self, set: &[u8], fetched_ms: u64) -> Result<Vec<String>, Failure> {
        let (keys, others) = from_jwks(set).map_err(Failure::Failed)?;
        self.keys = keys;
        self.fetched_ms = Some(fetched_ms);
        Ok(others)
    }
}
