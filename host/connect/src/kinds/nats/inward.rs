//! What a NATS server has for the subjects of a bridge is published here. A message of a consumer of JetStream is
//! acknowledged there when it is kept here; others are sent once, whoever is away then.
//!
//! Owns: the subscription. Reading stops while as many as may be are on their way in: the server holds what it can.

use super::link::Link;
use super::subject::topic;
use super::wire::{self, Op, publish, subscribe};
use super::{Bridge, Inward};
use crate::kinds::arrivals::{self, Arrivals};
use crate::kinds::via::mark;
use crate::record::now_ms;
use crate::settings::Retry;
use crate::state::{State, count};
use bytes::BytesMut;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use witmq_proto::packet::{MessageProperties, UserProperties};
use witmq_proto::{ByteString, Message, TopicName};

/// Bytes of a payload that is taken: what MQTT brokers take from each other, too.
const PAYLOAD_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a text of MQTT.
const TEXT_BYTES: usize = 65_535;
/// Where acknowledgements go for messages of consumers.
const ACK: &str = "$JS.ACK.";
/// How often the server is asked whether it is still there. It has as long to answer.
const PING: Duration = Duration::from_secs(30);

/// Receives until it is dropped.
pub(in crate::kinds) async fn receive(bridge: Bridge, retry: Retry, state: Arc<State>) {
    let Some(inward) = &bridge.settings.inward else {
        return;
    };
    let session = async || session(&bridge, inward, &state).await;
    arrivals::receive(&bridge.name, retry, &state, session).await;
}

async fn session(
    bridge: &Bridge,
    inward: &Inward,
    state: &Arc<State>,
) -> Result<Infallible, String> {
    let mut link = Link::open(bridge, "in").await?;
    let mut hello = BytesMut::new();
    for (number, subject) in inward.subjects.iter().enumerate() {
        subscribe(&mut hello, subject, inward.queue.as_deref(), number + 1);
    }
    hello.extend_from_slice(b"PING\r\n");
    link.write(&hello).await?;
    let mut arrivals: Arrivals<Option<String>> =
        Arrivals::new(&bridge.name, inward.under_way, &bridge.means.take, state);
    let start = tokio::time::Instant::now() + PING;
    let mut ask = tokio::time::interval_at(start, PING);
    let mut asked = 1;
    loop {
        tokio::select! {
            done = arrivals.next() => acknowledge(&mut link, done?).await?,
            said = link.next(), if arrivals.has_room() => match said? {
                Op::Message(message) => {
                    let reply = message.reply.clone().filter(|reply| reply.starts_with(ACK));
                    match take(bridge, inward, state, *message) {
                        Some(message) => arrivals.offer(reply, message).await,
                        None => arrivals.pass(reply),
                    }
                }
                Op::Ping => link.write(b"PONG\r\n").await?,
                Op::Pong => {
                    asked = 0;
                    arrivals::listens(&bridge.name, state);
                }
                Op::Wrong(text) => return Err(format!("the server said: {text}")),
                Op::Info(_) | Op::Fine => {}
            },
            // What was not read cannot have been answered.
            _ = ask.tick(), if arrivals.has_room() => {
                if asked > 1 {
                    return Err("the server does not answer".to_owned());
                }
                asked += 1;
                link.write(b"PING\r\n").await?;
            }
        }
    }
}

async fn acknowledge(link: &mut Link, reply: Option<String>) -> Result<(), String> {
    let Some(reply) = reply else { return Ok(()) };
    let mut out = BytesMut::new();
    publish(&mut out, &reply, None, &[], b"+ACK");
    link.write(&out).await
}

/// `None`: it is counted and done with.
fn take(bridge: &Bridge, inward: &Inward, state: &State, given: wire::Message) -> Option<Message> {
    match message(inward, given, &bridge.means.origin) {
        Ok(Some(message)) => return Some(message),
        Ok(None) => count(&state.looped, 1),
        Err(text) => {
            count(&state.dropped, 1);
            state.note(&text);
        }
    }
    None
}

/// `None`: it was here before, or passed too many brokers.
fn message(inward: &Inward, given: wire::Message, origin: &str) -> Result<Option<Message>, String> {
    let named = topic(&given.subject);
    let rest = named.strip_prefix(&inward.strip).unwrap_or(&named);
    let topic = TopicName::new(format!("{}{rest}", inward.add))
        .map_err(|error| format!("the subject `{}` is no topic here: {error}", given.subject))?;
    if given.payload.len() > PAYLOAD_BYTES {
        return Err(format!(
            "a message of {} bytes is too large",
            given.payload.len()
        ));
    }
    let is_text = |text: &str| text.len() <= TEXT_BYTES && !text.contains('\0');
    let mut content_type = None;
    let mut user = UserProperties::default();
    for (name, value) in given.headers {
        if !is_text(&name) || !is_text(&value) || name == "Mqtt-Topic" {
            continue;
        }
        match name.eq_ignore_ascii_case("content-type") {
            true => content_type = Some(ByteString::from(value)),
            false => user.push((name.into(), value.into())),
        }
    }
    if !mark(&mut user, origin) {
        return Ok(None);
    }
    let properties = MessageProperties {
        content_type,
        user,
        ..MessageProperties::default()
    };
    Ok(Some(Message {
        topic,
        payload: given.payload,
        qos: inward.qos,
        retain: false,
        properties: properties.into(),
        expires_at: None,
        publisher: ByteString::new(),
        received_ms: now_ms(),
        hops: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_proto::packet::QoS;

    fn inward(strip: &str, add: &str) -> Inward {
        Inward {
            subjects: Vec::new(),
            queue: None,
            strip: strip.to_owned(),
            add: add.to_owned(),
            qos: QoS::AtLeastOnce,
            under_way: 1,
        }
    }

    fn given(subject: &str, headers: &[(&str, &str)]) -> wire::Message {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        wire::Message {
            subject: subject.to_owned(),
            headers: headers.collect(),
            ..wire::Message::default()
        }
    }

    #[test]
    fn a_message_has_the_topic_of_its_subject_and_the_properties_of_its_headers() {
        let headers = [
            ("Content-Type", "text/plain"),
            ("a", "b"),
            ("Mqtt-Topic", "x"),
            ("n", "\0"),
        ];
        let message = message(&inward("far/", "near/"), given("far.a.%2E", &headers), "o");
        let message = message.expect("a topic").expect("no circle");
        assert_eq!(&*message.topic, "near/a/.");
        let properties = &message.properties;
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        let user: Vec<_> = properties.user.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(user, [("a", "b"), ("witmq-via", "o")]);
    }

    #[test]
    fn what_was_here_before_or_is_no_topic_is_not_taken() {
        let circle = given("a", &[("witmq-via", "o")]);
        assert_eq!(message(&inward("", ""), circle, "o"), Ok(None));
        let error = message(&inward("", ""), given("a.%2B", &[]), "o");
        assert!(error.is_err_and(|error| error.contains("`a.%2B` is no topic here")));
        for (size, is_fine) in [(PAYLOAD_BYTES, true), (PAYLOAD_BYTES + 1, false)] {
            let mut large = given("a", &[]);
            large.payload = vec![0; size].into();
            assert_eq!(message(&inward("", ""), large, "o").is_ok(), is_fine);
        }
    }
}
