//! From the words of the configuration to the bounds and abilities of the broker.

use crate::config::{Config, Limits, Mqtt, Overflow, Shared, Strategy};
use std::time::Duration;
use witmq_broker::router::groups;
use witmq_proto::endpoint::Abilities;
use witmq_proto::packet::QoS;
use witmq_rules::{BreakerLimits, ExpressionLimits};
use witmq_runtime::{HttpLimits, RuntimeConfig};

/// What the configuration allows one node.
pub(crate) fn broker_limits(config: &Config, shards: u16) -> witmq_broker::Limits {
    let limits = &config.limits;
    let mut broker = witmq_broker::Limits {
        sessions: (limits.max_sessions / usize::from(shards)).max(1),
        session_expiry: limits.session_expiry_s,
        session_expiry_v3: limits.session_expiry_s,
        subscriptions: limits.max_subscriptions,
        subscribe_turn: limits.subscribe_turn,
        known_topics: limits.known_topics,
        exclusive: limits.max_exclusive,
        outbox_messages: limits.queue_messages,
        outbox_bytes: limits.queue_bytes,
        outbox_age: Duration::from_secs(limits.queue_age_s),
        overflow: match limits.overflow {
            Overflow::DropNewest => witmq_broker::Overflow::DropNewest,
            Overflow::DropOldest => witmq_broker::Overflow::DropOldest,
            Overflow::Disconnect => witmq_broker::Overflow::Disconnect,
        },
        retained_messages: limits.retained_messages,
        retained_bytes: limits.retained_bytes,
        delayed_messages: limits.delayed_messages,
        delayed_bytes: limits.delayed_bytes,
        delayed_max_s: limits.delayed_max_s,
        chain_events: limits.chain_events,
        response_information: config.mqtt.response_information.clone(),
        strategies: strategies(&config.shared),
        sticky_publishers: config.shared.sticky_publishers,
        sys_interval: Duration::from_secs(limits.sys_interval_s),
        // The hook has its own deadline; this one also covers the queue before it.
        authentication: Duration::from_millis(limits.auth_timeout_ms).saturating_mul(2),
        ..witmq_broker::Limits::default()
    };
    broker.settings.maximum_packet_size = limits.max_packet_bytes;
    broker.settings.receive_maximum = limits.receive_maximum;
    broker.settings.lenient_receive_maximum = limits.lenient_receive_maximum;
    broker.settings.topic_alias_maximum = limits.topic_alias_maximum;
    broker.settings.maximum_keep_alive = limits.max_keep_alive_s;
    broker.settings.abilities = abilities(&config.mqtt);
    broker
}

/// What an evaluation of an expression of a chain may cost.
pub(crate) fn expression_limits(config: &Config) -> ExpressionLimits {
    ExpressionLimits {
        output_bytes: config.limits.expression_output_bytes,
        iterations: config.limits.expression_iterations,
        work: config.limits.expression_work,
    }
}

/// When a chain is given a rest.
pub(crate) fn breaker_limits(config: &Config) -> BreakerLimits {
    let limits = &config.limits;
    BreakerLimits {
        failures: limits.chain_breaker_failures,
        per_mille: limits.chain_breaker_per_mille,
        overruns: limits.chain_breaker_overruns,
        window_ms: limits.chain_breaker_window_ms,
        message: Duration::from_millis(limits.chain_message_ms),
        rest_ms: limits.chain_breaker_rest_ms,
        longest_ms: limits.chain_breaker_longest_ms,
    }
}

