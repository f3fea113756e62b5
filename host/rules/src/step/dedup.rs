//! `dedup`: the first message of a key in a time passes.

use super::{Compiling, remember};
use crate::expression::{Expression, Limits};
use crate::file::{self, Excess};
use crate::place::RuleError;
use crate::run::{Around, Next};
use crate::state::{self, Bounds};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Dedup {
    key: Expression,
    for_ms: u64,
    excess: Excess,
    memory: Arc<state::Dedup>,
}

impl Dedup {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(raw) = &raw.dedup else {
            return Err(around.error(around.at, "a dedup step needs `dedup`"));
        };
        let for_ms = remember::time(around, "for", &raw.time)?;
        Ok(Self {
            key: around.expression(&raw.key)?,
            for_ms,
            excess: remember::excess(around, raw.excess.as_ref(), false)?,
            memory: Arc::new(state::Dedup::new(Bounds::default(), for_ms)),
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.key.limit(limits);
    }

    pub(super) fn forget(&mut self, bounds: &Bounds) {
        self.memory = Arc::new(state::Dedup::new(bounds.clone(), self.for_ms));
    }

    /// Goes on with what `old` remembers, if it is the same step.
    pub(super) fn adopt(&mut self, old: &Self) -> bool {
        let is_same = (&self.key.source, self.for_ms) == (&old.key.source, old.for_ms);
        if is_same {
            self.memory = old.memory.clone();
        }
        is_same
    }

    pub(super) fn size(&self) -> (usize, usize) {
        self.memory.size()
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let key = remember::key(around, Some(&self.key))?;
        let (is_first, given_up) = self.memory.is_first(&key, around.work.head().received_ms);
        around.given_up(given_up);
        around.note(|| {
            let word = if is_first { "first" } else { "again" };
            format!("{key:?} -> {word}")
        });
        Ok(match is_first {
            true => Next::Go,
            false => remember::held_back(around, self.excess),
        })
    }
}
