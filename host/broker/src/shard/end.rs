//! The end of connections and of sessions: wills, expiry, what goes to other members of a group.

use super::authorize::{Permission, Question};
use super::client::Sent;
use super::inbound::Origin;
use super::queue::{Ended, Rest};
use super::topics::placed_before;
use super::{Action, CloseCause, ConnectionId, Shard, Timer};
use crate::ports::raised::{Detail, EventKind};
use crate::ports::{AuthorizeAction, BrokerEvent, Record};
use bytestring::ByteString;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_proto::packet::{QoS, Will};
use witmq_proto::session::{Exchange, Session};
use witmq_proto::{Message, ReasonCode, TopicName};

/// How soon after a packet that waited the keep-alive is looked at again.
const PARKED: Duration = Duration::from_secs(1);

impl Shard {
    /// Disconnects a client with a reason; false if it is not connected.
    pub fn disconnect_client(&mut self, now: Instant, client_id: &str, reason: ReasonCode) -> bool {
        let Some(key) = self.key_of(client_id) else {
            return false;
        };
        let Some(id) = self.client(key).and_then(|client| client.connection) else {
            return false;
        };
        self.end_connection(now, id, reason, "disconnected by the operator");
        true
    }

    /// Disconnects everybody: the node shuts down (0x8B).
    pub fn shut_down(&mut self, now: Instant) {
        let ids: Vec<_> = self
            .connections
            .iter()
            .map(|connection| connection.id)
            .collect();
        for id in ids {
            self.end_connection(
                now,
                id,
                ReasonCode::ServerShuttingDown,
                "the broker shuts down",
            );
        }
    }

    /// The network connection is gone. Calling it twice does nothing.
    pub fn closed(&mut self, now: Instant, id: ConnectionId, cause: &CloseCause) {
        let text = match cause {
            CloseCause::Peer => "the client closed the connection without DISCONNECT",
            CloseCause::Failed(text) => text,
            CloseCause::Shutdown => "the broker shuts down",
        };
        self.detach(now, id, ReasonCode::UnspecifiedError, text);
        if self.connection(id).is_some() {
            drop(self.connections.remove(id.index()));
        }
    }

    /// Ends a connection from this side: DISCONNECT with a reason (MQTT 5), then close.
    pub(super) fn end_connection(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: ReasonCode,
        text: &str,
    ) {
        self.end_connection_to(now, id, reason, text, None);
    }

    /// Ends a connection, and says where to go instead: to `server`, or where the node sends its clients.
    pub(super) fn end_connection_to(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: ReasonCode,
        text: &str,
        server: Option<ByteString>,
    ) {
        let server = server.or_else(|| self.referral(reason));
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if connection.closing {
            return;
        }
        (connection.endpoint).disconnect(reason, Some(text), server.as_deref());
        connection.closing = true;
        connection.pending = None;
        self.detach(now, id, reason, text);
        self.actions.push_back(Action::Close(id));
    }