/// What bounds plugins, and nothing else of their host.
pub(crate) fn plugin_limits(limits: &Limits) -> RuntimeConfig {
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    RuntimeConfig {
        authenticator_threads: limits.auth_threads,
        authenticator_queue: limits.auth_queue,
        authenticate_deadline: ms(limits.auth_timeout_ms),
        deadline: ms(limits.plugin_deadline_ms),
        init_deadline: ms(limits.plugin_init_deadline_ms),
        tests: ms(limits.plugin_tests_ms),
        timeout: ms(limits.plugin_timeout_ms),
        worker_threads: limits.plugin_worker_threads,
        lane_instances: limits.plugin_lane_instances,
        lane_queue: limits.plugin_lane_queue,
        batch: limits.plugin_batch,
        sink_queue: limits.plugin_sink_queue,
        sink_give_up: s(limits.plugin_sink_give_up_s),
        events_queue: limits.plugin_events_queue,
        carried_bytes: limits.plugin_carried_bytes,
        memory_bytes: limits.plugin_memory_bytes,
        memory_total_bytes: limits.plugin_memory_total_bytes,
        retire_calls: limits.plugin_retire_calls,
        retire_memory_percent: limits.plugin_retire_memory_percent,
        retire_pause: s(limits.plugin_retire_pause_s),
        transfer_bytes: limits.transfer_bytes(),
        desk_bytes: limits.plugin_desk_bytes,
        host_calls: limits.plugin_host_calls,
        publishes: limits.plugin_publishes,
        timers: limits.plugin_timers,
        metrics: limits.plugin_metrics,
        handles: limits.plugin_handles,
        http: http_limits(limits),
        split_messages: limits.plugin_split_messages,
        log_lines: limits.plugin_log_lines,
        component_bytes: limits.plugin_component_bytes,
        compiled_bytes: limits.plugin_compiled_bytes,
        plugins: limits.max_plugins,
        versions: limits.plugin_versions,
        breaker_failures: limits.plugin_breaker_failures,
        breaker_window: ms(limits.plugin_breaker_window_ms),
        breaker_rest: ms(limits.plugin_breaker_rest_ms),
        breaker_longest: ms(limits.plugin_breaker_longest_ms),
        probation: s(limits.plugin_probation_s),
        probation_failures: limits.plugin_probation_failures,
        probation_per_mille: limits.plugin_probation_per_mille,
        ..RuntimeConfig::default()
    }
}

/// What bounds the requests of plugins.
pub(crate) fn http_limits(limits: &Limits) -> HttpLimits {
    HttpLimits {
        connect: Duration::from_millis(limits.plugin_http_connect_ms),
        head_bytes: limits.plugin_http_head_bytes,
        response_bytes: limits.plugin_http_response_bytes,
        request_bytes: limits.plugin_http_request_bytes,
        requests: limits.plugin_http_requests,
        concurrent: limits.plugin_http_concurrent,
        idle: limits.plugin_http_idle,
        idle_longest: Duration::from_millis(limits.plugin_http_idle_ms),
        ca: None,
    }
}

fn abilities(mqtt: &Mqtt) -> Abilities {
    Abilities {
        maximum_qos: QoS::from_bits(mqtt.maximum_qos).unwrap_or(QoS::ExactlyOnce),
        retain: mqtt.retain_available,
        wildcards: mqtt.wildcard_subscriptions,
        subscription_ids: mqtt.subscription_identifiers,
        shared: mqtt.shared_subscriptions,
        checks_payload_format: mqtt.payload_format_check,
    }
}

fn strategies(shared: &Shared) -> groups::Strategies {
    let named = shared.groups.iter();
    groups::Strategies {
        default: strategy(shared.strategy),
        groups: named
            .map(|(name, chosen)| (name.as_str().into(), strategy(*chosen)))
            .collect(),
    }
}

fn strategy(chosen: Strategy) -> groups::Strategy {
    match chosen {
        Strategy::RoundRobin => groups::Strategy::RoundRobin,
        Strategy::LeastInflight => groups::Strategy::LeastInflight,
        Strategy::Sticky => groups::Strategy::Sticky,
        Strategy::HashClient => groups::Strategy::HashClient,
        Strategy::HashTopic => groups::Strategy::HashTopic,
    }
}
