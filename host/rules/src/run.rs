//! A message through the steps of a chain.

use crate::chain::{Chain, Count, Kind, Step, Target};
use crate::expression::{Expression, Scope, Value};
use crate::file::{Mode, OnError};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::ports::chains::{Emit, Patch};
use witmq_broker::ports::{Publisher, StepAnswer, StepFailure, StepOutcome, Transform};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, ReasonCode, TopicName};

/// Messages one message may become, emissions included.
pub(crate) const MESSAGES: usize = 64;

/// What a chain made of a message.
pub(crate) enum End {
    /// These go on, in this order; the first chain's original among them if nothing changed.
    On(Vec<Arc<Message>>),
    Refused {
        reason: ReasonCode,
        text: Option<String>,
    },
    Consumed,
    Withheld,
}

/// Where a chain's emissions and its trace go.
pub(crate) struct Sinks<'a> {
    pub(crate) emissions: &'a mut Vec<Arc<Message>>,
    /// One line per step, for `rule run`.
    pub(crate) trace: Option<&'a mut Vec<String>>,
}

impl Sinks<'_> {
    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

/// A message on its way, with its payload parsed once.
struct Work {
    message: Arc<Message>,
    json: Option<Option<Json>>,
}

impl Work {
    fn new(message: Arc<Message>) -> Self {
        Self {
            message,
            json: None,
        }
    }

    fn json(&mut self) -> Option<&Json> {
        let payload = &self.message.payload;
        self.json
            .get_or_insert_with(|| serde_json::from_slice(payload).ok())
            .as_ref()
    }

    /// Another message instead.
    fn replace(&mut self, change: impl FnOnce(&mut Message)) {
        change(Arc::make_mut(&mut self.message));
        self.json = None;
    }
}

/// How a step ended for one message.
enum Next {
    Go,
    /// The chain ends for this message.
    Stop,
    Split(Vec<Arc<Message>>),
    Leave(End),
    /// When this is there.
    Waits(StepAnswer),
}

/// How far a message came in one chain.
pub(crate) enum Ran {
    Ended(End),
    /// [`Running::answered`] takes the answer.
    Waits(StepAnswer),
}

/// A message in the middle of a chain, or none: what it had is used again for the next.
#[derive(Default)]
pub(crate) struct Running {
    /// Parts and the places of their next steps, the next one last.
    under_way: Vec<(usize, Work)>,
    done: Vec<Arc<Message>>,
}

/// Runs a chain on one message, where no step can wait.
pub(crate) fn run(
    chain: &Chain,
    steps: &mut dyn Transform,
    publisher: Publisher<'_>,
    message: &Arc<Message>,
    sinks: &mut Sinks<'_>,
) -> End {
    let mut running = Running::default();
    running.begin(chain, message);
    loop {
        let refused = match running.go(chain, steps, publisher, sinks) {
            Ran::Ended(end) => return end,
            Ran::Waits(_) => Err(StepFailure::Waits(chain.name.clone())),
        };
        if let Some(end) = running.answered(chain, refused, sinks) {
            return end;
        }
    }
}

impl Running {
    /// A message comes into a chain.
    pub(crate) fn begin(&mut self, chain: &Chain, message: &Arc<Message>) {
        chain.stats.count(Count::Matched);
        self.under_way.clear();
        self.done.clear();
        self.under_way.push((0, Work::new(message.clone())));
    }

    /// What is empty, to be filled again.
    pub(crate) fn reuse(&mut self, empty: Vec<Arc<Message>>) {
        debug_assert!(empty.is_empty());
        self.under_way.clear();
        self.done = empty;
    }

    /// Step by step to the end, or to one that waits.
    pub(crate) fn go(
        &mut self,
        chain: &Chain,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        sinks: &mut Sinks<'_>,
    ) -> Ran {
        while let Some((at, mut work)) = self.under_way.pop() {
            let Some(step) = chain.steps.get(at) else {
                self.done.push(work.message);
                continue;
            };
            let outcome = run_step(chain, step, steps, publisher, &mut work, sinks);
            if let Ok(Next::Waits(answer)) = outcome {
                self.under_way.push((at, work));
                return Ran::Waits(answer);
            }
            if let Some(end) = self.settle(chain, (at, step), work, outcome, sinks) {
                return Ran::Ended(end);
            }
        }
        Ran::Ended(End::On(std::mem::take(&mut self.done)))
    }

    /// What the step that waited came to; `Some`: the chain ends with it.
    pub(crate) fn answered(
        &mut self,
        chain: &Chain,
        answer: Result<StepOutcome, StepFailure>,
        sinks: &mut Sinks<'_>,
    ) -> Option<End> {
        let (at, mut work) = self.under_way.pop()?;
        let step = chain.steps.get(at)?;
        let outcome = answer.map_err(|error| error.to_string());
        let outcome = outcome.and_then(|outcome| {
            sinks.note(|| format!("+  plugin, waited for -> {outcome:?}"));
            plugin_outcome(chain.mode, outcome, &mut work)
        });
        self.settle(chain, (at, step), work, outcome, sinks)
    }

