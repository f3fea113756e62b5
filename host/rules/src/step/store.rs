//! `store`: puts a value into a table, or takes it out.

use super::{Compiling, remember};
use crate::expression::{Expression, Limits, Value};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next};
use crate::tables::{self, Table, Tables};

#[derive(Debug)]
pub(crate) struct Store {
    table: Table,
    key: Expression,
    value: Expression,
    /// In a shadow.
    only_reads: bool,
}

impl Store {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(raw) = &raw.store else {
            return Err(around.error(around.at, "a store step needs `store`"));
        };
        let name = raw.table.get_ref();
        if around.names.tables.contains_key(name.as_str()) {
            let text = format!("`{name}` is a table of this file, which nothing is stored to");
            return Err(around.error(raw.table.span().start, text).hint(format!(
                "take [table.{name}] out and fill it by `witmq table load`"
            )));
        }
        Ok(Self {
            table: tables::named(around, &raw.table)?,
            key: around.expression(&raw.key)?,
            value: around.expression(&raw.value)?,
            only_reads: false,
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.key.limit(limits);
        self.value.limit(limits);
    }

    pub(super) fn only_read(&mut self) {
        self.only_reads = true;
    }

    pub(super) fn attach(&mut self, tables: &Tables) {
        self.table.attach(tables);
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let key = remember::key(around, Some(&self.key))?;
        let value = around.evaluate(&self.value)?;
        match &value {
            _ if self.only_reads => {}
            Value::Null => self.table.remove(&key)?,
            value => self.table.put(&key, &value.to_json()?.to_string())?,
        }
        around.note(|| format!("{} {key:?} -> {value:?}", self.table.name()));
        Ok(Next::Go)
    }
}
