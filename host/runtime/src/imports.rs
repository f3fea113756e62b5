//! The state of one instance's store, and the capabilities it may call: log, kv, publish, clock.

use crate::abi::witmq::plugin::{host_clock, host_kv, host_log, host_publish, types};
use crate::convert;
use crate::plugin::Shared;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmtime::ResourceLimiter;
use witmq_broker::ports::kv::KvError;

/// Bytes of one log line.
const LINE_BYTES: usize = 1024;
/// Table entries of one instance; each counts for this many bytes of its memory.
const TABLE_ENTRY_BYTES: usize = 16;

/// What a store carries.
pub(crate) struct State {
    pub(crate) plugin: Arc<Shared>,
    pub(crate) memory: MemoryLimit,
    /// Host calls left in this call of a hook.
    pub(crate) host_calls: u32,
    /// Publishes left in this call.
    pub(crate) publishes: u32,
    /// Printed, and not ended by a line break yet.
    line: Vec<u8>,
    start: Instant,
    max_packet: usize,
}

/// Sums what all memories and tables of a store take: a component may have several.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    used: usize,
    maximum: usize,
    /// Something was refused: a trap that follows is the limit's.
    pub(crate) is_exceeded: bool,
}

impl MemoryLimit {
    pub(crate) fn new(maximum: usize) -> Self {
        Self {
            used: 0,
            maximum,
            is_exceeded: false,
        }
    }

    fn grow(&mut self, bytes: usize) -> bool {
        match self
            .used
            .checked_add(bytes)
            .filter(|used| *used <= self.maximum)
        {
            Some(used) => {
                self.used = used;
                true
            }
            None => {
                self.is_exceeded = true;
                false
            }
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(
            desired
                .saturating_sub(current)
                .saturating_mul(TABLE_ENTRY_BYTES),
        ))
    }
}

impl State {
    pub(crate) fn new(plugin: Arc<Shared>, memory_bytes: usize, max_packet: usize) -> Self {
        Self {
            plugin,
            memory: MemoryLimit::new(memory_bytes),
            host_calls: 0,
            publishes: 0,
            line: Vec::new(),
            start: Instant::now(),
            max_packet,
        }
    }

    /// One host call; false if this call of the hook has used up its own.
    fn may_call(&mut self) -> bool {
        match self.host_calls.checked_sub(1) {
            Some(left) => {
                self.host_calls = left;
                true
            }
            None => false,
        }
    }

    /// Bytes for standard output or error: complete lines go into the log.
    pub(crate) fn print(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.write_line(
                    host_log::Level::Info,
                    String::from_utf8_lossy(&line).trim_end(),
                );
            }
        }
    }

    fn write_line(&self, level: host_log::Level, text: &str) {
        let Some(dropped) = self.plugin.may_log() else {
            return;
        };
        let plugin = &*self.plugin.name;
        if dropped > 0 {
            tracing::warn!(target: "witmq::plugin", plugin, dropped, "log lines beyond the limit were dropped");
        }
        let text = text
            .get(..text.floor_char_boundary(LINE_BYTES))
            .unwrap_or_default();
        match level {
            host_log::Level::Trace => tracing::trace!(target: "witmq::plugin", plugin, "{text}"),
            host_log::Level::Debug => tracing::debug!(target: "witmq::plugin", plugin, "{text}"),
            host_log::Level::Info => tracing::info!(target: "witmq::plugin", plugin, "{text}"),
            host_log::Level::Warn => tracing::warn!(target: "witmq::plugin", plugin, "{text}"),
            host_log::Level::Error => tracing::error!(target: "witmq::plugin", plugin, "{text}"),
        }
    }
}

impl types::Host for State {}

impl host_log::Host for State {
    fn log(&mut self, level: host_log::Level, text: String) {
        if self.may_call() {
            self.write_line(level, &text);
        }
    }
}

fn kv_error(error: KvError) -> host_kv::KvError {
    match error {
        KvError::TooLarge => host_kv::KvError::TooLarge,
        // Nobody expects a version here; a removed plugin has no room.
        KvError::Quota | KvError::Mismatch(_) | KvError::Removed => host_kv::KvError::Quota,
    }
}

impl host_kv::Host for State {
    fn get(&mut self, key: String) -> Option<Vec<u8>> {
        if self.may_call() {
            self.plugin.kv.get(&key)
        } else {
            None
        }
    }

    fn put(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Result<(), host_kv::KvError> {
        if !self.may_call() {
            return Err(host_kv::KvError::Quota);
        }
        self.plugin.kv.put(&key, value, ttl_ms).map_err(kv_error)
    }

    fn remove(&mut self, key: String) -> bool {
        self.may_call() && self.plugin.kv.remove(&key)
    }

    fn increment(&mut self, key: String, by: i64) -> Result<i64, host_kv::KvError> {
        if !self.may_call() {
            return Err(host_kv::KvError::Quota);
        }
        self.plugin.kv.increment(&key, by).map_err(kv_error)
    }
}

impl host_publish::Host for State {
    fn publish(&mut self, emit: types::Emit) -> Result<(), host_publish::PublishError> {
        let left = self.publishes.checked_sub(1).filter(|_| self.may_call());
        let Some(left) = left else {
            return Err(host_publish::PublishError::Busy);
        };
        self.publishes = left;
        let emit = convert::emit(emit).map_err(|_| host_publish::PublishError::BadTopic)?;
        let Ok(topic) = witmq_proto::TopicName::new(emit.topic.clone()) else {
            return Err(host_publish::PublishError::BadTopic);
        };
        if emit.payload.len() > self.max_packet {
            return Err(host_publish::PublishError::Busy);
        }
        let plugin = &self.plugin;
        if !plugin.grants.iter().any(|filter| filter.matches(&topic)) {
            let text = format!(
                "plugin `{0}` may not publish to `{topic}`: grant it with [plugins.{0}] publish = [\"{topic}\"]",
                plugin.name
            );
            plugin.note_error(text.clone());
            if plugin.may_log().is_some() {
                tracing::warn!(target: "witmq::plugin", "{text}");
            }
            return Err(host_publish::PublishError::Denied(text));
        }
        let message = convert::message_of(emit, topic, now_ms());
        if (plugin.publish)(message) {
            Ok(())
        } else {
            Err(host_publish::PublishError::Busy)
        }
    }
}

impl host_clock::Host for State {
    fn now_ms(&mut self) -> u64 {
        now_ms()
    }

    fn monotonic_ns(&mut self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
