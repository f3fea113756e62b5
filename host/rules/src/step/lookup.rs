//! `lookup`: what a table says of a key, for the steps behind.

use super::{Compiling, remember};
use crate::expression::{Expression, Limits, Value};
use crate::file;
use crate::place::RuleError;
use crate::run::{Around, Next};
use crate::tables::{self, Table, Tables};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug)]
enum Where {
    /// A `[table.NAME]` of the file.
    File(Arc<BTreeMap<String, Value<'static>>>),
    Shared(Table),
}

#[derive(Debug)]
pub(crate) struct Lookup {
    name: String,
    table: Where,
    key: Expression,
    slot: u8,
    /// Null without one.
    default: Value<'static>,
}

impl Lookup {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(raw) = &raw.lookup else {
            return Err(around.error(around.at, "a lookup step needs `lookup`"));
        };
        let name = raw.table.get_ref();
        let own = around.names.tables.get(name.as_str());
        let table = match own {
            Some(entries) => {
                let value = |(key, value): (&String, &toml::Value)| (key.clone(), constant(value));
                Where::File(Arc::new(entries.iter().map(value).collect()))
            }
            None => Where::Shared(tables::named(around, &raw.table)?),
        };
        let key = around.expression(&raw.key)?;
        let default = raw.default.as_ref().map_or(Value::Null, constant);
        Ok(Self {
            name: name.clone(),
            table,
            key,
            slot: around.bind(raw.name.get_ref(), raw.name.span().start)?,
            default,
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.key.limit(limits);
    }

    pub(super) fn attach(&mut self, tables: &Tables) {
        if let Where::Shared(table) = &mut self.table {
            table.attach(tables);
        }
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let key = remember::key(around, Some(&self.key))?;
        let found = match &self.table {
            Where::File(entries) => entries.get(&key).cloned(),
            Where::Shared(table) => table.find(&key)?,
        };
        let word = if found.is_some() { "" } else { ", the default" };
        let value = found.unwrap_or_else(|| self.default.clone());
        around.note(|| format!("{} {key:?} -> {value:?}{word}", self.name));
        around.work.bind(self.slot, value);
        Ok(Next::Go)
    }
}

/// A value of the file.
fn constant(value: &toml::Value) -> Value<'static> {
    Value::from_json(serde_json::to_value(value).unwrap_or_default())
}
