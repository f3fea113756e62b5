//! From a `[[step]]` as written to a step: what all kinds have in common.

use super::{Kind, Step, WORDS, listed, words};
use crate::chain;
use crate::expression::{Bound, Expression, is_variable, position};
use crate::file::{self, File, Mode, OnError};
use crate::payload::Format;
use crate::place::{RuleError, Source};
use crate::template::is_name;
use serde_spanned::Spanned;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a step may name.
pub(crate) struct Names<'a> {
    /// From the chain's topic template.
    pub(crate) topic: &'a [&'a str],
    /// From the steps before it.
    pub(crate) bound: RefCell<Vec<Bound>>,
    /// Tables of the file.
    pub(crate) tables: &'a BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// Names of all slots of the file.
    pub(crate) slots: &'a RefCell<Vec<String>>,
    /// Named chains and where they begin.
    pub(crate) named: &'a [(String, usize)],
    /// Of steps that say nothing else.
    pub(crate) on_error: OnError,
}

/// What a step is compiled with.
#[derive(Clone, Copy)]
pub(crate) struct Compiling<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) mode: Mode,
    /// How the chain writes payloads.
    pub(crate) encode: &'a Format,
    pub(crate) names: &'a Names<'a>,
    /// Where the step begins.
    pub(crate) at: usize,
}

impl Compiling<'_> {
    /// An error of a step at a byte of the file.
    pub(crate) fn error(&self, at: usize, message: impl Into<String>) -> RuleError {
        self.source.error(at, "bad-step", message)
    }

    pub(crate) fn expression(&self, text: &Spanned<String>) -> Result<Expression, RuleError> {
        self.expression_at(text.get_ref(), self.source.content(&text.span()))
    }

    /// An expression whose text begins at a byte of the file.
    pub(crate) fn expression_at(&self, text: &str, at: usize) -> Result<Expression, RuleError> {
        let bound = self.names.bound.borrow();
        let expression = Expression::compile(text, self.names.topic, &bound)
            .map_err(|flaw| (self.source).error(at + flaw.at, "cel-error", flaw.message))?;
        let (line, column) = position(self.source.text, at);
        Ok(expression.placed(line, column))
    }

    /// Gives a value of this step a name, for the steps behind it: the slot to bind it to.
    pub(crate) fn bind(&self, name: &str, at: usize) -> Result<u8, RuleError> {
        if !is_name(name) || is_variable(name) {
            let text = format!("`{name}` cannot name a value");
            return Err(self
                .error(at, text)
                .hint("use letters, digits and _, and none of the names that are there"));
        }
        let mut slots = self.names.slots.borrow_mut();
        let known = slots.iter().position(|known| known == name);
        let slot = known.unwrap_or(slots.len());
        let Ok(number) = u8::try_from(slot) else {
            return Err(self.error(at, "the steps of one file name at most 256 values"));
        };
        if known.is_none() {
            slots.push(name.to_owned());
        }
        let mut bound = self.names.bound.borrow_mut();
        bound.retain(|known| known.name != name);
        bound.push(Bound {
            name: name.to_owned(),
            slot: number,
        });
        Ok(number)
    }

    /// Where a named chain begins.
    pub(crate) fn named(&self, name: &Spanned<String>) -> Result<usize, RuleError> {
        chain::find(self.names.named, name.get_ref()).map_err(|(cause, hint)| {
            let error = self.source.error(name.span().start, "unknown-chain", cause);
            error.hint(hint)
        })
    }

    /// Whether a step before has given a value this name.
    pub(crate) fn is_bound(&self, name: &str) -> bool {
        let bound = self.names.bound.borrow();
        bound.iter().any(|bound| bound.name == name)
    }
}

/// An expression that may be left out.
pub(super) fn optional(
    text: Option<&Spanned<String>>,
    around: &Compiling<'_>,
) -> Result<Option<Expression>, RuleError> {
    text.map(|text| around.expression(text)).transpose()
}

/// Compiles one step.
pub(crate) fn compile(
    step: &Spanned<file::Step>,
    file: &File,
    names: &Names<'_>,
    next: usize,
    source: Source<'_>,
) -> Result<Step, RuleError> {
    let raw = step.get_ref();
    let around = Compiling {
        source,
        mode: file.mode,
        encode: &file.encode,
        names,
        at: step.span().start,
    };
    let (word, kind) = compile_kind(raw, &around)?;
    Ok(Step {
        word,
        is_quick: kind.is_quick(),
        kind,
        on_error: match &raw.on_error {
            None => names.on_error,
            Some(policy) => check_on_error(policy, around.mode, source)?,
        },
        next,
    })
}

fn compile_kind(
    raw: &file::Step,
    around: &Compiling<'_>,
) -> Result<(&'static str, Kind), RuleError> {
    let said: Vec<_> = WORDS.iter().filter(|word| (word.is_said)(raw)).collect();
    let [word] = said[..] else {
        let text = format!("a step is exactly one of {}", words());
        return Err(around
            .error(around.at, text)
            .hint("make one [[step]] for each"));
    };
    for (key, span) in raw.keys() {
        if key == word.word || word.keys.contains(&key) {
            continue;
        }
        let owners = WORDS.iter().filter(|owner| owner.keys.contains(&key));
        let owners = listed(owners.map(|owner| owner.word));
        let text = format!("`{key}` belongs to a {owners} step");
        let error = around.error(span.start, text);
        return Err(match (word.word, key) {
            ("set", "payload" | "qos" | "retain") => {
                error.hint("in a set step use \"$payload\", \"$qos\", \"$retain\"")
            }
            _ => error,
        });
    }
    Ok((word.word, (word.compile)(raw, around)?))
}

/// What a failure does where nothing is said.
pub(crate) fn on_error(file: &File, source: Source<'_>) -> Result<OnError, RuleError> {
    match (&file.on_error, file.mode) {
        (Some(policy), mode) => check_on_error(policy, mode, source),
        (None, Mode::Transform) => Ok(OnError::Refuse),
        (None, Mode::Rule) => Ok(OnError::Stop),
    }
}

fn check_on_error(
    policy: &Spanned<OnError>,
    mode: Mode,
    source: Source<'_>,
) -> Result<OnError, RuleError> {
    if (mode, *policy.get_ref()) == (Mode::Rule, OnError::Refuse) {
        let text = "a rule chain works on a copy and cannot refuse the message";
        let error = source.error(policy.span().start, "bad-step", text);
        return Err(error.hint("use mode = \"transform\", or on_error = \"stop\""));
    }
    Ok(*policy.get_ref())
}
