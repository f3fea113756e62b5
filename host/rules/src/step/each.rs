//! `foreach`: a message for each element of a list.

use super::Compiling;
use crate::expression::{Expression, Limits, Value};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, MESSAGES, Next, too_many};

#[derive(Debug)]
pub(crate) struct ForEach {
    list: Expression,
    /// Slots of the element and of its place.
    item: u8,
    index: u8,
}

impl ForEach {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(list) = &raw.foreach else {
            return Err(around.error(around.at, "a foreach step needs `foreach`"));
        };
        let list = around.expression(list)?;
        let (name, at) = match &raw.name {
            Some(name) => (name.get_ref().as_str(), name.span().start),
            None => ("item", around.at),
        };
        Ok(Self {
            list,
            item: around.bind(name, at)?,
            index: around.bind("index", at)?,
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.list.limit(limits);
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let source = &self.list.source;
        let value = around.evaluate(&self.list)?;
        let Value::List(list) = &value else {
            return Err(format!("foreach `{source}` gives {value:?}, not a list"));
        };
        around.note(|| format!("{} messages", list.len()));
        if list.len() > MESSAGES {
            return Err(too_many());
        }
        let message = around.work.message()?.clone();
        let part = |(index, item)| {
            let mut part = around.work.part(message.clone());
            part.bind(self.item, item);
            part.bind(self.index, Value::count(index));
            part
        };
        Ok(Next::Split(list.iter().enumerate().map(part).collect()))
    }
}
