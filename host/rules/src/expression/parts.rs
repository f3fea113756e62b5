//! Values of the parts of an expression, for traces.
//!
//! Owns: [`Parts`]. They are noted while the expression is evaluated, so that nothing is evaluated twice and what was not
//! evaluated is not there. Must not: cost anything when nobody looks.

use super::limits::Done;
use super::node::{Kind, Node};
use super::span::Span;
use super::value::Value;
use std::cell::RefCell;

/// Parts of one evaluation that are noted.
const MOST: usize = 64;

/// A part that was evaluated.
struct Part {
    span: Span,
    value: String,
    truth: Option<bool>,
}

/// Parts of one evaluation, those within others first.
#[derive(Default)]
pub(crate) struct Parts(RefCell<Vec<Part>>);

impl Parts {
    pub(super) fn note(&self, node: &Node, done: &Done<Value<'_>>) {
        let Ok(value) = done else { return };
        let says_nothing = match &node.kind {
            Kind::Literal(_) | Kind::Local(_) => true,
            // What is looked into, not looked at.
            Kind::Variable(_) | Kind::Field(..) => matches!(value, Value::Map(_)),
            _ => false,
        };
        let mut parts = self.0.borrow_mut();
        if says_nothing || parts.len() >= MOST {
            return;
        }
        let truth = match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        };
        parts.push(Part {
            span: node.span,
            value: value.shown(),
            truth,
        });
    }

    /// Source and value of each, without what stands there twice and without the whole.
    pub(crate) fn values(&self, source: &str) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        for part in self.0.borrow().iter() {
            let pair = (part.span.quote(source), part.value.clone());
            if !all.contains(&pair) && pair.0.trim() != source.trim() {
                all.push(pair);
            }
        }
        all
    }

    /// The first part that is false and within nothing that is true: what made the whole false.
    pub(crate) fn first_false(&self, source: &str) -> Option<String> {
        let parts = self.0.borrow();
        let is_within = |part: &Part, other: &Part| {
            other.span.start <= part.span.start && part.span.end <= other.span.end
        };
        let decides = |part: &&Part| {
            let mut around = parts.iter().filter(|other| is_within(part, other));
            part.truth == Some(false) && !around.any(|other| other.truth == Some(true))
        };
        let found = parts.iter().find(decides)?;
        Some(found.span.quote(source))
    }
}
