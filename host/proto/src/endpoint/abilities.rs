//! What this server can do, where that may be less than the standard's all, and how it says no.
//!
//! Owns: [`Abilities`]. They are told in CONNACK; a client that asks for more is refused with the code of what it
//! asked for.

use super::ProtocolError;
use crate::packet::{ConnackProperties, Publish, PublishProperties, QoS, Subscribe, Will};
use crate::topic::Filter;
use crate::{ByteString, ReasonCode};

/// Of one server, the same for all connections. Everything by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Highest QoS it takes and grants.
    pub maximum_qos: QoS,
    /// It keeps retained messages.
    pub retain: bool,
    /// It takes filters with wildcards.
    pub wildcards: bool,
    /// It takes subscription identifiers.
    pub subscription_ids: bool,
    /// It takes shared subscriptions.
    pub shared: bool,
    /// It refuses a payload that is not UTF-8 where its Payload Format Indicator says it is.
    pub checks_payload_format: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            wildcards: true,
            subscription_ids: true,
            shared: true,
            checks_payload_format: true,
        }
    }
}

impl Abilities {
    /// What is missing, for CONNACK [MQTT-3.2.2-9].
    pub(super) fn announce(&self, properties: &mut ConnackProperties) {
        let lacks = |has: bool| (!has).then_some(false);
        properties.maximum_qos =
            (self.maximum_qos < QoS::ExactlyOnce).then_some(self.maximum_qos as u8);
        properties.retain_available = lacks(self.retain);
        properties.wildcard_available = lacks(self.wildcards);
        properties.subscription_ids_available = lacks(self.subscription_ids);
        properties.shared_available = lacks(self.shared);
    }

    /// Whether the will of a CONNECT may be.
    ///
    /// # Errors
    /// The code of CONNACK and words for people.
    pub fn check_will(&self, will: &Will) -> Result<(), (ReasonCode, &'static str)> {
        if will.qos > self.maximum_qos {
            let text = "the QoS of the will is above the maximum of this server [MQTT-3.2.2-12]";
            return Err((ReasonCode::QosNotSupported, text));
        }
        if will.retain && !self.retain {
            let text = "this server keeps no retained message, so no retained will [MQTT-3.2.2-13]";
            return Err((ReasonCode::RetainNotSupported, text));
        }
        if !self.fits_format(&will.properties, &will.payload) {
            let text = "the payload of the will is not UTF-8, as its format indicator says";
            return Err((ReasonCode::PayloadFormatInvalid, text));
        }
        Ok(())
    }

    /// Whether a payload is what its indicator says (section 3.3.2.3.2).
    #[must_use]
    pub fn fits_format(&self, properties: &PublishProperties, payload: &[u8]) -> bool {
        !self.checks_payload_format || properties.fits_format(payload)
    }

    /// Before MQTT 5 the connection is closed without a word: there is no other way to say no.
    pub(super) fn check_publish(&self, publish: &Publish) -> Result<(), ProtocolError> {
        if publish.qos > self.maximum_qos {
            return Err(ProtocolError::QosNotSupported {
                maximum: self.maximum_qos as u8,
            });
        }
        if publish.retain && !self.retain {
            return Err(ProtocolError::RetainNotSupported);
        }
        // With QoS 1 and 2 the acknowledgement says it.
        if publish.qos == QoS::AtMostOnce
            && !self.fits_format(&publish.properties, &publish.payload)
        {
            return Err(ProtocolError::PayloadFormat);
        }
        Ok(())
    }

    /// A client that was told and asks all the same breaks the protocol (sections 3.2.2.3.11 to 3.2.2.3.13).
    pub(super) fn check_subscribe(&self, subscribe: &Subscribe) -> Result<(), ProtocolError> {
        if subscribe.subscription_id.is_some() && !self.subscription_ids {
            return Err(ProtocolError::NotSupported(
                ReasonCode::SubscriptionIdsNotSupported,
            ));
        }
        let mut refused = subscribe
            .filters
            .iter()
            .filter_map(|wanted| self.refusal(&wanted.filter));
        refused
            .next()
            .map_or(Ok(()), |reason| Err(ProtocolError::NotSupported(reason)))
    }

    /// Why a filter is refused, if it is: for MQTT 3 clients, who could not be told before.
    #[must_use]
    pub fn refusal(&self, filter: &ByteString) -> Option<ReasonCode> {
        if self.shared && self.wildcards {
            return None;
        }
        match Filter::parse(filter).ok()? {
            Filter::Shared(_) if !self.shared => Some(ReasonCode::SharedSubscriptionsNotSupported),
            filter if filter.topic_filter().has_wildcard() && !self.wildcards => {
                Some(ReasonCode::WildcardSubscriptionsNotSupported)
            }
            _ => None,
        }
    }
}
