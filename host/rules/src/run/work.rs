//! A message on its way, and expressions over it.

use crate::chain::{Chain, Count};
use crate::expression::{Expression, Scope, Value};
use bytes::Bytes;
use serde_json::Value as Json;
use std::sync::Arc;
use witmq_broker::ports::Publisher;
use witmq_proto::Message;

/// What a message that is held counts beside its topic and payload, and each named value or user property.
const MESSAGE_BYTES: usize = 256;
const BOUND_BYTES: usize = 64;

/// A message on its way, with its payload parsed once.
pub(crate) struct Work {
    pub(crate) message: Arc<Message>,
    json: Option<Option<Json>>,
    /// What steps before have named, by slot.
    bound: Vec<(u8, Value<'static>)>,
    /// How often it went on to a named chain.
    pub(super) jumps: usize,
    /// It was held by a window: its publisher may be gone.
    pub(super) is_late: bool,
}

/// A message that a window holds, with what was named for it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    message: Arc<Message>,
    bound: Vec<(u8, Value<'static>)>,
}

impl Held {
    /// On its way again.
    pub(crate) fn into_work(self) -> Work {
        Work {
            bound: self.bound,
            is_late: true,
            ..Work::new(self.message)
        }
    }
}

impl Work {
    pub(crate) fn new(message: Arc<Message>) -> Self {
        Self {
            message,
            json: None,
            bound: Vec::new(),
            jumps: 0,
            is_late: false,
        }
    }

    /// One of the messages that this one becomes.
    pub(crate) fn part(&self, message: Arc<Message>) -> Self {
        Self {
            message,
            json: None,
            bound: self.bound.clone(),
            jumps: self.jumps,
            is_late: self.is_late,
        }
    }

    /// For a window to hold, and its bytes.
    pub(crate) fn hold(&self) -> (Held, usize) {
        let held = Held {
            message: self.message.clone(),
            bound: self.bound.clone(),
        };
        let bound = held
            .bound
            .iter()
            .map(|(_, value)| value.bytes() + BOUND_BYTES);
        let user = held.message.properties.user.iter();
        let user = user.map(|(name, value)| name.len() + value.len() + BOUND_BYTES);
        let bytes = held.message.topic.len() + held.message.payload.len() + MESSAGE_BYTES;
        let all = bytes + bound.sum::<usize>() + user.sum::<usize>();
        (held, all)
    }

    /// Gives a value the name that has this slot.
    pub(crate) fn bind(&mut self, slot: u8, value: Value<'static>) {
        self.bound.retain(|(known, _)| *known != slot);
        self.bound.push((slot, value));
    }

    pub(crate) fn json(&mut self) -> Option<&Json> {
        let payload = &self.message.payload;
        self.json
            .get_or_insert_with(|| serde_json::from_slice(payload).ok())
            .as_ref()
    }

    /// Another message instead; `json` is its payload if that is known.
    pub(crate) fn exchange(&mut self, message: Message, json: Option<Json>) {
        self.message = Arc::new(message);
        self.json = json.map(Some);
    }

    /// The message, changed.
    pub(crate) fn replace(&mut self, change: impl FnOnce(&mut Message)) {
        change(Arc::make_mut(&mut self.message));
        self.json = None;
    }
}

pub(super) fn evaluate(
    chain: &Chain,
    expression: &Expression,
    publisher: Publisher<'_>,
    work: &mut Work,
) -> Result<Value<'static>, String> {
    let Work {
        message,
        json,
        bound,
        ..
    } = work;
    let json = match expression.needs_json() {
        true => json.get_or_insert_with(|| serde_json::from_slice(&message.payload).ok()),
        false => &None,
    };
    let scope = Scope::new(expression, &chain.from, publisher, message, json.as_ref());
    expression.run(&scope.with(&chain.node, bound), || {
        chain.stats.count(Count::Limited)
    })
}

/// Text as it is, everything else as JSON.
pub(crate) fn to_payload(value: &Value<'_>) -> Result<Bytes, String> {
    match value {
        Value::String(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Value::Bytes(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        other => other.to_json().map(|json| Bytes::from(json.to_string())),
    }
}
