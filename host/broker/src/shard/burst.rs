//! The short way of what is published most: packets of one client to one topic that were read together go from the
//! read buffer to outboxes and other shards as the bytes they are, once for all of them; and their acknowledgements.
//!
//! Owns: when that is the same as the way of each message by itself (`inbound.rs`, `route.rs`): its topic is settled, no
//! shared group wants it, nothing of it is kept; what chains name goes through them first (`chained.rs`). Must not: decide
//! anything anew. What is unusual about a subscriber sends the messages one by one, in the same queue, so that their order is
//! that of the publisher either way.

use super::client::{Client, Subscription};
use super::counters::bytes;
use super::inbound::Answer;
use super::outbox::Front;
use super::route::{Hit, bit};
use super::subscribe::subscriber;
use super::{Action, ConnectionId, Mail, Shard};
use crate::limits::{Limits, Overflow};
use crate::ports::Position;
use crate::ports::raised::EventKind;
use crate::router::ShardId;
use crate::router::known::Place;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::burst::{self, Packets};
use witmq_proto::packet::QoS;
use witmq_proto::{Burst, Delivery, ReasonCode, TopicName};

impl Shard {
    /// Takes what begins `input` the short way; false (and nothing taken) if it goes the long one.
    #[inline]
    pub(super) fn receive_short(
        &mut self,
        now: Instant,
        id: ConnectionId,
        input: &mut BytesMut,
    ) -> bool {
        if burst::may_begin(input) {
            self.receive_burst(now, id, input)
        } else {
            self.receive_acknowledgements(now, id, input)
        }
    }

    /// Takes a run of acknowledgements: of a client of which nothing is kept, in whose place nobody is told which message
    /// it was.
    #[inline]
    fn receive_acknowledgements(
        &mut self,
        now: Instant,
        id: ConnectionId,
        input: &mut BytesMut,
    ) -> bool {
        if self.wants(EventKind::Acked) {
            return false;
        }
        let Some(connection) = (self.connections.get_mut(id.index())).filter(|c| c.id == id) else {
            return false;
        };
        if connection.owes > 0 {
            return false; // what is answered stays behind what is promised [MQTT-4.6.0-2]
        }
        let index = connection.client.and_then(|key| usize::try_from(key).ok());
        let client = index.and_then(|index| self.clients.get(index));
        let Some((key, client)) = connection.client.zip(client) else {
            return false;
        };
        if client.kept.is_some() || !client.received.is_empty() {
            return false; // the store is told
        }
        let has_presence = client.presence.is_some();
        let run = connection.endpoint.receive_acknowledgements(now, input);
        if run.delivered > 0 {
            if has_presence {
                self.note_presence(key);
            }
            if self.has_more(id) {
                self.wake(id);
            }
        }
        run.taken > 0
    }

