//! `when … then`: on to a named chain of the same file, and not back.

use super::Compiling;
use crate::expression::{Expression, Limits};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next};

#[derive(Debug)]
pub(crate) struct When {
    condition: Expression,
    then: String,
    /// Where the named chain begins.
    pub(super) place: usize,
}

impl When {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let (Some(condition), Some(then)) = (&raw.when, &raw.then) else {
            let text = "a when step needs `then`, the name of a chain of this file";
            return Err(around
                .error(around.at, text)
                .hint("as in then = \"page\" and [chain.page]"));
        };
        Ok(Self {
            condition: around.expression(condition)?,
            place: around.named(then)?,
            then: then.get_ref().clone(),
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.condition.limit(limits);
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let truth = around.truth(&self.condition)?;
        let then = &self.then;
        around.note(|| match truth {
            Ok(true) => format!("on to {then}"),
            _ => "not there".to_owned(),
        });
        match truth {
            Ok(true) => Ok(Next::To(self.place)),
            Ok(false) => {
                around.missed(&self.condition);
                Ok(Next::Go)
            }
            Err(other) => Err(format!(
                "when `{}` gives {other}, not true or false",
                self.condition.source
            )),
        }
    }

    pub(super) fn is_quick(&self) -> bool {
        self.condition.is_quick()
    }
}
