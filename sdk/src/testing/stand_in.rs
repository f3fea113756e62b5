//! The broker's side of `host` in native builds: what a plugin did, and what a test gives it.
//!
//! Owns: the bounds that the interface names. Must not: outlive its thread; a [`super::TestBroker`] puts its own in place
//! while the plugin runs.

#![cfg_attr(
    target_family = "wasm",
    allow(dead_code, reason = "the stand-in serves native builds")
)]

use super::answers;
use crate::host::clients::{Client, ClientsError};
use crate::host::kv::{Entry, Expected, KvError};
use crate::host::log::Level;
use crate::host::{PublishError, SecretError, TimerError};
use crate::message::Emit;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Bytes of a line; the rest is cut.
const LINE_BYTES: usize = 1024;
/// Names of metrics, and characters of one.
const METRICS: usize = 64;
const METRIC_CHARACTERS: usize = 64;
/// Bytes of a key, of a value, and of all of a plugin.
const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 64 * 1024;
const STORE_BYTES: usize = 16 * 1024 * 1024;
/// Keys of one answer.
const KEYS: usize = 1000;
/// Messages published in one call of a hook.
const PUBLISHES: usize = 16;
/// Timers of a plugin.
const TIMERS: usize = 1000;

/// A line of the plugin's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Severity.
    pub level: Level,
    /// What it says.
    pub text: String,
}

#[derive(Debug)]
pub(super) struct Stored {
    value: Vec<u8>,
    version: u64,
    /// When it ends, milliseconds since 1970.
    ends_ms: Option<u64>,
}

/// Everything that a plugin can see or do.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) now_ms: u64,
    pub(super) lines: Vec<Line>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, f64>,
    pub(super) published: Vec<Emit>,
    /// Those of this call.
    pub(super) published_now: usize,
    pub(super) timers: BTreeMap<u64, u64>,
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) disconnected: Vec<(String, u8)>,
    pub(super) payload: Vec<u8>,
    /// Capabilities; `None` checks nothing.
    pub(super) granted: Option<Vec<String>>,
    /// Whether timers have somewhere to go.
    pub(super) has_timer: bool,
    #[cfg(feature = "http")]
    pub(super) http: super::http::Exchanges,
    pub(super) store: BTreeMap<String, Stored>,
    /// The last version given to a key.
    pub(super) version: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State { has_timer: true, ..State::default() });
}

pub(super) fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(f)
}

/// Puts `state` in place until the guard goes.
pub(super) struct Swapped<'a>(&'a mut State);

impl<'a> Swapped<'a> {
    pub(super) fn new(state: &'a mut State) -> Self {
        with(|current| std::mem::swap(current, state));
        Self(state)
    }

    pub(super) fn run<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
}

impl Drop for Swapped<'_> {
    fn drop(&mut self) {
        with(|current| std::mem::swap(current, self.0));
    }
}

impl State {
    /// What `kind:` was granted with, or the capability itself.
    pub(super) fn grants<'a>(&'a self, kind: &'a str) -> Option<impl Iterator<Item = &'a str>> {
        let granted = self.granted.as_ref()?;
        Some(granted.iter().filter_map(move |one| one.strip_prefix(kind)))
    }

    fn may_ask_for_clients(&self) -> bool {
        self.grants("clients")
            .is_none_or(|mut granted| granted.next().is_some())
    }

    fn expire(&mut self) {
        let now = self.now_ms;
        self.store
            .retain(|_, stored| stored.ends_ms.is_none_or(|end| end > now));
    }

    fn expected(&self, key: &str, expected: Expected) -> Result<(), KvError> {
        let version = self.store.get(key).map_or(0, |stored| stored.version);
        let fits = match expected {
            Expected::Any => true,
            Expected::Absent => version == 0,
            Expected::Version(wanted) => version == wanted && version != 0,
        };
        if fits {
            Ok(())
        } else {
            Err(KvError::Conflict { version })
        }
    }

    fn put(&mut self, key: &str, value: &[u8], ends_ms: Option<u64>) -> Result<u64, KvError> {
        if key.is_empty() || key.len() > KEY_BYTES || value.len() > VALUE_BYTES {
            return Err(KvError::TooLarge);
        }
        let others = self.store.iter().filter(|(known, _)| *known != key);
        let used: usize = others
            .map(|(key, stored)| key.len() + stored.value.len())
            .sum();
        if used + key.len() + value.len() > STORE_BYTES {
            return Err(KvError::Quota);
        }
        self.version += 1;
        let stored = Stored {
            value: value.to_vec(),
            version: self.version,
            ends_ms,
        };
        self.store.insert(key.to_owned(), stored);
        Ok(self.version)
    }
}

