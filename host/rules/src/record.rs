//! Messages as they come in, for a chain to be tried on later: what is recorded, and its form, one JSON object a line.
//!
//! Owns: [`Recorder`], bounded in time, number and bytes; [`Recorded`], a line of a recording. Must not: cost more than a
//! load while nothing is recorded.

use crate::template::Templates;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use witmq_broker::ports::Publisher;
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

/// Messages of a recording at most.
pub(crate) const MESSAGES: usize = 100_000;
/// The longest time of one.
pub(crate) const TIME_MS: u64 = 24 * 3600 * 1000;
/// Bytes of a recording: of payloads, topics and properties.
pub(crate) const BYTES: usize = 64 * 1024 * 1024;
/// What a message counts beside its topic, payload and user properties.
const MESSAGE_BYTES: usize = 128;
/// Nobody asked for so long: the recording is given up.
const LEASE_MS: u64 = 30_000;
/// Messages that are handed over at once, and their bytes.
const PAGE: usize = 1000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// User properties whose name has one of these words in it are recorded without their value.
const SECRETS: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "credential",
    "api-key",
    "apikey",
    "api_key",
];
/// What stands for their value.
const HIDDEN: &str = "***";

fn is_false(it: &bool) -> bool {
    !it
}

fn is_zero(it: &u8) -> bool {
    *it == 0
}

/// A message as it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When it was received, milliseconds since 1970.
    pub at_ms: u64,
    /// Client id of its publisher.
    #[serde(default)]
    pub client: String,
    /// User name of its publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its topic.
    pub topic: String,
    /// Its payload, if that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Its payload, if that is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// Its QoS.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub qos: u8,
    /// Its RETAIN flag.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retain: bool,
    /// Message Expiry Interval, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<u32>,
    /// Content Type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Response Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// Correlation Data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_base64: Option<String>,
    /// User properties in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<(String, String)>,
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn decoded(text: &str) -> Result<Bytes, String> {
    let bytes = BASE64_STANDARD.decode(text);
    bytes
        .map(Bytes::from)
        .map_err(|error| format!("`{text}` is no base64: {error}"))
}

/// Whether a user property is one whose value stays here.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|word| name.contains(word))
}

impl Recorded {
    fn of(publisher: Publisher<'_>, message: &Message) -> Self {
        let properties = &message.properties;
        let text = String::from_utf8(message.payload.to_vec()).ok();
        let user = properties.user.iter().map(|(name, value)| {
            let value = if is_secret(name) { HIDDEN } else { value };
            (name.to_string(), value.to_owned())
        });
        Self {
            at_ms: message.received_ms,
            client: publisher.client_id.to_owned(),
            username: publisher.username.map(str::to_owned),
            topic: message.topic.to_string(),
            payload_base64: text.is_none().then(|| encoded(&message.payload)),
            payload: text,
            qos: message.qos as u8,
            retain: message.retain,
            expiry: properties.message_expiry,
            content_type: properties.content_type.as_ref().map(ToString::to_string),
            response_topic: properties.response_topic.as_ref().map(ToString::to_string),
            correlation_base64: (properties.correlation_data.as_ref()).map(|data| encoded(data)),
            user: user.collect(),
        }
    }

    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let user = self
            .user
            .iter()
            .map(|(name, value)| name.len() + value.len() + 8);
        let payload = text(&self.payload) + text(&self.payload_base64);
        MESSAGE_BYTES + self.topic.len() + self.client.len() + payload + user.sum::<usize>()
    }

    /// The message.
    pub(crate) fn message(&self) -> Result<Arc<Message>, String> {
        let payload = match (&self.payload, &self.payload_base64) {
            (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
            (None, Some(text)) => decoded(text)?,
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => return Err("it has `payload` and `payload_base64`".to_owned()),
        };
        let mut properties = PublishProperties::default();
        if self.expiry.is_some() {
            properties.message_expiry = self.expiry;
        }
        if let Some(kind) = &self.content_type {
            properties.content_type = Some(ByteString::from(kind.as_str()));
        }
        if let Some(topic) = &self.response_topic {
            properties.response_topic = Some(ByteString::from(topic.as_str()));
        }
        if let Some(data) = &self.correlation_base64 {
            properties.correlation_data = Some(decoded(data)?);
        }
        for (name, value) in &self.user {
            let pair = (
                ByteString::from(name.as_str()),
                ByteString::from(value.as_str()),
            );
            properties.user.push(pair);
        }
        let qos = QoS::from_bits(self.qos).ok_or_else(|| format!("`qos` is {}", self.qos))?;
        Ok(Arc::new(Message {
            topic: TopicName::new(self.topic.as_str()).map_err(|error| error.to_string())?,
            payload,
            qos,
            retain: self.retain,
            properties,
            expires_at: None,
            publisher: ByteString::from(self.client.as_str()),
            received_ms: self.at_ms,
            hops: 0,
        }))
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) from: Templates,
    pub(crate) time_ms: u64,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What of a recording is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Its number.
    pub id: u64,
    /// Nothing is recorded any more.
    pub is_over: bool,
    /// Messages recorded so far.
    pub recorded: u64,
    /// Messages that were not because there were too many, and because they were too large together.
    pub skipped_messages: u64,
    /// See `skipped_messages`.
    pub skipped_bytes: u64,
    /// Number of the last message in `messages`: what is behind it is asked for next.
    pub last: u64,
    /// Oldest first.
    pub messages: Vec<Recorded>,
}

