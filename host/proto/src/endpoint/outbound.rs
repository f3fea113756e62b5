//! What the peer is told: answers, deliveries, re-sends.

use super::alias::Alias;
use super::{Delivered, Discarded, Endpoint, Phase};
use crate::codec::{self, PublishHead};
use crate::packet::{
    Ack, Auth, Connack, ConnackProperties, Disconnect, Packet, PacketId, QoS, Suback, Unsuback,
};
use crate::session::{self, Exchange, Session, Stage};
use crate::{ByteString, Delivery, LogPlace, ReasonCode};
use bytes::BytesMut;
use std::time::Instant;

/// Bytes of re-sent messages per call of [`Endpoint::transmit`], so that a long session is paced.
const RESEND_BATCH_BYTES: usize = 64 * 1024;
/// A control buffer larger than this is given back after use: idle connections stay small.
const KEPT_BUFFER_BYTES: usize = 512;

/// First bytes of acknowledgements.
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;

impl Endpoint {
    /// Refuses: queues CONNACK with a failure code; close after transmitting [MQTT-3.2.2-7].
    pub fn refuse(
        &mut self,
        reason: ReasonCode,
        text: Option<&str>,
        server_reference: Option<&str>,
    ) {
        if !matches!(self.phase, Phase::Connecting) {
            return;
        }
        let properties = ConnackProperties {
            reason_string: text.map(ByteString::from),
            server_reference: server_reference.map(ByteString::from),
            ..ConnackProperties::default()
        };
        // session_present is 0 with every refusal [MQTT-3.2.2-6].
        self.queue_connack(Connack {
            session_present: false,
            reason,
            properties,
        });
        self.phase = Phase::Closed;
    }

    /// Accepts: takes the session and queues CONNACK with the server's own limits. What the session
    /// has in flight is sent again by [`Self::transmit`], PUBREL included [MQTT-4.4.0-1].
    pub fn accept(
        &mut self,
        now: Instant,
        session: Session,
        session_present: bool,
        properties: ConnackProperties,
    ) {
        debug_assert!(matches!(self.phase, Phase::Connecting), "accepted twice");
        let mut limits = ConnackProperties {
            receive_maximum: Some(self.receive_maximum).filter(|maximum| *maximum < u16::MAX),
            maximum_packet_size: Some(self.maximum_packet_size),
            topic_alias_maximum: Some(self.inbound_aliases.maximum())
                .filter(|maximum| *maximum > 0),
            server_keep_alive: self.terms.server_keep_alive, // [MQTT-3.2.2-21]
            authentication_method: self.terms.auth_method.as_deref().cloned(), // [MQTT-4.12.0-5]
            // Without a method it would be a protocol error (section 3.2.2.3.18).
            authentication_data: properties
                .authentication_data
                .filter(|_| self.terms.auth_method.is_some()),
            response_information: properties
                .response_information
                .filter(|_| self.terms.response_information), // [MQTT-3.1.2-28]
            ..properties
        };
        self.abilities.announce(&mut limits);
        self.queue_connack(Connack {
            session_present,
            reason: ReasonCode::Success,
            properties: limits,
        });
        self.phase = Phase::Connected;
        self.authenticating = false;
        self.last_packet = now;
        self.session = Some(session);
        self.resent = 0;
    }

    fn queue_connack(&mut self, mut connack: Connack) {
        let version = self.terms.version;
        let too_long = |connack: &Connack, maximum| {
            codec::packet_len(&Packet::Connack(Box::new(connack.clone())), version) > maximum
        };
        if too_long(&connack, self.maximum_packet_size()) {
            connack.properties.reason_string = None; // [MQTT-3.2.2-19]
            connack.properties.user.clear(); // [MQTT-3.2.2-20]
            if too_long(&connack, self.maximum_packet_size()) {
                connack.properties.response_information = None; // it may do without
            }
        }
        self.queue(&Packet::Connack(Box::new(connack)));
    }

