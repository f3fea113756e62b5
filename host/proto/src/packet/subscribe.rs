//! SUBSCRIBE, UNSUBSCRIBE and their answers.

use super::{PacketId, QoS, UserProperties};
use crate::ReasonCode;
use bytestring::ByteString;

/// SUBSCRIBE (MQTT 5 section 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier (MQTT 5): 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user: UserProperties,
    /// At least one [MQTT-3.8.3-2]. Raw text: a bad filter fails alone, so it is judged later.
    pub filters: Vec<SubscribeFilter>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// The topic filter as sent, `$share/` prefix included.
    pub filter: ByteString,
    /// Its options.
    pub options: SubscribeOptions,
}

/// Subscription Options (MQTT 5 section 3.8.3.1); only `qos` before MQTT 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Maximum QoS at which the server may send.
    pub qos: QoS,
    /// Do not send back what this client publishes.
    pub no_local: bool,
    /// Keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// Retain Handling option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: send retained messages at every subscribe.
    #[default]
    Send,
    /// 1: only if the subscription is new.
    SendIfNew,
    /// 2: never.
    DoNotSend,
}

/// SUBACK (MQTT 5 section 3.9): one code per filter, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    /// Of the SUBSCRIBE it answers.
    pub packet_id: PacketId,
    /// One per filter; failures become 0x80 before MQTT 5.
    pub reasons: Vec<ReasonCode>,
    /// Text for people.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user: UserProperties,
}

/// UNSUBSCRIBE (MQTT 5 section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// User properties.
    pub user: UserProperties,
    /// At least one [MQTT-3.10.3-2].
    pub filters: Vec<ByteString>,
}

/// UNSUBACK (MQTT 5 section 3.11); no codes on the wire before MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback {
    /// Of the UNSUBSCRIBE it answers.
    pub packet_id: PacketId,
    /// One per filter.
    pub reasons: Vec<ReasonCode>,
    /// Text for people.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user: UserProperties,
}
