//! `rate`: so many messages of a key in a time pass.

use super::{Compiling, remember};
use crate::expression::{Expression, Limits};
use crate::file::{self, Excess};
use crate::place::RuleError;
use crate::run::{Around, Next};
use crate::state::{self, Bounds};
use std::sync::Arc;

/// Messages of a rate.
const MOST: u32 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Rate {
    key: Option<Expression>,
    limit: u32,
    per_ms: u64,
    excess: Excess,
    memory: Arc<state::Rate>,
}

impl Rate {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(raw) = &raw.rate else {
            return Err(around.error(around.at, "a rate step needs `rate`"));
        };
        let limit = *raw.limit.get_ref();
        if !(1..=MOST).contains(&limit) {
            let text = format!("limit is 1 to {MOST}, not {limit}");
            return Err(around.error(raw.limit.span().start, text));
        }
        let per_ms = remember::time(around, "per", &raw.per)?;
        let key = raw.key.as_ref().map(|text| around.expression(text));
        Ok(Self {
            key: key.transpose()?,
            limit,
            per_ms,
            excess: remember::excess(around, raw.excess.as_ref(), true)?,
            memory: Arc::new(state::Rate::new(Bounds::default(), limit, per_ms)),
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.key.iter_mut().for_each(|key| key.limit(limits));
    }

    pub(super) fn forget(&mut self, bounds: &Bounds) {
        self.memory = Arc::new(state::Rate::new(bounds.clone(), self.limit, self.per_ms));
    }

    /// Goes on with what `old` remembers, if it is the same step.
    pub(super) fn adopt(&mut self, old: &Self) -> bool {
        let is_same = source(&self.key) == source(&old.key)
            && (self.limit, self.per_ms) == (old.limit, old.per_ms);
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
        let (is_within, given_up) = (self.memory).is_within(&key, around.work.head().received_ms);
        around.given_up(given_up);
        around.note(|| {
            let word = if is_within { "within" } else { "too many" };
            format!("{key:?} -> {word}")
        });
        Ok(match is_within {
            true => Next::Go,
            false => remember::held_back(around, self.excess),
        })
    }
}

fn source(key: &Option<Expression>) -> Option<&str> {
    key.as_ref().map(|key| key.source.as_str())
}
