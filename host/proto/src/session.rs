//! What may outlive a Network Connection: packet identifiers and messages in flight, both ways.
//!
//! Owns: [`Session`], moved from one [`crate::endpoint::Endpoint`] to the next, never shared.
//! Must not: encode, know quotas of a connection, or know subscriptions (those are the broker's).
//!
//! Outbound packet identifiers are a window over a counter, [`Delivery::number`]: `n` has the identifier
//! `n % 65535 + 1`. As long as the window is shorter than 65,535 no identifier can be in use twice
//! [MQTT-2.2.1-3], and finding the entry of an acknowledgement is a binary search. Numbers may have gaps.

use crate::burst::Part;
use crate::packet::{PacketId, QoS};
use crate::{Burst, Delivery, LogPlace, Message};
use std::collections::VecDeque;
use std::sync::Arc;

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
    /// The same of a message that is part of a burst: nothing is kept of it.
    Part(Part),
    /// PUBREC came, PUBREL sent; PUBCOMP awaited. The message itself is no longer needed.
    Released(Option<LogPlace>),
}

impl Outbound {
    pub(crate) fn packet_id(&self) -> PacketId {
        packet_id(self.number)
    }
}

/// One exchange as it outlives a connection.
#[derive(Debug)]
pub enum Exchange {
    /// PUBACK or PUBREC is outstanding.
    Published(Delivery),
    /// PUBCOMP is outstanding.
    Released(Option<LogPlace>),
}

/// The identifier of entry `number`.
pub(crate) fn packet_id(number: u64) -> PacketId {
    let raw = u16::try_from(number % PACKET_IDS + 1).unwrap_or(1);
    PacketId::new(raw).unwrap_or(PacketId::MIN)
}

/// State of a session that belongs to the protocol itself (section 4.1).
#[derive(Debug, Default)]
pub struct Session {
    /// Sorted by `number`.
    outbound: VecDeque<Outbound>,
    /// Lowest number that was never sent.
    next: u64,
    /// QoS 2 identifiers received and not yet released [MQTT-4.3.3-10], sorted: they come and go in this order as a rule.
    received: VecDeque<PacketId>,
}

impl Session {
    /// A session without a past.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A session that goes on: every number below `next` may have been sent, and `received` are the QoS 2
    /// identifiers not released by the client. What is in flight follows by [`Self::restore`].
    #[must_use]
    pub fn resumed(next: u64, received: impl IntoIterator<Item = PacketId>) -> Self {
        let mut received: Vec<_> = received.into_iter().collect();
        received.sort_unstable();
        received.dedup();
        Self {
            outbound: VecDeque::new(),
            next,
            received: received.into(),
        }
    }

    /// Lowest number that was never sent.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Puts an exchange that was in flight on an earlier connection behind those already restored; it will
    /// be sent again.
    pub fn restore(&mut self, number: u64, exchange: Exchange) {
        debug_assert!(
            self.outbound.back().is_none_or(|last| last.number < number),
            "restored out of order"
        );
        self.next = self.next.max(number + 1);
        let stage = match exchange {
            Exchange::Published(delivery) => Stage::Published(delivery),
            Exchange::Released(kept) => Stage::Released(kept),
        };
        self.outbound.push_back(Outbound { number, stage });
    }

