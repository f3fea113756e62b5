//! A plugin's log: to the broker's own log, and the last lines to look at.
//!
//! Owns: [`Log`], bounded in lines per second and in lines remembered.

use crate::imports::now_ms;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use witmq_broker::ports::control::PluginLine;

/// Bytes of one line.
pub(crate) const LINE_BYTES: usize = 1024;
/// Lines remembered.
const LINES: usize = 500;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug)]
struct State {
    /// Lines of this second that may still come.
    left: u32,
    second: Instant,
    dropped: u64,
    /// Dropped since ever.
    lost: u64,
    number: u64,
    lines: VecDeque<PluginLine>,
}

/// The log of one plugin.
#[derive(Debug)]
pub(crate) struct Log {
    per_second: u32,
    /// Before each line.
    prefix: &'static str,
    state: Arc<Mutex<State>>,
}

impl Log {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            prefix: "",
            state: Arc::new(Mutex::new(State {
                left: per_second,
                second: Instant::now(),
                dropped: 0,
                lost: 0,
                number: 0,
                lines: VecDeque::new(),
            })),
        }
    }

    /// The same log for the shadow of the plugin, whose lines say so.
    pub(crate) fn of_shadow(&self) -> Self {
        Self {
            per_second: self.per_second,
            prefix: "shadow: ",
            state: self.state.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line, cut to its bound, unless this second has had as many as it may.
    pub(crate) fn write(&self, plugin: &str, level: Level, text: &str) {
        let prefixed = (!self.prefix.is_empty()).then(|| format!("{}{text}", self.prefix));
        let text = prefixed.as_deref().unwrap_or(text);
        let text = text
            .get(..text.floor_char_boundary(LINE_BYTES))
            .unwrap_or_default();
        let Some(dropped) = self.remember(level, text) else {
            return;
        };
        if dropped > 0 {
            tracing::warn!(target: "witmq::plugin", plugin, dropped, "log lines beyond the limit were dropped");
        }
        match level {
            Level::Trace => tracing::trace!(target: "witmq::plugin", plugin, "{text}"),
            Level::Debug => tracing::debug!(target: "witmq::plugin", plugin, "{text}"),
            Level::Info => tracing::info!(target: "witmq::plugin", plugin, "{text}"),
            Level::Warn => tracing::warn!(target: "witmq::plugin", plugin, "{text}"),
            Level::Error => tracing::error!(target: "witmq::plugin", plugin, "{text}"),
        }
    }

    /// How many were dropped before it; `None`: this one is dropped.
    fn remember(&self, level: Level, text: &str) -> Option<u64> {
        let mut state = self.state();
        let now = Instant::now();
        if now.saturating_duration_since(state.second) >= Duration::from_secs(1) {
            (state.second, state.left) = (now, self.per_second);
        }
        let Some(left) = state.left.checked_sub(1) else {
            state.dropped += 1;
            state.lost += 1;
            return None;
        };
        state.left = left;
        state.number += 1;
        if state.lines.len() >= LINES {
            state.lines.pop_front();
        }
        let line = PluginLine {
            number: state.number,
            at_ms: now_ms(),
            level: match level {
                Level::Trace => "trace",
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            },
            text: text.to_owned(),
        };
        state.lines.push_back(line);
        Some(std::mem::take(&mut state.dropped))
    }

    /// Lines beyond those of their second, since ever.
    pub(crate) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Lines behind `number` that are remembered.
    pub(crate) fn after(&self, number: u64) -> Vec<PluginLine> {
        let state = self.state();
        let lines = state.lines.iter().filter(|line| line.number > number);
        lines.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_by_second_by_length_and_in_number() {
        let log = Log::new(3);
        for number in 0..5 {
            log.write("p", Level::Info, &format!("line {number}"));
        }
        assert_eq!(log.after(0).len(), 3);
        assert_eq!(log.after(2)[0].text, "line 2");
        assert_eq!(log.lost(), 2);
        assert_eq!(log.state().dropped, 2);
        let log = Log::new(u32::MAX);
        log.write("p", Level::Warn, &"\u{e9}".repeat(LINE_BYTES));
        assert_eq!(log.after(0)[0].text.len(), LINE_BYTES);
        for _ in 0..LINES {
            log.write("p", Level::Debug, "x");
        }
        let kept = log.after(0);
        assert_eq!((kept.len(), kept[0].number), (LINES, 2));
        assert_eq!(log.after(u64::try_from(LINES).unwrap()).len(), 1);
    }
}
