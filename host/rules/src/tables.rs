//! Tables: keys and JSON values that steps look up and store, for all chains, kept on disk with the keys of plugins.
//!
//! Owns: [`Tables`], what they are asked by the admin API, and [`Table`], which a step holds.
//! Must not: know chains. A table is there as soon as it is named; it is what is in it.

use crate::expression::Value;
use crate::place::RuleError;
use crate::step::Compiling;
use bytes::Bytes;
use serde_json::Value as Json;
use serde_spanned::Spanned;
use std::sync::Arc;
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::ControlError;
use witmq_broker::ports::kv::{
    Expect, KEY_BYTES, KvError, KvSpace, PluginKv, SCAN_ENTRIES, TABLES, VALUE_BYTES, is_key,
};
use witmq_broker::ports::{TableControl, TableInfo};

/// Bytes of a table's name.
const NAME_BYTES: usize = 64;
/// Nothing in a table runs out, so it does not matter when it is asked.
const ANY_TIME: u64 = 0;

/// All tables of a node. Cheap to clone.
#[derive(Clone)]
pub struct Tables(Arc<dyn PluginKv>);

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Default for Tables {
    /// In memory only.
    fn default() -> Self {
        Self(Arc::new(Spaces::new(KvBounds::default())))
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=NAME_BYTES).contains(&name.len()) && name.chars().all(is_plain)
}

fn words(error: KvError, name: &str) -> String {
    match error {
        KvError::Keys => format!("table `{name}` is full (table_keys)"),
        KvError::Bytes => format!("table `{name}` is full (table_bytes)"),
        KvError::Tables => {
            format!(
                "table `{name}` takes no more: all tables together are full (table_total_bytes)"
            )
        }
        KvError::TooLarge => {
            format!("a key of a table is 1 to {KEY_BYTES} bytes, a value at most {VALUE_BYTES}")
        }
        other => other.to_string(),
    }
}

impl Tables {
    /// Kept there.
    #[must_use]
    pub fn new(kv: Arc<dyn PluginKv>) -> Self {
        Self(kv)
    }

    fn space(&self, name: &str) -> Arc<dyn KvSpace> {
        self.0.space(&format!("{TABLES}{name}"))
    }

    /// The keys of a table that is asked for by name.
    fn named(&self, name: &str) -> Result<Arc<dyn KvSpace>, ControlError> {
        if is_name(name) {
            return Ok(self.space(name));
        }
        Err(ControlError::Invalid {
            code: "bad-name",
            message: format!("`{name}` is no name for a table"),
            hint: Some(format!("use 1 to {NAME_BYTES} letters, digits, - and _")),
        })
    }

    /// For a test: what it says is in it.
    pub(crate) fn fill(&self, name: &str, key: &str, value: &Json) -> Result<(), String> {
        if !is_name(name) {
            return Err(format!("`{name}` is no name for a table"));
        }
        put(&*self.space(name), key, &value.to_string()).map_err(|error| words(error, name))
    }
}

fn put(space: &dyn KvSpace, key: &str, json: &str) -> Result<(), KvError> {
    let value = Bytes::copy_from_slice(json.as_bytes());
    space.put(key, value, Expect::Any, 0, ANY_TIME).map(drop)
}

/// Names of all tables there ever were, and their keys.
fn each(kv: &dyn PluginKv) -> impl Iterator<Item = (String, Arc<dyn KvSpace>)> {
    let named = |space: Arc<str>| Some((space.strip_prefix(TABLES)?.to_owned(), kv.space(&space)));
    kv.plugins().into_iter().filter_map(named)
}

fn pages(space: &dyn KvSpace, mut see: impl FnMut(&str, &[u8])) {
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = space.scan("", after.as_deref(), SCAN_ENTRIES, ANY_TIME);
        let Some((last, _)) = page.last() else {
            return;
        };
        after = Some(last.clone());
        page.iter().for_each(|(key, kept)| see(key, &kept.value));
    }
}

