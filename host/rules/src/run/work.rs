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
}

impl Work {
    pub(crate) fn new(message: Arc<Message>) -> Self {
        Self {
            message,
            json: None,
        }
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
    let Work { message, json } = work;
    let json = match expression.needs_json() {
        true => json.get_or_insert_with(|| serde_json::from_slice(&message.payload).ok()),
        false => &None,
    };
    let scope = Scope::new(expression, &chain.from, publisher, message, json.as_ref());
    expression.run(&scope, || chain.stats.count(Count::Limited))
}

/// Text as it is, everything else as JSON.
pub(crate) fn to_payload(value: &Value<'_>) -> Result<Bytes, String> {
    match value {
        Value::String(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Value::Bytes(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        other => other.to_json().map(|json| Bytes::from(json.to_string())),
    }
}