    /// Takes a burst off `input` and hands it out; false (and nothing taken) if none begins there, or if its messages go
    /// the long way.
    #[inline]
    fn receive_burst(&mut self, now: Instant, id: ConnectionId, input: &mut BytesMut) -> bool {
        let Some(connection) = (self.connections.get_mut(id.index())).filter(|c| c.id == id) else {
            return false;
        };
        let key = connection.client;
        let index = key.and_then(|key| usize::try_from(key).ok());
        let Some(client) = index.and_then(|index| self.clients.get(index)) else {
            return false;
        };
        let topic = &client.identity.settled;
        if topic.is_empty() {
            return false;
        }
        let chains = &mut self.ports.chains;
        let Some(version) = chains.version() else {
            return false; // every message is looked at
        };
        let is_waited_for = client.identity.waited_at == Some(version);
        if is_waited_for || !connection.endpoint.begins_burst(topic, input) {
            return false;
        }
        let place = self.known.place(topic);
        let names = |topic: &str| chains.names(topic);
        let is_chained = self.known.named(place, version, names).is_some();
        let wanted = self.known.wanted(&self.shared.interest, place);
        if !wanted.groups.is_empty() {
            return false; // each message chooses a member
        }
        let shards = wanted.shards;
        let qos = burst::qos(input);
        let is_judged = wanted.durable != 0 || may_end(&self.limits, shards & bit(self.id));
        if qos > QoS::AtMostOnce && is_judged {
            return false; // each message is kept, or may end a connection
        }
        if is_chained && qos == QoS::ExactlyOnce {
            return false; // what is put back is known already
        }
        let Some(packets) = connection.endpoint.receive_burst(now, topic, input) else {
            return false;
        };
        let (topic, publisher) = (topic.clone(), client.id.clone());
        self.bursts += 1;
        let received_ms = self.unix_ms(now);
        let topic = TopicName::judged(topic);
        let burst = Burst::new(topic, publisher, received_ms, packets);
        if is_chained {
            if let Some(key) = key
                && self.run_burst(now, (id, key), &burst, input)
                && let Some(client) = self.client_mut(key)
            {
                client.identity.waited_at = Some(version); // message by message from now on, until the chains change
            }
            return true;
        }
        let packets = burst.packets();
        self.counters.burst_messages += bytes(packets.count());
        self.counters.received += bytes(packets.count());
        self.counters.payload_received += bytes(packets.payload_bytes());
        let (burst, before) = (Arc::new(burst), self.position);
        if shards != 0 {
            self.route_burst(now, &burst, place, shards);
        }
        self.conclude_burst(id, before, burst.packets(), shards != 0);
        true
    }

    /// The publisher is told what became of a burst, at once as a rule. `before`: the last record before it.
    #[inline]
    pub(super) fn conclude_burst(
        &mut self,
        id: ConnectionId,
        before: Position,
        packets: &Packets,
        is_wanted: bool,
    ) {
        if packets.qos() == QoS::AtMostOnce {
            return;
        }
        let reason = if is_wanted {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        };
        let is_recorded = self.position > before;
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if !is_recorded && connection.owes == 0 {
            return connection.endpoint.acknowledge_burst(packets, reason);
        }
        connection.endpoint.owe_burst(packets);
        let Some(key) = connection.client else { return };
        let before = (before, self.ports.store.kv_changes());
        for packet_id in packets.ids() {
            let (told, answer) = ((packet_id, packets.qos()), Answer::code(reason));
            self.conclude((id, key), told, before, answer);
        }
    }

    #[inline]
    pub(super) fn route_burst(
        &mut self,
        now: Instant,
        burst: &Arc<Burst>,
        place: Place,
        shards: u64,
    ) {
        let mut remote = shards & !bit(self.id);
        while remote != 0 {
            let to = ShardId(u16::try_from(remote.trailing_zeros()).unwrap_or(0));
            remote &= remote - 1;
            self.counters.mailed += bytes(burst.packets().count());
            let mail = Mail::Burst(burst.clone());
            self.actions.push_back(Action::Mail { to, mail });
        }
        if shards & bit(self.id) != 0 {
            self.deliver_burst_at(now, burst, place);
        }
    }

    /// Hands a burst of another shard to this shard's subscribers.
    pub(super) fn deliver_burst(&mut self, now: Instant, burst: &Arc<Burst>) {
        let place = self.known.place(&burst.topic);
        self.deliver_burst_at(now, burst, place);
    }

    #[inline]
    fn deliver_burst_at(&mut self, now: Instant, burst: &Arc<Burst>, place: Place) {
        if let Some((key, subscription)) = self.known.single(&self.trie, place) {
            let key = subscriber(key);
            let is_own = |client: &Client| client.id == burst.publisher;
            if subscription.options.no_local && self.client(key).is_some_and(is_own) {
                return; // [MQTT-3.8.3-3]
            }
            let granted = subscription.options.qos;
            return self.push_burst(now, key, burst, (granted, ids_of(&subscription)));
        }
        let mut hits = self.matched(place, &burst.publisher);
        for hit in hits.drain(..) {
            let Hit {
                client, qos, ids, ..
            } = hit;
            self.push_burst(now, client, burst, (qos, ids));
        }
        self.hits = hits;
    }