#[derive(Debug)]
struct Taken {
    wanted: Wanted,
    until_ms: u64,
    lease_ms: u64,
    /// Bytes of everything recorded.
    bytes: usize,
    /// Its counts; messages that were fetched are gone.
    recording: Recording,
    waiting: VecDeque<Recorded>,
}

/// One recording at a time.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    is_on: AtomicBool,
    last_id: Mutex<u64>,
    taken: Mutex<Option<Taken>>,
}

impl Recorder {
    fn taken(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins; `None` while another one goes on and somebody asks for it.
    pub(crate) fn begin(&self, wanted: Wanted, now_ms: u64) -> Option<Recording> {
        let mut taken = self.taken();
        if taken.as_ref().is_some_and(|taken| taken.lease_ms >= now_ms) {
            return None;
        }
        let mut last = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let recording = Recording {
            id: *last,
            ..Recording::default()
        };
        *taken = Some(Taken {
            until_ms: now_ms.saturating_add(wanted.time_ms),
            wanted,
            lease_ms: now_ms.saturating_add(LEASE_MS),
            bytes: 0,
            recording: recording.clone(),
            waiting: VecDeque::new(),
        });
        self.is_on.store(true, Ordering::Release);
        Some(recording)
    }

    /// Whether it sees messages.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// A message came in.
    pub(crate) fn see(&self, publisher: Publisher<'_>, message: &Message) {
        if self.is_on.load(Ordering::Relaxed) {
            self.record(publisher, message);
        }
    }

    #[cold]
    fn record(&self, publisher: Publisher<'_>, message: &Message) {
        let mut guard = self.taken();
        let Some(taken) = guard.as_mut() else {
            self.is_on.store(false, Ordering::Relaxed);
            return;
        };
        let now_ms = message.received_ms;
        if now_ms > taken.lease_ms {
            *guard = None; // nobody asks any more
            self.is_on.store(false, Ordering::Relaxed);
            return;
        }
        if now_ms > taken.until_ms {
            taken.recording.is_over = true;
            self.is_on.store(false, Ordering::Relaxed);
            return;
        }
        if !taken.wanted.from.matches(&message.topic) {
            return;
        }
        let most = u64::try_from(taken.wanted.messages).unwrap_or(u64::MAX);
        if taken.recording.recorded >= most {
            taken.recording.skipped_messages += 1;
            return;
        }
        let recorded = Recorded::of(publisher, message);
        let bytes = taken.bytes.saturating_add(recorded.bytes());
        if bytes > taken.wanted.bytes {
            taken.recording.skipped_bytes += 1;
            return;
        }
        taken.bytes = bytes;
        taken.recording.recorded += 1;
        taken.waiting.push_back(recorded);
    }

    /// What is behind message `after`, some of it if that is much; what is before is forgotten. `None`: there is no such
    /// recording.
    pub(crate) fn ask(&self, id: u64, after: u64, now_ms: u64) -> Option<Recording> {
        let mut guard = self.taken();
        let taken = guard.as_mut().filter(|taken| taken.recording.id == id)?;
        taken.lease_ms = now_ms.saturating_add(LEASE_MS);
        if now_ms > taken.until_ms {
            taken.recording.is_over = true;
            self.is_on.store(false, Ordering::Relaxed);
        }
        let there = u64::try_from(taken.waiting.len()).unwrap_or(u64::MAX);
        let first = taken.recording.recorded.saturating_sub(there);
        let gone = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        taken.waiting.drain(..gone.min(taken.waiting.len()));
        let mut bytes = 0;
        let page = taken.waiting.iter().take(PAGE).take_while(|recorded| {
            let goes_on = bytes < PAGE_BYTES;
            bytes += recorded.bytes();
            goes_on
        });
        let messages: Vec<Recorded> = page.cloned().collect();
        let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        Some(Recording {
            last: first.max(after).saturating_add(count),
            messages,
            ..taken.recording.clone()
        })
    }

    /// Ends and forgets it; whether there was one.
    pub(crate) fn end(&self, id: u64) -> bool {
        let mut taken = self.taken();
        let is_there = taken.as_ref().is_some_and(|taken| taken.recording.id == id);
        if is_there {
            *taken = None;
            self.is_on.store(false, Ordering::Relaxed);
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(messages: usize, bytes: usize) -> Wanted {
        let template = crate::template::Template::parse("a/#").unwrap();
        Wanted {
            from: Templates::from(template),
            time_ms: 1000,
            messages,
            bytes,
        }
    }

    fn message(topic: &str, payload: &[u8], at_ms: u64) -> Message {
        let recorded = Recorded {
            at_ms,
            topic: topic.to_owned(),
            payload_base64: Some(encoded(payload)),
            ..Recorded::default()
        };
        Message::clone(&recorded.message().unwrap())
    }

    const CLIENT: Publisher<'_> = Publisher {
        client_id: "c",
        username: Some("u"),
        attributes: &[],
        session: 1,
    };

    fn topics(recording: &Recording) -> Vec<&str> {
        recording.messages.iter().map(|it| &*it.topic).collect()
    }

    #[test]
    fn it_records_what_matches_in_its_time_for_whoever_asks() {
        let recorder = Recorder::default();
        recorder.see(CLIENT, &message("a/0", b"x", 0));
        let id = recorder.begin(wanted(10, BYTES), 1000).unwrap().id;
        assert!(
            recorder.begin(wanted(10, BYTES), 1000).is_none(),
            "one at a time"
        );
        for (topic, at_ms) in [("a/1", 1000), ("b", 1001), ("a/2", 1500), ("a/3", 2000)] {
            recorder.see(CLIENT, &message(topic, b"x", at_ms));
        }
        let first = recorder.ask(id, 0, 2000).unwrap();
        assert_eq!(topics(&first), ["a/1", "a/2", "a/3"]);
        assert_eq!((first.recorded, first.last, first.is_over), (3, 3, false));
        assert_eq!(recorder.ask(id, 1, 2000).unwrap().messages.len(), 2);
        recorder.see(CLIENT, &message("a/4", b"x", 2001));
        let last = recorder.ask(id, 3, 2001).unwrap();
        assert_eq!((last.messages.len(), last.last, last.is_over), (0, 3, true));
        assert_eq!(recorder.ask(id + 1, 0, 2001), None);
        assert!(recorder.end(id) && !recorder.end(id));
        assert_eq!(recorder.ask(id, 0, 2001), None);
    }

    #[test]
    fn it_is_bounded_in_number_and_bytes_and_counts_the_rest() {
        let recorder = Recorder::default();
        let one = Recorded::of(CLIENT, &message("a/1", b"12345", 0)).bytes();
        let id = recorder.begin(wanted(2, 2 * one), 0).unwrap().id;
        recorder.see(CLIENT, &message("a/1", b"123456", 0));
        recorder.see(CLIENT, &message("a/1", b"12345", 0));
        recorder.see(CLIENT, &message("a/1", b"1234", 0));
        recorder.see(CLIENT, &message("a/1", b"", 0));
        let there = recorder.ask(id, 0, 0).unwrap();
        let counts = (there.recorded, there.skipped_messages, there.skipped_bytes);
        assert_eq!(counts, (2, 1, 1));
    }

    #[test]
    fn it_is_given_up_when_nobody_asks_and_comes_in_pages() {
        let recorder = Recorder::default();
        let many = PAGE + 3;
        let long = Wanted {
            time_ms: 10 * LEASE_MS,
            ..wanted(many, BYTES)
        };
        let id = recorder.begin(long, 0).unwrap().id;
        (0..many).for_each(|_| recorder.see(CLIENT, &message("a", b"x", 5)));
        let page = recorder.ask(id, 0, 0).unwrap();
        assert_eq!((page.messages.len(), page.last), (PAGE, PAGE as u64));
        let page = recorder.ask(id, page.last, 0).unwrap();
        assert_eq!((page.messages.len(), page.last), (3, many as u64));
        recorder.see(CLIENT, &message("a", b"x", LEASE_MS));
        assert!(recorder.begin(wanted(1, BYTES), LEASE_MS).is_none());
        assert!(recorder.ask(id, page.last, 0).is_some());
        recorder.see(CLIENT, &message("a", b"x", LEASE_MS + 1));
        assert_eq!(recorder.ask(id, 0, 0), None);
        assert!(recorder.begin(wanted(1, BYTES), LEASE_MS + 1).is_some());
    }

    #[test]
    fn a_message_comes_back_as_it_was_but_for_its_secrets() {
        let mut sent = message("a/b", &[0xFF, 0], 7);
        (sent.qos, sent.retain) = (QoS::ExactlyOnce, true);
        sent.properties.message_expiry = Some(60);
        sent.properties.content_type = Some(ByteString::from_static("x/y"));
        sent.properties.response_topic = Some(ByteString::from_static("r"));
        sent.properties.correlation_data = Some(Bytes::from_static(&[1, 0xFE]));
        for (name, value) in [("k", "1"), ("X-Auth-Token", "s3cret"), ("k", "2")] {
            let pair = (ByteString::from(name), ByteString::from(value));
            sent.properties.user.push(pair);
        }
        let line = serde_json::to_string(&Recorded::of(CLIENT, &sent)).unwrap();
        assert!(!line.contains("s3cret"), "{line}");
        let read: Recorded = serde_json::from_str(&line).unwrap();
        let came = read.message().unwrap();
        assert_eq!(
            (read.client.as_str(), read.username.as_deref()),
            ("c", Some("u"))
        );
        assert_eq!((&came.topic, &came.payload), (&sent.topic, &sent.payload));
        assert_eq!(
            (came.qos, came.retain, came.received_ms),
            (sent.qos, true, 7)
        );
        let hidden = (
            ByteString::from_static("X-Auth-Token"),
            ByteString::from_static(HIDDEN),
        );
        sent.properties.user[1] = hidden;
        assert_eq!(came.properties, sent.properties);
        let text = Recorded::of(CLIENT, &message("a", b"{\"c\":1}", 1));
        let line = r#"{"at_ms":1,"client":"c","username":"u","topic":"a","payload":"{\"c\":1}"}"#;
        assert_eq!(serde_json::to_string(&text).unwrap(), line);
    }
}