    /// Where the message goes after a step; `Some`: out of the chain.
    fn settle(
        &mut self,
        chain: &Chain,
        (at, step): (usize, &Step),
        work: Work,
        outcome: Result<Next, String>,
        sinks: &mut Sinks<'_>,
    ) -> Option<End> {
        let mut next = outcome.unwrap_or_else(|error| failed(chain, step, &error, sinks));
        if let Next::Split(parts) = &next
            && self.done.len() + self.under_way.len() + parts.len() > MESSAGES
        {
            let error = format!("more than {MESSAGES} messages out of one");
            next = failed(chain, step, &error, sinks);
        }
        match next {
            Next::Go => self.under_way.push((at + 1, work)),
            Next::Stop | Next::Waits(_) => self.done.push(work.message),
            // Last in, first out: the parts go in backwards to come out in order.
            Next::Split(parts) => {
                let parts = parts.into_iter().rev();
                (self.under_way).extend(parts.map(|part| (at + 1, Work::new(part))));
            }
            Next::Leave(end) => return Some(end),
        }
        None
    }
}

fn failed(chain: &Chain, step: &Step, error: &str, sinks: &mut Sinks<'_>) -> Next {
    chain.stats.fail(error);
    sinks.note(|| format!("!  failed: {error} -> {:?}", step.on_error));
    match step.on_error {
        OnError::Continue => Next::Go,
        OnError::Stop => Next::Stop,
        OnError::Refuse => {
            let text = Some(format!("chain {}: {error}", chain.name));
            Next::Leave(End::Refused {
                reason: ReasonCode::ImplementationSpecific,
                text,
            })
        }
    }
}

fn run_step(
    chain: &Chain,
    step: &Step,
    steps: &mut dyn Transform,
    publisher: Publisher<'_>,
    work: &mut Work,
    sinks: &mut Sinks<'_>,
) -> Result<Next, String> {
    match &step.kind {
        Kind::Filter(condition) => {
            let value = evaluate(chain, condition, publisher, work)?;
            sinks.note(|| format!("{}  filter {} -> {value:?}", mark(&value), condition.source));
            match value {
                Value::Bool(true) => Ok(Next::Go),
                Value::Bool(false) => {
                    chain.stats.count(Count::Filtered);
                    Ok(Next::Stop)
                }
                other => Err(format!(
                    "filter `{}` gives {other:?}, not true or false",
                    condition.source
                )),
            }
        }
        Kind::Set(targets) => set(chain, targets, publisher, work, sinks).map(|()| Next::Go),
        Kind::Plugin(name) => {
            let outcome = match steps.transform(name, publisher, &work.message) {
                Err(StepFailure::Waits(_)) => {
                    let asked = steps.ask(name, publisher, &work.message);
                    return asked.map(Next::Waits).map_err(|error| error.to_string());
                }
                outcome => outcome.map_err(|error| error.to_string())?,
            };
            sinks.note(|| format!("+  plugin {name} -> {outcome:?}"));
            plugin_outcome(chain.mode, outcome, work)
        }
        Kind::Sink(name) => {
            steps
                .deliver(name, publisher, &work.message)
                .map_err(|error| error.to_string())?;
            sinks.note(|| format!(">  sink {name}"));
            Ok(Next::Go)
        }
        Kind::Publish {
            topic,
            payload,
            qos,
            retain,
        } => {
            let payload = match payload {
                Some(expression) => to_payload(&evaluate(chain, expression, publisher, work)?)?,
                None => work.message.payload.clone(),
            };
            let captured = chain.from.capture(&work.message.topic);
            let value = |name: &str| {
                captured
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map_or("", |(_, value)| *value)
            };
            let filled = topic.fill(&value);
            emit(filled, payload, *qos, *retain, work, sinks).map(|()| Next::Go)
        }
    }
}

fn mark(value: &Value<'_>) -> char {
    if matches!(value, Value::Bool(true)) {
        '+'
    } else {
        '-'
    }
}

fn emit(
    topic: String,
    payload: Bytes,
    qos: Option<QoS>,
    retain: bool,
    work: &Work,
    sinks: &mut Sinks<'_>,
) -> Result<(), String> {
    if sinks.emissions.len() >= MESSAGES {
        return Err(format!("more than {MESSAGES} publishes for one message"));
    }
    let topic = TopicName::new(topic).map_err(|error| format!("publish: {error}"))?;
    sinks.note(|| format!("+  publish {topic} {}", String::from_utf8_lossy(&payload)));
    let original = &work.message;
    sinks.emissions.push(Arc::new(Message {
        topic,
        payload,
        qos: qos.unwrap_or(original.qos),
        retain,
        properties: original.properties.clone(),
        expires_at: original.expires_at,
        publisher: original.publisher.clone(),
        received_ms: original.received_ms,
        hops: original.hops.saturating_add(1),
    }));
    Ok(())
}

