//! What may outlive a Network Connection: packet identifiers and messages in flight, both ways.
//!
//! Owns: [`Session`], moved from one [`crate::endpoint::Endpoint`] to the next, never shared.
//! Must not: encode, know quotas of a connection, or know subscriptions (those are the broker's).
//!
//! Outbound packet identifiers are a window over a counter: entry `n` of the counter has the
//! identifier `n % 65535 + 1`. As long as the window is shorter than 65,535 no identifier can be in
//! use twice [MQTT-2.2.1-3], and finding the entry of an acknowledgement is a binary search.

use crate::Delivery;
use crate::packet::{PacketId, QoS};
use std::collections::{BTreeSet, VecDeque};

/// Identifiers there are: 1 to 65,535.
const PACKET_IDS: u64 = 65_535;

/// One QoS 1 or 2 message on its way to the client.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) number: u64,
    pub(crate) stage: Stage,
}

/// How far an outbound message is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Published(Delivery),
    /// PUBREC came, PUBREL sent; PUBCOMP awaited. The message itself is no longer needed.
    Released,
}

impl Outbound {
    pub(crate) fn packet_id(&self) -> PacketId {
        packet_id(self.number)
    }
}

/// The identifier of entry `number`.
fn packet_id(number: u64) -> PacketId {
    let raw = u16::try_from(number % PACKET_IDS + 1).unwrap_or(1);
    PacketId::new(raw).unwrap_or(PacketId::MIN)
}

/// State of a session that belongs to the protocol itself (section 4.1).
#[derive(Debug, Default)]
pub struct Session {
    /// Sorted by `number`.
    outbound: VecDeque<Outbound>,
    next: u64,
    /// QoS 2 identifiers received and not yet released [MQTT-4.3.3-10].
    received: BTreeSet<PacketId>,
}