    /// Takes the exchanges in flight out, in order: what an absent client owes is kept elsewhere.
    pub fn take_inflight(&mut self) -> impl Iterator<Item = (u64, Exchange)> + use<> {
        std::mem::take(&mut self.outbound)
            .into_iter()
            .filter_map(|entry| match entry.stage {
                Stage::Published(delivery) => Some((entry.number, Exchange::Published(delivery))),
                Stage::Part(part) => {
                    let delivery = part.delivery(entry.number)?;
                    Some((entry.number, Exchange::Published(delivery)))
                }
                Stage::Released(kept) => Some((entry.number, Exchange::Released(kept))),
            })
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

    /// Notes `delivery` as sent and gives its identifier; `None` while the window is too short for it.
    /// Numbers grow from one call to the next.
    pub(crate) fn send(&mut self, delivery: Delivery) -> Option<PacketId> {
        let number = delivery.number;
        debug_assert!(number >= self.next, "numbers grow");
        if !self.has_packet_id(number) {
            return None;
        }
        self.next = number + 1;
        self.outbound.push_back(Outbound {
            number,
            stage: Stage::Published(delivery),
        });
        Some(packet_id(number))
    }

    /// Notes the messages of a burst as sent, with the numbers from `first` on, and writes their identifiers into `written`,
    /// which holds their packets. What [`Self::send`] asks for was asked for all of them.
    pub(crate) fn send_burst(&mut self, burst: &Arc<Burst>, first: u64, written: &mut [u8]) {
        debug_assert!(first >= self.next, "numbers grow");
        self.outbound.reserve(burst.packets().count());
        for ((at, id), number) in burst.packets().places().zip(first..) {
            if let Some(place) = written
                .get_mut(id..)
                .and_then(|rest| rest.first_chunk_mut::<2>())
            {
                *place = packet_id(number).get().to_be_bytes();
            }
            self.next = number + 1;
            let stage = Stage::Part(Part::new(burst.clone(), at));
            self.outbound.push_back(Outbound { number, stage });
        }
    }

    /// Whether the identifier of `number` is free.
    pub(crate) fn has_packet_id(&self, number: u64) -> bool {
        self.outbound
            .front()
            .is_none_or(|oldest| number.saturating_sub(oldest.number) < PACKET_IDS)
    }

    /// Position of the exchange with this identifier.
    pub(crate) fn find(&self, id: PacketId) -> Option<usize> {
        let front = self.outbound.front()?;
        if front.packet_id() == id {
            return Some(0); // acknowledged in order, as they are as a rule [MQTT-4.6.0-1]
        }
        let oldest = front.number;
        let wanted = u64::from(id.get()) - 1;
        let ahead = (wanted + PACKET_IDS - oldest % PACKET_IDS) % PACKET_IDS;
        let number = oldest + ahead;
        // Without gaps it is as far from the first as its number.
        let place = usize::try_from(ahead).ok()?;
        if (self.outbound.get(place)).is_some_and(|entry| entry.number == number) {
            return Some(place);
        }
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
            Stage::Part(part) => Some(part.qos()),
            Stage::Released(_) => None,
        }
    }

    /// Number and place of the exchange at a position.
    pub(crate) fn entry(&self, index: usize) -> Option<(u64, Option<LogPlace>)> {
        let entry = self.outbound.get(index)?;
        let kept = match &entry.stage {
            Stage::Published(delivery) => delivery.kept,
            Stage::Part(_) => None,
            Stage::Released(kept) => *kept,
        };
        Some((entry.number, kept))
    }

    /// PUBREC came: the message, which is given back, is the client's now.
    pub(crate) fn release(&mut self, index: usize) -> Option<Arc<Message>> {
        let kept = self.entry(index).and_then(|(_, kept)| kept);
        let entry = self.outbound.get_mut(index)?;
        match std::mem::replace(&mut entry.stage, Stage::Released(kept)) {
            Stage::Published(delivery) => Some(delivery.message),
            Stage::Part(part) => part.message(),
            Stage::Released(_) => None,
        }
    }

    /// The exchange is over; its identifier may be used again. Gives back the message, if it was not released before.
    pub(crate) fn complete(&mut self, index: usize) -> Option<Arc<Message>> {
        let removed = match index {
            0 => self.outbound.pop_front(), // as a rule
            _ => self.outbound.remove(index),
        };
        debug_assert!(
            removed.is_some(),
            "completed an exchange that does not exist"
        );
        match removed?.stage {
            Stage::Published(delivery) => Some(delivery.message),
            Stage::Part(part) => part.message(),
            Stage::Released(_) => None,
        }
    }

    /// The exchange with this identifier, of those this connection has sent something for (the first `sent`), if nothing of
    /// it is kept: its position and its QoS (`None` once it is released).
    #[inline]
    pub(crate) fn find_unkept(&self, id: PacketId, sent: usize) -> Option<(usize, Option<QoS>)> {
        let index = self.find(id).filter(|index| *index < sent)?;
        match &self.outbound.get(index)?.stage {
            Stage::Part(part) => Some((index, Some(part.qos()))),
            Stage::Published(delivery) if delivery.kept.is_none() => {
                Some((index, Some(delivery.qos)))
            }
            Stage::Released(None) => Some((index, None)),
            Stage::Published(_) | Stage::Released(_) => None,
        }
    }

    /// PUBREC came for an exchange of which nothing is kept, and nobody asks for the message.
    #[inline]
    pub(crate) fn release_unkept(&mut self, index: usize) {
        if let Some(entry) = self.outbound.get_mut(index) {
            entry.stage = Stage::Released(None);
        }
    }

    /// The exchange is over, and nobody asks for the message.
    #[inline]
    pub(crate) fn complete_unkept(&mut self, index: usize) {
        if index == 0 {
            self.outbound.pop_front();
        } else {
            self.outbound.remove(index);
        }
    }

    /// Inbound QoS 2 identifiers not released yet.
    pub fn received_ids(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter().copied()
    }

