//! Many of a kind at once: bursts in and out, and runs of acknowledgements.
//!
//! Owns: when that is the same as one packet after the other (`inbound.rs`, `outbound.rs`). What is unusual about a packet
//! is left where it is: it goes the long way, errors included. Must not: judge anything anew.

use super::outbound::{PUBACK, PUBCOMP, PUBREC, PUBREL};
use super::{Endpoint, Phase};
use crate::burst::{self, Packets};
use crate::packet::{PacketId, QoS};
use crate::{Burst, ReasonCode};
use bytes::{Buf, BytesMut};
use std::sync::Arc;
use std::time::Instant;

/// What a run of acknowledgements was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Packets taken.
    pub taken: usize,
    /// Deliveries that are over: quota is free again.
    pub delivered: usize,
}

impl Endpoint {
    /// Whether the next packets of `input` are a burst to `topic`, which was judged before. Nothing is taken.
    #[must_use]
    #[inline]
    pub fn begins_burst(&self, topic: &str, input: &[u8]) -> bool {
        matches!(self.phase, Phase::Connected)
            && burst::begins(input, topic.as_bytes(), self.is_v5(), self.largest_packet())
    }

    /// Takes a burst to `topic` off `input`: what [`Self::receive`] would report one by one. Above QoS 0 answer with
    /// [`Self::acknowledge_burst`], or with [`Self::owe_burst`] and then each message by itself.
    #[inline]
    pub fn receive_burst(
        &mut self,
        now: Instant,
        topic: &str,
        input: &mut BytesMut,
    ) -> Option<Packets> {
        if !matches!(self.phase, Phase::Connected) {
            return None;
        }
        let (is_v5, largest) = (self.is_v5(), self.largest_packet());
        let (maximum_qos, maximum) = (self.abilities.maximum_qos, self.receive_maximum);
        let session = self.session.as_mut()?;
        let outstanding = session.received() + self.unacknowledged;
        // What goes beyond the receive maximum is judged one by one [MQTT-3.3.4-9].
        let mut room = usize::from(maximum).saturating_sub(outstanding);
        let packets = Packets::take(input, topic.as_bytes(), is_v5, largest, |qos, id| {
            if qos > maximum_qos || room == 0 {
                return false;
            }
            if qos == QoS::ExactlyOnce {
                if !session.receive(id) {
                    return false; // known: answered, not delivered again [MQTT-4.3.3-10]
                }
                room -= 1;
            }
            true
        })?;
        self.last_packet = now;
        Some(packets)
    }

    /// PUBACK or PUBREC for every message of a burst, at once. The reason is no failure.
    pub fn acknowledge_burst(&mut self, packets: &Packets, reason: ReasonCode) {
        debug_assert!(!reason.is_failure(), "a failure is said one by one");
        let first = match packets.qos() {
            QoS::AtMostOnce => return, // never acknowledged
            QoS::AtLeastOnce => PUBACK,
            QoS::ExactlyOnce => PUBREC,
        };
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if reason != ReasonCode::Success && self.is_v5() {
            self.owe_burst(packets);
            for id in packets.ids() {
                self.acknowledge(id, packets.qos(), reason, None);
            }
            return;
        }
        self.out.reserve(4 * packets.count());
        for id in packets.ids() {
            let [high, low] = id.get().to_be_bytes();
            self.out.extend_from_slice(&[first, 2, high, low]);
        }
    }

    /// The messages of a burst will be acknowledged or withheld one by one.
    pub fn owe_burst(&mut self, packets: &Packets) {
        match packets.qos() {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.unacknowledged += packets.count(),
            QoS::ExactlyOnce => self.unanswered.extend(packets.ids()),
        }
    }

    /// A message of a burst of QoS 1 will be acknowledged or withheld by itself.
    pub fn owe_message(&mut self) {
        self.unacknowledged += 1;
    }

    /// Takes bare acknowledgements off `input` that nobody has to be asked about or told of one by one: of deliveries of
    /// which nothing is kept, and PUBRELs of what was received. They are answered here. The broker calls it where
    /// neither promises wait nor anybody wants to know which message was acknowledged.
    #[inline]
    pub fn receive_acknowledgements(&mut self, now: Instant, input: &mut BytesMut) -> Acknowledged {
        let mut run = Acknowledged::default();
        if !matches!(self.phase, Phase::Connected) {
            return run;
        }
        let mut at = 0;
        while let Some(&[kind, 2, high, low]) =
            (input.get(at..)).and_then(|rest| rest.first_chunk())
        {
            let Some(id) = PacketId::new(u16::from_be_bytes([high, low])) else {
                break;
            };
            let Some(is_delivered) = self.take_acknowledgement(kind, id) else {
                break;
            };
            at += 4;
            run.taken += 1;
            run.delivered += usize::from(is_delivered);
        }
        if run.taken > 0 {
            input.advance(at);
            self.last_packet = now;
        }
        run
    }

    /// Whether a delivery is over; `None`: not taken.
    #[inline]
    fn take_acknowledgement(&mut self, kind: u8, id: PacketId) -> Option<bool> {
        let session = self.session.as_mut()?;
        let [high, low] = id.get().to_be_bytes();
        if kind == PUBREL {
            if !session.forget_received(id) {
                return None;
            }
            self.out.extend_from_slice(&[PUBCOMP, 2, high, low]);
            return Some(false);
        }
        let (index, qos) = session.find_unkept(id, self.resent)?;
        match (kind, qos) {
            (PUBACK, Some(QoS::AtLeastOnce)) | (PUBCOMP, None) => {
                session.complete_unkept(index);
                self.resent = self.resent.saturating_sub(1);
                Some(true)
            }
            (PUBREC, Some(QoS::ExactlyOnce)) => {
                session.release_unkept(index);
                self.out.extend_from_slice(&[PUBREL, 2, high, low]);
                Some(false)
            }
            _ => None,
        }
    }

    /// Whether a burst is written to this peer as it is, identifiers aside. `first`: the number of its first message, above
    /// QoS 0. If the peer is told in other bytes, or less, its messages go through [`Self::deliver`].
    #[must_use]
    #[inline]
    pub fn takes_burst(&self, burst: &Burst, first: u64) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let is_v5 = self.is_v5();
        let packets = burst.packets();
        let has_quota = || {
            let count = packets.count();
            let last = first.saturating_add(u64::try_from(count).unwrap_or(u64::MAX) - 1);
            self.resent == session.inflight()
                && session.inflight() + count <= self.terms.quota // [MQTT-3.3.4-9]
                && session.has_packet_id(last)
        };
        (!is_v5 || self.outbound_aliases.is_none(&burst.topic))
            && packets.fit(is_v5, self.maximum_packet_size())
            && (packets.qos() == QoS::AtMostOnce || has_quota())
    }

    /// Writes a burst to `out`, after [`Self::takes_burst`] said that it may be. Above QoS 0 its messages enter the session's
    /// in-flight list, with the numbers from `first` on.
    #[inline]
    pub fn deliver_burst(&mut self, burst: &Arc<Burst>, first: u64, out: &mut BytesMut) {
        let packets = burst.packets();
        let start = out.len();
        out.extend_from_slice(packets.bytes());
        if packets.qos() == QoS::AtMostOnce {
            return;
        }
        let written = out.get_mut(start..).unwrap_or_default();
        if let Some(session) = self.session.as_mut() {
            session.send_burst(burst, first, written);
            self.resent += packets.count();
        }
    }
}
