//! `changed`: a message passes if its value differs from the last one that passed.

use super::{Compiling, remember};
use crate::expression::{Expression, Limits, Value};
use crate::file::{self, Excess};
use crate::place::RuleError;
use crate::run::{Around, Next};
use crate::state::{Bounds, Change, Changes};
use std::sync::Arc;

/// What makes one step the same as another.
#[derive(Clone, Debug, PartialEq)]
struct Definition {
    key: Option<String>,
    value: String,
    by: f64,
    at_least_ms: Option<u64>,
    initial: Option<Change>,
}

impl Definition {
    fn memory(&self, bounds: Bounds) -> Arc<Changes> {
        let when = (self.by, self.at_least_ms);
        Arc::new(Changes::new(bounds, when, self.initial.clone()))
    }
}

#[derive(Debug)]
pub(crate) struct Changed {
    key: Option<Expression>,
    value: Expression,
    definition: Definition,
    excess: Excess,
    memory: Arc<Changes>,
}

impl Changed {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(raw) = &raw.changed else {
            return Err(around.error(around.at, "a changed step needs `changed`"));
        };
        let by = raw.by.as_ref().map_or(0.0, |by| *by.get_ref());
        if !(by.is_finite() && by >= 0.0) {
            let at = raw.by.as_ref().map_or(around.at, |by| by.span().start);
            return Err(around.error(at, format!("by is a number from 0 on, not {by}")));
        }
        let at_least = raw.at_least.as_ref();
        let at_least = at_least.map(|text| remember::time(around, "at_least", text));
        let key = raw.key.as_ref().map(|text| around.expression(text));
        let key = key.transpose()?;
        let value = around.expression(&raw.value)?;
        let initial = raw.initial.as_ref().map(|value| {
            let json = serde_json::to_value(value).unwrap_or_default();
            to_change(&Value::from(&json)).map_err(|cause| around.error(around.at, cause))
        });
        let definition = Definition {
            key: key.as_ref().map(|key| key.source.clone()),
            value: value.source.clone(),
            by,
            at_least_ms: at_least.transpose()?,
            initial: initial.transpose()?,
        };
        Ok(Self {
            key,
            value,
            excess: remember::excess(around, raw.excess.as_ref(), false)?,
            memory: definition.memory(Bounds::default()),
            definition,
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.key.iter_mut().for_each(|key| key.limit(limits));
        self.value.limit(limits);
    }

    pub(super) fn forget(&mut self, bounds: &Bounds) {
        self.memory = self.definition.memory(bounds.clone());
    }

    /// Goes on with what `old` remembers, if it is the same step.
    pub(super) fn adopt(&mut self, old: &Self) -> bool {
        let is_same = self.definition == old.definition;
        if is_same {
            self.memory = old.memory.clone();
        }
        is_same
    }

    pub(super) fn size(&self) -> (usize, usize) {
        self.memory.size()
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let key = remember::key(around, self.key.as_ref())?;
        let value = around.evaluate(&self.value)?;
        let change = to_change(&value)?;
        let now_ms = around.work.head().received_ms;
        let (is_changed, given_up) = self.memory.is_changed(&key, change, now_ms);
        around.given_up(given_up);
        around.note(|| {
            let word = if is_changed { "changed" } else { "the same" };
            format!("{key:?} {value:?} -> {word}")
        });
        Ok(match is_changed {
            true => Next::Go,
            false => remember::held_back(around, self.excess),
        })
    }
}

fn to_change(value: &Value<'_>) -> Result<Change, String> {
    Ok(match value.number() {
        Some(number) if number.is_finite() => Change::Number(number),
        Some(number) => return Err(format!("the value is {number}, which is no number")),
        None => Change::Other(remember::plain(value)?.to_string().into()),
    })
}
