//! CEL: compiled and checked at deploy, bounded, and with one kind of number.
//!
//! The `cel` library parses; what it parsed is compiled to nodes whose every step is counted (ADR 0012). JSON does not
//! say whether 20 is whole, and CEL does not mix whole and broken numbers. So every operation computes with doubles,
//! and a chain that passes its test with `20.0` then does the same when `20` comes.
//! Must not: read a clock. What an expression knows of the time is when its message was received.

mod compile;
mod eval;
mod limits;
mod node;
mod scope;
mod span;
mod value;

use node::{Node, Variable};

pub(crate) use eval::{contains, index, joined, sorted};
pub(crate) use limits::{Budget, Done, ENTRY_BYTES, Fail, Limits};
pub(crate) use scope::Scope;
pub(crate) use span::position;
pub(crate) use value::{Blob, Held, List, Map, Text, Value, whole};

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
    variables: Vec<Variable>,
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
    /// Compiles; `names` are what the chain's topic template captures.
    pub(crate) fn compile(source: &str, names: &[&str]) -> Result<Self, Flaw> {
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
        let (node, variables) = compile::compile(source, names)?;
        Ok(Self {
            source: source.to_owned(),
            node,
            variables,
            place: (1, 1),
        })
    }

    /// Whether it uses a variable.
    fn names(&self, variable: Variable) -> bool {
        self.variables.contains(&variable)
    }

    /// It begins here in its file.
    pub(crate) fn placed(mut self, line: usize, column: usize) -> Self {
        self.place = (line, column);
        self
    }

    /// Evaluates; errors are words for the operator.
    pub(crate) fn run(&self, scope: &Scope<'_>) -> Result<Value<'static>, String> {
        self.run_within(scope, Limits::default())
    }

    fn run_within(&self, scope: &Scope<'_>, limits: Limits) -> Result<Value<'static>, String> {
        let budget = Budget::new(limits);
        eval::evaluate(&self.node, scope, &budget)
            .and_then(|value| {
                // Shared parts are not shared any more in what leaves: small to hold, large to write down.
                value
                    .weigh(&budget)
                    .map_err(|fail| fail.within(self.node.span))?;
                Ok(value.into_owned())
            })
            .map_err(|fail| compile::describe(&fail, &self.source, self.place))
    }
}

#[cfg(test)]
pub(crate) mod tests;
