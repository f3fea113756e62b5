//! What the names of an expression stand for.
//! Must not: read a clock; the time is when the message was received.

use super::Expression;
use super::node::Variable;
use super::value::{Held, Text, Value};
use crate::payload::Doc;
use crate::template::Templates;
use std::collections::BTreeMap;
use witmq_broker::ports::Publisher;
use witmq_proto::{Message, TopicName};

/// A message for an expression.
pub(crate) struct Scope<'a> {
    message: &'a Message,
    template: &'a Templates,
    publisher: Publisher<'a>,
    payload: Value<'a>,
    /// Null if nothing asks for them as a whole.
    topic: Value<'a>,
    client: Value<'a>,
    user: Value<'a>,
    node: &'a str,
    bound: &'a [(u8, Value<'static>)],
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Value<'a> {
    let entry = |(name, value)| (Text::Lent(name), value);
    Value::from_entries(entries.into_iter().map(entry).collect::<BTreeMap<_, _>>())
}

/// User properties by name: the value, or a list of them if the name is there several times.
fn user_properties(message: &Message) -> Value<'_> {
    let mut all: BTreeMap<Text<'_>, Vec<Value<'_>>> = BTreeMap::new();
    for (name, value) in &message.properties.user {
        let values = all.entry(Text::Lent(name)).or_default();
        values.push(Value::lent(value));
    }
    let mut map = BTreeMap::new();
    for (name, mut values) in all {
        let one = match values.len() {
            1 => values.pop(),
            _ => None,
        };
        map.insert(name, one.unwrap_or_else(|| Value::from_items(values)));
    }
    Value::from_entries(map)
}

fn topic<'a>(template: &'a Templates, topic: &'a TopicName) -> Value<'a> {
    let captured = template.capture(topic).into_iter();
    let levels = captured.map(|(name, level)| (name, Value::lent(level)));
    map(levels.chain([("name", Value::lent(topic))]))
}

fn username(publisher: Publisher<'_>) -> Value<'_> {
    Value::lent(publisher.username.unwrap_or_default())
}

fn client(publisher: Publisher<'_>) -> Value<'_> {
    let attributes = publisher.attributes.iter();
    let attributes = attributes.map(|(name, value)| (name.as_str(), Value::lent(value)));
    map([
        ("id", Value::lent(publisher.client_id)),
        ("username", username(publisher)),
        ("attributes", map(attributes)),
    ])
}

impl<'a> Scope<'a> {
    /// `doc` is the payload if it is JSON; what the expression does not name is left out.
    pub(crate) fn new(
        expression: &Expression,
        template: &'a Templates,
        publisher: Publisher<'a>,
        message: &'a Message,
        doc: Option<&'a Doc>,
    ) -> Self {
        let payload = match doc {
            Some(doc) => Value::from(doc),
            None if expression.needs_json() => match std::str::from_utf8(&message.payload) {
                Ok(text) => Value::lent(text),
                Err(_) => Value::Bytes(Held::Lent(&message.payload)),
            },
            None => Value::Null,
        };
        let whole =
            |variable: Variable, make: &dyn Fn() -> Value<'a>| match expression.names(variable) {
                true => make(),
                false => Value::Null,
            };
        Self {
            topic: whole(Variable::Topic, &|| topic(template, &message.topic)),
            client: whole(Variable::Client, &|| client(publisher)),
            user: whole(Variable::User, &|| user_properties(message)),
            message,
            template,
            publisher,
            payload,
            node: "",
            bound: &[],
        }
    }

    /// On this node, with what steps before have named.
    pub(crate) fn with(mut self, node: &'a str, bound: &'a [(u8, Value<'static>)]) -> Self {
        (self.node, self.bound) = (node, bound);
        self
    }

    /// The payload is bytes, whatever they look like.
    pub(crate) fn of_bytes(mut self) -> Self {
        self.payload = Value::Bytes(Held::Lent(&self.message.payload));
        self
    }

    /// What the last step that named it gave.
    pub(super) fn bound(&self, slot: u8) -> Option<Value<'a>> {
        let found = self.bound.iter().rev().find(|(known, _)| *known == slot);
        found.map(|(_, value)| value.clone())
    }

    /// Milliseconds since 1970.
    pub(super) fn received_ms(&self) -> u64 {
        self.message.received_ms
    }

    /// A field of a variable, if that is at hand without the others ([`Variable::has_at_hand`]).
    pub(super) fn field(&self, of: Variable, name: &str) -> Option<Value<'a>> {
        match (of, name) {
            (Variable::Payload, _) => match &self.payload {
                Value::Map(map) => map.get(name),
                _ => None,
            },
            (Variable::Topic, "name") => Some(Value::lent(&self.message.topic)),
            (Variable::Topic, _) => {
                let captured = self.template.captured(name, &self.message.topic);
                captured.map(Value::lent)
            }
            (Variable::Client, "id") => Some(Value::lent(self.publisher.client_id)),
            (Variable::Client, "username") => Some(username(self.publisher)),
            _ => None,
        }
    }

    pub(super) fn get(&self, variable: Variable) -> Value<'a> {
        match variable {
            Variable::Payload => self.payload.clone(),
            Variable::Topic => self.topic.clone(),
            Variable::Client => self.client.clone(),
            Variable::Qos => Value::Int(i64::from(self.message.qos as u8)),
            Variable::Retain => Value::Bool(self.message.retain),
            Variable::ReceivedMs => {
                Value::Int(i64::try_from(self.received_ms()).unwrap_or(i64::MAX))
            }
            Variable::User => self.user.clone(),
            Variable::Node => Value::lent(self.node),
            Variable::Bound(slot) => self.bound(slot).unwrap_or(Value::Null),
            Variable::Raw => Value::Bytes(Held::Lent(&self.message.payload)),
        }
    }
}
