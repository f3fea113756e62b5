//! What the peer sends: packets judged against the state of the connection.

use super::{Endpoint, Event, Excess, Phase, ProtocolError};
use crate::codec;
use crate::packet::{Ack, Auth, Disconnect, Packet, PacketId, Publish, QoS};
use crate::{ReasonCode, session::Session};
use bytes::BytesMut;
use std::time::Instant;

/// High nibble of the first byte of AUTH.
const AUTH: u8 = 0xF0;

impl Endpoint {
    /// The next event of `input`; consumes whole packets only.
    ///
    /// `Ok(None)`: more bytes are needed, CONNACK is still outstanding, or the connection is over.
    ///
    /// # Errors
    /// The peer broke the protocol: call [`Self::disconnect`] with the error's reason and close
    /// [MQTT-4.13.1-1].
    #[inline]
    pub fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, ProtocolError> {
        loop {
            match self.phase {
                Phase::Closed => return Ok(None),
                Phase::Connecting if !self.may_authenticate(input) => return Ok(None),
                Phase::Connecting | Phase::Connected => {}
            }
            let event = match self.take_publish(input)? {
                Some(publish) => self.handle_publish(publish)?,
                None => match codec::decode(input, self.terms.version, &self.limits())? {
                    Some(packet) => self.handle_packet(packet)?,
                    None => return Ok(None),
                },
            };
            self.last_packet = now;
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    #[inline]
    pub(super) fn is_v5(&self) -> bool {
        self.terms.version.is_v5()
    }

    #[inline]
    pub(super) fn largest_packet(&self) -> usize {
        usize::try_from(self.maximum_packet_size).unwrap_or(usize::MAX)
    }

    #[inline]
    fn take_publish(&mut self, input: &mut BytesMut) -> Result<Option<Publish>, ProtocolError> {
        if !matches!(self.phase, Phase::Connected) {
            return Ok(None);
        }
        let version = self.terms.version;
        let publish = codec::decode_publish(input, version, &self.limits(), &mut self.last_topic)?;
        Ok(publish)
    }

    #[inline]
    fn limits(&self) -> codec::Limits {
        super::codec_limits(self.maximum_packet_size)
    }

    /// Before CONNACK a client may send nothing but AUTH, and that only when asked [MQTT-3.1.2-30].
    fn may_authenticate(&self, input: &BytesMut) -> bool {
        self.authenticating && input.first().is_some_and(|byte| byte & 0xF0 == AUTH)
    }

    fn handle_packet(&mut self, packet: Packet) -> Result<Option<Event>, ProtocolError> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(*publish),
            Packet::Puback(ack) => self.handle_puback(&ack),
            Packet::Pubrec(ack) => self.handle_pubrec(&ack),
            Packet::Pubrel(ack) => Ok(self.handle_pubrel(&ack)),
            Packet::Pubcomp(ack) => self.handle_pubcomp(&ack),
            Packet::Subscribe(subscribe) => {
                if self.terms.version.is_v5() {
                    self.abilities.check_subscribe(&subscribe)?;
                }
                Ok(Some(Event::Subscribe(subscribe)))
            }
            Packet::Unsubscribe(unsubscribe) => Ok(Some(Event::Unsubscribe(unsubscribe))),
            Packet::Pingreq => {
                self.queue(&Packet::Pingresp); // [MQTT-3.12.4-1]
                Ok(None)
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(disconnect),
            Packet::Auth(auth) => self.handle_auth(auth),
            Packet::Connect(_) => Err(ProtocolError::SecondConnect),
            Packet::Connack(_) => Err(ProtocolError::ServerPacket("CONNACK")),
            Packet::Suback(_) => Err(ProtocolError::ServerPacket("SUBACK")),
            Packet::Unsuback(_) => Err(ProtocolError::ServerPacket("UNSUBACK")),
            Packet::Pingresp => Err(ProtocolError::ServerPacket("PINGRESP")),
        }
    }

    #[inline]
    fn handle_publish(&mut self, mut publish: Publish) -> Result<Option<Event>, ProtocolError> {
        if !publish.properties.subscription_ids.is_empty() {
            return Err(ProtocolError::SubscriptionId); // [MQTT-3.3.4-6]
        }
        self.abilities.check_publish(&publish)?;
        if let Some(alias) = publish.topic_alias.take() {
            publish.topic = self.inbound_aliases.resolve(alias, publish.topic)?;
        } else if publish.topic.is_empty() {
            return Err(ProtocolError::NoTopic);
        }
        let (Some(id), true) = (publish.packet_id, publish.qos > QoS::AtMostOnce) else {
            return Ok(Some(Event::Publish(publish)));
        };
        if publish.qos == QoS::ExactlyOnce && self.is_duplicate(id) {
            return Ok(None);
        }
        self.check_receive_maximum()?;
        match publish.qos {
            QoS::ExactlyOnce => {
                // Method B of section 4.3.3: the identifier is kept, the message goes on at once. A
                // first sight with DUP set is a new message [MQTT-4.3.3-9].
                if let Some(session) = self.session.as_mut() {
                    session.receive(id);
                }
                self.unanswered.push(id);
            }
            _ => self.unacknowledged += 1,
        }
        Ok(Some(Event::Publish(publish)))
    }

    /// Known QoS 2 identifiers are answered again, not delivered again [MQTT-4.3.3-10].
    fn is_duplicate(&mut self, id: PacketId) -> bool {
        let Some(session) = self.session.as_mut() else {
            return false;
        };
        if session.receive(id) {
            session.forget_received(id);
            return false;
        }
        if !self.unanswered.contains(&id) {
            self.queue(&Packet::Pubrec(Ack::new(id, ReasonCode::Success)));
        }
        true
    }

    fn check_receive_maximum(&mut self) -> Result<(), ProtocolError> {
        let received = self.session.as_ref().map_or(0, Session::received);
        let outstanding = received + self.unacknowledged;
        if outstanding < usize::from(self.receive_maximum) {
            return Ok(());
        }
        if self.lenient_receive_maximum {
            if self.excess == Excess::None && self.terms.version.is_v5() {
                self.excess = Excess::New;
            }
            return Ok(());
        }
        Err(ProtocolError::ReceiveMaximum {
            maximum: self.receive_maximum,
        })
    }

    fn handle_puback(&mut self, ack: &Ack) -> Result<Option<Event>, ProtocolError> {
        let Some(index) = self.find_sent(ack.packet_id) else {
            return Ok(None);
        };
        self.expect_qos(index, QoS::AtLeastOnce, "PUBACK", ack)?;
        Ok(Some(self.finish(index, ack, QoS::AtLeastOnce)))
    }

    fn handle_pubrec(&mut self, ack: &Ack) -> Result<Option<Event>, ProtocolError> {
        let packet_id = ack.packet_id;
        let Some(index) = self.find_sent(packet_id) else {
            if !ack.reason.is_failure() {
                let unknown = self.v5_reason(ReasonCode::PacketIdNotFound);
                self.queue(&Packet::Pubrel(Ack::new(packet_id, unknown)));
            }
            return Ok(None);
        };
        let released = self
            .session
            .as_ref()
            .is_some_and(|session| session.published_qos(index).is_none());
        if !released {
            self.expect_qos(index, QoS::ExactlyOnce, "PUBREC", ack)?;
        }
        if ack.reason.is_failure() {
            return Ok(Some(self.finish(index, ack, QoS::ExactlyOnce))); // [MQTT-4.3.3-4]: no PUBREL
        }
        if released {
            self.release(packet_id); // said before, and lost
            return Ok(None);
        }
        let Some(session) = self.session.as_mut() else {
            return Ok(None);
        };
        let message = session.release(index);
        let entry = session.entry(index);
        Ok(entry.map(|(number, kept)| Event::Released {
            packet_id,
            number,
            kept,
            message,
        }))
    }

    fn handle_pubrel(&mut self, ack: &Ack) -> Option<Event> {
        let known = self
            .session
            .as_mut()
            .is_some_and(|session| session.forget_received(ack.packet_id));
        if known {
            return Some(Event::Forgotten {
                packet_id: ack.packet_id,
            });
        }
        let reason = self.v5_reason(ReasonCode::PacketIdNotFound);
        self.queue(&Packet::Pubcomp(Ack::new(ack.packet_id, reason))); // [MQTT-4.3.3-11]
        None
    }

    fn handle_pubcomp(&mut self, ack: &Ack) -> Result<Option<Event>, ProtocolError> {
        let Some(index) = self.find_sent(ack.packet_id) else {
            return Ok(None);
        };
        let released = self
            .session
            .as_ref()
            .is_some_and(|session| session.published_qos(index).is_none());
        if !released {
            return Err(wrong("PUBCOMP", ack));
        }
        Ok(Some(self.finish(index, ack, QoS::ExactlyOnce)))
    }

    /// Position of an exchange this connection has sent something for.
    fn find_sent(&self, id: PacketId) -> Option<usize> {
        self.session
            .as_ref()?
            .find(id)
            .filter(|index| *index < self.resent)
    }

    fn expect_qos(
        &self,
        index: usize,
        qos: QoS,
        packet: &'static str,
        ack: &Ack,
    ) -> Result<(), ProtocolError> {
        let found = self
            .session
            .as_ref()
            .and_then(|session| session.published_qos(index));
        if found == Some(qos) {
            Ok(())
        } else {
            Err(wrong(packet, ack))
        }
    }

    fn finish(&mut self, index: usize, ack: &Ack, qos: QoS) -> Event {
        let (mut entry, mut message) = (None, None);
        if let Some(session) = self.session.as_mut() {
            entry = session.entry(index);
            message = session.complete(index);
            self.resent = self.resent.saturating_sub(1);
        }
        let (number, kept) = entry.unwrap_or_default();
        Event::Delivered {
            packet_id: ack.packet_id,
            qos,
            reason: ack.reason,
            number,
            kept,
            message,
        }
    }

    fn handle_disconnect(
        &mut self,
        disconnect: Box<Disconnect>,
    ) -> Result<Option<Event>, ProtocolError> {
        let raised = disconnect.session_expiry.is_some_and(|seconds| seconds > 0);
        if raised && self.terms.session_expiry == 0 {
            return Err(ProtocolError::SessionExpiryRaised); // [MQTT-3.14.2-2]
        }
        self.phase = Phase::Closed;
        Ok(Some(Event::Disconnect(disconnect)))
    }

    fn handle_auth(&mut self, auth: Box<Auth>) -> Result<Option<Event>, ProtocolError> {
        let Some(method) = &self.terms.auth_method else {
            return Err(ProtocolError::UnexpectedAuth); // [MQTT-4.12.0-6]
        };
        if auth.method.as_ref() != Some(&**method) {
            return Err(ProtocolError::AuthMethodChanged); // [MQTT-4.12.0-5]
        }
        let expected = match auth.reason {
            ReasonCode::ContinueAuthentication => self.authenticating, // [MQTT-4.12.0-3]
            ReasonCode::ReAuthenticate => self.is_connected() && !self.authenticating, // [MQTT-4.12.1-1]
            _ => false,
        };
        if !expected {
            return Err(ProtocolError::AuthReason);
        }
        self.authenticating = false;
        Ok(Some(Event::Auth(auth)))
    }

    /// Reason codes exist on the wire since MQTT 5.
    fn v5_reason(&self, reason: ReasonCode) -> ReasonCode {
        if self.terms.version.is_v5() {
            reason
        } else {
            ReasonCode::Success
        }
    }
}

fn wrong(packet: &'static str, ack: &Ack) -> ProtocolError {
    ProtocolError::WrongAcknowledgement {
        packet,
        packet_id: ack.packet_id.get(),
    }
}
