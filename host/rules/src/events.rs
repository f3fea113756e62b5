//! Events of the broker as messages that chains begin with: `$events/client/connected` and its like.
//!
//! Owns: what an event looks like to a chain, and which templates ask for which. Must not: raise any.

use crate::file::{File, Mode};
use crate::payload::Format;
use crate::place::{RuleError, Source, suggest};
use crate::template::{Template, Templates};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value as Json, json};
use serde_spanned::Spanned;
use witmq_broker::ports::Transport;
use witmq_broker::ports::raised::{Detail, EVENTS, EventKind, Raised, Wanted};
use witmq_proto::packet::{PublishProperties, QoS, Version};
use witmq_proto::{Message, ReasonCode, TopicName};

/// Bytes of the payload of a message that its events show; of a larger one they say the size alone.
pub(crate) const PAYLOAD_BYTES: usize = 64 * 1024;

/// The events that templates ask for.
pub(crate) fn wanted(from: &Templates) -> impl Iterator<Item = EventKind> + '_ {
    EventKind::ALL.into_iter().filter(|kind| {
        let topic = TopicName::new(kind.topic());
        topic.is_ok_and(|topic| from.matches(&topic))
    })
}

/// Those of several chains.
pub(crate) fn all_wanted<'a>(from: impl IntoIterator<Item = &'a Templates>) -> Wanted {
    let mut all = Wanted::default();
    for kind in from.into_iter().flat_map(wanted) {
        all.add(kind);
    }
    all
}

/// Refuses templates of events that do not exist, and chains that cannot begin with one.
pub(crate) fn check(file: &File, source: Source<'_>) -> Result<(), RuleError> {
    let texts = std::iter::once(&file.from.first).chain(&file.from.others);
    for text in texts.filter(|text| text.get_ref().starts_with(EVENTS)) {
        let wrong = |cause: String| {
            let at = source.content(&text.span());
            source.error(at, "bad-template", format!("from: {cause}"))
        };
        check_name(text, wrong)?;
        if file.mode == Mode::Transform {
            let error = wrong("an event has happened: no chain can change it".to_owned());
            return Err(error.hint("use mode = \"rule\", the default"));
        }
        if !matches!(file.decode, Format::Auto | Format::Json) {
            let name = file.decode.name();
            let error = wrong(format!("an event is JSON, but decode = \"{name}\""));
            return Err(error.hint("leave `decode` out; messages of that kind need another chain"));
        }
    }
    Ok(())
}

fn check_name(
    text: &Spanned<String>,
    wrong: impl Fn(String) -> RuleError,
) -> Result<(), RuleError> {
    let Ok(template) = Template::parse(text.get_ref()) else {
        return Ok(()); // said elsewhere
    };
    if wanted(&Templates::from(template)).next().is_some() {
        return Ok(());
    }
    let known = EventKind::ALL.map(EventKind::topic);
    let error = wrong(format!("there is no event `{}`", text.get_ref()));
    Err(error.hint(match suggest(text.get_ref(), known) {
        Some(like) => format!("did you mean `{like}`?"),
        None => format!("there are {}", known.join(", ")),
    }))
}

/// An event as the message that its chains take.
pub(crate) fn message(raised: &Raised, now_ms: u64) -> Option<Message> {
    let topic = raised.kind.topic();
    let name = topic.strip_prefix(EVENTS)?.replace('/', ".");
    let mut fields = Map::new();
    fields.insert("event".to_owned(), name.into());
    fields.insert("client".to_owned(), raised.client_id.to_string().into());
    let user = raised.username.as_ref().map(ToString::to_string);
    fields.insert("user".to_owned(), user.into());
    fields.insert("at_ms".to_owned(), now_ms.into());
    detail(&raised.detail, &mut fields);
    Some(Message {
        topic: TopicName::new(topic).ok()?,
        payload: Json::Object(fields).to_string().into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: raised.client_id.clone(),
        received_ms: now_ms,
        hops: 0,
    })
}

