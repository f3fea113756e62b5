//! Once a second: the shard's counters for the node; on the first shard also `$SYS` and old retained messages.

use super::{Counters, REPORT_INTERVAL, Shard, Timer};
use crate::ports::Record;
use bytes::Bytes;
use bytestring::ByteString;
use std::time::Instant;
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

/// Expired retained messages removed at a time.
const SWEEP: usize = 1000;

impl Shard {
    pub(super) fn report(&mut self, now: Instant) {
        self.timers.set(now + REPORT_INTERVAL, Timer::Report);
        self.shared.report(self.id.0, self.counters());
        if self.id.0 != 0 {
            return;
        }
        for (topic, version) in self.shared.retained.sweep(now, SWEEP) {
            self.append(Record::Retained {
                topic: &topic,
                version,
                message: None,
            });
        }
        let interval = self.limits.sys_interval;
        if !interval.is_zero() && now >= self.sys_due {
            self.sys_due = now + interval;
            self.publish_sys(now);
        }
    }

    fn publish_sys(&mut self, now: Instant) {
        let counters = self.shared.counters();
        let uptime = now.saturating_duration_since(self.shared.started).as_secs();
        let retained = self.shared.retained.len();
        let mut topics = sys_topics(&counters);
        topics.push(("uptime", uptime.to_string()));
        topics.push(("retained messages/count", retained.to_string()));
        topics.push((
            "version",
            concat!("WitMQ ", env!("CARGO_PKG_VERSION")).to_owned(),
        ));
        for (name, text) in topics {
            let Ok(topic) = TopicName::new(format!("$SYS/broker/{name}")) else {
                continue;
            };
            let message = Message {
                topic,
                payload: Bytes::from(text),
                qos: QoS::AtMostOnce,
                retain: true,
                properties: PublishProperties::default(),
                expires_at: None,
                publisher: ByteString::new(),
                received_ms: self.clock.unix_ms(now),
                hops: 0,
            };
            self.publish(now, message);
        }
    }
}

/// The names mosquitto made customary.
fn sys_topics(counters: &Counters) -> Vec<(&'static str, String)> {
    let dropped = counters.dropped_full + counters.dropped_expired + counters.dropped_too_large;
    let away = counters.sessions.saturating_sub(counters.connections);
    vec![
        ("clients/connected", counters.connections.to_string()),
        ("clients/disconnected", away.to_string()),
        ("clients/total", counters.sessions.to_string()),
        ("subscriptions/count", counters.subscriptions.to_string()),
        ("messages/received", counters.received.to_string()),
        ("messages/sent", counters.sent.to_string()),
        ("publish/messages/dropped", dropped.to_string()),
    ]
}
