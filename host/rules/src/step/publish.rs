//! `publish`: another message beside the one in the chain.

use super::filled::{Filled, check_topic};
use super::set::to_qos;
use super::{Compiling, compile};
use crate::expression::{Expression, Limits, Value};
use crate::file::{self, Either};
use crate::place::RuleError;
use crate::run::{Around, MESSAGES, Next, to_payload};
use bytestring::ByteString;
use serde_spanned::Spanned;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_proto::Message;
use witmq_proto::packet::{PublishProperties, QoS};

/// Bytes of a name or text in properties.
const TEXT_BYTES: usize = 65_535;

#[derive(Debug)]
pub(crate) struct Publish {
    topic: Filled,
    payload: Option<Expression>,
    qos: Option<Setting<QoS>>,
    retain: Option<Setting<bool>>,
    /// Seconds.
    expiry: Option<Setting<u32>>,
    content_type: Option<Filled>,
    response_topic: Option<Filled>,
    user: Vec<(ByteString, Expression)>,
}

/// Known before, or from each message.
#[derive(Debug)]
enum Setting<T> {
    Always(T),
    By(Expression),
}

impl<T: Copy> Setting<T> {
    fn compile<R: Copy>(
        raw: Option<&Spanned<Either<R>>>,
        known: impl Fn(R) -> Result<T, String>,
        around: &Compiling<'_>,
    ) -> Result<Option<Self>, RuleError> {
        let Some(raw) = raw else { return Ok(None) };
        let (at, raw) = (raw.span(), raw.get_ref());
        Ok(Some(match raw {
            Either::Known(value) => {
                let value = known(*value).map_err(|cause| around.error(at.start, cause))?;
                Self::Always(value)
            }
            Either::Cel(text) => Self::By(around.expression_at(text, around.source.content(&at))?),
        }))
    }

    fn of(
        setting: Option<&Self>,
        around: &mut Around<'_, '_>,
        read: impl Fn(&Value<'_>) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        match setting {
            None => Ok(None),
            Some(Self::Always(value)) => Ok(Some(*value)),
            Some(Self::By(expression)) => read(&around.evaluate(expression)?).map(Some),
        }
    }

    fn is_quick(setting: Option<&Self>) -> bool {
        match setting {
            Some(Self::By(expression)) => expression.is_quick(),
            Some(Self::Always(_)) | None => true,
        }
    }

    fn limit(setting: &mut Option<Self>, limits: Limits) {
        if let Some(Self::By(expression)) = setting {
            expression.limit(limits);
        }
    }
}

fn known_qos(number: u8) -> Result<QoS, String> {
    QoS::from_bits(number).ok_or_else(|| format!("qos is 0, 1 or 2, not {number}"))
}

