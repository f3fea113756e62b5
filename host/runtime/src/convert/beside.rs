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
        sink::Delivered::Never(text) => Delivered::Never(text),
    }
}

/// An event as plugins see it; `None` for what they are not told.
pub(crate) fn event(event: &BrokerEvent, at_ms: u64) -> Option<events::Event> {
    let mut seen = events::Event {
        name: String::new(),
        at_ms,
        client_id: String::new(),
        username: String::new(),
        topic: String::new(),
        reason_code: 0,
        text: String::new(),
    };
    let name = match event {
        BrokerEvent::Connected {
            client_id,
            username,
            ..
        } => {
            seen.client_id = client_id.to_string();
            seen.username = username.as_deref().unwrap_or_default().to_owned();
            "connected"
        }
        BrokerEvent::Refused {
            client_id,
            reason,
            text,
            ..
        } => {
            (seen.client_id, seen.text) = (client_id.to_string(), text.clone());
            seen.reason_code = reason.to_u8();
            "refused"
        }
        BrokerEvent::Disconnected {
            client_id,
            reason,
            text,
        } => {
            (seen.client_id, seen.text) = (client_id.to_string(), text.clone());
            seen.reason_code = reason.to_u8();
            "disconnected"
        }
        BrokerEvent::Denied {
            client_id,
            action,
            topic,
        } => {
            (seen.client_id, seen.text) = (client_id.to_string(), (*action).to_owned());
            seen.topic = topic.to_string();
            "denied"
        }
        BrokerEvent::Dropped { client_id, cause } => {
            (seen.client_id, seen.text) = (client_id.to_string(), (*cause).to_owned());
            "dropped"
        }
        BrokerEvent::SessionEnded { client_id } => {
            seen.client_id = client_id.to_string();
            "session-ended"
        }
        _ => return None,
    };
    seen.name = name.to_owned();
    Some(seen)
}
