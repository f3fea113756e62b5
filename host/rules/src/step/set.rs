//! `set`: fields of the message, each by an expression.

use super::Compiling;
use crate::expression::{Expression, Limits, Value};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next, to_payload};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value as Json;
use witmq_proto::TopicName;
use witmq_proto::packet::QoS;

#[derive(Debug)]
pub(crate) struct Set {
    targets: Vec<(Target, Expression)>,
}

/// What `set` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A field of a JSON payload, by its path.
    Field(Vec<String>),
    /// `$payload`: the whole of it.
    Payload,
    /// `$topic`.
    Topic,
    /// `$qos`.
    Qos,
    /// `$retain`.
    Retain,
    /// `$user.NAME`: an MQTT 5 user property.
    User(String),
}

impl Set {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let mut targets = Vec::new();
        for (name, text) in raw.set.iter().flatten() {
            let target = target(name).map_err(|cause| around.error(text.span().start, cause))?;
            targets.push((target, around.expression(text)?));
        }
        Ok(Self { targets })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.targets
            .iter_mut()
            .for_each(|(_, one)| one.limit(limits));
    }

    /// All expressions see the message as it came into the step.
    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let mut values = Vec::with_capacity(self.targets.len());
        for (target, expression) in &self.targets {
            let value = around.evaluate(expression)?;
            around.note(|| format!("+  set {target:?} = {} -> {value:?}", expression.source));
            values.push((target, value));
        }
        let work = &mut *around.work;
        let mut message = (*work.message).clone();
        let mut json = None;
        for (target, value) in values {
            match target {
                Target::Field(path) => {
                    let root = match &mut json {
                        Some(json) => json,
                        none => {
                            none.insert(work.json().cloned().ok_or("set: the payload is no JSON")?)
                        }
                    };
                    put(root, path, value.to_json()?)?;
                }
                Target::Payload => message.payload = to_payload(&value)?,
                Target::Topic => match value {
                    Value::String(topic) => {
                        let topic = ByteString::from(&*topic);
                        message.topic = TopicName::new(topic)
                            .map_err(|error| format!("set $topic: {error}"))?;
                    }
                    other => return Err(format!("set $topic: {other:?} is no text")),
                },
                Target::Qos => message.qos = to_qos(&value)?,
                Target::Retain => match value {
                    Value::Bool(retain) => message.retain = retain,
                    other => return Err(format!("set $retain: {other:?} is not true or false")),
                },
                Target::User(name) => {
                    let text = String::from_utf8(to_payload(&value)?.to_vec())
                        .map_err(|_| "set $user: no text")?;
                    message
                        .properties
                        .user
                        .retain(|(known, _)| *known != **name);
                    message
                        .properties
                        .user
                        .push((ByteString::from(name.as_str()), ByteString::from(text)));
                }
            }
        }
        if let Some(json) = &json {
            message.payload = Bytes::from(json.to_string());
        }
        if message.topic.is_dollar() && !work.message.topic.is_dollar() {
            return Err("set $topic: topics that begin with $ are the broker's own".to_owned());
        }
        work.exchange(message, json);
        Ok(Next::Go)
    }
}

fn to_qos(value: &Value<'_>) -> Result<QoS, String> {
    let bits = match value {
        Value::Float(number) => [0u8, 1, 2]
            .into_iter()
            .find(|bits| f64::from(*bits) == *number),
        Value::Int(number) => u8::try_from(*number).ok(),
        _ => None,
    };
    bits.and_then(QoS::from_bits)
        .ok_or_else(|| format!("set $qos: {value:?} is not 0, 1 or 2"))
}

fn put(root: &mut Json, path: &[String], value: Json) -> Result<(), String> {
    let mut at = root;
    let (last, parents) = path.split_last().ok_or("set: an empty path")?;
    for name in parents {
        let object = at
            .as_object_mut()
            .ok_or_else(|| format!("set: `{name}` is not within an object"))?;
        at = object
            .entry(name.clone())
            .or_insert_with(|| Json::Object(serde_json::Map::new()));
    }
    let object = at
        .as_object_mut()
        .ok_or_else(|| format!("set: `{last}` is not within a JSON object"))?;
    object.insert(last.clone(), value);
    Ok(())
}

fn target(name: &str) -> Result<Target, String> {
    match name {
        "$payload" => Ok(Target::Payload),
        "$topic" => Ok(Target::Topic),
        "$qos" => Ok(Target::Qos),
        "$retain" => Ok(Target::Retain),
        _ => match (name.strip_prefix("$user."), name.starts_with('$')) {
            (Some(user), _) if !user.is_empty() => Ok(Target::User(user.to_owned())),
            (_, true) => Err(format!(
                "`{name}`: there are $payload, $topic, $qos, $retain and $user.NAME"
            )),
            _ if name.split('.').any(str::is_empty) => {
                Err(format!("`{name}` is no path of fields"))
            }
            _ => Ok(Target::Field(name.split('.').map(str::to_owned).collect())),
        },
    }
}
