//! `$SYS/broker/…`: numbers about the node as retained messages, under the names mosquitto made customary.
//!
//! Owns: which topics there are (`host/docs/sys-topics.md` lists them; a test compares) and what they need to
//! remember. Must not: count; it reads [`Counters`].

use super::{Counters, Shard};
use bytes::Bytes;
use bytestring::ByteString;
use std::time::{Duration, Instant};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

/// Minutes the load is averaged over.
const MINUTES: [u8; 3] = [1, 5, 15];

/// A name below `load/`, and the counter whose growth it tells.
type Load = (&'static str, fn(&Counters) -> u64);

const LOADS: [Load; 8] = [
    ("messages/received", |counters| counters.received),
    ("messages/sent", |counters| counters.sent),
    ("publish/received", |counters| counters.received),
    ("publish/sent", |counters| counters.sent),
    ("publish/dropped", dropped),
    ("bytes/received", |counters| counters.bytes_received),
    ("bytes/sent", |counters| counters.bytes_sent),
    ("connections", |counters| counters.accepted),
];

/// Messages that their receivers did not get.
fn dropped(counters: &Counters) -> u64 {
    counters.dropped_full
        + counters.dropped_too_old
        + counters.dropped_expired
        + counters.dropped_too_large
        + counters.dropped_lost
}

/// What is remembered between two looks at the counters.
#[derive(Debug)]
pub(super) struct Sys {
    /// When the topics are published again.
    pub(super) due: Instant,
    looked: Instant,
    last: [u64; LOADS.len()],
    /// Per minute, averaged over [`MINUTES`].
    loads: [[f64; MINUTES.len()]; LOADS.len()],
    maximum: u64,
}

impl Sys {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            looked: now,
            last: [0; LOADS.len()],
            loads: [[0.0; MINUTES.len()]; LOADS.len()],
            maximum: 0,
        }
    }

    /// Looks at the counters: loads move towards what grew since the last look, the faster the shorter they are
    /// averaged over.
    pub(super) fn note(&mut self, now: Instant, counters: &Counters) {
        self.maximum = self.maximum.max(counters.connections);
        let passed = now.saturating_duration_since(self.looked);
        if passed.is_zero() {
            return;
        }
        self.looked = now;
        let minutes = passed.as_secs_f64() / 60.0;
        for (((_, count), last), loads) in LOADS.iter().zip(&mut self.last).zip(&mut self.loads) {
            let count = count(counters);
            let rate = count.saturating_sub(*last) as f64 / minutes;
            *last = count;
            for (load, over) in loads.iter_mut().zip(MINUTES) {
                let kept = (-minutes / f64::from(over)).exp();
                *load = rate + kept * (*load - rate);
            }
        }
    }
}

impl Shard {
    pub(super) fn publish_sys(&mut self, now: Instant, counters: &Counters) {
        for (name, text) in self.sys_topics(now, counters) {
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

    fn sys_topics(&self, now: Instant, counters: &Counters) -> Vec<(String, String)> {
        let shared = &self.shared;
        let uptime: Duration = now.saturating_duration_since(shared.started);
        let away = counters.sessions.saturating_sub(counters.connections);
        let dropped = dropped(counters);
        let own = |length: usize| length.to_string();
        let numbers = [
            ("clients/connected", counters.connections),
            ("clients/disconnected", away),
            ("clients/expired", counters.sessions_expired),
            ("clients/maximum", self.sys.maximum),
            ("clients/total", counters.sessions),
            ("subscriptions/count", counters.subscriptions),
            ("messages/received", counters.received),
            ("messages/sent", counters.sent),
            ("publish/messages/received", counters.received),
            ("publish/messages/sent", counters.sent),
            ("publish/messages/dropped", dropped),
            ("publish/bursts/count", counters.bursts),
            ("publish/bursts/messages", counters.burst_messages),
            ("publish/bytes/received", counters.payload_received),
            ("publish/bytes/sent", counters.payload_sent),
            ("bytes/received", counters.bytes_received),
            ("bytes/sent", counters.bytes_sent),
        ];
        let version = concat!("WitMQ ", env!("CARGO_PKG_VERSION"));
        let mut topics = vec![
            ("version".to_owned(), version.to_owned()),
            ("uptime".to_owned(), format!("{} seconds", uptime.as_secs())),
            (
                "retained messages/count".to_owned(),
                own(shared.retained.len()),
            ),
            (
                "retained messages/bytes".to_owned(),
                own(shared.retained.bytes()),
            ),
            (
                "delayed messages/count".to_owned(),
                own(shared.delayed.messages()),
            ),
            (
                "delayed messages/bytes".to_owned(),
                own(shared.delayed.bytes()),
            ),
        ];
        let number = |(name, value): (&str, u64)| (name.to_owned(), value.to_string());
        topics.extend(numbers.into_iter().map(number));
        for ((name, _), loads) in LOADS.iter().zip(&self.sys.loads) {
            for (load, minutes) in loads.iter().zip(MINUTES) {
                topics.push((format!("load/{name}/{minutes}min"), format!("{load:.2}")));
            }
        }
        topics
    }
}
