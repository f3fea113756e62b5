//! From the words of the configuration to the bounds and abilities of the broker.

use crate::config::{Config, Mqtt, Overflow, Shared, Strategy};
use std::time::Duration;
use witmq_broker::router::groups;
use witmq_proto::endpoint::Abilities;
use witmq_proto::packet::QoS;
use witmq_rules::ExpressionLimits;

/// What the configuration allows one node.
pub(crate) fn broker_limits(config: &Config, shards: u16) -> witmq_broker::Limits {
    let limits = &config.limits;
    let mut broker = witmq_broker::Limits {
        sessions: (limits.max_sessions / usize::from(shards)).max(1),
        session_expiry: limits.session_expiry_s,
        session_expiry_v3: limits.session_expiry_s,
        subscriptions: limits.max_subscriptions,
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
