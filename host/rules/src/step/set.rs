//! `set`: fields of the message, each by an expression; `delete`: fields to take out.

use super::Compiling;
use super::path::Path;
use super::publish::property;
use crate::expression::{Expression, Limits, Value};
use crate::file;
use crate::payload::{Doc, Format, Prepared};
use crate::place::RuleError;
use crate::run::{Around, Next, Sure, Work, to_payload};
use bytestring::ByteString;
use serde_json::Value as Json;
use serde_spanned::Spanned;
use witmq_proto::packet::QoS;
use witmq_proto::{Message, TopicName};

#[derive(Debug)]
pub(crate) struct Set {
    targets: Vec<(Target, Expression)>,
    /// Taken out after that.
    gone: Vec<Gone>,
}

/// What `delete` takes out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gone {
    Field(Path),
    /// User properties of a name.
    User(String),
}

/// What `set` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A field of a JSON payload, by its path.
    Field(Path),
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
        let check = |is_field: bool, at: usize| match is_field && !around.encode.has_fields() {
            true => {
                let name = around.encode.name();
                let text = format!("a payload that is written as {name} has no fields");
                let error = around.error(at, text);
                Err(error.hint("set \"$payload\", or use another `encode`"))
            }
            false => Ok(()),
        };
        for (name, text) in raw.set.iter().flatten() {
            let at = name.span().start;
            let target = target(name.get_ref()).map_err(|cause| around.error(at, cause))?;
            check(matches!(target, Target::Field(_)), at)?;
            targets.push((target, around.expression(text)?));
        }
        let mut gone = Vec::new();
        for name in raw.delete.iter().flat_map(Spanned::get_ref) {
            let at = name.span().start;
            let one = match target(name.get_ref()) {
                Ok(Target::Field(path)) => Gone::Field(path),
                Ok(Target::User(name)) => Gone::User(name),
                Ok(_) => {
                    let text = format!("`{}` cannot be deleted", name.get_ref());
                    let error = around.error(at, text);
                    return Err(error.hint("delete takes fields of the payload and $user.NAME"));
                }
                Err(cause) => return Err(around.error(at, cause)),
            };
            check(matches!(one, Gone::Field(_)), at)?;
            gone.push(one);
        }
        Ok(Self { targets, gone })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.targets
            .iter_mut()
            .for_each(|(_, one)| one.limit(limits));
    }

    pub(super) fn is_quick(&self) -> bool {
        self.targets.iter().all(|(_, one)| one.is_quick())
    }

    /// All expressions see the message as it came into the step; if one part fails, nothing is changed.
    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let mut values = Vec::with_capacity(self.targets.len());
        for (target, expression) in &self.targets {
            let value = around.evaluate_as(expression, |value| match target {
                Target::Field(_) => Given::Json(value.to_json()),
                _ => Given::Value(value.into_owned()),
            })?;
            values.push((target, value));
        }
        let mut change = Change {
            sure: sure(&values),
            ..Change::default()
        };
        for (target, value) in values {
            match (target, value) {
                (Target::Field(path), Given::Json(json)) => {
                    path.put_in(change.doc(around.work)?, json?)?;
                }
                (target, Given::Value(value)) => {
                    change.set(target, &value, &around.chain.encode, around.work)?;
                }
                (_, Given::Json(_)) => unreachable!("fields alone are given as JSON"),
            }
        }
        for gone in &self.gone {
            around.note(|| format!("delete {gone:?}"));
            match gone {
                Gone::Field(path) => path.delete_in(change.doc(around.work)?),
                Gone::User(name) => {
                    let head = change.head(around.work);
                    head.properties.user.retain(|(known, _)| *known != **name);
                }
            }
        }
        change.make(around.work);
        Ok(Next::Go)
    }
}

/// What an expression of `set` gave.
enum Given {
    /// To a field.
    Json(Result<Json, String>),
    Value(Value<'static>),
}

/// How sure it is that these can be set.
fn sure(values: &[(&Target, Given)]) -> Sure {
    let is_sure = |(target, given): &(&Target, Given)| {
        let is_plain = matches!(target, Target::Field(path) if path.is_name());
        is_plain && matches!(given, Given::Json(Ok(_)))
    };
    match values {
        [] => Sure::Yes,
        values if values.iter().all(is_sure) => Sure::InObject,
        _ => Sure::No,
    }
}

/// What becomes of a message when the whole step went well.
#[derive(Default)]
struct Change {
    head: Option<Message>,
    payload: Option<Prepared>,
    /// Whether it cannot fail.
    sure: Sure,
}

impl Change {
    fn head(&mut self, work: &Work) -> &mut Message {
        self.head.get_or_insert_with(|| work.head().clone())
    }

    fn doc(&mut self, work: &mut Work) -> Result<&mut Doc, String> {
        let payload = match self.payload.take() {
            Some(payload) => payload,
            None => {
                let doc = work.borrow_doc(self.sure)?;
                Prepared::Doc(doc.ok_or("set: the payload is no JSON")?)
            }
        };
        match self.payload.insert(payload) {
            Prepared::Doc(doc) => Ok(doc),
            Prepared::Ready(_) => Err("set: the payload is no JSON".to_owned()),
        }
    }

    fn set(
        &mut self,
        target: &Target,
        value: &Value<'_>,
        encode: &Format,
        work: &mut Work,
    ) -> Result<(), String> {
        match target {
            Target::Field(path) => path.put_in(self.doc(work)?, value.to_json()?)?,
            Target::Payload => self.payload = Some(encode.prepare(value)?),
            Target::Topic => {
                let Value::String(topic) = value else {
                    return Err(format!("set $topic: {value:?} is no text"));
                };
                let topic = TopicName::new(ByteString::from(&**topic));
                let topic = topic.map_err(|error| format!("set $topic: {error}"))?;
                if topic.is_dollar() && !work.head().topic.is_dollar() {
                    return Err(
                        "set $topic: topics that begin with $ are the broker's own".to_owned()
                    );
                }
                self.head(work).topic = topic;
            }
            Target::Qos => self.head(work).qos = to_qos(value)?,
            Target::Retain => match value {
                Value::Bool(retain) => self.head(work).retain = *retain,
                other => return Err(format!("set $retain: {other:?} is not true or false")),
            },
            Target::User(name) => {
                let text = String::from_utf8(to_payload(value)?.to_vec())
                    .map_err(|_| "set $user: no text")?;
                let user = &mut self.head(work).properties.user;
                user.retain(|(known, _)| *known != **name);
                user.push((ByteString::from(name.as_str()), property(text)?));
            }
        }
        Ok(())
    }

    fn make(self, work: &mut Work) {
        if let Some(head) = self.head {
            work.change_head(head);
        }
        if let Some(payload) = self.payload {
            work.set_payload(payload);
        }
    }
}

pub(super) fn to_qos(value: &Value<'_>) -> Result<QoS, String> {
    let bits = match value {
        Value::Float(number) => [0u8, 1, 2]
            .into_iter()
            .find(|bits| f64::from(*bits) == *number),
        Value::Int(number) => u8::try_from(*number).ok(),
        _ => None,
    };
    bits.and_then(QoS::from_bits)
        .ok_or_else(|| format!("qos: {value:?} is not 0, 1 or 2"))
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
            _ => Path::parse(name).map(Target::Field),
        },
    }
}
