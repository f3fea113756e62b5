//! `plugin`: the `transform` hook of a plugin, and what its outcome makes of the message.

use super::Compiling;
use crate::chain::{self, Chain};
use crate::file::{self, Mode};
use crate::place::RuleError;
use crate::run::{Around, End, Next, Work};
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::ports::chains::{Emit, Patch};
use witmq_broker::ports::{StepFailure, StepOutcome};
use witmq_proto::packet::PublishProperties;
use witmq_proto::{Message, TopicName};

#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: String,
}

impl Plugin {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(name) = &raw.plugin else {
            return Err(around.error(around.at, "a plugin step needs `plugin`"));
        };
        let name = name.get_ref().clone();
        Ok(Self { name })
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let (name, publisher) = (&self.name, around.publisher);
        let message = around.work.message()?;
        let said = (around.steps).transform(name, publisher, message);
        self.said(said, around)
    }

    /// What its `transform` came to.
    pub(crate) fn said(
        &self,
        said: Result<StepOutcome, StepFailure>,
        around: &mut Around<'_, '_>,
    ) -> Result<Next, String> {
        let said = match said {
            Err(StepFailure::Waits(_)) => {
                let publisher = around.publisher;
                let message = around.work.message()?;
                let asked = (around.steps).ask(&self.name, publisher, message);
                return asked.map(Next::Waits).map_err(|error| error.to_string());
            }
            said => said.map_err(|error| error.to_string())?,
        };
        around.note(|| word(&said).to_owned());
        outcome(around.chain, said, around.work)
    }
}

/// An outcome in a word.
pub(crate) fn word(outcome: &StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Pass => "pass",
        StepOutcome::Modify(_) => "modify",
        StepOutcome::Split(_) => "split",
        StepOutcome::Refuse { .. } => "refuse",
        StepOutcome::Consume => "consume",
        StepOutcome::Withhold => "withhold",
        StepOutcome::Stop => "stop",
        StepOutcome::Jump(_) => "jump",
    }
}

/// What a plugin's outcome makes of the message.
pub(crate) fn outcome(
    chain: &Chain,
    outcome: StepOutcome,
    work: &mut Work,
) -> Result<Next, String> {
    let leave = |end| {
        if chain.mode == Mode::Transform {
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
            let make = |part| made(part, work.head()).map(|part| work.part(part));
            Next::Split(parts.into_iter().map(make).collect::<Result<_, _>>()?)
        }
        StepOutcome::Refuse { reason, text } => leave(End::Refused { reason, text }),
        StepOutcome::Consume => leave(End::Consumed),
        StepOutcome::Withhold => leave(End::Withheld),
        StepOutcome::Stop => Next::Stop,
        StepOutcome::Jump(name) => {
            let found = chain::find(&chain.named, &name);
            Next::To(found.map_err(|(cause, _)| format!("the plugin jumps: {cause}"))?)
        }
    })
}

fn apply(patch: Patch, work: &mut Work) -> Result<(), String> {
    let topic = patch
        .topic
        .map(TopicName::new)
        .transpose()
        .map_err(|error| error.to_string())?;
    if topic.as_ref().is_some_and(TopicName::is_dollar) && !work.head().topic.is_dollar() {
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
            message.properties = properties;
            if !message.properties.subscription_ids.is_empty() {
                message.properties.subscription_ids.clear();
            }
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
