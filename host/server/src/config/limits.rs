//! `[limits]`: every key with its default and its range.
//!
//! Owns: [`Limits`], [`Overflow`]. Must not: know what a bound is for; `bounds.rs` hands them on.

use super::ConfigError;
use serde::Deserialize;

/// A value that a key may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stray {
    pub(crate) key: &'static str,
    /// What it is, and what it may be.
    pub(crate) message: String,
}

macro_rules! limits {
    ($($(#[$about:meta])+ $key:ident: $kind:ty = $default:expr $(, $least:literal to $most:expr)?;)+) => {
        /// Bounds. Every one has a metric when it is hit.
        #[derive(Clone, Debug, Deserialize, PartialEq)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Limits {
            $($(#[$about])+ pub(crate) $key: $kind,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Limits {
            /// The first key that is out of its range.
            pub(super) fn stray(&self) -> Option<Stray> {
                $($(
                    let (least, most): ($kind, $kind) = ($least, $most);
                    if !(least..=most).contains(&self.$key) {
                        let (key, value) = (stringify!($key), self.$key);
                        let message = format!("`limits.{key}` is {value}; it has to be {least} to {most}");
                        return Some(Stray { key, message });
                    }
                )?)+
                None
            }

            /// Keys with a range, and its ends.
            #[cfg(test)]
            pub(super) fn ranges() -> Vec<(&'static str, u128, String)> {
                let mut all = Vec::new();
                $($(
                    let most: $kind = $most;
                    all.push((stringify!($key), $least, most.to_string()));
                )?)+
                all
            }
        }
    };
}

const DAY_MS: u64 = 24 * 3600 * 1000;
const GIB: usize = 1024 * 1024 * 1024;
const TIB: u64 = 1024 * 1024 * 1024 * 1024;

limits! {
    /// Connections of the whole node.
    max_connections: u32 = 100_000;
    /// Connections that wait to be taken, for each listener and shard.
    listen_backlog: u32 = 4096, 1 to 1_000_000;
    /// Largest packet taken, bytes.
    max_packet_bytes: u32 = 1024 * 1024;
    /// QoS 1 and 2 publishes a client may have unacknowledged.
    receive_maximum: u16 = 1024;
    /// Serve a client beyond it, and say so in the log.
    lenient_receive_maximum: bool = false;
    /// Topic aliases a client may use.
    topic_alias_maximum: u16 = 32;
    /// Longest keep-alive, seconds; 0 is unbounded.
    max_keep_alive_s: u16 = 0;
    /// Messages waiting for one session.
    queue_messages: usize = 1000;
    /// Bytes waiting for one session.
    queue_bytes: usize = 8 * 1024 * 1024;
    /// Seconds a message may wait for one session; 0 is for ever.
    queue_age_s: u64 = 0;
    /// What a full queue does with QoS 1 and 2.
    overflow: Overflow = Overflow::DropNewest;
    /// Longest session expiry, seconds; also the expiry of MQTT 3 sessions.
    session_expiry_s: u32 = 7 * 24 * 3600;
    /// Sessions of the whole node.
    max_sessions: usize = 1_000_000;
    /// Subscriptions of one session.
    max_subscriptions: usize = 10_000;
    /// Changes of subscriptions that a shard makes before others have their turn.
    subscribe_turn: usize = 64, 1 to 1_000_000;
    /// Topics of which a shard remembers who wants them.
    known_topics: usize = 131_072, 1 to 1_000_000;
    /// Exclusive subscriptions of the node.
    max_exclusive: usize = 100_000;
    /// Retained messages of the node.
    retained_messages: usize = 1_000_000;
    /// Bytes of retained messages.
    retained_bytes: usize = 1024 * 1024 * 1024;
    /// Delayed messages of the node.
    delayed_messages: usize = 1_000_000;
    /// Bytes of delayed messages.
    delayed_bytes: usize = 1024 * 1024 * 1024;
    /// Longest delay, seconds.
    delayed_max_s: u32 = 4_294_967;
    /// Events of one shard that wait for the chains they begin.
    chain_events: usize = 8192, 1 to 1_000_000;
    /// Canaries of chains that wait to be taken back.
    canary_queue: usize = 64, 1 to 10_000;
    /// CONNECT must arrive within this.
    connect_timeout_ms: u64 = 10_000;
    /// Time one `authenticate` call may take, waiting included.
    auth_timeout_ms: u64 = 5_000, 1 to DAY_MS;
    /// Threads that run `authenticate` of plugins that do not wait.
    auth_threads: u16 = 2, 1 to 256;
    /// Attempts to connect that wait for these threads.
    auth_queue: usize = 16_384, 1 to 1_000_000;
    /// Plugins installed.
    max_plugins: usize = 100, 1 to 10_000;
    /// Versions kept of each.
    plugin_versions: usize = 20, 1 to 1000;
    /// Bytes of a component.
    plugin_component_bytes: usize = 64 * 1024 * 1024, 1 to GIB;
    /// Bytes of compiled plugins kept on disk; 0: none.
    plugin_compiled_bytes: u64 = 2 << 30;
    /// Memory of one plugin instance, bytes.
    plugin_memory_bytes: usize = 64 * 1024 * 1024, 65_536 to 4 * GIB;
    /// Memory of all instances of all plugins together, bytes.
    plugin_memory_total_bytes: usize = GIB, 65_536 to 1024 * GIB;
    /// Bytes that may cross the border of an instance in one call; 0: twice the largest packet and 64 KiB.
    plugin_transfer_bytes: usize = 0, 0 to GIB;
    /// Bytes that an instance is asked to lend for the messages of its `transform`; 0: none.
    plugin_desk_bytes: u32 = 16 * 1024, 0 to 16_777_216;
    /// Bytes that an instance may hand to the one that takes its place.
    plugin_carried_bytes: usize = 1024 * 1024, 0 to GIB;
    /// Handles that one instance may have open.
    plugin_handles: usize = 1024, 1 to 1_000_000;
    /// Time one `transform` or `authorize` call may take.
    plugin_deadline_ms: u64 = 50, 1 to DAY_MS;
    /// Time one call of a plugin beside the shards may take, waiting included.
    plugin_timeout_ms: u64 = 5_000, 1 to DAY_MS;
    /// Time `init` may take.
    plugin_init_deadline_ms: u64 = 1_000, 1 to DAY_MS;
    /// Time of the tests that a component brings with it, together.
    plugin_tests_ms: u64 = 10_000, 1 to DAY_MS;
    /// Calls of host functions in one call.
    plugin_host_calls: u32 = 1000, 0 to 10_000_000;
    /// Messages a plugin may publish in one call.
    plugin_publishes: u32 = 16, 0 to 1_000_000;
    /// Messages one `split` may make.
    plugin_split_messages: usize = 64, 1 to 1_000_000;
    /// Log lines of one plugin in a second.
    plugin_log_lines: u32 = 100, 0 to 1_000_000;
    /// Metrics that one plugin counts itself.
    plugin_metrics: usize = 64, 0 to 10_000;
    /// Timers of one plugin.
    plugin_timers: usize = 1000, 0 to 1_000_000;
    /// Bytes of the keys and values of one plugin.
    plugin_kv_bytes: usize = 16 * 1024 * 1024;
    /// Keys of one plugin.
    plugin_kv_keys: usize = 100_000;
    /// Threads that run instances beside the shards.
    plugin_worker_threads: u16 = 2, 1 to 256;
    /// Instances beside the shards of a plugin that waits.
    plugin_lane_instances: u16 = 16, 1 to 1024;
    /// Jobs that wait for one of them.
    plugin_lane_queue: usize = 256, 1 to 1_000_000;
    /// Messages that wait for one sink.
    plugin_sink_queue: usize = 10_000, 1 to 10_000_000;
    /// So long a message waits for its sink before it goes to the dead-letter topic.
    plugin_sink_give_up_s: u64 = 3600, 1 to 31_536_000;
    /// Events that wait for plugins.
    plugin_events_queue: usize = 8192, 1 to 10_000_000;
    /// Messages or events in one call.
    plugin_batch: usize = 256, 1 to 100_000;
    /// So many failures within the window make a plugin rest.
    plugin_breaker_failures: usize = 5, 1 to 1_000_000;
    /// See `plugin_breaker_failures`.
    plugin_breaker_window_ms: u64 = 10_000, 1 to DAY_MS;
    /// The first rest; each one after it is twice as long.
    plugin_breaker_rest_ms: u64 = 1_000, 1 to DAY_MS;
    /// The longest rest.
    plugin_breaker_longest_ms: u64 = 30_000, 1 to DAY_MS;
    /// So long a new version of a plugin has to prove itself, or is taken back; 0: it has not to.
    plugin_probation_s: u64 = 30, 0 to 31_536_000;
    /// So many failures in that time take it back, at the rate below.
    plugin_probation_failures: u64 = 2, 1 to 1_000_000;
    /// Failures per thousand calls beyond the rate before.
    plugin_probation_per_mille: u64 = 100, 0 to 1000;
    /// An instance of a plugin that was called so often makes room for a new one; 0: never.
    plugin_retire_calls: u64 = 0;
    /// So does one that has this share of the memory it may have, percent; 100: never.
    plugin_retire_memory_percent: u8 = 90, 1 to 100;
    /// It does so for its memory at the earliest after this long.
    plugin_retire_pause_s: u64 = 10, 0 to 31_536_000;
    /// Time until a request of a plugin has a connection.
    plugin_http_connect_ms: u64 = 2_000, 1 to DAY_MS;
    /// Bytes of the head of an answer that a plugin reads.
    plugin_http_head_bytes: usize = 64 * 1024, 8192 to GIB;
    /// Bytes of the body of an answer that a plugin reads.
    plugin_http_response_bytes: u64 = 4 * 1024 * 1024, 0 to TIB;
    /// Bytes of the body of a request that a plugin sends.
    plugin_http_request_bytes: u64 = 4 * 1024 * 1024, 0 to TIB;
    /// Requests a plugin may send in one call.
    plugin_http_requests: u32 = 100, 0 to 1_000_000;
    /// Requests of one plugin under way at once.
    plugin_http_concurrent: usize = 64, 0 to 1_000_000;
    /// Connections of one plugin that wait for its next request; 0: none.
    plugin_http_idle: usize = 16, 0 to 10_000;
    /// How long one of them waits.
    plugin_http_idle_ms: u64 = 4_000, 0 to DAY_MS;
    /// Bytes of any text, list or map that an expression of a chain builds.
    expression_output_bytes: usize = 4 * 1024 * 1024;
    /// Elements that the macros of one evaluation look at.
    expression_iterations: usize = 10_000;
    /// Steps of one evaluation.
    expression_work: usize = 100_000;
    /// Keys that one step of a chain remembers.
    state_entries: usize = 100_000;
    /// Bytes of what one step of a chain remembers.
    state_bytes: usize = 16 * 1024 * 1024;
    /// Bytes of what all steps of all chains remember together.
    state_total_bytes: usize = 256 * 1024 * 1024;
    /// So many messages that a chain fails for make it rest; 0: never.
    chain_breaker_failures: u64 = 50, 0 to 100_000;
    /// They have to be so many of a thousand.
    chain_breaker_per_mille: u64 = 900, 1 to 1000;
    /// So many messages that cost too much make a chain rest; 0: never.
    chain_breaker_overruns: usize = 10, 0 to 100_000;
    /// Both within so long.
    chain_breaker_window_ms: u64 = 10_000, 1 to DAY_MS;
    /// Time that one message may take in a chain.
    chain_message_ms: u64 = 100, 1 to DAY_MS;
    /// The first rest; each one after it is twice as long.
    chain_breaker_rest_ms: u64 = 1_000, 1 to DAY_MS;
    /// The longest rest.
    chain_breaker_longest_ms: u64 = 60_000, 1 to DAY_MS;
    /// Keys of one table of chains.
    table_keys: usize = 100_000;
    /// Bytes of keys and values of one table of chains.
    table_bytes: usize = 64 * 1024 * 1024;
    /// Bytes of keys and values of all tables of chains together.
    table_total_bytes: usize = GIB;
    /// Seconds between `$SYS` updates.
    sys_interval_s: u64 = 10;
}

impl Limits {
    /// Bytes that cross the border of an instance in one call.
    pub(crate) fn transfer_bytes(&self) -> usize {
        match self.plugin_transfer_bytes {
            0 => usize::try_from(self.max_packet_bytes)
                .unwrap_or(usize::MAX)
                .saturating_mul(2)
                .saturating_add(64 * 1024),
            bytes => bytes,
        }
    }

    /// Rules between keys.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let rule = |text: String| Err(ConfigError::rule(text));
        let (one, all) = (self.plugin_memory_bytes, self.plugin_memory_total_bytes);
        if one > all {
            return rule(format!(
                "`limits.plugin_memory_bytes` is {one}, more than all plugins may have together: raise \
                 `limits.plugin_memory_total_bytes`, which is {all}"
            ));
        }
        let (first, longest) = (self.plugin_breaker_rest_ms, self.plugin_breaker_longest_ms);
        if first > longest {
            return rule(format!(
                "`limits.plugin_breaker_rest_ms` is {first}, longer than the longest rest: raise \
                 `limits.plugin_breaker_longest_ms`, which is {longest}"
            ));
        }
        let (first, longest) = (self.chain_breaker_rest_ms, self.chain_breaker_longest_ms);
        if first > longest {
            return rule(format!(
                "`limits.chain_breaker_rest_ms` is {first}, longer than the longest rest: raise \
                 `limits.chain_breaker_longest_ms`, which is {longest}"
            ));
        }
        let (transfer, packet) = (self.transfer_bytes(), self.max_packet_bytes);
        if u32::try_from(transfer).is_ok_and(|transfer| transfer < packet) {
            return rule(format!(
                "`limits.plugin_transfer_bytes` is {transfer}, less than the largest packet: raise it to \
                 `limits.max_packet_bytes`, which is {packet}, or set it to 0"
            ));
        }
        Ok(())
    }
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Overflow {
    DropNewest,
    DropOldest,
    Disconnect,
}
