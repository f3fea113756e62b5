//! What packets of MQTT 5 mean for a bridge.

use super::link::{Arrived, Happening, Outgoing, Token, Use};
use super::{Bridge, PACKET_BYTES};
use crate::kinds::tls::clearer;
use crate::outlet::{Answer, Trouble};
use crate::record::now_ms;
use rumqttc::Outgoing as Sent;
use rumqttc::v5::mqttbytes::QoS as Level;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PubAckReason, PubRecReason, Publish, PublishProperties, RetainForwardRule,
    SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{ConnectionError, Event, MqttOptions, StateError};
use witmq_proto::ByteString;
use witmq_proto::packet::{MessageProperties, QoS};

pub(super) fn options(bridge: &Bridge, purpose: Use) -> Result<MqttOptions, String> {
    let settings = &bridge.settings;
    let mut options = MqttOptions::new(bridge.client_id(purpose), settings.host(), settings.port);
    options.set_keep_alive(settings.keep_alive);
    options.set_max_packet_size(Some(PACKET_BYTES));
    if let Some((user, password)) = bridge.credentials()? {
        options.set_credentials(user, password);
    }
    if let Some(transport) = bridge.transport()? {
        options.set_transport(transport);
    }
    options.set_clean_start(purpose != Use::In);
    if let (Use::In, Some(inward)) = (purpose, &settings.inward) {
        options.set_session_expiry_interval(Some(inward.expiry_s));
        options.set_receive_maximum(Some(inward.under_way));
        options.set_manual_acks(true);
    }
    Ok(options)
}

pub(super) fn failed(error: ConnectionError) -> Result<Happening, Trouble> {
    Err(match error {
        ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { pkt_size, max }) => {
            Trouble::Refused(format!(
                "it takes {pkt_size} bytes, and the other broker takes {max}"
            ))
        }
        error => Trouble::away(clearer(&error)),
    })
}

pub(super) fn happening(event: Event) -> Result<Happening, Trouble> {
    Ok(match event {
        Event::Incoming(Packet::ConnAck(_)) => Happening::LetIn,
        Event::Incoming(Packet::SubAck(ack)) => Happening::Subscribed(subscribed(&ack)),
        Event::Incoming(Packet::Publish(publish)) => Happening::Arrived(Box::new(arrived(publish))),
        Event::Incoming(Packet::PubAck(ack)) => answered(ack.pkid, judged(ack.reason), false),
        Event::Incoming(Packet::PubRec(rec)) if !is_taken(rec.reason) => {
            answered(rec.pkid, judged(as_ack(rec.reason)), true)
        }
        Event::Incoming(Packet::PubComp(comp)) => answered(comp.pkid, Ok(Answer::Done), false),
        Event::Incoming(Packet::Disconnect(said)) => Happening::Goodbye(format!(
            "the other broker said goodbye: {:?}",
            said.reason_code
        )),
        Event::Outgoing(Sent::Publish(packet_id)) => Happening::Written(packet_id),
        Event::Outgoing(Sent::Disconnect) => Happening::Left,
        _ => Happening::Other,
    })
}

fn answered(packet_id: u16, answer: Result<Answer, Trouble>, is_spent: bool) -> Happening {
    Happening::Answered {
        packet_id,
        answer,
        is_spent,
    }
}

fn subscribed(ack: &SubAck) -> Result<(), String> {
    let is_given = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
    match ack.return_codes.iter().find(|code| !is_given(code)) {
        Some(code) => Err(format!(
            "the other broker refuses the subscription: {code:?}"
        )),
        None => Ok(()),
    }
}

fn is_taken(reason: PubRecReason) -> bool {
    matches!(
        reason,
        PubRecReason::Success | PubRecReason::NoMatchingSubscribers
    )
}

fn as_ack(reason: PubRecReason) -> PubAckReason {
    match reason {
        PubRecReason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        PubRecReason::PayloadFormatInvalid => PubAckReason::PayloadFormatInvalid,
        PubRecReason::NotAuthorized => PubAckReason::NotAuthorized,
        PubRecReason::QuotaExceeded => PubAckReason::QuotaExceeded,
        _ => PubAckReason::ImplementationSpecificError,
    }
}

/// What is wrong with the message never comes right; what is wrong with the broker or our rights may.
fn judged(reason: PubAckReason) -> Result<Answer, Trouble> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(Answer::Done),
        PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => Ok(Answer::Never(
            format!("the other broker refused it: {reason:?}"),
        )),
        other => Err(Trouble::away(format!(
            "the other broker refused it: {other:?}"
        ))),
    }
}

fn arrived(publish: Publish) -> Arrived {
    let given = publish.properties.clone().unwrap_or_default();
    let user = given.user_properties.into_iter();
    let properties = MessageProperties {
        payload_format: given.payload_format_indicator,
        message_expiry: given.message_expiry_interval,
        response_topic: given.response_topic.map(ByteString::from),
        correlation_data: given.correlation_data,
        content_type: given.content_type.map(ByteString::from),
        user: user
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        ..MessageProperties::default()
    };
    Arrived {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.clone(),
        qos: QoS::from_bits(publish.qos as u8).unwrap_or(QoS::AtLeastOnce),
        retain: publish.retain,
        properties,
        token: Token::Five(Box::new(publish)),
    }
}

pub(super) fn properties(message: &Outgoing<'_>) -> PublishProperties {
    let given = &message.record.properties;
    let left = message
        .record
        .expires_ms
        .map(|at| at.saturating_sub(now_ms()).div_ceil(1000));
    let text = |text: &Option<ByteString>| text.as_ref().map(ToString::to_string);
    PublishProperties {
        payload_format_indicator: given.payload_format,
        message_expiry_interval: left.map(|left| u32::try_from(left).unwrap_or(u32::MAX)),
        response_topic: text(&given.response_topic),
        correlation_data: given.correlation_data.clone(),
        content_type: text(&given.content_type),
        user_properties: message
            .user
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        ..PublishProperties::default()
    }
}

pub(super) fn filter(path: &str, qos: QoS) -> Filter {
    Filter {
        path: path.to_owned(),
        qos: level(qos),
        nolocal: true,
        preserve_retain: true,
        retain_forward_rule: RetainForwardRule::OnNewSubscribe,
    }
}

pub(super) fn level(qos: QoS) -> Level {
    match qos {
        QoS::AtMostOnce => Level::AtMostOnce,
        QoS::AtLeastOnce => Level::AtLeastOnce,
        QoS::ExactlyOnce => Level::ExactlyOnce,
    }
}
