//! What came of a test of a component against what it has to be.
//!
//! Owns: [`Came`], [`Came::check`]. Only what `expect` names counts.

use crate::lane::Delivered;
use serde_json::Value;
use std::time::Duration;
use witmq_broker::ports::chains::{Emit, Patch};
use witmq_broker::ports::hooks::Grant;
use witmq_broker::ports::{AuthStep, StepFailure, StepOutcome};

/// What a hook came to.
#[derive(Debug)]
pub(crate) enum Came {
    Outcome(StepOutcome),
    Delivered(Delivered),
    /// `None`: not its client.
    Step(Option<AuthStep>),
    Failed(StepFailure),
}

impl Came {
    /// Bytes of the payloads that came out.
    pub(crate) fn output_bytes(&self) -> usize {
        match self {
            Self::Outcome(StepOutcome::Modify(patch)) => {
                patch.payload.as_ref().map_or(0, |payload| payload.len())
            }
            Self::Outcome(StepOutcome::Split(parts)) => {
                parts.iter().map(|part| part.payload.len()).sum()
            }
            _ => 0,
        }
    }

    /// # Errors
    /// What was expected and what came, or that nobody can expect that.
    pub(crate) fn check(&self, expect: &Value) -> Result<(), String> {
        let (word, detail) = match expect {
            Value::String(word) => (word.as_str(), &Value::Null),
            Value::Object(object) if object.len() == 1 => match object.iter().next() {
                Some((word, detail)) => (word.as_str(), detail),
                None => ("", &Value::Null),
            },
            _ => return Err(format!("{expect} is nothing that can be expected")),
        };
        let is_same = match self {
            Self::Outcome(outcome) => is_outcome(word, detail, outcome),
            Self::Delivered(delivered) => is_delivered(word, detail, delivered),
            Self::Step(step) => is_step(word, detail, step.as_ref()),
            Self::Failed(failure) => word == "failure" && is_part(detail, &failure.to_string()),
        };
        match is_same {
            true => Ok(()),
            false => Err(format!("{expect} is expected, {self:?} came")),
        }
    }
}

fn is_part(wanted: &Value, text: &str) -> bool {
    wanted.as_str().is_some_and(|part| text.contains(part))
}

fn is_outcome(word: &str, detail: &Value, outcome: &StepOutcome) -> bool {
    match (word, outcome) {
        ("pass", StepOutcome::Pass)
        | ("consume", StepOutcome::Consume)
        | ("withhold", StepOutcome::Withhold)
        | ("stop", StepOutcome::Stop) => true,
        ("jump", StepOutcome::Jump(chain)) => detail.as_str() == Some(chain),
        ("refuse", StepOutcome::Refuse { reason, .. }) => {
            detail.as_u64() == Some(u64::from(reason.to_u8()))
        }
        ("modify", StepOutcome::Modify(patch)) => is_patch(detail, patch),
        ("split", StepOutcome::Split(parts)) => {
            let all = detail.as_array().map_or(&[][..], Vec::as_slice);
            let mut pairs = all.iter().zip(parts);
            all.len() == parts.len() && pairs.all(|(wanted, part)| is_emit(wanted, part))
        }
        _ => false,
    }
}

fn is_delivered(word: &str, detail: &Value, delivered: &Delivered) -> bool {
    match (word, delivered) {
        ("done", Delivered::Done) => true,
        // 0: as the broker thinks right.
        ("again", Delivered::Again(after)) => {
            let after = after.as_ref().map(Duration::as_millis);
            detail.as_u64().map(u128::from) == Some(after.unwrap_or(0))
        }
        ("never", Delivered::Never(text)) => is_part(detail, text),
        _ => false,
    }
}

fn is_step(word: &str, detail: &Value, step: Option<&AuthStep>) -> bool {
    match (word, step) {
        ("ignore", None) => true,
        ("allow", Some(AuthStep::Allow(grant))) => is_grant(detail, grant),
        ("deny", Some(AuthStep::Deny { reason, .. })) => {
            detail.as_u64() == Some(u64::from(reason.to_u8()))
        }
        ("challenge", Some(AuthStep::Challenge { data, .. })) => {
            is_part(detail, &String::from_utf8_lossy(data))
        }
        _ => false,
    }
}

fn is_grant(wanted: &Value, grant: &Grant) -> bool {
    let mut fields = wanted.as_object().into_iter().flatten();
    fields.all(|(key, value)| match key.as_str() {
        "username" => grant.username.as_deref() == value.as_str(),
        "superuser" => Some(grant.superuser) == value.as_bool(),
        "data" => grant.data.as_deref() == value.as_str().map(str::as_bytes),
        _ => false,
    })
}

/// Whether a payload is what is expected: text as it is, anything else as JSON.
fn is_payload(wanted: &Value, payload: &[u8]) -> bool {
    match wanted {
        Value::String(text) => text.as_bytes() == payload,
        json => serde_json::from_slice(payload).is_ok_and(|found: Value| found == *json),
    }
}

fn is_patch(wanted: &Value, patch: &Patch) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields.into_iter().all(|(key, value)| match key.as_str() {
        "topic" => patch.topic.as_deref() == value.as_str(),
        "payload" => patch
            .payload
            .as_ref()
            .is_some_and(|payload| is_payload(value, payload)),
        "qos" => patch.qos.map(|qos| u64::from(qos as u8)) == value.as_u64(),
        "retain" => patch.retain == value.as_bool(),
        _ => false,
    })
}

fn is_emit(wanted: &Value, part: &Emit) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields.into_iter().all(|(key, value)| match key.as_str() {
        "topic" => Some(&*part.topic) == value.as_str(),
        "payload" => is_payload(value, &part.payload),
        "qos" => Some(u64::from(part.qos as u8)) == value.as_u64(),
        "retain" => Some(part.retain) == value.as_bool(),
        _ => false,
    })
}
