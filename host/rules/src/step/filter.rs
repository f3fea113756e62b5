//! `filter`: a condition that ends the chain for a message.

use super::Compiling;
use crate::chain::{Chain, Count};
use crate::expression::{Expression, Limits};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next, Sinks, Work, glance, keep_missed, truth};
use std::sync::Arc;
use witmq_broker::ports::Publisher;
use witmq_proto::Message;

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
        if self.is_met(around.truth(&self.condition)?)? {
            return Ok(Next::Go);
        }
        around.chain.stats.count(Count::Filtered);
        around.missed(&self.condition);
        Ok(Next::Stop)
    }

    /// Whether it asks for nothing of the payload.
    pub(crate) fn is_bare(&self) -> bool {
        !self.condition.needs_json() && !self.condition.needs_raw()
    }

    /// [`Self::run`] of a filter that is bare, for a message that nobody has changed.
    pub(crate) fn glance(
        &self,
        around: (&Chain, Publisher<'_>),
        message: &Arc<Message>,
        sinks: &mut Sinks<'_>,
    ) -> Result<Next, String> {
        let chain = around.0;
        let came = glance(around, &self.condition, message, &mut sinks.fared, truth)?;
        if self.is_met(came)? {
            return Ok(Next::Go);
        }
        chain.stats.count(Count::Filtered);
        if chain.stats.misses.wants(message.received_ms) {
            let work = &mut Work::new(message.clone(), chain);
            keep_missed(around, &self.condition, work);
        }
        Ok(Next::Stop)
    }

    fn is_met(&self, came: Result<bool, String>) -> Result<bool, String> {
        came.map_err(|other| {
            let source = &self.condition.source;
            format!("filter `{source}` gives {other}, not true or false")
        })
    }

    pub(super) fn is_quick(&self) -> bool {
        self.condition.is_quick()
    }
}