    /// Owes a burst to a client: as one if nothing is said of its messages, nothing kept, and all of them fit.
    #[inline]
    fn push_burst(
        &mut self,
        now: Instant,
        key: u32,
        burst: &Arc<Burst>,
        (granted, ids): (QoS, Vec<u32>),
    ) {
        let (messages, limit) = (self.limits.outbox_messages, self.limits.outbox_bytes);
        let qos = burst.packets().qos().min(granted); // [MQTT-3.8.4-8]
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let is_kept = qos > QoS::AtMostOnce && client.kept.is_some();
        let is_same = qos == burst.packets().qos() && ids.is_empty() && !is_kept;
        if client.connection.is_none() && !is_kept {
            self.counters.dropped_offline += bytes(burst.packets().count());
            return;
        }
        if let Some(id) = client.connection
            && is_same
            && client.outbox.has_room_for(burst, messages, limit)
        {
            let has_presence = client.presence.is_some();
            let first = client.next_number;
            if qos > QoS::AtMostOnce {
                client.next_number += bytes(burst.packets().count());
            }
            client.outbox.push_burst(burst.clone(), first);
            if has_presence {
                self.note_presence(key);
            }
            return self.wake(id);
        }
        for message in burst.messages() {
            let delivery = Delivery {
                qos,
                subscription_ids: ids.clone().into_boxed_slice(), // [MQTT-3.3.4-2]
                ..plain(message)
            };
            self.push(now, key, delivery);
        }
    }
}

/// From outboxes to connections.
impl Shard {
    /// Takes the burst that is first, if it is written to this client as it is, with the number of its first message.
    #[inline]
    pub(super) fn take_burst(
        &mut self,
        (id, key): (ConnectionId, u32),
        oldest: u64,
    ) -> Option<(Arc<Burst>, u64)> {
        let is_told = self.wants(EventKind::Delivered);
        let connection = (self.connections.get(id.index())).filter(|c| c.id == id)?;
        let client = self.clients.get_mut(usize::try_from(key).ok()?)?;
        let Some(Front::Burst(burst, first)) = client.outbox.front() else {
            return None;
        };
        let is_same = connection.endpoint.takes_burst(burst, first);
        if is_told || burst.received_ms < oldest || !is_same {
            return None;
        }
        let burst = client.outbox.pop_burst()?;
        let packets = burst.packets();
        self.counters.sent += bytes(packets.count());
        self.counters.payload_sent += bytes(packets.payload_bytes());
        Some((burst, first))
    }

    /// Writes a burst that was taken.
    #[inline]
    pub(super) fn write_burst(
        &mut self,
        id: ConnectionId,
        burst: &Arc<Burst>,
        first: u64,
        out: &mut BytesMut,
    ) {
        if let Some(connection) = self.connection_mut(id) {
            connection.endpoint.deliver_burst(burst, first, out);
        }
    }

    /// The burst that is first becomes its messages: something is to be said or done about each.
    pub(super) fn unfold(&mut self, key: u32) {
        if let Some(client) = self.client_mut(key) {
            client.outbox.unfold();
        }
    }
}

/// For tests that compare both ways.
#[cfg(any(test, feature = "testing"))]
impl Shard {
    /// Bursts that were taken as one so far.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn bursts(&self) -> u64 {
        self.bursts
    }

    /// From now on every message goes by itself.
    #[cfg(any(test, feature = "testing"))]
    pub fn leave_short_way(&mut self) {
        self.is_short_way = false;
    }
}

fn ids_of(subscription: &Subscription) -> Vec<u32> {
    subscription.id.into_iter().collect()
}

/// Whether a message above QoS 0 may end the connection of a receiver on this shard, `own` if it is wanted here. It has no part in the next
/// message then, and may be the publisher itself.
pub(super) fn may_end(limits: &Limits, own: u64) -> bool {
    limits.overflow == Overflow::Disconnect && own != 0
}

/// What is owed of a message of a burst where nothing is said of it.
pub(super) fn plain(message: witmq_proto::Message) -> Delivery {
    Delivery {
        qos: message.qos,
        message: Arc::new(message),
        retain: false,
        subscription_ids: Box::default(),
        group: None,
        number: 0,
        kept: None,
    }
}