    /// Parts a connection from its client: the session comes back, the will and the expiry begin.
    pub(super) fn detach(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: ReasonCode,
        text: &str,
    ) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let Some(key) = connection.client.take() else {
            return;
        };
        let mut session = connection.endpoint.take_session();
        let owes = std::mem::take(&mut connection.owes);
        let parked = connection.parked.take();
        connection.changing = None;
        self.unpark(parked, &mut session);
        let (session, promised) = self.drop_promises(id, owes, session);
        self.absences += 1;
        let absence = self.absences;
        self.counters.connections -= 1;
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.session = session.map(Box::new);
        client.promised = client.promised.max(promised);
        client.connection = None;
        client.absence = absence;
        let expiry = client.expiry;
        client
            .feeds
            .retain(|feed| feed.subscription.options.qos > QoS::AtMostOnce);
        let delay = client.will.as_ref().map(|will| will.delay);
        let client_id = client.id.clone();
        self.ports.events.emit(BrokerEvent::Disconnected {
            client_id,
            reason,
            text: text.to_owned(),
        });
        self.raise(EventKind::Disconnected, key, || Detail::End {
            reason,
            text: text.to_owned(),
        });
        self.note_presence(key);
        if expiry == 0 {
            return self.end_session(now, key); // [MQTT-3.1.2-8]: the will goes with it
        }
        self.leave_to_store(key);
        self.note_presence(key);
        self.record_session(now, key);
        match delay {
            None => {}
            Some(0) => self.publish_will(now, key),
            Some(seconds) => {
                // The will waits for its delay or for the end of the session, whichever is first
                // [MQTT-3.1.3-9]; the end of the session publishes it too.
                let at = now + Duration::from_secs(u64::from(seconds));
                self.record_will(key, Some(self.clock.unix_ms(at)));
                self.timers.set(
                    at,
                    Timer::Will {
                        client: key,
                        absence,
                    },
                );
            }
        }
        if expiry < u32::MAX {
            let at = now + Duration::from_secs(u64::from(expiry));
            self.timers.set(
                at,
                Timer::SessionEnd {
                    client: key,
                    absence,
                },
            );
        }
    }

    fn is_absent(&self, key: u32, absence: u64) -> bool {
        self.client(key)
            .is_some_and(|client| client.connection.is_none() && client.absence == absence)
    }

    pub(super) fn will_due(&mut self, now: Instant, key: u32, absence: u64) {
        if self.is_absent(key, absence) {
            self.publish_will(now, key);
        }
    }

    pub(super) fn session_due(&mut self, now: Instant, key: u32, absence: u64) {
        if self.is_absent(key, absence) {
            let is_kept = self.client(key).is_some_and(|client| client.kept.is_some());
            self.counters.sessions_expired += u64::from(is_kept);
            self.raise(EventKind::SessionExpired, key, || Detail::Nothing);
            self.end_session(now, key);
        }
    }

    pub(super) fn publish_will(&mut self, now: Instant, key: u32) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let Some(will) = client.will.take() else {
            return;
        }; // published once [MQTT-3.1.2-10]
        let publisher = client.id.clone();
        let is_allowed = std::mem::take(&mut client.is_will_allowed);
        self.forget_will(key);
        let place = placed_before(&will.topic);
        let question = Question {
            action: AuthorizeAction::Will,
            topic: place.topic.as_byte_string(),
            qos: will.qos,
            retain: will.retain,
        };
        if !is_allowed && self.may_publish(now, key, &question) == Permission::Denied {
            return self.denied(key, "publish", place.topic.as_byte_string());
        }
        self.counters.wills += 1;
        let received_ms = self.clock.unix_ms(now);
        let message = Arc::new(will_message(
            *will,
            place.topic,
            publisher,
            now,
            received_ms,
        ));
        if place.delay_s > 0 {
            self.delay(now, place.delay_s, message);
            return;
        }
        let origin = Origin {
            client: Some(key),
            connection: None,
            packet_id: None,
        };
        self.ingest(now, origin, message);
    }

    /// Ends a session for good: will, subscriptions, and what it owed through shared groups.
    pub(super) fn end_session(&mut self, now: Instant, key: u32) {
        self.publish_will(now, key);
        let Some(client) = self.client_mut(key) else {
            return;
        };
        debug_assert!(client.connection.is_none(), "a session in use was ended");
        if let Some(presence) = &client.presence {
            presence.end();
        }
        let index = usize::try_from(key).ok();
        let Some(mut client) = index.and_then(|index| self.clients.vacate(index)) else {
            return;
        };
        self.leave_behind(now, key, &mut client);
        self.names.remove(&client.id, key);
        if let Some(session) = client.kept {
            self.kept.remove(&session);
        }
        let inflight = client.session.as_deref_mut();
        let inflight = inflight.into_iter().flat_map(Session::take_inflight);
        let inflight = inflight.filter_map(|(_, exchange)| match exchange {
            // Begun with this client, a QoS 2 message goes to no other [MQTT-4.8.2-5].
            Exchange::Published(delivery) if delivery.qos < QoS::ExactlyOnce => Some(delivery),
            Exchange::Published(_) | Exchange::Released(_) => None,
        });
        let mut deliveries: Vec<_> = inflight.collect();
        deliveries.extend(client.outbox.drain());
        let below = client.session.as_deref().map_or(0, Session::next_number);
        let ended = Ended {
            rest: Rest {
                client_id: client.id.clone(),
                sent: Sent {
                    below,
                    ..client.sent
                },
                asked: 0,
            },
            kept: client.kept,
            has_group_deliveries: client.has_group_deliveries,
            outbox: client.outbox,
            deliveries,
        };
        self.redistribute_queue(now, ended);
        self.ports.events.emit(BrokerEvent::SessionEnded {
            client_id: client.id,
        });
    }

    /// Records the will of a client, if it may be published: after a restart nobody can be asked.
    pub(super) fn record_will(&mut self, key: u32, due: Option<u64>) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let Some(will) = client.will.clone() else {
            return;
        };
        client.is_will_kept = true;
        let client_id = client.id.clone();
        self.append(Record::Will {
            client_id: &client_id,
            will: Some((&will, due)),
        });
    }

    /// The will of a client is not to be published, or was.
    pub(super) fn forget_will(&mut self, key: u32) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.will = None;
        if std::mem::take(&mut client.is_will_kept) {
            let client_id = client.id.clone();
            self.append(Record::Will {
                client_id: &client_id,
                will: None,
            });
        }
    }

    pub(super) fn check_keep_alive(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if connection.is_held() {
            // Nothing is read from it: it may well have sent something.
            return self.timers.set(now + PARKED, Timer::KeepAlive(id));
        }
        match connection.endpoint.handle_timeout(now) {
            Ok(()) => {
                if let Some(at) = connection.endpoint.poll_timeout() {
                    self.timers.set(at, Timer::KeepAlive(id));
                }
            }
            Err(error) => self.protocol_error(now, id, &error),
        }
    }

    pub(super) fn grant_ended(&mut self, now: Instant, id: ConnectionId) {
        let ends = self
            .connection(id)
            .and_then(|connection| connection.grant_ends);
        if ends.is_some_and(|at| at <= now) {
            self.end_connection(
                now,
                id,
                ReasonCode::MaximumConnectTime,
                "the grant of this client ended",
            );
        }
    }
}

fn will_message(
    will: Will,
    topic: TopicName,
    publisher: ByteString,
    now: Instant,
    received_ms: u64,
) -> Message {
    let expires_at = will
        .properties
        .message_expiry
        .and_then(|seconds| now.checked_add(Duration::from_secs(u64::from(seconds))));
    Message {
        topic,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        properties: will.properties,
        expires_at,
        publisher,
        received_ms,
        hops: 0,
    }
}
