//! `filter`: a condition that ends the chain for a message.

use super::Compiling;
use crate::chain::Count;
use crate::expression::{Expression, Limits};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next};

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) condition: Expression,
}

impl Filter {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(text) = &raw.filter else {
            return Err(around.error(around.at, "a filter step needs `filter`"));
        };
        let condition = around.expression(text)?;
        Ok(Self { condition })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.condition.limit(limits);
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        match around.truth(&self.condition)? {
            Ok(true) => Ok(Next::Go),
            Ok(false) => {
                around.chain.stats.count(Count::Filtered);
                around.missed(&self.condition);
                Ok(Next::Stop)
            }
            Err(other) => Err(format!(
                "filter `{}` gives {other}, not true or false",
                self.condition.source
            )),
        }
    }

    pub(super) fn is_quick(&self) -> bool {
        self.condition.is_quick()
    }
}
