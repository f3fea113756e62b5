//! What the other broker has for the filters of a bridge is published here, and acknowledged there when it is kept here.
//!
//! Owns: the session at the other broker. A message whose acknowledgement did not arrive comes again: at least once.

use super::{Bridge, Inward, level, mark};
use crate::kinds::arrivals::Arrivals;
use crate::record::now_ms;
use crate::settings::Retry;
use crate::state::{State, count};
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_proto::packet::{MessageProperties, QoS};
use witmq_proto::{ByteString, Message, TopicName};

/// Messages that the other broker may send before they are acknowledged.
const RECEIVE: u16 = 100;
/// Receives until it is dropped.
pub(in crate::kinds) async fn receive(bridge: Bridge, retry: Retry, state: Arc<State>) {
    let Some(inward) = &bridge.settings.inward else {
        return;
    };
    let mut pause = retry.first;
    loop {
        let Err(text) = session(&bridge, inward, &state).await;
        // It had been listening: what ended is a new trouble.
        if state.fail_inward(&text) {
            tracing::warn!(sink = bridge.name, "a bridge does not receive: {text}");
            pause = retry.first;
        }
        tokio::time::sleep(retry.with_jitter(pause)).await;
        pause = (pause * 2).min(retry.longest);
    }
}

async fn session(
    bridge: &Bridge,
    inward: &Inward,
    state: &Arc<State>,
) -> Result<Infallible, String> {
    let Bridge {
        settings,
        name,
        means,
    } = bridge;
    let mut options = settings.options(&format!("{name}-in"), means)?;
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(inward.expiry_s));
    options.set_receive_maximum(Some(RECEIVE));
    options.set_manual_acks(true);
    let (client, mut events) = AsyncClient::new(options, usize::from(RECEIVE) * 2);
    let mut arrivals = Arrivals::new(name, &means.take, state);
    loop {
        match events.poll().await.map_err(|error| error.to_string())? {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters: Vec<Filter> = inward
                    .filters
                    .iter()
                    .map(|path| filter(path, inward.way.qos))
                    .collect();
                client
                    .try_subscribe_many(filters)
                    .map_err(|error| error.to_string())?;
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let is_given =
                    |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                if let Some(code) = ack.return_codes.iter().find(|code| !is_given(code)) {
                    return Err(format!(
                        "the other broker refuses the subscription: {code:?}"
                    ));
                }
                if state.recover_inward() {
                    tracing::info!(sink = name, "a bridge receives again");
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                match take(bridge, inward, state, &publish) {
                    Some(message) => arrivals.offer(publish, message).await,
                    None => arrivals.pass(publish),
                }
                let publish = arrivals.next().await?;
                client
                    .try_ack(&publish)
                    .map_err(|error| error.to_string())?;
            }
            Event::Incoming(Packet::Disconnect(said)) => {
                return Err(format!(
                    "the other broker said goodbye: {:?}",
                    said.reason_code
                ));
            }
            _ => {}
        }
    }
}

fn filter(path: &str, qos: Option<QoS>) -> Filter {
    Filter {
        path: path.to_owned(),
        qos: level(qos.unwrap_or(QoS::AtLeastOnce)),
        nolocal: true,
        preserve_retain: true,
        retain_forward_rule: RetainForwardRule::OnNewSubscribe,
    }
}

/// `None`: it is counted and done with.
fn take(bridge: &Bridge, inward: &Inward, state: &State, publish: &Publish) -> Option<Message> {
    match message(bridge, inward, publish) {
        Ok(Some(message)) => return Some(message),
        Ok(None) => count(&state.looped, 1),
        Err(text) => {
            count(&state.dropped, 1);
            state.note(&text);
        }
    }
    None
}

/// `None`: it was here before, or passed too many bridges.
fn message(bridge: &Bridge, inward: &Inward, publish: &Publish) -> Result<Option<Message>, String> {
    let topic = String::from_utf8_lossy(&publish.topic);
    let topic = TopicName::new(inward.way.topic(&topic))
        .map_err(|error| format!("a topic of the other broker is none here: {error}"))?;
    let given = publish.properties.clone().unwrap_or_default();
    let user = given.user_properties.into_iter();
    let mut properties = MessageProperties {
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
    if !mark(&mut properties.user, &bridge.means.origin) {
        return Ok(None);
    }
    let lives = properties
        .message_expiry
        .map(|seconds| Duration::from_secs(seconds.into()));
    Ok(Some(Message {
        topic,
        payload: publish.payload.clone(),
        qos: QoS::from_bits(publish.qos as u8).unwrap_or(QoS::AtLeastOnce),
        retain: publish.retain && inward.way.keeps_retain,
        properties: properties.into(),
        expires_at: lives.and_then(|lives| Instant::now().checked_add(lives)),
        publisher: ByteString::new(),
        received_ms: now_ms(),
        hops: 0,
    }))
}
