//! What one instance's store carries: budgets of a call, memory taken, a line being printed.
//!
//! Owns: [`State`], [`MemoryLimit`], [`Line`]. The capabilities that work on it are in `imports`.

use crate::http::Beyond;
use crate::limited::Bound;
use crate::log::{LINE_BYTES, Level};
use crate::plugin::Shared;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::ResourceLimiter;

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
    /// Timers have an export to fire at.
    pub(crate) has_timer: bool,
    /// Printed, and not ended by a line break yet.
    line: Line,
    /// The payload of the message of this call.
    pub(crate) payload: Bytes,
    pub(crate) start: Instant,
    pub(crate) max_packet: usize,
    /// Handles of WASI that it may open besides those it has.
    pub(crate) handles: usize,
    /// What a component with `wasi:http` needs besides.
    pub(crate) beyond: Option<Box<Beyond>>,
}

/// A line being printed.
#[derive(Debug, Default)]
pub(crate) struct Line(Vec<u8>);

/// Sums what all memories and tables of a store take: a component may have several.
/// What it took is given back with the store.
pub(crate) struct MemoryLimit {
    pub(crate) used: usize,
    maximum: usize,
    /// The last growth, bytes: taken back if it comes to nothing.
    last: usize,
    /// Something was refused: a trap that follows is the limit's.
    pub(crate) exceeded: Option<Bound>,
    plugin: Arc<Shared>,
}

impl MemoryLimit {
    pub(crate) fn new(plugin: Arc<Shared>, maximum: usize) -> Self {
        Self {
            used: 0,
            maximum,
            last: 0,
            exceeded: None,
            plugin,
        }
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let used = self.used.checked_add(bytes);
        let bound = match used.filter(|used| *used <= self.maximum) {
            None => Bound::MemoryBytes,
            Some(_) if !self.plugin.pool.take(bytes) => Bound::MemoryTotal,
            Some(used) => {
                (self.used, self.last) = (used, bytes);
                return true;
            }
        };
        self.plugin.limited.hit(bound);
        self.exceeded = Some(bound);
        false
    }

    /// The last growth was allowed, and could not be had.
    fn shrink(&mut self) {
        let bytes = std::mem::take(&mut self.last);
        self.used -= bytes;
        self.plugin.pool.give_back(bytes);
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        self.plugin.pool.give_back(self.used);
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

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.shrink();
        Ok(())
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.shrink();
        Ok(())
    }
}

impl State {
    pub(crate) fn new(plugin: Arc<Shared>, memory_bytes: usize, max_packet: usize) -> Self {
        Self {
            memory: MemoryLimit::new(plugin.clone(), memory_bytes),
            plugin,
            handles: 0,
            host_calls: 0,
            publishes: 0,
            has_timer: false,
            line: Line::default(),
            payload: Bytes::new(),
            start: Instant::now(),
            max_packet,
            beyond: None,
        }
    }

    /// One host call; false if this call of the hook has used up its own.
    pub(crate) fn may_call(&mut self) -> bool {
        match self.host_calls.checked_sub(1) {
            Some(left) => {
                self.host_calls = left;
                true
            }
            None => {
                self.plugin.limited.hit(Bound::HostCalls);
                false
            }
        }
    }

    /// One handle more; false if it has as many as it may.
    pub(crate) fn open_handle(&mut self) -> bool {
        match self.handles.checked_sub(1) {
            Some(left) => {
                self.handles = left;
                true
            }
            None => {
                self.plugin.limited.hit(Bound::Handles);
                false
            }
        }
    }

    /// Bytes for standard output or error: complete lines go into the log.
    pub(crate) fn print(&mut self, bytes: &[u8]) {
        self.line.print(&self.plugin, bytes);
    }
}

impl Line {
    /// Complete lines go into the log of the plugin.
    pub(crate) fn print(&mut self, plugin: &Shared, bytes: &[u8]) {
        let Self(kept) = self;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(kept.len());
            kept.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                let line = std::mem::take(kept);
                let text = String::from_utf8_lossy(&line);
                plugin.log.write(&plugin.name, Level::Info, text.trim_end());
            }
        }
    }
}
