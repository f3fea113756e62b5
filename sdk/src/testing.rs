//! Plugins in plain `cargo test`: the same code, with a stand-in for the broker, one per test thread.

use crate::host::{KvError, Level, PublishError};
use crate::message::Emit;
use crate::plugin::{Place, Plugin};
use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Default)]
struct StandIn {
    lines: Vec<(Level, String)>,
    entries: HashMap<String, Vec<u8>>,
    published: Vec<Emit>,
    now_ms: u64,
}

thread_local! {
    static STAND_IN: RefCell<StandIn> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut StandIn) -> R) -> R {
    STAND_IN.with_borrow_mut(f)
}

/// Makes an instance from JSON, as the broker does.
///
/// # Errors
/// What the operator would be told.
pub fn start<P: Plugin>(config: &str) -> Result<P, String> {
    let config = serde_json::from_str(config).map_err(|error| format!("configuration: {error}"))?;
    P::new(
        config,
        &Place {
            plugin: "test".into(),
            generation: 1,
            shard: 0,
            shards: 1,
        },
    )
}

/// Lines logged since the last call.
#[must_use]
pub fn logged() -> Vec<(Level, String)> {
    with(|host| std::mem::take(&mut host.lines))
}

/// Messages published since the last call.
#[must_use]
pub fn published() -> Vec<Emit> {
    with(|host| std::mem::take(&mut host.published))
}

/// Sets the clock.
pub fn set_now_ms(now_ms: u64) {
    with(|host| host.now_ms = now_ms);
}

#[cfg_attr(
    target_family = "wasm",
    expect(dead_code, reason = "the stand-in serves native builds")
)]
mod capabilities {
    use super::{Emit, KvError, Level, PublishError, with};

    pub(crate) fn log(level: Level, text: &str) {
        with(|host| host.lines.push((level, text.to_owned())));
    }

    pub(crate) fn kv_get(key: &str) -> Option<Vec<u8>> {
        with(|host| host.entries.get(key).cloned())
    }

    pub(crate) fn kv_put(key: &str, value: &[u8], _ttl_ms: u64) -> Result<(), KvError> {
        if key.len() > 512 || value.len() > 64 * 1024 {
            return Err(KvError::TooLarge);
        }
        with(|host| host.entries.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn kv_remove(key: &str) -> bool {
        with(|host| host.entries.remove(key).is_some())
    }

    pub(crate) fn kv_increment(key: &str, by: i64) -> Result<i64, KvError> {
        let old = kv_get(key).and_then(|value| <[u8; 8]>::try_from(value).ok());
        let new = old.map_or(0, i64::from_le_bytes).wrapping_add(by);
        kv_put(key, &new.to_le_bytes(), 0).map(|()| new)
    }

    pub(crate) fn publish(message: &Emit) -> Result<(), PublishError> {
        if message.topic.is_empty() || message.topic.contains(['+', '#', '\0']) {
            return Err(PublishError::BadTopic);
        }
        with(|host| host.published.push(message.clone()));
        Ok(())
    }

    pub(crate) fn now_ms() -> u64 {
        with(|host| host.now_ms)
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use capabilities::{kv_get, kv_increment, kv_put, kv_remove, log, now_ms, publish};

#[cfg(test)]
mod tests {
    use crate::host::{self, Level, kv};
    use crate::message::Emit;

    #[test]
    fn the_stand_in_remembers_what_a_plugin_does() {
        host::log(Level::Warn, "careful");
        assert_eq!(super::logged(), [(Level::Warn, "careful".to_owned())]);
        assert_eq!(kv::increment("n", 2), Ok(2));
        assert_eq!(kv::increment("n", 3), Ok(5));
        assert!(kv::remove("n") && kv::get("n").is_none());
        host::publish(&Emit::new("a/b", "x")).unwrap();
        assert!(host::publish(&Emit::new("a/#", "x")).is_err());
        assert_eq!(super::published(), [Emit::new("a/b", "x")]);
        super::set_now_ms(7);
        assert_eq!(host::now_ms(), 7);
    }
}
