//! What clients send: the first half of the way of a PUBLISH, and the dispatch of other packets.

use super::authorize::{Permission, Question};
use super::counters::bytes;
use super::promise::Promise;
use super::topics::Place;
use super::{ConnectionId, Flow, Shard};
use crate::ports::store::Health;
use crate::ports::{AuthorizeAction, BrokerEvent, ChainOutcome, ChainRun, Position, Record};
use bytes::BytesMut;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::burst;
use witmq_proto::codec::topics;
use witmq_proto::endpoint::Event;
use witmq_proto::packet::{Disconnect, PacketId, Publish, QoS};
use witmq_proto::{LogPlace, Message, ProtocolError, ReasonCode, TopicName};

/// Longer topics are settled for every message: an idle client stays small.
const SETTLED_BYTES: usize = 256;

/// What the publisher is told.
pub(super) struct Answer {
    /// `None`: nothing at all, the client sends again.
    pub(super) reason: Option<ReasonCode>,
    pub(super) text: Option<String>,
}

/// On whose behalf a message is taken in.
#[derive(Clone, Copy, Default)]
pub(super) struct Origin {
    /// The publisher, while it has a session.
    pub(super) client: Option<u32>,
    /// Whom the answer goes to; `None`: nobody is told any more.
    pub(super) connection: Option<ConnectionId>,
    /// Identifier of the PUBLISH.
    pub(super) packet_id: Option<PacketId>,
}

impl Answer {
    pub(super) fn code(reason: ReasonCode) -> Self {
        Self {
            reason: Some(reason),
            text: None,
        }
    }
}

/// Whether this may be more than one PUBLISH: a single one is looked up at once anyway.
fn publishes_follow(input: &[u8]) -> bool {
    topics(input).nth(1).is_some()
}

impl Shard {
    /// Takes whole packets off `input` and does what they ask.
    pub fn receive(&mut self, now: Instant, id: ConnectionId, input: &mut BytesMut) -> Flow {
        self.look_at_wanted();
        if self.known.is_far() && publishes_follow(input) {
            self.known.look_ahead(topics(input));
        }
        let before = input.len();
        let flow = self.receive_packets(now, id, input);
        self.counters.bytes_received += bytes(before.saturating_sub(input.len()));
        flow
    }

    fn receive_packets(&mut self, now: Instant, id: ConnectionId, input: &mut BytesMut) -> Flow {
        loop {
            let (is_congested, is_short_way) = (self.is_congested(), self.is_short_way);
            let Some(connection) = self.connection_mut(id) else {
                return Flow::Close;
            };
            if connection.closing {
                return Flow::Close;
            }
            if connection.asking && connection.client.is_none() {
                return Flow::Pause;
            }
            if connection.is_held() {
                break; // what it sends next stays behind [MQTT-4.6.0-5]
            }
            if is_congested {
                if !std::mem::replace(&mut connection.stalled, true) {
                    self.counters.paused += 1;
                    self.stalled.push(id);
                }
                break;
            }
            let may_be_short = burst::may_begin(input) || burst::may_acknowledge(input);
            let connection = if is_short_way && may_be_short {
                if self.receive_short(now, id, input) {
                    continue;
                }
                let Some(connection) = self.connection_mut(id) else {
                    return Flow::Close;
                };
                connection
            } else {
                connection
            };
            match connection.endpoint.receive(now, input) {
                Ok(None) => break,
                Ok(Some(event)) => self.handle_event(now, id, event),
                Err(error) => {
                    self.protocol_error(now, id, &error);
                    return Flow::Close;
                }
            }
        }
        if self
            .connection(id)
            .is_some_and(|connection| connection.endpoint.has_pending())
        {
            self.wake(id);
        }
        if self.is_congested() || self.is_held(id) {
            Flow::Pause
        } else {
            Flow::Continue
        }
    }