impl Session {
    /// A session without a past.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Outbound QoS 1 and 2 exchanges not yet complete.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.outbound.len()
    }

    /// Inbound QoS 2 exchanges not yet complete.
    #[must_use]
    pub fn received(&self) -> usize {
        self.received.len()
    }

    /// Outbound messages the client has not taken over yet, in the order they were sent.
    pub fn deliveries(&self) -> impl Iterator<Item = (PacketId, &Delivery)> {
        self.outbound.iter().filter_map(|entry| match &entry.stage {
            Stage::Published(delivery) => Some((entry.packet_id(), delivery)),
            Stage::Released => None,
        })
    }

    /// The same, owned: for another member of a shared group when this session ends.
    pub fn into_deliveries(self) -> impl Iterator<Item = Delivery> {
        self.outbound
            .into_iter()
            .filter_map(|entry| match entry.stage {
                Stage::Published(delivery) => Some(delivery),
                Stage::Released => None,
            })
    }

    /// Takes the next identifier for `delivery`; `None` while the window is full.
    pub(crate) fn send(&mut self, delivery: Delivery) -> Option<PacketId> {
        if !self.has_packet_id() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.outbound.push_back(Outbound {
            number,
            stage: Stage::Published(delivery),
        });
        Some(packet_id(number))
    }

    /// The identifier `send` would take.
    pub(crate) fn peek_packet_id(&self) -> PacketId {
        packet_id(self.next)
    }

    /// Whether an identifier is free.
    pub(crate) fn has_packet_id(&self) -> bool {
        self.outbound
            .front()
            .is_none_or(|oldest| self.next - oldest.number < PACKET_IDS)
    }

    /// Position of the exchange with this identifier.
    pub(crate) fn find(&self, id: PacketId) -> Option<usize> {
        let oldest = self.outbound.front()?.number;
        let wanted = u64::from(id.get()) - 1;
        let number = oldest + (wanted + PACKET_IDS - oldest % PACKET_IDS) % PACKET_IDS;
        self.outbound
            .binary_search_by_key(&number, |entry| entry.number)
            .ok()
    }

    /// The exchange at a position.
    pub(crate) fn outbound(&self, index: usize) -> Option<&Outbound> {
        self.outbound.get(index)
    }

    /// The QoS of the exchange at a position; `None` once it is released.
    pub(crate) fn published_qos(&self, index: usize) -> Option<QoS> {
        match &self.outbound.get(index)?.stage {
            Stage::Published(delivery) => Some(delivery.qos),
            Stage::Released => None,
        }
    }

    /// PUBREC came: the message is the client's now.
    pub(crate) fn release(&mut self, index: usize) {
        if let Some(entry) = self.outbound.get_mut(index) {
            entry.stage = Stage::Released;
        }
    }

    /// The exchange is over; its identifier may be used again.
    pub(crate) fn complete(&mut self, index: usize) {
        let removed = self.outbound.remove(index);
        debug_assert!(
            removed.is_some(),
            "completed an exchange that does not exist"
        );
    }

    /// Notes an inbound QoS 2 identifier; false if it is known already.
    pub(crate) fn receive(&mut self, id: PacketId) -> bool {
        self.received.insert(id)
    }

    /// PUBREL came, or the exchange failed: forgets the identifier; false if it was unknown.
    pub(crate) fn forget_received(&mut self, id: PacketId) -> bool {
        self.received.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{Message, TopicName};
    use std::sync::Arc;

    fn delivery(qos: QoS) -> Delivery {
        let message = Message {
            topic: TopicName::new("t").unwrap(),
            payload: crate::Bytes::new(),
            qos,
            retain: false,
            properties: crate::packet::PublishProperties::default(),
            expires_at: None,
            publisher: crate::ByteString::new(),
            received_ms: 0,
            hops: 0,
        };
        Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            subscription_ids: Box::default(),
            group: None,
        }
    }

    #[test]
    fn identifiers_count_up_wrap_and_skip_nothing_in_use() {
        let mut session = Session::new();
        for expected in (1..=65_535_u16).chain(1..=3) {
            let id = session.send(delivery(QoS::AtLeastOnce)).unwrap();
            assert_eq!(id.get(), expected);
            session.complete(session.find(id).unwrap());
        }
    }

    #[test]
    fn a_window_of_all_identifiers_is_full_until_the_oldest_is_done() {
        let mut session = Session::new();
        let oldest = session.send(delivery(QoS::AtLeastOnce)).unwrap();
        for _ in 1..65_535 {
            let id = session.send(delivery(QoS::AtLeastOnce)).unwrap();
            session.complete(session.find(id).unwrap());
        }
        assert!(
            !session.has_packet_id(),
            "the 65,536th would reuse the oldest [MQTT-2.2.1-3]"
        );
        assert!(session.send(delivery(QoS::AtLeastOnce)).is_none());
        session.complete(session.find(oldest).unwrap());
        assert_eq!(session.send(delivery(QoS::AtLeastOnce)), Some(oldest));
    }

    #[test]
    fn acknowledgements_out_of_order_find_their_exchange() {
        let mut session = Session::new();
        let ids: Vec<_> = (0..10)
            .map(|_| session.send(delivery(QoS::ExactlyOnce)).unwrap())
            .collect();
        for id in [ids[7], ids[0], ids[9], ids[3]] {
            let at = session.find(id).unwrap();
            assert_eq!(session.outbound(at).unwrap().packet_id(), id);
            session.complete(at);
            assert_eq!(session.find(id), None);
        }
        assert_eq!(session.inflight(), 6);
        assert_eq!(session.into_deliveries().count(), 6);
    }

    #[test]
    fn released_messages_are_not_deliveries() {
        let mut session = Session::new();
        let id = session.send(delivery(QoS::ExactlyOnce)).unwrap();
        session.release(session.find(id).unwrap());
        assert_eq!((session.inflight(), session.deliveries().count()), (1, 0));
    }
}
