//! `publish`: another message beside the one in the chain.

use super::Compiling;
use super::topic::Topic;
use crate::expression::{Expression, Limits};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, MESSAGES, Next, to_payload};
use bytes::Bytes;
use serde_spanned::Spanned;
use std::sync::Arc;
use witmq_proto::packet::QoS;
use witmq_proto::{Message, TopicName};

#[derive(Debug)]
pub(crate) struct Publish {
    topic: Topic,
    payload: Option<Expression>,
    qos: Option<QoS>,
    retain: bool,
}

impl Publish {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(topic) = &raw.publish else {
            return Err(around.error(around.at, "a publish step needs `publish`"));
        };
        let topic = Topic::compile("publish", topic, around)?;
        let to_qos = |number: &Spanned<u8>| {
            QoS::from_bits(*number.get_ref()).ok_or_else(|| {
                let text = format!("qos is 0, 1 or 2, not {}", number.get_ref());
                around.error(number.span().start, text)
            })
        };
        let payload = raw.payload.as_ref().map(|text| around.expression(text));
        Ok(Self {
            topic,
            qos: raw.qos.as_ref().map(to_qos).transpose()?,
            payload: payload.transpose()?,
            retain: raw.retain.as_ref().is_some_and(|retain| *retain.get_ref()),
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.topic.limit(limits);
        self.payload.iter_mut().for_each(|one| one.limit(limits));
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let payload = match &self.payload {
            Some(expression) => to_payload(&around.evaluate(expression)?)?,
            None => around.work.message.payload.clone(),
        };
        let filled = self.topic.fill(around)?;
        self.emit(filled, payload, around).map(|()| Next::Go)
    }

    fn emit(
        &self,
        topic: String,
        payload: Bytes,
        around: &mut Around<'_, '_>,
    ) -> Result<(), String> {
        if around.sinks.emissions.len() >= MESSAGES {
            return Err(format!("more than {MESSAGES} publishes for one message"));
        }
        let topic = TopicName::new(topic).map_err(|error| format!("publish: {error}"))?;
        around.note(|| format!("+  publish {topic} {}", String::from_utf8_lossy(&payload)));
        let original = &around.work.message;
        around.sinks.emissions.push(Arc::new(Message {
            topic,
            payload,
            qos: self.qos.unwrap_or(original.qos),
            retain: self.retain,
            properties: original.properties.clone(),
            expires_at: original.expires_at,
            publisher: original.publisher.clone(),
            received_ms: original.received_ms,
            hops: original.hops.saturating_add(1),
        }));
        Ok(())
    }
}
