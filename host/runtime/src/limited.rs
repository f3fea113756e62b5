//! The bounds that plugins run into, each under the name of its setting, and how often that happened.
//!
//! Owns: [`Bound`], [`Limited`]. Must not: enforce any of them; who does counts here. Never on the way of a call that is
//! within its bounds.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! bounds {
    ($($bound:ident = $setting:literal,)+) => {
        /// A bound, by its setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Bound {
            $($bound,)+
        }

        /// Every setting that can be hit and is counted in `witmq_plugin_limited_total`.
        pub const BOUNDS: &[&str] = &[$($setting,)+];
    };
}

bounds! {
    AuthQueue = "auth_queue",
    AuthTimeout = "auth_timeout_ms",
    BreakerFailures = "plugin_breaker_failures",
    CarriedBytes = "plugin_carried_bytes",
    CompiledBytes = "plugin_compiled_bytes",
    ComponentBytes = "plugin_component_bytes",
    Deadline = "plugin_deadline_ms",
    DeskBytes = "plugin_desk_bytes",
    EventsQueue = "plugin_events_queue",
    Handles = "plugin_handles",
    HostCalls = "plugin_host_calls",
    HttpConcurrent = "plugin_http_concurrent",
    HttpConnect = "plugin_http_connect_ms",
    HttpHeadBytes = "plugin_http_head_bytes",
    HttpIdle = "plugin_http_idle",
    HttpRequestBytes = "plugin_http_request_bytes",
    HttpRequests = "plugin_http_requests",
    HttpResponseBytes = "plugin_http_response_bytes",
    InitDeadline = "plugin_init_deadline_ms",
    KvBytes = "plugin_kv_bytes",
    KvKeys = "plugin_kv_keys",
    LaneQueue = "plugin_lane_queue",
    LogLines = "plugin_log_lines",
    MaxPlugins = "max_plugins",
    MemoryBytes = "plugin_memory_bytes",
    MemoryTotal = "plugin_memory_total_bytes",
    Metrics = "plugin_metrics",
    ProbationFailures = "plugin_probation_failures",
    Publishes = "plugin_publishes",
    RetireCalls = "plugin_retire_calls",
    RetireMemory = "plugin_retire_memory_percent",
    SinkGiveUp = "plugin_sink_give_up_s",
    SinkQueue = "plugin_sink_queue",
    SplitMessages = "plugin_split_messages",
    Tests = "plugin_tests_ms",
    Timeout = "plugin_timeout_ms",
    Timers = "plugin_timers",
    TransferBytes = "plugin_transfer_bytes",
    Versions = "plugin_versions",
}

/// How often each bound was hit.
#[derive(Debug)]
pub(crate) struct Limited([AtomicU64; BOUNDS.len()]);

impl Default for Limited {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BOUNDS.len()])
    }
}

impl Limited {
    /// Once more.
    pub(crate) fn hit(&self, bound: Bound) {
        if let Some(count) = self.0.get(bound as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often one was.
    pub(crate) fn of(&self, bound: Bound) -> u64 {
        (self.0.get(bound as usize)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Those that were hit, by the names of their settings; `more` was counted elsewhere.
    pub(crate) fn with(&self, more: &[(Bound, u64)]) -> Vec<(&'static str, u64)> {
        let all = Self::default();
        let ours = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        for (sum, count) in all.0.iter().zip(ours) {
            sum.store(count, Ordering::Relaxed);
        }
        for (bound, count) in more {
            if let Some(sum) = all.0.get(*bound as usize) {
                sum.fetch_add(*count, Ordering::Relaxed);
            }
        }
        let counts = all.0.into_iter().map(AtomicU64::into_inner);
        let named = BOUNDS.iter().copied().zip(counts);
        named.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_under_the_name_of_its_setting() {
        let limited = Limited::default();
        assert!(limited.with(&[]).is_empty());
        limited.hit(Bound::AuthQueue);
        limited.hit(Bound::Versions);
        limited.hit(Bound::Versions);
        let more = [(Bound::Versions, 3), (Bound::Metrics, 0)];
        let all = limited.with(&more);
        assert_eq!(all, [("auth_queue", 1), ("plugin_versions", 5)]);
        assert_eq!(limited.of(Bound::Versions), 2);
    }
}