    /// PUBACK or PUBREC for an inbound publish. A failure on QoS 2 ends the exchange [MQTT-4.3.3-9].
    ///
    /// `text` is left out if the client asked for no problem information or it does not fit.
    pub fn acknowledge(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        reason: ReasonCode,
        text: Option<&str>,
    ) {
        self.settle(packet_id, qos);
        let v5 = self.terms.version.is_v5();
        if text.is_none() && (reason == ReasonCode::Success || !v5) {
            let first = match qos {
                QoS::ExactlyOnce => PUBREC,
                _ => PUBACK,
            };
            return self.queue_bare(first, packet_id);
        }
        let mut ack = Ack::new(packet_id, if v5 { reason } else { ReasonCode::Success });
        if v5 && self.terms.problem_information {
            ack.reason_string = text.map(ByteString::from); // [MQTT-3.1.2-29]
        }
        let failed = v5 && reason.is_failure();
        let wrap = if qos == QoS::ExactlyOnce {
            Packet::Pubrec
        } else {
            Packet::Puback
        };
        if failed && qos == QoS::ExactlyOnce {
            self.forget_received(packet_id);
        }
        let mut packet = wrap(ack);
        if codec::packet_len(&packet, self.terms.version) > self.maximum_packet_size() {
            packet = wrap(Ack::new(packet_id, reason)); // [MQTT-3.4.2-2] [MQTT-3.5.2-2]
        }
        self.queue(&packet);
    }

    /// No acknowledgement will be sent: the id is forgotten, so that a re-send counts as new.
    pub fn withhold(&mut self, packet_id: PacketId, qos: QoS) {
        self.settle(packet_id, qos);
        if qos == QoS::ExactlyOnce {
            self.forget_received(packet_id);
        }
    }

    fn settle(&mut self, packet_id: PacketId, qos: QoS) {
        match qos {
            QoS::AtMostOnce => debug_assert!(false, "QoS 0 is never acknowledged"),
            QoS::AtLeastOnce => self.unacknowledged = self.unacknowledged.saturating_sub(1),
            QoS::ExactlyOnce => self.unanswered.retain(|id| *id != packet_id),
        }
    }

    fn forget_received(&mut self, packet_id: PacketId) {
        if let Some(session) = self.session.as_mut() {
            session.forget_received(packet_id);
        }
    }

    /// PUBREL for a message the client has taken over.
    pub fn release(&mut self, packet_id: PacketId) {
        self.queue_bare(PUBREL, packet_id);
    }

    /// PUBCOMP for an identifier the publisher has released.
    pub fn complete(&mut self, packet_id: PacketId) {
        self.queue_bare(PUBCOMP, packet_id);
    }