impl Publish {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(topic) = &raw.publish else {
            return Err(around.error(around.at, "a publish step needs `publish`"));
        };
        let mut user = Vec::new();
        for (name, text) in raw.user.iter().flat_map(Spanned::get_ref) {
            let wrong = |cause| around.error(name.span().start, cause);
            let property = property(name.get_ref().clone()).map_err(wrong)?;
            user.push((property, around.expression(text)?));
        }
        let content_type = raw.content_type.as_ref();
        let response_topic = raw.response_topic.as_ref();
        Ok(Self {
            topic: Filled::topic("publish", topic, around)?,
            payload: compile::optional(raw.payload.as_ref(), around)?,
            qos: Setting::compile(raw.qos.as_ref(), known_qos, around)?,
            retain: Setting::compile(raw.retain.as_ref(), Ok, around)?,
            expiry: Setting::compile(raw.expiry.as_ref(), Ok, around)?,
            content_type: content_type
                .map(|text| Filled::text("content_type", text, around))
                .transpose()?,
            response_topic: response_topic
                .map(|text| Filled::topic("response_topic", text, around))
                .transpose()?,
            user,
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.topic.limit(limits);
        self.payload.iter_mut().for_each(|one| one.limit(limits));
        Setting::limit(&mut self.qos, limits);
        Setting::limit(&mut self.retain, limits);
        Setting::limit(&mut self.expiry, limits);
        for text in [&mut self.content_type, &mut self.response_topic] {
            text.iter_mut().for_each(|one| one.limit(limits));
        }
        self.user.iter_mut().for_each(|(_, one)| one.limit(limits));
    }

    pub(super) fn is_quick(&self) -> bool {
        let texts = [&self.content_type, &self.response_topic];
        let mut texts = texts.into_iter().flatten().chain([&self.topic]);
        let mut expressions = self
            .payload
            .iter()
            .chain(self.user.iter().map(|(_, one)| one));
        texts.all(Filled::is_quick)
            && expressions.all(Expression::is_quick)
            && Setting::is_quick(self.qos.as_ref())
            && Setting::is_quick(self.retain.as_ref())
            && Setting::is_quick(self.expiry.as_ref())
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        if around.sinks.emissions.len() >= MESSAGES {
            return Err(format!("more than {MESSAGES} publishes for one message"));
        }
        let payload = match &self.payload {
            Some(expression) => (around.chain.encode).encode(&around.evaluate(expression)?)?,
            None => around.work.payload()?.clone(),
        };
        let topic = check_topic(self.topic.fill(around)?);
        let topic = topic.map_err(|error| format!("publish: {error}"))?;
        let qos = Setting::of(self.qos.as_ref(), around, to_qos)?;
        let retain = Setting::of(self.retain.as_ref(), around, to_retain)?;
        let expiry = Setting::of(self.expiry.as_ref(), around, to_seconds)?;
        let mut properties = self.properties(around)?;
        if expiry.is_some() {
            properties.message_expiry = expiry;
        }
        if !properties.fits_format(&payload) {
            properties.payload_format = None;
        }
        let original = around.work.head();
        let expires_at = match expiry {
            None => original.expires_at,
            Some(seconds) => Instant::now().checked_add(Duration::from_secs(seconds.into())),
        };
        let emission = Message {
            topic,
            payload,
            qos: qos.unwrap_or(original.qos),
            retain: retain.unwrap_or(false),
            properties,
            expires_at,
            publisher: original.publisher.clone(),
            received_ms: original.received_ms,
            hops: original.hops.saturating_add(1),
        };
        around.sinks.emissions.push(Arc::new(emission));
        Ok(Next::Go)
    }

    fn properties(&self, around: &mut Around<'_, '_>) -> Result<PublishProperties, String> {
        let mut properties = around.work.head().properties.clone();
        if let Some(text) = &self.content_type {
            properties.content_type = Some(property(text.fill(around)?)?);
        }
        if let Some(topic) = &self.response_topic {
            let topic = check_topic(topic.fill(around)?);
            let topic = topic.map_err(|error| format!("response_topic: {error}"))?;
            properties.response_topic = Some(topic.as_byte_string().clone());
        }
        for (name, value) in &self.user {
            let text = to_payload(&around.evaluate(value)?)?;
            let text = String::from_utf8(text.to_vec());
            let text = property(text.map_err(|_| format!("user.{name}: no text"))?)?;
            properties.user.retain(|(known, _)| known != name);
            properties.user.push((name.clone(), text));
        }
        Ok(properties)
    }
}

/// A text as properties take it.
pub(super) fn property(text: String) -> Result<ByteString, String> {
    if text.len() > TEXT_BYTES || text.contains('\0') {
        return Err(format!(
            "a property is a text of at most {TEXT_BYTES} bytes without NUL"
        ));
    }
    Ok(text.into())
}

fn to_retain(value: &Value<'_>) -> Result<bool, String> {
    match value {
        Value::Bool(retain) => Ok(*retain),
        other => Err(format!("retain: {other:?} is not true or false")),
    }
}

fn to_seconds(value: &Value<'_>) -> Result<u32, String> {
    let whole = match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => crate::expression::whole(*number),
        _ => None,
    };
    let seconds = whole.and_then(|whole| u32::try_from(whole).ok());
    seconds.ok_or_else(|| format!("expiry: {value:?} is no whole number of seconds"))
}