fn evaluate(
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
fn to_payload(value: &Value<'_>) -> Result<Bytes, String> {
    match value {
        Value::String(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Value::Bytes(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        other => other.to_json().map(|json| Bytes::from(json.to_string())),
    }
}

/// All expressions see the message as it came into the step.
fn set(
    chain: &Chain,
    targets: &[(Target, Expression)],
    publisher: Publisher<'_>,
    work: &mut Work,
    sinks: &mut Sinks<'_>,
) -> Result<(), String> {
    let mut values = Vec::with_capacity(targets.len());
    for (target, expression) in targets {
        let value = evaluate(chain, expression, publisher, work)?;
        sinks.note(|| format!("+  set {target:?} = {} -> {value:?}", expression.source));
        values.push((target, value));
    }
    let mut message = (*work.message).clone();
    let mut json = None;
    for (target, value) in values {
        match target {
            Target::Field(path) => {
                let root = match &mut json {
                    Some(json) => json,
                    none => none.insert(work.json().cloned().ok_or("set: the payload is no JSON")?),
                };
                put(root, path, value.to_json()?)?;
            }
            Target::Payload => message.payload = to_payload(&value)?,
            Target::Topic => match value {
                Value::String(topic) => {
                    let topic = ByteString::from(&*topic);
                    message.topic =
                        TopicName::new(topic).map_err(|error| format!("set $topic: {error}"))?;
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
    work.message = Arc::new(message);
    work.json = json.map(Some);
    Ok(())
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

fn plugin_outcome(mode: Mode, outcome: StepOutcome, work: &mut Work) -> Result<Next, String> {
    let leave = |end| {
        if mode == Mode::Transform {
            Next::Leave(end)
        } else {
            Next::Stop
        }
    };
    Ok(match outcome {
        StepOutcome::Pass => Next::Go,
        StepOutcome::Modify(patch) => {
            apply(patch, work)?;
            Next::Go
        }
        StepOutcome::Split(parts) => {
            let make = |part| made(part, &work.message);
            Next::Split(parts.into_iter().map(make).collect::<Result<_, _>>()?)
        }
        StepOutcome::Refuse { reason, text } => leave(End::Refused { reason, text }),
        StepOutcome::Consume => leave(End::Consumed),
        StepOutcome::Withhold => leave(End::Withheld),
        StepOutcome::Stop => Next::Stop,
        StepOutcome::Jump(chain) => {
            return Err(format!(
                "it jumps to `{chain}`: named chains are not in this version"
            ));
        }
    })
}

fn apply(patch: Patch, work: &mut Work) -> Result<(), String> {
    let topic = patch
        .topic
        .map(TopicName::new)
        .transpose()
        .map_err(|error| error.to_string())?;
    if topic.as_ref().is_some_and(TopicName::is_dollar) && !work.message.topic.is_dollar() {
        return Err("topics that begin with $ are the broker's own".to_owned());
    }
    work.replace(|message| {
        if let Some(properties) = &patch.properties {
            message.expires_at = expiry(properties, message);
        }
        message.topic = topic.unwrap_or_else(|| message.topic.clone());
        message.payload = patch.payload.unwrap_or_else(|| message.payload.clone());
        message.qos = patch.qos.unwrap_or(message.qos);
        message.retain = patch.retain.unwrap_or(message.retain);
        if let Some(properties) = patch.properties {
            message.properties = PublishProperties {
                subscription_ids: Vec::new(),
                ..properties
            };
        }
    });
    Ok(())
}

/// When a message with these properties expires that was `original` before: another interval counts from now.
fn expiry(properties: &PublishProperties, original: &Message) -> Option<Instant> {
    if properties.message_expiry == original.properties.message_expiry {
        return original.expires_at;
    }
    let seconds = properties.message_expiry.map(u64::from)?;
    Instant::now().checked_add(Duration::from_secs(seconds))
}

fn made(part: Emit, original: &Message) -> Result<Arc<Message>, String> {
    let topic = TopicName::new(part.topic).map_err(|error| error.to_string())?;
    if topic.is_dollar() {
        return Err("topics that begin with $ are the broker's own".to_owned());
    }
    Ok(Arc::new(Message {
        topic,
        payload: part.payload,
        qos: part.qos,
        retain: part.retain,
        expires_at: match part.properties.message_expiry {
            Some(_) => expiry(&part.properties, original),
            None => original.expires_at,
        },
        properties: part.properties,
        publisher: original.publisher.clone(),
        received_ms: original.received_ms,
        hops: original.hops,
    }))
}

#[cfg(test)]
mod bench;
