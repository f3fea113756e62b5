//! What packets of MQTT 3.1.1 mean for a bridge. It has no properties, and no way to refuse a message but to take it
//! or to end the connection.

use super::link::{Arrived, Happening, Token, Use};
use super::{Bridge, PACKET_BYTES};
use crate::kinds::tls::clearer;
use crate::outlet::{Answer, Trouble};
use rumqttc::{
    ConnectionError, Event, MqttOptions, Outgoing as Sent, Packet, Publish, QoS as Level,
    StateError, SubscribeFilter, SubscribeReasonCode,
};
use witmq_proto::packet::{MessageProperties, QoS};

/// The longest packet that there is.
const LONGEST_BYTES: usize = 268_435_455;

pub(super) fn options(bridge: &Bridge, purpose: Use) -> Result<MqttOptions, String> {
    let settings = &bridge.settings;
    let mut options = MqttOptions::new(bridge.client_id(purpose), settings.host(), settings.port);
    options.set_keep_alive(settings.keep_alive);
    let most = usize::try_from(PACKET_BYTES).unwrap_or(LONGEST_BYTES);
    options.set_max_packet_size(most, LONGEST_BYTES);
    if let Some((user, password)) = bridge.credentials()? {
        options.set_credentials(user, password);
    }
    if let Some(transport) = bridge.transport()? {
        options.set_transport(transport);
    }
    options.set_clean_session(purpose != Use::In);
    options.set_manual_acks(purpose == Use::In);
    Ok(options)
}

pub(super) fn failed(error: ConnectionError) -> Result<Happening, Trouble> {
    use rumqttc::mqttbytes::Error;
    Err(match error {
        ConnectionError::MqttState(StateError::Deserialization(
            Error::OutgoingPacketTooLarge { pkt_size, max },
        )) => Trouble::Refused(format!("it takes {pkt_size} bytes, and MQTT takes {max}")),
        error => Trouble::away(clearer(&error)),
    })
}

pub(super) fn happening(event: Event) -> Result<Happening, Trouble> {
    let done = |packet_id| Happening::Answered {
        packet_id,
        answer: Ok(Answer::Done),
        is_spent: false,
    };
    Ok(match event {
        Event::Incoming(Packet::ConnAck(_)) => Happening::LetIn,
        Event::Incoming(Packet::SubAck(ack)) => {
            let is_refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
            Happening::Subscribed(match is_refused {
                true => Err("the other broker refuses a subscription".to_owned()),
                false => Ok(()),
            })
        }
        Event::Incoming(Packet::Publish(publish)) => Happening::Arrived(Box::new(arrived(publish))),
        Event::Incoming(Packet::PubAck(ack)) => done(ack.pkid),
        Event::Incoming(Packet::PubComp(comp)) => done(comp.pkid),
        Event::Outgoing(Sent::Publish(packet_id)) => Happening::Written(packet_id),
        Event::Outgoing(Sent::Disconnect) => Happening::Left,
        _ => Happening::Other,
    })
}

fn arrived(publish: Publish) -> Arrived {
    Arrived {
        topic: publish.topic.clone(),
        payload: publish.payload.clone(),
        qos: QoS::from_bits(publish.qos as u8).unwrap_or(QoS::AtLeastOnce),
        retain: publish.retain,
        properties: MessageProperties::default(),
        token: Token::Four(Box::new(publish)),
    }
}

pub(super) fn filter(path: &str, qos: QoS) -> SubscribeFilter {
    SubscribeFilter::new(path.to_owned(), level(qos))
}

pub(super) fn level(qos: QoS) -> Level {
    match qos {
        QoS::AtMostOnce => Level::AtMostOnce,
        QoS::AtLeastOnce => Level::AtLeastOnce,
        QoS::ExactlyOnce => Level::ExactlyOnce,
    }
}
