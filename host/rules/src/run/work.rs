//! A message on its way, and expressions over it.

use crate::chain::{Chain, Count};
use crate::expression::{Expression, Scope, Value};
use bytes::Bytes;
use serde_json::Value as Json;
use std::sync::Arc;
use witmq_broker::ports::Publisher;
use witmq_proto::Message;

/// A message on its way, with its payload parsed once.
pub(crate) struct Work {
    pub(crate) message: Arc<Message>,
    json: Option<Option<Json>>,
    /// What steps before have named, by slot.
    bound: Vec<(u8, Value<'static>)>,
    /// How often it went on to a named chain.
    pub(super) jumps: usize,
}

impl Work {
    pub(crate) fn new(message: Arc<Message>) -> Self {
        Self {
            message,
            json: None,
            bound: Vec::new(),
            jumps: 0,
        }
    }

    /// One of the messages that this one becomes.
    pub(crate) fn part(&self, message: Arc<Message>) -> Self {
        Self {
            message,
            json: None,
            bound: self.bound.clone(),
            jumps: self.jumps,
        }
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
