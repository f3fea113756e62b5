//! What one instance's store carries: budgets of a call, memory taken, a line being printed.
//!
//! Owns: [`State`], [`MemoryLimit`], [`Line`]. The capabilities that work on it are in `imports`.

use crate::http::Beyond;
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
    /// What a component with `wasi:http` needs besides.
    pub(crate) beyond: Option<Box<Beyond>>,
}

/// A line being printed.
#[derive(Debug, Default)]
pub(crate) struct Line(Vec<u8>);

/// Sums what all memories and tables of a store take: a component may have several.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    pub(crate) used: usize,
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
            None => false,
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