    /// Notes an inbound QoS 2 identifier; false if it is known already.
    pub(crate) fn receive(&mut self, id: PacketId) -> bool {
        if self.received.back().is_none_or(|last| *last < id) {
            self.received.push_back(id);
            return true;
        }
        match self.received.binary_search(&id) {
            Ok(_) => false,
            Err(place) => {
                self.received.insert(place, id);
                true
            }
        }
    }

    /// PUBREL came, or the exchange failed: forgets the identifier; false if it was unknown.
    pub fn forget_received(&mut self, id: PacketId) -> bool {
        if self.received.front() == Some(&id) {
            self.received.pop_front();
            return true;
        }
        match self.received.binary_search(&id) {
            Ok(place) => self.received.remove(place).is_some(),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{Message, TopicName};
    use std::sync::Arc;

    fn delivery(qos: QoS, number: u64) -> Delivery {
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
            number,
            kept: None,
        }
    }

    #[test]
    fn identifiers_count_up_wrap_and_skip_nothing_in_use() {
        let mut session = Session::new();
        for (number, expected) in (0..).zip((1..=65_535_u16).chain(1..=3)) {
            let id = session.send(delivery(QoS::AtLeastOnce, number)).unwrap();
            assert_eq!(id.get(), expected);
            session.complete(session.find(id).unwrap());
        }
    }

    #[test]
    fn a_window_of_all_identifiers_is_full_until_the_oldest_is_done() {
        let mut session = Session::new();
        let oldest = session.send(delivery(QoS::AtLeastOnce, 0)).unwrap();
        for number in 1..65_535 {
            let id = session.send(delivery(QoS::AtLeastOnce, number)).unwrap();
            session.complete(session.find(id).unwrap());
        }
        assert!(
            !session.has_packet_id(65_535),
            "the 65,536th would reuse the oldest [MQTT-2.2.1-3]"
        );
        let next = || delivery(QoS::AtLeastOnce, 65_535);
        assert!(session.send(next()).is_none());
        session.complete(session.find(oldest).unwrap());
        assert_eq!(session.send(next()), Some(oldest));
    }

    #[test]
    fn acknowledgements_out_of_order_find_their_exchange() {
        let mut session = Session::new();
        let ids: Vec<_> = (0..10)
            .map(|number| {
                session
                    .send(delivery(QoS::ExactlyOnce, 3 * number))
                    .unwrap()
            })
            .collect();
        for id in [ids[7], ids[0], ids[9], ids[3]] {
            let at = session.find(id).unwrap();
            assert_eq!(session.outbound(at).unwrap().packet_id(), id);
            session.complete(at);
            assert_eq!(session.find(id), None);
        }
        assert_eq!(session.inflight(), 6);
        assert_eq!(session.take_inflight().count(), 6);
    }

    #[test]
    fn identifiers_received_are_known_until_they_are_released_in_any_order() {
        let id = |raw| PacketId::new(raw).unwrap();
        let mut session = Session::resumed(0, [9, 3, 9].map(id));
        for (raw, is_new) in [(5, true), (3, false), (12, true), (12, false), (1, true)] {
            assert_eq!(session.receive(id(raw)), is_new, "{raw}");
        }
        let all: Vec<_> = session.received_ids().map(PacketId::get).collect();
        assert_eq!(all, [1, 3, 5, 9, 12]);
        for (raw, is_known) in [(9, true), (9, false), (1, true), (2, false), (12, true)] {
            assert_eq!(session.forget_received(id(raw)), is_known, "{raw}");
        }
        assert_eq!(session.received(), 2);
    }

    #[test]
    fn a_restored_exchange_keeps_its_identifier_and_new_ones_go_on_behind() {
        let mut before = Session::new();
        let first = before.send(delivery(QoS::ExactlyOnce, 7)).unwrap();
        let second = before.send(delivery(QoS::ExactlyOnce, 9)).unwrap();
        before.release(before.find(first).unwrap());
        let mut after = Session::resumed(before.next_number(), []);
        for (number, exchange) in before.take_inflight() {
            after.restore(number, exchange);
        }
        assert_eq!(after.published_qos(after.find(first).unwrap()), None);
        assert_eq!(
            after.published_qos(after.find(second).unwrap()),
            Some(QoS::ExactlyOnce)
        );
        assert!(after.send(delivery(QoS::ExactlyOnce, 10)).is_some());
    }

    #[test]
    fn what_is_released_is_in_flight_without_its_message() {
        let mut session = Session::new();
        let id = session.send(delivery(QoS::ExactlyOnce, 0)).unwrap();
        session.release(session.find(id).unwrap());
        let inflight: Vec<_> = session.take_inflight().collect();
        assert!(matches!(inflight[..], [(0, Exchange::Released(None))]));
    }
}