fn detail(detail: &Detail, fields: &mut Map<String, Json>) {
    let mut put = |name: &str, value: Json| {
        fields.insert(name.to_owned(), value);
    };
    match detail {
        Detail::Connection {
            peer,
            transport,
            version,
            session_present,
        } => {
            put("peer", peer.to_string().into());
            put("transport", transport_name(*transport).into());
            let level = match version {
                Version::V31 => 3,
                Version::V311 => 4,
                Version::V5 => 5,
            };
            put("protocol", level.into());
            put("session_present", (*session_present).into());
        }
        Detail::End { reason, text } => {
            let words = match reason {
                ReasonCode::Success => "normal disconnection",
                other => other.as_str(),
            };
            put("reason", words.into());
            put("code", (*reason as u8).into());
            put("text", text.as_str().into());
        }
        Detail::Subscription { filter, qos } => {
            put("topic", filter.to_string().into());
            if let Some(qos) = qos {
                put("qos", (*qos as u8).into());
            }
        }
        Detail::Message {
            message,
            qos,
            reason,
            cause,
        } => {
            put("topic", message.topic.to_string().into());
            put("qos", (*qos as u8).into());
            put("retain", message.retain.into());
            put("from", message.publisher.to_string().into());
            put("published_ms", message.received_ms.into());
            put("payload_bytes", message.payload.len().into());
            if let Some((name, value)) = payload(&message.payload) {
                put(name, value);
            }
            if let Some(reason) = reason {
                put("code", (*reason as u8).into());
            }
            if let Some(cause) = cause {
                put("reason", (*cause).into());
            }
        }
        Detail::Alarm(alarm) => {
            put("plugin", alarm.plugin.as_str().into());
            put("version", alarm.version.into());
            put("kind", alarm.kind.into());
            put("text", alarm.text.as_str().into());
        }
        Detail::Nothing => {}
    }
}

/// As `decode = "auto"` reads it; bytes as base64.
fn payload(bytes: &[u8]) -> Option<(&'static str, Json)> {
    if bytes.len() > PAYLOAD_BYTES {
        return None;
    }
    if let Ok(json) = serde_json::from_slice(bytes) {
        return Some(("payload", json));
    }
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => ("payload", text.into()),
        Err(_) => ("payload_base64", json!(BASE64_STANDARD.encode(bytes))),
    })
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use witmq_broker::ports::raised::PluginAlarm;

    fn shown(payload: Vec<u8>) -> Json {
        let message_of = Message {
            topic: TopicName::new("t").unwrap(),
            payload: payload.into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: PublishProperties::default(),
            expires_at: None,
            publisher: "p".into(),
            received_ms: 7,
            hops: 0,
        };
        let raised = Raised {
            kind: EventKind::Dropped,
            client_id: "c".into(),
            username: None,
            detail: Detail::Message {
                message: Arc::new(message_of),
                qos: QoS::AtMostOnce,
                reason: None,
                cause: Some("queue-full"),
            },
        };
        serde_json::from_slice(&message(&raised, 9).unwrap().payload).unwrap()
    }

    #[test]
    fn a_payload_is_shown_as_what_it_is_up_to_its_bound() {
        let json = shown(b"{\"a\":1}".to_vec());
        assert_eq!(
            json,
            json!({
                "event": "message.dropped", "client": "c", "user": null, "at_ms": 9, "topic": "t", "qos": 0,
                "retain": false, "from": "p", "published_ms": 7, "payload_bytes": 7, "payload": {"a": 1},
                "reason": "queue-full",
            })
        );
        assert_eq!(shown(b"plain".to_vec())["payload"], "plain");
        assert_eq!(shown(vec![0xff, 0])["payload_base64"], "/wA=");
        let most = shown(vec![b'x'; PAYLOAD_BYTES]);
        assert_eq!(most["payload"].as_str().map(str::len), Some(PAYLOAD_BYTES));
        let more = shown(vec![b'x'; PAYLOAD_BYTES + 1]);
        assert_eq!(more.get("payload"), None);
        assert_eq!(more["payload_bytes"], PAYLOAD_BYTES + 1);
    }

    #[test]
    fn an_alarm_says_which_plugin_and_why() {
        let raised = Raised {
            kind: EventKind::PluginAlarm,
            client_id: "".into(),
            username: None,
            detail: Detail::Alarm(PluginAlarm {
                plugin: "p".to_owned(),
                version: 2,
                kind: "breaker-open",
                text: "why".to_owned(),
            }),
        };
        let message = message(&raised, 9).unwrap();
        assert_eq!(message.topic.as_str(), "$events/plugin/alarm");
        assert_eq!(
            serde_json::from_slice::<Json>(&message.payload).unwrap(),
            json!({
                "event": "plugin.alarm", "client": "", "user": null, "at_ms": 9, "plugin": "p", "version": 2,
                "kind": "breaker-open", "text": "why",
            })
        );
    }

    #[test]
    fn a_template_asks_for_the_events_it_matches() {
        let asked = |text: &str| {
            let templates = Templates::from(Template::parse(text).unwrap());
            wanted(&templates).map(EventKind::topic).collect::<Vec<_>>()
        };
        assert_eq!(asked("#"), [""; 0]);
        assert_eq!(asked("+/client/connected"), [""; 0]);
        assert_eq!(
            asked("$events/client/connected"),
            ["$events/client/connected"]
        );
        assert_eq!(asked("$events/client/{what}").len(), 2);
        assert_eq!(asked("$events/#").len(), EventKind::ALL.len());
    }
}