    /// An acknowledgement that says its identifier and nothing else, the same four bytes in every version.
    fn queue_bare(&mut self, first: u8, packet_id: PacketId) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let [high, low] = packet_id.get().to_be_bytes();
        self.out.extend_from_slice(&[first, 2, high, low]);
    }

    /// Puts back what an earlier connection had in flight, in order; [`Self::transmit`] sends it again.
    pub fn restore(&mut self, number: u64, exchange: Exchange) {
        if let Some(session) = self.session.as_mut() {
            session.restore(number, exchange);
        }
    }

    /// SUBACK: one code per filter [MQTT-3.8.4-6].
    pub fn suback(&mut self, suback: Suback) {
        let bare = Suback {
            reason_string: None,
            user: Vec::new(),
            packet_id: suback.packet_id,
            reasons: suback.reasons.clone(),
        };
        let wrap = |suback| Packet::Suback(Box::new(suback));
        self.queue_explained(wrap(suback), wrap(bare)); // [MQTT-3.9.2-1] [MQTT-3.9.2-2]
    }

    /// UNSUBACK.
    pub fn unsuback(&mut self, unsuback: Unsuback) {
        let bare = Unsuback {
            reason_string: None,
            user: Vec::new(),
            packet_id: unsuback.packet_id,
            reasons: unsuback.reasons.clone(),
        };
        let wrap = |unsuback| Packet::Unsuback(Box::new(unsuback));
        self.queue_explained(wrap(unsuback), wrap(bare)); // [MQTT-3.11.2-1] [MQTT-3.11.2-2]
    }

    /// A packet with words for people, or the bare one where they are not wanted [MQTT-3.1.2-29] or do not fit.
    fn queue_explained(&mut self, packet: Packet, bare: Packet) {
        let is_wanted = self.terms.problem_information;
        let version = self.terms.version;
        if is_wanted && codec::packet_len(&packet, version) <= self.maximum_packet_size() {
            self.queue(&packet);
        } else {
            self.queue(&bare);
        }
    }

    /// AUTH: the next round (0x18), or the end of a re-authentication (0x00) [MQTT-4.12.0-2].
    pub fn auth(&mut self, auth: Auth) {
        self.authenticating = auth.reason == ReasonCode::ContinueAuthentication;
        let bare = Auth {
            reason_string: None,
            user: Vec::new(),
            ..auth.clone()
        };
        let wrap = |auth| Packet::Auth(Box::new(auth));
        self.queue_explained(wrap(auth), wrap(bare)); // [MQTT-3.15.2-2] [MQTT-3.15.2-3]
    }

    /// Writes a message to `out`. QoS 1 and 2 enter the session's in-flight list. Chooses topic aliases.
    pub fn deliver(&mut self, now: Instant, delivery: &Delivery, out: &mut BytesMut) -> Delivered {
        let message = &delivery.message;
        let remaining = message.remaining_expiry(now); // [MQTT-3.3.2-6]
        if remaining == Some(0) {
            return Delivered::Expired; // [MQTT-3.3.2-5]
        }
        let acknowledged = delivery.qos > QoS::AtMostOnce;
        if acknowledged && !self.has_quota(delivery.number) {
            return Delivered::NoQuota; // [MQTT-3.3.4-9]
        }
        let Some(session) = self.session.as_mut() else {
            return Delivered::NoQuota;
        };
        let packet_id = acknowledged.then(|| session::packet_id(delivery.number));
        let mut head = head(delivery, packet_id, remaining);
        let maximum = usize::try_from(self.terms.maximum_packet_size).unwrap_or(usize::MAX);
        let version = self.terms.version;
        if maximum < u32::MAX as usize && codec::publish_len(&head, version) > maximum {
            return Delivered::TooLarge; // [MQTT-3.1.2-24]
        }
        if version.is_v5() {
            match self.outbound_aliases.choose(message.topic.as_byte_string()) {
                Alias::None => {}
                Alias::Set(alias) => head.topic_alias = Some(alias),
                Alias::Known(alias) => {
                    head.topic_alias = Some(alias);
                    head.topic = "";
                }
            }
        }
        codec::encode_publish(&head, version, out);
        if acknowledged {
            let sent = session.send(delivery.clone());
            debug_assert_eq!(sent, packet_id, "quota was checked");
            self.resent += 1;
        }
        Delivered::Sent(packet_id)
    }

    /// Whether a QoS 1 or 2 delivery of this number would be sent now.
    #[must_use]
    pub fn has_quota(&self, number: u64) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        // What waits to be sent again goes first.
        self.resent == session.inflight()
            && session.inflight() < self.terms.quota
            && session.has_packet_id(number)
    }

    /// Queues DISCONNECT (MQTT 5; nothing before [MQTT-3.14.0-1]). Nothing else is queued afterwards.
    pub fn disconnect(
        &mut self,
        reason: ReasonCode,
        text: Option<&str>,
        server_reference: Option<&str>,
    ) {
        match self.phase {
            Phase::Closed => return,
            Phase::Connecting => {
                return self.refuse(reason, text, server_reference); // [MQTT-3.14.0-1]: CONNACK instead
            }
            Phase::Connected => {}
        }
        if self.terms.version.is_v5() {
            let mut disconnect = Disconnect::new(reason);
            disconnect.reason_string = text.map(ByteString::from);
            disconnect.server_reference = server_reference.map(ByteString::from);
            let mut packet = Packet::Disconnect(Box::new(disconnect));
            if codec::packet_len(&packet, self.terms.version) > self.maximum_packet_size() {
                packet = Packet::Disconnect(Box::new(Disconnect::new(reason))); // [MQTT-3.14.2-3]
            }
            self.queue(&packet);
        }
        self.phase = Phase::Closed;
    }

    /// Whether [`Self::transmit`] has something to write.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.out.is_empty() || self.resend_ready()
    }

    fn resend_ready(&self) -> bool {
        let waiting = self.session.as_ref().map_or(0, Session::inflight);
        self.is_connected() && self.resent < waiting && self.resent < self.terms.quota
    }

    /// Moves everything queued to the end of `out`, then sends again what the session still owes, a
    /// batch per call.
    pub fn transmit(&mut self, now: Instant, out: &mut BytesMut) {
        if !self.out.is_empty() {
            out.extend_from_slice(&self.out);
            if self.out.capacity() > KEPT_BUFFER_BYTES {
                self.out = BytesMut::new();
            } else {
                self.out.clear();
            }
        }
        let enough = out.len() + RESEND_BATCH_BYTES;
        while self.resend_ready() && out.len() < enough {
            self.resend(now, out);
        }
    }

    /// Sends the exchange at `resent` again with its first identifier and DUP [MQTT-3.3.1-1].
    fn resend(&mut self, now: Instant, out: &mut BytesMut) {
        let version = self.terms.version;
        let maximum = self.maximum_packet_size();
        let Some(session) = self.session.as_mut() else {
            return;
        };
        let Some(entry) = session.outbound(self.resent) else {
            return;
        };
        let unfolded = match &entry.stage {
            Stage::Part(part) => part.delivery(entry.number),
            Stage::Published(_) | Stage::Released(_) => None,
        };
        match (&entry.stage, &unfolded) {
            (Stage::Part(_), None) => {
                debug_assert!(false, "a burst has all its messages");
                session.complete(self.resent);
                return;
            }
            (Stage::Released(_), None) => {
                let pubrel = Packet::Pubrel(Ack::new(entry.packet_id(), ReasonCode::Success));
                let written = codec::encode(&pubrel, version, out);
                debug_assert!(written.is_ok(), "PUBREL exists in every version");
            }
            (Stage::Published(delivery), _) | (_, Some(delivery)) => {
                let remaining = delivery.message.remaining_expiry(now);
                let mut head = head(delivery, Some(entry.packet_id()), remaining);
                head.dup = true;
                if codec::publish_len(&head, version) > maximum {
                    let kept = delivery.kept;
                    let Discarded(discarded) = &mut **self.discarded.get_or_insert_default();
                    discarded.push((entry.number, kept));
                    session.complete(self.resent); // as if it had been sent [MQTT-3.1.2-25]
                    return;
                }
                codec::encode_publish(&head, version, out);
            }
        }
        self.resent += 1;
    }

    /// Exchanges given up while they were sent again, since the last call: number and place.
    pub fn take_discarded(&mut self) -> Vec<(u64, Option<LogPlace>)> {
        self.discarded
            .take()
            .map_or_else(Vec::new, |discarded| discarded.0)
    }

    pub(super) fn maximum_packet_size(&self) -> usize {
        usize::try_from(self.terms.maximum_packet_size).unwrap_or(usize::MAX)
    }

    pub(super) fn queue(&mut self, packet: &Packet) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let written = codec::encode(packet, self.terms.version, &mut self.out);
        debug_assert!(
            written.is_ok(),
            "the server queued a packet its version does not have"
        );
    }
}

fn head(
    delivery: &Delivery,
    packet_id: Option<PacketId>,
    remaining: Option<u32>,
) -> PublishHead<'_> {
    PublishHead {
        dup: false, // never the publisher's [MQTT-3.3.1-3]
        qos: delivery.qos,
        retain: delivery.retain,
        topic: delivery.message.topic.as_str(),
        packet_id,
        topic_alias: None,
        message_expiry: remaining,
        subscription_ids: &delivery.subscription_ids,
        properties: &delivery.message.properties,
        payload: &delivery.message.payload,
    }
}