pub(crate) fn log(level: Level, text: &str) {
    let end = (0..=LINE_BYTES.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    let text = text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
    with(|state| state.lines.push(Line { level, text }));
}

fn is_metric(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.len() <= METRIC_CHARACTERS && name.chars().all(legal)
}

pub(crate) fn count(name: &str, by: u64) {
    with(|state| {
        let is_new = !state.counters.contains_key(name);
        let names = state.counters.len() + state.gauges.len();
        if is_metric(name) && (!is_new || names < METRICS) {
            let counter = state.counters.entry(name.to_owned()).or_default();
            *counter = counter.wrapping_add(by);
        }
    });
}

pub(crate) fn gauge(name: &str, value: f64) {
    with(|state| {
        let is_new = !state.gauges.contains_key(name);
        let names = state.counters.len() + state.gauges.len();
        if is_metric(name) && (!is_new || names < METRICS) {
            state.gauges.insert(name.to_owned(), value);
        }
    });
}

pub(crate) fn now_ms() -> u64 {
    with(|state| state.now_ms)
}

pub(crate) fn monotonic_ns() -> u64 {
    now_ms().saturating_mul(1_000_000)
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Entry>, KvError> {
    with(|state| {
        state.expire();
        Ok(state.store.get(key).map(|stored| Entry {
            value: stored.value.clone(),
            version: stored.version,
        }))
    })
}

pub(crate) fn kv_put(
    key: &str,
    value: &[u8],
    expected: Expected,
    ttl_ms: u64,
) -> Result<u64, KvError> {
    with(|state| {
        state.expire();
        state.expected(key, expected)?;
        let ends_ms = (ttl_ms > 0).then(|| state.now_ms.saturating_add(ttl_ms));
        state.put(key, value, ends_ms)
    })
}

pub(crate) fn kv_remove(key: &str, expected: Expected) -> Result<bool, KvError> {
    with(|state| {
        state.expire();
        state.expected(key, expected)?;
        Ok(state.store.remove(key).is_some())
    })
}

pub(crate) fn kv_increment(key: &str, by: i64) -> Result<i64, KvError> {
    with(|state| {
        state.expire();
        let old = state.store.get(key);
        let ends_ms = old.and_then(|stored| stored.ends_ms);
        let count = old.and_then(|stored| <[u8; 8]>::try_from(&*stored.value).ok());
        let count = count.map_or(0, i64::from_le_bytes).wrapping_add(by);
        state.put(key, &count.to_le_bytes(), ends_ms)?;
        Ok(count)
    })
}

pub(crate) fn kv_keys(prefix: &str, after: &str, limit: u32) -> Result<Vec<String>, KvError> {
    with(|state| {
        state.expire();
        let limit = KEYS.min(usize::try_from(limit).unwrap_or(KEYS));
        let keys = state
            .store
            .keys()
            .filter(|key| key.starts_with(prefix) && key.as_str() > after);
        Ok(keys.take(limit).cloned().collect())
    })
}

pub(crate) fn publish(message: &Emit) -> Result<(), PublishError> {
    answers::check_emit(message).map_err(PublishError::Invalid)?;
    with(|state| {
        let is_granted = state.grants("publish:").is_none_or(|mut filters| {
            filters.any(|filter| crate::topic::matches(filter, &message.topic))
        });
        if !is_granted {
            let text = format!("`publish:{}` is not granted", message.topic);
            return Err(PublishError::Denied(text));
        }
        if state.published_now == PUBLISHES {
            let text = format!("more than {PUBLISHES} in one call of a hook");
            return Err(PublishError::Other(text));
        }
        state.published_now += 1;
        state.published.push(message.clone());
        Ok(())
    })
}

pub(crate) fn timer_after(token: u64, delay_ms: u64) -> Result<(), TimerError> {
    with(|state| {
        if !state.has_timer {
            return Err(TimerError::NoHook);
        }
        if state.timers.len() == TIMERS && !state.timers.contains_key(&token) {
            return Err(TimerError::Quota);
        }
        let due_ms = state.now_ms.saturating_add(delay_ms);
        state.timers.insert(token, due_ms);
        Ok(())
    })
}

pub(crate) fn timer_cancel(token: u64) -> Result<bool, TimerError> {
    Ok(with(|state| state.timers.remove(&token).is_some()))
}

pub(crate) fn secret(name: &str) -> Result<Option<Vec<u8>>, SecretError> {
    with(|state| {
        let is_granted = state.grants("secret:");
        if !is_granted.is_none_or(|mut names| names.any(|granted| granted == name)) {
            return Err(SecretError::Denied(format!(
                "`secret:{name}` is not granted"
            )));
        }
        Ok(state.secrets.get(name).cloned())
    })
}

pub(crate) fn payload_len() -> u32 {
    with(|state| u32::try_from(state.payload.len()).unwrap_or(u32::MAX))
}

pub(crate) fn payload_read(offset: u32, max: u32) -> Vec<u8> {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    with(|state| {
        let rest = state.payload.get(size(offset)..).unwrap_or_default();
        rest.iter().copied().take(size(max)).collect()
    })
}

fn no_clients() -> ClientsError {
    ClientsError::Denied("`clients` is not granted".to_owned())
}

pub(crate) fn client(client_id: &str) -> Result<Option<Client>, ClientsError> {
    with(|state| match state.may_ask_for_clients() {
        true => Ok(state.clients.get(client_id).cloned()),
        false => Err(no_clients()),
    })
}

pub(crate) fn disconnect(client_id: &str, reason_code: u8) -> Result<bool, ClientsError> {
    with(|state| {
        if !state.may_ask_for_clients() {
            return Err(no_clients());
        }
        let Some(client) = state
            .clients
            .get_mut(client_id)
            .filter(|client| client.connected)
        else {
            return Ok(false);
        };
        client.connected = false;
        let reason_code = if reason_code < 0x80 {
            0x98
        } else {
            reason_code
        };
        state.disconnected.push((client_id.to_owned(), reason_code));
        Ok(true)
    })
}