    #[inline]
    fn handle_event(&mut self, now: Instant, id: ConnectionId, event: Event) {
        match event {
            Event::Publish(publish) => self.handle_publish(now, id, publish),
            Event::Delivered {
                number,
                kept,
                message,
                qos,
                reason,
                ..
            } => {
                if let Some(key) = self.connection(id).and_then(|connection| connection.client) {
                    self.acked(key, message, qos, reason);
                    self.done(key, number, kept);
                    self.note_presence(key);
                    self.want_page(now, key);
                }
                if self.has_more(id) {
                    self.wake(id);
                }
            }
            Event::Released {
                packet_id,
                number,
                kept,
                message,
            } => {
                if let Some(key) = self.connection(id).and_then(|connection| connection.client) {
                    self.acked(key, message, QoS::ExactlyOnce, ReasonCode::Success);
                }
                self.handle_released(id, packet_id, number, kept);
            }
            Event::Forgotten { packet_id } => self.handle_forgotten(id, packet_id),
            Event::Subscribe(subscribe) => self.handle_subscribe(now, id, subscribe),
            Event::Unsubscribe(unsubscribe) => self.handle_unsubscribe(now, id, unsubscribe),
            Event::Auth(auth) => self.handle_auth(id, *auth),
            Event::Disconnect(disconnect) => self.handle_disconnect(now, id, &disconnect),
        }
    }

    /// Answers a broken rule with its reason code and ends the connection [MQTT-4.13.1-1].
    pub(super) fn protocol_error(&mut self, now: Instant, id: ConnectionId, error: &ProtocolError) {
        match error {
            ProtocolError::KeepAlive { .. } => self.counters.keep_alive_timeouts += 1,
            _ => self.counters.protocol_errors += 1,
        }
        self.end_connection(now, id, error.reason(), &error.to_string());
    }

    #[inline]
    fn handle_publish(&mut self, now: Instant, id: ConnectionId, publish: Publish) {
        self.counters.received += 1;
        self.counters.payload_received += bytes(publish.payload.len());
        let Some(key) = self.connection(id).and_then(|connection| connection.client) else {
            return;
        };
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        let Some(packet_id) = packet_id else {
            self.take_publish(now, id, key, publish);
            return; // nobody is told
        };
        let before = self.position;
        let kv_before = self.ports.store.kv_changes();
        // Without an answer a step of a chain waits.
        if let Some(answer) = self.take_publish(now, id, key, publish) {
            self.conclude((id, key), (packet_id, qos), (before, kv_before), answer);
        }
    }

    /// The publisher is told what became of its message. `before`: the last record and the changes of keys before it.
    pub(super) fn conclude(
        &mut self,
        (id, key): (ConnectionId, u32),
        (packet_id, qos): (PacketId, QoS),
        (before, kv_before): (Position, u64),
        answer: Answer,
    ) {
        if self.ports.store.kv_changes() != kv_before {
            self.append(Record::PluginKv);
        }
        self.note_excess(id, key);
        let Some(reason) = answer.reason else {
            if let Some(connection) = self.connection_mut(id) {
                connection.endpoint.withhold(packet_id, qos);
            }
            return;
        };
        // With the message itself, so that it is not taken twice after a restart. What nobody keeps need
        // not be known afterwards.
        if qos == QoS::ExactlyOnce && !reason.is_failure() && self.position > before {
            self.record_received(key, packet_id);
        }
        let promise = Promise::Taken {
            packet_id,
            qos,
            reason,
            text: answer.text,
        };
        self.promise(id, before, promise);
    }

    /// A client beyond the receive maximum is let, if so configured, and named once a connection.
    fn note_excess(&mut self, id: ConnectionId, key: u32) {
        let connection = self.connection_mut(id);
        if !connection.is_some_and(|connection| connection.endpoint.has_just_exceeded()) {
            return;
        }
        self.counters.receive_maximum_exceeded += 1;
        if let Some(client) = self.client(key) {
            let client_id = client.id.clone();
            self.ports.events.emit(BrokerEvent::Tolerated {
                client_id,
                rule: "more publishes outstanding than the receive maximum [MQTT-3.3.4-9]",
            });
        }
    }