impl TableControl for Tables {
    fn list(&self) -> Vec<TableInfo> {
        let mut list = Vec::new();
        for (name, space) in each(&*self.0) {
            let (mut keys, mut bytes) = (0, 0);
            pages(&*space, |key, value| {
                keys += 1;
                bytes += key.len() + value.len();
            });
            if keys > 0 {
                list.push(TableInfo { name, keys, bytes });
            }
        }
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    fn entries(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, ControlError> {
        let page = self.named(table)?.scan("", after, limit, ANY_TIME);
        let entry = |(key, kept): (Arc<str>, witmq_broker::ports::kv::Kept)| {
            (
                key.to_string(),
                String::from_utf8_lossy(&kept.value).into_owned(),
            )
        };
        Ok(page.into_iter().map(entry).collect())
    }

    fn find(&self, table: &str, key: &str) -> Result<String, ControlError> {
        let kept = self.named(table)?.get(key, ANY_TIME);
        let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
        kept.map(|kept| text(kept.value))
            .ok_or_else(|| ControlError::NotFound(format!("table `{table}` has no key `{key}`")))
    }

    fn put(&self, table: &str, key: &str, json: &str) -> Result<(), ControlError> {
        let space = self.named(table)?;
        let invalid = |message: String, hint: &str| ControlError::Invalid {
            code: "bad-entry",
            message,
            hint: Some(hint.to_owned()),
        };
        // Written again: what is kept is JSON and nothing around it.
        let value: Json = serde_json::from_str(json).map_err(|error| {
            invalid(
                format!("the value of `{key}` is no JSON: {error}"),
                "a text stands in double quotes",
            )
        })?;
        let value = value.to_string();
        if !is_key(key) || value.len() > VALUE_BYTES {
            return Err(invalid(
                words(KvError::TooLarge, table),
                "use a shorter key or a smaller value",
            ));
        }
        put(&*space, key, &value).map_err(|error| ControlError::LimitReached(words(error, table)))
    }

    fn remove(&self, table: &str, key: Option<&str>) -> Result<usize, ControlError> {
        let space = self.named(table)?;
        let mut keys = Vec::new();
        match key {
            Some(key) => keys.push(key.to_owned()),
            None => pages(&*space, |key, _| keys.push(key.to_owned())),
        }
        let remove = |key: &String| matches!(space.remove(key, Expect::Any, ANY_TIME), Ok(true));
        let removed = keys.iter().filter(|key| remove(key)).count();
        match (removed, key) {
            (0, Some(key)) => Err(ControlError::NotFound(format!(
                "table `{table}` has no key `{key}`"
            ))),
            (0, None) => Err(ControlError::NotFound(format!(
                "table `{table}` is empty, or there is none"
            ))),
            _ => Ok(removed),
        }
    }
}

/// A table that a step names.
pub(crate) struct Table {
    name: String,
    /// None until the chain is deployed or tested.
    keys: Option<Arc<dyn KvSpace>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

/// The table that a step names.
pub(crate) fn named(around: &Compiling<'_>, name: &Spanned<String>) -> Result<Table, RuleError> {
    if !is_name(name.get_ref()) {
        let text = format!("`{}` is no name for a table", name.get_ref());
        return Err(around
            .error(name.span().start, text)
            .hint(format!("use 1 to {NAME_BYTES} letters, digits, - and _")));
    }
    Ok(Table {
        name: name.get_ref().clone(),
        keys: None,
    })
}

impl Table {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn attach(&mut self, tables: &Tables) {
        self.keys = Some(tables.space(&self.name));
    }

    fn keys(&self) -> Result<&dyn KvSpace, String> {
        let keys = self.keys.as_deref();
        keys.ok_or_else(|| format!("table `{}` is not there", self.name))
    }

    pub(crate) fn find(&self, key: &str) -> Result<Option<Value<'static>>, String> {
        let Some(kept) = self.keys()?.get(key, ANY_TIME) else {
            return Ok(None);
        };
        let json = serde_json::from_slice(&kept.value)
            .map_err(|error| format!("table `{}`, key `{key}`: no JSON: {error}", self.name))?;
        Ok(Some(Value::from_json(json)))
    }

    pub(crate) fn put(&self, key: &str, json: &str) -> Result<(), String> {
        put(self.keys()?, key, json).map_err(|error| words(error, &self.name))
    }

    pub(crate) fn remove(&self, key: &str) -> Result<(), String> {
        let removed = self.keys()?.remove(key, Expect::Any, ANY_TIME);
        removed.map(drop).map_err(|error| words(error, &self.name))
    }
}
