//! `sink`: the message is handed to a plugin's queue, and goes on.

use super::Compiling;
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next};

#[derive(Debug)]
pub(crate) struct Sink {
    /// The plugin.
    pub(crate) name: String,
}

impl Sink {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(name) = &raw.sink else {
            return Err(around.error(around.at, "a sink step needs `sink`"));
        };
        let name = name.get_ref().clone();
        Ok(Self { name })
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let name = &self.name;
        let message = around.work.message()?;
        let delivered = (around.steps).deliver(name, around.publisher, message);
        delivered.map_err(|error| error.to_string())?;
        Ok(Next::Go)
    }
}