    fn record_received(&mut self, key: u32, packet_id: PacketId) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let Some(session) = client.kept else { return };
        client.received.insert(packet_id);
        self.append(Record::Received { session, packet_id });
    }

    /// PUBREC: PUBREL goes out once it is durable that the message need not be sent again.
    fn handle_released(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        number: u64,
        kept: Option<LogPlace>,
    ) {
        let before = self.position;
        let key = self.connection(id).and_then(|connection| connection.client);
        let session = key
            .and_then(|key| self.client(key))
            .and_then(|client| client.kept);
        if let (Some(session), Some(_)) = (session, kept) {
            self.append(Record::Released {
                session,
                number,
                kept,
            });
        }
        self.promise(id, before, Promise::Released(packet_id));
    }

    /// PUBREL: PUBCOMP goes out once it is durable that the identifier is free.
    fn handle_forgotten(&mut self, id: ConnectionId, packet_id: PacketId) {
        let before = self.position;
        let key = self.connection(id).and_then(|connection| connection.client);
        if let Some(client) = key.and_then(|key| self.client_mut(key))
            && client.received.remove(&packet_id)
            && let Some(session) = client.kept
        {
            self.append(Record::Forgotten { session, packet_id });
        }
        self.promise(id, before, Promise::Forgotten(packet_id));
    }

    #[inline]
    fn take_publish(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: u32,
        mut publish: Publish,
    ) -> Option<Answer> {
        let packet_id = publish.packet_id;
        let place = match self.settle(now, key, &mut publish) {
            Ok(place) => place,
            Err(answer) => return Some(answer),
        };
        let abilities = self.limits.settings.abilities;
        if !abilities.fits_format(&publish.properties, &publish.payload) {
            self.counters.format_refused += 1;
            return Some(Answer {
                reason: Some(ReasonCode::PayloadFormatInvalid),
                text: Some(ProtocolError::PayloadFormat.to_string()),
            });
        }
        let received_ms = self.unix_ms(now);
        let Some(client) = self.client(key) else {
            return Some(Answer::code(ReasonCode::UnspecifiedError));
        };
        let publisher = client.id.clone();
        let message = Message::from_publish(publish, place.topic, publisher, now, received_ms);
        let message = Arc::new(message);
        if place.delay_s > 0 {
            return Some(self.delay(now, place.delay_s, message));
        }
        let origin = Origin {
            client: Some(key),
            connection: Some(id),
            packet_id,
        };
        self.ingest(now, origin, message)
    }

    /// Where a PUBLISH goes, if it may; its topic is taken out of it.
    #[inline]
    fn settle(&mut self, now: Instant, key: u32, publish: &mut Publish) -> Result<Place, Answer> {
        let topic = std::mem::take(&mut publish.topic);
        let client = self.client(key);
        if client.is_some_and(|client| client.identity.settled == topic) {
            let topic = TopicName::judged(topic);
            return Ok(Place { delay_s: 0, topic });
        }
        let place = self.place(key, &topic).map_err(|text| {
            self.counters.topics_invalid += 1;
            Answer {
                reason: Some(ReasonCode::TopicNameInvalid),
                text: Some(text),
            }
        })?;
        let question = Question {
            action: AuthorizeAction::Publish,
            topic: place.topic.as_byte_string(),
            qos: publish.qos,
            retain: publish.retain,
        };
        match self.may_publish(now, key, &question) {
            Permission::Always => self.remember_settled(key, &topic, &place),
            Permission::Now => {}
            Permission::Denied => {
                self.denied(key, "publish", place.topic.as_byte_string());
                // MQTT 5 is told [MQTT-3.3.5-2]; before it the message is acknowledged and dropped.
                return Err(Answer::code(ReasonCode::NotAuthorized));
            }
        }
        Ok(place)
    }

    /// The next message of this client to the same topic need not be asked about.
    fn remember_settled(&mut self, key: u32, topic: &ByteString, place: &Place) {
        let is_plain = place.delay_s == 0 && place.topic.as_byte_string() == topic;
        if !is_plain || topic.len() > SETTLED_BYTES {
            return;
        }
        if let Some(client) = self.client_mut(key) {
            client.identity.settled = ByteString::from(&**topic);
            client.identity.waited_at = None;
        }
    }

    /// Retain, route: from what chains made of a message to what its publisher is told. `kv_before`: changes of keys
    /// before the chains.
    pub(super) fn dispose(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        (is_told, kv_before): (bool, u64),
        run: ChainRun,
    ) -> Answer {
        if is_told && message.qos > QoS::AtMostOnce && self.is_kv_unstored(kv_before) {
            return Answer::code(ReasonCode::QuotaExceeded);
        }
        let has_emissions = !run.emissions.is_empty();
        let answer = match run.outcome {
            ChainOutcome::Untouched => self.take(now, message, is_told),
            ChainOutcome::Replaced(replaced) => self.take(now, &replaced, is_told),
            ChainOutcome::Split(parts) => {
                let mut worst = ReasonCode::Success;
                for part in &parts {
                    worst = worst.max(self.take(now, part, is_told));
                }
                if worst.is_failure() {
                    worst
                } else {
                    ReasonCode::Success
                }
            }
            ChainOutcome::Refused { reason, text } => {
                self.counters.chained_away += 1;
                return Answer {
                    reason: Some(reason),
                    text,
                };
            }
            ChainOutcome::Consumed => {
                self.counters.chained_away += 1;
                ReasonCode::Success
            }
            ChainOutcome::Withheld => {
                self.counters.chained_away += 1;
                return Answer {
                    reason: None,
                    text: None,
                };
            }
        };
        for emission in &run.emissions {
            self.take(now, emission, is_told);
        }
        let consumed = has_emissions && answer == ReasonCode::NoMatchingSubscribers;
        Answer::code(if consumed {
            ReasonCode::Success
        } else {
            answer
        })
    }

    /// Retains and routes one message. What cannot be retained is refused if its publisher is told, else
    /// delivered all the same.
    #[inline]
    pub(super) fn take(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        is_told: bool,
    ) -> ReasonCode {
        if message.hops > self.limits.hops {
            self.counters.dropped_loop += 1;
            let client_id = message.publisher.clone();
            self.ports.events.emit(BrokerEvent::Dropped {
                client_id,
                cause: "loop",
            });
            return ReasonCode::Success;
        }
        if self.must_refuse(message) || self.retain(message).is_err() && is_told {
            return ReasonCode::QuotaExceeded;
        }
        if self.route(now, message) {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        }
    }

    /// Whether the message would have to be kept and the store cannot: its publisher keeps it instead.
    #[inline]
    fn must_refuse(&mut self, message: &Message) -> bool {
        if message.qos == QoS::AtMostOnce || self.ports.store.health() != Health::Refusing {
            return false;
        }
        let is_kept = message.retain || self.is_kept(message);
        self.counters.refused_unstored += u64::from(is_kept);
        is_kept
    }

    /// Whether plugins changed keys since and the store cannot keep that: the publisher sends again.
    fn is_kv_unstored(&mut self, before: u64) -> bool {
        let store = &self.ports.store;
        let is_unstored = store.kv_changes() != before && store.health() == Health::Refusing;
        self.counters.refused_unstored += u64::from(is_unstored);
        is_unstored
    }

    fn handle_disconnect(&mut self, now: Instant, id: ConnectionId, disconnect: &Disconnect) {
        let Some(key) = self.connection(id).and_then(|connection| connection.client) else {
            return;
        };
        let longest = self.limits.session_expiry;
        if let Some(client) = self.client_mut(key) {
            if let Some(expiry) = disconnect.session_expiry {
                client.expiry = expiry.min(longest);
            }
            if disconnect.reason == ReasonCode::Success {
                self.forget_will(key); // [MQTT-3.1.2-10]
            }
        }
        self.detach(now, id, disconnect.reason, "disconnected by the client");
        if let Some(connection) = self.connection_mut(id) {
            connection.closing = true; // [MQTT-3.14.4-3]
        }
    }

    /// Appends a record and remembers its place.
    pub(super) fn append(&mut self, record: Record<'_>) -> Position {
        self.position = self.ports.store.append(record);
        self.position
    }
}
