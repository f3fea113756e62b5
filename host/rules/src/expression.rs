//! CEL: compiled and checked at deploy, bounded, and with one kind of number.
//!
//! The `cel` library parses; what it parsed is compiled to nodes whose every step is counted (ADR 0012). JSON does not
//! say whether 20 is whole, and CEL does not mix whole and broken numbers. So every operation computes with doubles,
//! and a chain that passes its test with `20.0` then does the same when `20` comes.
//! Must not: read a clock. What an expression knows of the time is when its message was received.

mod check;
mod compile;
mod eval;
mod json;
mod limits;
mod node;
mod operate;
mod parse;
mod parts;
mod scope;
mod sort;
mod span;
mod value;

use limits::FailKind;
use node::{Node, Variable};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use limits::Limits;
pub(crate) use limits::{Budget, Done, ELEMENT_BYTES, ENTRY_BYTES, Fail};
pub(crate) use operate::{contains, index, joined};
pub(crate) use parts::Parts;
pub(crate) use scope::Scope;
pub(crate) use sort::sorted;
pub(crate) use span::position;
pub(crate) use value::{Blob, Held, List, Map, Text, Value, cut, whole};

/// Bytes of an expression.
const SOURCE_BYTES: usize = 4096;
/// Operators, fields and brackets of an expression: parser and evaluation recurse over them, and a shard's stack is
/// 8 MiB.
const OPERATORS: usize = 96;
/// Bytes of an error kept.
const ERROR_BYTES: usize = 300;

/// A compiled expression.
pub(crate) struct Expression {
    pub(crate) source: String,
    node: Node,
    /// Bits of the variables that it uses, and not only fields of them that are at hand.
    variables: u16,
    is_quick: bool,
    limits: Limits,
    /// Line and column where its source begins, for errors.
    place: (usize, usize),
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// What is wrong with an expression, and at which byte of it.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// A name that a step gives to a value for the steps behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) name: String,
    /// Where its value is kept.
    pub(crate) slot: u8,
}

/// Whether expressions know it in every chain.
pub(crate) fn is_variable(name: &str) -> bool {
    Variable::ALL.into_iter().any(|(known, _)| known == name)
}

fn flaw(at: usize, message: impl Into<String>) -> Flaw {
    Flaw {
        at,
        message: message.into(),
    }
}

fn shorten(text: &str) -> String {
    text.get(..text.floor_char_boundary(ERROR_BYTES))
        .unwrap_or_default()
        .to_owned()
}

impl Expression {
    /// Compiles; `names` are what the chain's topic template captures, `bound` what steps before it name.
    pub(crate) fn compile(source: &str, names: &[&str], bound: &[Bound]) -> Result<Self, Flaw> {
        if source.len() > SOURCE_BYTES {
            return Err(flaw(
                0,
                format!("an expression is at most {SOURCE_BYTES} bytes long"),
            ));
        }
        if let Some(at) = span::operators(source).nth(OPERATORS) {
            let text = format!(
                "more than {OPERATORS} operators, fields and brackets; split it over several set steps"
            );
            return Err(flaw(at, text));
        }
        let (node, variables, is_quick) = compile::compile(source, names, bound)?;
        Ok(Self {
            source: source.to_owned(),
            node,
            variables: (variables.iter()).fold(0, |bits, variable| bits | variable.bit()),
            is_quick,
            limits: Limits::default(),
            place: (1, 1),
        })
    }

    /// Whether the payload has to be parsed for it.
    pub(crate) fn needs_json(&self) -> bool {
        self.names(Variable::Payload)
    }

    /// Whether the payload has to be written for it.
    pub(crate) fn needs_raw(&self) -> bool {
        self.names(Variable::Raw)
    }

    /// Whether it calls nothing and goes through no list: it takes no longer than reading and joining the texts it names.
    pub(crate) fn is_quick(&self) -> bool {
        self.is_quick
    }

    /// Whether it uses a variable, and not only fields of it that are at hand.
    fn names(&self, variable: Variable) -> bool {
        self.variables & variable.bit() != 0
    }

    /// What an evaluation may cost.
    pub(crate) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// It begins here in its file.
    pub(crate) fn placed(mut self, line: usize, column: usize) -> Self {
        self.place = (line, column);
        self
    }

    #[cfg(test)]
    pub(crate) fn run(
        &self,
        scope: &Scope<'_>,
        limited: impl FnOnce(),
    ) -> Result<Value<'static>, String> {
        self.watch(scope, limited, None, |value| value.into_owned())
    }

    /// Evaluates; `keep` takes from the outcome what leaves, errors are words for the operator. `limited` is called when a limit
    /// ended it. The values of its parts go to `parts`.
    pub(crate) fn watch<T>(
        &self,
        scope: &Scope<'_>,
        limited: impl FnOnce(),
        parts: Option<&Parts>,
        keep: impl FnOnce(Value<'_>) -> T,
    ) -> Result<T, String> {
        let budget = Budget::new(self.limits);
        let evaluate = || {
            let value = eval::evaluate(&self.node, scope, &budget, parts)?;
            // Shared parts are not shared any more in what leaves: small to hold, large to write down.
            let weighed = value.weigh(&budget);
            weighed.map_err(|fail| fail.within(self.node.span))?;
            Ok(keep(value))
        };
        // No panic is known. One in a library of time or patterns must not end a shard.
        catch_unwind(AssertUnwindSafe(evaluate))
            .unwrap_or_else(|_| Err(Fail::wrong("a function failed; please report this")))
            .map_err(|fail| {
                if fail.kind() == FailKind::Limit {
                    limited();
                }
                describe(&fail, &self.source, self.place)
            })
    }
}

/// An error of an evaluation: where, which part, and why.
fn describe(fail: &Fail, source: &str, (line, column): (usize, usize)) -> String {
    let span = fail.span().unwrap_or(span::Span {
        start: 0,
        end: source.len(),
    });
    let (down, right) = position(source, span.start);
    let column = if down == 1 { column + right - 1 } else { right };
    let line = line + down - 1;
    shorten(&format!(
        "{line}:{column}: `{}`: {}",
        span.quote(source),
        fail.message()
    ))
}

#[cfg(test)]
mod reference;
#[cfg(test)]
pub(crate) mod tests;
