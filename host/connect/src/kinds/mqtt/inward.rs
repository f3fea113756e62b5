//! What the other broker has for the filters of a bridge is published here, and acknowledged there when it is kept here.
//!
//! Owns: the session at the other broker. A message whose acknowledgement did not arrive comes again: at least once.

use super::link::{Arrived, Happening, Link, Token, Use};
use super::{Bridge, Inward};
use crate::kinds::arrivals::{self, Arrivals};
use crate::kinds::via::mark;
use crate::outlet::Trouble;
use crate::record::now_ms;
use crate::settings::Retry;
use crate::state::{State, count};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_proto::packet::QoS;
use witmq_proto::{ByteString, Message, TopicName};

/// Receives until it is dropped.
pub(in crate::kinds) async fn receive(bridge: Bridge, retry: Retry, state: Arc<State>) {
    let Some(inward) = &bridge.settings.inward else {
        return;
    };
    let session = async || session(&bridge, inward, &state).await;
    arrivals::receive(&bridge.name, retry, &state, session).await;
}

fn words(trouble: Trouble) -> String {
    let (Trouble::Away { text, .. } | Trouble::Refused(text)) = trouble;
    text
}

async fn session(
    bridge: &Bridge,
    inward: &Inward,
    state: &Arc<State>,
) -> Result<Infallible, String> {
    let mut link = Link::open(bridge, Use::In).await.map_err(words)?;
    link.subscribe(&inward.filters, inward.way.qos.unwrap_or(QoS::AtLeastOnce))?;
    let mut arrivals: Arrivals<Token> =
        Arrivals::new(&bridge.name, inward.under_way, &bridge.means.take, state);
    loop {
        tokio::select! {
            done = arrivals.next() => link.acknowledge(&done?)?,
            happening = link.next(), if arrivals.has_room() => match happening.map_err(words)? {
                Happening::Subscribed(said) => {
                    said?;
                    arrivals::listens(&bridge.name, state);
                }
                Happening::Arrived(arrived) => match take(bridge, inward, state, *arrived) {
                    (token, Some(message)) => arrivals.offer(token, message).await,
                    (token, None) => arrivals.pass(token),
                },
                _ => {}
            },
        }
    }
}

/// `None`: it is counted and done with.
fn take(
    bridge: &Bridge,
    inward: &Inward,
    state: &State,
    arrived: Arrived,
) -> (Token, Option<Message>) {
    let (token, message) = message(inward, arrived, &bridge.means.origin);
    match message {
        Ok(Some(message)) => return (token, Some(message)),
        Ok(None) => count(&state.looped, 1),
        Err(text) => {
            count(&state.dropped, 1);
            state.note(&text);
        }
    }
    (token, None)
}

/// `None`: it was here before, or passed too many bridges.
fn message(
    inward: &Inward,
    arrived: Arrived,
    origin: &str,
) -> (Token, Result<Option<Message>, String>) {
    let Arrived {
        payload,
        qos,
        retain,
        mut properties,
        token,
        ..
    } = arrived;
    let topic = match TopicName::new(inward.way.topic(&arrived.topic)) {
        Ok(topic) => topic,
        Err(error) => {
            let text = format!("a topic of the other broker is none here: {error}");
            return (token, Err(text));
        }
    };
    if !mark(&mut properties.user, origin) {
        return (token, Ok(None));
    }
    let lives = properties
        .message_expiry
        .map(|seconds| Duration::from_secs(seconds.into()));
    let message = Message {
        topic,
        payload,
        qos,
        retain: retain && inward.way.keeps_retain,
        properties: properties.into(),
        expires_at: lives.and_then(|lives| Instant::now().checked_add(lives)),
        publisher: ByteString::new(),
        received_ms: now_ms(),
        hops: 0,
    };
    (token, Ok(Some(message)))
}
