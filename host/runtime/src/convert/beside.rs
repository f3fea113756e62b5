//! What crosses the border off the message path: events, batches, clients.

use crate::abi::witmq::plugin::host_clients;
use crate::abi::{events, sink};
use crate::lane::Delivered;
use std::time::Duration;
use witmq_broker::ports::BrokerEvent;
use witmq_broker::ports::clients::ClientInfo;
use witmq_proto::ReasonCode;

/// A client as plugins see it.
pub(crate) fn client(client: ClientInfo) -> host_clients::Client {
    host_clients::Client {
        username: client.username.unwrap_or_default(),
        connected: client.peer.is_some(),
        peer: client.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        protocol: client.protocol,
        queued: u32::try_from(client.queued).unwrap_or(u32::MAX),
        subscriptions: client.subscriptions,
    }
}

/// The reason a plugin disconnects a client with.
pub(crate) fn disconnect_reason(code: u8) -> ReasonCode {
    ReasonCode::from_u8(code)
        .filter(|reason| reason.is_failure())
        .unwrap_or(ReasonCode::AdministrativeAction)
}

/// What came of one message of a batch.
pub(crate) fn delivered(delivered: sink::Delivered) -> Delivered {
    match delivered {
        sink::Delivered::Done => Delivered::Done,
        sink::Delivered::Again(0) => Delivered::Again(None),
        sink::Delivered::Again(ms) => Delivered::Again(Some(Duration::from_millis(ms.into()))),
        sink::Delivered::Never(text) => Delivered::Never(super::words(text)),
    }
}

/// An event as plugins see it; `None` for what they are not told.
pub(crate) fn event(event: &BrokerEvent, at_ms: u64) -> Option<events::Event> {
    let (name, client_id) = match event {
        BrokerEvent::Connected { client_id, .. } => ("connected", client_id),
        BrokerEvent::Refused { client_id, .. } => ("refused", client_id),
        BrokerEvent::Disconnected { client_id, .. } => ("disconnected", client_id),
        BrokerEvent::Subscribed { client_id, .. } => ("subscribed", client_id),
        BrokerEvent::Unsubscribed { client_id, .. } => ("unsubscribed", client_id),
        BrokerEvent::Denied { client_id, .. } => ("denied", client_id),
        BrokerEvent::Dropped { client_id, .. } => ("dropped", client_id),
        BrokerEvent::SessionEnded { client_id } => ("session-ended", client_id),
        _ => return None,
    };
    let (topic, reason, text) = match event {
        BrokerEvent::Refused { reason, text, .. }
        | BrokerEvent::Disconnected { reason, text, .. } => ("", *reason, &**text),
        BrokerEvent::Subscribed { filter, qos, .. } => (&**filter, ReasonCode::granted(*qos), ""),
        BrokerEvent::Unsubscribed { filter, .. } => (&**filter, ReasonCode::Success, ""),
        BrokerEvent::Denied { action, topic, .. } => (&**topic, ReasonCode::Success, *action),
        BrokerEvent::Dropped { cause, .. } => ("", ReasonCode::Success, *cause),
        _ => ("", ReasonCode::Success, ""),
    };
    let username = match event {
        BrokerEvent::Connected { username, .. } => username.as_deref(),
        _ => None,
    };
    Some(events::Event {
        name: name.to_owned(),
        at_ms,
        client_id: client_id.to_string(),
        username: username.unwrap_or_default().to_owned(),
        topic: topic.to_owned(),
        reason_code: reason.to_u8(),
        text: text.to_owned(),
        details: details(event),
    })
}

/// What is known of an event besides, by name.
fn details(event: &BrokerEvent) -> Vec<(String, String)> {
    let named = |name: &str, value: String| (name.to_owned(), value);
    match event {
        BrokerEvent::Connected {
            peer,
            transport,
            version,
            session_present,
            ..
        } => vec![
            named("peer", peer.to_string()),
            named("transport", super::transport(*transport).to_owned()),
            named("protocol", version.level().to_string()),
            named("session-present", session_present.to_string()),
        ],
        BrokerEvent::Refused { peer, .. } => vec![named("peer", peer.to_string())],
        _ => Vec::new(),
    }
}
